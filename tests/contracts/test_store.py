"""What every store promises: the in-memory one of simulations and the real one on Azure Tables."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.memory_store import MemoryStore
from scaler.errors import LeaseHeld, StateChanged
from scaler.model import (
    BridgeMemory,
    Command,
    CommandKind,
    CommandState,
    CreateIntent,
    Phase,
    ProcessTotals,
    Purpose,
    ShardMemory,
)
from scaler.ports import Store, Stored
from state.store import TableStore

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["memory", "tables"])
async def store(request: pytest.FixtureRequest, tables: TableStore) -> Store:
    return MemoryStore() if request.param == "memory" else tables


def usage(store: Store) -> Any:
    """The same store as the usage port sees it."""
    return store


def bridge(number: int = 1, phase: Phase = Phase.READY) -> BridgeMemory:
    return BridgeMemory(f"vm-{number}", f"jvb_{number}", phase, NOW, NOW)


FULL = BridgeMemory(
    vm_id="vm-full",
    name="jvb_full",
    phase=Phase.DRAINING,
    phase_since=NOW,
    first_seen=NOW - timedelta(days=3),
    asked_by="intent-1",
    ever_ready=True,
    address="10.0.0.4",
    totals=ProcessTotals(conferences_created=0, bytes_sent=2**40),
    skew_seconds=-0.125,
    polls="11011",
    wanted_drain=True,
    purpose=Purpose.SURPLUS,
    created_at_empty=0,
    nic_mbps=(0.0, 312.5),
    cpu_fractions=(None, 0.25),
    pressure=0.0,
)


async def test_nothing_is_remembered_at_first(store: Store):
    """A shard that was never seen has no memory at all, which differs from an empty one."""
    rows = await store.load("a")
    assert (rows.state, dict(rows.bridges), dict(rows.intents)) == (None, {}, {})


async def test_what_was_written_is_read_back_exactly(store: Store):
    """Every value comes back as it was, None as None and zero as zero, under the etag that the write gave."""
    state = ShardMemory(
        NOW, epoch=3, alerts={"blind|a": NOW}, left_drained=("jvb_1",), pause_reason="tést 📞"
    )
    intent = CreateIntent("i-1", NOW, 3, 4, "hot", operation="https://arm.example/op?x=1&y=%2F")
    stored = await store.put_state("a", Stored(state, None))
    bridges = await store.put_bridges("a", [Stored(FULL, None), Stored(bridge(), None)])
    intents = await store.put_intents("a", [Stored(intent, None)])
    rows = await store.load("a")
    assert rows.state == stored
    assert stored.value == state
    assert dict(rows.bridges) == {row.value.vm_id: row for row in bridges}
    assert rows.bridges["vm-full"].value == FULL
    assert dict(rows.intents) == {"i-1": intents[0]}


async def test_a_value_that_was_cleared_is_gone(store: Store):
    """What became None is None when read again: rows are replaced, never merged."""
    (row,) = await store.put_bridges("a", [Stored(FULL, None)])
    await store.put_bridges("a", [Stored(replace(FULL, purpose=None, pressure=None), row.etag)])
    found = (await store.load("a")).bridges["vm-full"].value
    assert (found.purpose, found.pressure) == (None, None)


async def test_shards_do_not_see_each_other(store: Store):
    """A row of one shard is in no answer about another."""
    await store.put_state("a", Stored(ShardMemory(NOW), None))
    await store.put_bridges("a", [Stored(bridge(), None)])
    await store.put_intents("a", [Stored(CreateIntent("i", NOW, 1, 2, "why"), None)])
    await store.append_decision("a", NOW, {"n": 1})
    rows = await store.load("ab")
    assert (rows.state, dict(rows.bridges), dict(rows.intents)) == (None, {}, {})
    assert await store.decisions("ab", NOW, 10) == []


async def test_a_write_on_an_old_etag_is_refused(store: Store):
    """Whoever read before somebody else wrote must read again: nothing is overwritten."""
    old = await store.put_state("a", Stored(ShardMemory(NOW), None))
    new = await store.put_state("a", Stored(ShardMemory(NOW, epoch=2), old.etag))
    with pytest.raises(StateChanged):
        await store.put_state("a", Stored(ShardMemory(NOW, epoch=9), old.etag))
    assert (await store.load("a")).state == new


async def test_a_row_is_created_once(store: Store):
    """Creating a row that exists is refused, for each kind of row."""
    await store.put_state("a", Stored(ShardMemory(NOW), None))
    await store.put_bridges("a", [Stored(bridge(), None)])
    await store.put_intents("a", [Stored(CreateIntent("i", NOW, 1, 2, "why"), None)])
    with pytest.raises(StateChanged):
        await store.put_state("a", Stored(ShardMemory(NOW), None))
    with pytest.raises(StateChanged):
        await store.put_bridges("a", [Stored(bridge(), None)])
    with pytest.raises(StateChanged):
        await store.put_intents("a", [Stored(CreateIntent("i", NOW, 1, 2, "why"), None)])


async def test_one_stale_row_stops_its_whole_transaction(store: Store):
    """Either all rows of a transaction are written or none."""
    first, second = await store.put_bridges("a", [Stored(bridge(1), None), Stored(bridge(2), None)])
    await store.put_bridges("a", [Stored(bridge(2, Phase.DRAINING), second.etag)])
    with pytest.raises(StateChanged):
        await store.put_bridges(
            "a",
            [Stored(bridge(1, Phase.DELETING), first.etag), Stored(bridge(2, Phase.DELETING), second.etag)],
        )
    phases = {key: row.value.phase for key, row in (await store.load("a")).bridges.items()}
    assert phases == {"vm-1": Phase.READY, "vm-2": Phase.DRAINING}


async def test_the_answer_keeps_the_order_of_the_rows(store: Store):
    """Each new etag belongs to the row at its place, over the border of a transaction of 100."""
    made = await store.put_bridges("a", [Stored(bridge(number), None) for number in range(205)])
    again = await store.put_bridges("a", [Stored(row.value, row.etag) for row in made])
    assert [row.value.vm_id for row in again] == [f"vm-{number}" for number in range(205)]
    assert dict((await store.load("a")).bridges) == {row.value.vm_id: row for row in again}


async def test_a_bridge_that_is_gone_has_no_row(store: Store):
    """Phase gone deletes the row, and a bridge that was never stored needs no write."""
    rows = await store.put_bridges("a", [Stored(bridge(1), None), Stored(bridge(2), None)])
    left = await store.put_bridges(
        "a",
        [
            Stored(bridge(1, Phase.GONE), rows[0].etag),
            Stored(bridge(2), rows[1].etag),
            Stored(bridge(3, Phase.GONE), None),
        ],
    )
    assert [row.etag is None for row in left] == [True, False, True]
    assert set((await store.load("a")).bridges) == {"vm-2"}


async def test_the_last_bridge_may_go(store: Store):
    """A single row is deleted as well as one of many, and its machine may come anew."""
    (row,) = await store.put_bridges("a", [Stored(bridge(), None)])
    (left,) = await store.put_bridges("a", [Stored(bridge(1, Phase.GONE), row.etag)])
    assert left.etag is None
    assert dict((await store.load("a")).bridges) == {}
    await store.put_bridges("a", [Stored(bridge(), None)])


async def test_a_stale_bridge_is_not_deleted(store: Store):
    """A row that changed since it was read is not deleted."""
    (old,) = await store.put_bridges("a", [Stored(bridge(), None)])
    await store.put_bridges("a", [Stored(bridge(), old.etag)])
    with pytest.raises(StateChanged):
        await store.put_bridges("a", [Stored(bridge(1, Phase.GONE), old.etag)])
    assert set((await store.load("a")).bridges) == {"vm-1"}


async def test_minutes_are_read_in_their_order_and_no_others(store: Store):
    """From the first minute on and before the last, over midnight, each with its minute; unknown stays so."""
    start = NOW.replace(hour=23, minute=58, second=20)
    for number in range(5):
        await store.append_usage("a", start + number * MINUTE, {"people": number, "capacity": None})
    await store.append_usage("b", start, {"people": 9})
    rows = await store.minutes("a", start + MINUTE, start + 4 * MINUTE)
    assert [row["at"] for row in rows] == [
        "2026-03-01T23:59:00Z",
        "2026-03-02T00:00:00Z",
        "2026-03-02T00:01:00Z",
    ]
    assert [(row["people"], row["capacity"]) for row in rows] == [(1, None), (2, None), (3, None)]
    assert await store.minutes("c", start, start + MINUTE) == []


async def test_figures_are_minutes_without_their_machines(store: Store):
    """Days of minutes are small to read; unknown stays unknown, and what a row does not have is not told."""
    figures = {"listed": 2, "capacity": None, "out_mbps": 1.5}
    await usage(store).append_usage("a", NOW, {**figures, "machines_1": "[]"})
    (row,) = await usage(store).figures("a", NOW.replace(second=0), NOW + MINUTE)
    assert dict(row) == {"at": "2026-03-01T12:00:00Z", **figures}
    assert await usage(store).first_minute("a") == NOW.replace(second=0, microsecond=0)
    assert await usage(store).first_minute("b") is None


async def test_reckoned_hours_and_days_are_read_back(store: Store):
    """Rows of an hour by machine, rows of a day by date; written again they are replaced, not doubled."""
    tables, hour = usage(store), NOW.replace(hour=23, minute=0, second=0, microsecond=0)
    assert await tables.reckoned_until("a") is None
    row: dict[str, Any] = {"at": "2026-03-01T23:00:00Z", "vm_id": "vm-1", "name": "jvb_1", "cpu": None}
    for calls in (1, 2):
        row["calls"] = calls
        await tables.put_hour("a", hour, [dict(row)], {"vm-1": {"m00": "{}", "m59": "{}"}})
        await tables.put_day("a", {"day": "2026-03-01", "calls": calls})
    await tables.put_hour("a", hour + timedelta(hours=1), [{**row, "at": "2026-03-02T00:00:00Z"}], {})
    await tables.put_hour("b", hour, [], {})
    await tables.put_day("a", {"day": "2026-03-03"})
    await tables.put_reckoned_until("a", hour + timedelta(hours=1))
    assert await tables.reckoned_until("a") == hour + timedelta(hours=1)
    assert [dict(each) for each in await tables.bridgehours("a", hour, hour + MINUTE)] == [row]
    found = await tables.bridgehours("a", hour - timedelta(hours=9), hour + timedelta(hours=2))
    assert [each["at"] for each in found] == ["2026-03-01T23:00:00Z", "2026-03-02T00:00:00Z"]
    days = await tables.daily("a", hour.date(), hour.date() + timedelta(days=1))
    assert [dict(each) for each in days] == [{"day": "2026-03-01", "calls": 2}]
    assert await tables.daily("b", hour.date(), hour.date()) == []


async def test_events_of_a_time_are_those_of_that_time(store: Store):
    """From its first millisecond on and before its last, over midnight."""
    begin = NOW.replace(hour=22)
    for at in (begin - MINUTE / 60, begin, begin + timedelta(hours=3), begin + timedelta(hours=4)):
        await store.append_events("a", at, [{"hour": at.hour, "minute": at.minute}])
    found = await usage(store).events_of("a", begin, begin + timedelta(hours=4))
    assert sorted(each["hour"] for each in found) == [1, 22]


async def test_old_days_are_forgotten_a_bounded_piece_at_a_time(store: Store):
    """Rows of UTC days before the date go, oldest first, those of other shards and of `daily` stay."""
    tables, day = usage(store), timedelta(days=1)
    for at in (NOW - 2 * day, NOW - day, NOW):
        for number in range(3):
            await store.append_usage("a", at + number * MINUTE, {"n": number})
            await store.append_decision("a", at + number * MINUTE, {"n": number})
        await store.append_events("a", at, [{"n": 1}])
        await tables.put_hour("a", at, [{"at": "x", "vm_id": "v", "name": "n"}], {"v": {"m00": "{}"}})
    await store.append_usage("ab", NOW - 2 * day, {"n": 1})
    await tables.put_day("a", {"day": "2026-01-01"})
    assert await tables.remove_older("a", NOW.date(), 5) == 5
    assert await tables.remove_older("a", NOW.date(), 100) == 2 * 9 - 5
    assert await tables.remove_older("a", NOW.date(), 100) == 0
    assert len(await tables.minutes("a", NOW - 9 * day, NOW + day)) == 3
    assert len(await tables.minutes("ab", NOW - 9 * day, NOW + day)) == 1
    assert len(await store.decisions("a", NOW, 10)) == 3
    assert await tables.bridgehours("a", NOW - 9 * day, NOW - day) == []
    assert len(await tables.daily("a", NOW.date() - 99 * day, NOW.date())) == 1


async def test_writing_nothing_is_harmless(store: Store):
    """No rows, no events: no call fails."""
    assert list(await store.put_bridges("a", [])) == []
    assert list(await store.put_intents("a", [])) == []
    await store.append_events("a", NOW, [])


async def test_what_is_known_is_not_read_again_but_for_commands(store: Store):
    """Rows that the caller knows come back as they are; an operator's command is new to everybody."""
    (written,) = await store.put_bridges("a", [Stored(bridge(), None)])
    known = await store.load("a")
    await store.put_bridges("a", [replace(written, value=bridge(phase=Phase.DRAINING))])
    asked = Command("c-1", CommandKind.PAUSE, "ann", "", NOW)
    (row,) = await store.put_commands("a", [Stored(asked, None)])
    assert await store.load("a", known) == replace(known, commands={"c-1": row})


