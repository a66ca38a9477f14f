"""
One tick of one shard: lease -> hear -> reflect -> decide -> act -> record.

Everything is given from outside: the ports, the clock, the policy. A tick may be killed between
any two steps; the next one reads the rows, looks at the world, and goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from scaler.act import Hands, perform
from scaler.canary import goes_first
from scaler.decide import decide, hold, left_drained
from scaler.decision import Action, Decision, Event, EventKind, Reason
from scaler.errors import LeaseHeld, Refused, StateChanged, TryNextTick
from scaler.explain import Outcome, action_in_words, iso, record
from scaler.ledger import Ledger
from scaler.model import BridgeMemory, ShardMemory, Snapshot, changed
from scaler.observe import Ears, follow_operations, listen, look_at_images
from scaler.policy import ScalingPolicy
from scaler.ports import Clock, Lease, ShardRows, Store
from scaler.reflect import reflect
from scaler.samples import minute_row

LEASE_SECONDS = 150.0
"""Longer than a tick may take, plus the longest call and its margin; a crash costs two ticks."""
TICK_DEADLINE_SECONDS = 50.0
"""Below the function's own time-out, after which the host would kill the worker and all shards."""
ELSEWHERE_SECONDS = 5.0
"""How long another shard's scale set may keep this one's tick."""
ALERT_PACE = timedelta(seconds=20)
ROWS_STAND = timedelta(minutes=5)
"""How long a process goes on with what it wrote itself; by then a row mended by hand is read."""

log = logging.getLogger("jvb_autoscaler")


class VmSize(Protocol):
    """What a VM size can carry."""

    @property
    def vcpus(self) -> int:
        """Processors."""
        ...

    @property
    def nic_mbps(self) -> float:
        """Expected bandwidth, Mbit/s."""
        ...


@dataclass(frozen=True, slots=True)
class Shard:
    """One scale set with its policy and its ports."""

    name: str
    scale_set_id: str
    policy: ScalingPolicy
    ears: Ears
    bridge_port: int = 8080
    """Only to print a command that works; the ears have it already."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one tick of one shard came to."""

    shard: str
    at: datetime
    result: str
    """`done`, `lease held`, `too soon`, or `failed`."""
    sentence: str
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Judged:
    """A decision with what it was made from."""

    decision: Decision
    snapshot: Snapshot | None
    policy: ScalingPolicy
    gone: tuple[BridgeMemory, ...] = ()
    events: tuple[Event, ...] = ()
    heard_at: datetime | None = None
    """When the last neighbour had answered; None: ARM did not."""


@dataclass(frozen=True, slots=True)
class _Written:
    """Rows of a shard as a finished tick left them."""

    rows: ShardRows
    epoch: int
    """Of the lease that it held."""
    read_at: datetime
    """When they were last read in full."""

    def stands(self, lease: Lease, now: datetime) -> bool:
        """
        Whether no other run held the lease since, failed ones included, and they are not too old.

        Those of a paused shard never do: that is when a person mends rows.
        """
        if self.rows.state is None or self.rows.state.value.paused:
            return False
        return lease.epoch == self.epoch + 1 and timedelta(0) <= now - self.read_at < ROWS_STAND


def _page(shard: str, events: Sequence[Event]) -> None:
    """Write each alert that opens into the log, which is what pages people."""
    for event in events:
        if event.kind is EventKind.ALERT:
            log.warning("alert %s: %s", event.subject, event.text, extra={"shard": shard})


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else round((until - since).total_seconds(), 3)


def _a_moment_earlier(memory: BridgeMemory) -> BridgeMemory:
    """Let a report that was read seconds ago pass for a new one: the bridge has had no time for another."""
    if memory.stats_timestamp is None:
        return memory
    return changed(memory, stats_timestamp=memory.stats_timestamp - timedelta(seconds=1))


