"""The night in local time: once for each date, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from scaler.window import next_window, window_at, window_of
from tests.scaler.builders import policy

HOUR = timedelta(hours=1)


def at(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    """A moment of 2026, UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_the_window_is_local() -> None:
    """04:00 to 06:00 in Berlin is 03:00 to 05:00 UTC in winter and an hour earlier in summer."""
    berlin = policy(time_zone="Europe/Berlin")
    winter, summer = window_of(berlin, date(2026, 11, 18)), window_of(berlin, date(2026, 7, 1))
    assert (winter.opens_at, winter.closes_at, winter.take_back_at) == (at(18, 3), at(18, 5), at(18, 11))
    assert (summer.opens_at, summer.closes_at) == (at(1, 2, month=7), at(1, 4, month=7))


def test_a_moment_lies_in_one_window_or_in_none() -> None:
    """Its first moment belongs to it, its last does not."""
    it = policy()
    found = [window_at(it, at(18, *clock)) for clock in ((3, 59), (4, 0), (5, 59), (6, 0))]
    assert [window.date if window else None for window in found] == [None, "2026-11-18", "2026-11-18", None]


def test_a_window_over_midnight_belongs_to_the_date_on_which_it_opens() -> None:
    """At 00:30 it is still the night of yesterday; what drains is taken back at the noon behind it."""
    it = policy(recycle_at="23:00", recycle_until="01:00")
    late, early = window_at(it, at(18, 23, 30)), window_at(it, at(19, 0, 30))
    assert late is not None
    assert late == early
    assert (late.date, late.take_back_at) == ("2026-11-18", at(19, 12))
    assert window_at(it, at(19, 1)) is None


def test_a_window_that_ends_after_noon_is_taken_back_at_the_next_noon() -> None:
    """Noon lies behind the window, not in it."""
    window = window_of(policy(recycle_at="11:00", recycle_until="13:00"), date(2026, 11, 18))
    assert window.take_back_at == at(19, 12)


@pytest.mark.parametrize(
    ("zone", "day", "begins", "ends", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "01:00", "04:00", 2),  # 02:00 to 03:00 does not exist
        ("Europe/Berlin", date(2026, 10, 25), "01:00", "04:00", 4),  # 02:00 to 03:00 comes twice
        ("America/New_York", date(2026, 3, 8), "01:00", "04:00", 2),
        ("America/New_York", date(2026, 11, 1), "00:30", "04:30", 5),
        ("Europe/Berlin", date(2026, 3, 29), "02:00", "03:00", 1),  # all of it is skipped
        ("Europe/Berlin", date(2026, 3, 29), "02:15", "02:55", 2 / 3),
    ],
)
def test_a_change_of_the_clocks_moves_the_ends_and_swallows_no_night(
    zone: str, day: date, begins: str, ends: str, hours: float
) -> None:
    """A window that is skipped whole keeps its length, right behind the change."""
    window = window_of(policy(time_zone=zone, recycle_at=begins, recycle_until=ends), day)
    assert window.closes_at - window.opens_at == hours * HOUR


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_every_date_of_a_year_has_exactly_one_window(zone: str) -> None:
    """Looked at each quarter of an hour, the dates come one after the other, none twice and none not."""
    it = policy(time_zone=zone, recycle_at="02:10", recycle_until="02:50")
    seen: list[str] = []
    moment = at(1, 0, month=1)
    while moment < at(31, 0, month=12):
        window = window_at(it, moment)
        if window is not None and (not seen or seen[-1] != window.date):
            seen.append(window.date)
        moment += timedelta(minutes=15)
    first = date.fromisoformat(seen[0])
    assert seen == [(first + timedelta(days=n)).isoformat() for n in range(len(seen))]
    assert len(seen) >= 363


def test_the_next_window_is_the_first_that_opens_from_now_on() -> None:
    """While one is open it is tomorrow's."""
    it = policy()
    assert next_window(it, at(18, 3)).date == "2026-11-18"
    assert next_window(it, at(18, 4)).date == "2026-11-19"
