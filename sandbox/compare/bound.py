"""
The clairvoyant bound: the fewest bridges that carry each minute's demand, the future being known.

No policy that keeps every bridge under its thresholds can reach it: machines are there the second
that they are needed and gone the second after, and conferences are poured over them like water.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from math import ceil

from sandbox.cloud import ScaleSetSpec
from sandbox.traffic import AWAKE_MICROCORES, AWAKE_PEOPLE, IDLE_MICROCORES, effective_microcores, work_of
from sandbox.workload import PlannedConference, Workload


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one bridge carries at its thresholds."""

    people: int
    mbps: float
    microcores: float

    @classmethod
    def of(cls, spec: ScaleSetSpec, people_per_vcpu: int, nic_share: float, cpu_share: float) -> Capacity:
        """Capacity of a machine of this scale set."""
        microcores = cpu_share * effective_microcores(spec.vcpus)
        return cls(people_per_vcpu * spec.vcpus, spec.nic_mbps * nic_share, microcores)


@dataclass(frozen=True, slots=True)
class Demand:
    """What all conferences together ask for at one moment."""

    people: int = 0
    sends_kbps: int = 0
    receives_kbps: int = 0
    microcores: int = 0

    def changed(self, before: int, after: int) -> Demand:
        """The demand when one conference has grown or shrunk; one alone needs no bridge."""
        old, new = work_of(before if before > 1 else 0), work_of(after if after > 1 else 0)
        return Demand(
            self.people + new.people - old.people,
            self.sends_kbps + new.sends_kbps - old.sends_kbps,
            self.receives_kbps + new.receives_kbps - old.receives_kbps,
            self.microcores + new.microcores - old.microcores,
        )

    def bridges(self, each: Capacity) -> int:
        """Fewest bridges that carry it, at least one."""
        return bridges_for(self.full_bridges(each), 1.0)

    def full_bridges(self, each: Capacity) -> float:
        """How many bridges it fills to their thresholds: 2.5 is two and a half."""
        mbps = max(self.sends_kbps, self.receives_kbps) / 1000
        # The fixed cost of serving anybody is least when the people sit on as few bridges as can be.
        awake = AWAKE_MICROCORES * max(min(self.people / AWAKE_PEOPLE, 1.0), self.people / each.people)
        by_cpu = (self.microcores + awake) / (each.microcores - IDLE_MICROCORES)
        return max(self.people / each.people, mbps / each.mbps, by_cpu)


def bridges_for(full_bridges: float, pressure: float) -> int:
    """Fewest bridges that carry a demand when each is filled to `pressure`, at least one."""
    return max(1, ceil(round(full_bridges / pressure, 9)))


def accepting_by_rule(demands: Iterable[float], out_pressure: float, in_pressure: float) -> Iterator[int]:
    """
    Fewest accepting bridges for each minute that this product's own limits allow.

    More are there the minute that the demand is over `out_pressure` on each. One a minute goes
    where the rest stand at or under `in_pressure`. Nobody waits for anything else.
    """
    accepting = 1
    for full_bridges in demands:
        spare = full_bridges <= in_pressure * (accepting - 1)
        accepting = max(bridges_for(full_bridges, out_pressure), accepting - spare)
        yield accepting


def demand_by_minute(workload: Workload, start: datetime, days: int) -> Iterator[Demand]:
    """Demand at the beginning of each minute of so many days, those of yesterday's calls included."""
    changes = _changes(workload, start, days)
    demand, change = Demand(), next(changes, None)
    people: dict[str, int] = {}
    for minute in range(days * 1440):
        now_s = start.timestamp() + minute * 60
        while change is not None and change[0] <= now_s:
            _, name, step = change
            before = people.get(name, 0)
            people[name] = before + step
            demand = demand.changed(before, before + step)
            change = next(changes, None)
        yield demand


def _changes(workload: Workload, start: datetime, days: int) -> Iterator[tuple[float, str, int]]:
    planned = [c for day in range(-1, days + 1) for c in workload.day((start + timedelta(days=day)).date())]
    return merge(*(_of(conference) for conference in planned))


def _of(conference: PlannedConference) -> Iterable[tuple[float, str, int]]:
    return ((at_s, conference.name, step) for at_s, step in conference.changes())