async def test_a_command_is_written_once_and_read_back_exactly(store: Store):
    """An id that is taken is refused; every value comes back; what ended long ago is left out."""
    floor = Command(
        "c-1",
        CommandKind.FLOOR,
        "ann",
        "tést 📞",
        NOW,
        minimum=4,
        from_time="08:30",
        until_time="18:00",
        days=("mon", "fri"),
        time_zone="Europe/Berlin",
    )
    old = replace(floor, command_id="c-0", state=CommandState.DONE, ended_at=NOW - timedelta(hours=25))
    (row, _) = await store.put_commands("a", [Stored(floor, None), Stored(old, None)])
    with pytest.raises(StateChanged):
        await store.put_commands("a", [Stored(floor, None)])
    await store.acquire("a", "me", NOW, 90)
    assert dict((await store.load("a")).commands) == {"c-1": row}
    assert row.value == floor
    assert dict((await store.load("b")).commands) == {}


async def test_old_ended_intents_are_left_out(store: Store):
    """Open intents are always read, ended ones for a day."""
    day = timedelta(days=1)
    ended = [
        CreateIntent(f"ended-{hours}", NOW - 3 * day, 1, 2, "why", ended_at=NOW - timedelta(hours=hours))
        for hours in (1, 23, 25, 70)
    ]
    opened = CreateIntent("open", NOW - 3 * day, 1, 2, "why")
    seen = CreateIntent("seen", NOW - 3 * day, 1, 2, "why", vm_id="vm-1")
    await store.put_intents("a", [Stored(intent, None) for intent in [*ended, opened, seen]])
    await store.acquire("a", "me", NOW, 90)
    assert set((await store.load("a")).intents) == {"ended-1", "ended-23", "open", "seen"}


