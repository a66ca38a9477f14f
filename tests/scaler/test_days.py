"""Days of usage: figures of minutes and lives of machines, over changes of the clock, gaps left as gaps."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from scaler.costs import Prices
from scaler.days import bounds, day_row, local_days
from scaler.hours import hour_rows
from scaler.samples import Minute, Sample, Spent
from tests.documented import rows, section
from tests.scaler.worlds import START

BERLIN = "Europe/Berlin"
DAY = date(2026, 3, 4)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def minute(at: datetime, **changes: Any) -> dict[str, Any]:
    """One row of usage."""
    figures = {"listed": 2, "draining": 1, "accepting": 1, "conferences": 3, "participants": 9}
    row = {"at": f"{at:%Y-%m-%dT%H:%M}:00Z", "shard": "a", "out_mbps": 80.0, "maximum": 4}
    return {**row, **figures, **changes}


def minutes(since: datetime, count: int, **changes: Any) -> list[dict[str, Any]]:
    """So many rows, a minute apart."""
    return [minute(since + timedelta(minutes=number), **changes) for number in range(count)]


def machines(begin: datetime, hours: int, **changes: Any) -> list[dict[str, Any]]:
    """Rows of a machine that was looked at all the time."""
    told: dict[str, Any] = {
        "created": begin - timedelta(days=1),
        "spent": Spent.BUSY,
        "vm_id": "vm-a",
        **changes,
    }
    looks = [
        Minute(
            begin + timedelta(minutes=number),
            "Standard_F8s_v2",
            {"vm-a": Sample(name="a", bytes_sent=number * 10**6, conferences_created=number, **told)},
        )
        for number in range(-1, hours * 60 + 1)
    ]
    found: list[dict[str, Any]] = []
    for hour in range(hours):
        since = begin + timedelta(hours=hour)
        found += hour_rows("a", looks, since, since + timedelta(hours=1))
    return found


def day_of(*args: Any, day: date = DAY, zone: str = "UTC", **changes: Any) -> dict[str, Any]:
    """The row of a day that is known."""
    row = day_row("a", day, zone, *args, **changes)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("day", "begin", "hours"),
    [
        (date(2026, 3, 28), datetime(2026, 3, 27, 23, tzinfo=UTC), 24),
        (date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (date(2026, 10, 25), datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
    ],
)
def test_a_local_day_has_as_many_hours_as_it_has(day: date, begin: datetime, hours: int):
    """On both changes of the clock every minute is counted once, and the coverage is whole."""
    assert bounds(day, BERLIN) == (begin, begin + timedelta(hours=hours))
    assert local_days(begin, begin + timedelta(hours=hours), BERLIN) == [day]
    assert local_days(begin, begin + timedelta(hours=hours, minutes=1), BERLIN)[1:] == [
        day + timedelta(days=1)
    ]
    row = day_of(minutes(begin, hours * 60), machines(begin, hours), day=day, zone=BERLIN)
    assert (row["coverage"], row["hours"], row["bridge_hours"]) == (1.0, hours, hours)
    assert (row["busy_minutes"], row["drain_hours"], row["calls_served"]) == (60 * hours, 0, 60 * hours)
    assert row["egress_gb"] == pytest.approx(0.06 * hours)


def test_a_gap_adds_nothing_and_lowers_the_coverage():
    """Minutes without a row and minutes without an answer are no zeros; one told twice counts once."""
    known = minutes(NOON, 60, blocked_by_busy_oldest=True)
    blank = minutes(NOON + timedelta(hours=1), 60, listed=0, conferences=0, maximum=0)
    full = minutes(NOON + timedelta(hours=3), 60, listed=4, conferences=0)
    day = day_of([*known, *known[:7], *blank, *full], [])
    assert day["coverage"] == round(120 / 1440, 4)
    assert (day["bridges_mean"], day["bridges_peak"], day["conference_hours"]) == (3.0, 4, 3.0)
    assert (day["minutes_at_maximum"], day["minutes_without_conference"]) == (60, 60)
    assert (day["conferences_mean"], day["conferences_peak"]) == (1.5, 3)
    assert day["minutes_blocked_by_busy_oldest"] == 60
    assert day_row("a", DAY, "UTC", blank, []) is None


def test_what_no_row_of_a_machine_tells_is_unknown():
    """Minutes of an older version tell of no machine: what is made of lives and counters is no zero."""
    day = day_of(minutes(NOON, 2), [])
    names = ("bridge_hours", "idle_minutes", "drain_hours", "egress_gb", "calls_served", "cpu_fraction_mean")
    assert {day[name] for name in names} == {None}
    silent = day_of(minutes(NOON, 2), machines(NOON, 1))
    assert (silent["cpu_fraction_mean"], silent["cpu_fraction_peak"], silent["bridge_hours"]) == (
        None,
        None,
        1,
    )


def test_what_machines_did_in_a_day_is_told():
    """Who came and who left, whose calls, and how full; means of CPU weigh each look alike."""
    first = machines(NOON, 1, created=NOON - timedelta(minutes=5), cpu_fraction=0.2, pressure=1.5)
    second = machines(NOON, 1, vm_id="vm-b", created=NOON - timedelta(days=3), cpu_fraction=0.6)
    second[0] |= {"left": True, "looks": 30}
    day = day_of(minutes(NOON, 2), [*second, *first])
    assert (day["machines_came"], day["machines_left"]) == (1, 1)
    assert (day["cpu_fraction_peak"], day["cpu_fraction_mean"]) == (0.6, round((0.2 * 60 + 0.6 * 30) / 90, 3))
    assert day["overload_minutes"] == 60


def test_who_left_a_list_and_came_back_did_not_leave():
    """The last hour of a machine tells, in whichever order the hours come."""
    first, second = machines(NOON, 2)
    first["left"] = True
    assert [
        day_of(minutes(NOON, 1), rows_)["machines_left"] for rows_ in ([first, second], [second, first])
    ] == [0, 0]


def test_refusals_of_removals_are_counted_as_they_are_said():
    """A refusal that names a machine; those of the shard and other events are none."""
    events = [{"kind": "refused", "vm_id": "vm-a"}, {"kind": "refused", "vm_id": None}, {"kind": "gone"}]
    assert day_of(minutes(NOON, 1), [], events)["removals_refused"] == 1


def test_a_boot_counts_once_however_many_minutes_tell_it():
    """The last word on a machine is taken: its call-back may come after it was ready."""
    first = json.dumps({"vm-a": {"ready_after": 100.0}, "vm-b": {"ready_after": 300.0}})
    later = json.dumps({"vm-a": {"ready_after": 100.0, "secrets": 2.0, "start": 40.0}})
    day = day_of([minute(START, boots=first), minute(START + timedelta(minutes=1), boots=later)], [])
    assert (day["boots"], day["boot_seconds_p50"], day["boot_seconds_p95"]) == (2, 100.0, 300.0)
    assert day["boot_phase_seconds_p50"] == "secrets 2, start 40"
    quiet = day_of(minutes(START, 2), [])
    assert (quiet["boots"], quiet["boot_seconds_p50"], quiet["boot_phase_seconds_p50"]) == (0, None, "")


def test_every_column_of_a_day_is_documented():
    """docs/tables.md has each column of a day, and no other."""
    first_cells = " ".join(row[0] for row in rows(section("docs/tables.md", "daily")))
    day = day_of(minutes(START, 1), [], prices=Prices("EUR", "2026-11", {}, None))
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(day)


def test_two_machines_of_one_moment_are_two():
    """A scale-out makes several in the same instant, as ARM tells it."""
    one = machines(NOON, 1, created=NOON)
    twins = [*one, *({**row, "vm_id": "vm-b", "name": "b"} for row in one)]
    assert day_of(minutes(NOON, 60), twins)["machines_came"] == 2
