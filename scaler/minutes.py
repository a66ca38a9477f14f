"""Minutes of usage, thinned to what a chart can show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from scaler.samples import is_known

STEPS = (1, 5, 15, 60)
"""Minutes that one row may stand for."""
DAY = 1440
"""Asks for days, which are not thinned but summed: see `days`."""


def thinned(rows: Iterable[Mapping[str, Any]], step: int) -> list[dict[str, Any]]:
    """
    Return one row for each `step` minutes in which anything is known: `at` is its first minute.

    A figure is the mean of what is known of it, a text what all say; None where nothing is. A gap stays a
    gap: so does a minute in which ARM did not answer, whatever its row says.
    """
    known = [row for row in rows if is_known(row)]
    if step == 1:
        return [dict(row) for row in known]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in known:
        groups.setdefault((str(row["shard"]), _begin(str(row["at"]), step)), []).append(row)
    return [_mean(shard, at, group) for (shard, at), group in groups.items()]


def _begin(at: str, step: int) -> str:
    moment = datetime.fromisoformat(at)
    whole = moment - timedelta(minutes=moment.minute % step)
    return whole.isoformat().replace("+00:00", "Z")


def _mean(shard: str, at: str, group: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in group for name in row if name not in ("at", "shard"))
    return {"at": at, "shard": shard, **{name: _of(name, group) for name in names}}


def _of(name: str, group: list[Mapping[str, Any]]) -> float | str | None:
    known: list[float] = [row[name] for row in group if isinstance(row.get(name), (int, float))]
    if known:
        return round(sum(known) / len(known), 3)
    texts = {row[name] for row in group if row.get(name) is not None}
    return str(texts.pop()) if len(texts) == 1 else None
