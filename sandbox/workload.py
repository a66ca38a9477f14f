"""Who meets when: conferences planned a day at a time, a pure function of seed and date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from math import log, sqrt
from random import Random

HOURLY_STARTS = (
    *(0.03, 0.03, 0.025, 0.025, 0.025, 0.03, 0.05, 0.12),
    *(0.60, 0.95, 1.00, 0.80, 0.15, 0.85, 1.00, 0.90),
    *(0.60, 0.25, 0.12, 0.08, 0.06, 0.05, 0.03, 0.02),
)
"""Conferences that start in each hour, relative to the busiest: two humps around lunch."""

WEEKDAY_SHARE = (0.9, 1.0, 1.05, 1.0, 0.8, 0.05, 0.04)

SCHOOL_STARTS = (*(0.0,) * 7, 0.02, 0.45, 0.65, 0.85, 1.00, 0.75, 0.40, 0.20, 0.05, *(0.0,) * 8)
"""The bell at eight brings a third of the peak at once; the most lessons run before noon."""
SCHOOL_WEEK = (1.0, 1.0, 1.0, 1.0, 0.9, 0.0, 0.0)

OWLS_STARTS = (
    *(1.00, 0.90, 0.70, 0.50, 0.30, 0.15, 0.05, 0.02),
    *(0.02,) * 8,
    *(0.05, 0.10, 0.20, 0.35, 0.55, 0.75, 0.90, 1.00),
)
"""A community that meets when offices sleep."""

GROWTH_WEEK = tuple(0.5 * 3 ** (day / 6) for day in range(7))
"""From Monday to Sunday three times as much, without a weekend."""

MEDIAN_SIZE, MEAN_SIZE, LARGEST_SIZE = 4, 7, 200
JOIN_MEDIAN_MINUTES, JOIN_SIGMA = 1.0, log(5) / 1.2816
"""Lognormal with median 1 minute and 90th percentile 5 minutes."""

BOOKED_MINUTES = (20, 30, 45, 60, 90)
BOOKED_WEIGHTS = (5, 25, 20, 35, 15)
LONG_SHARE = 0.02
"""Share of conferences longer than four hours: the ones that hold a drain up."""
LONG_S, MOST_IN_LONG = 4 * 3600, 20
"""Rooms that stay open for so long are a team's, not an assembly's."""
EVERY_DAY = tuple(range(7))


@dataclass(frozen=True, slots=True)
class PlannedConference:
    """One conference as its participants will come and go."""

    name: str
    start: datetime
    joins_s: tuple[float, ...]
    """Seconds after `start` at which people join, sorted; may be negative (early)."""
    leaves_s: tuple[float, ...]
    """Seconds after `start` at which people leave, sorted."""

    @property
    def people(self) -> int:
        """How many people take part at some time."""
        return len(self.joins_s)

    @property
    def first_join(self) -> datetime:
        """When the first person arrives."""
        return self.start + timedelta(seconds=self.joins_s[0])

    @property
    def end(self) -> datetime:
        """When the last person leaves."""
        return self.start + timedelta(seconds=self.leaves_s[-1])

    def changes(self) -> tuple[tuple[float, int], ...]:
        """Every (epoch second, +1 or -1), sorted; at the same moment people leave first."""
        base = self.start.timestamp()
        moves = [(round(base + s, 3), 1) for s in self.joins_s]
        moves += [(round(base + s, 3), -1) for s in self.leaves_s]
        return tuple(sorted(moves))


def meeting(start: datetime, minutes: float, people: int, name: str = "") -> PlannedConference:
    """A conference in which all come at the start and all leave at the end."""
    name = name or f"meeting-{start:%Y%m%dT%H%M%S}-{people}x{minutes:g}"
    return PlannedConference(name, start, (0.0,) * people, (minutes * 60.0,) * people)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kind of day looks like."""

    starts_per_hour: float
    """Conferences that start in the busiest hour."""
    hourly: tuple[float, ...] = HOURLY_STARTS
    weekdays: tuple[float, ...] = WEEKDAY_SHARE
    giant_people: int = 0
    """One extra conference with so many people, from 10:00 for six hours."""
    giant_weekdays: tuple[int, ...] = EVERY_DAY
    """Days on which it takes place, Monday is 0."""
    on_the_hour: float = 0.60
    """Share of conferences that are booked for :00."""
    on_the_half: float = 0.25
    """Share of conferences that are booked for :30; the rest begin at any time."""
    median_size: int = MEDIAN_SIZE
    mean_size: int = MEAN_SIZE
    long_share: float = LONG_SHARE

    @property
    def size_sigma(self) -> float:
        """Spread of the lognormal that has this median and this mean."""
        return sqrt(2 * log(self.mean_size / self.median_size))


SHAPES = {
    "office": Shape(starts_per_hour=98),
    "quiet": Shape(starts_per_hour=8),
    "giant": Shape(starts_per_hour=0, giant_people=300),
    "none": Shape(starts_per_hour=0),
    "school": Shape(
        85, SCHOOL_STARTS, SCHOOL_WEEK, on_the_hour=0.75, on_the_half=0.15, median_size=18, mean_size=20
    ),
    "owls": Shape(30, OWLS_STARTS, (1.0,) * 7, long_share=0.10),
    "webinar": Shape(30, giant_people=300, giant_weekdays=(2,)),
    "growth": Shape(98, weekdays=GROWTH_WEEK),
}
"""
`office` peaks at roughly 600 to 800 people on a working day, at about 11:00 and 15:00 UTC; `school`
at about 1,500 before noon; `owls` at about 300 around midnight; `webinar` is a small office with one
conference on Wednesday that is larger than a bridge; `growth` ends its week at three times its start.
"""


