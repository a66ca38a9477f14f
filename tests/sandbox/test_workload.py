"""The shapes of a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from statistics import mean, median

import pytest

from sandbox.workload import Workload, meeting

WEDNESDAY, SUNDAY = date(2026, 11, 18), date(2026, 11, 22)


def people_at(workload: Workload, day: date) -> list[int]:
    """People in conferences at each minute of a day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    moves = sorted(move for planned in workload.day(day) for move in planned.changes())
    online, counts, number = 0, [], 0
    for minute in range(1440):
        while number < len(moves) and moves[number][0] <= midnight + minute * 60:
            online += moves[number][1]
            number += 1
        counts.append(online)
    return counts


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_office_day_has_a_steep_morning_a_lunch_dip_and_a_return(seed: int) -> None:
    """Peak of 550 to 900 people, half of it within two hours of the morning, a third or less at lunch."""
    online = people_at(Workload.named("office", seed), WEDNESDAY)
    peak = max(online)
    assert 550 <= peak <= 950
    assert online[7 * 60 + 45] < 0.2 * peak
    assert max(online[9 * 60 : 9 * 60 + 30]) > 0.4 * peak
    assert online[12 * 60 + 40] < 0.35 * peak
    assert max(online[13 * 60 : 14 * 60 + 30]) > 0.55 * peak
    assert mean(online[60:300]) < 0.04 * peak


def test_weekend_is_quiet() -> None:
    """A Sunday has a few people."""
    assert max(people_at(Workload.named("office", 1), SUNDAY)) < 120


def test_days_are_a_function_of_seed_and_date() -> None:
    """The same day comes out the same whenever it is asked for, sorted; other days and seeds differ."""
    one, two = Workload.named("office", 1), Workload.named("office", 1)
    two.day(SUNDAY)
    assert one.day(WEDNESDAY) == two.day(WEDNESDAY) != Workload.named("office", 2).day(WEDNESDAY)
    firsts = [planned.first_join for planned in one.day(WEDNESDAY)]
    assert firsts == sorted(firsts)


def test_sizes_and_lengths_are_those_of_meetings() -> None:
    """Median size 4, mean about 7, at most 200; nearly all between 20 and 90 minutes, 2 % beyond 4 hours."""
    planned = [c for n in range(8) for c in Workload.named("office", n).day(WEDNESDAY)]
    sizes = [c.people for c in planned]
    hours = [(c.end - c.start) / timedelta(hours=1) for c in planned]
    assert median(sizes) == 4
    assert 6 < mean(sizes) < 8
    assert max(sizes) <= 200
    assert 0.01 < mean(h > 4 for h in hours) < 0.03
    assert mean(0.25 < h < 1.6 for h in hours) > 0.96
    assert 0.5 < mean(c.start.minute == 0 for c in planned) < 0.7


def test_giant_is_one_conference_of_300() -> None:
    """The shape `giant` has a single conference, for six hours."""
    (giant,) = Workload.named("giant", 1).day(WEDNESDAY)
    assert giant.people == 300
    assert giant.end - giant.start > timedelta(hours=5.9)


def test_none_and_written_workloads_have_what_was_written() -> None:
    """`none` is empty, and `of` has exactly the given conferences on their day."""
    call = meeting(datetime(2026, 11, 18, 9, tzinfo=UTC), 30, 2)
    assert Workload.named("none", 1).day(WEDNESDAY) == ()
    assert Workload.of([call]).day(WEDNESDAY) == (call,)
    assert Workload.of([call]).day(SUNDAY) == ()
