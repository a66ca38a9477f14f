"""The store in memory keeps the promises of the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.memory_store import MemoryStore
from scaler.errors import LeaseHeld, StateChanged
from scaler.model import BridgeMemory, CreateIntent, Phase, ShardMemory
from scaler.ports import Store, Stored
from tests.sandbox.worlds import START


def memory_of(vm_id: str, phase: Phase = Phase.READY) -> BridgeMemory:
    """A row of one machine."""
    return BridgeMemory(vm_id, f"jvb_{vm_id}", phase, START, START)


async def test_every_write_has_a_fresh_etag_and_checks_the_old_one() -> None:
    """Writing under an etag that is not the newest is refused and changes nothing."""
    store: Store = MemoryStore()
    first = await store.put_state("a", Stored(ShardMemory(START), None))
    second = await store.put_state("a", Stored(ShardMemory(START, epoch=2), first.etag))
    assert first.etag != second.etag
    with pytest.raises(StateChanged):
        await store.put_state("a", Stored(ShardMemory(START, epoch=3), first.etag))
    with pytest.raises(StateChanged):
        await store.put_state("a", Stored(ShardMemory(START, epoch=4), None))
    assert (await store.load("a")).state == second
    assert (await store.load("b")).state is None


async def test_transaction_is_all_or_nothing() -> None:
    """One stale row in a transaction leaves the others unwritten; an earlier hundred stays written."""
    store = MemoryStore()
    (known,) = await store.put_bridges("a", [Stored(memory_of("x"), None)])
    stale = replace(known, etag="old")
    with pytest.raises(StateChanged):
        await store.put_bridges("a", [Stored(memory_of("y"), None), stale])
    assert set((await store.load("a")).bridges) == {"x"}
    many = [Stored(memory_of(f"{n:03d}"), None) for n in range(100)]
    with pytest.raises(StateChanged):
        await store.put_bridges("a", [*many, stale])
    assert len((await store.load("a")).bridges) == 101


async def test_phase_gone_deletes_the_row() -> None:
    """A bridge that is gone is forgotten; one that was never stored needs no write."""
    store = MemoryStore()
    (known,) = await store.put_bridges("a", [Stored(memory_of("x"), None)])
    gone = [Stored(memory_of("x", Phase.GONE), known.etag), Stored(memory_of("y", Phase.GONE), None)]
    assert [row.etag for row in await store.put_bridges("a", gone)] == [None, None]
    assert (await store.load("a")).bridges == {}
    with pytest.raises(StateChanged):
        await store.put_bridges("a", gone[:1])


async def test_lease_has_one_holder_and_a_growing_epoch() -> None:
    """Another owner is turned away until the lease ends or is given back; each holder gets the next epoch."""
    store = MemoryStore()
    first = await store.acquire("a", "one", START, 60)
    with pytest.raises(LeaseHeld):
        await store.acquire("a", "two", START + timedelta(seconds=59), 60)
    second = await store.acquire("a", "two", START + timedelta(seconds=60), 60)
    await store.release(first, START + timedelta(seconds=61))
    with pytest.raises(LeaseHeld):
        await store.acquire("a", "one", START + timedelta(seconds=62), 60)
    await store.release(second, START + timedelta(seconds=63))
    third = await store.acquire("a", "one", START + timedelta(seconds=64), 60)
    assert (first.epoch, second.epoch, third.epoch) == (1, 2, 3)


async def test_ended_intents_are_shown_for_a_day() -> None:
    """Open intents stay for ever, ended ones for a day."""
    store = MemoryStore()
    ended = CreateIntent("ended", START, 1, 2, "hot", ended_at=START)
    await store.put_intents(
        "a", [Stored(ended, None), Stored(CreateIntent("open", START, 1, 2, "hot"), None)]
    )
    for hours, expected in ((24, {"ended", "open"}), (25, {"open"})):
        lease = await store.acquire("a", "one", START + timedelta(hours=hours), 60)
        assert set((await store.load("a")).intents) == expected
        await store.release(lease, START + timedelta(hours=hours))


async def test_records_come_newest_first_and_can_be_bounded() -> None:
    """Decisions and events of today and yesterday, newest first, and no more than are kept."""
    store = MemoryStore(records_kept=3)
    for n in range(5):
        await store.append_decision("a", START + timedelta(minutes=n), {"n": n})
    await store.append_events("a", START, [{"n": 1}, {"n": 2}])
    now = START + timedelta(hours=1)
    assert await store.decisions("a", now, 10) == [{"n": 4}, {"n": 3}, {"n": 2}]
    assert await store.decisions("a", now, 1) == [{"n": 4}]
    assert await store.events("a", now, 10) == [{"n": 2}, {"n": 1}]
    assert await store.decisions("a", now + timedelta(days=2), 10) == []
    await store.append_usage("a", START, {"n": 1})
    await store.append_usage("a", START + timedelta(seconds=30), {"n": 2})
    assert list(store.usage("a").values()) == [{"n": 2}]


async def test_hook_can_make_the_tables_unreachable() -> None:
    """What a hook raises before a write, the caller gets, and nothing is written."""

    def unreachable(call: str, **details: Any) -> None:
        if call == "put_state":
            raise ConnectionError(call)

    store = MemoryStore(before=unreachable)
    with pytest.raises(ConnectionError):
        await store.put_state("a", Stored(ShardMemory(START), None))
    assert (await store.load("a")).state is None
    assert [call.name for call in store.journal] == ["put_state", "load"]
