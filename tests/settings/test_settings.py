"""Bad configuration is told whole and touches nothing; good configuration is read as it is meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import wiring
from scaler.errors import ConfigurationInvalid
from settings import DEFAULT_ARM_ENDPOINT, Settings, from_env

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
TABLES = {"SCALER_TABLES_ENDPOINT": "https://example.table.core.windows.net"}
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-jvb"
SCALE_SETS = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets"

_CALLS = frozenset({"socket.connect", "socket.sendto", "socket.getaddrinfo"})
_watchers: list[list[str]] = []


def _overhear(event: str, _args: tuple[object, ...]) -> None:
    if _watchers and event in _CALLS:
        _watchers[-1].append(event)
        raise AssertionError(f"a call left the process: {event}")


# The interpreter itself reports each call, whichever library makes it. A hook cannot be removed again,
# so it stays silent while nobody watches.
sys.addaudithook(_overhear)


@pytest.fixture
def no_calls() -> Iterator[list[str]]:
    """Fail at any attempt to reach anything, also where the error itself is swallowed."""
    seen: list[str] = []
    _watchers.append(seen)
    yield seen
    _watchers.pop()
    assert seen == []


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return datetime(2026, 3, 4, 12, tzinfo=UTC)


def shard(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "scale_set_id": f"{SCALE_SETS}/jvb-{name}", "max_bridges": 4, **fields}


def env(*shards: Mapping[str, Any], **more: str) -> dict[str, str]:
    return {**TABLES, "SCALER_SHARDS": json.dumps(shards or (shard(),)), **more}


def read(*shards: Mapping[str, Any], **more: str) -> Settings:
    return from_env(env(*shards, **more))


# --- bad configuration ----------------------------------------------------------------------


def case_of(path: Path) -> tuple[dict[str, str], list[str]]:
    case = json.loads(path.read_text(encoding="utf-8"))
    return case["env"], case["faults"]


def test_the_folder_of_bad_configurations_is_read():
    """The cases below are the files of the folder, and there are many."""
    assert len(CASES) >= 24


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_fault_is_told_at_once(path: Path):
    """A bad configuration is answered with the complete list of its faults, in a stable order."""
    given, faults = case_of(path)
    with pytest.raises(ConfigurationInvalid) as error:
        from_env(given)
    assert error.value.faults == faults


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
async def test_a_bad_configuration_touches_nothing(path: Path, no_calls: list[str]):
    """With a bad configuration every trigger answers with the faults, and nothing is ever called."""
    given, faults = case_of(path)
    app = await wiring.engine(given, Noon())
    await app.tick()
    status = await app.status()
    assert status.status == 200
    assert json.loads(status.body)["configuration"] == {"valid": False, "faults": faults}
    for answer in (await app.alert(b"{}"), await app.explain(None, None), await app.plan("main")):
        assert answer.status == 503
        assert json.loads(answer.body)["faults"] == faults
    await app.close()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_fault_repeats_a_secret(path: Path):
    """A key that was put into the wrong setting does not go on into logs and the status page."""
    given, _ = case_of(path)
    with pytest.raises(ConfigurationInvalid) as error:
        from_env(given)
    assert "s3cret" not in str(error.value)


def test_the_guard_hears_a_call(no_calls: list[str]):
    """The guard of these tests would notice a connection."""
    import socket

    with socket.socket() as sock, pytest.raises(AssertionError, match="a call left the process"):
        sock.connect(("127.0.0.1", 9))
    no_calls.clear()


# --- good configuration ---------------------------------------------------------------------


async def test_building_the_application_makes_no_call(no_calls: list[str]):
    """With a good configuration, too, nothing is asked before the first trigger needs it."""
    more = {"SCALER_METRICS_ENDPOINT": "https://westeurope.metrics.monitor.azure.com"}
    app = await wiring.engine(env(shard("a"), shard("b"), **more), Noon())
    assert isinstance(app, wiring.Running)
    assert list(app.engine.shards) == ["a", "b"]
    await app.close()


def test_what_is_not_said_has_its_default():
    """Only the shards and the tables must be given."""
    settings = read()
    assert settings.arm_endpoint == DEFAULT_ARM_ENDPOINT
    assert (settings.tables_prefix, settings.owner, settings.dry_run) == ("", "jvb-autoscaler", False)
    assert (settings.client_id, settings.tables_connection_string) == (None, None)
    (only,) = settings.shards
    assert (only.metrics_endpoint, only.bridge_port) == (None, 8080)
    assert only.policy.max_bridges == 4
    assert (only.resource_group, only.scale_set_name) == ("rg-jvb", "jvb-main")


def test_an_empty_setting_is_one_that_is_not_set():
    """Settings left empty in a template mean their defaults."""
    names = ("SCALER_TABLES_CONNECTION_STRING", "SCALER_ARM_ENDPOINT", "SCALER_METRICS_ENDPOINT")
    others = ("SCALER_BRIDGE_PORT", "SCALER_DRY_RUN", "SCALER_OWNER", "SCALER_POLICY", "AZURE_CLIENT_ID")
    assert read(**dict.fromkeys((*names, *others), "")) == read()


def test_a_shard_goes_before_what_holds_for_all():
    """A field of a shard overrides the common one, for policy, metrics endpoint and port."""
    own = shard("own", min_bridges=2, metrics_endpoint="https://uksouth.example.net", bridge_port=9000)
    settings = read(
        own,
        shard("plain"),
        SCALER_POLICY='{"min_bridges": 1, "settle_seconds": 45}',
        SCALER_METRICS_ENDPOINT="https://westeurope.example.net/",
        SCALER_BRIDGE_PORT="8081",
    )
    first, second = settings.shards
    assert (first.policy.min_bridges, first.policy.settle_seconds) == (2, 45)
    assert (first.metrics_endpoint, first.bridge_port) == ("https://uksouth.example.net", 9000)
    assert (second.policy.min_bridges, second.policy.settle_seconds) == (1, 45)
    assert (second.metrics_endpoint, second.bridge_port) == ("https://westeurope.example.net", 8081)


def test_the_maximum_may_stand_in_the_common_policy():
    """`max_bridges` is required of a shard's policy, wherever it comes from."""
    given = shard()
    del given["max_bridges"]
    assert read(given, SCALER_POLICY='{"max_bridges": 7}').shards[0].policy.max_bridges == 7


