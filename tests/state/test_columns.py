"""Types and cells: what is written is what is read, and what cannot be read says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from azure.data.tables import EntityProperty
from hypothesis import given
from hypothesis import strategies as some

from scaler.model import Phase
from state.columns import TEXT_LIMIT, CellUnreadable, clean, kind_of, read_whole

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, ""),
        (int, 2**62),
        (int, -1),
        (float, 0.0),
        (bool, False),
        (datetime, NOW),
        (Phase, Phase.READY),
        (tuple[str, ...], ("a", "b")),
        (tuple[float | None, ...], (None, 0.0, 1.5)),
        (tuple[Phase, ...], (Phase.READY,)),
        (tuple[int, ...], (0, 2**40)),
        (frozenset[str], frozenset({"a"})),
        (dict[str, datetime], {"key|with ünits": NOW}),
        (dict[str, int], {}),
    ],
    ids=str,
)
def test_a_value_comes_back_as_it_was(annotation: type, value: object):
    """Every type that the model uses survives its cell."""
    kind = kind_of(annotation)
    assert kind.read(kind.write(value)) == value


def test_times_are_kept_in_utc():
    """A moment given in another zone is the same moment when read."""
    kind = kind_of(datetime)
    there = NOW.astimezone(timezone(timedelta(hours=2)))
    assert kind.write(there).tzinfo is UTC
    assert type(kind.read(kind.write(there))) is datetime


@pytest.mark.parametrize(
    ("annotation", "cell"),
    [
        (str, 1),
        (int, True),
        (int, "1"),
        (float, True),
        (float, "0.5"),
        (bool, 1),
        (datetime, "2026-03-01"),
        (Phase, "asleep"),
        (tuple[float, ...], "[1.0, true]"),
        (tuple[float, ...], "{}"),
        (tuple[float, ...], "[1.0"),
        (dict[str, datetime], '{"a": "2026-03-01T00:00:00"}'),
        (dict[str, datetime], "[]"),
    ],
    ids=str,
)
def test_a_cell_of_another_kind_is_not_guessed_at(annotation: type, cell: object):
    """What a person typed wrongly is an error, never a value that looks right."""
    with pytest.raises(ValueError, match=r".+"):
        kind_of(annotation).read(cell)


def test_a_whole_number_typed_by_hand_will_do():
    """Storage Explorer offers Int32 first: it is taken for a number and for a whole number."""
    assert kind_of(float).read(3) == 3.0
    assert kind_of(int).read(3) == 3
    assert read_whole(EntityProperty(3, "Edm.Int64")) == 3
    with pytest.raises(CellUnreadable):
        read_whole(None)


def test_a_field_that_no_cell_can_hold_is_found_at_once():
    """A new field of an unknown type fails when the program starts, not at night."""
    with pytest.raises(TypeError, match="complex"):
        kind_of(complex)
    with pytest.raises(TypeError, match="complex"):
        kind_of(tuple[complex, ...])


@given(some.text(alphabet=some.characters(codec=None), max_size=50), some.integers(0, 20))
def test_clean_text_can_always_be_sent(text: str, limit: int):
    """Whatever a bridge says, the text of it is valid UTF-8 within the limit of UTF-16 units."""
    sent = clean(text, limit)
    assert len(sent.encode("utf-16-le")) <= 2 * limit
    sent.encode("utf-8")


def test_plain_text_is_left_alone():
    """Text that fits is not touched, line ends and signs beyond the first plane included."""
    for text in ("", "a\nb\tc", "ünïcode 📞", "x" * TEXT_LIMIT):
        assert clean(text) == text
    assert clean("nul\x00") == "nul\ufffd"