async def test_the_lease_is_exclusive_until_it_ends(store: Store):
    """Another owner gets it only when its time is over, with the next epoch."""
    first = await store.acquire("a", "one", NOW, 90)
    assert (first.epoch, first.until) == (1, NOW + timedelta(seconds=90))
    with pytest.raises(LeaseHeld):
        await store.acquire("a", "two", NOW + timedelta(seconds=89), 90)
    second = await store.acquire("a", "two", NOW + timedelta(seconds=90), 90)
    assert second.epoch == 2


async def test_a_lease_given_back_is_free_at_once(store: Store):
    """Release ends the lease, whoever comes next, and epochs go on growing."""
    for epoch, owner in enumerate(["one", "one", "two", "one"], 1):
        lease = await store.acquire("a", owner, NOW + epoch * MINUTE, 90)
        assert lease.epoch == epoch
        await store.release(lease, NOW + epoch * MINUTE + timedelta(seconds=5))


async def test_its_owner_takes_the_lease_anew(store: Store):
    """The same owner, back after a crash, need not wait, but gets a new epoch."""
    await store.acquire("a", "one", NOW, 90)
    assert (await store.acquire("a", "one", NOW, 90)).epoch == 2


async def test_giving_back_a_lost_lease_harms_nobody(store: Store):
    """A release that comes too late does not end the lease of the next holder."""
    lost = await store.acquire("a", "one", NOW, 30)
    held = await store.acquire("a", "two", NOW + MINUTE, 90)
    await store.release(lost, NOW + MINUTE)
    with pytest.raises(LeaseHeld):
        await store.acquire("a", "three", NOW + MINUTE, 90)
    await store.release(held, NOW + MINUTE)
    await store.acquire("a", "three", NOW + MINUTE, 90)


