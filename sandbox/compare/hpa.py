"""A Horizontal Pod Autoscaler in front of bridges, as schools and universities run them."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from math import ceil

from sandbox.compare.fleet import Fleet, Rule, cpu_use
from sandbox.compare.literal import CPU_LIMIT, NIC_LIMIT

TARGET = 0.7
STABILISATION = timedelta(minutes=5)


class HorizontalPodAutoscaler(Rule):
    """
    Count times mean use over target: out at once, in to the highest wish of the last five minutes.

    A pod that does not serve yet counts with no use, as Kubernetes has it when it scales out.
    """

    period_s = 15

    def __init__(self, fleet: Fleet) -> None:
        """Begin without a wish."""
        self._fleet = fleet
        self._wishes: deque[tuple[datetime, int]] = deque()

    def step(self) -> None:
        """One round of the controller."""
        fleet = self._fleet
        fleet.collect_exited()
        wish = min(max(self._wanted(), fleet.minimum), fleet.maximum)
        self._remember(wish)
        if wish > fleet.count:
            fleet.add(wish - fleet.count)
        highest = max(number for _, number in self._wishes)
        youngest_first = sorted(fleet.staying(), key=lambda vm: -vm.number)
        for vm in youngest_first[: max(fleet.count - highest, 0)]:
            fleet.shut_down(vm)

    def _wanted(self) -> int:
        fleet = self._fleet
        use = sum(max(fleet.nic_use(vm) / NIC_LIMIT, cpu_use(vm) / CPU_LIMIT) for vm in fleet.serving())
        return ceil(round(use / TARGET, 9))

    def _remember(self, wish: int) -> None:
        now = self._fleet.now
        self._wishes.append((now, wish))
        while self._wishes[0][0] <= now - STABILISATION:
            self._wishes.popleft()
