"""Each checker catches an engine that is broken on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import scaler.act
import scaler.commands
import scaler.decide
import scaler.demand
import scaler.scale_in
import scaler.scale_out
import scaler.selection
import scaler.tick
from sandbox.faults import Fault
from sandbox.memory_store import MemoryStore
from sandbox.simulation import Verdict, live_through
from scaler.decision import Cause, Decision, Delete, Drain
from scaler.errors import TryNextTick
from scaler.ledger import Ledger
from scaler.model import Bridge, BridgeMemory, Command, CommandKind, Phase, Purpose, Snapshot
from scaler.policy import ScalingPolicy
from scaler.selection import Fleet

CALM: tuple[Fault, ...] = ()
SEEDS = range(1, 13)
HOURS = 2.0


def complaints(plan: Sequence[Fault] | None = CALM, seeds: range = SEEDS) -> Iterator[Verdict]:
    """Verdicts of the runs that failed."""
    return (verdict for seed in seeds if (verdict := live_through(seed, HOURS, plan)).failed)


def caught(checker: str, words: str, plan: Sequence[Fault] | None = CALM, seeds: range = SEEDS) -> bool:
    """Whether this checker says this of some run."""
    return any(
        violation.checker == checker and words in violation.text
        for verdict in complaints(plan, seeds)
        for violation in verdict.violations
    )


def test_the_engine_as_it_is_has_nothing_against_it_in_a_calm_run() -> None:
    """Else the other tests would prove nothing."""
    assert list(complaints(seeds=range(1, 5))) == []


# WORLD


def _delete_a_busy_one(fleet: Fleet) -> scaler.scale_in.Shrink:
    busy = next((b for b in fleet.live if b.phase is Phase.READY and b.idle is False), None)
    if busy is None:
        return scaler.scale_in.Shrink()
    return scaler.scale_in.Shrink(actions=(Delete(busy.vm_id, Cause.TEAR_DOWN, "broken on purpose"),))


async def _nothing_is_proved(*_args: Any) -> None:
    return None


def test_a_delete_without_an_exit_is_caught_by_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose JVB runs is deleted."""
    monkeypatch.setattr(scaler.decide, "deletes", _delete_a_busy_one)
    monkeypatch.setattr(scaler.act, "_prove_gone", _nothing_is_proved)
    assert caught("world", "while its JVB runs")


def test_a_call_that_is_cut_is_caught_by_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever the journal says: the call lost its bridge by us."""
    monkeypatch.setattr(scaler.decide, "deletes", _delete_a_busy_one)
    monkeypatch.setattr(scaler.act, "_prove_gone", _nothing_is_proved)
    assert caught("world", "lost")


def test_a_capacity_that_is_lowered_is_caught_by_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure picks the victims, and nobody asked for those machines."""
    monkeypatch.setattr(scaler.scale_out, "expected_capacity", lambda fleet: len(fleet.bridges) - 2)
    monkeypatch.setattr(scaler.scale_out, "capacity_disagrees", lambda _fleet: False)
    assert caught("world", "nobody asked for that machine")


# KNOWLEDGE


def without(monkeypatch: pytest.MonkeyPatch, *terms: str) -> None:
    """Leave terms of the rule out of the engine."""
    broken = [getattr(scaler.selection, term) for term in terms]
    for name in ("LITERAL_TERMS", "SAFETY_TERMS"):
        kept = tuple(term for term in getattr(scaler.scale_in, name) if term not in broken)
        monkeypatch.setattr(scaler.scale_in, name, kept)


def test_the_last_bridge_that_is_drained_is_caught_by_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one healthy, and others that accept."""
    without(monkeypatch, "only_healthy", "at_minimum", "last_accepting")
    assert caught("knowledge", "others accept")


def test_a_busy_bridge_that_is_torn_down_is_caught_by_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle is one of the four terms."""
    without(monkeypatch, "not_idle")
    monkeypatch.setattr(scaler.act, "_empty", lambda _report: True)
    assert caught("knowledge", "no fresh report that it is empty")


def test_a_young_bridge_that_is_torn_down_is_caught_by_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over 55 minutes, machine and process."""
    without(monkeypatch, "too_young")
    monkeypatch.setattr(scaler.act, "_prove_age", lambda *_args: None)
    assert caught("knowledge", "not old enough", seeds=range(1, 25))


def test_one_that_goes_while_the_list_lacks_another_is_caught_by_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that is not listed may be the older one."""
    decide = scaler.decide.decide

    def believes_the_list(snapshot: Snapshot, policy: ScalingPolicy) -> Decision:
        return decide(replace(snapshot, unlisted=frozenset()), policy)

    monkeypatch.setattr(scaler.tick, "decide", believes_the_list)
    lacks = tuple(Fault("arm_list_lacks", 60 + 600 * n, 600, pick=2 * n + 1) for n in range(12))
    assert caught("knowledge", "the list lacks a machine", lacks)


def test_a_younger_bridge_that_goes_first_is_caught_by_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest goes first."""
    without(monkeypatch, "not_oldest")
    monkeypatch.setattr(scaler.scale_in, "oldest", lambda fleet: next(iter(reversed(fleet.live)), None))
    assert caught("knowledge", "not the oldest")


def test_a_fence_without_two_empty_reports_is_caught_by_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One empty moment is not two."""
    monkeypatch.setattr(scaler.scale_in, "is_proved_empty", lambda _memory: True)
    monkeypatch.setattr(scaler.act, "_prove_empty_and_drained", lambda *_args, **_more: None)
    assert caught("knowledge", "empty")


