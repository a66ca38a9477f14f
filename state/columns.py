"""
One dataclass field, one typed table column: how each Python type is stored and read back.

Pure. The columns of a row follow from the annotations of its dataclass, so a field added to
the model is stored without a line here; a field of a type that no cell can hold fails at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson
from azure.data.tables import EdmType, EntityProperty

T = TypeVar("T")

TEXT_LIMIT = 32_000
"""UTF-16 units in one text cell. The service takes 32,768; the rest is room for a mark."""

_UNPRINTABLE = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}


class CellUnreadable(ValueError):
    """A cell does not hold what its column says: edited by hand, or written by something else."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one Python type is kept in a cell."""

    cell: str
    """What Storage Explorer shows as the type: String, Int64, Double, Boolean or DateTime."""
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a row, and the way to its field."""

    name: str
    kind: Kind
    path: tuple[str, ...]
    """Field names from the row's dataclass down; two where a dataclass lies in a field."""
    get: Callable[[Any], Any]
    """Takes the field's value from the row's dataclass."""
    required: bool
    """The cell must be there: its field has no default."""


def columns_of(model: type[Any], prefix: str = "", path: tuple[str, ...] = ()) -> Iterator[Column]:
    """Yield a column per field of `model`, those of a nested dataclass after `<field>_`."""
    hints = get_type_hints(model)
    for item in fields(model):
        kind, where = _without_none(hints[item.name]), (*path, item.name)
        if is_dataclass(kind) and isinstance(kind, type):
            yield from columns_of(kind, f"{prefix}{item.name}_", where)
        else:
            yield Column(
                prefix + item.name, kind_of(kind), where, attrgetter(".".join(where)), _is_required(item)
            )


def kind_of(annotation: Any) -> Kind:
    """Return how values of this type are kept. Raises `TypeError` for one that no cell can hold."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return Kind("String", str, lambda cell: annotation(read_text(cell)))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (tuple, frozenset):
        return _listed(_element(arguments[0]), origin)
    if origin is dict:
        return _keyed(_element(arguments[1]))
    raise TypeError(f"no table cell can hold {annotation}: give it a Kind in state/columns.py")


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return text that a cell takes: no control characters, no lone surrogates, not too long."""
    if len(text) <= limit // 2 and text.isprintable():
        return text
    units = text.translate(_UNPRINTABLE).encode("utf-16-le", "replace")
    return units[: 2 * limit].decode("utf-16-le", "ignore")


def whole(value: int) -> EntityProperty:
    """Return a whole number's cell: always Int64, so that a growing counter never changes its type."""
    return EntityProperty(value, EdmType.INT64)


def number(value: float) -> float | None:
    """Return a number's cell; none for NaN and infinity, which nothing could be reckoned with when read."""
    return float(value) if isfinite(value) else None


def read_text(cell: Any) -> str:
    """Return a String cell's text."""
    return _expect(cell, str, "text")


def read_flag(cell: Any) -> bool:
    """Return a Boolean cell's value."""
    return _expect(cell, bool, "true or false")


def read_whole(cell: Any) -> int:
    """Return the number of an Int64 or Int32 cell."""
    value = cell.value if type(cell) is EntityProperty else cell
    if type(value) is not int:  # a bool is an int to isinstance
        raise CellUnreadable(f"{cell!r} is not a whole number")
    return value


def read_number(cell: Any) -> float:
    """Return the number of a Double cell; a whole number typed by hand will do."""
    value = cell if type(cell) is float else float(read_whole(cell))
    if not isfinite(value):
        raise CellUnreadable(f"{value!r} is no number to reckon with")
    return value


def read_time(cell: Any) -> datetime:
    """Return a DateTime cell as a plain aware UTC datetime (the SDK's is a subclass)."""
    moment = _expect(cell, datetime, "a DateTime")
    if type(moment) is datetime and moment.tzinfo is UTC:
        return moment
    return datetime.combine(moment.date(), moment.time(), UTC)


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _expect(value: Any, kind: type[T], meaning: str) -> T:
    if not isinstance(value, kind):
        raise CellUnreadable(f"{value!r} is not {meaning}")
    return value


_SCALARS: dict[Any, Kind] = {
    str: Kind("String", clean, read_text),
    int: Kind("Int64", whole, read_whole),
    float: Kind("Double", number, read_number),
    bool: Kind("Boolean", bool, read_flag),
    datetime: Kind("DateTime", _in_utc, read_time),
}


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    (only,) = [part for part in get_args(annotation) if part is not NoneType]
    return only


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


# --- short JSON text, for the few fields that hold several values -----------------------


@dataclass(frozen=True, slots=True)
class _Element:
    """One value inside JSON text."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _element(annotation: Any) -> _Element:
    """Return how one value of this type is kept inside JSON; None stays null, it is not zero."""
    kind = kind_of(_without_none(annotation))
    if kind.cell == "DateTime":
        kind = Kind("String", lambda moment: _in_utc(moment).isoformat(), _read_iso)
    elif kind.cell == "Int64":
        kind = Kind("String", int, read_whole)
    return _Element(
        lambda value: None if value is None else kind.write(value),
        lambda value: None if value is None else kind.read(value),
    )


def _read_iso(text: Any) -> datetime:
    moment = datetime.fromisoformat(read_text(text))
    if moment.tzinfo is None:
        raise CellUnreadable(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def _listed(element: _Element, container: Callable[[Any], Any]) -> Kind:
    def write(values: Any) -> str:
        return orjson.dumps([element.write(value) for value in values]).decode()

    def read(cell: Any) -> Any:
        return container(element.read(value) for value in _parsed(cell, list))

    return Kind("String", write, read)


def _keyed(element: _Element) -> Kind:
    def write(values: Any) -> str:
        return orjson.dumps({key: element.write(value) for key, value in values.items()}).decode()

    def read(cell: Any) -> Any:
        return {key: element.read(value) for key, value in _parsed(cell, dict).items()}

    return Kind("String", write, read)


def _parsed(cell: Any, kind: type[Any]) -> Any:
    return _expect(orjson.loads(read_text(cell)), kind, f"a JSON {kind.__name__}")
