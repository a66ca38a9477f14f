"""
Renders a shard's cloud-config: one template, filled in the same way here and by Terraform's `templatefile`.

Each file of `vm/` goes in compressed under its own name, the settings as JSON. See README.md.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from cloud_init.settings import read_settings

HERE = Path(__file__).parent
TEMPLATE = HERE / "cloud-config.yaml"
CUSTOM_DATA_LIMIT_BYTES = 65_535
"""What Azure takes, before base64."""


def render(given: Mapping[str, Any]) -> str:
    """Return the cloud-config of a shard; raises `SettingsInvalid` with every fault at once."""
    settings = json.dumps(read_settings(given), sort_keys=True, separators=(",", ":"))
    carried = {variable(path): packed(path.read_bytes()) for path in sorted((HERE / "vm").iterdir())}
    text = Template(TEMPLATE.read_text()).substitute(carried, settings=_base64(settings.encode()))
    if len(text.encode()) > CUSTOM_DATA_LIMIT_BYTES:
        raise ValueError(f"custom data has {len(text.encode())} bytes, allowed: {CUSTOM_DATA_LIMIT_BYTES}")
    return text


def variable(path: Path) -> str:
    """Name under which the template knows a file of `vm/`: jvb-boot.service is jvb_boot_service."""
    return path.name.replace("-", "_").replace(".", "_")


def packed(content: bytes) -> str:
    """Return what Terraform's `base64gzip` makes; equal for equal content, so that a tag can hash it."""
    return _base64(gzip.compress(content, mtime=0))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