def test_two_new_drains_in_one_tick_are_caught_by_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are stale the moment something is taken away."""

    def all_at_once(fleet: Fleet, *_args: Any, **_more: Any) -> scaler.scale_in.Shrink:
        ready = [b for b in fleet.accepting if b.idle][1:]
        actions = tuple(Drain(b.vm_id, Purpose.TEAR_DOWN, "broken") for b in ready)
        return scaler.scale_in.Shrink(actions=actions)

    monkeypatch.setattr(scaler.decide, "drains", all_at_once)
    assert caught("knowledge", "second new drain")


def test_a_purchase_beyond_the_maximum_is_caught_by_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maximum is a promise about money."""
    monkeypatch.setattr(scaler.scale_out, "machines_against_maximum", lambda _fleet: 0)
    monkeypatch.setattr(scaler.demand, "bridges_for", lambda *_args: 30)
    assert caught("knowledge", "over the maximum")


def test_a_repair_from_a_list_that_lacks_a_machine_is_caught_by_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine that the list lacks stands there, and Azure would choose another to make up for it."""
    lacks = tuple(Fault("arm_list_lacks", 600 * n, 600, pick=2 * n) for n in range(1, 12))
    monkeypatch.setattr(scaler.scale_out, "LIST_IS_NEVER_OLDER", timedelta(0))
    assert caught("knowledge", "a repair while the list lacks a machine", lacks)


# BOOKS


def test_an_act_that_is_not_written_first_is_caught_by_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembered only for the end of the tick: a crash behind the call would forget it."""

    async def only_remember(ledger: Ledger, memory: BridgeMemory) -> None:
        ledger.remember(memory)

    monkeypatch.setattr(Ledger, "intend", only_remember)
    assert caught("books", "not written down first")


def test_a_purchase_without_an_intent_is_caught_by_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for must be known to the next process."""

    async def only_remember(ledger: Ledger, intents: Sequence[Any]) -> None:
        ledger.remember_machines(intents)

    monkeypatch.setattr(Ledger, "intend_machines", only_remember)
    assert caught("books", "has no intent", None)


def test_an_act_under_a_lost_lease_is_caught_by_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes no lease writes capacity beside the one that did."""

    async def unleased(self: Any, shard: Any, started: Any, pace: Any, *, nightly: bool) -> Any:
        try:
            lease = await self.store.acquire(shard.name, "the-same-for-all", started, 150.0)
        except TryNextTick:
            return scaler.tick.Report(shard.name, started, "failed", "no table")
        rows = await self.store.load(shard.name)
        lost = replace(lease, epoch=lease.epoch - 1)
        report, _ = await self._run(shard, lost, rows, nightly=nightly)
        return report

    monkeypatch.setattr(scaler.tick.Engine, "_leased", unleased)
    assert caught("books", "epoch")


def test_a_tick_without_a_record_is_caught_by_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could say afterwards why a bridge went."""
    monkeypatch.setattr(
        scaler.tick, "record", lambda *_args, **_more: {"sentence": "", "actions": [], "totals": {}}
    )
    assert caught("books", "stands in no decision record")


def test_an_error_of_the_engine_itself_is_caught_by_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that fails by our own fault is no fault of the world."""

    def fails(*_args: Any, **_more: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(scaler.tick, "decide", fails)
    assert caught("books", "a fault of the autoscaler itself", seeds=range(1, 2))


def test_a_row_that_would_not_read_back_is_caught_by_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is a later change that no cell holds: a word for a number, a half, nothing for no."""
    put_bridges = MemoryStore.put_bridges

    def broken(**cells: Any) -> None:
        async def put(store: MemoryStore, shard: str, rows: Any) -> Any:
            old = [row for row in rows if row.value.polls.count("1") > 3]
            changes = [replace(row, value=replace(row.value, **cells)) if row in old else row for row in rows]
            return await put_bridges(store, shard, changes)

        monkeypatch.setattr(MemoryStore, "put_bridges", put)

    broken(restarts="two")
    assert caught("books", "is not a whole number", seeds=range(1, 2))
    broken(restarts=2.5)
    assert caught("books", "is not a whole number", seeds=range(1, 2))
    broken(wanted_drain=None)
    assert caught("books", "reads back as something else", seeds=range(1, 2))
    broken(address="10.0.0.1\x00")
    assert caught("books", "reads back as something else", seeds=range(1, 2))


# LIVENESS


def test_an_engine_that_never_fences_does_not_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its drains stay for ever."""
    monkeypatch.setattr(scaler.decide, "fences", lambda _fleet: scaler.scale_in.Shrink())
    assert any(verdict.complaint == "liveness" for verdict in complaints(seeds=range(1, 3)))


# Commands


def test_a_word_that_removes_a_serving_machine_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """`replace` against a bridge that answers ends its calls, whoever gave it."""
    plan = [Fault("command_replace", 600, 600, pick=4 * number) for number in range(3)]

    def believe(command: Command, bridge: Bridge, _fleet: Fleet) -> Delete:
        return Delete(bridge.vm_id, Cause.REPLACED, command.why)

    async def prove_nothing(*_args: Any) -> None:
        return

    monkeypatch.setitem(scaler.commands._STEPS, CommandKind.REPLACE, believe)
    assert not caught("knowledge", "something answers on it", plan, range(1, 3))  # proved again in the act
    monkeypatch.setattr(scaler.act, "_prove_gone", prove_nothing)
    assert caught("world", "while its JVB runs", plan) or caught("knowledge", "something answers", plan)


def test_a_drain_of_the_last_bridge_by_command_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's drain has to leave one that accepts."""
    plan = [Fault("command_drain", 600 + 60 * number, 3000, pick=number) for number in range(8)]
    assert list(complaints(plan, range(1, 4))) == []
    monkeypatch.setattr(Fleet, "accepting_others", lambda _fleet, _bridge: 1)
    assert caught("knowledge", "no other bridge accepts", plan)
