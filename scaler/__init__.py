"""The decision engine: what is seen, what is decided, what is done, and why."""