@pytest.mark.parametrize("moment", ["never taken", "given back", "run out"])
async def test_of_twenty_takers_exactly_one_wins(store: Store, moment: str):
    """However many come in the same moment, one acts and the others leave with 'lease held'."""
    if moment != "never taken":
        before = await store.acquire("a", "before", NOW - MINUTE, 30)
        if moment == "given back":
            await store.release(before, NOW - MINUTE)
    takers = (store.acquire("a", f"taker-{number}", NOW, 90) for number in range(20))
    results = await asyncio.gather(*takers, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, LeaseHeld) for result in results) == 19


async def test_leases_of_shards_are_apart(store: Store):
    """Who holds one shard holds no other."""
    await store.acquire("a", "one", NOW, 90)
    assert (await store.acquire("b", "two", NOW, 90)).epoch == 1


async def test_records_come_newest_first(store: Store):
    """Decisions and events are read newest first, also those of one millisecond, at most `limit`."""
    for number in range(3):
        await store.append_decision("a", NOW, {"number": number})
    await store.append_decision("a", NOW + MINUTE, {"number": 3})
    await store.append_events("a", NOW, [{"number": 0}, {"number": 1}])
    await store.append_events("a", NOW, [{"number": 2}])
    assert [row["number"] for row in await store.decisions("a", NOW, 10)] == [3, 2, 1, 0]
    assert [row["number"] for row in await store.decisions("a", NOW, 2)] == [3, 2]
    assert [row["number"] for row in await store.events("a", NOW, 10)] == [2, 1, 0]


