"""The lease, played by any number of processes in any order: a state machine with a model of its own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from sandbox.memory_store import MemoryStore
from scaler.errors import LeaseHeld
from scaler.ports import Lease
from tests.simulation.bounds import bounded

SECONDS = 150.0


class LeaseMachine(RuleBasedStateMachine):
    """Processes take, give back and forget the lease while time passes."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        """Nobody holds it."""
        super().__init__()
        self.store = MemoryStore()
        self.now = datetime(2026, 11, 18, 9, tzinfo=UTC)
        self.epochs: list[int] = []
        self.holder: Lease | None = None

    def call(self, coroutine: Any) -> Any:
        """Run one call of the store."""
        return asyncio.run(coroutine)

    @rule(target=leases, owner=st.sampled_from("abc"))
    def acquire(self, owner: str) -> Any:
        """Whoever asks gets it, unless another holds it now."""
        held = self.holder is not None and self.holder.until > self.now and self.holder.owner != owner
        try:
            lease = self.call(self.store.acquire("s", owner, self.now, SECONDS))
        except LeaseHeld:
            assert held, "refused, and nobody held it"
            return multiple()
        assert not held, "granted, and another held it"
        self.epochs.append(lease.epoch)
        self.holder = lease
        return lease

    @rule(lease=leases)
    def release(self, lease: Lease) -> None:
        """One that was lost meanwhile is given back without harm."""
        self.call(self.store.release(lease, self.now))
        if self.holder is not None and self.holder.etag == lease.etag:
            self.holder = None

    @rule(seconds=st.integers(min_value=1, max_value=200))
    def wait(self, seconds: int) -> None:
        """Time passes; a holder that died is not waited for longer than its lease."""
        self.now += timedelta(seconds=seconds)

    @invariant()
    def epochs_only_grow(self) -> None:
        """No two holders share one, so that an old holder can be told from the new."""
        assert self.epochs == sorted(set(self.epochs))


LeaseMachine.TestCase.settings = bounded(examples=40, steps=30)
TestLease = LeaseMachine.TestCase
