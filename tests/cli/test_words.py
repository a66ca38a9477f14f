"""What a person types: durations and days, and errors that show how."""

from __future__ import annotations

import click
import pytest

from cli.show import ago, ahead
from cli.words import DAY_LIST, DAYS, DURATION


@pytest.mark.parametrize(
    ("text", "minutes"), [("90m", 90), ("2h", 120), ("1d", 1440), ("1h30m", 90), ("0m", 0)]
)
def test_a_duration_is_minutes(text: str, minutes: int):
    """Minutes, hours and days, also together."""
    assert DURATION.convert(text, None, None) == minutes


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "2w", "-1h", "1h30"])
def test_what_is_no_duration_says_how(text: str):
    """A number without a unit could be anything."""
    with pytest.raises(click.BadParameter, match="as 90m, 2h, 1d"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", list(DAYS[:5])),
        ("sat,sun", ["sat", "sun"]),
        ("fri-mon", ["mon", "fri", "sat", "sun"]),
        ("Wed", ["wed"]),
        ("daily", list(DAYS)),
        ("mon-tue, sun", ["mon", "tue", "sun"]),
    ],
)
def test_days_are_ranges_and_lists(text: str, days: list[str]):
    """In the order of the week, whatever was typed; a range may go over Sunday."""
    assert DAY_LIST.convert(text, None, None) == days


@pytest.mark.parametrize("text", ["", "monday", "mon-", "mon-foo", "mon;tue"])
def test_what_is_no_day_says_how(text: str):
    """The error shows a range and a list."""
    with pytest.raises(click.BadParameter, match="mon-fri"):
        DAY_LIST.convert(text, None, None)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("2026-03-04T11:58:30.000Z", "1 m"),
        ("2026-03-04T09:30:00.000Z", "2 h 30 m"),
        ("2026-03-01T10:00:00.000Z", "3 d 2 h"),
        ("2026-03-04T12:00:30.000Z", "0 m"),
        (None, "-"),
    ],
)
def test_how_long_ago_fits_a_column(then: str | None, words: str):
    """The two largest units; what is not known is a dash."""
    assert ago(then, "2026-03-04T12:00:00.000Z") == words


def test_how_far_ahead_an_end_is_fits_a_column_too():
    """What has no end has a dash."""
    assert ahead("2026-03-04T13:57:30.000Z", "2026-03-04T12:00:00.000Z") == "in 1 h 57 m"
    assert ahead(None, "2026-03-04T12:00:00.000Z") == "-"
