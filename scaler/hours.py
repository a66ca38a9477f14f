"""
One row for each machine and hour, from the minutes: how its time was spent, and what it carried. Pure.

A machine lives from its creation, as ARM tells it, to the first list without it. Between two lists its time
is what it was in the first; where nobody looked for longer it is `unseen`, and counted all the same: the
machine was there, and was paid for. So classes add up to lifetimes, and nothing is counted twice. What was
before the very first look is not known, and not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from scaler.samples import Minute, Sample, Spent

LONGEST_STEP = timedelta(seconds=150)
"""Between two looks, a lost tick included. More is a gap."""
_CLOCKS_DIFFER_BY = timedelta(minutes=2)
_MS = timedelta(milliseconds=1)


@dataclass(slots=True)
class _Life:
    """What is gathered of one machine in one window."""

    sample: Sample
    vm_size: str | None
    spent_ms: dict[Spent, int] = field(default_factory=lambda: dict.fromkeys(Spent, 0))
    overload_ms: int = 0
    seen: list[Sample] = field(default_factory=list)
    bytes_sent: int | None = None
    conferences: int | None = None
    left: bool = False


def hour_rows(shard: str, minutes: Sequence[Minute], begin: datetime, end: datetime) -> list[dict[str, Any]]:
    """
    Return a row for each machine that lived in the window, by name.

    `minutes`, oldest first, reach from before the window, for what the counters stood at, to the first one
    behind it, which tells who was still there. The same minutes give the same rows.
    """
    book = _Book(begin, end)
    if minutes:
        book.arrive(None, minutes[0])
    for before, after in pairwise(minutes):
        book.pass_time(before, after)
    return sorted((_row(shard, begin, life) for life in book.lives.values()), key=lambda row: row["name"])


class _Book:
    """Goes through the minutes once; only what lies in the window is written down."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self.begin, self.end = begin, end
        self.lives: dict[str, _Life] = {}
        self._spent_until: dict[str, datetime] = {}
        self._counters: dict[str, tuple[datetime | None, dict[str, int]]] = {}

    def pass_time(self, before: Minute, after: Minute) -> None:
        """Spend the time between two looks, and take up what the second one tells."""
        gap = after.at - before.at > LONGEST_STEP
        for vm_id, sample in before.machines.items():
            spent = Spent.UNSEEN if gap else sample.spent
            self._spend(sample, before.vm_size, spent, before.at, after.at)
            if vm_id not in after.machines:
                self._leave(vm_id, after.at, left=True)
        self.arrive(before, after)

    def arrive(self, before: Minute | None, minute: Minute) -> None:
        """Take up what one look tells: who is new and since when, and what was carried."""
        for vm_id, sample in minute.machines.items():
            if before is not None and sample.created is not None:
                # One that a list forgot is counted from where its life was left.
                since = max(sample.created, self._spent_until.get(vm_id, sample.created))
                self._spend(sample, minute.vm_size, _before_seen(sample, before, minute), since, minute.at)
            self._leave(vm_id, minute.at, left=False)
            self._count(sample, before, minute)

    def _leave(self, vm_id: str, at: datetime, *, left: bool) -> None:
        if vm_id in self.lives and self.begin < at <= self.end:
            self.lives[vm_id].left = left

    def _spend(
        self, sample: Sample, vm_size: str | None, spent: Spent, since: datetime, until: datetime
    ) -> None:
        self._spent_until[sample.vm_id] = until
        took = min(until, self.end) - max(since, self.begin)
        if took < _MS:
            return
        life = self._life(sample, vm_size)
        life.spent_ms[spent] += took // _MS
        if spent is sample.spent and (sample.pressure or 0) > 1:
            life.overload_ms += took // _MS

    def _count(self, sample: Sample, before: Minute | None, minute: Minute) -> None:
        """Add what its counters grew by; of those that begin anew, with a process or a machine, all."""
        told = {"bytes_sent": sample.bytes_sent, "conferences": sample.conferences_created}
        now = {name: value for name, value in told.items() if value is not None}
        restarted, then = self._counters.get(sample.vm_id, (sample.restarted, {}))
        is_first = sample.vm_id not in self._counters
        # Also where it tells nothing yet: what it counts until it is heard is kept.
        if sample.restarted != restarted or (is_first and _is_new(sample, before)):
            then = dict.fromkeys(told, 0)
        self._counters[sample.vm_id] = (sample.restarted, {**then, **now})
        if not self.begin <= minute.at < self.end:
            return
        life = self._life(sample, minute.vm_size)
        life.seen.append(sample)
        for name, value in now.items():
            if name in then:
                grown = value - then[name] if value >= then[name] else value
                setattr(life, name, (getattr(life, name) or 0) + grown)

    def _life(self, sample: Sample, vm_size: str | None) -> _Life:
        life = self.lives.setdefault(sample.vm_id, _Life(sample, vm_size))
        life.vm_size = life.vm_size or vm_size
        return life


def _before_seen(sample: Sample, before: Minute, minute: Minute) -> Spent:
    """Tell what a machine was before it was first listed."""
    if sample.spent is Spent.BOOTING:
        return Spent.BOOTING
    looked = minute.at - before.at <= LONGEST_STEP
    return Spent.BOOTING if looked and _is_new(sample, before) else Spent.UNSEEN


def _is_new(sample: Sample, before: Minute | None) -> bool:
    """Created since the look before, as far as two clocks can tell."""
    if before is None or sample.created is None:
        return False
    return sample.created >= before.at - _CLOCKS_DIFFER_BY


def _row(shard: str, begin: datetime, life: _Life) -> dict[str, Any]:
    sample = life.sample
    return {
        "at": _iso(begin),
        "shard": shard,
        "vm_id": sample.vm_id,
        "name": sample.name,
        "vm_size": life.vm_size,
        "created": None if sample.created is None else _iso(sample.created),
        "left": life.left,
        "seconds": sum(life.spent_ms.values()) / 1000,
        **{f"{spent}_seconds": ms / 1000 for spent, ms in life.spent_ms.items()},
        "overload_seconds": life.overload_ms / 1000,
        "looks": len(life.seen),
        "bytes_sent": life.bytes_sent,
        "conferences_created": life.conferences,
        **_figures("conferences", [each.conferences for each in life.seen]),
        **_figures("participants", [each.participants for each in life.seen]),
        **_figures("egress_mbps", [each.out_mbps for each in life.seen]),
        **_figures("cpu_fraction", [each.cpu_fraction for each in life.seen]),
    }


def _figures(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        f"{name}_peak": max(known, default=None),
        f"{name}_mean": round(sum(known) / len(known), 3) if known else None,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")
