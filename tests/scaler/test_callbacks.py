"""The engine hears of a boot: written into the row, told where a person looks, and never needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.inprocess import InProcess
from sandbox.world import BootModel
from scaler.boots import NotTaken, Refusal
from scaler.callbacks import BootCalls
from scaler.errors import LeaseHeld
from scaler.model import BridgeMemory, Phase
from tests.scaler.worlds import SHARD, install, memories, run, state, world_of

NEVER = BootModel(never=1.0)
SOON = BootModel(median_s=150, p95_s=150)


def body(vm: BridgeMemory, **changes: Any) -> bytes:
    sent = {
        "shard": SHARD,
        "vm_id": vm.vm_id,
        "outcome": "ready",
        "phase": "ready",
        "seconds": {"health": 66.0},
    }
    return json.dumps({**sent, **changes}).encode()


async def booting(boot: BootModel, **policy: Any) -> tuple[InProcess, BridgeMemory]:
    """An installation with one old bridge and one machine that boots."""
    it = install(world_of((3,), boot=boot), min_bridges=2, **policy)
    await run(it, 2)
    (new,) = [each for each in (await memories(it)).values() if each.phase is Phase.BOOTING]
    assert new.address is not None
    return it, new


async def test_a_call_back_lands_in_the_bridges_row_and_ready_comes_from_our_own_poll() -> None:
    """'Ready' said too early opens nothing; the row has the phases, and later our own measure."""
    it, new = await booting(SOON)
    calls = BootCalls(it.engine, "run")
    await calls.take(body(new), f"{new.address}:5000")
    known = (await memories(it))[new.name]
    assert (known.phase, known.ready_after_seconds) == (Phase.BOOTING, None)
    assert (known.boot.outcome, known.boot.seconds, calls.taken) == ("ready", {"health": 66.0}, 1)
    await run(it, 5)
    known = (await memories(it))[new.name]
    assert known.phase is Phase.READY
    assert known.boot.seconds == {"health": 66.0}
    assert known.ready_after_seconds is not None
    assert 150 <= known.ready_after_seconds <= 300


async def test_without_a_call_back_the_bridge_is_found_all_the_same() -> None:
    """Its row has our own measure and no remark."""
    it, new = await booting(SOON)
    await run(it, 5)
    known = (await memories(it))[new.name]
    assert (known.phase, known.boot.reports) == (Phase.READY, 0)
    assert known.ready_after_seconds is not None


async def test_the_last_boot_text_stands_in_the_alert() -> None:
    """Two boots failed: the alert says in the machine's words why, and not only that nobody answered."""
    it, new = await booting(NEVER)
    calls = BootCalls(it.engine, "run")
    told = {"outcome": "failed", "phase": "secrets", "reason": "Key Vault answers 403 for secret x"}
    heard = {new.vm_id}
    await calls.take(body(new, **told), new.address)
    for _ in range(40):
        await run(it, 1)
        for each in (await memories(it)).values():
            if each.phase is Phase.BOOTING and each.vm_id not in heard and each.address:
                heard.add(each.vm_id)
                await calls.take(body(each, **told), each.address)
        if (await state(it)).boot_failures >= 2:
            break
    assert len(heard) >= 2
    await run(it, 1)
    rows = await it.store.events(SHARD, it.world.now, 1000)
    (alert,) = [row["text"] for row in rows if row["kind"] == "alert" and "in a row" in row["text"]]
    assert "its boot failed in secrets: Key Vault answers 403 for secret x" in alert


@pytest.mark.parametrize(
    ("changes", "source", "refusal"),
    [
        ({"shard": "other"}, None, Refusal.NOT_OURS),
        ({"vm_id": "11111111-0000-0000-0000-000000000000"}, None, Refusal.NOT_OURS),
        ({}, "192.0.2.1", Refusal.NOT_OURS),
        ({"outcome": "fine"}, None, Refusal.NOT_UNDERSTOOD),
    ],
)
async def test_what_is_not_taken_leaves_a_count_and_no_row(
    changes: dict[str, Any], source: str | None, refusal: Refusal
) -> None:
    """Refused calls are counted by reason; no row changes, and no lease is taken from a tick."""
    it, new = await booting(SOON)
    before, calls = await it.store.load(SHARD), BootCalls(it.engine, "run")
    await it.store.acquire(SHARD, "a tick", it.world.now, 60)
    with pytest.raises(NotTaken):
        await calls.take(body(new, **changes), source or new.address)
    assert dict(calls.refused) == {refusal: 1}
    assert (await it.store.load(SHARD)).bridges == before.bridges


async def test_the_fourth_call_back_of_a_machine_is_refused() -> None:
    """Three are enough for answers that got lost."""
    it, new = await booting(SOON)
    calls = BootCalls(it.engine, "run")
    for _ in range(3):
        await calls.take(body(new), new.address)
    with pytest.raises(NotTaken) as raised:
        await calls.take(body(new), new.address)
    assert raised.value.refusal is Refusal.TOO_MANY
    assert (await memories(it))[new.name].boot.reports == 3


async def test_a_tick_is_not_disturbed() -> None:
    """While a tick holds the lease nothing is written; afterwards the lease is free for the next tick."""
    it, new = await booting(SOON)
    calls = BootCalls(it.engine, "run")
    lease = await it.store.acquire(SHARD, "a tick", it.world.now, 60)
    with pytest.raises(LeaseHeld):
        await calls.take(body(new), new.address)
    await it.store.release(lease, it.world.now)
    await calls.take(body(new), new.address)
    it.world.advance(60)
    assert [report.result for report in await it.tick()] == ["done"]
