"""The weeks that are compared have the shapes that their names promise."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from sandbox.compare.bound import demand_by_minute
from sandbox.compare.week import MONDAY
from sandbox.workload import Workload

SEEDS = [1, 2, 3]


def people_of(shape: str, seed: int, weekday: int) -> list[int]:
    """People in conferences at each minute of a day of the week."""
    start: datetime = MONDAY + timedelta(days=weekday)
    return [demand.people for demand in demand_by_minute(Workload.named(shape, seed), start, 1)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_school_bell_brings_a_third_of_the_peak_at_once(seed: int) -> None:
    """Hardly anybody at ten to eight, a quarter to a half of the peak at ten past, the peak before one."""
    people = people_of("school", seed, 1)
    peak = max(people)
    assert 1200 <= peak <= 2000
    assert people[7 * 60 + 50] < 0.05 * peak
    assert 0.25 * peak <= max(people[8 * 60 : 8 * 60 + 11]) <= 0.5 * peak
    assert people.index(peak) in range(10 * 60, 13 * 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_school_is_closed_at_weekends(seed: int) -> None:
    """Nobody on a Sunday."""
    assert max(people_of("school", seed, 6)) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_owls_meet_when_offices_sleep(seed: int) -> None:
    """More than twice as many people around midnight as at any minute of noon."""
    people = people_of("owls", seed, 2)
    assert min(people[0:60]) > 2 * max(people[11 * 60 : 14 * 60])
    assert 150 <= max(people) <= 450


def test_the_webinar_takes_place_once() -> None:
    """One conference of 300 people on Wednesday, and none on another day."""
    workload = Workload.named("webinar", 1)
    days: list[date] = [(MONDAY + timedelta(days=n)).date() for n in range(7)]
    assert [day.weekday() for day in days for c in workload.day(day) if c.people == 300] == [2]


@pytest.mark.parametrize("seed", SEEDS)
def test_growth_triples_in_a_week(seed: int) -> None:
    """Sunday has about three times as many people as Monday."""
    monday, sunday = sum(people_of("growth", seed, 0)), sum(people_of("growth", seed, 6))
    assert 2.4 <= sunday / monday <= 3.6
