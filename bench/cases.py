"""
What is measured. Each case runs in a process of its own: `python -m bench.cases NAME`.

It prints one line of JSON: figures by name. Bridges, Azure and tables are other processes, so that
the CPU time and the memory of this one are those of the app.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import zip_longest
from statistics import median
from typing import Any

import orjson

from bench.floors import BareTables, RawSockets
from bench.rss import peak_rss_mb
from bench.sampling import sampled
from bench.timing import SHARE, Figures, cpu_of, cpu_of_call
from sandbox.stage import ROOT, Stage, point_the_app_at, stage

START = datetime(2026, 3, 4, 9, tzinfo=UTC)
OLD_MINUTES = 600.0
ROUNDS = 5
WARM_UP_TICKS = 4
"""First sight, two good polls until an address is believed, and one like all others."""
PATIENT_SECONDS = 30.0
"""Deadline of a poll whose CPU is measured: a busy machine must not turn into time-outs."""
DEADLINE_SECONDS = 3.0


@asynccontextmanager
async def fleet(bridges: int) -> AsyncIterator[Stage]:
    """Serve so many idle bridges, Azure and tables, and point this process's app at them."""
    scale_set = {"capacity": bridges, "prestarted": [OLD_MINUTES] * bridges}
    policy = {"min_bridges": bridges, "max_bridges": max(bridges, 2)}
    async with stage(1, START, scale_set, policy) as set_up:
        point_the_app_at(set_up)
        yield set_up


# --- poll ---------------------------------------------------------------------------------


async def poll(bridges: int) -> Figures:
    """CPU of one poll, ours and that of raw sockets, on new connections and on open ones."""
    async with fleet(bridges) as set_up:
        machines = await set_up.vms()
        targets = _targets(machines)
        floor = RawSockets([t.address for t in targets], _port(set_up))
        spent: dict[str, list[float]] = {"new": [], "open": [], "floor_new": [], "floor_open": []}
        for _ in range(ROUNDS):
            for connections in ("new", "open"):
                spent[f"floor_{connections}"].append(await cpu_of(partial(_all_of, floor, bridges)))
            floor.close()
            async with _client(set_up, PATIENT_SECONDS) as client:
                for connections in ("new", "open"):
                    spent[connections].append(await cpu_of(partial(_all_answered, client, targets)))
        async with _client(set_up, PATIENT_SECONDS) as client:
            await _all_answered(client, targets)
            with sampled() as seen:
                for _ in range(ROUNDS):
                    await _all_answered(client, targets)
        return {**{f"{name}_s": median(values) for name, values in spent.items()}, **_shares(seen)}


def _shares(seen: Mapping[str, int]) -> Figures:
    """Part of the CPU time that each owner of code took, 0 to 1."""
    whole = sum(seen.values())
    return {f"{SHARE}{name}": count / whole for name, count in seen.items()}


async def _all_of(floor: RawSockets, bridges: int) -> None:
    if await floor.poll() != bridges:
        raise RuntimeError("the floor did not hear every bridge")


async def _all_answered(client: Any, targets: Sequence[Any]) -> None:
    polls = await client.poll(targets)
    silent = [vm_id for vm_id, poll in polls.items() if poll.stats is None]
    if silent:
        raise RuntimeError(f"{len(silent)} bridges were not heard: {polls[silent[0]].problem}")


