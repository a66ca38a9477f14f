"""Rows of decisions, events and usage, without a service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from state.records import day_partition, minute_key, newest_first_key, read_record, record_row

NOW = datetime(2026, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)

names = some.text(max_size=8) | some.sampled_from(["schema", "unknown", "more", "RowKey", "a_json", "x"])
scalars = some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats(allow_nan=False)
texts = some.text(alphabet=some.characters(exclude_categories=["Cs", "Cc"]), max_size=10)
values = some.recursive(
    scalars | texts, lambda inner: some.lists(inner) | some.dictionaries(texts, inner), max_leaves=5
)


@given(some.dictionaries(names.filter(lambda name: name != "truncated"), values, max_size=6))
def test_any_record_survives_its_row(record: dict[str, Any]):
    """Whatever JSON a decision holds, and however its fields are called, it is read back exactly."""
    assert read_record(record_row("p", "r", record)) == record


def test_keys_sort_newest_first():
    """A later moment stands first, and in one moment the later sequence."""
    moments = [NOW, NOW + timedelta(milliseconds=1), NOW + timedelta(days=365)]
    keys = [newest_first_key(moment, sequence) for moment in moments for sequence in (0, 1, 99)]
    assert keys == sorted(keys, reverse=True)
    assert {len(key) for key in keys} == {20}


def test_days_and_minutes_are_those_of_utc():
    """The partition is the UTC day, the minute's key its hour and minute."""
    assert (day_partition("a", NOW), minute_key(NOW)) == ("a|20260301", "2359")


def test_what_does_not_fit_is_cut_and_said():
    """A hundred full records of bridges become as many as fit, and `truncated` says how many."""
    record = {
        "bridges": [{"name": f"jvb_{number}", "text": "x" * 1000} for number in range(100)],
        "inputs": {f"key-{number}": "y" * 1000 for number in range(100)},
        "sentence": "z" * 40_000,
    }
    row = record_row("p", "r", record)
    assert all(len(cell) <= 32_000 for cell in row.values() if isinstance(cell, str))
    found = read_record(row)
    assert found["bridges"] == record["bridges"][: len(found["bridges"])]  # type: ignore[index]
    assert 25 < len(found["bridges"]) < 32
    assert 25 < len(found["inputs"]) < 32
    assert found["truncated"] == (
        f"bridges: {len(found['bridges'])} of 100 items; inputs: {len(found['inputs'])} of 100 items; "
        "sentence: 32000 of 40000 characters"
    )


def test_what_cannot_be_shortened_is_left_out_and_said():
    """A text that must stand as JSON is left out whole: half of it would be no JSON."""
    row = record_row("p", "r", {"note_json": "x" * 40_000})
    assert read_record(row) == {"note_json": None, "truncated": "note_json: all of it"}


def test_a_broken_cell_is_shown_as_it_is():
    """A record decides nothing, so what a person broke in it may be shown instead of raising."""
    row = record_row("p", "r", {"votes": [1]})
    assert read_record({**row, "votes_json": "[1", "unknown": 5}) == {"votes": "[1"}


def test_many_fields_do_not_overflow_the_row():
    """The service takes 252 columns; what is over is kept together."""
    record = {f"field_{number}": number for number in range(400)}
    row = record_row("p", "r", record)
    assert len(row) < 250
    assert read_record(row) == record
