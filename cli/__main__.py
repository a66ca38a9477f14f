"""`python -m cli`: the same as `jvb-autoscaler`."""

from cli.app import main

if __name__ == "__main__":
    main()
