"""Minutes of usage, thinned: means of what is known, gaps left as gaps."""

from __future__ import annotations

from typing import Any

from scaler.minutes import thinned

ROWS: list[dict[str, Any]] = [
    {"at": "2026-03-04T12:00:00Z", "shard": "a", "maximum": 4, "people": 10, "capacity": 2},
    {"at": "2026-03-04T12:04:00Z", "shard": "a", "maximum": 4, "people": 20, "capacity": None},
    {"at": "2026-03-04T12:05:00Z", "shard": "a", "maximum": 4, "people": None, "capacity": None},
    {"at": "2026-03-04T12:04:00Z", "shard": "b", "maximum": 4, "people": 1, "capacity": 1},
    {"at": "2026-03-04T13:00:00Z", "shard": "a", "maximum": 4, "people": 7, "capacity": 1},
]


def test_each_minute_stays_as_it_is_where_nothing_is_thinned():
    """A copy, so that nobody changes the rows of the store."""
    assert thinned(ROWS, 1) == ROWS
    assert thinned(ROWS, 1)[0] is not ROWS[0]


def test_a_figure_is_the_mean_of_what_is_known():
    """What is not known is left out, and is not a zero; a step without a row has no row."""
    assert thinned(ROWS, 5) == [
        {"at": "2026-03-04T12:00:00Z", "shard": "a", "maximum": 4, "people": 15, "capacity": 2},
        {"at": "2026-03-04T12:05:00Z", "shard": "a", "maximum": 4, "people": None, "capacity": None},
        {"at": "2026-03-04T12:00:00Z", "shard": "b", "maximum": 4, "people": 1, "capacity": 1},
        {"at": "2026-03-04T13:00:00Z", "shard": "a", "maximum": 4, "people": 7, "capacity": 1},
    ]


def test_a_minute_in_which_azure_did_not_answer_is_a_gap():
    """Its zeros are no figures: they are in no mean, and a step of nothing else has no row."""
    held = {"at": "2026-03-04T12:01:00Z", "shard": "a", "maximum": 0, "people": 0, "capacity": None}
    alone = {**held, "at": "2026-03-04T12:31:00Z", "maximum": None, "people": None}
    for step in (1, 5, 60):
        assert thinned([*ROWS, held, alone], step) == thinned(ROWS, step)


def test_a_text_is_what_all_minutes_say():
    """A size that changed within the step is not told as one of both."""
    sizes = ["F8", None, "F8", "F16", "F8"]
    told = thinned([{**row, "size": size} for row, size in zip(ROWS, sizes, strict=True)], 60)
    assert [(row["at"], row["shard"], row["size"]) for row in told] == [
        ("2026-03-04T12:00:00Z", "a", "F8"),
        ("2026-03-04T12:00:00Z", "b", "F16"),
        ("2026-03-04T13:00:00Z", "a", "F8"),
    ]
    mixed = [{**row, "size": size} for row, size in zip(ROWS, ["F8", "F16", None, "F8", "F8"], strict=True)]
    assert thinned(mixed, 60)[0]["size"] is None
