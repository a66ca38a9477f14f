"""The in-process ports answer as the adapters do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from sandbox.bridge_config import BridgeConfig
from sandbox.bridge_report import MISSING
from sandbox.bridge_stats import bridge_stats
from sandbox.ports import WorldBridges, WorldClock, WorldCloud, WorldMetrics
from sandbox.world import World
from scaler.errors import Refused, StateChanged, TryNextTick
from scaler.model import Instance, Poll, Power, Reach
from scaler.ports import Bridges, Clock, Cloud, Metrics, Target
from tests.sandbox.worlds import OTHER, SCALE_SET, START, bridge_of, hour_long, vms_of, world_of


def target_of(world: World, number: int = 0, *, ask_process: bool = False) -> Target:
    """Where one of the machines is found."""
    vm = vms_of(world)[number]
    return Target(vm.vm_id, vm.address, ask_process)


async def poll_of(world: World, target: Target) -> Poll:
    """What one bridge answers."""
    return (await WorldBridges(world).poll([target]))[target.vm_id]


def test_they_are_the_ports() -> None:
    """Each class fits its protocol (checked by mypy)."""
    world = world_of()
    clock: Clock = WorldClock(world)
    ports: tuple[Cloud, Bridges, Metrics] = (
        WorldCloud(world, SCALE_SET),
        WorldBridges(world),
        WorldMetrics(world),
    )
    assert clock.now() == START
    assert len(ports) == 3


def test_direct_statistics_equal_parsed_ones() -> None:
    """The short cut past JSON gives the very same statistics as the parser."""
    messages = pytest.importorskip("colibri.messages")
    for relay in (False, True):
        world = world_of(1, [hour_long(people=30)], bridge=BridgeConfig(relay=relay))
        world.advance(321.5)
        bridge = bridge_of(vms_of(world)[0])
        stats = bridge.stats(world.now)
        assert messages.parse_stats(orjson.dumps(stats)) == bridge_stats(stats)
        assert bridge_stats(stats).timestamp == world.now


async def test_poll_tells_health_stats_drain_and_process() -> None:
    """A sound bridge answers everything; the start of the process only when asked."""
    world = world_of(1, [hour_long()])
    world.advance(60)
    plain, full = (
        await poll_of(world, target_of(world)),
        await poll_of(world, target_of(world, ask_process=True)),
    )
    assert plain.stats is not None
    assert (plain.at, plain.reach, plain.health_ok, plain.drain) == (world.now, Reach.ANSWERED, True, False)
    assert plain.stats.conferences == 1
    assert (plain.process_started_at, plain.problem, plain.supported) == (None, None, True)
    assert full.process_started_at == bridge_of(vms_of(world)[0]).started_at


async def test_reach_tells_a_dead_process_from_a_dead_machine() -> None:
    """Refused: the machine runs and nobody listens. Timed out: it does not run, is cut off or unknown."""
    world = world_of(4)
    bridge_of(vms_of(world)[0]).crash()
    vms_of(world)[1].unreachable = True
    world.delete_instances(SCALE_SET, [vms_of(world)[2].name])
    reaches = [(await poll_of(world, target_of(world, n))).reach for n in range(4)]
    nobody = await poll_of(world, Target("gone", "127.99.0.1", ask_process=False))
    assert reaches == [Reach.REFUSED, Reach.TIMED_OUT, Reach.TIMED_OUT, Reach.ANSWERED]
    assert nobody.reach is Reach.TIMED_OUT


async def test_whoever_has_the_address_answers() -> None:
    """A command to an address reaches the machine that has it now, not the one that was meant."""
    world = world_of(2)
    first, second = vms_of(world)
    target = target_of(world, 0)
    first.address, second.address = "127.64.9.9", first.address
    await WorldBridges(world).set_drain(target, on=True)
    assert (bridge_of(first).drain, bridge_of(second).drain) == (False, True)


async def test_bridges_of_another_shard_cannot_be_reached() -> None:
    """Ports of one scale set do not reach the machines of another."""
    world = world_of(1)
    with pytest.raises(Exception, match="not found"):
        await WorldBridges(world, OTHER).poll([target_of(world)])


async def test_commands_take_effect_or_say_what_to_do() -> None:
    """200 acts, 4xx is Refused, 5xx and silence are for the next tick."""
    world = world_of(1)
    bridges, target, bridge = WorldBridges(world, SCALE_SET), target_of(world), bridge_of(vms_of(world)[0])
    await bridges.set_drain(target, on=True)
    assert (await bridges.read(target)).drain is True
    bridge.faults.statuses = {"drain": 500, "shutdown": 404}
    with pytest.raises(TryNextTick):
        await bridges.set_drain(target, on=False)
    with pytest.raises(Refused) as refusal:
        await bridges.shut_down(target)
    assert refusal.value.code == "404"
    bridge.faults.statuses = {}
    await bridges.shut_down(target)
    assert bridge.shutting_down
    world.advance(40)
    with pytest.raises(TryNextTick):
        await bridges.shut_down(target)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"conferences": 0', b"<html></html>"])
async def test_a_body_that_is_no_report_is_read_as_the_client_reads_it(body: bytes) -> None:
    """It answered, and said nothing: neither its calls nor its drain nor its start are known."""
    world = world_of(1)
    bridge_of(vms_of(world)[0]).faults.bodies = {"stats": body, "drain": body, "metrics": body}
    poll = await WorldBridges(world, SCALE_SET).read(target_of(world))
    assert (poll.reach, poll.stats, poll.drain, poll.process_started_at) == (Reach.ANSWERED, None, None, None)
    assert poll.problem is not None


@pytest.mark.parametrize(
    ("overrides", "statuses", "field", "value"),
    [
        ({"conferences": -1}, {}, "conferences", None),
        ({"conferences": MISSING}, {}, "conferences", None),
        ({"conferences": True}, {}, "conferences", None),
        ({"current_timestamp": "soon"}, {}, None, None),
        ({}, {"stats": 404}, None, None),
    ],
)
async def test_strange_statistics_are_read_as_the_client_reads_them(
    overrides: dict[str, Any], statuses: dict[str, int], field: str | None, value: object
) -> None:
    """A value that is no count is unknown, and a report that cannot be relied on is none."""
    world = world_of(1)
    faults = bridge_of(vms_of(world)[0]).faults
    faults.overrides, faults.statuses = overrides, statuses
    poll = await poll_of(world, target_of(world))
    if field is None:
        assert poll.stats is None
        assert poll.problem
    else:
        assert getattr(poll.stats, field) == value


async def test_cloud_lists_scales_and_deletes() -> None:
    """Instances carry what ARM tells; a write under an old record is `StateChanged`."""
    world = world_of(1)
    cloud = WorldCloud(world, SCALE_SET.upper())
    record = await cloud.scale_set()
    (old,) = await cloud.instances({})
    assert (record.capacity, record.vm_size, record.owner) == (1, "Standard_F8s_v2", None)
    assert (old.power, old.provisioning, old.time_created) == (
        Power.RUNNING,
        "Succeeded",
        vms_of(world)[0].time_created,
    )
    url = await cloud.scale_out(record, 2)
    assert url is not None
    assert (await cloud.operation(url)).done is False
    with pytest.raises(StateChanged):
        await cloud.scale_out(record, 3)
    world.advance(6)
    assert (await cloud.instances({}))[1].power is Power.UNKNOWN
    world.advance(300)
    assert (await cloud.operation(url)).done is True
    await cloud.delete(old)
    assert (await cloud.instances({}))[0].is_deleting
    world.advance(90)
    with pytest.raises(Refused):
        await cloud.delete(old)


async def test_failed_operation_tells_its_error() -> None:
    """An asynchronous failure is read from the operation and from the machine."""
    world = world_of(0)
    world.scale_set(SCALE_SET).allocation_error = ("AllocationFailed", "none left")
    cloud = WorldCloud(world, SCALE_SET)
    url = await cloud.scale_out(await cloud.scale_set(), 1)
    world.advance(30)
    operation = await cloud.operation(url or "")
    assert (operation.done, operation.error) == (True, "AllocationFailed: none left")
    assert (await cloud.instances({}))[0].error == "AllocationFailed: none left"


async def test_metrics_give_the_newest_minute_of_each_machine() -> None:
    """Megabits per second of a minute that is old enough; machines without one are absent."""
    world = world_of(2, [hour_long(people=40)])
    instances = await WorldCloud(world, SCALE_SET).instances({})
    ghost: Instance = replace(instances[0], vm_id="ghost", resource_id="/none")
    assert await WorldMetrics(world).read(instances, world.now) == {}
    world.advance(630)
    loads = await WorldMetrics(world).read((*instances, ghost), world.now)
    assert set(loads) == {instance.vm_id for instance in instances}
    busiest = max(load.out_mbps or 0 for load in loads.values())
    upload = max(bridge_of(vm).meter.out_kbps for vm in vms_of(world)) / 1000
    assert busiest == pytest.approx(upload, rel=0.05)
    assert {(world.now - load.at).total_seconds() for load in loads.values()} == {210.0}


async def test_hooks_break_calls_before_and_after_their_effect() -> None:
    """`before` prevents the effect, `after` loses only the answer, and the journal has both calls."""

    def crash(call: str, **details: Any) -> None:
        raise RuntimeError(f"{call} {sorted(details)}")

    world = world_of(1)
    broken, lossy = WorldBridges(world, before=crash), WorldBridges(world, after=crash)
    bridge = bridge_of(vms_of(world)[0])
    with pytest.raises(RuntimeError, match=r"set_drain \['on', 'vm_id'\]"):
        await broken.set_drain(target_of(world), on=True)
    drains = [bridge.drain]
    with pytest.raises(RuntimeError):
        await lossy.set_drain(target_of(world), on=True)
    assert [*drains, bridge.drain] == [False, True]
    assert [(call.name, call.at) for call in broken.journal + lossy.journal] == [("set_drain", START)] * 2
