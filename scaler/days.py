"""
Days of usage, summed from its minutes: nothing is stored, so a day can be computed again at any time. Pure.

A minute without a row, or one in which Azure did not answer, is a gap: it adds nothing, and `coverage` tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)
_MBPS_MINUTES_IN_A_GB = 8000 / 60

_TOLD = {
    "listed": "bridges",
    "accepting": "accepting",
    "conferences": "conferences",
    "participants": "participants",
    "out_mbps": "egress_mbps",
}
"""Figure of a minute, and what the day calls it; each has a peak and a mean."""


def days(rows: Iterable[Mapping[str, Any]], time_zone: str) -> list[dict[str, Any]]:
    """
    Return one row for each shard and local day in which a minute is known.

    Means are over the minutes that are known; sums (`bridge_hours`, `egress_gb`) count only them, so with
    a `coverage` under 1 they are lower bounds.
    """
    zone = ZoneInfo(time_zone)
    groups: dict[tuple[str, date], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("maximum"):  # a tick that held still saw nothing: its figures are all 0
            day = datetime.fromisoformat(str(row["at"])).astimezone(zone).date()
            groups.setdefault((str(row["shard"]), day), {})[str(row["at"])] = row
    return [
        _day(shard, day, list(minutes.values()), zone) for (shard, day), minutes in sorted(groups.items())
    ]


def whole_days(since: datetime, until: datetime, time_zone: str) -> tuple[datetime, datetime]:
    """Return the begin and the end of all local days that lie, at least in part, between two moments."""
    zone = ZoneInfo(time_zone)
    last = (until - timedelta(microseconds=1)).astimezone(zone).date()
    return _midnight(since.astimezone(zone).date(), zone), _midnight(last + timedelta(days=1), zone)


def _day(shard: str, day: date, minutes: list[Mapping[str, Any]], zone: ZoneInfo) -> dict[str, Any]:
    begin, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    told: dict[str, Any] = {
        "at": begin.isoformat().replace("+00:00", "Z"),
        "shard": shard,
        "day": day.isoformat(),
        "time_zone": zone.key,
        "coverage": round(len(minutes) / ((end - begin) / _MINUTE), 4),
        "bridge_hours": _hours(sum(row["listed"] for row in minutes)),
        "drain_hours": _hours(sum(row["draining"] for row in minutes)),
        "egress_gb": round(sum(row["out_mbps"] for row in minutes) / _MBPS_MINUTES_IN_A_GB, 3),
        "minutes_at_maximum": sum(row["listed"] >= row["maximum"] for row in minutes),
        "minutes_without_conference": sum(row["conferences"] == 0 for row in minutes),
    }
    told |= _boots(minutes)
    for figure, name in _TOLD.items():
        values = [row[figure] for row in minutes]
        told |= {f"{name}_peak": max(values), f"{name}_mean": round(sum(values) / len(values), 3)}
    return told


def _boots(minutes: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds of the machines that became bridges; each stands in several minutes, and counts once."""
    boots: dict[str, Mapping[str, float]] = {}
    for row in minutes:
        boots |= json.loads(row.get("boots") or "{}")
    ready = sorted(boot["ready_after"] for boot in boots.values())
    phases: dict[str, list[float]] = {}
    for boot in boots.values():
        for phase, seconds in boot.items():
            if phase != "ready_after":
                phases.setdefault(phase, []).append(seconds)
    medians = {phase: _rank(sorted(seconds), 0.5) for phase, seconds in sorted(phases.items())}
    return {
        "boots": len(ready),
        "boot_seconds_p50": _rank(ready, 0.5),
        "boot_seconds_p95": _rank(ready, 0.95),
        "boot_phase_seconds_p50": ", ".join(f"{phase} {seconds:g}" for phase, seconds in medians.items()),
    }


def _rank(values: list[float], share: float) -> float | None:
    """Return the smallest value that so large a share of all does not exceed; None of none."""
    return values[max(0, ceil(share * len(values)) - 1)] if values else None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _hours(minutes: float) -> float:
    return round(minutes / 60, 3)
