"""The store on real tables: what only the real service shows. The port's promises are in tests/contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.credentials import AccessToken
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableServiceClient

from scaler.errors import LeaseHeld, Refused, TryNextTick
from scaler.model import BridgeMemory, CreateIntent, Phase, ShardMemory
from scaler.ports import Lease, Stored
from state.store import TABLES, TableStore, table_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def by_hand(tables_connection: str) -> AsyncIterator[TableServiceClient]:
    """Give what Storage Explorer has: the tables without our code."""
    async with TableServiceClient.from_connection_string(tables_connection) as service:
        yield service


async def edit(service: TableServiceClient, table: str, row_key: str, **cells: object) -> None:
    row = {"PartitionKey": "a", "RowKey": row_key, **cells}
    await service.get_table_client(table).upsert_entity(row, mode=UpdateMode.MERGE)


def bridge() -> Stored[BridgeMemory]:
    return Stored(BridgeMemory("vm-1", "jvb_1", Phase.READY, NOW, NOW), None)


async def test_tables_are_made_once(tables: TableStore, tables_prefix: str, by_hand: TableServiceClient):
    """Tables that exist are left as they are."""
    await tables.put_state("a", Stored(ShardMemory(NOW), None))
    await tables.ensure_tables()
    found = [table.name async for table in by_hand.list_tables() if table.name.startswith(tables_prefix)]
    assert sorted(found) == sorted(tables_prefix + name for name in TABLES)
    assert (await tables.load("a")).state is not None


async def test_a_table_that_disappears_is_made_again(
    tables: TableStore, tables_prefix: str, by_hand: TableServiceClient
):
    """Without a new process: the call that misses it fails, and the next tick makes it."""
    await by_hand.delete_table(tables_prefix + "usage")
    await tables.ensure_tables()
    with pytest.raises(TryNextTick, match="write usage"):
        await tables.append_usage("a", NOW, {"bridges": 1})
    await tables.ensure_tables()
    await tables.append_usage("a", NOW, {"bridges": 1})


async def test_a_process_without_a_lease_reads_no_more_than_one_that_has_it(
    tables_connection: str, tables_prefix: str, tables: TableStore
):
    """Months of ended rows are not read at each request: the last tick tells the time."""
    old = CreateIntent("i-1", NOW - timedelta(days=30), 1, 2, "", ended_at=NOW - timedelta(days=30))
    await tables.put_intents("a", [Stored(old, None)])
    other = table_store(connection_string=tables_connection, prefix=tables_prefix)
    assert list((await other.load("a")).intents) == ["i-1"]
    await tables.put_state("a", Stored(ShardMemory(NOW, last_tick_at=NOW), None))
    assert list((await other.load("a")).intents) == []
    await other.close()


async def test_of_twenty_processes_one_gets_the_lease(
    tables_connection: str, tables_prefix: str, tables: TableStore
):
    """Twenty stores of their own, as twenty function instances have, and one winner."""
    stores = [table_store(connection_string=tables_connection, prefix=tables_prefix) for _ in range(20)]
    results = await asyncio.gather(
        *(store.acquire("a", f"run-{number}", NOW, 90) for number, store in enumerate(stores)),
        return_exceptions=True,
    )
    await asyncio.gather(*(store.close() for store in stores))
    assert sum(isinstance(result, Lease) for result in results) == 1
    assert sum(isinstance(result, LeaseHeld) for result in results) == 19


async def test_a_lease_taken_by_another_process_in_between_is_seen(
    tables_connection: str, tables_prefix: str, tables: TableStore
):
    """The etag kept from our own release does not hide that somebody else took the lease since."""
    lease = await tables.acquire("a", "one", NOW, 90)
    await tables.release(lease, NOW)
    other = table_store(connection_string=tables_connection, prefix=tables_prefix)
    assert (await other.acquire("a", "two", NOW, 90)).epoch == 2
    with pytest.raises(LeaseHeld, match="two holds the lease"):
        await tables.acquire("a", "one", NOW, 90)
    assert (await tables.acquire("a", "one", NOW + timedelta(seconds=90), 90)).epoch == 3
    await other.close()


@pytest.mark.parametrize(
    ("table", "row_key", "column"),
    [
        ("bridges", "vm-1", "phase_since"),
        ("shards", "state", "epoch"),
        ("intents", "i-1", "capacity"),
        ("shards", "lease", "until"),
    ],
)
async def test_a_row_broken_by_hand_stops_the_shard(
    tables: TableStore, tables_prefix: str, by_hand: TableServiceClient, table: str, row_key: str, column: str
):
    """Nothing may be done on a memory that cannot be read, and the error tells which cell to mend."""
    await tables.put_bridges("a", [bridge()])
    await tables.put_state("a", Stored(ShardMemory(NOW), None))
    await tables.put_intents("a", [Stored(CreateIntent("i-1", NOW, 1, 2, "why"), None)])
    await tables.acquire("a", "me", NOW, 90)
    await edit(by_hand, tables_prefix + table, row_key, **{column: "soon"})
    read: Awaitable[object] = tables.acquire("a", "me", NOW, 90) if row_key == "lease" else tables.load("a")
    with pytest.raises(TryNextTick, match=f"table {table}.*RowKey '{row_key}': column {column} "):
        await read


async def test_a_row_of_a_newer_version_is_read_and_never_written(
    tables: TableStore, tables_prefix: str, by_hand: TableServiceClient
):
    """After a step back to an older version nothing that the newer one knows is lost."""
    await tables.put_bridges("a", [bridge()])
    await edit(by_hand, f"{tables_prefix}bridges", "vm-1", schema=2, novelty="kept")
    row = (await tables.load("a")).bridges["vm-1"]
    assert row.value.name == "jvb_1"
    with pytest.raises(Refused) as refused:
        await tables.put_bridges("a", [row])
    assert refused.value.code == "SchemaNewer"


async def test_a_lease_of_a_newer_version_is_not_taken(
    tables: TableStore, tables_prefix: str, by_hand: TableServiceClient
):
    """Where a newer version is at work, an older one does nothing."""
    await tables.acquire("a", "me", NOW, 30)
    await edit(by_hand, f"{tables_prefix}shards", "lease", schema=2)
    with pytest.raises(Refused, match="SchemaNewer"):
        await tables.acquire("a", "me", NOW + timedelta(minutes=1), 30)


async def test_missing_tables_are_not_an_empty_memory(tables_connection: str):
    """A table that is not there knows nothing; taking that for empty would adopt a fleet anew."""
    store = table_store(connection_string=tables_connection, prefix="never")
    with pytest.raises(TryNextTick, match="read "):
        await store.load("a")
    await store.close()


async def test_an_unreachable_service_means_try_next_tick():
    """Where nothing listens, every call says so soon, and in our own words."""
    nowhere = "AccountName=x;AccountKey=eA==;TableEndpoint=http://127.0.0.1:9/x;DefaultEndpointsProtocol=http"
    store = table_store(connection_string=nowhere)
    with pytest.raises(TryNextTick):
        await store.load("a")
    with pytest.raises(TryNextTick):
        await store.acquire("a", "me", NOW, 90)
    await store.close()


async def test_a_wrong_key_needs_a_person(tables_connection: str):
    """No permission does not mend itself: the error is not one to retry."""
    other_key = "AccountKey=" + "eA==" + ";"
    parts = [part for part in tables_connection.split(";") if not part.startswith("AccountKey=")]
    store = table_store(connection_string=";".join(parts) + other_key)
    with pytest.raises(Refused):
        await store.load("a")
    await store.close()


async def test_records_of_another_process_are_stepped_over(
    tables_connection: str, tables_prefix: str, tables: TableStore
):
    """Two writers of one millisecond lose none of their records."""
    other = table_store(connection_string=tables_connection, prefix=tables_prefix)
    for number in range(4):
        await tables.append_decision("a", NOW, {"number": number})
    await other.append_events("a", NOW, [{"number": 0}])
    await other.append_decision("a", NOW, {"number": 4})
    await other.close()
    found = await tables.decisions("a", NOW, 10)
    assert sorted(row["number"] for row in found) == [0, 1, 2, 3, 4]


async def test_many_events_fit(tables: TableStore):
    """More events than one transaction takes are all kept, in order."""
    await tables.append_events("a", NOW, [{"number": number} for number in range(250)])
    assert [row["number"] for row in await tables.events("a", NOW, 300)] == list(range(249, -1, -1))


async def test_usage_stands_under_its_minute(
    tables: TableStore, tables_prefix: str, by_hand: TableServiceClient
):
    """One row for each shard and minute, the last one written, cleared values gone."""
    await tables.append_usage("a", NOW, {"bridges": 2, "conferences": 5})
    await tables.append_usage("a", NOW + timedelta(seconds=30), {"bridges": 3})
    row = await by_hand.get_table_client(f"{tables_prefix}usage").get_entity("a|20260301", "1200")
    assert (row["bridges"].value, "conferences" in row) == (3, False)


class NoToken:
    """A credential that is never asked."""

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        raise AssertionError(scopes)

    async def close(self) -> None:
        return

    async def __aenter__(self) -> NoToken:
        return self

    async def __aexit__(self, *_: object) -> None:
        return


async def test_making_a_store_makes_no_call():
    """Nothing is asked of anybody before the first read, not even a token."""
    store = table_store(endpoint="https://example.invalid", credential=NoToken(), prefix="x")
    await store.close()


def test_a_store_needs_to_know_where():
    """Without a place or without an identity there is no store."""
    with pytest.raises(ValueError, match="connection string, or an endpoint"):
        table_store(endpoint="https://example.invalid")


async def test_usage_that_a_newer_version_reckons_is_read_only(
    tables: TableStore, tables_prefix: str, by_hand: TableServiceClient
):
    """After a return to an older version its rows are told, and none is written over."""
    await tables.put_reckoned_until("a", NOW)
    await tables.put_day("a", {"day": "2026-02-28"})
    await edit(by_hand, f"{tables_prefix}shards", "usage", schema=9)
    assert await tables.reckoned_until("a") == NOW
    writes = (
        tables.put_day("a", {"day": "2026-03-01"}),
        tables.put_hour("a", NOW, [], {}),
        tables.put_reckoned_until("a", NOW),
    )
    for write in writes:
        with pytest.raises(Refused, match="SchemaNewer"):
            await write
    assert len(await tables.daily("a", NOW.date() - timedelta(days=9), NOW.date())) == 1
    await tables.put_day("b", {"day": "2026-03-01"})
