"""CSV that any program reads back, and that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.sheet import csv_text


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_a_table_has_a_header_and_a_line_a_row():
    """Lines end with CR LF, what is unknown is an empty cell, and never a zero."""
    rows: list[dict[str, Any]] = [
        {"name": "a", "load": 0.5, "calls": 0, "dry": True},
        {"name": "b", "load": None},
    ]
    assert csv_text(["name", "load", "calls", "dry"], rows) == (
        "name,load,calls,dry\r\na,0.5,0,true\r\nb,,,\r\n"
    )


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_would_be_a_formula_is_only_text(begin: str):
    """An apostrophe stands in front of it, inside the quotes where there are any."""
    ((_,), (cell,)) = read(csv_text(["why"], [{"why": f'{begin}HYPERLINK("http://x", "y")'}]))
    assert cell == f'\'{begin}HYPERLINK("http://x", "y")'


def test_a_negative_number_is_a_number():
    """Only text can be a formula."""
    assert csv_text(["skew"], [{"skew": -0.125}]) == "skew\r\n-0.125\r\n"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_whatever_it_says_is_read_back(cells: list[tuple[str, str]]):
    """Quotes, commas and line ends in a value stay in its cell."""
    rows = [{"one": one, "two": two} for one, two in cells]
    back = read(csv_text(["one", "two"], rows).replace("\0", "0"))[1:]
    plain = [[cell.replace("\0", "0") for cell in pair] for pair in cells]
    assert [[cell.removeprefix("'") for cell in line] for line in back] == [
        [cell.removeprefix("'") for cell in line] for line in plain
    ]
