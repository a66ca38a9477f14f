"""Rows of what is remembered, without a service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scaler.errors import TryNextTick
from scaler.model import BridgeMemory, CreateIntent, Phase, ProcessTotals, ShardMemory
from state.rows import BRIDGES, INTENTS, STATES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

times = some.datetimes(timezones=some.just(UTC))
texts = some.text(alphabet=some.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(
    some.builds(BridgeMemory, phase_since=times, first_seen=times, name=texts, failure=texts | some.none())
)
def test_any_bridge_survives_its_row(memory: BridgeMemory):
    """Whatever is remembered of a bridge is read back exactly."""
    assert BRIDGES.read(BRIDGES.write("a", memory)) == memory


def test_a_row_can_be_read_by_a_person():
    """One typed column for each known value, nothing for an unknown one, no packed blob."""
    memory = BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW, totals=ProcessTotals(bytes_sent=5))
    row = BRIDGES.write("a", memory)
    assert (row["PartitionKey"], row["RowKey"], row["schema"]) == ("a", "vm-1", 1)
    assert (row["phase"], row["phase_since"], row["totals_bytes_sent"].value) == ("ready", NOW, 5)
    assert not {"vm_id", "purpose", "pressure", "totals_bytes_received"} & set(row)


def test_an_intent_tells_whether_it_ended():
    """Open intents can be queried: an absent cell could not."""
    intent = CreateIntent("i", NOW, 1, 2, "why")
    assert INTENTS.write("a", intent)["ended"] is False
    ended = CreateIntent("i", NOW, 1, 2, "why", ended_at=NOW)
    assert INTENTS.write("a", ended)["ended"] is True


def test_long_text_goes_on_in_further_cells():
    """A thousand standing refusals are more than one cell holds, and still none is lost."""
    standing = {f"refusal of bridge {number}": NOW + timedelta(seconds=number) for number in range(1500)}
    row = STATES.write("a", ShardMemory(NOW, standing=standing))
    assert {"standing", "standing_2", "standing_3"} <= set(row)
    assert all(len(cell) <= 32_000 for cell in row.values() if isinstance(cell, str))
    assert STATES.read(row).standing == standing


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("phase", "asleep"),
        ("phase", None),
        ("phase_since", "yesterday"),
        ("nic_mbps", "[1,"),
        ("ever_ready", "yes"),
        ("totals_bytes_sent", 1.5),
        ("skew_seconds", float("nan")),
        ("skew_seconds", float("inf")),
        ("skew_seconds", 10**400),
        ("nic_mbps", "[1e999]"),
    ],
)
def test_an_unreadable_cell_is_named(column: str, cell: object):
    """The error names table, keys and column, so that a person finds the cell to mend."""
    row = BRIDGES.write("a", BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW))
    row[column] = cell
    with pytest.raises(
        TryNextTick, match=f"table bridges, PartitionKey 'a', RowKey 'vm-1': column {column} "
    ):
        BRIDGES.read(row)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_has_no_cell(value: float):
    """A row that is written can always be read: such a figure is unknown from then on."""
    row = BRIDGES.write("a", BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW, pressure=value))
    assert "pressure" not in row
    assert BRIDGES.read(row).pressure is None


def test_a_column_that_is_not_there_yet_has_its_default():
    """Rows of an older version are read after an update."""
    row = BRIDGES.write("a", BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW))
    for column in ("wanted_drain", "polls", "nic_mbps", "schema"):
        del row[column]
    assert BRIDGES.read(row) == BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW)
    assert not BRIDGES.is_newer(row)


def test_a_version_that_is_no_number_is_named():
    """A broken version number is an unreadable cell like any other."""
    row = {**BRIDGES.write("a", BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW)), "schema": "two"}
    with pytest.raises(TryNextTick, match="column schema"):
        BRIDGES.is_newer(row)
