"""Takes the call-backs of booting machines: writes those that ARM vouches for, counts the others."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from typing import Any

from scaler.boots import BootReport, NotTaken, Refusal, caller, check, not_ours, noted, read_report
from scaler.model import BridgeMemory
from scaler.ports import Stored
from scaler.tick import Engine

LEASE_SECONDS = 20.0
"""A call-back only reads and writes a row: should it die on the way, no tick waits for long."""

log = logging.getLogger("jvb_autoscaler.boot")


class BootCalls:
    """The call-backs of one process: how many were taken, and how many refused by reason."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        """`run_id` names this process in leases."""
        self._engine, self._run_id, self._runs = engine, run_id, itertools.count(1)
        self.taken = 0
        self.refused: Counter[Refusal] = Counter()

    async def take(self, body: bytes, forwarded_for: str | None) -> BootReport:
        """
        Write a call-back into its machine's row, under the shard's lease.

        Raises `NotTaken` (nothing is written), `LeaseHeld` (a tick runs: again in some seconds), and
        `TryNextTick`, `StateChanged` or `Refused` (the tables).
        """
        try:
            report = read_report(body)
            await self._write(report, caller(forwarded_for))
        except NotTaken as refused:
            self.refused[refused.refusal] += 1
            log.warning("boot call-back not taken: %s", refused.refusal)
            raise
        self.taken += 1
        log.info("boot of %s in %s: %s in phase %s", report.vm_id, report.shard, report.outcome, report.phase)
        return report

    def counts(self) -> dict[str, Any]:
        """What came of the call-backs since this process started: plain JSON values."""
        return {"taken": self.taken, "refused": {str(why): count for why, count in self.refused.items()}}

    async def _write(self, report: BootReport, source: str | None) -> None:
        store, now = self._engine.store, self._engine.clock.now()
        if report.shard not in self._engine.shards:
            raise not_ours()
        policy = self._engine.shards[report.shard].policy

        async def row() -> Stored[BridgeMemory]:
            found = (await store.load(report.shard)).bridges.get(report.vm_id)
            memory = check(found.value if found else None, source, policy, now)
            return Stored(memory, found.etag if found else None)

        await row()  # anybody may call: the lease, which ticks need, is taken for a machine of ours only
        holder = f"{self._run_id}-boot-{next(self._runs)}"
        lease = await store.acquire(report.shard, holder, now, LEASE_SECONDS)
        try:
            found = await row()
            await store.put_bridges(report.shard, [Stored(noted(found.value, report, now), found.etag)])
        finally:
            await store.release(lease, self._engine.clock.now())
