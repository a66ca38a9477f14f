"""
The outermost ports: they see every question, answer and act of the engine, and can kill it there.

What is seen goes three ways: to the checkers, to the journal of the run, and into `Told`, which is
all that the engine can have known in this tick.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from sandbox.faults import Site
from sandbox.hostile import HostileBridges, HostileCloud, HostileImages, HostileMetrics, HostileStore
from scaler.errors import ScalerError
from scaler.model import (
    BridgeMemory,
    Command,
    CreateIntent,
    ImageBuild,
    ImageVersion,
    Instance,
    PlatformLoad,
    Poll,
    ScaleSet,
    ShardMemory,
)
from scaler.ports import Lease, Operation, ShardRows, Stored, Target
from scaler.tick import Report

T = TypeVar("T")
LINES_KEPT = 400


class Killed(BaseException):
    """The process ended here: no handler may see it."""


class Journal:
    """What happened, line by line: the newest lines, and a digest of all."""

    def __init__(self) -> None:
        """Start empty."""
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._digest = hashlib.sha256()

    def write(self, at: datetime, text: str) -> None:
        """Add a line."""
        line = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d} {text}"
        self.lines.append(line)
        self._digest.update(line.encode())

    @property
    def digest(self) -> str:
        """Of every line so far: two runs with the same one did the same."""
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Act:
    """Something that the engine is about to do to a bridge or to ARM."""

    verb: str
    """`set_drain`, `shut_down`, `delete`, `scale_out`, `set_image`, `start_build` or `prune_image`."""
    at: datetime
    """True time."""
    host_now: datetime
    """Time by the clock of the function's host."""
    vm_id: str = ""
    name: str = ""
    on: bool = False
    capacity: int = 0
    image: str = ""


@dataclass(slots=True)
class Told:
    """All that the engine was told in one tick, and what it did on it."""

    now: datetime
    """The tick's present moment, by the host's clock."""
    began: datetime
    """The same in true time."""
    lease: Lease | None = None
    rows: ShardRows | None = None
    scale_set: ScaleSet | None = None
    instances: tuple[Instance, ...] = ()
    versions: tuple[ImageVersion, ...] | None = None
    operations: dict[str, Operation] = field(default_factory=dict)
    polls: dict[str, Poll] = field(default_factory=dict)
    """Newest answer of each bridge to the poll of all."""
    reads: dict[str, tuple[datetime, Poll]] = field(default_factory=dict)
    """Newest fresh report of one bridge, with the true time at which it came."""
    platform: Mapping[str, PlatformLoad] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    rows_put: dict[str, BridgeMemory] = field(default_factory=dict)
    """Newest row of each bridge that it asked the tables to keep, whether they did or not."""


class Checker(Protocol):
    """Judges what the engine does. Each keeps what it needs, and says what is wrong through `accuse`."""

    def before(self, act: Act, told: Told) -> None:
        """An act is about to be done."""
        ...

    def after_tick(self, told: Told, report: Report | None) -> None:
        """A tick is over; report None: its process was killed."""
        ...


@dataclass(slots=True)
class Process:
    """One process of the function app: its own memory, its own clock, and its end."""

    name: str
    host: int = 0
    """Whose clock it has."""
    kill_in: int | None = None
    """Number of side effects until it is killed; None: it lives."""
    kill_behind: bool = False
    dead: bool = False
    freeze_in: int | None = None
    """Number of questions until it stands still ahead of one; None: it does not."""
    stands: asyncio.Event = field(default_factory=asyncio.Event)
    thaw: asyncio.Event = field(default_factory=asyncio.Event)
    told: Told | None = None

    def reach(self) -> bool:
        """Come to a side effect; whether it is the one to be killed at. The dead do nothing more."""
        if self.dead:
            raise Killed
        if self.kill_in is None:
            return False
        self.kill_in -= 1
        if self.kill_in == 0 and not self.kill_behind:
            self.die()
        return self.kill_in == 0

    async def ask(self) -> None:
        """Come to a question. The dead ask nothing, and the frozen wait until they may go on."""
        if self.dead:
            raise Killed
        if self.freeze_in is None:
            return
        self.freeze_in -= 1
        if self.freeze_in <= 0:
            self.freeze_in = None
            self.stands.set()
            await self.thaw.wait()

    def die(self) -> None:
        """End here."""
        self.dead = True
        raise Killed


@dataclass(slots=True)
class Bench:
    """What all processes of a run share: the site, the journal and the checkers."""

    site: Site
    journal: Journal
    checkers: Sequence[Checker]

    def log(self, text: str) -> None:
        """Write a line into the journal at the present moment."""
        self.journal.write(self.site.world.now, text)


