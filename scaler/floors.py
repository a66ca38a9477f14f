"""
Floors: minimums that operators set for a time, or for hours of certain days. Pure.

A window is told in local time and judged in UTC: it begins and ends at the wall clock's hour on both
sides of a change to or from daylight-saving time. Where an end falls into the hour that comes twice, or
never, the longer of the two readings holds: a bridge too many is the cheaper mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from scaler.decision import Vote
from scaler.model import Command, CommandKind, CommandState
from scaler.policy import ScalingPolicy

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def with_floors(
    policy: ScalingPolicy, commands: Iterable[Command], now: datetime
) -> tuple[ScalingPolicy, tuple[Vote, ...]]:
    """Return the policy with the minimum in force, and one vote for each floor that holds now."""
    floors = [each for each in commands if holds(each, now)]
    minimum = max((policy.min_bridges, *(each.minimum or 0 for each in floors)))
    return replace(policy, min_bridges=minimum), tuple(_vote(each, now) for each in floors)


def holds(command: Command, now: datetime) -> bool:
    """Whether this is a floor that raises the minimum now."""
    if command.kind is not CommandKind.FLOOR or command.state is not CommandState.IN_FORCE:
        return False
    return command.from_time is None or window_end(command, now) is not None


def window_end(command: Command, now: datetime) -> datetime | None:
    """When the window of a scheduled floor that holds now ends, UTC; None while it is closed."""
    zone = ZoneInfo(command.time_zone or "UTC")
    today = now.astimezone(zone).date()
    # Yesterday's window may reach over midnight.
    for day in (today - timedelta(days=1), today):
        begin, end = _window(command, day, zone)
        if DAYS[day.weekday()] in (command.days or DAYS) and begin <= now < end:
            return end
    return None


def _window(command: Command, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    opens = time.fromisoformat(command.from_time or "00:00")
    closes = time.fromisoformat(command.until_time or "00:00")
    last = day if closes > opens else day + timedelta(days=1)
    return min(_both(day, opens, zone)), max(_both(last, closes, zone))


def _both(day: date, clock: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Both readings of a local time, which differ only in the hour that comes twice, or never."""
    local = datetime.combine(day, clock, zone)
    return local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)


def _vote(command: Command, now: datetime) -> Vote:
    end = window_end(command, now) if command.from_time is not None else command.expires_at
    until = f" until {end:%Y-%m-%dT%H:%MZ}" if end is not None else ""
    return Vote(
        "floor", f"{command.minimum}", f"at least {command.minimum}{until}, by {command.by}: {command.why}"
    )
