"""The adapter of Azure Monitor, with the real client over real HTTP and TLS."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from compute.monitor import loads_of
from compute.pipeline import _metrics_audience
from sandbox.faces.http import FaultAnswer
from sandbox.faces.monitor import AUDIENCE
from scaler.errors import Refused, Throttled, TryNextTick
from scaler.model import Instance, PlatformLoad
from tests.compute.azure_faces import Azure

NOW = datetime(2026, 11, 20, 9, 10, 30, tzinfo=UTC)
IN, OUT, CPU = "Network In Total", "Network Out Total", "Percentage CPU"
VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/Bridge_1"


async def later(azure: Azure, minutes: int = 10) -> tuple[Instance, ...]:
    """The machines, after some minutes in which they were measured."""
    await azure.faces.advance_to(azure.world.now + timedelta(minutes=minutes))
    return await azure.cloud.instances({})


async def test_tells_each_machines_newest_minute(azure: Azure) -> None:
    """The figures are those of the newest minute that Monitor has, in Mbps and as a fraction."""
    machines = await later(azure)
    loads = await azure.metrics.read(machines, azure.world.now)
    assert loads.keys() == {machine.vm_id for machine in machines}
    for machine in machines:
        load = loads[machine.vm_id]
        minute = azure.world.metric_minute(machine.resource_id, load.at)
        assert minute is not None
        assert load.at == azure.world.now - timedelta(minutes=3)
        assert load.in_mbps == pytest.approx(minute.in_bytes * 8 / 60 / 1e6)
        assert load.out_mbps == pytest.approx(minute.out_bytes * 8 / 60 / 1e6)
        assert load.cpu_fraction == pytest.approx(minute.cpu_percent / 100)


@pytest.mark.parametrize("machines", [120])
async def test_asks_for_at_most_fifty_machines_at_once(azure: Azure) -> None:
    """A fleet beyond Monitor's limit is read in several calls, and completely."""
    machines = await later(azure)
    azure.faces.journal.clear()
    assert len(await azure.metrics.read(machines, azure.world.now)) == 120
    assert azure.actions == ["Microsoft.Insights/metrics/read 200"] * 3


@pytest.mark.parametrize("machines", [120])
async def test_one_failed_batch_makes_all_unknown(azure: Azure) -> None:
    """Half of a fleet's figures are not passed off as the whole."""
    machines = await later(azure)

    def faults(face: str, _: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        last = face == "monitor" and len(orjson.loads(details["body"])["resourceids"]) == 20
        return FaultAnswer(500) if last else None

    azure.faces.break_with(faults)
    with pytest.raises(TryNextTick):
        await azure.metrics.read(machines, azure.world.now)


async def test_no_machines_need_no_call(azure: Azure) -> None:
    """An empty fleet is not asked about."""
    assert await azure.metrics.read([], azure.world.now) == {}
    assert azure.actions == []


async def test_old_minutes_are_unknown(azure: Azure) -> None:
    """When Monitor has stood still for longer than six minutes, machines are absent."""
    machines = await later(azure)
    assert await azure.metrics.read(machines, azure.world.now + timedelta(minutes=6)) == {}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (FaultAnswer(403, body=b'{"error":{"code":"AuthorizationFailed","message":"no"}}'), Refused),
        (FaultAnswer(429, {"Retry-After": "600"}), Throttled),
        (FaultAnswer(500), TryNextTick),
        (FaultAnswer(200, body=b"<html>"), TryNextTick),
        (FaultAnswer(200, body=b"[]"), TryNextTick),
        (FaultAnswer(200, body=b"{}"), TryNextTick),
        (FaultAnswer(200, body=b'{"values": [{}]}'), TryNextTick),
        (FaultAnswer(drop_connection=True), TryNextTick),
    ],
)
async def test_each_failure_says_what_to_do(
    azure: Azure, fault: FaultAnswer, expected: type[Exception]
) -> None:
    """Refusals are refusals; whatever else is wrong, Monitor's figures are unknown."""
    machines = await later(azure)
    azure.faces.break_with(lambda face, *_: fault if face == "monitor" else None)
    with pytest.raises(expected) as caught:
        await azure.metrics.read(machines, azure.world.now)
    assert type(caught.value) is expected


