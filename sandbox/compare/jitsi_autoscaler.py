"""jitsi-autoscaler with the values of its own operations: mean stress, one machine at a time."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from sandbox.cloud import SimVm
from sandbox.compare.fleet import Fleet, Rule

UP_FROM, UP_BUCKETS = 0.65, 2
DOWN_BELOW, DOWN_BUCKETS = 0.40, 20
BUCKET_S = 60
PAUSE = timedelta(seconds=480)
PROTECTED = timedelta(minutes=10)


class JitsiAutoscaler(Rule):
    """A wanted count that moves by one, a launcher that closes the gap, graceful shutdowns."""

    period_s = 30

    def __init__(self, fleet: Fleet) -> None:
        """Begin with the present count as the wanted one."""
        self._fleet = fleet
        self._buckets: deque[float] = deque(maxlen=DOWN_BUCKETS)
        self._paused_until: datetime | None = None
        self.wanted = fleet.count

    def step(self) -> None:
        """One round: reports, the decision, the launcher."""
        self._fleet.collect_exited()
        if self._fleet.now.timestamp() % BUCKET_S == 0:
            self._take_reports()
        self._decide()
        self._launch()

    def _take_reports(self) -> None:
        """Mean over all that report. Nobody reporting reads as no load."""
        stress = [vm.bridge.stress for vm in self._fleet.serving() if vm.bridge is not None]
        self._buckets.append(sum(stress) / len(stress) if stress else 0.0)

    def _decide(self) -> None:
        now = self._fleet.now
        paused = self._paused_until is not None and now < self._paused_until
        if paused or self.wanted != self._fleet.count:
            return
        change = self._change()
        wanted = min(max(self.wanted + change, self._fleet.minimum), self._fleet.maximum)
        if wanted != self.wanted:
            self.wanted = wanted
            self._paused_until = now + PAUSE

    def _change(self) -> int:
        buckets = [*self._buckets]
        if len(buckets) >= UP_BUCKETS and all(stress >= UP_FROM for stress in buckets[-UP_BUCKETS:]):
            return 1
        if len(buckets) == DOWN_BUCKETS and all(stress < DOWN_BELOW for stress in buckets):
            return -1
        return 0

    def _launch(self) -> None:
        surplus = self._fleet.count - self.wanted
        if surplus < 0:
            self._fleet.add(-surplus)
        for vm in self._victims()[: max(surplus, 0)]:
            self._fleet.shut_down(vm)

    def _victims(self) -> list[SimVm]:
        """Without a report first, then fewest people; the young are protected."""
        young = self._fleet.now - PROTECTED
        old_enough = [vm for vm in self._fleet.staying() if vm.time_created <= young]
        return sorted(old_enough, key=_people)


def _people(vm: SimVm) -> int:
    return vm.bridge.people if vm.bridge is not None and vm.bridge.muc_joined else -1