@dataclass(frozen=True)
class Workload:
    """The conferences of every day. Days are independent: each has its own stream of chance."""

    seed: int
    shape: Shape
    name: str = "office"
    written: tuple[PlannedConference, ...] = ()
    """Conferences written by hand, besides those of the shape."""
    _days: dict[date, tuple[PlannedConference, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def named(cls, name: str, seed: int, scale: float = 1.0) -> Workload:
        """One of `SHAPES`, with `scale` times as many conferences."""
        shape = SHAPES[name]
        return cls(seed, replace(shape, starts_per_hour=shape.starts_per_hour * scale), name)

    @classmethod
    def of(cls, conferences: Iterable[PlannedConference]) -> Workload:
        """Exactly these conferences."""
        return cls(0, SHAPES["none"], "written", tuple(sorted(conferences, key=lambda c: c.first_join)))

    def day(self, day: date) -> tuple[PlannedConference, ...]:
        """Conferences planned to start on this UTC day, sorted by the first arrival."""
        planned = self._days.get(day)
        if planned is None:
            self._days.clear()
            planned = self._days[day] = tuple(self._plan(day))
        return planned

    def _plan(self, day: date) -> list[PlannedConference]:
        rng = Random(f"{self.seed}/{self.name}/{day.isoformat()}")
        midnight = datetime.combine(day, time(), UTC)
        planned = [c for c in self.written if c.start.astimezone(UTC).date() == day]
        if self.shape.giant_people and day.weekday() in self.shape.giant_weekdays:
            planned.append(_giant(rng, midnight, self.shape.giant_people))
        for number, start_s in enumerate(_starts(rng, self.shape, day.weekday())):
            name = f"{day:%Y%m%d}-{number:04d}"
            planned.append(_conference(rng, self.shape, name, midnight, start_s))
        return sorted(planned, key=lambda c: (c.first_join, c.name))


def _starts(rng: Random, shape: Shape, weekday: int) -> Sequence[float]:
    """Seconds of the day at which conferences are booked to start."""
    starts: list[float] = []
    for hour, share in enumerate(shape.hourly):
        expected = shape.starts_per_hour * share * shape.weekdays[weekday]
        count = int(expected) + (rng.random() < expected % 1)
        starts += (hour * 3600 + _second_in_hour(rng, shape) for _ in range(count))
    return starts


def _second_in_hour(rng: Random, shape: Shape) -> float:
    draw = rng.random()
    if draw < shape.on_the_hour:
        return 0.0
    if draw < shape.on_the_hour + shape.on_the_half:
        return 1800.0
    return rng.uniform(0, 3600)


def _conference(
    rng: Random, shape: Shape, name: str, midnight: datetime, start_s: float
) -> PlannedConference:
    people = min(max(round(rng.lognormvariate(log(shape.median_size), shape.size_sigma)), 2), LARGEST_SIZE)
    length_s = _length_seconds(rng, start_s, shape.long_share)
    if length_s > LONG_S:
        people = min(people, MOST_IN_LONG)
    return _with_people(rng, name, midnight + timedelta(seconds=start_s), people, length_s)


def _length_seconds(rng: Random, start_s: float, long_share: float) -> float:
    if rng.random() < long_share:
        return rng.uniform(4.05, 7) * 3600
    booked = rng.choices(BOOKED_MINUTES, BOOKED_WEIGHTS)[0] * 60
    length = min(max(booked * rng.uniform(0.85, 1.05), 1200), 5400)
    # People do not meet through lunch: most of what would reach into it ends at noon.
    before_noon = 12 * 3600 - start_s
    if 1200 <= before_noon < length and rng.random() < 0.75:
        length = before_noon + rng.uniform(-180, 420)
    return length


def _with_people(rng: Random, name: str, start: datetime, people: int, length_s: float) -> PlannedConference:
    joins, leaves = [], []
    for _ in range(people):
        join = _join_second(rng, length_s)
        joins.append(join)
        leaves.append(_leave_second(rng, join, length_s))
    joins.sort()
    leaves.sort()
    return PlannedConference(name, start, tuple(joins), tuple(leaves))


def _join_second(rng: Random, length_s: float) -> float:
    if rng.random() < 0.2:
        return rng.uniform(-180, 0)
    return min(rng.lognormvariate(log(JOIN_MEDIAN_MINUTES), JOIN_SIGMA) * 60, length_s * 0.6)


def _leave_second(rng: Random, join_s: float, length_s: float) -> float:
    if rng.random() < 0.15:
        return rng.uniform(join_s + 60, length_s)
    return length_s + rng.uniform(-90, 60)


def _giant(rng: Random, midnight: datetime, people: int) -> PlannedConference:
    """All stay to the end: what matters is that one conference cannot be split."""
    joins = sorted(_join_second(rng, 3600.0) for _ in range(people))
    leaves = sorted(6 * 3600 + rng.uniform(-60, 120) for _ in range(people))
    return PlannedConference(
        f"giant-{midnight:%Y%m%d}", midnight + timedelta(hours=10), tuple(joins), tuple(leaves)
    )
