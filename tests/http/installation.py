"""A whole installation: a simulated world behind its HTTP faces, Azurite, and the wired application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp.connector
import orjson
import pytest

import wiring
from sandbox.bridge import SimBridge
from sandbox.cloud import SimVm
from sandbox.faces.http import FaultAnswer, Faults
from sandbox.faces.server import Faces, Options, faces
from sandbox.ports import WorldClock
from sandbox.workload import PlannedConference, meeting
from sandbox.world import World, WorldConfig
from scaler.model import BridgeMemory, CreateIntent, ShardMemory
from scaler.ports import ShardRows
from scaler.tick import Report
from state.store import TableStore, table_store
from tests.scaler.worlds import SCALE_SET, SHARD, START

MINUTE = timedelta(minutes=1)

_VERBS = {
    "POST /colibri/drain/enable": "drain",
    "POST /colibri/drain/disable": "undrain",
    "POST /colibri/shutdown": "fence",
}


class Step(NamedTuple):
    """One call that changes something, as a face took it."""

    verb: str
    """`scale_out`, `set_image`, `delete`, `drain`, `undrain`, `fence`; else the request, as `METHOD path`."""
    subject: str
    """Name of the machine; of a `scale_out` the capacity, of a `set_image` the version."""


def step_of(face: str, operation: str, details: Mapping[str, Any]) -> Step | None:
    """Read a request to a face; None where it changes nothing."""
    if face == "bridge":
        verb = _VERBS.get(operation, operation)
        return None if verb.startswith("GET ") else Step(verb, details["name"])
    if face != "arm" or details["method"] == "GET":
        return None
    body = orjson.loads(details["body"])
    if details["method"] == "PATCH" and body.keys() == {"sku"}:
        return Step("scale_out", str(body["sku"]["capacity"]))
    if details["method"] == "PATCH" and body.keys() == {"properties"}:
        profile = body["properties"]["virtualMachineProfile"]
        return Step("set_image", profile["storageProfile"]["imageReference"]["id"].rpartition("/")[2])
    if details["method"] == "POST" and details["path"].endswith("/delete"):
        return Step("delete", ",".join(body["instanceIds"]))
    return Step(f"{details['method']} {details['path']}", "")


class DeadStore:
    """What is left of the tables for a process that ended: whatever it still calls never happens."""

    def __getattr__(self, name: str) -> Any:
        """No call gets as far as being made."""
        raise asyncio.CancelledError(name)


class Installation:
    """The application that wiring builds, over real protocols; time moves only by `minutes`."""

    def __init__(self, served: Faces, env: Mapping[str, str], store: TableStore) -> None:
        """Not running until `start`. `store`: another reader of the application's tables."""
        self.world, self.faces, self.store = served.world, served, store
        self.env = dict(env)
        self.journal: list[Step] = []
        """Every call that would change something, in the order in which the faces took them."""
        self.faults: Faults | None = None
        """Asked before each request, as by `Faces.break_with`."""
        self.deaths = 0
        self.app: wiring.Running
        self._ticking: asyncio.Task[None] | None = None
        served.break_with(self._hear)

    def _hear(self, face: str, operation: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        step = step_of(face, operation, details)
        if step is not None:
            self.journal.append(step)
        return self.faults(face, operation, details) if self.faults else None

    # The process of the app

    async def start(self, **env: str) -> None:
        """Build the application as a new process does, with these settings besides."""
        self.env |= env
        self.app = await self.another()

    async def another(self) -> wiring.Running:
        """Build one more application on the same tables; the caller closes it."""
        app = await wiring.engine(self.env, clock=WorldClock(self.world))
        assert isinstance(app, wiring.Running), (await app.status()).body
        return app

    async def restart(self, **env: str) -> None:
        """End the application and start a new one on the same tables, with these settings besides."""
        await self.app.close()
        await self.start(**env)

    def die(self) -> None:
        """End the process in the middle of its tick; it gives no lease back and writes no row any more."""
        assert self._ticking is not None
        self.deaths += 1
        self.app.engine.store = DeadStore()
        self._ticking.cancel()

    async def tick(self) -> None:
        """One tick of every shard; a process that dies in it is followed by a new one."""
        self._ticking = asyncio.create_task(self.app.tick())
        await asyncio.wait([self._ticking])
        if self._ticking.cancelled():
            await self.restart()
        else:
            self._ticking.result()

    async def advance(self, seconds: float) -> None:
        """Let time pass without a tick."""
        await self.faces.advance_to(self.world.now + timedelta(seconds=seconds))

    async def minutes(self, count: int) -> list[str]:
        """Tick once a minute; return the verbs of what the faces were told to change meanwhile."""
        before = len(self.journal)
        for _ in range(count):
            await self.advance(60)
            await self.tick()
        return [step.verb for step in self.journal[before:]]

    async def until(self, verb: str, minutes: int = 20) -> None:
        """Tick once a minute, until a step of this kind was taken in the last tick."""
        for _ in range(minutes):
            if verb in await self.minutes(1):
                return
        raise AssertionError(f"no {verb} in {minutes} minutes: {self.journal}")

    async def tick_of(self, app: wiring.Running) -> Report:
        """One tick of an application, with its outcome in words."""
        (report,) = await app.engine.tick_all()
        return report

    # What stands in the tables

    async def rows(self) -> ShardRows:
        """Everything that is remembered of the shard, with etags."""
        return await self.store.load(SHARD)

    async def memories(self) -> dict[str, BridgeMemory]:
        """What is remembered of each machine, by name."""
        return {row.value.name: row.value for row in (await self.rows()).bridges.values()}

    async def state(self) -> ShardMemory:
        """What is remembered of the shard."""
        row = (await self.rows()).state
        assert row is not None
        return row.value

    async def intents(self) -> list[CreateIntent]:
        """Machines asked for, oldest first."""
        intents = [row.value for row in (await self.rows()).intents.values()]
        return sorted(intents, key=lambda intent: intent.asked_at)

    async def alerts(self) -> set[str]:
        """Kinds of the alerts that are open."""
        return {key.partition(":")[0] for key in (await self.state()).alerts}

    async def decisions(self) -> Sequence[Mapping[str, Any]]:
        """Every decision record, oldest first."""
        return (await self.store.decisions(SHARD, self.world.now, 1000))[::-1]

    async def events(self, kind: str | None = None) -> list[Mapping[str, Any]]:
        """Every event, or those of one kind, oldest first."""
        rows = await self.store.events(SHARD, self.world.now, 1000)
        return [row for row in reversed(rows) if kind in (None, row["kind"])]

    # What is true

    def machines(self) -> list[SimVm]:
        """Machines that ARM lists, oldest first."""
        return sorted(self.world.scale_set(SCALE_SET).vms.values(), key=lambda vm: vm.time_created)

    def names(self) -> list[str]:
        """Names of the machines, oldest first."""
        return [vm.name for vm in self.machines()]

    def bridge(self, name: str) -> SimBridge:
        """The bridge on a machine."""
        bridge = self.world.scale_set(SCALE_SET).vms[name].bridge
        assert bridge is not None
        return bridge

    def accepting(self) -> list[str]:
        """Names of the bridges that truly take new conferences now, oldest machine first."""
        return [vm.name for vm in self.machines() if _accepts(vm)]

    def cuts(self) -> int:
        """Calls that we cut."""
        return len(self.world.history.cut_by_us())

    @property
    def verbs(self) -> list[str]:
        """Verbs of the whole journal."""
        return [step.verb for step in self.journal]

    def slip_in_a_call(self, bridge: str, *, minutes: float, people: int, name: str) -> None:
        """A call reaches this very bridge: Jicofo has not heard yet that it drains."""
        jicofo = self.world.scale_set(SCALE_SET).jicofo
        heard = {each: occupant.drain for each, occupant in jicofo.occupants.items()}
        for each, occupant in jicofo.occupants.items():
            occupant.drain = each != bridge
        jicofo.begin(meeting(self.world.now, minutes, people, name))
        for each, drain in heard.items():
            jicofo.occupants[each].drain = drain


def full_from(minute: float) -> tuple[PlannedConference, ...]:
    """
    Rooms that fill one bridge to nine tenths from this minute after the start on, for ten hours.

    One bridge more is wanted for them, and with it none is to spare.
    """
    start = START + minute * MINUTE
    return tuple(meeting(start, 600, 12, f"room-{number}") for number in range(15))


def _accepts(vm: SimVm) -> bool:
    bridge = vm.bridge
    return (
        bridge is not None
        and vm.running
        and bridge.muc_joined
        and not (bridge.drain or bridge.graceful_shutdown or bridge.shutting_down)
    )


def settings_of(served: Faces, connection: str, prefix: str, **policy: Any) -> dict[str, str]:
    """The app's settings for a served world; `policy` is that of its one shard."""
    shard = {"name": SHARD, "scale_set_id": SCALE_SET, "max_bridges": 15, **policy}
    return {
        **{name: value for name, value in served.env.items() if name.startswith("SCALER_")},
        "SCALER_TABLES_CONNECTION_STRING": connection,
        "SCALER_TABLES_PREFIX": prefix,
        "SCALER_SHARDS": orjson.dumps([shard]).decode(),
    }


def trust(ca_file: Path) -> None:
    """
    Let every aiohttp client of this process trust the sandbox's authority.

    As deployed, the app's clients use the context that aiohttp makes when it is imported. A process
    of its own would have `SSL_CERT_FILE` before that; here the authority is added to that very context.
    """
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(ca_file)


@asynccontextmanager
async def installed(
    config: WorldConfig,
    connection: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    options: Options | None = None,
    *,
    dry_run: bool = False,
    **policy: Any,
) -> AsyncIterator[Installation]:
    """Serve a world and run the application over it, until the block ends."""
    async with faces(World(config), options or Options()) as served:
        trust(served.ca_file)
        # As the platform does it: the credential finds where tokens are to be had in the environment.
        monkeypatch.setenv("IDENTITY_ENDPOINT", served.identity_url)
        monkeypatch.setenv("IDENTITY_HEADER", served.identity_header)
        store = table_store(connection_string=connection, prefix=prefix)
        it = Installation(served, settings_of(served, connection, prefix, **policy), store)
        await it.start(SCALER_DRY_RUN=str(dry_run).lower())
        try:
            yield it
        finally:
            await it.app.close()
            await store.close()
