"""Everything that one tick hears, and what is asked of whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scaler.decision import EventKind
from scaler.errors import Refused, TryNextTick
from scaler.model import BridgeMemory, Phase, PlatformLoad, Power
from scaler.observe import Ears, follow_operations, listen, target_of
from scaler.ports import Operation
from tests.scaler.builders import HOUR, MINUTE, NOW, SECOND, instance, intent, memory, poll
from tests.scaler.fakes import FakeBridges, FakeCloud, FakeMetrics


def ears(*machines: Any, metrics: FakeMetrics | None = None, **polls: Any) -> Ears:
    """A shard with these machines, whose bridges answer so."""
    return Ears(FakeCloud(machines), FakeBridges(polls={f"vm-{n}": p for n, p in polls.items()}), metrics)


@pytest.mark.parametrize(
    ("machine", "known", "process"),
    [
        ({}, memory("a", address="127.0.1.1"), False),
        ({}, memory("a", address="127.0.1.2"), True),
        ({}, memory("a", process_started_at=None), True),
        ({}, memory("a", phase=Phase.DRAINING), True),
        ({}, None, True),
        ({"address": None}, memory("a"), None),
        ({"power": Power.STOPPED}, memory("a"), None),
        ({"power": Power.UNKNOWN}, memory("a"), None),
        ({"provisioning": "Deleting"}, memory("a"), None),
    ],
)
def test_who_is_asked_and_for_its_process(
    machine: dict[str, Any], known: BridgeMemory | None, process: bool | None
) -> None:
    """Machines that run and have an address; the start time of whatever is not simply serving as before."""
    target = target_of(instance("a", **machine), known)
    assert (target.ask_process if target else None) is process


async def test_a_tick_hears_arm_bridges_and_monitor() -> None:
    """Addresses of bridges that were well, by the same process, need not be read again."""
    load = {"vm-a": PlatformLoad(NOW, 1.0, 2.0, 0.1)}
    told = ears(instance("a"), instance("b"), metrics=FakeMetrics(load), a=poll())
    known = [memory("a", address="127.0.1.1"), memory("b", address="127.0.1.2", polls="10"), memory("c")]
    known.append(memory("d", address="127.0.1.4", restart_seen_at=NOW - 4 * MINUTE))
    heard = await listen(told, {m.vm_id: m for m in known}, NOW)
    assert (heard.platform, set(heard.polls), heard.measures) == (load, {"vm-a", "vm-b"}, True)
    assert told.cloud.known == {"vm-a": "127.0.1.1"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [TryNextTick("503"), Refused("403", "no role")])
async def test_a_silent_monitor_is_a_value(error: Exception) -> None:
    """Colibri's figures go on alone; without machines, or without Monitor, it is not asked."""
    told = ears(instance("a"), metrics=FakeMetrics(error=error), a=poll())
    heard = await listen(told, {}, NOW)
    assert (heard.platform, heard.measures) == ({}, True)  # asked in vain: what it would tell is unknown
    assert (await listen(ears(metrics=FakeMetrics(error=error)), {}, NOW)).platform == {}
    heard = await listen(ears(instance("a")), {}, NOW)
    assert (heard.platform, heard.measures) == ({}, False)


async def test_a_drain_that_nobody_explains_is_asked_for_its_process() -> None:
    """A restarted JVB may start drained: only its start time tells."""
    told = ears(instance("a"), instance("b"), a=poll(drain=True), b=poll())
    known = {m.vm_id: m for m in (memory("a", address="127.0.1.1"), memory("b", address="127.0.1.2"))}
    await listen(told, known, NOW)
    asked = told.bridges.asked  # type: ignore[attr-defined]
    assert [(t.vm_id, t.ask_process) for t in asked] == [("vm-a", False), ("vm-b", False), ("vm-a", True)]


async def test_nobody_is_asked_at_an_address_that_two_machines_have() -> None:
    """Whose answer it is would not be known."""
    told = ears(
        instance("a", address="127.0.1.9"), instance("b", address="127.0.1.9"), instance("c"), c=poll()
    )
    assert set((await listen(told, {}, NOW)).polls) == {"vm-c"}


async def test_operations_are_read_once_until_they_end() -> None:
    """An error becomes that of its intent, or sets the next delete; what cannot be read goes on."""
    cloud = FakeCloud(
        operations={
            "op1": Operation(done=True, error="AllocationFailed: no room"),
            "op2": Operation(done=False),
            "op3": Operation(done=True),
            "op4": TryNextTick("503"),
            "del1": Operation(done=True, error="Locked: x"),
            "del2": Operation(done=True),
            "del3": Operation(done=False),
        }
    )
    intents = [*(intent(n) for n in range(1, 5)), intent(5, operation=None), intent(6, operation_done=True)]
    deleting: dict[str, Any] = {"phase": Phase.DELETING, "delete_attempts": 2}
    known = {n: memory(n, operation=f"del{i}", **deleting) for i, n in enumerate("abc", 1)}
    followed, after, events = await follow_operations(cloud, intents, {**known, "d": memory("d")}, NOW)
    assert [(i.error, i.operation_done) for i in followed] == [
        ("AllocationFailed: no room", True),
        (None, False),
        (None, True),
        (None, False),
        (None, False),
        (None, True),
    ]
    assert [after[n].operation for n in "abcd"] == [None, None, "del3", None]
    assert after["a"].delete_not_before == NOW + 5 * MINUTE
    assert [(e.kind, e.text) for e in events] == [(EventKind.DELETE_FAILED, "Locked: x")]


@pytest.mark.parametrize(("asked", "given_up"), [(HOUR - SECOND, False), (HOUR, True)])
async def test_a_delete_that_azure_never_ends_is_followed_for_an_hour(
    asked: timedelta, *, given_up: bool
) -> None:
    """Else a machine that Azure kept would stand there for ever, and nobody ask for its delete again."""
    cloud = FakeCloud(operations={"del1": Operation(done=False)})
    known = {"a": memory("a", operation="del1", phase=Phase.DELETING, delete_asked_at=NOW - asked)}
    _, after, events = await follow_operations(cloud, [], known, NOW)
    assert (after["a"].operation is None, len(events)) == (given_up, int(given_up))
    assert (after["a"].delete_not_before is not None) is given_up


async def test_an_operation_that_may_not_be_read_is_followed_no_more() -> None:
    """What ARM lists has to do: an answer that never comes must not count as one that is awaited."""
    cloud = FakeCloud(operations={"op1": Refused("403", "no role"), "del1": Refused("403", "no role")})
    known = {"a": memory("a", operation="del1", phase=Phase.DELETING)}
    followed, after, events = await follow_operations(cloud, [intent(1)], known, NOW)
    assert (followed[0].operation_done, followed[0].error, followed[0].is_open) == (True, None, True)
    assert (after["a"].operation, events) == (None, ())


async def test_the_error_of_a_write_whose_machine_came_is_not_its_error() -> None:
    """Of two machines asked for in one write, one may come."""
    cloud = FakeCloud(operations={"op1": Operation(done=True, error="AllocationFailed")})
    followed, _, _ = await follow_operations(cloud, [intent(1, vm_id="vm-a", ended_at=NOW)], {}, NOW)
    assert (followed[0].operation_done, followed[0].error) == (True, None)
