"""
Days of usage, from the figures of their minutes and the hours of their machines. Pure.

A minute without a row, or one in which Azure did not answer, is a gap: it adds nothing, and `coverage` tells.
The same rows give the same day, so that it can be reckoned again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from scaler.costs import Prices, cost_of
from scaler.samples import Spent, is_known

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_REFUSED = "refused"
"""Kind of the events that tell of a refusal when it begins."""

_TOLD = {
    "listed": "bridges",
    "accepting": "accepting",
    "conferences": "conferences",
    "participants": "participants",
    "out_mbps": "egress_mbps",
}
"""Figure of a minute, and what the day calls it; each has a peak and a mean."""


def day_row(
    shard: str,
    day: date,
    time_zone: str,
    minutes: Iterable[Mapping[str, Any]],
    hours: Sequence[Mapping[str, Any]],
    events: Iterable[Mapping[str, Any]] = (),
    prices: Prices | None = None,
) -> dict[str, Any] | None:
    """
    Return the row of one shard and local day; None where no minute of it is known.

    `minutes`: its rows of `usage`; `hours`: what `hours.hour_rows` made of it, whole hours or parts of them.
    Means are over the minutes that are known; what is counted from minutes counts only them.
    """
    known = list({row["at"]: row for row in minutes if is_known(row)}.values())
    if not known:
        return None
    zone = ZoneInfo(time_zone)
    begin, end = bounds(day, time_zone)
    told: dict[str, Any] = {
        "at": begin.isoformat().replace("+00:00", "Z"),
        "shard": shard,
        "day": day.isoformat(),
        "time_zone": zone.key,
        "hours": (end - begin) / _HOUR,
        "coverage": round(len(known) / ((end - begin) / _MINUTE), 4),
        **_machines(hours, begin, end),
        "minutes_at_maximum": sum(row["listed"] >= row["maximum"] for row in known),
        "minutes_blocked_by_busy_oldest": sum(bool(row.get("blocked_by_busy_oldest")) for row in known),
        "minutes_without_conference": sum(row["conferences"] == 0 for row in known),
        "removals_refused": sum(e["kind"] == _REFUSED and e.get("vm_id") is not None for e in events),
        "conference_hours": round(sum(row["conferences"] for row in known) / 60, 3),
    }
    told |= _boots(known)
    for figure, name in _TOLD.items():
        values = [row[figure] for row in known]
        told |= {f"{name}_peak": max(values), f"{name}_mean": round(sum(values) / len(values), 3)}
    return told | (cost_of(told, hours, prices) if prices else {})


def bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    """Return the begin and the end of a local day."""
    zone = ZoneInfo(time_zone)
    return _midnight(day, zone), _midnight(day + timedelta(days=1), zone)


def local_days(since: datetime, until: datetime, time_zone: str) -> list[date]:
    """Local days that lie, at least in part, between two moments."""
    zone = ZoneInfo(time_zone)
    first, last = since.astimezone(zone).date(), (until - timedelta(microseconds=1)).astimezone(zone).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _machines(hours: Sequence[Mapping[str, Any]], begin: datetime, end: datetime) -> dict[str, Any]:
    """What the rows of machines come to. None where there is none: nothing is known of any machine."""
    spent = {each: _sum(hours, f"{each}_seconds") for each in Spent}
    sent = _sum(hours, "bytes_sent")
    last = {row["vm_id"]: row for row in sorted(hours, key=lambda row: str(row["at"]))}
    created = [datetime.fromisoformat(row["created"]) for row in last.values() if row["created"]]
    looks = [
        (row["cpu_fraction_mean"], row["looks"]) for row in hours if row["cpu_fraction_mean"] is not None
    ]
    weight = sum(count for _, count in looks)
    return {
        "bridge_hours": _over(_sum(hours, "seconds"), 3600),
        **{f"{each}_minutes": _over(seconds, 60) for each, seconds in spent.items()},
        "drain_hours": _over(spent[Spent.DRAINING], 3600),
        "overload_minutes": _over(_sum(hours, "overload_seconds"), 60),
        "machines_came": sum(begin <= moment < end for moment in created),
        "machines_left": sum(bool(row["left"]) for row in last.values()),
        "calls_served": _sum(hours, "conferences_created"),
        "egress_gb": None if sent is None else round(sent / 1e9, 6),
        "cpu_fraction_peak": max(
            (row["cpu_fraction_peak"] for row in hours if row["cpu_fraction_peak"] is not None), default=None
        ),
        "cpu_fraction_mean": round(sum(mean * count for mean, count in looks) / weight, 3)
        if weight
        else None,
    }


def _sum(rows: Iterable[Mapping[str, Any]], name: str) -> Any:
    known = [row[name] for row in rows if row[name] is not None]
    return sum(known) if known else None


def _over(seconds: float | None, unit: int) -> float | None:
    """Seconds in a longer unit, exact to the millisecond."""
    return None if seconds is None else round(seconds / unit, 7)


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
