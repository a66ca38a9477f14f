"""What is counted minute by minute in the same way for every policy, from the world alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from sandbox.cloud import SimVm
from sandbox.compare.fleet import Fleet

REVERSAL_WITHIN = timedelta(hours=1)


class Observer:
    """Looks once a minute at who leaves and who stays."""

    def __init__(self, fleet: Fleet) -> None:
        """Begin with what stands now."""
        self._fleet = fleet
        self._opened: set[str] = set()
        self._last_count: int | None = None
        self._steps: list[tuple[datetime, int]] = []
        self.drain_minutes = 0
        self.held_minutes = 0
        """Those of them in which calls still ran on the bridge."""
        self.behind_minutes = 0
        """Minutes of idle bridges, drained or not, with a busy older one: the literal rule keeps them."""

    def look(self) -> None:
        """Take note of this minute."""
        standing = self._fleet.scale_set.live_vms()
        leaving = [vm for vm in standing if self._is_leaving(vm)]
        self.drain_minutes += len(leaving)
        self.held_minutes += sum(1 for vm in leaving if _is_busy(vm))
        self.behind_minutes += _idle_behind_busy(standing)
        count = len(standing) - len(leaving) + self._fleet.scale_set.unlisted
        if self._last_count is not None and count != self._last_count:
            self._steps.append((self._fleet.now, 1 if count > self._last_count else -1))
        self._last_count = count

    def _is_leaving(self, vm: SimVm) -> bool:
        """Given up by its rule, or drained after it was open: a new bridge that starts drained is not."""
        bridge = vm.bridge
        if vm.name in self._fleet.leaving or (bridge is not None and bridge.graceful_shutdown):
            return True
        if bridge is None or not bridge.drain:
            if bridge is not None and bridge.listening:
                self._opened.add(vm.name)
            return vm.name in self._opened and (bridge is None or not bridge.listening)
        return vm.name in self._opened

    @property
    def reversals(self) -> int:
        """How often the fleet went out, in, and out again within an hour."""
        return count_reversals(self._steps)


def _is_busy(vm: SimVm) -> bool:
    return vm.bridge is not None and bool(vm.bridge.conferences)


def _idle_behind_busy(standing: Iterable[SimVm]) -> int:
    """Bridges without a conference that are younger than one that has some."""
    bridges = sorted((vm for vm in standing if vm.bridge is not None), key=lambda vm: vm.time_created)
    first_busy = next((place for place, vm in enumerate(bridges) if _is_busy(vm)), len(bridges))
    return sum(1 for vm in bridges[first_busy:] if not _is_busy(vm))


def count_reversals(steps: Iterable[tuple[datetime, int]]) -> int:
    """Count the scale-ins with a scale-out before and after them, the three within one hour."""
    turns: list[tuple[datetime, datetime, int]] = []
    for at, direction in steps:
        if turns and turns[-1][2] == direction:
            turns[-1] = (turns[-1][0], at, direction)
        else:
            turns.append((at, at, direction))
    found = 0
    for (before, middle), (_, after) in pairwise(pairwise(turns)):
        if middle[2] < 0 and after[0] - before[1] <= REVERSAL_WITHIN:
            found += 1
    return found
