"""
The night's window in local time. Pure.

A date has one window, whatever the clocks do: an hour that is skipped or that comes twice moves its
ends, it does not repeat or swallow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from scaler.policy import ScalingPolicy

_NOON = time(12)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """When one night may work; all moments UTC."""

    date: str
    """Local date on which it opens, ISO."""
    opens_at: datetime
    closes_at: datetime
    take_back_at: datetime
    """The first local noon behind it."""


def window_of(policy: ScalingPolicy, day: date) -> Window:
    """Return the window that opens on a local date."""
    zone = ZoneInfo(policy.time_zone)
    begins, ends = time.fromisoformat(policy.recycle_at), time.fromisoformat(policy.recycle_until)
    last_day = day + _DAY if ends <= begins else day
    opens_at, closes_at = _moment(day, begins, zone), _moment(last_day, ends, zone)
    if closes_at <= opens_at:
        # Both ends lie in the hour that the clocks skip: it keeps its length.
        closes_at = opens_at + timedelta(minutes=policy.night_minutes)
    noon = _moment(last_day, _NOON, zone)
    take_back_at = noon if noon >= closes_at else _moment(last_day + _DAY, _NOON, zone)
    return Window(day.isoformat(), opens_at, closes_at, take_back_at)


def window_at(policy: ScalingPolicy, now: datetime) -> Window | None:
    """Return the window in which `now` lies, if any."""
    today = now.astimezone(ZoneInfo(policy.time_zone)).date()
    for day in (today, today - _DAY):
        window = window_of(policy, day)
        if window.opens_at <= now < window.closes_at:
            return window
    return None


def next_window(policy: ScalingPolicy, now: datetime) -> Window:
    """Return the first window that opens behind `now`."""
    today = now.astimezone(ZoneInfo(policy.time_zone)).date()
    windows = (window_of(policy, today + days * _DAY) for days in range(3))
    return next(window for window in windows if window.opens_at > now)


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, zone).astimezone(UTC)
