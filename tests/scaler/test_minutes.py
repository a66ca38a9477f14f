"""Minutes of usage, thinned: means of what is known, gaps left as gaps."""

from __future__ import annotations

from typing import Any

from scaler.minutes import thinned

ROWS: list[dict[str, Any]] = [
    {"at": "2026-03-04T12:00:00Z", "shard": "a", "people": 10, "capacity": 2},
    {"at": "2026-03-04T12:04:00Z", "shard": "a", "people": 20, "capacity": None},
    {"at": "2026-03-04T12:05:00Z", "shard": "a", "people": None, "capacity": None},
    {"at": "2026-03-04T12:04:00Z", "shard": "b", "people": 1, "capacity": 1},
    {"at": "2026-03-04T13:00:00Z", "shard": "a", "people": 7, "capacity": 1},
]


def test_each_minute_stays_as_it_is_where_nothing_is_thinned():
    """A copy, so that nobody changes the rows of the store."""
    assert thinned(ROWS, 1) == ROWS
    assert thinned(ROWS, 1)[0] is not ROWS[0]


def test_a_figure_is_the_mean_of_what_is_known():
    """What is not known is left out, and is not a zero; a step without a row has no row."""
    assert thinned(ROWS, 5) == [
        {"at": "2026-03-04T12:00:00Z", "shard": "a", "people": 15, "capacity": 2},
        {"at": "2026-03-04T12:05:00Z", "shard": "a", "people": None, "capacity": None},
        {"at": "2026-03-04T12:00:00Z", "shard": "b", "people": 1, "capacity": 1},
        {"at": "2026-03-04T13:00:00Z", "shard": "a", "people": 7, "capacity": 1},
    ]