class _Port:
    def __init__(self, process: Process, bench: Bench) -> None:
        self._process, self._bench = process, bench

    @property
    def _told(self) -> Told:
        told = self._process.told
        assert told is not None
        return told

    def _present(self) -> tuple[datetime, datetime]:
        """True time, and what the clock of the process's host says."""
        world_now = self._bench.site.world.now
        return world_now, world_now + timedelta(seconds=self._bench.site.ahead_s(self._process.host))

    def _alive(self) -> None:
        if self._process.dead:
            raise Killed

    async def _effect(self, name: str, call: Awaitable[T]) -> T:
        """Have a side effect, unless the process is killed ahead of it."""
        try:
            last = self._process.reach()
        except Killed:
            call.close()  # type: ignore[attr-defined]
            self._bench.log(f"{self._process.name} killed ahead of {name}")
            self._bench.site.exercised["killed"] += 1
            raise
        answer = await call
        if last:
            self._bench.log(f"{self._process.name} killed behind {name}")
            self._bench.site.exercised["killed"] += 1
            self._process.die()
        return answer

    async def _act(self, verb: str, call: Awaitable[T], **details: Any) -> T:
        """Do something that checkers judge."""
        self._alive()
        world_now, host_now = self._present()
        act = Act(verb, world_now, host_now, **details)
        shown = " ".join(f"{key}={value}" for key, value in details.items() if key != "vm_id")
        for checker in self._bench.checkers:
            checker.before(act, self._told)
        self._told.acts.append(act)
        try:
            answer = await self._effect(verb, call)
        except ScalerError as error:
            self._bench.log(f"{self._process.name} {verb} {shown}: {type(error).__name__} {error}")
            raise
        self._bench.log(f"{self._process.name} {verb} {shown}")
        return answer


class HostClock:
    """`scaler.ports.Clock` of one of the function's hosts, which may be ahead or behind."""

    def __init__(self, site: Site, process: Process) -> None:
        """`process`: runs on that host."""
        self._site, self._process = site, process

    def now(self) -> datetime:
        """Return the present moment as this host has it."""
        return self._site.world.now + timedelta(seconds=self._site.ahead_s(self._process.host))


class WitnessedCloud(_Port):
    """`scaler.ports.Cloud`."""

    def __init__(self, inner: HostileCloud, process: Process, bench: Bench) -> None:
        """Around the hostile port."""
        super().__init__(process, bench)
        self._inner = inner

    async def scale_set(self) -> ScaleSet:
        """Read the scale set's own record."""
        await self._process.ask()
        self._told.scale_set = found = await self._inner.scale_set()
        return found

    async def instances(self, known_addresses: Mapping[str, str]) -> tuple[Instance, ...]:
        """List every machine."""
        await self._process.ask()
        self._told.instances = found = await self._inner.instances(known_addresses)
        return found

    async def scale_out(self, scale_set: ScaleSet, capacity: int) -> str | None:
        """Write the absolute capacity."""
        return await self._act("scale_out", self._inner.scale_out(scale_set, capacity), capacity=capacity)

    async def set_image(self, scale_set: ScaleSet, image: str) -> None:
        """Write the image of machines to come."""
        await self._act("set_image", self._inner.set_image(scale_set, image), image=image)

    async def delete(self, instance: Instance) -> str | None:
        """Delete exactly this machine."""
        call = self._inner.delete(instance)
        return await self._act("delete", call, vm_id=instance.vm_id, name=instance.name)

    async def operation(self, url: str) -> Operation:
        """Read a long-running operation once."""
        await self._process.ask()
        self._told.operations[url] = found = await self._inner.operation(url)
        return found


class WitnessedImages(_Port):
    """`scaler.ports.Images`."""

    def __init__(self, inner: HostileImages, process: Process, bench: Bench) -> None:
        """Around the hostile port."""
        super().__init__(process, bench)
        self._inner = inner

    async def versions(self, definition_id: str, location: str) -> tuple[ImageVersion, ...]:
        """List every version of a gallery image."""
        await self._process.ask()
        self._told.versions = found = await self._inner.versions(definition_id, location)
        return found

    async def delete_version(self, image: str) -> None:
        """Delete one version."""
        await self._act("prune_image", self._inner.delete_version(image), image=image)

    async def build(self, template_id: str) -> ImageBuild | None:
        """Read the last run of a template."""
        await self._process.ask()
        return await self._inner.build(template_id)

    async def start_build(self, template_id: str) -> None:
        """Start a run of a template."""
        await self._act("start_build", self._inner.start_build(template_id))