def batch(**metrics: dict[int, object]) -> dict[str, Any]:
    """An answer for one machine: by metric, values by how many minutes ago they are."""
    names = {"bytes_in": (IN, "total"), "bytes_out": (OUT, "total"), "cpu": (CPU, "average")}
    value = [
        {
            "name": {"value": names[metric][0]},
            "timeseries": [{"data": [_point(names[metric][1], *item) for item in values.items()]}],
        }
        for metric, values in metrics.items()
    ]
    return {"values": [{"resourceid": VM, "value": value}]}


def _point(field: str, minutes_ago: int, value: object) -> dict[str, object]:
    minute = NOW.replace(second=0) - timedelta(minutes=minutes_ago)
    return {"timeStamp": f"{minute:%Y-%m-%dT%H:%M:%SZ}", field: value}


def only_load(**metrics: dict[int, object]) -> PlatformLoad | None:
    """What is read from such an answer."""
    return loads_of(batch(**metrics), NOW).get(VM.lower())


def test_a_known_volume_is_a_known_rate() -> None:
    """63 GB in a minute are 8400 Mbps, which is 70 % of a NIC of 12000; 90 % of CPU are 0.9."""
    load = only_load(bytes_in={1: 75_000_000}, bytes_out={1: 63_000_000_000}, cpu={1: 90.0})
    assert load == PlatformLoad(NOW.replace(second=0) - timedelta(minutes=1), 10.0, 8400.0, 0.9)


def test_missing_minutes_are_passed_over() -> None:
    """A null in the newest minutes is not a zero: the newest real value counts."""
    load = only_load(bytes_out={1: None, 2: None, 3: 7_500_000, 4: 0})
    assert load is not None
    assert (load.out_mbps, load.in_mbps, load.cpu_fraction) == (1.0, None, None)
    assert load.at == NOW.replace(second=0) - timedelta(minutes=3)


def test_the_age_is_that_of_the_oldest_figure() -> None:
    """Where metrics come in at different paces, the load is no younger than its oldest part."""
    load = only_load(bytes_out={1: 7_500_000}, cpu={1: None, 4: 50.0})
    assert load is not None
    assert load.at == NOW.replace(second=0) - timedelta(minutes=4)


@pytest.mark.parametrize("value", [None, "12", True, -1, float("nan"), float("inf"), 1.7e308])
def test_strange_values_are_unknown(value: object) -> None:
    """What is not a finite number of at least zero does not count."""
    assert only_load(bytes_out={1: value}) is None


def test_a_minute_older_than_six_is_unknown() -> None:
    """Six minutes is the limit, counted from now."""
    assert only_load(cpu={5: 10.0}) is not None
    assert only_load(cpu={6: 10.0}) is None


@pytest.mark.parametrize(
    ("endpoint", "audience"),
    [
        ("https://westeurope.metrics.monitor.azure.com", AUDIENCE),
        ("https://chinaeast2.metrics.monitor.azure.cn", "https://metrics.monitor.azure.cn"),
        ("https://127.0.0.1:8443", AUDIENCE),
    ],
)
def test_the_audience_follows_the_cloud(endpoint: str, audience: str) -> None:
    """Sovereign clouds have an audience of their own, named by the endpoint."""
    assert _metrics_audience(endpoint) == audience


@pytest.mark.parametrize(
    "data",
    [
        {"timeStamp": "2026-11-20T09:09:00", "average": 1.0},
        {"timeStamp": "2026-11-20T09:09:00Z", "average": 10**400},
    ],
)
def test_a_point_that_cannot_be_compared_makes_the_platform_unknown(data: dict[str, object]) -> None:
    """A minute without its zone, or a number that no float holds, is an answer not understood."""
    body = batch(cpu={1: 1.0})
    body["values"][0]["value"][0]["timeseries"][0]["data"] = [data]
    with pytest.raises(TryNextTick):
        loads_of(body, NOW)
