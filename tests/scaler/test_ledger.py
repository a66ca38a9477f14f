"""Intents are written at once, the rest at the end, and nobody's newer row is overwritten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.memory_store import MemoryStore
from scaler.errors import StateChanged
from scaler.ledger import Ledger
from scaler.model import BridgeMemory, CommandState, CreateIntent, Phase
from tests.scaler.builders import command, intent, memory, shard_memory


async def opened(
    store: MemoryStore, *bridges: BridgeMemory, intents: tuple[CreateIntent, ...] = ()
) -> Ledger:
    """A ledger on what is stored now, with these as they shall be."""
    rows = await store.load("s")
    return Ledger(store, "s", rows, shard_memory(), {b.vm_id: b for b in bridges}, intents)


def writes(store: MemoryStore) -> list[str]:
    """Names of the writes so far."""
    return [call.name for call in store.journal if call.name.startswith("put_")]


async def test_an_intent_is_in_the_table_before_it_returns_and_the_rest_when_saved() -> None:
    """What is only remembered is not written yet."""
    store = MemoryStore()
    ledger = await opened(store, memory("a"), memory("b"))
    await ledger.intend(replace(ledger.bridge("vm-a"), epoch=5))
    ledger.remember(replace(ledger.bridge("vm-b"), epoch=6))
    assert {row.value.epoch for row in (await store.load("s")).bridges.values()} == {5}
    await ledger.intend_machines([intent(1)])
    ledger.remember_machines([intent(1, operation="op"), intent(2)])
    await ledger.intend_state(shard_memory(epoch=9))
    assert writes(store) == ["put_bridges", "put_intents", "put_state"]
    await ledger.save()
    rows = await store.load("s")
    assert {row.value.name: row.value.epoch for row in rows.bridges.values()} == {"a": 5, "b": 6}
    assert {row.value.operation for row in rows.intents.values()} == {"op", "op2"}
    assert rows.state is not None
    assert rows.state.value.epoch == 9
    assert set(ledger.bridges) == {"vm-a", "vm-b"}


async def test_a_command_is_over_only_when_what_it_did_is_written() -> None:
    """Commands are written last, and only those that changed."""
    store = MemoryStore()
    store.order("s", command("pause"))
    store.order("s", command("floor"))
    rows = await store.load("s")
    taken = replace(command("pause"), state=CommandState.IN_FORCE)
    await Ledger(store, "s", rows, shard_memory(), {}, (), (taken, command("floor"))).save()
    assert writes(store) == ["put_state", "put_commands"]
    stored = (await store.load("s")).commands
    assert stored["pause-1"].value == taken
    assert stored["floor-1"] == rows.commands["floor-1"]


async def test_what_did_not_change_is_not_written() -> None:
    """A quiet tick writes no row."""
    store = MemoryStore()
    await (await opened(store, memory("a"), intents=(intent(1),))).save()
    before = writes(store)
    await (await opened(store, memory("a"), intents=(intent(1),))).save()
    assert writes(store) == before


async def test_what_is_gone_is_deleted_and_what_was_never_stored_is_not_written_as_gone() -> None:
    """The table holds what exists."""
    store = MemoryStore()
    await (await opened(store, memory("a"))).save()
    await (await opened(store, memory("a", phase=Phase.GONE), memory("b", phase=Phase.GONE))).save()
    assert (await store.load("s")).bridges == {}


async def test_a_row_that_another_wrote_is_not_overwritten() -> None:
    """The one who read it first must read again."""
    store = MemoryStore()
    mine, other = await opened(store, memory("a")), await opened(store, memory("a", epoch=2))
    await other.save()
    with pytest.raises(StateChanged):
        await mine.save()
    assert next(iter((await store.load("s")).bridges.values())).value.epoch == 2