async def test_records_reach_back_to_yesterday(store: Store):
    """Just after midnight the records of yesterday are still found, older ones are not."""
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    for hours in (-30, -1, 1):
        await store.append_decision("a", midnight + timedelta(hours=hours), {"hours": hours})
    found = await store.decisions("a", midnight + timedelta(hours=2), 10)
    assert [row["hours"] for row in found] == [1, -1]


async def test_a_record_comes_back_as_it_was(store: Store):
    """Numbers, flags, texts, unknowns and nested values keep their kind."""
    record = {
        "at": NOW.isoformat(),
        "desired": 4,
        "bytes_sent": 2**40,
        "demand": 0.0,
        "dry_run": False,
        "cooldown": None,
        "sentence": "zwei Brücken, 📞",
        "votes": [{"rule": "nic", "value": 0.71, "bridge": None}],
        "inputs": {"a": {"age_seconds": 1.5}},
        "empty": [],
        "label_json": "not JSON",
        "schema": "mine",
        "jvb-1.p": 0.5,
    }
    await store.append_decision("a", NOW, record)
    (found,) = await store.decisions("a", NOW, 1)
    assert dict(found) == record


async def test_the_last_usage_of_a_minute_wins(store: Store):
    """Usage may be written twice in a minute without harm."""
    await store.append_usage("a", NOW, {"bridges": 2})
    await store.append_usage("a", NOW + timedelta(seconds=5), {"bridges": 3})
