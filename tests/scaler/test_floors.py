"""Floors: minimums for a time or for hours of certain days, in local time, whatever daylight saving does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scaler.floors import holds, window_end, with_floors
from scaler.model import Command, CommandState
from tests.scaler.builders import MINUTE, NOW, command, policy

OFFICE = {
    "minimum": 4,
    "from_time": "08:30",
    "until_time": "18:00",
    "days": ("mon", "tue", "wed", "thu", "fri"),
    "time_zone": "Europe/Berlin",
}
NIGHT = {"minimum": 2, "from_time": "22:00", "until_time": "02:30", "time_zone": "Europe/Berlin"}


def floor(**changes: Any) -> Command:
    return command("floor", state=CommandState.IN_FORCE, **changes)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        ("2026-11-18T07:29:59", False),
        ("2026-11-18T07:30:00", True),  # a Wednesday, 08:30 in winter
        ("2026-11-18T16:59:59", True),
        ("2026-11-18T17:00:00", False),
        ("2026-11-21T10:00:00", False),  # a Saturday
        ("2026-07-15T06:30:00", True),  # 08:30 in summer
        ("2026-07-15T16:00:00", False),
    ],
)
def test_a_window_is_local_time(moment: str, held: bool):
    """08:30 to 18:00 in Berlin is 07:30 to 17:00 UTC in winter and an hour earlier in summer."""
    assert holds(floor(**OFFICE), at(moment)) is held


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        ("2026-11-18T20:59:00", False),
        ("2026-11-18T21:00:00", True),
        ("2026-11-19T01:29:00", True),
        ("2026-11-19T01:30:00", False),
        ("2026-03-29T00:59:00", True),  # the clock jumps from 02:00 to 03:00: 02:30 does not come
        ("2026-03-29T01:30:00", False),
        ("2026-10-25T00:30:00", True),  # 02:30 for the first time
        ("2026-10-25T01:29:00", True),  # it ends when it is 02:30 for the second time
        ("2026-10-25T01:30:00", False),
    ],
)
def test_a_window_over_midnight_survives_a_change_of_the_clocks(moment: str, held: bool):
    """It belongs to the day on which it begins; an hour that comes twice is in it twice, none is lost."""
    assert holds(floor(**NIGHT), at(moment)) is held


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins():
    """Friday's night reaches into Saturday; Saturday's does not exist."""
    friday = floor(**{**NIGHT, "days": ("fri",)})
    assert holds(friday, at("2026-11-21T00:30:00"))
    assert not holds(friday, at("2026-11-22T00:30:00"))


def test_only_a_floor_in_force_counts():
    """A floor that no tick took up, that ended, or another command raises nothing."""
    assert not holds(command("floor", minimum=4), NOW)
    assert not holds(command("protect", state=CommandState.IN_FORCE), NOW)
    assert holds(floor(minimum=4), NOW)


def test_the_highest_floor_is_the_minimum_and_each_has_its_vote():
    """The minimum in force is the highest of the policy's and all floors; the votes say whose they are."""
    ends = NOW + 30 * MINUTE
    floors = (floor(minimum=3, by="ann", why="town hall", expires_at=ends), floor(**OFFICE), floor(minimum=2))
    in_force, votes = with_floors(policy(min_bridges=1), floors, NOW)
    assert in_force.min_bridges == 4
    assert [vote.wants for vote in votes] == ["3", "4", "2"]
    assert votes[0].because == f"at least 3 until {ends:%Y-%m-%dT%H:%MZ}, by ann: town hall"
    assert "until 2026-11-18T17:00Z" in votes[1].because
    assert "until" not in votes[2].because


def test_a_floor_below_the_policy_lowers_nothing():
    """A floor can only raise."""
    assert with_floors(policy(min_bridges=3), (floor(minimum=2),), NOW)[0].min_bridges == 3


def test_a_window_without_days_and_zone_opens_each_day_in_utc():
    """What is not said is every day, and UTC."""
    bare = floor(minimum=2, from_time="11:00", until_time="13:00")
    assert window_end(bare, NOW) == NOW + timedelta(hours=1)
    assert window_end(bare, NOW + timedelta(hours=2)) is None