class Engine:
    """Ticks all shards, each alone: a failing or slow one never holds up another."""

    def __init__(
        self,
        shards: Sequence[Shard],
        store: Store,
        clock: Clock,
        *,
        run_id: str,
        owner: str,
        size_of: Callable[[str], VmSize | None],
        dry_run: bool = False,
    ) -> None:
        """
        Bind the engine to its ports.

        `run_id` names this process in leases; `owner` names this installation, as the scale set's
        tag `jvb-autoscaler-owner` does; `size_of` tells what a VM size carries.
        """
        self.shards = {shard.name: shard for shard in shards}
        self.store, self.clock, self.dry_run = store, clock, dry_run
        self._run_id, self._owner, self._size_of = run_id, owner, size_of
        self._runs = itertools.count(1)
        self._written: dict[str, _Written] = {}

    async def tick_all(self) -> tuple[Report, ...]:
        """Tick every shard, in parallel."""
        return tuple(await asyncio.gather(*(self.tick(name) for name in self.shards)))

    def shard_of(self, resource_id: str) -> str | None:
        """Name of the shard that owns this scale set, by its ARM id in any case."""
        wanted = resource_id.lower()
        return next((s.name for s in self.shards.values() if s.scale_set_id.lower() == wanted), None)

    async def nightly(self) -> tuple[Report, ...]:
        """Tick every shard, and open its night, or start its image build, where it is time."""
        return tuple(await asyncio.gather(*(self.tick(name, nightly=True) for name in self.shards)))

    def policy_for(self, shard: Shard, vm_size: str) -> ScalingPolicy:
        """Return the shard's policy with what depends on the VM size filled in, where that is known."""
        size = self._size_of(vm_size)
        return shard.policy.for_size(size.vcpus if size else None, size.nic_mbps if size else None)

    async def tick(self, name: str, *, pace: timedelta | None = None, nightly: bool = False) -> Report:
        """
        Run one tick of one shard, and never raise for what a neighbour did.

        `pace`: do nothing when the last tick is younger than this. `nightly`: a night may open.
        """
        started = self.clock.now()
        try:
            async with asyncio.timeout(TICK_DEADLINE_SECONDS):
                return await self._leased(self.shards[name], started, pace, nightly=nightly)
        except LeaseHeld as error:
            return Report(name, started, "lease held", str(error))
        except (TryNextTick, Refused, StateChanged, TimeoutError) as error:
            why = str(error) or f"not done within {TICK_DEADLINE_SECONDS:g} s"
            log.error("tick of %s failed: %s", name, why, extra={"shard": name})
            return Report(name, started, "failed", f"the tables did not answer as needed: {why}")
        except Exception as error:  # a fault of ours in one shard must not cost the others their tick
            log.exception("tick of %s failed", name, extra={"shard": name})
            return Report(name, started, "failed", f"a fault of the autoscaler itself: {error!r}")

    async def _leased(
        self, shard: Shard, started: datetime, pace: timedelta | None, *, nightly: bool
    ) -> Report:
        # Each run is its own holder: two alerts in one process must not share a lease.
        holder = f"{self._run_id}-{next(self._runs)}"
        lease = await self.store.acquire(shard.name, holder, started, LEASE_SECONDS)
        before = self._written.get(shard.name)
        known = before if before is not None and before.stands(lease, started) else None
        try:
            rows = await self.store.load(shard.name, known.rows if known else None)
            last = rows.state.value.last_tick_at if rows.state else None
            if pace is not None and last is not None and started - last < pace:
                said = f"the last tick ran at {last:%H:%M:%S} UTC"
                report, left = Report(shard.name, started, "too soon", said), rows
            else:
                report, left = await self._run(shard, lease, rows, nightly=nightly)
        finally:
            await self.store.release(lease, self.clock.now())
        self._written[shard.name] = _Written(left, lease.epoch, known.read_at if known else started)
        return report

    async def _run(
        self, shard: Shard, lease: Lease, rows: ShardRows, *, nightly: bool
    ) -> tuple[Report, ShardRows]:
        now = self.clock.now()
        judged = await self._judge(shard, rows, now, lease.epoch, nightly=nightly)
        decision = judged.decision
        # First of all: an alert is said once, and whatever row is written next says that it was.
        _page(shard.name, decision.events)
        ledger = Ledger(
            self.store,
            shard.name,
            rows,
            decision.memory,
            {**decision.bridges, **{memory.vm_id: memory for memory in judged.gone}},
            judged.snapshot.intents if judged.snapshot else (),
            decision.commands,
        )
        outcomes: tuple[Outcome, ...] = ()
        if self.dry_run:
            self._say_would(ledger, judged)
        elif judged.snapshot is not None:
            ears = shard.ears
            hands = Hands(
                ears.cloud, ears.bridges, self.clock, lease, judged.policy, judged.snapshot, ears.images
            )
            outcomes = await perform(decision.actions, hands, ledger)
        return await self._record(shard, ledger, judged, outcomes), ledger.rows

    async def plan(self, name: str) -> Report:
        """One dry tick: hear, reflect, decide; nothing is written or called."""
        now = self.clock.now()
        try:
            judged = await self._look(name, now)
        except (TryNextTick, Refused) as error:
            return Report(name, now, "failed", f"the tables did not answer as needed: {error}")
        row = record(judged.decision, (), judged.snapshot, dry_run=True)
        return Report(name, now, "done", row["sentence"], row)

    async def look(self, name: str) -> tuple[Decision, Snapshot | None]:
        """
        Hear and decide as a tick would, and keep nothing; None where ARM does not answer completely.

        Raises `TryNextTick` or `Refused` where the tables do not answer.
        """
        judged = await self._look(name, self.clock.now())
        return judged.decision, judged.snapshot

    async def _look(self, name: str, now: datetime) -> _Judged:
        rows = await self.store.load(name)
        last = rows.state.value.last_tick_at if rows.state else None
        if last is not None and now - last < ALERT_PACE:
            rows = replace(
                rows,
                bridges={k: replace(r, value=_a_moment_earlier(r.value)) for k, r in rows.bridges.items()},
            )
        return await self._judge(self.shards[name], rows, now, epoch=0)

    async def _judge(
        self, shard: Shard, rows: ShardRows, now: datetime, epoch: int, *, nightly: bool = False
    ) -> _Judged:
        """Hear and decide; when ARM does not answer completely, hold still."""
        memories = {vm_id: row.value for vm_id, row in rows.bridges.items()}
        intents = [row.value for row in rows.intents.values()]
        state = rows.state.value if rows.state else None
        try:
            followed, memories, told = await follow_operations(shard.ears.cloud, intents, memories, now)
            heard = await listen(shard.ears, memories, now)
        except (TryNextTick, Refused) as error:
            memory = state or ShardMemory(known_since=now)
            held = hold(shard.name, now, epoch, memory, Reason.ARM_UNKNOWN, str(error))
            kept = {row.value.vm_id: row.value for row in rows.bridges.values()}
            return _Judged(replace(held, bridges=kept), None, shard.policy)
        heard_at = self.clock.now()
        policy = self.policy_for(shard, heard.scale_set.vm_size)
        snapshot, gone, seen = reflect(
            shard.name, heard, state, memories, followed, policy, now, epoch, self._owner
        )
        commands = tuple(row.value for row in rows.commands.values() if row.value.is_open)
        snapshot = replace(snapshot, commands=commands)
        if nightly:
            build = snapshot.memory.build
            asked = build.asked_at is not None and build.outcome is None
            looked = await look_at_images(shard.ears, policy, heard.scale_set, build=asked)
            looked = replace(looked, needed_elsewhere=await self._needed_elsewhere(shard))
            snapshot = replace(snapshot, nightly=looked)
        snapshot = replace(snapshot, turn_of=await self._goes_first(shard.name, snapshot.memory, now))
        return _Judged(decide(snapshot, policy), snapshot, policy, gone, (*told, *seen), heard_at)

    async def _needed_elsewhere(self, shard: Shard) -> frozenset[str] | None:
        """Image versions that any other shard runs, makes, or may go back to; None: one does not tell."""
        if shard.policy.image_definition_id is None or shard.policy.image_template_id is None:
            return frozenset()
        others = [other for other in self.shards.values() if other is not shard]
        try:
            async with asyncio.timeout(ELSEWHERE_SECONDS):
                models = await asyncio.gather(*(other.ears.cloud.scale_set() for other in others))
                remembered = await asyncio.gather(*(self.store.load(other.name) for other in others))
        except (TryNextTick, Refused, TimeoutError):
            return None
        found: set[str | None] = {model.image for model in models}
        for rows in remembered:
            found |= {row.value.image for row in rows.bridges.values()}
            if rows.state is not None:
                found |= {rows.state.value.good_image, rows.state.value.night.target}
        return frozenset(version for version in found if version)

    async def _goes_first(self, name: str, state: ShardMemory, now: datetime) -> str | None:
        """Name the shard whose canary goes before this one's; asked only while this one has none."""
        night = state.night
        if not night.is_open or night.canary is not None or len(self.shards) == 1:
            return None
        others = [other for other in self.shards if other != name]
        told = await asyncio.gather(*(self._state_of(other) for other in others))
        states = {other: its for other, its in zip(others, told, strict=True) if its is not None}
        return goes_first(name, list(self.shards), {**states, name: state}, now)

    async def _state_of(self, other: str) -> ShardMemory | None:
        """What another shard remembers; None where that cannot be read: it holds up nobody."""
        try:
            row = await self.store.load_state(other)
        except (TryNextTick, Refused) as error:
            log.warning("state of %s cannot be read: %s", other, error, extra={"shard": other})
            return None
        return row.value if row is not None else None

    def _say_would(self, ledger: Ledger, judged: _Judged) -> None:
        """Dry run: say each would-be action once, and what an earlier live run left drained."""
        decision, standing = judged.decision, judged.decision.memory.standing
        previous = judged.snapshot.memory.standing if judged.snapshot else {}
        for action in decision.actions:
            key = f"would:{action.verb}:{getattr(action, 'vm_id', '')}"
            if key not in previous:
                ledger.say(self._would(action, decision))
            standing = {**standing, key: previous.get(key, decision.at)}
        drained = left_drained(judged.snapshot) if judged.snapshot else decision.memory.left_drained
        ledger.state = replace(ledger.state, standing=standing, left_drained=drained)

    @staticmethod
    def _would(action: Action, decision: Decision) -> Event:
        vm_id: str | None = getattr(action, "vm_id", None)
        name = decision.bridges[vm_id].name if vm_id else decision.shard
        return Event(EventKind.WOULD, name, f"would {action_in_words(action, name)}: {action.because}", vm_id)

    async def _record(
        self, shard: Shard, ledger: Ledger, judged: _Judged, outcomes: tuple[Outcome, ...]
    ) -> Report:
        """Write what was decided and done. The rows come first: they are what the next tick needs."""
        decision = judged.decision
        if not self.dry_run and ledger.state.left_drained:
            ledger.state = replace(ledger.state, left_drained=())
        events = [*judged.events, *decision.events, *ledger.events]
        await ledger.save()
        row = {
            **record(decision, outcomes, judged.snapshot, dry_run=self.dry_run),
            "poll_seconds": _seconds(decision.at, judged.heard_at),
            "tick_seconds": _seconds(decision.at, self.clock.now()),
        }
        written = await asyncio.gather(
            self.store.append_decision(shard.name, decision.at, row),
            self.store.append_usage(shard.name, decision.at, minute_row(decision, judged.snapshot)),
            self._append_events(shard.name, decision, events),
            return_exceptions=True,
        )
        for failed in filter(None, written):
            raise failed  # only now: each of the others had its try
        said = row["sentence"]
        # In the message too: the platform's own log keeps nothing else.
        log.info(
            "tick %s: %s",
            shard.name,
            said,
            extra={
                "shard": shard.name,
                "epoch": decision.epoch,
                "sentence": said,
                "actions": row["actions"],
                "poll_seconds": row["poll_seconds"],
                "tick_seconds": row["tick_seconds"],
                "refused": sorted({str(refusal.reason) for refusal in decision.refusals}),
                **row["totals"],
            },
        )
        return Report(shard.name, decision.at, "done", said, row)

    async def _append_events(self, shard: str, decision: Decision, events: Sequence[Event]) -> None:
        if events:
            rows = [
                {
                    "at": iso(decision.at),
                    "kind": str(e.kind),
                    "subject": e.subject,
                    "text": e.text,
                    "vm_id": e.vm_id,
                    "epoch": decision.epoch,
                }
                for e in events
            ]
            await self.store.append_events(shard, decision.at, rows)
