"""
What each machine was in one tick, packed into that minute's row of `usage`. Pure.

One cell tells of many machines, so that a minute costs no write besides the row that it has anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from scaler.decision import Decision, Reason, Totals
from scaler.model import Bridge, Phase, Snapshot, fields_of

MACHINES_A_CELL = 120
"""Some 200 characters each: a cell holds 32,000."""
CELLS = tuple(f"machines_{number}" for number in range(1, 10))
"""Columns of a minute's row that hold the packed machines, as many as are needed."""

FIGURES = (
    *Totals.__dataclass_fields__,
    "seen_at",
    "vm_size",
    "blocked_by_busy_oldest",
)
"""Columns of a minute's row besides: some hundred bytes, where the machines take kilobytes."""

_MILLISECOND = timedelta(milliseconds=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Spent(StrEnum):
    """What a machine's time went into: each moment of its life is exactly one of these."""

    BOOTING = "booting"
    BUSY = "busy"
    """Ready, with a conference or an endpoint."""
    IDLE = "idle"
    """Ready, healthy and empty."""
    DRAINING = "draining"
    LEAVING = "leaving"
    """Fenced, or being deleted."""
    FAILED = "failed"
    """It never became a bridge."""
    UNHEARD = "unheard"
    """ARM listed it, but it was not heard or not healthy."""
    UNSEEN = "unseen"
    """It existed, as the lists before and after prove, and nobody looked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One machine in one tick. None: unknown."""

    vm_id: str
    name: str
    created: datetime | None
    spent: Spent
    conferences: int | None = None
    participants: int | None = None
    out_mbps: float | None = None
    cpu_fraction: float | None = None
    pressure: float | None = None
    bytes_sent: int | None = None
    """Since its process started."""
    conferences_created: int | None = None
    """Since its process started."""
    restarted: datetime | None = None
    """When another process was last seen to answer: counters begin anew there."""


@dataclass(frozen=True, slots=True)
class Minute:
    """Every machine that ARM listed in one tick."""

    at: datetime
    vm_size: str | None
    machines: Mapping[str, Sample]


def minute_row(decision: Decision, snapshot: Snapshot | None) -> dict[str, Any]:
    """
    Make the row of `usage` of one tick: its totals, and what each machine was.

    Where ARM did not answer nothing is known: every figure is None.
    """
    totals = fields_of(decision.totals)
    if snapshot is None or snapshot.scale_set is None:
        return dict.fromkeys(totals)
    listed = [_packed(bridge) for bridge in snapshot.bridges if bridge.instance is not None]
    chunks = [listed[start : start + MACHINES_A_CELL] for start in range(0, len(listed), MACHINES_A_CELL)]
    return {
        **totals,
        "seen_at": _ms(decision.at),
        "vm_size": snapshot.scale_set.vm_size,
        "blocked_by_busy_oldest": _is_blocked(decision),
        **{
            name: json.dumps(chunk, separators=(",", ":"))
            for name, chunk in zip(CELLS, chunks or [[]], strict=False)
        },
    }


def _is_blocked(decision: Decision) -> bool:
    """Whether there is a bridge to spare, and only the calls of the oldest keep it."""
    busy = any(refusal.reason is Reason.OLDEST_BUSY for refusal in decision.refusals)
    return busy and decision.memory.surplus_since is not None


def read_minute(row: Mapping[str, Any]) -> Minute | None:
    """Read the machines of a row of `usage`; None where it tells of none, or a person broke it: a gap."""
    if row.get("seen_at") is None:
        return None
    try:
        packed = [each for name in CELLS for each in json.loads(row.get(name) or "[]")]
        samples = [_unpacked(each) for each in packed]
    except (ValueError, TypeError):
        return None
    return Minute(_moment(row["seen_at"]), row.get("vm_size"), {each.vm_id: each for each in samples})


def machine_cells(minutes: Iterable[Minute]) -> dict[str, dict[str, Any]]:
    """Return what each machine was, by vmId: a cell `m00` to `m59` for each minute that it was listed in."""
    told: dict[str, dict[str, Any]] = {}
    for minute in minutes:
        for vm_id, sample in minute.machines.items():
            cells = told.setdefault(vm_id, {})
            cells |= {"name": sample.name, "created": _ms(sample.created), "vm_size": minute.vm_size}
            cells[f"m{minute.at.minute:02d}"] = _cell(minute, sample)
    return told


SAMPLE_FIELDS = (
    "at",
    "spent",
    "conferences",
    "participants",
    "out_mbps",
    "cpu_fraction",
    "pressure",
    "bytes_sent",
    "conferences_created",
    "restarted",
)
"""What a cell of `samples` lists, in this order; moments in ms since 1970."""


def _cell(minute: Minute, sample: Sample) -> str:
    figures = [getattr(sample, name) for name in SAMPLE_FIELDS[2:-1]]
    told = [_ms(minute.at), str(sample.spent), *figures, _ms(sample.restarted)]
    return json.dumps(told, separators=(",", ":"))


def is_known(row: Mapping[str, Any]) -> bool:
    """Whether ARM answered in this minute; a fleet has a maximum, so 0 or none tells that it did not."""
    return bool(row.get("maximum"))


def spent_in(bridge: Bridge) -> Spent:
    """Tell what the machine's time goes into, as it was seen."""
    leaves = bridge.instance is not None and bridge.instance.is_deleting
    if leaves or bridge.phase in (Phase.FENCED, Phase.DELETING):
        return Spent.LEAVING
    if bridge.phase in _BY_PHASE:
        return _BY_PHASE[bridge.phase]
    if bridge.idle is None or not bridge.healthy:
        return Spent.UNHEARD
    if bridge.observed_drain:
        return Spent.DRAINING
    return Spent.IDLE if bridge.idle else Spent.BUSY


_BY_PHASE = {Phase.BOOTING: Spent.BOOTING, Phase.FAILED: Spent.FAILED, Phase.DRAINING: Spent.DRAINING}


def _packed(bridge: Bridge) -> list[Any]:
    memory, stats = bridge.memory, bridge.stats
    return [
        bridge.vm_id,
        bridge.name[:64],
        _ms(memory.time_created),
        str(spent_in(bridge)),
        stats.conferences if stats else None,
        stats.local_endpoints if stats else None,
        stats.upload_kbps / 1000 if stats and stats.upload_kbps is not None else None,
        _rounded(bridge.cpu_fraction),
        _rounded(bridge.pressure),
        stats.total_bytes_sent if stats else None,
        stats.total_conferences_created if stats else None,
        _ms(memory.restart_seen_at),
    ]


def _unpacked(packed: list[Any]) -> Sample:
    vm_id, name, created, spent, *figures = packed
    figures[-1] = _moment_or_none(figures[-1])
    return Sample(vm_id, name, _moment_or_none(created), Spent(spent), *figures)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _BEGINNING) // _MILLISECOND


def _moment(ms: int) -> datetime:
    return _BEGINNING + ms * _MILLISECOND


def _moment_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else _moment(ms)
