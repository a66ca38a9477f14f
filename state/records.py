"""
Decisions, events and usage as table rows: a JSON mapping becomes columns that a person can sort.

Pure. A scalar is a typed cell of its own name; what is nested is JSON text in `<name>_json`;
names of unknown (null) values stand in `unknown`, since an empty cell could mean anything.
What cannot fit a cell is cut, and `truncated` says what.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import EntityProperty

from state.columns import TEXT_LIMIT, clean, whole
from state.rows import SCHEMA, Entity

SEQUENCES = 10_000
"""Rows of one partition that may share a millisecond."""

_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_OURS = frozenset({"PartitionKey", "RowKey", "Timestamp", "schema", "unknown", "truncated", "more_json"})
_MOST_COLUMNS = 200
"""The service takes 252 in a row; what is over goes into `more_json`."""
_INT64 = range(-(2**63), 2**63)


def day_partition(shard: str, at: datetime) -> str:
    """Return the PartitionKey of one shard's UTC day: `shard|yyyymmdd`."""
    return f"{shard}|{at.astimezone(UTC):%Y%m%d}"


def newest_first_key(at: datetime, sequence: int) -> str:
    """Return a RowKey that sorts later moments, and later sequences of one moment, first."""
    left = (_END_OF_TIME - at.astimezone(UTC)) // timedelta(milliseconds=1)
    return f"{left:015d}-{SEQUENCES - 1 - sequence:04d}"


def minute_key(at: datetime) -> str:
    """Return the RowKey of a UTC minute within its day: `HHMM`."""
    return f"{at.astimezone(UTC):%H%M}"


def minute_of(at: datetime) -> str:
    """Write the UTC minute of a moment as ISO 8601; what sorts as text sorts as time."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M}:00Z"


def record_row(partition: str, row_key: str, record: Mapping[str, Any]) -> Entity:
    """Return the row of one record. Raises `TypeError` where a value is not plain JSON."""
    row: Entity = {}
    cuts: list[str] = []
    more, unknown = {}, []
    for name, value in record.items():
        if not _can_be_column(name) or len(row) >= _MOST_COLUMNS:
            more[name] = value
        elif value is None:
            unknown.append(name)
        elif _is_scalar(name, value):
            row[name] = _cell(name, value, cuts)
        else:
            row[f"{name}_json"] = _json_cell(name, value, cuts)
    if unknown:
        row["unknown"] = _json_cell("unknown", unknown, cuts)
    if more:
        row["more_json"] = _json_cell("more", more, cuts)
    if cuts:
        row["truncated"] = clean("; ".join(cuts))
    return {**row, "PartitionKey": partition, "RowKey": row_key, "schema": SCHEMA}


def read_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a row; `truncated` is added where something was cut."""
    record = dict.fromkeys(_parsed(row.get("unknown") or "[]", []))
    for name, cell in row.items():
        # Of columns that were asked for by name, those that a row does not have may come as None.
        if cell is not None and (name == "truncated" or name not in _OURS):
            short = name.removesuffix("_json")
            record[short] = _parsed(cell, cell) if short != name else _plain(cell)
    record.update(_parsed(row.get("more_json", "{}"), {}))
    return record


def _can_be_column(name: str) -> bool:
    return name.isidentifier() and name.isascii() and len(name) < 200 and f"{name}_json" not in _OURS


def _is_scalar(name: str, value: Any) -> bool:
    """Whether a cell can hold it as it is; a name that would be misread on the way back cannot."""
    if name in _OURS or name.endswith("_json"):
        return False
    if isinstance(value, int):
        return value in _INT64
    return isinstance(value, str | float)


def _cell(name: str, value: Any, cuts: list[str]) -> Any:
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return whole(value)
    kept = clean(value)
    if len(value) > TEXT_LIMIT // 2 and len(kept) < len(value):
        cuts.append(f"{name}: {len(kept)} of {len(value)} characters")
    return kept


def _plain(cell: Any) -> Any:
    if isinstance(cell, EntityProperty):
        return cell.value
    return cell.isoformat() if isinstance(cell, datetime) else cell


def _parsed(text: Any, otherwise: Any) -> Any:
    """Return the JSON of a cell; one that a person broke is shown as it is, it decides nothing."""
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return otherwise


def _json_cell(name: str, value: Any, cuts: list[str]) -> str:
    """Return JSON text that fits a cell: of a list or a mapping as many of the first items as do."""
    text = json.dumps(value)
    if len(text) <= TEXT_LIMIT:
        return text
    if not isinstance(value, list | tuple | dict):
        cuts.append(f"{name}: all of it")
        return "null"
    items = list(value.items()) if isinstance(value, dict) else list(value)
    kept = items[: _how_many_fit(items)]
    cuts.append(f"{name}: {len(kept)} of {len(items)} items")
    return json.dumps(dict(kept) if isinstance(value, dict) else kept)


def _how_many_fit(items: Iterable[Any]) -> int:
    room, count = TEXT_LIMIT - 2, 0
    for item in items:
        # An item of a mapping is dumped as a pair, two characters longer than it will be.
        room -= len(json.dumps(item)) + 2
        if room < 0:
            break
        count += 1
    return count
