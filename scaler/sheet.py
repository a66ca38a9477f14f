"""Rows as CSV: RFC 4180, for spreadsheets that must not take text for a formula. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula; the wide forms too."""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """
    Return a header and one line for each row, each ended with CR LF.

    A value that is missing or None is an empty cell: unknown is never zero. Text that a spreadsheet
    would take for a formula gets an apostrophe in front of it; numbers are left as they are.
    """
    lines = [columns, *([row.get(name) for name in columns] for row in rows)]
    return "".join(",".join(map(_cell, line)) + "\r\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    if text.startswith(_FORMULA):
        text = f"'{text}"
    if any(mark in text for mark in '",\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
