"""The engine's tables in memory, with the same etags, leases and limits, for long simulations."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import islice, takewhile
from typing import Any, TypeVar

from sandbox.tap import Hook, Tap
from scaler.errors import LeaseHeld, StateChanged
from scaler.model import BridgeMemory, Command, CreateIntent, Phase, ShardMemory
from scaler.ports import Lease, ShardRows, Stored
from scaler.samples import CELLS

T = TypeVar("T")

TRANSACTION_ROWS = 100
ENDED_ROWS_KEPT = timedelta(days=1)
STATE_KEY = "state"

Record = tuple[datetime, Mapping[str, Any]]


@dataclass(slots=True)
class Shard:
    """The rows of one shard."""

    decisions: deque[Record]
    events: deque[Record]
    lease: Lease | None = None
    states: dict[str, Stored[ShardMemory]] = field(default_factory=dict)
    bridges: dict[str, Stored[BridgeMemory]] = field(default_factory=dict)
    intents: dict[str, Stored[CreateIntent]] = field(default_factory=dict)
    commands: dict[str, Stored[Command]] = field(default_factory=dict)
    usage: dict[datetime, Mapping[str, Any]] = field(default_factory=dict)
    bridgehours: dict[tuple[datetime, str], Mapping[str, Any]] = field(default_factory=dict)
    samples: dict[tuple[datetime, str], Mapping[str, Any]] = field(default_factory=dict)
    daily: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reckoned_until: datetime | None = None
    newest_now: datetime | None = None
    """Newest moment that a caller named: tells which ended intents are still of interest."""


class MemoryStore:
    """
    Implements `scaler.ports.Store` and `UsageTables`.

    Values are frozen, so they are kept as they come. A transaction is all or nothing.
    """

    def __init__(
        self, before: Hook | None = None, after: Hook | None = None, records_kept: int | None = None
    ) -> None:
        """`records_kept`: newest decisions, events and usage rows kept per shard; None: all."""
        self.tap = Tap(before, after)
        self.journal = self.tap.journal
        self._records_kept = records_kept
        self._shards: dict[str, Shard] = {}
        self._writes = 0

    # The lease

    async def acquire(self, shard: str, owner: str, now: datetime, seconds: float) -> Lease:
        """Take the shard's lease with the next epoch. Raises `LeaseHeld` if another holds it."""
        self.tap.changing("acquire", now, shard=shard, owner=owner)
        rows = self._shard(shard)
        rows.newest_now = now if rows.newest_now is None else max(now, rows.newest_now)
        held = rows.lease
        if held is not None and held.until > now and held.owner != owner:
            raise LeaseHeld(f"{shard}: {held.owner} holds the lease until {held.until.isoformat()}")
        epoch = held.epoch + 1 if held is not None else 1
        rows.lease = Lease(shard, owner, epoch, now + timedelta(seconds=seconds), self._new_etag())
        self.tap.done("acquire", shard=shard, owner=owner)
        return rows.lease

    async def release(self, lease: Lease, now: datetime) -> None:
        """Give the lease back; harmless if it was lost meanwhile."""
        self.tap.changing("release", now, shard=lease.shard, owner=lease.owner)
        rows = self._shard(lease.shard)
        if rows.lease is not None and rows.lease.etag == lease.etag:
            rows.lease = Lease(lease.shard, lease.owner, lease.epoch, now, self._new_etag())
        self.tap.done("release", shard=lease.shard, owner=lease.owner)

    # What is remembered

    async def load(self, shard: str, known: ShardRows | None = None) -> ShardRows:
        """Read everything remembered of the shard; of what is `known`, only commands."""
        rows = self._shard(shard)
        self.tap.reading("load", rows.newest_now, shard=shard)
        commands = {key: row for key, row in rows.commands.items() if _is_recent(row.value, rows.newest_now)}
        if known is not None:
            return replace(known, commands=commands)
        intents = {key: row for key, row in rows.intents.items() if _is_recent(row.value, rows.newest_now)}
        return ShardRows(rows.states.get(STATE_KEY), dict(rows.bridges), intents, commands)

    async def load_state(self, shard: str) -> Stored[ShardMemory] | None:
        """Read only the shard's state row."""
        rows = self._shard(shard)
        self.tap.reading("load_state", rows.newest_now, shard=shard)
        return rows.states.get(STATE_KEY)

    async def put_state(self, shard: str, row: Stored[ShardMemory]) -> Stored[ShardMemory]:
        """Write the shard's state row."""
        rows = self._shard(shard)
        self.tap.changing("put_state", rows.newest_now, shard=shard, value=row.value)
        written = self._write(rows.states, [(STATE_KEY, row)])[0]
        self.tap.done("put_state", shard=shard, value=row.value)
        return written

    async def put_bridges(
        self, shard: str, rows: Sequence[Stored[BridgeMemory]]
    ) -> Sequence[Stored[BridgeMemory]]:
        """Write bridge rows in transactions of at most 100, in order; phase `gone` deletes the row."""
        table, values = self._shard(shard), [row.value for row in rows]
        self.tap.changing("put_bridges", table.newest_now, shard=shard, values=values)
        written = self._write(table.bridges, [(row.value.vm_id, row) for row in rows])
        self.tap.done("put_bridges", shard=shard, values=values)
        return written

    async def put_intents(
        self, shard: str, rows: Sequence[Stored[CreateIntent]]
    ) -> Sequence[Stored[CreateIntent]]:
        """Write intent rows, in transactions of at most 100, in order."""
        table, values = self._shard(shard), [row.value for row in rows]
        self.tap.changing("put_intents", table.newest_now, shard=shard, values=values)
        written = self._write(table.intents, [(row.value.intent_id, row) for row in rows])
        self.tap.done("put_intents", shard=shard, values=values)
        return written

    async def put_commands(self, shard: str, rows: Sequence[Stored[Command]]) -> Sequence[Stored[Command]]:
        """Write command rows; a new one (etag None) raises `StateChanged` where its id is taken."""
        table, values = self._shard(shard), [row.value for row in rows]
        self.tap.changing("put_commands", table.newest_now, shard=shard, values=values)
        written = self._write(table.commands, [(row.value.command_id, row) for row in rows])
        self.tap.done("put_commands", shard=shard, values=values)
        return written

    def order(self, shard: str, command: Command) -> None:
        """Take an operator's command, as another process would write it: past journal and hooks."""
        self._shard(shard).commands[command.command_id] = Stored(command, self._new_etag())

    def _write(self, table: dict[str, Stored[T]], rows: Sequence[tuple[str, Stored[T]]]) -> list[Stored[T]]:
        written: list[Stored[T]] = []
        for first in range(0, len(rows), TRANSACTION_ROWS):
            written += self._transact(table, rows[first : first + TRANSACTION_ROWS])
        return written

    def _transact(
        self, table: dict[str, Stored[T]], rows: Sequence[tuple[str, Stored[T]]]
    ) -> list[Stored[T]]:
        """Check every etag before anything is written."""
        for key, row in rows:
            _check(table, key, row)
        return [self._put(table, key, row) for key, row in rows]

    def _put(self, table: dict[str, Stored[T]], key: str, row: Stored[T]) -> Stored[T]:
        if _is_gone(row.value):
            if row.etag is not None:
                del table[key]
            return Stored(row.value, None)
        table[key] = Stored(row.value, self._new_etag())
        return table[key]

    # What is reported

    async def append_decision(self, shard: str, at: datetime, record: Mapping[str, Any]) -> None:
        """Append one decision record."""
        self.tap.changing("append_decision", at, shard=shard)
        self._shard(shard).decisions.appendleft((at, record))
        self.tap.done("append_decision", shard=shard)

    async def append_events(self, shard: str, at: datetime, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events; the last of `events` is the newest."""
        self.tap.changing("append_events", at, shard=shard, events=events)
        self._shard(shard).events.extendleft((at, event) for event in events)
        self.tap.done("append_events", shard=shard, events=events)

    async def append_usage(self, shard: str, at: datetime, usage: Mapping[str, Any]) -> None:
        """Write the usage row of this minute; the last one in a minute wins."""
        self.tap.changing("append_usage", at, shard=shard)
        rows = self._shard(shard).usage
        rows[at.replace(second=0, microsecond=0)] = usage
        if self._records_kept is not None and len(rows) > self._records_kept:
            del rows[next(iter(rows))]
        self.tap.done("append_usage", shard=shard)

    async def minutes(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Usage rows from `since` on and before `until`, oldest first, each with its minute as `at` (ISO)."""
        self.tap.reading("minutes", until, shard=shard)
        begin, end = (each.replace(second=0, microsecond=0) for each in (since, until))
        rows = sorted(self._shard(shard).usage.items())
        return [{"at": f"{at:%Y-%m-%dT%H:%M}:00Z", **row} for at, row in rows if begin <= at < end]

    async def figures(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Return the same without their machines."""
        rows = await self.minutes(shard, since, until)
        return [{name: value for name, value in row.items() if name not in CELLS} for row in rows]

    async def first_minute(self, shard: str) -> datetime | None:
        """Return the minute of the oldest usage row; None: there is none."""
        return min(self._shard(shard).usage, default=None)

    async def reckoned_until(self, shard: str) -> datetime | None:
        """Return the end of the last hour whose rows are written; None: no hour is."""
        return self._shard(shard).reckoned_until

    async def put_reckoned_until(self, shard: str, until: datetime) -> None:
        """Remember it."""
        self._shard(shard).reckoned_until = until

    async def put_hour(
        self, shard: str, hour: datetime, rows: Sequence[Mapping[str, Any]], samples: Mapping[str, Any]
    ) -> None:
        """Write the rows of one UTC hour: a row a machine, and its samples by vmId."""
        table = self._shard(shard)
        table.samples.update({(hour, vm_id): cells for vm_id, cells in samples.items()})
        table.bridgehours.update({(hour, str(row["vm_id"])): row for row in rows})

    async def bridgehours(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Rows of the UTC hours that begin from `since` on and before `until`."""
        rows = self._shard(shard).bridgehours.items()
        found = [row for (hour, _), row in rows if since <= hour < until]
        return sorted(found, key=lambda row: (row["at"], row["name"]))

    async def put_day(self, shard: str, row: Mapping[str, Any]) -> None:
        """Write one row of `daily`, by its `day`."""
        self._shard(shard).daily[str(row["day"])] = row

    async def daily(self, shard: str, first: date, last: date) -> Sequence[Mapping[str, Any]]:
        """Rows of `daily` from one local date to another, both included, oldest first."""
        rows = sorted(self._shard(shard).daily.items())
        return [row for day, row in rows if first.isoformat() <= day <= last.isoformat()]

    async def events_of(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Events from `since` on and before `until`."""
        return [event for at, event in self._shard(shard).events if since <= at < until]

    async def remove_older(self, shard: str, before: date, most: int) -> int:
        """Delete at most so many rows of UTC days before a date, `daily` excepted; return how many."""
        table = self._shard(shard)
        gone = 0
        for records in (table.decisions, table.events):
            while records and records[-1][0].date() < before and gone < most:
                records.pop()
                gone += 1
        for minute in [each for each in table.usage if each.date() < before][: most - gone]:
            del table.usage[minute]
            gone += 1
        for rows in (table.samples, table.bridgehours):
            for key in [each for each in rows if each[0].date() < before][: most - gone]:
                del rows[key]
                gone += 1
        return gone

    async def decisions(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest decision records, newest first, of today and yesterday."""
        self.tap.reading("decisions", now, shard=shard)
        return _newest(self._shard(shard).decisions, now, limit)

    async def events(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest events, newest first, of today and yesterday."""
        self.tap.reading("events", now, shard=shard)
        return _newest(self._shard(shard).events, now, limit)

    def usage(self, shard: str) -> Mapping[datetime, Mapping[str, Any]]:
        """Every usage row by its minute, for checkers."""
        return self._shard(shard).usage

    def table(self, shard: str) -> Shard:
        """The rows of a shard as they stand, past journal and hooks, for checkers."""
        return self._shard(shard)

    def forget(self, shard: str) -> None:
        """Lose all that was remembered of a shard, as when its tables are emptied."""
        self._shards.pop(shard, None)

    def _shard(self, shard: str) -> Shard:
        if shard not in self._shards:
            kept = self._records_kept
            self._shards[shard] = Shard(deque(maxlen=kept), deque(maxlen=kept))
        return self._shards[shard]

    def _new_etag(self) -> str:
        """A fresh one for each write: no two versions of any row share one."""
        self._writes += 1
        return f'W/"{self._writes}"'


def _check(table: Mapping[str, Stored[T]], key: str, row: Stored[T]) -> None:
    """A row must stand as it was read; one that was never stored must not stand yet."""
    if row.etag is None and _is_gone(row.value):
        return
    found = table.get(key)
    if (found.etag if found is not None else None) != row.etag:
        raise StateChanged(f"row {key!r} was written by another")


def _is_gone(value: object) -> bool:
    return isinstance(value, BridgeMemory) and value.phase is Phase.GONE


def _is_recent(row: CreateIntent | Command, now: datetime | None) -> bool:
    return now is None or row.ended_at is None or row.ended_at >= now - ENDED_ROWS_KEPT


def _newest(records: Sequence[Record], now: datetime, limit: int) -> list[Mapping[str, Any]]:
    yesterday = now.date() - timedelta(days=1)
    recent = takewhile(lambda record: record[0].date() >= yesterday, records)
    return [record for _, record in islice(recent, limit)]