class WitnessedBridges(_Port):
    """`scaler.ports.Bridges`."""

    def __init__(self, inner: HostileBridges, process: Process, bench: Bench) -> None:
        """Around the hostile port."""
        super().__init__(process, bench)
        self._inner = inner

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        """Ask all bridges."""
        await self._process.ask()
        polls = {vm_id: self._by_host(poll) for vm_id, poll in (await self._inner.poll(targets)).items()}
        self._told.polls.update(polls)
        return polls

    async def read(self, target: Target) -> Poll:
        """Ask one bridge everything."""
        await self._process.ask()
        poll = self._by_host(await self._inner.read(target))
        self._told.reads[target.vm_id] = (self._bench.site.world.now, poll)
        return poll

    def _by_host(self, poll: Poll) -> Poll:
        offset_s = self._bench.site.ahead_s(self._process.host)
        return replace(poll, at=poll.at + timedelta(seconds=offset_s)) if offset_s else poll

    async def set_drain(self, target: Target, *, on: bool) -> None:
        """POST drain enable or disable."""
        call = self._inner.set_drain(target, on=on)
        await self._act("set_drain", call, vm_id=target.vm_id, name=self._name(target), on=on)

    async def shut_down(self, target: Target) -> None:
        """POST graceful shutdown."""
        call = self._inner.shut_down(target)
        await self._act("shut_down", call, vm_id=target.vm_id, name=self._name(target))

    def _name(self, target: Target) -> str:
        return next((each.name for each in self._told.instances if each.vm_id == target.vm_id), target.vm_id)


class WitnessedMetrics(_Port):
    """`scaler.ports.Metrics`."""

    def __init__(self, inner: HostileMetrics, process: Process, bench: Bench) -> None:
        """Around the hostile port."""
        super().__init__(process, bench)
        self._inner = inner

    async def read(self, instances: Sequence[Instance], now: datetime) -> Mapping[str, PlatformLoad]:
        """Newest complete minute of each machine."""
        await self._process.ask()
        self._told.platform = found = await self._inner.read(instances, now)
        return found


class WitnessedStore(_Port):
    """`scaler.ports.Store`."""

    def __init__(self, inner: HostileStore, process: Process, bench: Bench) -> None:
        """Around the hostile port."""
        super().__init__(process, bench)
        self._inner = inner

    async def acquire(self, shard: str, owner: str, now: datetime, seconds: float) -> Lease:
        """Take the shard's lease; a tick begins."""
        self._process.told = told = Told(now, self._bench.site.world.now)
        told.lease = await self._write("acquire", shard, owner, now, seconds)
        return told.lease

    async def release(self, lease: Lease, now: datetime) -> None:
        """Give the lease back."""
        await self._write("release", lease, now)

    async def load(self, shard: str, known: ShardRows | None = None) -> ShardRows:
        """Read everything remembered of the shard, or the commands beside what is known."""
        await self._process.ask()
        rows: ShardRows = await self._inner.call("load", shard, known)
        told = self._told
        told.rows = rows
        told.began, told.now = self._present()  # a tick that stood still until here begins now
        return rows

    async def load_state(self, shard: str) -> Stored[ShardMemory] | None:
        """Read only the shard's state row."""
        await self._process.ask()
        found: Stored[ShardMemory] | None = await self._inner.call("load_state", shard)
        return found

    async def put_state(self, shard: str, row: Stored[ShardMemory]) -> Stored[ShardMemory]:
        """Write the shard's state row."""
        written: Stored[ShardMemory] = await self._write("put_state", shard, row)
        return written

    async def put_bridges(
        self, shard: str, rows: Sequence[Stored[BridgeMemory]]
    ) -> Sequence[Stored[BridgeMemory]]:
        """Write bridge rows."""
        self._told.rows_put.update((row.value.vm_id, row.value) for row in rows)
        written: Sequence[Stored[BridgeMemory]] = await self._write("put_bridges", shard, rows)
        return written

    async def put_intents(
        self, shard: str, rows: Sequence[Stored[CreateIntent]]
    ) -> Sequence[Stored[CreateIntent]]:
        """Write intent rows."""
        written: Sequence[Stored[CreateIntent]] = await self._write("put_intents", shard, rows)
        return written

    async def put_commands(self, shard: str, rows: Sequence[Stored[Command]]) -> Sequence[Stored[Command]]:
        """Write command rows."""
        written: Sequence[Stored[Command]] = await self._write("put_commands", shard, rows)
        return written

    async def append_decision(self, shard: str, at: datetime, record: Mapping[str, Any]) -> None:
        """Append one decision record."""
        await self._write("append_decision", shard, at, record)

    async def append_events(self, shard: str, at: datetime, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events."""
        await self._write("append_events", shard, at, events)

    async def append_usage(self, shard: str, at: datetime, usage: Mapping[str, Any]) -> None:
        """Write the usage row of this minute."""
        await self._write("append_usage", shard, at, usage)

    async def minutes(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Usage rows of a time."""
        self._alive()
        found: Sequence[Mapping[str, Any]] = await self._inner.call("minutes", shard, since, until)
        return found

    async def decisions(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest decision records."""
        await self._process.ask()
        found: Sequence[Mapping[str, Any]] = await self._inner.call("decisions", shard, now, limit)
        return found

    async def events(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest events."""
        await self._process.ask()
        found: Sequence[Mapping[str, Any]] = await self._inner.call("events", shard, now, limit)
        return found

    async def _write(self, name: str, *args: Any) -> Any:
        self._alive()
        return await self._effect(name, self._inner.call(name, *args))
