"""What one shard's bridges are told at boot: plain JSON, checked whole. It names secrets and holds none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_SECRET_NAME = re.compile(r"[A-Za-z0-9-]{1,127}")
_SHARD_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_REGION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class SettingsInvalid(ValueError):
    """The settings of a shard's boot have faults; `faults` has one sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        """`faults`: with the field, the value and what is allowed."""
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: its meaning, what it may be, and its default (`...`: it must be given)."""

    meaning: str
    allowed: str
    fits: Callable[[Any], bool]
    default: Any = ...


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_jid(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    room, at, host = value.partition("@")
    return bool(at) and _text(_USER)(room) and _text(_HOST)(host)


def _is_server(value: Any) -> bool:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return bool(colon) and _text(_HOST)(host) and port.isdecimal() and _whole(1, 65535)(int(port))


def _is_servers(value: Any) -> bool:
    return isinstance(value, list) and all(_is_server(each) for each in value)


def _is_url(value: Any) -> bool:
    """https, a host, no user, no query: a query is where a key would stand."""
    if not isinstance(value, str):
        return False
    parts = urlsplit(value)
    whole = parts.scheme == "https" and _text(_HOST)(parts.hostname or "") and not parts.username
    return whole and not parts.query and not parts.fragment and not re.search(r"[\s'\"\\]", value)


FIELDS: Mapping[str, Field] = {
    "shard": Field("name of the shard, as in SCALER_SHARDS", "a-z, 0-9 and -", _text(_SHARD_NAME)),
    "xmpp.host": Field("address of the shard's Prosody", "a name or an address", _text(_HOST)),
    "xmpp.port": Field("its client port", "1 to 65535", _whole(1, 65535), 5222),
    "xmpp.domain": Field(
        "XMPP domain of the bridges' account; Prosody's certificate must be for it", "a name", _text(_HOST)
    ),
    "xmpp.user": Field("the bridges' account", "letters, digits, . _ -", _text(_USER), "jvb"),
    "xmpp.muc": Field("room in which Jicofo finds bridges", "room@domain", _is_jid),
    "key_vault.uri": Field("the vault", "https://<name>.vault.azure.net, no path", _is_url),
    "key_vault.audience": Field(
        "whom the identity's token is for; sovereign clouds differ", "a name", _text(_HOST), "vault.azure.net"
    ),
    "key_vault.password_secret": Field(
        "name of the secret with the account's password", "letters, digits and -", _text(_SECRET_NAME)
    ),
    "key_vault.ca_secret": Field(
        "name of the secret with the PEM of the private CA of Prosody's certificate; null: a public CA",
        "letters, digits and -, or null",
        _or_null(_text(_SECRET_NAME)),
        None,
    ),
    "identity_client_id": Field(
        "client id of the bridges' identity; null: the VM has only one",
        "a GUID or null",
        _or_null(_text(_GUID)),
        None,
    ),
    "stun": Field(
        "STUN servers, asked only where Azure does not tell the public address",
        'a list of "host:port"',
        _is_servers,
        [],
    ),
    "relay_region": Field(
        "region for conferences over several bridges; null: no relays",
        "a region's name or null",
        _or_null(_text(_REGION)),
        None,
    ),
    "bridge_port": Field(
        "private port of Colibri, as SCALER_BRIDGE_PORT", "1 to 65535", _whole(1, 65535), 8080
    ),
    "boot_timeout_minutes": Field(
        "the policy's field of that name: a boot not ready two minutes before it gives up",
        "a whole number from 3 to 60",
        _whole(3, 60),
        10,
    ),
    "callback_url": Field(
        "the app's /api/bridges/boot; null: nobody is told",
        "https://..., no query, or null",
        _or_null(_is_url),
        None,
    ),
}
"""Every setting by its path."""


def read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with their defaults; raises `SettingsInvalid` with every fault at once."""
    flat = _flattened(given)
    known = ", ".join(FIELDS)
    faults = [f"{path}: no such setting, allowed: {known}" for path in flat if path not in FIELDS]
    whole: dict[str, Any] = {}
    for path, field in FIELDS.items():
        value = flat.get(path, field.default)
        if value is ...:
            faults.append(f"{path}: is missing, allowed: {field.allowed} ({field.meaning})")
        elif not field.fits(value):
            faults.append(f"{path}: is {value!r}, allowed: {field.allowed} ({field.meaning})")
        head, _, tail = path.rpartition(".")
        (whole.setdefault(head, {}) if head else whole)[tail] = value
    if faults:
        raise SettingsInvalid(faults)
    whole["key_vault"]["uri"] = whole["key_vault"]["uri"].rstrip("/")
    return whole


def _flattened(given: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("xmpp", "key_vault") and isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return flat
