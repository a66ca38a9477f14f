"""The store port on Azure Tables: what the engine remembers, under etags, and what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from azure.core.credentials_async import AsyncTokenCredential
from azure.data.tables import TableEntity
from azure.data.tables.aio import TableServiceClient

from scaler.errors import LeaseHeld, Refused, StateChanged
from scaler.model import BridgeMemory, Command, CreateIntent, Phase, ShardMemory
from scaler.ports import Lease, ShardRows, Stored
from scaler.samples import FIGURES
from state.columns import read_time, read_whole
from state.records import (
    day_partition,
    minute_key,
    minute_of,
    newest_first_key,
    read_record,
    record_row,
)
from state.rows import BRIDGES, COMMANDS, INTENTS, LEASES, SCHEMA, STATES, Entity, LeaseRow, RowFormat
from state.tables import SDK_OPTIONS, TRANSACTION_ROWS, Tables, Write

T = TypeVar("T")

BY_DAY = ("decisions", "events", "usage", "samples", "bridgehours")
"""Tables whose partitions are `shard|yyyymmdd`: what is too old is forgotten by them."""
TABLES = ("bridges", "shards", "intents", "commands", *BY_DAY, "daily")
RECKONED = "usage"
"""Row of `shards` that tells how far usage is reckoned."""

ENDED_ROWS_KEPT = timedelta(days=1)
"""How long `load` still returns an intent or a command that ended."""

APPEND_ATTEMPTS = 8
"""Each doubles the step over keys that are taken: enough for 255 rows of others in one millisecond."""


def table_store(
    *,
    connection_string: str | None = None,
    endpoint: str | None = None,
    credential: AsyncTokenCredential | None = None,
    prefix: str = "",
) -> TableStore:
    """Make a store from a connection string, or from an endpoint and a credential. Makes no call yet."""
    if connection_string:
        service = TableServiceClient.from_connection_string(connection_string, **SDK_OPTIONS)
    elif endpoint and credential:
        service = TableServiceClient(endpoint, credential=credential, **SDK_OPTIONS)
    else:
        raise ValueError("tables need a connection string, or an endpoint and a credential")
    return TableStore(Tables(service, prefix))


class TableStore:
    """Implements `scaler.ports.Store` and `UsageTables`. One event loop only, as the connections below it."""

    def __init__(self, tables: Tables) -> None:
        """`tables` is closed with this store."""
        self._tables = tables
        self._released: dict[str, Stored[LeaseRow]] = {}
        self._newest_now: dict[str, datetime] = {}
        self._newer: dict[tuple[str, str], frozenset[str]] = {}
        self._next_sequence: dict[tuple[str, str], tuple[str, int]] = {}

    async def ensure_tables(self) -> None:
        """Create the tables that are missing."""
        await self._tables.create_missing(TABLES)

    async def close(self) -> None:
        """Close the connections."""
        await self._tables.close()

    # --- the lease ----------------------------------------------------------------------

    async def acquire(self, shard: str, owner: str, now: datetime, seconds: float) -> Lease:
        """Take the shard's lease with the next epoch. Raises `LeaseHeld` if another holds it."""
        self._newest_now[shard] = max(now, self._newest_now.get(shard, now))
        wanted = now + timedelta(seconds=seconds)
        known = self._released.pop(shard, None)
        if known is not None:
            # We gave it back last: if nobody took it since, its etag still holds and no read is needed.
            try:
                return await self._take(shard, owner, wanted, known)
            except StateChanged:
                pass
        row = await self._read_lease(shard)
        if row is not None and row.value.until > now and row.value.owner != owner:
            raise LeaseHeld(f"{shard}: {row.value.owner} holds the lease until {row.value.until.isoformat()}")
        try:
            return await self._take(shard, owner, wanted, row)
        except StateChanged as error:
            raise LeaseHeld(f"{shard}: another run took the lease in this moment") from error

    async def release(self, lease: Lease, now: datetime) -> None:
        """Give the lease back; harmless if it was lost meanwhile."""
        row = LeaseRow(lease.owner, now, lease.epoch)
        try:
            self._released[lease.shard] = await self._put_one(LEASES, lease.shard, Stored(row, lease.etag))
        except StateChanged:
            return

    async def _read_lease(self, shard: str) -> Stored[LeaseRow] | None:
        row = await self._tables.get(LEASES.table, shard, LEASES.row_key)
        return next(iter(self._read(LEASES, shard, [] if row is None else [row]).values()), None)

    async def _take(self, shard: str, owner: str, until: datetime, before: Stored[LeaseRow] | None) -> Lease:
        epoch = 1 if before is None else before.value.epoch + 1
        row = Stored(LeaseRow(owner, until, epoch), None if before is None else before.etag)
        taken = await self._put_one(LEASES, shard, row)
        return Lease(shard, owner, epoch, until, taken.etag or "")

    # --- what is remembered -------------------------------------------------------------

    async def load(self, shard: str, known: ShardRows | None = None) -> ShardRows:
        """Read everything remembered of the shard, in parallel; of what is `known`, only commands."""
        if known is not None:
            fresh = await self._lately(COMMANDS.table, shard, self._newest_now.get(shard))
            return replace(known, commands=self._read(COMMANDS, shard, fresh))
        dated = self._newest_now.get(shard) or await self._last_tick(shard)
        state, bridges, intents, commands = await asyncio.gather(
            self.load_state(shard),
            self._tables.query(BRIDGES.table, "PartitionKey eq @shard", {"shard": shard}),
            self._lately(INTENTS.table, shard, dated),
            self._lately(COMMANDS.table, shard, dated),
        )
        return ShardRows(
            state=state,
            bridges=self._read(BRIDGES, shard, bridges),
            intents=self._read(INTENTS, shard, intents),
            commands=self._read(COMMANDS, shard, commands),
        )

    async def load_state(self, shard: str) -> Stored[ShardMemory] | None:
        """Read only the shard's state row."""
        row = await self._tables.get(STATES.table, shard, STATES.row_key)
        return next(iter(self._read(STATES, shard, [] if row is None else [row]).values()), None)

    async def put_state(self, shard: str, row: Stored[ShardMemory]) -> Stored[ShardMemory]:
        """Write the shard's state row."""
        return await self._put_one(STATES, shard, row)

    async def put_bridges(
        self, shard: str, rows: Sequence[Stored[BridgeMemory]]
    ) -> Sequence[Stored[BridgeMemory]]:
        """Write bridge rows in transactions of at most 100, in order; phase `gone` deletes the row."""
        return await self._put(BRIDGES, shard, rows)

    async def put_intents(
        self, shard: str, rows: Sequence[Stored[CreateIntent]]
    ) -> Sequence[Stored[CreateIntent]]:
        """Write intent rows, in transactions of at most 100, in order."""
        return await self._put(INTENTS, shard, rows)

    async def put_commands(self, shard: str, rows: Sequence[Stored[Command]]) -> Sequence[Stored[Command]]:
        """Write command rows; a new one (etag None) raises `StateChanged` where its id is taken."""
        return await self._put(COMMANDS, shard, rows)

    async def _last_tick(self, shard: str) -> datetime | None:
        """Say when it is, for a process that takes no lease."""
        state = await self.load_state(shard)
        return state.value.last_tick_at if state is not None else None

    async def _lately(self, table: str, shard: str, dated: datetime | None) -> list[TableEntity]:
        """Read what is open or ended lately, by the last lease taken here or the last tick; else all."""
        where, parameters = "PartitionKey eq @shard", dict[str, Any](shard=shard)
        if dated is not None:
            where += " and ( ended eq false or ended_at ge @since )"
            parameters["since"] = dated - ENDED_ROWS_KEPT
        return await self._tables.query(table, where, parameters)

    def _read(self, rows: RowFormat[T], shard: str, entities: Sequence[TableEntity]) -> dict[str, Stored[T]]:
        self._newer[rows.name, shard] = frozenset(row["RowKey"] for row in entities if rows.is_newer(row))
        return {row["RowKey"]: Stored(rows.read(row), row.metadata["etag"]) for row in entities}

    async def _put_one(self, rows: RowFormat[T], shard: str, row: Stored[T]) -> Stored[T]:
        return (await self._put(rows, shard, [row]))[0]

    async def _put(self, rows: RowFormat[T], shard: str, stored: Sequence[Stored[T]]) -> Sequence[Stored[T]]:
        """Write values under their etags. A row that is gone and was never stored needs no write."""
        self._refuse_newer(rows, shard, stored)
        needed = [row for row in stored if row.etag is not None or not _is_gone(row.value)]
        writes = [Write(rows.write(shard, row.value), row.etag, _is_gone(row.value)) for row in needed]
        etags = await self._tables.write(rows.table, writes)
        new = {id(row): etag for row, etag in zip(needed, etags, strict=True)}
        return [Stored(row.value, new.get(id(row))) for row in stored]

    def _refuse_newer(self, rows: RowFormat[T], shard: str, stored: Sequence[Stored[T]]) -> None:
        newer = self._newer.get((rows.name, shard), frozenset())
        if found := sorted(newer.intersection(rows.key_of(row.value) for row in stored)):
            raise Refused(
                "SchemaNewer",
                f"table {rows.table}, PartitionKey {shard!r}, RowKey {found[0]!r}: written by a newer "
                "version, read only",
            )

    # --- what is reported ---------------------------------------------------------------

    async def append_decision(self, shard: str, at: datetime, record: Mapping[str, Any]) -> None:
        """Append one decision record (plain JSON values), newest first in its partition."""
        await self._append("decisions", shard, at, [record])

    async def append_events(self, shard: str, at: datetime, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events (plain JSON values), newest first; the last of `events` is the newest."""
        await self._append("events", shard, at, events)

    async def append_usage(self, shard: str, at: datetime, usage: Mapping[str, Any]) -> None:
        """Write the shard's usage row of this minute (the last one in a minute wins)."""
        await self._tables.put("usage", record_row(day_partition(shard, at), minute_key(at), usage))

    async def decisions(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest decision records, newest first, of today and yesterday."""
        return await self._newest("decisions", shard, now, limit)

    async def events(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest events, newest first, of today and yesterday."""
        return await self._newest("events", shard, now, limit)

    # --- usage --------------------------------------------------------------------------

    async def minutes(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Usage rows from `since` on and before `until`, oldest first, each with its minute as `at` (ISO)."""
        return await self._minutes(shard, since, until, None)

    async def figures(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Return the same without their machines."""
        return await self._minutes(shard, since, until, ("PartitionKey", "RowKey", "unknown", *FIGURES))

    async def _minutes(
        self, shard: str, since: datetime, until: datetime, columns: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        pages = await asyncio.gather(
            *(self._minutes_of(shard, day, columns, *_keys(day, since, until)) for day in _days(since, until))
        )
        return [row for page in pages for row in page]

    async def _minutes_of(
        self, shard: str, day: date, columns: Sequence[str] | None, first: str, end: str
    ) -> list[dict[str, Any]]:
        where = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @end"
        keys = {"partition": _day_partition(shard, day), "first": first, "end": end}
        rows = await self._tables.query("usage", where, keys, columns=columns)
        return [
            {"at": f"{day}T{row['RowKey'][:2]}:{row['RowKey'][2:]}:00Z", **read_record(row)} for row in rows
        ]

    async def first_minute(self, shard: str) -> datetime | None:
        """Return the minute of the oldest usage row; None: there is none."""
        rows = await self._tables.query("usage", *_partitions(shard), 1, ("PartitionKey", "RowKey"))
        if not rows:
            return None
        day = rows[0]["PartitionKey"].rpartition("|")[2]
        return datetime.strptime(f"{day}{rows[0]['RowKey']}", "%Y%m%d%H%M").replace(tzinfo=UTC)

    async def reckoned_until(self, shard: str) -> datetime | None:
        """Return the end of the last hour whose rows are written; None: no hour is."""
        row = await self._tables.get("shards", shard, RECKONED)
        newer = row is not None and read_whole(row.get("schema", SCHEMA)) > SCHEMA
        self._newer[RECKONED, shard] = frozenset({RECKONED} if newer else ())
        return None if row is None else read_time(row["reckoned_until"])

    def _refuse_newer_usage(self, shard: str) -> None:
        if self._newer.get((RECKONED, shard)):
            raise Refused(
                "SchemaNewer",
                f"table shards, PartitionKey {shard!r}, RowKey {RECKONED!r}: usage is reckoned by a newer "
                "version, read only",
            )

    async def put_reckoned_until(self, shard: str, until: datetime) -> None:
        """Remember it. Raises `Refused` where a newer version reckons, as `put_hour` and `put_day` do."""
        self._refuse_newer_usage(shard)
        row = {"PartitionKey": shard, "RowKey": RECKONED, "schema": SCHEMA, "reckoned_until": until}
        await self._tables.put("shards", row)

    async def put_hour(
        self, shard: str, hour: datetime, rows: Sequence[Mapping[str, Any]], samples: Mapping[str, Any]
    ) -> None:
        """Write the rows of one UTC hour: a row a machine, and its samples by vmId."""
        self._refuse_newer_usage(shard)
        partition, end = day_partition(shard, hour), f"|{hour:%H}"
        await self._tables.put_all(
            "samples", [record_row(partition, vm_id + end, cells) for vm_id, cells in samples.items()]
        )
        await self._tables.put_all(
            "bridgehours", [record_row(partition, str(row["vm_id"]) + end, row) for row in rows]
        )

    async def bridgehours(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Rows of the UTC hours that begin from `since` on and before `until`."""
        pages = await asyncio.gather(
            *(
                self._tables.query(
                    "bridgehours", "PartitionKey eq @partition", {"partition": _day_partition(shard, day)}
                )
                for day in _days(since, until)
            )
        )
        begin, end = minute_of(since), minute_of(until)
        found = [read_record(row) for page in pages for row in page]
        return sorted(
            (row for row in found if begin <= row["at"] < end), key=lambda row: (row["at"], row["name"])
        )

    async def put_day(self, shard: str, row: Mapping[str, Any]) -> None:
        """Write one row of `daily`, by its `day`."""
        self._refuse_newer_usage(shard)
        await self._tables.put("daily", record_row(shard, str(row["day"]), row))

    async def daily(self, shard: str, first: date, last: date) -> Sequence[Mapping[str, Any]]:
        """Rows of `daily` from one local date to another, both included, oldest first."""
        where = "PartitionKey eq @shard and RowKey ge @first and RowKey le @last"
        keys = {"shard": shard, "first": first.isoformat(), "last": last.isoformat()}
        return [read_record(row) for row in await self._tables.query("daily", where, keys)]

    async def events_of(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Events from `since` on and before `until`."""
        where = "PartitionKey eq @partition and RowKey le @first and RowKey gt @end"
        keys = {"first": f"{newest_first_key(since, 0)[:15]}~", "end": f"{newest_first_key(until, 0)[:15]}~"}
        pages = [
            await self._tables.query("events", where, {"partition": _day_partition(shard, day), **keys})
            for day in _days(since, until)
        ]
        return [read_record(row) for page in pages for row in page]

    async def remove_older(self, shard: str, before: date, most: int) -> int:
        """Delete at most so many rows of UTC days before a date, `daily` excepted; return how many."""
        gone = 0
        for table in BY_DAY:
            while gone < most:
                rows = await self._tables.query(
                    table,
                    *_partitions(shard, before),
                    min(TRANSACTION_ROWS, most - gone),
                    ("PartitionKey", "RowKey"),
                )
                rows = [row for row in rows if row["PartitionKey"] == rows[0]["PartitionKey"]]
                if not rows:
                    break
                await self._tables.delete_all(table, rows)
                gone += len(rows)
        return gone

    async def _append(
        self, table: str, shard: str, at: datetime, records: Sequence[Mapping[str, Any]]
    ) -> None:
        for start in range(0, len(records), TRANSACTION_ROWS):
            await self._append_chunk(table, shard, at, records[start : start + TRANSACTION_ROWS])

    async def _append_chunk(
        self, table: str, shard: str, at: datetime, records: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write under the next free keys of this millisecond, stepping over those of another writer."""
        partition, moment = day_partition(shard, at), newest_first_key(at, 0)
        last, sequence = self._next_sequence.get((table, shard), (moment, 0))
        sequence = sequence if last == moment else 0
        for attempt in range(APPEND_ATTEMPTS):
            keys = [newest_first_key(at, sequence + place) for place in range(len(records))]
            rows = [record_row(partition, key, record) for key, record in zip(keys, records, strict=True)]
            self._next_sequence[table, shard] = (moment, sequence + len(records))
            try:
                await self._tables.write(table, [Write(row, None) for row in rows])
            except StateChanged:
                sequence += len(records) << attempt
            else:
                return
        raise StateChanged(f"{table}: no free key for {shard} at {at.isoformat()}")

    async def _newest(self, table: str, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        rows: list[Entity] = []
        for day in (now, now - timedelta(days=1)):
            if len(rows) < limit:
                partition = day_partition(shard, day)
                rows += await self._tables.query(
                    table, "PartitionKey eq @partition", {"partition": partition}, limit - len(rows)
                )
        return [read_record(row) for row in rows]


def _is_gone(value: object) -> bool:
    return isinstance(value, BridgeMemory) and value.phase is Phase.GONE


def _days(since: datetime, until: datetime) -> list[date]:
    """UTC days that a time touches."""
    first, last = since.astimezone(UTC).date(), (until.astimezone(UTC) - timedelta(microseconds=1)).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _keys(day: date, since: datetime, until: datetime) -> tuple[str, str]:
    """First RowKey of a day's minutes within a time, and the one behind the last."""
    begin, end = minute_of(since), minute_of(until)
    today = day.isoformat()
    first = begin[11:16].replace(":", "") if begin[:10] == today else "0000"
    return first, end[11:16].replace(":", "") if end[:10] == today else "2400"


def _day_partition(shard: str, day: date) -> str:
    return day_partition(shard, datetime.combine(day, time(), UTC))


def _partitions(shard: str, before: date | None = None) -> tuple[str, dict[str, Any]]:
    """Filter for all partitions `shard|yyyymmdd` of a shard, or those before a day."""
    end = _day_partition(shard, before) if before else f"{shard}|~"
    return "PartitionKey ge @first and PartitionKey lt @end", {"first": f"{shard}|", "end": end}
