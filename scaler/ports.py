"""The ports: what the engine asks of the world, in plain types. Adapters implement these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, Protocol, TypeVar

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

T = TypeVar("T")


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Return the present moment, aware, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where to find one bridge."""

    vm_id: str
    address: str
    ask_process: bool
    """Also ask `/metrics` for the start time of the process (one more request)."""


class Bridges(Protocol):
    """The private Colibri API of the bridges of one shard."""

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        """
        Ask all bridges in parallel; always one `Poll` for each target, keyed by vm_id.

        A bridge's failure is a value of its `Poll`, never an exception.
        """
        ...

    async def read(self, target: Target) -> Poll:
        """One fresh report of one bridge, with process start and `GET /colibri/drain`."""
        ...

    async def set_drain(self, target: Target, *, on: bool) -> None:
        """
        POST drain enable or disable.

        Raises `Refused` (404: endpoint missing, other 4xx) or `TryNextTick` (5xx, time-out).
        """
        ...

    async def shut_down(self, target: Target) -> None:
        """POST graceful shutdown (the fence). Raises as `set_drain`."""
        ...


@dataclass(frozen=True, slots=True)
class Operation:
    """State of a long-running ARM operation."""

    done: bool
    error: str | None = None
    """`Code: message` where it failed."""


class Cloud(Protocol):
    """One scale set in ARM. Every method raises `TryNextTick`, `Throttled`, `StateChanged` or `Refused`."""

    async def scale_set(self) -> ScaleSet:
        """Read the scale set's own record."""
        ...

    async def instances(self, known_addresses: Mapping[str, str]) -> tuple[Instance, ...]:
        """
        List every machine, or raise: a partial list is never returned.

        `known_addresses`: vm_id -> private address, for machines whose NIC need not be read again.
        """
        ...

    async def scale_out(self, scale_set: ScaleSet, capacity: int) -> str | None:
        """
        Write the absolute capacity with If-Match; return the operation URL, if any.

        Raises `StateChanged` when the scale set changed since it was read.
        """
        ...

    async def set_image(self, scale_set: ScaleSet, image: str) -> None:
        """Write the image version of machines to come with If-Match. Raises `StateChanged` as `scale_out`."""
        ...

    async def delete(self, instance: Instance) -> str | None:
        """Delete exactly this machine; return the operation URL, if any."""
        ...

    async def operation(self, url: str) -> Operation:
        """Read a long-running operation once."""
        ...


class Images(Protocol):
    """The gallery and the template that a shard's images come from. Raises as `Cloud`."""

    async def versions(self, definition_id: str, location: str) -> tuple[ImageVersion, ...]:
        """List every version of a gallery image, or raise; usable is judged for one region."""
        ...

    async def delete_version(self, image: str) -> None:
        """Delete one version of a gallery image."""
        ...

    async def build(self, template_id: str) -> ImageBuild | None:
        """Read the last run of a template; None: it never ran."""
        ...

    async def start_build(self, template_id: str) -> None:
        """Start a run of a template."""
        ...


class Metrics(Protocol):
    """Azure Monitor's view of the machines of one shard."""

    async def read(self, instances: Sequence[Instance], now: datetime) -> Mapping[str, PlatformLoad]:
        """
        Newest complete minute per vm_id, at most 6 minutes old; machines without one are absent.

        Raises `TryNextTick` when Monitor does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act on one shard until a moment. The epoch grows with each new holder."""

    shard: str
    owner: str
    epoch: int
    until: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A row's value with the etag under which it was read or written; etag None: not stored yet."""

    value: T
    etag: str | None


@dataclass(frozen=True, slots=True)
class ShardRows:
    """All that is remembered of one shard."""

    state: Stored[ShardMemory] | None
    """None: no memory at all (first start, or lost tables)."""
    bridges: Mapping[str, Stored[BridgeMemory]]
    intents: Mapping[str, Stored[CreateIntent]]
    """Open ones and those ended in the last day."""
    commands: Mapping[str, Stored[Command]] = field(default_factory=dict)
    """Open ones and those ended in the last day."""


