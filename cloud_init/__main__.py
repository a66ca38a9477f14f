"""`python -m cloud_init SETTINGS.json`: print a shard's cloud-config, or every fault of its settings."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cloud_init.render import render
from cloud_init.settings import FIELDS, SettingsInvalid


def main() -> int:
    """Return 0, or 2 with the faults on standard error."""
    known = "\n".join(f"  {path}: {field.meaning}" for path, field in FIELDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m cloud_init",
        description="Print the cloud-config of a shard's bridges.",
        epilog=f"settings:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", type=Path, help="JSON file with the settings of one shard")
    path: Path = parser.parse_args().settings
    try:
        given = json.loads(path.read_text())
        if not isinstance(given, dict):
            raise SettingsInvalid([f"{path}: is no JSON object, allowed: the settings of one shard"])
        sys.stdout.write(render(given))
    except (OSError, json.JSONDecodeError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 2
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{fault}\n" for fault in error.faults))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
