"""
What is reckoned from the minutes: rows of machines by hour, rows of shards by day; and what is forgotten.

It runs beside the ticks and without the lease: rows that are written twice are equal, and nothing that
scales waits for them. Each run does a bounded piece and remembers how far it came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from scaler.costs import Prices
from scaler.days import bounds, day_row, local_days
from scaler.errors import Refused, StateChanged, TryNextTick
from scaler.hours import hour_rows
from scaler.policy import ScalingPolicy
from scaler.ports import UsageTables
from scaler.samples import Minute, is_known, machine_cells, read_minute

HOURS_A_RUN = 6
"""An outage of a day is made good within an hour."""
DEADLINE_SECONDS = 45.0
"""
Of one run; what it wrote by then stays, and the next run goes on.

With the tick before it, it lies below the function's own time-out, which would kill the worker.
"""
ROWS_FORGOTTEN_A_RUN = 5000
"""In a day more than a thousand bridges write."""
LONGEST_SEARCH = timedelta(hours=24)
"""How far the looks before and behind a gap may lie."""
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
_CLOSED = timedelta(minutes=2)
"""After its end an hour's rows, and the first one behind it, are no longer written to."""

log = logging.getLogger("jvb_autoscaler")


@dataclass(frozen=True, slots=True)
class Books:
    """Where usage is kept, and what it costs."""

    tables: UsageTables
    prices: Prices | None = None


async def usage_days(
    books: Books, shard: str, time_zone: str, since: datetime, until: datetime, now: datetime
) -> list[dict[str, Any]]:
    """Return the local days that a time touches: as they stand in `daily`, the others reckoned now."""
    wanted = [day for day in local_days(since, until, time_zone) if bounds(day, time_zone)[0] < now]
    if not wanted:
        return []
    stored = {str(row["day"]): row for row in await books.tables.daily(shard, wanted[0], wanted[-1])}
    reckoned = await books.tables.reckoned_until(shard)
    rows: list[dict[str, Any]] = []
    for day in wanted:
        row = stored.get(day.isoformat())
        if row is None or row["time_zone"] != time_zone:
            row = await day_of(books, shard, day, time_zone, reckoned, now)
        rows += [dict(row)] if row else []
    return rows


async def reckon(books: Books, shard: str, policy: ScalingPolicy, now: datetime) -> int:
    """
    Write the rows of the hours and days that ended, as far as one run goes; return how many hours.

    Never raises for what the tables did: the next run begins where this one ended.
    """
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await _reckon(books, shard, policy, now)
    except (TryNextTick, Refused, StateChanged, TimeoutError) as error:
        log.warning("usage of %s is not reckoned now: %r", shard, error, extra={"shard": shard})
    except Exception:  # a fault of ours in a report must cost nothing else
        log.exception("usage of %s is not reckoned", shard, extra={"shard": shard})
    return 0


async def _reckon(books: Books, shard: str, policy: ScalingPolicy, now: datetime) -> int:
    tables = books.tables
    done = await tables.reckoned_until(shard)
    if done is None:
        first = await tables.first_minute(shard)
        if first is None:
            return 0
        done = first.replace(minute=0)
    hours = 0
    while hours < HOURS_A_RUN and done + _HOUR + _CLOSED <= now:
        if not await _hour(tables, shard, done, now):
            break
        done += _HOUR
        hours += 1
        for day in local_days(done - _HOUR, done, policy.time_zone):
            if done - _HOUR < bounds(day, policy.time_zone)[1] <= done:
                await _day(books, shard, day, policy.time_zone, done, now)
        await tables.put_reckoned_until(shard, done)
    if hours:
        before = now.date() - timedelta(days=policy.retention_days)
        await tables.remove_older(shard, before, ROWS_FORGOTTEN_A_RUN)
    return hours


async def _hour(tables: UsageTables, shard: str, hour: datetime, now: datetime) -> bool:
    """Write the rows of an hour; False: nobody looked since, so who outlived it is not known yet."""
    end = hour + _HOUR
    minutes = await _minutes_around(tables, shard, hour, end, now - _CLOSED)
    if now - end < LONGEST_SEARCH and (not minutes or minutes[-1].at < end):
        return False
    inside = [minute for minute in minutes if hour <= minute.at < end]
    await tables.put_hour(shard, hour, hour_rows(shard, minutes, hour, end), machine_cells(inside))
    return True


async def _day(
    books: Books, shard: str, day: date, time_zone: str, reckoned: datetime, now: datetime
) -> None:
    """Write the row of a day; one that was made when more of its minutes were kept stays."""
    row = await day_of(books, shard, day, time_zone, reckoned, now)
    stored = await books.tables.daily(shard, day, day)
    if row is not None and not any(_tells_more(each, row) for each in stored):
        await books.tables.put_day(shard, row)


def _tells_more(stored: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return bool(stored["time_zone"] == row["time_zone"] and stored["coverage"] > row["coverage"])


async def day_of(
    books: Books, shard: str, day: date, time_zone: str, reckoned: datetime | None, now: datetime
) -> dict[str, Any] | None:
    """Reckon one local day, from the rows of hours up to `reckoned` and from minutes behind it."""
    tables = books.tables
    begin, end = bounds(day, time_zone)
    minutes = await tables.figures(shard, begin, end)
    first = next((datetime.fromisoformat(row["at"]) for row in minutes if is_known(row)), None)
    if first is None:
        return None
    rows: list[Mapping[str, Any]] = []
    # Of the very first hours nothing is known: they are not searched for looks.
    at = begin if reckoned is not None else max(begin, first.replace(minute=0))
    while at < end and at <= now:
        until = min(at.replace(minute=0, second=0) + _HOUR, end)
        whole = until - at == _HOUR and at.minute == 0
        if not (whole and reckoned is not None and until <= reckoned):
            looks = await _minutes_around(tables, shard, at, until, now)
            rows += hour_rows(shard, looks, at, until)
        at = until
    if reckoned is not None:
        since = begin if begin.minute == 0 else begin.replace(minute=0) + _HOUR
        until = min(end, reckoned).replace(minute=0)
        stored = await tables.bridgehours(shard, since, until) if since < until else ()
        rows = [*stored, *rows]
    events = await tables.events_of(shard, begin, end)
    return day_row(shard, day, time_zone, minutes, rows, events, books.prices)


async def _minutes_around(
    tables: UsageTables, shard: str, begin: datetime, end: datetime, now: datetime
) -> list[Minute]:
    """Read the looks of a time, those of the last hour before it that has any, and the first behind it."""
    inside = await _looks(tables, shard, begin, end)
    before: Sequence[Minute] = ()
    at = begin
    while not before and begin - at < LONGEST_SEARCH:
        before = await _looks(tables, shard, at - _HOUR, at)
        at -= _HOUR
    behind: Sequence[Minute] = ()
    at, step = end, 5 * _MINUTE
    while not behind and at <= now and at - end < LONGEST_SEARCH:
        behind = await _looks(tables, shard, at, min(at + step, now + _MINUTE))
        at, step = at + step, _HOUR
    return [*before, *inside, *behind[:1]]


async def _looks(tables: UsageTables, shard: str, since: datetime, until: datetime) -> list[Minute]:
    rows = await tables.minutes(shard, since, until)
    return [minute for row in rows if (minute := read_minute(row)) is not None]