class Store(Protocol):
    """
    The tables. Every write is conditional on the etag it was read with.

    Raises `TryNextTick` (not reachable: nothing may be done at all) or `StateChanged`.
    """

    async def acquire(self, shard: str, owner: str, now: datetime, seconds: float) -> Lease:
        """Take the shard's lease with the next epoch. Raises `LeaseHeld` if another holds it."""
        ...

    async def release(self, lease: Lease, now: datetime) -> None:
        """Give the lease back; harmless if it was lost meanwhile."""
        ...

    async def load(self, shard: str, known: ShardRows | None = None) -> ShardRows:
        """
        Read everything remembered of the shard.

        `known`: rows that still stand, as the caller wrote them under its last lease. Only what is
        written without the lease is read then: commands.
        """
        ...

    async def load_state(self, shard: str) -> Stored[ShardMemory] | None:
        """Read only the shard's state row."""
        ...

    async def put_state(self, shard: str, row: Stored[ShardMemory]) -> Stored[ShardMemory]:
        """Write the shard's state row."""
        ...

    async def put_bridges(
        self, shard: str, rows: Sequence[Stored[BridgeMemory]]
    ) -> Sequence[Stored[BridgeMemory]]:
        """Write bridge rows in transactions of at most 100, in order; phase `gone` deletes the row."""
        ...

    async def put_intents(
        self, shard: str, rows: Sequence[Stored[CreateIntent]]
    ) -> Sequence[Stored[CreateIntent]]:
        """Write intent rows."""
        ...

    async def put_commands(self, shard: str, rows: Sequence[Stored[Command]]) -> Sequence[Stored[Command]]:
        """Write command rows; a new one (etag None) raises `StateChanged` where its id is taken."""
        ...

    async def append_decision(self, shard: str, at: datetime, record: Mapping[str, Any]) -> None:
        """Append one decision record (plain JSON values), newest first in its partition."""
        ...

    async def append_events(self, shard: str, at: datetime, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events (plain JSON values), newest first in their partition."""
        ...

    async def append_usage(self, shard: str, at: datetime, usage: Mapping[str, Any]) -> None:
        """Write the shard's usage row of this minute (the last one in a minute wins)."""
        ...

    async def minutes(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Usage rows from `since` on and before `until`, oldest first, each with its minute as `at` (ISO)."""
        ...

    async def decisions(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest decision records, newest first, of today and yesterday."""
        ...

    async def events(self, shard: str, now: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest events, newest first, of today and yesterday."""
        ...


class UsageTables(Protocol):
    """
    What is reported of usage: minutes as the ticks wrote them, and what is reckoned from them.

    Every write replaces what is there: the same rows may be written again. Raises as `Store`.
    """

    async def minutes(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Usage rows from `since` on and before `until`, oldest first, each with its minute as `at` (ISO)."""
        ...

    async def figures(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Return the same without their machines: days of it are small."""
        ...

    async def first_minute(self, shard: str) -> datetime | None:
        """Return the minute of the oldest usage row; None: there is none."""
        ...

    async def reckoned_until(self, shard: str) -> datetime | None:
        """Return the end of the last hour whose rows are written; None: no hour is."""
        ...

    async def put_reckoned_until(self, shard: str, until: datetime) -> None:
        """Remember it."""
        ...

    async def put_hour(
        self, shard: str, hour: datetime, rows: Sequence[Mapping[str, Any]], samples: Mapping[str, Any]
    ) -> None:
        """Write the rows of one UTC hour: a row a machine, and its samples by vmId (`m00` to `m59`)."""
        ...

    async def bridgehours(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Rows of the UTC hours that begin from `since` on and before `until`."""
        ...

    async def put_day(self, shard: str, row: Mapping[str, Any]) -> None:
        """Write one row of `daily`, by its `day`."""
        ...

    async def daily(self, shard: str, first: date, last: date) -> Sequence[Mapping[str, Any]]:
        """Rows of `daily` from one local date to another, both included, oldest first."""
        ...

    async def events_of(self, shard: str, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Events from `since` on and before `until`."""
        ...

    async def remove_older(self, shard: str, before: date, most: int) -> int:
        """Delete at most so many rows of UTC days before a date, `daily` excepted; return how many."""
        ...
