"""What each machine was in a minute: packed into the minute's row and read back, unknown as unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler.decision import Decision, Reason, Refusal, Totals
from scaler.model import Bridge, Phase
from scaler.samples import (
    CELLS,
    FIGURES,
    MACHINES_A_CELL,
    SAMPLE_FIELDS,
    Spent,
    is_known,
    machine_cells,
    minute_row,
    read_minute,
    spent_in,
)
from state.columns import TEXT_LIMIT
from tests.scaler.builders import MINUTE, NOW, bridge, busy, shard_memory, snapshot, unheard


def decision(**changes: Any) -> Decision:
    """A decision of no consequence."""
    return Decision("a", NOW, 1, Totals(maximum=4), shard_memory(), **changes)


def row_of(*bridges: Bridge) -> dict[str, Any]:
    """The row of a minute with these machines."""
    return minute_row(decision(), snapshot(*bridges))


def test_a_minute_is_read_back_as_it_was_written():
    """Each machine with its class and figures; nobody is lost, whatever the size of the fleet."""
    fleet = [bridge(f"a{number}", **busy(upload_kbps=2500.0)) for number in range(MACHINES_A_CELL)]
    restarted = bridge("b", remembered={"restart_seen_at": NOW - 5 * MINUTE})
    row = row_of(*fleet, restarted)
    assert set(row) == {*FIGURES, *CELLS[:2]}
    minute = read_minute(json.loads(json.dumps(row)))
    assert minute is not None
    assert (minute.at, minute.vm_size) == (NOW, row["vm_size"])
    assert set(minute.machines) == {each.vm_id for each in (*fleet, restarted)}
    first = minute.machines["vm-a0"]
    assert (first.name, first.created, first.spent) == ("a0", NOW - timedelta(hours=2), Spent.BUSY)
    assert (first.conferences, first.participants, first.out_mbps) == (1, 4, 2.5)
    assert (first.bytes_sent, first.conferences_created, first.restarted) == (1000, 5, None)
    assert minute.machines["vm-b"].restarted == NOW - 5 * MINUTE


def test_a_full_cell_fits():
    """The longest names and figures of as many machines as go into one cell stay under its limit."""
    told = busy(10**4, 10**5, total_bytes_sent=10**17, total_conferences_created=10**9, upload_kbps=123456.7)
    long = bridge("j" * 61, remembered={"restart_seen_at": NOW}, **told)
    assert len(row_of(*[long] * MACHINES_A_CELL)[CELLS[0]]) <= TEXT_LIMIT


def test_where_azure_did_not_answer_every_figure_is_unknown():
    """The row says nothing, and nobody takes it for zeros; a fleet of none is known."""
    row = minute_row(decision(), None)
    assert set(row.values()) == {None}
    assert (read_minute(row), is_known(row)) == (None, False)
    assert is_known(row_of())
    empty = read_minute(row_of())
    assert empty is not None
    assert empty.machines == {}


@pytest.mark.parametrize(
    "cell", ["{", "7", "[7]", '[["vm-a"]]', '[["v","n",null,"asleep",1,1,1,1,1,1,1,null]]']
)
def test_a_row_that_a_person_broke_is_a_gap(cell: str):
    """It stops nothing: the hour is made of the other minutes."""
    assert read_minute({**row_of(bridge()), CELLS[0]: cell}) is None


def test_a_busy_oldest_that_blocks_is_told():
    """Where there is a bridge to spare; without one nothing is blocked by it."""
    refused = decision(refusals=(Refusal(Reason.OLDEST_BUSY, "2 conferences", "vm", "jvb"),))
    spare = shard_memory(surplus_since=NOW - MINUTE)
    blocked = [
        minute_row(each, snapshot())["blocked_by_busy_oldest"]
        for each in (refused, replace(refused, memory=spare), replace(decision(), memory=spare))
    ]
    assert blocked == [False, True, False]


@pytest.mark.parametrize(
    ("seen", "spent"),
    [
        (bridge(), Spent.IDLE),
        (bridge(**busy()), Spent.BUSY),
        (bridge(**busy(0, 2)), Spent.BUSY),
        (bridge(drain=True), Spent.DRAINING),
        (bridge(remembered={"phase": Phase.DRAINING}, **busy()), Spent.DRAINING),
        (bridge(remembered={"phase": Phase.FENCED}), Spent.LEAVING),
        (bridge(remembered={"phase": Phase.DELETING}), Spent.LEAVING),
        (bridge(remembered={"phase": Phase.BOOTING}), Spent.BOOTING),
        (bridge(remembered={"phase": Phase.FAILED}), Spent.FAILED),
        (unheard(), Spent.UNHEARD),
        (bridge(unhealthy_because="not in its MUC"), Spent.UNHEARD),
        (bridge(conferences=None), Spent.UNHEARD),
    ],
)
def test_a_machine_is_one_thing_at_a_time(seen: Bridge, spent: Spent):
    """Its phase tells, and of a ready one what it says itself; silence is neither idle nor busy."""
    assert spent_in(seen) is spent


def test_a_machine_that_azure_deletes_is_leaving():
    """Whoever asked for it."""
    assert spent_in(bridge(arm={"provisioning": "Deleting"})) is Spent.LEAVING


def test_samples_of_an_hour_lie_by_machine_and_minute():
    """A cell for each minute in which the machine was listed; what is not known is null."""
    minutes = [read_minute(row_of(bridge("a"))), read_minute(row_of(bridge("a"), unheard("b")))]
    cells = machine_cells([each for each in minutes if each])
    assert set(cells) == {"vm-a", "vm-b"}
    assert set(cells["vm-a"]) == {"name", "created", "vm_size", "m00"}
    silent, heard = (
        dict(zip(SAMPLE_FIELDS, json.loads(cells[vm_id]["m00"]), strict=True)) for vm_id in ("vm-b", "vm-a")
    )
    assert (silent["spent"], silent["conferences"], heard["conferences"]) == ("unheard", None, 0)
    assert (heard["spent"], heard["bytes_sent"], heard["restarted"]) == ("idle", 1000, None)