@pytest.mark.parametrize("text", ["true", "TRUE", " true "])
def test_dry_run_is_switched_on_in_any_case(text: str):
    """However `true` is written, nothing is changed anywhere."""
    assert read(SCALER_DRY_RUN=text).dry_run


@pytest.mark.parametrize(
    "text",
    [
        "UseDevelopmentStorage=true",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=eA==;EndpointSuffix=core.windows.net",
        "TableEndpoint=http://127.0.0.1:10002/a;AccountName=a;AccountKey=eA==;",
        "TableEndpoint=https://a.table.core.windows.net;SharedAccessSignature=sv=1&sig=x",
    ],
)
async def test_a_connection_string_that_passes_can_be_used(text: str, no_calls: list[str]):
    """What the check accepts, the tables' SDK accepts as well."""
    given = {"SCALER_SHARDS": json.dumps([shard()]), "SCALER_TABLES_CONNECTION_STRING": text}
    app = await wiring.engine(given, Noon())
    assert isinstance(app, wiring.Running)
    await app.close()


def test_the_example_of_local_settings_is_good():
    """Who copies the example has a configuration that is valid, and changes nothing."""
    example = Path(__file__).parents[2] / "local.settings.example.json"
    assert from_env(json.loads(example.read_text(encoding="utf-8"))["Values"]).dry_run


def test_an_identity_of_its_own_is_passed_on():
    """The user-assigned identity is the one that the platform's own variable names."""
    assert read(AZURE_CLIENT_ID="00000000-0000-0000-0000-00000000000a").client_id
