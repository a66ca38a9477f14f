"""
What is remembered, as table rows: one typed column per field, readable in Storage Explorer.

Pure. A row that does not parse raises `TryNextTick` with table, keys and column: nothing may be
done on a memory that cannot be read, and the operator learns which cell to mend.
`docs/tables.md` explains every column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, get_type_hints

from scaler.errors import TryNextTick
from scaler.model import BridgeMemory, Command, CreateIntent, ShardMemory
from state.columns import TEXT_LIMIT, CellUnreadable, columns_of, read_whole

T = TypeVar("T")

SCHEMA = 1
"""Version of the columns that this code writes. Rows of a newer one are read, never written."""

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """Row `lease` of `shards`: who may act on the shard, and until when."""

    owner: str
    until: datetime
    epoch: int


class RowFormat(Generic[T]):
    """How one dataclass lies in the rows of one table."""

    def __init__(
        self,
        table: str,
        model: type[T],
        *,
        key_field: str | None = None,
        row_key: str = "",
        also: Callable[[T], Mapping[str, Any]] | None = None,
    ) -> None:
        """
        The RowKey is the value of `key_field`, which then has no column, or the constant `row_key`.

        `also` gives columns that only serve queries; they are never read back.
        """
        self.table = table
        self.name = f"{table}/{row_key}"
        self.columns = tuple(column for column in columns_of(model) if column.path != (key_field,))
        # Plain tuples: a thousand rows of seventy cells are read and written in each tick.
        self._writers = tuple((each.name, each.get, each.kind.write) for each in self.columns)
        self._readers = tuple(
            (each.name, each.path[0] if each.path[1:] else "", each.path[-1], each.kind.read, each.required)
            for each in self.columns
        )
        self._model = model
        self._key_field = key_field
        self.row_key = row_key
        self._also = also
        hints = get_type_hints(model)
        self._nested = {column.path[0]: hints[column.path[0]] for column in self.columns if column.path[1:]}

    def key_of(self, value: T) -> str:
        """Return the RowKey of a value."""
        return str(getattr(value, self._key_field)) if self._key_field else self.row_key

    def write(self, partition: str, value: T) -> Entity:
        """Return the whole row. None has no cell, so rows must be replaced, never merged."""
        row: Entity = {"PartitionKey": partition, "RowKey": self.key_of(value), "schema": SCHEMA}
        for name, get, write in self._writers:
            held = get(value)
            if held is not None:
                cell = write(held)
                if type(cell) is str and len(cell) > TEXT_LIMIT:
                    _split(row, name, cell)
                elif cell is not None:
                    row[name] = cell
        return {**row, **self._also(value)} if self._also else row

    def read(self, row: Mapping[str, Any]) -> T:
        """Return the value of a row. Raises `TryNextTick` naming the first cell that does not parse."""
        values: dict[str, Any] = {name: {} for name in self._nested}
        values[""] = top = {}
        name = ""
        try:
            for name, outer, field, read, required in self._readers:
                cell = row.get(name)
                if cell is None:
                    if required:
                        raise CellUnreadable("is missing")
                    continue  # the dataclass has its default
                if type(cell) is str and len(cell) >= TEXT_LIMIT:
                    cell = _joined(row, name, cell)
                values[outer][field] = read(cell)
        except (ValueError, TypeError, KeyError, ArithmeticError) as problem:
            raise self._unreadable(row, name, problem) from problem
        for outer, kind in self._nested.items():
            top[outer] = kind(**values[outer])
        if self._key_field:
            top[self._key_field] = row["RowKey"]
        return self._model(**top)

    def is_newer(self, row: Mapping[str, Any]) -> bool:
        """Whether a newer version of this project wrote the row. Raises `TryNextTick` as `read`."""
        try:
            return read_whole(row.get("schema", SCHEMA)) > SCHEMA
        except CellUnreadable as problem:
            raise self._unreadable(row, "schema", problem) from problem

    def _unreadable(self, row: Mapping[str, Any], column: str, problem: Exception) -> TryNextTick:
        place = f"table {self.table}, PartitionKey {row.get('PartitionKey')!r}, RowKey {row.get('RowKey')!r}"
        return TryNextTick(f"{place}: column {column} cannot be read: {problem}")


BRIDGES = RowFormat("bridges", BridgeMemory, key_field="vm_id")
STATES = RowFormat("shards", ShardMemory, row_key="state")
LEASES = RowFormat("shards", LeaseRow, row_key="lease")
INTENTS = RowFormat(
    "intents",
    CreateIntent,
    key_field="intent_id",
    # An absent cell cannot be filtered on, and `ended_at` is absent while the intent is open.
    also=lambda intent: {"ended": intent.ended_at is not None},
)
COMMANDS = RowFormat(
    "commands",
    Command,
    key_field="command_id",
    also=lambda command: {"ended": command.ended_at is not None},
)


def _split(row: Entity, name: str, cell: str) -> None:
    """Let JSON text over a cell's limit go on in `name_2`, `name_3`, and so forth."""
    row[name] = cell[:TEXT_LIMIT]
    for part, start in enumerate(range(TEXT_LIMIT, len(cell), TEXT_LIMIT), 2):
        row[f"{name}_{part}"] = cell[start : start + TEXT_LIMIT]


def _joined(row: Mapping[str, Any], name: str, cell: str) -> str:
    """Return the text that `_split` wrote."""
    part = 2
    while isinstance(rest := row.get(f"{name}_{part}"), str):
        cell, part = cell + rest, part + 1
    return cell
