"""Settings of three shards that differ in all that may differ, and how a rendered one is read again."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import yaml

PLAIN: dict[str, Any] = {
    "shard": "alpha",
    "xmpp": {
        "host": "10.20.1.4",
        "domain": "auth.meet.example.com",
        "muc": "jvbbrewery@internal.auth.meet.example.com",
    },
    "key_vault": {"uri": "https://kv-example.vault.azure.net", "password_secret": "xmpp-alpha"},
}
PRIVATE_CA: dict[str, Any] = {
    **PLAIN,
    "shard": "beta-2",
    "key_vault": {**PLAIN["key_vault"], "ca_secret": "xmpp-ca", "audience": "vault.azure.cn"},
    "callback_url": "https://app.example.com/api/bridges/boot",
    "identity_client_id": "00000000-1111-2222-3333-444444444444",
}
EVERYTHING: dict[str, Any] = {
    **PRIVATE_CA,
    "shard": "gamma",
    "xmpp": {**PLAIN["xmpp"], "port": 6222, "user": "bridge"},
    "stun": ["turn.example.com:3478", "192.0.2.7:443"],
    "relay_region": "westeurope",
    "bridge_port": 8090,
    "boot_timeout_minutes": 15,
}
SHARDS = (PLAIN, PRIVATE_CA, EVERYTHING)


def files_of(cloud_config: str) -> dict[str, bytes]:
    """What a cloud-config writes, by path."""
    return {each["path"]: _content(each) for each in yaml.safe_load(cloud_config)["write_files"]}


def _content(entry: dict[str, str]) -> bytes:
    raw = base64.b64decode(entry["content"], validate=True)
    return gzip.decompress(raw) if entry["encoding"] == "gz+b64" else raw
