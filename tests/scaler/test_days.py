"""Days of usage: recounted from the simulated world, over changes of the clock, with gaps left as gaps."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scaler import answers
from scaler.days import days, whole_days
from scaler.minutes import DAY
from tests.documented import rows, section
from tests.scaler.worlds import START, install, run

BERLIN = "Europe/Berlin"


def minute(at: datetime, **changes: Any) -> dict[str, Any]:
    """One row of usage."""
    figures = {"listed": 2, "draining": 1, "accepting": 1, "conferences": 3, "participants": 9}
    row = {"at": f"{at:%Y-%m-%dT%H:%M}:00Z", "shard": "a", "out_mbps": 80.0, "maximum": 4}
    return {**row, **figures, **changes}


def minutes(since: datetime, count: int, **changes: Any) -> list[dict[str, Any]]:
    """So many rows, a minute apart."""
    return [minute(since + timedelta(minutes=number), **changes) for number in range(count)]


@pytest.mark.parametrize(
    ("begin", "hours"),
    [
        (datetime(2026, 3, 27, 23, tzinfo=UTC), 24),
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
    ],
)
def test_a_local_day_has_as_many_hours_as_it_has(begin: datetime, hours: int):
    """On both changes of the clock every minute is counted once, and the coverage is whole."""
    assert whole_days(begin + timedelta(hours=5), begin + timedelta(hours=6), BERLIN) == (
        begin,
        begin + timedelta(hours=hours),
    )
    (day,) = days(minutes(begin, hours * 60), BERLIN)
    assert (day["coverage"], day["bridge_hours"], day["drain_hours"]) == (1.0, 2.0 * hours, hours)
    assert day["egress_gb"] == 36.0 * hours


def test_a_gap_adds_nothing_and_lowers_the_coverage():
    """Minutes without a row and minutes without an answer are no zeros; one told twice counts once."""
    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    known = minutes(noon, 60)
    blank = minutes(noon + timedelta(hours=1), 60, listed=0, conferences=0, maximum=0)
    full = minutes(noon + timedelta(hours=3), 60, listed=4, conferences=0)
    (day,) = days([*known, *known[:7], *blank, *full], "UTC")
    assert day["coverage"] == round(120 / 1440, 4)
    assert (day["bridges_mean"], day["bridges_peak"], day["bridge_hours"]) == (3.0, 4, 6.0)
    assert (day["minutes_at_maximum"], day["minutes_without_conference"]) == (60, 60)
    assert (day["conferences_mean"], day["conferences_peak"]) == (1.5, 3)
    assert days(blank, "UTC") == []


def test_days_and_shards_stand_apart():
    """A row for each shard and date, in order."""
    late = datetime(2026, 3, 4, 23, 59, tzinfo=UTC)
    found = days([*minutes(late, 2, shard="b"), *minutes(late, 1)], "UTC")
    assert [(day["shard"], day["day"]) for day in found] == [
        ("a", "2026-03-04"),
        ("b", "2026-03-04"),
        ("b", "2026-03-05"),
    ]


def test_a_boot_counts_once_however_many_minutes_tell_it():
    """The last word on a machine is taken: its call-back may come after it was ready."""
    first = json.dumps({"vm-a": {"ready_after": 100.0}, "vm-b": {"ready_after": 300.0}})
    later = json.dumps({"vm-a": {"ready_after": 100.0, "secrets": 2.0, "start": 40.0}})
    (day,) = days([minute(START, boots=first), minute(START + timedelta(minutes=1), boots=later)], "UTC")
    assert (day["boots"], day["boot_seconds_p50"], day["boot_seconds_p95"]) == (2, 100.0, 300.0)
    assert day["boot_phase_seconds_p50"] == "secrets 2, start 40"
    (quiet,) = days(minutes(START, 2), "UTC")
    assert (quiet["boots"], quiet["boot_seconds_p50"], quiet["boot_phase_seconds_p50"]) == (0, None, "")


async def test_the_days_boots_are_those_of_the_world():
    """Every machine that joined is in the day, with the seconds that it truly took, to the tick."""
    it = install(min_bridges=4)
    await run(it, 40)
    told = await answers.usage(it.engine, None, START, it.world.now, DAY)
    (day,) = told["rows"]
    came = [life for life in it.world.history.lives if life.joined_at and life.created_at > START]
    assert day["boots"] == len(came) == 2
    slowest = max((life.joined_at - life.created_at).total_seconds() for life in came if life.joined_at)
    assert slowest <= day["boot_seconds_p95"] <= slowest + 240


async def test_bridge_hours_are_those_of_the_worlds_own_history():
    """Recounted from the lives of the machines, one of which leaves: each is off by two minutes at most."""
    it = install()
    await run(it, 120)
    told = await answers.usage(it.engine, None, START, it.world.now, DAY)
    (day,) = told["rows"]
    lives = it.world.history.lives
    assert any(life.gone_at for life in lives)
    lived = sum(life.hours(START, it.world.now) for life in lives)
    assert day["bridge_hours"] == pytest.approx(lived, abs=len(lives) * 2 / 60)
    assert day["coverage"] == round(120 / 1440, 4)


def test_every_column_of_a_day_is_documented():
    """docs/tables.md has each column of a day, and no other."""
    first_cells = " ".join(row[0] for row in rows(section("docs/tables.md", "Days")))
    (day,) = days(minutes(START, 1), "UTC")
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(day)
