"""What the documents say, read from their tables and marked blocks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def text_of(name: str) -> str:
    """Return a document, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """Return what stands under a heading of any level, up to the next heading of that level or above."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,6}} |\Z)", text_of(name), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"{name} has no heading {title!r}"
    return found[2]


def rows(markdown: str) -> list[list[str]]:
    """Return the cells of each table row, headings left out."""
    lines = [line for line in markdown.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(markdown: str) -> list[str]:
    """Return the first cells of a table that are code, as plain text."""
    return [cells[0].strip("` ") for cells in rows(markdown)]


def actions(title: str) -> set[str]:
    """Return the actions of the table under one heading of docs/permissions.md."""
    return set(names(section("docs/permissions.md", title)))
