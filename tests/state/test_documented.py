"""docs/tables.md: it has every column of usage that is written, and filters that the service takes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from azure.data.tables.aio import TableServiceClient

from sandbox.memory_store import MemoryStore
from scaler.hours import hour_rows
from scaler.policy import ScalingPolicy
from scaler.ports import Stored
from scaler.reckon import Books, day_of, reckon
from scaler.samples import CELLS, FIGURES, SAMPLE_FIELDS, Minute, Sample, Spent, machine_cells
from state.store import TableStore
from tests.documented import rows, section
from tests.scaler.worlds import SHARD, START, install, run

TEN = datetime(2026, 3, 4, 10, tzinfo=UTC)


def documented(table: str) -> set[str]:
    """Columns of a table, from the first cells; `a` to `b` stands for both."""
    return {
        name for cells in rows(section("docs/tables.md", table)) for name in re.findall(r"`(\w+)`", cells[0])
    }


def test_every_column_of_a_minute_is_documented():
    """Figures by name, and the cells of machines by the first and the last."""
    assert documented("usage") == {*FIGURES, CELLS[0], CELLS[-1]}


def test_every_column_of_an_hour_is_documented():
    """Those of a machine's row; of its samples the cells, and what they list, in its order."""
    sample = Sample("v", "n", TEN, Spent.IDLE, 0, 0, 0.0, 0.0, 0.0, 0, 0, TEN)
    looks = [Minute(TEN + timedelta(minutes=m), "F", {"v": sample}) for m in (0, 1, 59)]
    (row,) = hour_rows("s", looks, TEN, TEN + timedelta(hours=1))
    assert documented("bridgehours") == set(row)
    assert documented("samples") == {*machine_cells(looks[:1])["v"], "m59"}
    cells = rows(section("docs/tables.md", "samples"))[-1]
    assert tuple(re.findall(r"`(\w+)`", cells[3])) == SAMPLE_FIELDS


@pytest.fixture
async def lived(tables: TableStore) -> TableStore:
    """Real tables with an hour of a shard: minutes, hours, a day, events and bridges."""
    it = install(store=MemoryStore())
    await run(it, 75)
    now, books = it.world.now, Books(tables)
    for row in await it.store.minutes(SHARD, START, now):
        await tables.append_usage(SHARD, datetime.fromisoformat(row["at"]), row)
    await tables.append_events(SHARD, now, await it.store.events(SHARD, now, 100))
    rows_of = (await it.store.load(SHARD)).bridges.values()
    await tables.put_bridges(SHARD, [Stored(row.value, None) for row in rows_of])
    assert await reckon(books, SHARD, ScalingPolicy(max_bridges=9), now) == 1
    day = await day_of(books, SHARD, now.date(), "UTC", await tables.reckoned_until(SHARD), now)
    assert day is not None
    assert day["bridge_hours"] > 0
    await tables.put_day(SHARD, day)
    return tables


async def test_the_filters_of_the_page_are_taken_and_find_what_they_say(
    lived: TableStore, tables_prefix: str, tables_connection: str
):
    """Each runs on real tables, and asks for columns that are documented."""
    found = {}
    ours = re.compile(r"\b(\w+) (?:eq|lt|ge|gt|le) ")
    async with TableServiceClient.from_connection_string(tables_connection) as service:
        for where, table, _ in rows(section("docs/tables.md", "Asking")):
            client = service.get_table_client(tables_prefix + table)
            asked = where.strip("`").replace("\\|", "|")
            if table != "events":
                assert set(ours.findall(asked)) <= {"PartitionKey", "RowKey", *documented(table)}
            found[asked] = len([row async for row in client.query_entities(asked)])
    assert len(found) == 8
    counts = list(found.values())
    assert counts[0] == 1
    assert counts[2] == 59
    assert counts[6] > 0
