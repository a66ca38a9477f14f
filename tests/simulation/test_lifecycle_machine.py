"""The life of a bridge under any order of moves: what a phase has left behind is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaler.lifecycle import TABLE, IllegalMove, Move, after, moved
from scaler.model import BridgeMemory, Phase, Purpose
from tests.simulation.bounds import bounded

START = datetime(2026, 11, 18, 9, tzinfo=UTC)
PROOFS_OF_EXIT = ("fenced_at", "refused_since", "refused_seen_at", "exited_at")


class LifeMachine(RuleBasedStateMachine):
    """One machine, moved at random, with proofs that are gathered at random."""

    def __init__(self) -> None:
        """It boots."""
        super().__init__()
        self.now = START
        self.memory = BridgeMemory("vm", "vm", Phase.BOOTING, START, START)
        self.deletes_asked = 0

    @rule(move=st.sampled_from(Move))
    def move(self, move: Move) -> None:
        """Every move is in the table, or is refused and changes nothing."""
        self.now += timedelta(seconds=1)
        before = self.memory
        if (before.phase, move) not in TABLE:
            try:
                after(before.phase, move)
            except IllegalMove:
                return
            raise AssertionError("a move that the table does not have")
        self.memory = moved(before, move, self.now)
        if self.memory.phase is not before.phase:
            assert self.memory.phase_since == self.now
        else:
            assert self.memory.phase_since == before.phase_since

    @precondition(lambda self: self.memory.phase is Phase.FENCED)
    @rule()
    def prove_exit(self) -> None:
        """Its port was refused long enough."""
        self.memory = replace(self.memory, exited_at=self.now, refused_since=self.now)

    @precondition(lambda self: self.memory.phase is Phase.DRAINING)
    @rule(purpose=st.sampled_from(Purpose))
    def prove_empty(self, purpose: Purpose) -> None:
        """It was found empty."""
        self.memory = replace(self.memory, purpose=purpose, wanted_drain=True, empty_since=self.now)

    @invariant()
    def a_bridge_that_serves_has_no_drain_and_no_proof(self) -> None:
        """So that no proof outlives the process that it proved something of."""
        if self.memory.phase is Phase.READY:
            kept = [
                name for name in (*PROOFS_OF_EXIT, "empty_since", "purpose") if getattr(self.memory, name)
            ]
            assert kept == []
            assert not self.memory.wanted_drain

    @invariant()
    def nothing_that_drains_has_a_proof_of_its_exit(self) -> None:
        """Else a second fence would be followed by a delete at once."""
        if self.memory.phase in (Phase.DRAINING, Phase.FAILED):
            assert [name for name in PROOFS_OF_EXIT if getattr(self.memory, name)] == []


LifeMachine.TestCase.settings = bounded(examples=60, steps=40)
TestLife = LifeMachine.TestCase
