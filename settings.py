"""
App settings -> Settings. Every fault is found before any is reported, and nothing is called.

A fault is one sentence: the field, its value, what is allowed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from scaler.costs import faults_in_prices
from scaler.errors import ConfigurationInvalid
from scaler.policy import KNOBS, ScalingPolicy, read_policy

_SHARD_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_SCALE_SET_ID = re.compile(
    r"/subscriptions/(?P<subscription>[0-9a-f-]{36})/resourceGroups/(?P<group>[\w.()-]{1,90})"
    r"/providers/Microsoft\.Compute/virtualMachineScaleSets/(?P<name>[\w.-]{1,64})",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(?:[A-Za-z][A-Za-z0-9]{0,49})?")
_PORT = re.compile(r"[0-9]{1,5}")
_URL = re.compile(r"https://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?")
_SECRET = re.compile(
    r"(?<=AccountKey=)[^;&]+|(?<=Signature=)[^;]+|(?<=sig=)[^;&]+|(?<=://)[^/@]+(?=@)", re.IGNORECASE
)
"""What may stand by mistake where no secret belongs, and must not go on into logs and status."""
_OWN_SHARD_FIELDS = frozenset({"name", "scale_set_id", "metrics_endpoint", "bridge_port"})
_KNOWN = frozenset(
    {
        "SCALER_SHARDS",
        "SCALER_POLICY",
        "SCALER_TABLES_ENDPOINT",
        "SCALER_TABLES_CONNECTION_STRING",
        "SCALER_TABLES_PREFIX",
        "SCALER_ARM_ENDPOINT",
        "SCALER_METRICS_ENDPOINT",
        "SCALER_BRIDGE_PORT",
        "SCALER_DRY_RUN",
        "SCALER_OWNER",
        "SCALER_PRICES",
    }
)
DEFAULT_ARM_ENDPOINT = "https://management.azure.com"
DEFAULT_BRIDGE_PORT = 8080
DEFAULT_OWNER = "jvb-autoscaler"


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """One shard: one scale set with the Prosody and Jicofo that its bridges join."""

    name: str
    scale_set_id: str
    subscription_id: str
    resource_group: str
    scale_set_name: str
    policy: ScalingPolicy
    metrics_endpoint: str | None
    bridge_port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the app is told from outside."""

    shards: tuple[ShardSettings, ...]
    tables_endpoint: str | None
    tables_connection_string: str | None
    tables_prefix: str
    arm_endpoint: str
    owner: str
    dry_run: bool
    client_id: str | None
    prices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the operator pays, over the list prices."""


def from_env(env: Mapping[str, str]) -> Settings:
    """Read all settings; raises `ConfigurationInvalid` with every fault at once."""
    reader = _Reader(env)
    settings = reader.settings()
    if reader.faults or settings is None:
        raise ConfigurationInvalid(reader.faults)
    return settings


class _Reader:
    """Collects faults while it reads, so that one round of corrections is enough."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env, self.faults = env, list[str]()

    def settings(self) -> Settings | None:
        self._unknown_names()
        endpoint, connection = self._tables()
        prefix = self.env.get("SCALER_TABLES_PREFIX", "")
        if not _PREFIX.fullmatch(prefix):
            self._fault("SCALER_TABLES_PREFIX", prefix, "letters and digits, a letter first, at most 50")
        arm = self._url("SCALER_ARM_ENDPOINT", self.env.get("SCALER_ARM_ENDPOINT") or DEFAULT_ARM_ENDPOINT)
        metrics = self._url("SCALER_METRICS_ENDPOINT", self.env.get("SCALER_METRICS_ENDPOINT") or None)
        port = self._port("SCALER_BRIDGE_PORT", self._port_text())
        shards = self._shards(metrics, port)
        dry_run = self._flag("SCALER_DRY_RUN")
        prices = self._json("SCALER_PRICES", dict, "{}") or {}
        self.faults += [f"SCALER_PRICES.{fault}" for fault in faults_in_prices(prices)]
        if self.faults:
            return None
        return Settings(
            shards=shards,
            tables_endpoint=endpoint,
            tables_connection_string=connection,
            tables_prefix=prefix,
            arm_endpoint=arm or DEFAULT_ARM_ENDPOINT,
            owner=self.env.get("SCALER_OWNER") or DEFAULT_OWNER,
            dry_run=dry_run,
            client_id=self.env.get("AZURE_CLIENT_ID") or None,
            prices=prices,
        )

    def _fault(self, field: str, value: object, allowed: str) -> None:
        self.faults.append(f"{field}: is {_shown(value)}, allowed: {allowed}")

    def _unknown_names(self) -> None:
        for name in sorted(self.env):
            if name.startswith("SCALER_") and name not in _KNOWN:
                self.faults.append(f"{name}: no such setting, allowed: {', '.join(sorted(_KNOWN))}")

    def _tables(self) -> tuple[str | None, str | None]:
        endpoint = self.env.get("SCALER_TABLES_ENDPOINT") or None
        connection = self.env.get("SCALER_TABLES_CONNECTION_STRING") or None
        if (endpoint is None) == (connection is None):
            self.faults.append(
                "SCALER_TABLES_ENDPOINT, SCALER_TABLES_CONNECTION_STRING: "
                f"{'neither is' if endpoint is None else 'both are'} set, allowed: exactly one of them"
            )
        if connection is not None and not _is_connection_string(connection):
            # Not shown: it holds a key.
            self.faults.append(
                "SCALER_TABLES_CONNECTION_STRING: is incomplete, allowed: a storage connection string with "
                "AccountName= and AccountKey=, or TableEndpoint= and SharedAccessSignature="
            )
        return self._url("SCALER_TABLES_ENDPOINT", endpoint), connection

    def _url(self, field: str, value: object) -> str | None:
        if value is None:
            return None
        match = _URL.fullmatch(value) if isinstance(value, str) else None
        if match is None or not 1 <= int(match["port"] or 443) <= 65535:
            self._fault(field, value, "an https:// address without a path, e.g. https://example.azure.com")
            return None
        return match[0].rstrip("/")

    def _port_text(self) -> object:
        text = self.env.get("SCALER_BRIDGE_PORT") or str(DEFAULT_BRIDGE_PORT)
        return int(text) if _PORT.fullmatch(text) else text

    def _port(self, field: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
            return value
        self._fault(field, value, "a port from 1 to 65535")
        return DEFAULT_BRIDGE_PORT

    def _flag(self, field: str) -> bool:
        text = self.env.get(field, "").strip().lower()
        if text not in ("", "true", "false"):
            self._fault(field, self.env[field], "true or false")
        return text == "true"

    def _json(self, field: str, kind: type, empty: str) -> Any:
        text = self.env.get(field) or empty
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self.faults.append(
                f"{field}: is not JSON ({error.msg}, line {error.lineno} column {error.colno}), "
                f"allowed: a JSON {'list' if kind is list else 'object'}"
            )
            return None
        if not isinstance(value, kind):
            self._fault(field, text, f"a JSON {'list' if kind is list else 'object'}")
            return None
        return value

    def _shards(self, metrics: str | None, port: int) -> tuple[ShardSettings, ...]:
        common = self._json("SCALER_POLICY", dict, "{}")
        self._common_policy(common or {})
        if not self.env.get("SCALER_SHARDS"):
            self.faults.append("SCALER_SHARDS: is missing, allowed: a JSON list with one object per shard")
            return ()
        listed = self._json("SCALER_SHARDS", list, "[]")
        if listed is None:
            return ()
        if not listed:
            self.faults.append("SCALER_SHARDS: is empty, allowed: at least one shard")
        shards = [self._shard(place, each, common or {}, metrics, port) for place, each in enumerate(listed)]
        self._twice([each for each in listed if isinstance(each, dict)])
        return tuple(shard for shard in shards if shard is not None)

    def _common_policy(self, common: Mapping[str, Any]) -> None:
        """Check the shared fields by themselves, so that their faults are said once and in their place."""
        _, faults = read_policy({"max_bridges": 1000, **common}, "SCALER_POLICY")
        self.faults += faults

    def _shard(
        self, place: int, given: object, common: Mapping[str, Any], metrics: str | None, port: int
    ) -> ShardSettings | None:
        where = f"SCALER_SHARDS[{place}]"
        if not isinstance(given, dict):
            self._fault(where, given, "a JSON object with name, scale_set_id and max_bridges")
            return None
        name, scale_set_id = given.get("name"), given.get("scale_set_id")
        if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name):
            self._fault(f"{where}.name", name, "a-z, 0-9 and -, at most 40, no - at an end")
        match = _SCALE_SET_ID.fullmatch(scale_set_id) if isinstance(scale_set_id, str) else None
        if match is None:
            self._fault(
                f"{where}.scale_set_id",
                scale_set_id,
                "/subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.Compute"
                "/virtualMachineScaleSets/<name>",
            )
        policy = self._policy(where, given, common)
        own_metrics = self._url(f"{where}.metrics_endpoint", given.get("metrics_endpoint"))
        own_port = self._port(f"{where}.bridge_port", given.get("bridge_port", port))
        self._proof_of_quiet(where, policy, given)
        if match is None or policy is None or not isinstance(name, str) or not isinstance(scale_set_id, str):
            return None
        return ShardSettings(
            name=name,
            scale_set_id=scale_set_id,
            subscription_id=match["subscription"],
            resource_group=match["group"],
            scale_set_name=match["name"],
            policy=policy,
            metrics_endpoint=own_metrics or metrics,
            bridge_port=own_port,
        )

    def _policy(
        self, where: str, given: Mapping[str, Any], common: Mapping[str, Any]
    ) -> ScalingPolicy | None:
        """Shard fields over common ones; a fault of a common field is not said again here."""
        own = {key: value for key, value in given.items() if key not in _OWN_SHARD_FIELDS}
        usable = {key: value for key, value in common.items() if key in KNOBS}
        policy, faults = read_policy({**usable, **own}, where)
        inherited = {f"{where}.{key}:" for key in usable if key not in own}
        said = {fault.partition(".")[2] for fault in self.faults if fault.startswith("SCALER_POLICY.")}
        self.faults += [
            fault
            for fault in faults
            if not (any(fault.startswith(head) for head in inherited) and fault[len(where) + 1 :] in said)
        ]
        return policy

    def _proof_of_quiet(self, where: str, policy: ScalingPolicy | None, given: Mapping[str, Any]) -> None:
        """Only the platform's own count shows that a bridge we cannot hear carries no media."""
        if policy is None or policy.replace_dead_after_minutes is None:
            return
        if not (given.get("metrics_endpoint") or self.env.get("SCALER_METRICS_ENDPOINT")):
            self._fault(
                f"{where}.replace_dead_after_minutes",
                policy.replace_dead_after_minutes,
                "null where neither metrics_endpoint nor SCALER_METRICS_ENDPOINT is set",
            )

    def _twice(self, listed: Sequence[Mapping[str, Any]]) -> None:
        for field in ("name", "scale_set_id"):
            values = [value.lower() for each in listed if isinstance(value := each.get(field), str)]
            for value in sorted({value for value in values if values.count(value) > 1}):
                self._fault(f"SCALER_SHARDS.{field}", value, "each only once: one writer per scale set")


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = repr(_SECRET.sub("...", value) if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_connection_string(text: str) -> bool:
    """Whether the tables' SDK can take it: an account with its key, or an endpoint with a signature."""
    if text.lower() == "usedevelopmentstorage=true":
        return True
    parts = [part.partition("=") for part in text.removesuffix(";").split(";")]
    given = {name.lower() for name, _, value in parts if value}
    complete = {"accountname", "accountkey"} <= given or {"tableendpoint", "sharedaccesssignature"} <= given
    return complete and all(value for _, _, value in parts)