async def poll_with_silent(bridges: int) -> Figures:
    """Wall time of a poll in which a tenth of the bridges takes connections and stays silent."""
    from scaler.ports import Target

    async with fleet(bridges) as set_up:
        targets, port = _targets(await set_up.vms()), _port(set_up)
        # Listening without accepting: the system takes the connection, and nobody ever answers.
        silent = [socket.create_server((f"127.99.0.{n + 1}", port)) for n in range(bridges // 10)]
        mute = [
            Target(each.vm_id, s.getsockname()[0], ask_process=False)
            for each, s in zip(targets, silent, strict=False)
        ]
        talking = targets[len(mute) :]
        asked = [t for pair in zip_longest(mute, talking) for t in pair if t is not None]
        seconds, heard = [], []
        async with _client(set_up, DEADLINE_SECONDS) as client:
            for _ in range(ROUNDS):
                began = time.perf_counter()
                polls = await client.poll(asked)
                seconds.append(time.perf_counter() - began)
                heard.append(sum(polls[t.vm_id].stats is not None for t in talking))
        for each in silent:
            each.close()
        return {
            "seconds": median(seconds),
            "deadline_s": DEADLINE_SECONDS,
            "heard": min(heard),
            "talking": len(talking),
        }


def _targets(machines: Sequence[dict[str, Any]]) -> list[Any]:
    from scaler.ports import Target

    return [Target(each["vm_id"], each["address"], ask_process=False) for each in machines]


def _port(set_up: Stage) -> int:
    return int(set_up.env["SCALER_BRIDGE_PORT"])


@asynccontextmanager
async def _client(set_up: Stage, deadline_seconds: float) -> AsyncIterator[Any]:
    from colibri.client import ColibriClient, colibri_http_client

    async with colibri_http_client() as http:
        yield ColibriClient(http, set_up.clock, _port(set_up), deadline_seconds)


# --- the whole tick -----------------------------------------------------------------------


async def tick(bridges: int) -> Figures:
    """CPU and calls of one steady tick, and the floor made of what it moved; memory at the end."""
    from scaler.tick import ROWS_STAND

    async with fleet(bridges) as set_up, _app(set_up) as app:
        for _ in range(WARM_UP_TICKS):
            await _minute(set_up, app)
        spent = [await _minute(set_up, app) for _ in range(ROUNDS)]
        figures = {"tick_s": median(spent), "peak_mb": peak_rss_mb()}
        calls = [await _calls_of_a_minute(set_up, app) for _ in range(ROWS_STAND // timedelta(minutes=1))]
        steady = {f"calls_{face}": median(each[face] for each in calls) for face in calls[0]}
        most = max(each["tables"] for each in calls)
        with sampled() as seen:
            for _ in range(ROUNDS):
                await _minute(set_up, app)
        return {
            **figures,
            **steady,
            "calls_tables_all": most,
            **_shares(seen),
            **await _tick_floor(set_up),
        }


@asynccontextmanager
async def _app(set_up: Stage) -> AsyncIterator[Any]:
    """The app as the triggers have it."""
    import wiring

    logging.getLogger("jvb_autoscaler").setLevel(logging.WARNING)
    app = await wiring.engine(os.environ, set_up.clock)
    if not isinstance(app, wiring.Running):
        raise RuntimeError("the configuration is invalid")
    try:
        async with _client(set_up, PATIENT_SECONDS) as bridges:
            shards = app.engine.shards
            for name, shard in shards.items():
                shards[name] = replace(shard, ears=replace(shard.ears, bridges=bridges))
            await app.tick()  # makes the tables, too
            yield app
    finally:
        await app.close()


async def _minute(set_up: Stage, app: Any) -> float:
    """Let a minute pass; CPU seconds of the tick at its end. A tick that did not go well is an error."""
    await set_up.advance(set_up.clock.now() + timedelta(minutes=1))
    reports: list[Any] = []

    async def work() -> None:
        reports.extend(await app.engine.tick_all())

    spent = await cpu_of(work)
    for report in reports:
        if report.result != "done" or report.record["totals"]["unknown"]:
            raise RuntimeError(f"the tick did not go well: {report.sentence}")
    return spent


class _Counter(logging.Handler):
    """Counts the requests that the tables' SDK logs."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One record a request, one an answer."""
        self.requests += record.getMessage().startswith("Request URL")


@contextmanager
def _counted() -> Iterator[_Counter]:
    """Count the requests to the tables meanwhile."""
    sdk = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
    counter = _Counter()
    sdk.addHandler(counter)
    sdk.setLevel(logging.INFO)
    sdk.propagate = False
    yield counter
    sdk.setLevel(logging.WARNING)
    sdk.removeHandler(counter)


async def _calls_of_a_minute(set_up: Stage, app: Any) -> Figures:
    """Count the HTTP calls of one steady tick by neighbour."""
    await set_up.advance(set_up.clock.now() + timedelta(minutes=1))
    since, _ = await set_up.calls()
    with _counted() as counter:
        await app.tick()
    _, served = await set_up.calls(since)
    faces = Counter(call[1] for call in served)
    return {
        "tables": counter.requests,
        "arm": faces["arm"],
        "monitor": faces["monitor"],
        "bridges": faces["bridge"],
    }


async def _tick_floor(set_up: Stage) -> Figures:
    """Our own poll, ARM's bodies as JSON, and the same rows in bare transactions."""
    from azure.data.tables.aio import TableServiceClient

    connection = set_up.env["SCALER_TABLES_CONNECTION_STRING"]
    async with TableServiceClient.from_connection_string(connection) as service:
        rows = [dict(row) async for row in service.get_table_client("bridges").list_entities()]
    bare = BareTables(connection, rows)
    await bare.prepare()
    targets, bodies = _targets(await set_up.vms()), await _arm_bodies(set_up)
    spent: dict[str, list[float]] = {"poll": [], "json": [], "rows": []}
    for _ in range(ROUNDS):
        async with _client(set_up, PATIENT_SECONDS) as client:
            spent["poll"].append(await cpu_of(partial(_all_answered, client, targets)))
        spent["json"].append(cpu_of_call(lambda: [json.loads(body) for body in bodies], 1))
        spent["rows"].append(await cpu_of(bare.write))
    await bare.close()
    return {f"floor_{name}_s": median(values) for name, values in spent.items()}


async def _arm_bodies(set_up: Stage) -> list[bytes]:
    """What ARM says of the machines, page by page."""
    from compute.identity import managed_identity
    from compute.messages import ScaleSetId
    from compute.pipeline import arm_client
    from sandbox.inprocess import scale_set_id

    parts = ScaleSetId.parse(scale_set_id("jvb-a"))
    bodies: list[bytes] = []
    async with AsyncExitStack() as cleanup:
        credential = managed_identity(None)
        cleanup.push_async_callback(credential.close)
        client = arm_client(credential, parts.subscription, set_up.env["SCALER_ARM_ENDPOINT"])
        cleanup.push_async_callback(client.close)
        pages = client.virtual_machines.list(
            parts.group,
            filter=f"'virtualMachineScaleSet/id' eq '{parts.text}'",
            expand="instanceView",
            raw_response_hook=lambda answer: bodies.append(answer.http_response.content),
        )
        async for _ in pages:
            pass
    return bodies


# --- usage --------------------------------------------------------------------------------


async def usage(bridges: int) -> Figures:
    """Requests to the tables, and CPU, of what is reckoned of a day: an hour, its end, its going."""
    from scaler.policy import ScalingPolicy
    from scaler.reckon import reckon

    midnight = START.replace(hour=0)
    async with fleet(bridges) as set_up, _app(set_up) as app:
        for _ in range(WARM_UP_TICKS):
            await _minute(set_up, app)
        store, (name,) = app.books.tables, app.engine.shards
        now = set_up.clock.now()
        (*_, newest) = await store.minutes(name, now - timedelta(hours=1), now + timedelta(minutes=1))
        row = {column: value for column, value in newest.items() if column != "at"}
        for number in range(24 * 60 + 10):
            at = midnight + timedelta(minutes=number)
            await store.append_usage("new", at, {**row, "seen_at": round(at.timestamp() * 1000)})
            await store.append_decision("new", at, {"at": at.isoformat()})

        async def run(now: datetime, retention_days: int = 30) -> tuple[int, int]:
            policy = ScalingPolicy(max_bridges=bridges, retention_days=retention_days)
            with _counted() as counter:
                return await reckon(app.books, "new", policy, now), counter.requests

        ends = [midnight + timedelta(hours=hour + 1, minutes=5) for hour in range(24)]
        hours = [await run(end) for end in ends]
        _, idle = await run(ends[-1])
        await store.put_reckoned_until("new", midnight + timedelta(hours=10))
        spent = await cpu_of(partial(run, ends[10]))
        kept = [await _bytes_of_a_day(set_up, table) for table in ("usage", "samples", "bridgehours")]
        later = midnight + timedelta(days=5)
        for number in range(0, 14 * 60, 30):
            at = later + timedelta(minutes=number)
            await store.append_usage("new", at, {**row, "seen_at": round(at.timestamp() * 1000)})
        await store.put_reckoned_until("new", later)
        going = [await run(later + timedelta(hours=hour, minutes=35), 2) for hour in range(1, 13)]
    if [done for done, _ in (*hours, *going)] != [1] * 36:
        raise RuntimeError("an hour was not reckoned")
    an_hour = median(calls for _, calls in hours)
    return {
        "calls_an_hour": an_hour,
        "calls_a_day": hours[-1][1] - an_hour + sum(calls for _, calls in going) - going[-1][1] * len(going),
        "calls_idle": idle,
        "hour_s": spent,
        "mb_a_day": sum(kept) / 1e6,
    }


async def _bytes_of_a_day(set_up: Stage, table: str) -> int:
    """What the rows of a day take in the service, by its formula: names and text in UTF-16."""
    from azure.data.tables.aio import TableServiceClient

    connection = set_up.env["SCALER_TABLES_CONNECTION_STRING"]
    async with TableServiceClient.from_connection_string(connection) as service:
        asked = service.get_table_client(table).query_entities("PartitionKey eq 'new|20260304'")
        return sum([_bytes_of(row) async for row in asked])


def _bytes_of(row: Mapping[str, Any]) -> int:
    cells = {name: cell for name, cell in row.items() if name not in ("PartitionKey", "RowKey")}
    keys = len(row["PartitionKey"]) + len(row["RowKey"])
    texts = sum(2 * len(cell) + 4 if isinstance(cell, str) else 8 for cell in cells.values())
    return 4 + 2 * keys + sum(8 + 2 * len(name) for name in cells) + texts


# --- without a neighbour ------------------------------------------------------------------


async def decide_on(bridges: int) -> Figures:
    """CPU of `decide` alone."""
    from compute.sizes import size_of
    from sandbox.inprocess import default_day, in_process, scale_set_id
    from sandbox.world import Prestarted, ScaleSetSpec
    from scaler.decide import decide
    from scaler.policy import ScalingPolicy

    old = timedelta(minutes=OLD_MINUTES)
    spec = ScaleSetSpec(scale_set_id("jvb-a"), capacity=bridges, prestarted=(Prestarted(old),) * bridges)
    config = replace(default_day(1), scale_sets=(spec,), workload=None)
    policy = ScalingPolicy(max_bridges=max(bridges, 2))
    app = in_process(config, policy)
    await app.run(2)
    _, snapshot = await app.engine.look("jvb-a")
    size = size_of("Standard_F8s_v2")
    if snapshot is None or size is None or len(snapshot.bridges) != bridges:
        raise RuntimeError("the snapshot is not of the whole fleet")
    whole = policy.for_size(size.vcpus, size.nic_mbps)
    return {"decide_s": cpu_of_call(lambda: decide(snapshot, whole), 7)}


async def simulate() -> Figures:
    """Ticks a CPU second in process, the world and its people included, with about ten bridges."""
    from sandbox.inprocess import default_day, in_process
    from scaler.policy import ScalingPolicy

    logging.disable(logging.CRITICAL)
    app = in_process(default_day(1), ScalingPolicy(min_bridges=10, max_bridges=10))
    await app.run(60)
    minutes = 600
    spent = await cpu_of(partial(app.run, minutes))
    bridges = len(list(app.world.vms()))
    return {"ticks_per_s": minutes / spent, "bridges": bridges}


async def cold_start() -> Figures:
    """CPU from the start of a process to its first decision on three bridges, and of the bare imports."""
    async with fleet(3) as set_up:
        env = {**os.environ, **set_up.env, "PYTHONPATH": str(ROOT)}
        await set_up.advance(START + timedelta(minutes=1))
        first = [sys.executable, "-m", "bench.first_decision", set_up.clock.now().isoformat()]
        bare = [sys.executable, "-m", "bench.bare_imports"]
        figures = [[await _run(command, env) for _ in range(ROUNDS)] for command in (first, bare)]
    decided, imported = figures
    return {
        "cold_s": median(each["cpu_s"] for each in decided),
        "imports_s": median(each["cpu_s"] for each in imported),
        "imports_mb": median(each["peak_mb"] for each in imported),
    }


async def _run(command: Sequence[str], env: Mapping[str, str]) -> Figures:
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    figures: Figures = orjson.loads(told)
    return figures


CASES: dict[str, Callable[[], Coroutine[Any, Any, Figures]]] = {
    "poll": partial(poll, 1000),
    "poll_with_silent": partial(poll_with_silent, 1000),
    "tick_5": partial(tick, 5),
    "tick_10": partial(tick, 10),
    "tick_50": partial(tick, 50),
    "tick_100": partial(tick, 100),
    "tick_500": partial(tick, 500),
    "tick_1000": partial(tick, 1000),
    "decide_10": partial(decide_on, 10),
    "decide_1000": partial(decide_on, 1000),
    "decide_10000": partial(decide_on, 10_000),
    "usage_5": partial(usage, 5),
    "usage_50": partial(usage, 50),
    "usage_500": partial(usage, 500),
    "simulate": simulate,
    "cold_start": cold_start,
}


def main() -> None:
    """Run the case that the command line names."""
    figures = asyncio.run(CASES[sys.argv[1]]())
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")


if __name__ == "__main__":
    main()
