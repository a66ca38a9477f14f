"""
What the world did since the last tick: memory, machines and polls become a Snapshot. Pure.

Only passive moves are made here. Everything that we would do stands in a Decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from scaler import demand
from scaler.decision import Event, EventKind
from scaler.lifecycle import Move, moved
from scaler.model import (
    Bridge,
    BridgeMemory,
    BridgeStats,
    CreateIntent,
    Instance,
    Phase,
    PlatformLoad,
    Poll,
    Power,
    ProcessTotals,
    Purpose,
    Reach,
    ScaleSet,
    ShardMemory,
    Snapshot,
)
from scaler.policy import ScalingPolicy

POLLS_REMEMBERED = 5
EXIT_PROOF = timedelta(seconds=30)
"""A refused connection counts as an exit when it was refused twice, this far apart."""
EMPTY_PROOF = timedelta(seconds=10)
"""Two empty polls must lie this far apart."""
SKEW_WORTH_SAYING_SECONDS = 300.0
RELAY_STUCK_AFTER = timedelta(minutes=10)
BACKOFF_MINUTES = (2, 5, 15)
"""After the first, second, and every later failed creation in a row."""
QUIET_MBPS = 1.0
"""Under this, nothing that could be media leaves a VM."""
_SAME_START = timedelta(seconds=1)
_CLOCK_STEP_TOLERANCE_SECONDS = 5.0
_ASKED_BEFORE_CREATED = timedelta(minutes=2)
"""Clocks of ARM and ours may differ: a VM may seem created this long before we asked for it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything that was heard in one tick, before it is understood."""

    scale_set: ScaleSet
    instances: tuple[Instance, ...]
    polls: Mapping[str, Poll]
    platform: Mapping[str, PlatformLoad]


@dataclass(slots=True)
class _Log:
    """Events of one reflection, in the order in which they were noticed."""

    events: list[Event] = field(default_factory=list)
    failed_intents: set[str] = field(default_factory=set)
    boots_failed: int = 0
    boots_done: int = 0

    def say(self, kind: EventKind, memory: BridgeMemory, text: str) -> None:
        self.events.append(Event(kind, memory.name, text, memory.vm_id))


def reflect(
    shard: str,
    heard: Heard,
    state: ShardMemory | None,
    memories: Mapping[str, BridgeMemory],
    intents: tuple[CreateIntent, ...],
    policy: ScalingPolicy,
    now: datetime,
    epoch: int,
    owner: str,
) -> tuple[Snapshot, tuple[BridgeMemory, ...], tuple[Event, ...]]:
    """
    Return the snapshot, the memories of machines that ARM does not list, and what happened.

    Intents come back matched to the machines that appeared for them, or ended with their error.
    """
    log = _Log()
    known = state is not None or bool(memories)
    matched = _match(heard.instances, memories, intents)
    bridges = []
    for instance in sorted(heard.instances, key=lambda each: each.name):
        memory = memories.get(instance.vm_id)
        if memory is None:
            memory = _first_sight(instance, matched.get(instance.vm_id), known=known, policy=policy, now=now)
            _announce(memory, log)
        poll = heard.polls.get(instance.vm_id, Poll(at=now, reach=Reach.NOT_ASKED))
        bridges.append(_bridge(memory, instance, poll, heard.platform.get(instance.vm_id), policy, now, log))
    listed = {instance.vm_id for instance in heard.instances}
    absent = tuple(_leave(memory, now, log) for vm_id, memory in memories.items() if vm_id not in listed)
    after = tuple(_follow(intent, matched, heard.scale_set, policy, now, log) for intent in intents)
    freed = {
        vm_id for intent in intents if intent.intent_id in log.failed_intents for vm_id in intent.answers
    }
    bridges = [_unanswered(bridge) if bridge.vm_id in freed else bridge for bridge in bridges]
    snapshot = Snapshot(
        shard=shard,
        now=now,
        epoch=epoch,
        scale_set=heard.scale_set,
        bridges=tuple(bridges),
        intents=after,
        other_owner=_other_owner(heard.scale_set, owner),
        memory=_count_boots(state or ShardMemory(known_since=now), log, now),
    )
    return snapshot, absent, tuple(log.events)


def _other_owner(scale_set: ScaleSet, owner: str) -> str | None:
    return scale_set.owner if scale_set.owner not in (None, owner) else None


# Appearing, and leaving


def _match(
    instances: tuple[Instance, ...], memories: Mapping[str, BridgeMemory], intents: tuple[CreateIntent, ...]
) -> dict[str, CreateIntent]:
    """Give each new machine the oldest open intent that was written before it was created."""
    waiting = sorted((i for i in intents if i.is_open), key=lambda i: (i.asked_at, i.intent_id))
    new = [each for each in instances if each.vm_id not in memories]
    matched: dict[str, CreateIntent] = {}
    for instance in sorted(new, key=lambda each: (each.time_created is None, each.time_created, each.name)):
        fitting = next((i for i in waiting if _could_be_for(instance, i)), None)
        if fitting is not None:
            waiting.remove(fitting)
            matched[instance.vm_id] = fitting
    return matched


def _could_be_for(instance: Instance, intent: CreateIntent) -> bool:
    created = instance.time_created
    return created is None or created >= intent.asked_at - _ASKED_BEFORE_CREATED


def _first_sight(
    instance: Instance, intent: CreateIntent | None, *, known: bool, policy: ScalingPolicy, now: datetime
) -> BridgeMemory:
    """
    Remember a machine seen for the first time.

    Without memory every machine is taken for a bridge that was ready: 'never ready' would be what
    we saw, not what the VM did, and must not cost a running fleet its life.
    """
    created = instance.time_created
    young = known and created is not None and now - created < policy.boot_timeout
    is_new = intent is not None or young
    return BridgeMemory(
        vm_id=instance.vm_id,
        name=instance.name,
        phase=Phase.BOOTING if is_new else Phase.READY,
        phase_since=now,
        first_seen=now,
        asked_by=intent.intent_id if intent else None,
        asked_at=intent.asked_at if intent else None,
        ever_ready=not is_new,
        address=instance.address,
        time_created=created,
    )


def _announce(memory: BridgeMemory, log: _Log) -> None:
    if memory.asked_by:
        log.say(EventKind.APPEARED, memory, f"appeared for intent {memory.asked_by}")
    else:
        log.say(EventKind.ADOPTED, memory, f"was not asked for by us; adopted as {memory.phase}")


def _leave(memory: BridgeMemory, now: datetime, log: _Log) -> BridgeMemory:
    if memory.phase is Phase.DELETING:
        log.say(EventKind.GONE, memory, "ARM no longer lists it")
    elif memory.unlisted_since is None:
        return replace(memory, unlisted_since=now)  # a list may be stale; the next one tells
    else:
        log.say(EventKind.VANISHED, memory, f"was {memory.phase} and is no longer listed: not our doing")
    return moved(memory, Move.NOT_LISTED, now)


def _follow(
    intent: CreateIntent,
    matched: Mapping[str, CreateIntent],
    scale_set: ScaleSet,
    policy: ScalingPolicy,
    now: datetime,
    log: _Log,
) -> CreateIntent:
    """
    End an intent whose machine appeared, whose operation failed, or whose deadline passed.

    A write whose answer was lost shows in the capacity: where that is lower than what the write
    asked for, ARM never took it, and the machine is not waited for.
    """
    if not intent.is_open:
        return intent
    vm_id = next((vm for vm, its in matched.items() if its.intent_id == intent.intent_id), None)
    error = intent.error
    if vm_id is not None:
        return replace(intent, vm_id=vm_id, ended_at=now)
    if intent.operation is None and intent.asked_at < now and scale_set.capacity < intent.capacity:
        error = "ARM did not take the write"
        log.failed_intents.add(intent.intent_id)
        log.events.append(Event(EventKind.CREATE_FAILED, intent.intent_id, error))
        return replace(intent, ended_at=now, error=error)
    if error is None and now - intent.asked_at >= policy.boot_timeout:
        error = f"no machine appeared within {policy.boot_timeout_minutes:g} min"
    if error is None:
        return intent
    log.boots_failed += 1
    log.failed_intents.add(intent.intent_id)
    log.events.append(Event(EventKind.CREATE_FAILED, intent.intent_id, error))
    return replace(intent, ended_at=now, error=error)


def _count_boots(state: ShardMemory, log: _Log, now: datetime) -> ShardMemory:
    """Failures in a row, and until when no machine is asked for because of them."""
    if log.boots_done:
        return replace(state, boot_failures=0, backoff_until=None)
    if not log.boots_failed:
        return state
    failures = state.boot_failures + 1
    wait = BACKOFF_MINUTES[min(failures, len(BACKOFF_MINUTES)) - 1]
    return replace(state, boot_failures=failures, backoff_until=now + timedelta(minutes=wait))


def _unanswered(bridge: Bridge) -> Bridge:
    """A machine that never came was no answer to a hot bridge."""
    return replace(bridge, memory=replace(bridge.memory, hot_answered=False))


# One bridge


def _bridge(
    memory: BridgeMemory,
    instance: Instance,
    poll: Poll,
    platform: PlatformLoad | None,
    policy: ScalingPolicy,
    now: datetime,
    log: _Log,
) -> Bridge:
    memory = replace(
        memory,
        name=instance.name,
        address=instance.address or memory.address,
        time_created=instance.time_created or memory.time_created,
        unlisted_since=None,
    )
    memory, restarted = _process(memory, poll, now, log)
    polled_before = memory.polled_at
    memory, fresh = _freshness(memory, poll, policy, log)
    stats = poll.stats if fresh else None
    memory = _support(memory, poll, log)
    because = why_unhealthy(memory, instance, poll, fresh=fresh)
    memory = _history(memory, good=because is None, now=now)
    load = demand.measure(memory, stats, platform, policy)
    memory = replace(
        memory,
        nic_mbps=load.nic_samples,
        cpu_fractions=load.cpu_samples,
        stress_levels=load.stress_samples,
        pressure=load.pressure if load.pressure is not None else memory.pressure,
        hot_answered=memory.hot_answered
        and not (load.pressure is not None and load.pressure < demand.ANSWERED_AGAIN_BELOW),
        platform_quiet_since=_quiet_since(memory, platform, now),
        relayed_since=_relayed_since(memory, stats, polled_before, now, log),
    )
    memory = _PASSIVE[memory.phase](
        _Seen(memory, instance, poll, stats, restarted, because is None), policy, now, log
    )
    return Bridge(
        instance=instance,
        memory=memory,
        poll=poll,
        platform=platform,
        unhealthy_because=because,
        fresh=fresh,
        pressure=load.pressure,
        nic_mbps=load.nic_mbps,
        cpu_fraction=load.cpu_fraction,
    )


def _process(memory: BridgeMemory, poll: Poll, now: datetime, log: _Log) -> tuple[BridgeMemory, bool]:
    """Learn which process answers; say whether it is another one than before."""
    told, known = poll.process_started_at, memory.process_started_at
    other_start = told is not None and known is not None and abs(told - known) > _SAME_START
    totals = totals_of(poll.stats)
    restarted = other_start or fell(memory.totals, totals)
    if totals is not None:
        memory = replace(memory, totals=totals)
    if told is not None:
        memory = replace(memory, process_started_at=told)
    if not restarted:
        return _first_drain_seen(memory, poll, first=memory.stats_timestamp is None), False
    log.say(EventKind.RESTARTED, memory, f"another JVB process answers (started {told or 'unknown'})")
    memory = replace(
        memory,
        process_started_at=told,
        restart_seen_at=now,
        stats_timestamp=None,
        polled_at=None,
        skew_seconds=None,
        polls="",
        starts_drained=False,
        failure=None if memory.ever_ready else memory.failure,  # it may have another configuration now
    )
    return _first_drain_seen(memory, poll, first=True), True


def _first_drain_seen(memory: BridgeMemory, poll: Poll, *, first: bool) -> BridgeMemory:
    """
    Tell a drain that the image starts with from one that somebody set.

    Only for processes whose beginning we saw: an adopted bridge that drains was drained by someone.
    """
    if poll.drain is False:
        return replace(memory, starts_drained=False)
    started = process_began(memory)
    began_here = not memory.ever_ready or (started is not None and started >= memory.first_seen)
    if first and poll.drain and began_here:
        return replace(memory, starts_drained=True)
    return memory


def process_began(memory: BridgeMemory) -> datetime | None:
    """
    When its process began, by our clock; None where nothing tells.

    The start time is told by the bridge's own clock; a restart that we saw is never before that.
    """
    told = memory.process_started_at
    if told is not None:
        told += timedelta(seconds=memory.skew_seconds or 0)
    return max((each for each in (told, memory.restart_seen_at) if each is not None), default=None)


def totals_of(stats: BridgeStats | None) -> ProcessTotals | None:
    """Return the counters that tell one process from the next."""
    if stats is None:
        return None
    return ProcessTotals(
        stats.total_conferences_created,
        stats.total_conferences_completed,
        stats.total_participants,
        stats.total_bytes_sent,
        stats.total_bytes_received,
    )


_TOTALS: tuple[Callable[[ProcessTotals], int | None], ...] = (
    lambda t: t.conferences_created,
    lambda t: t.conferences_completed,
    lambda t: t.participants,
    lambda t: t.bytes_sent,
    lambda t: t.bytes_received,
)


def fell(before: ProcessTotals, now: ProcessTotals | None) -> bool:
    """Any counter is lower than before: another process counts."""
    if now is None:
        return False
    pairs = ((of(before), of(now)) for of in _TOTALS)
    return any(old is not None and new is not None and new < old for old, new in pairs)


def _freshness(
    memory: BridgeMemory, poll: Poll, policy: ScalingPolicy, log: _Log
) -> tuple[BridgeMemory, bool]:
    """
    Judge whether the statistics are of this poll, by the bridge's own clock.

    Its skew is learnt from the freshest answer. A clock that was set keeps its pace, a frozen or
    lagging report does not: that tells a new skew from an old report.
    """
    stats = poll.stats
    if stats is None:
        return memory, False
    offset = (poll.at - stats.timestamp).total_seconds()
    before, polled = memory.stats_timestamp, memory.polled_at
    if before is not None and stats.timestamp <= before:
        # Set back, not frozen: only the next report can tell whether this clock keeps its pace.
        set_back = stats.timestamp < before
        return replace(
            memory, stats_timestamp=stats.timestamp, polled_at=poll.at
        ) if set_back else memory, False
    skew = offset if memory.skew_seconds is None else min(memory.skew_seconds, offset)
    fresh = offset - skew <= policy.stats_max_age_seconds
    if not fresh and before is not None and polled is not None:
        pace = (stats.timestamp - before) - (poll.at - polled)
        if abs(pace.total_seconds()) <= _CLOCK_STEP_TOLERANCE_SECONDS:
            skew, fresh = offset, True
    if abs(skew) > SKEW_WORTH_SAYING_SECONDS and not _is_skewed(memory):
        log.say(EventKind.CLOCK_SKEW, memory, f"its clock differs from ours by {-skew:.0f} s")
    return (
        replace(memory, stats_timestamp=stats.timestamp, polled_at=poll.at, skew_seconds=round(skew, 3)),
        fresh,
    )


def _is_skewed(memory: BridgeMemory) -> bool:
    return memory.skew_seconds is not None and abs(memory.skew_seconds) > SKEW_WORTH_SAYING_SECONDS


def _support(memory: BridgeMemory, poll: Poll, log: _Log) -> BridgeMemory:
    if poll.reach is not Reach.ANSWERED or poll.supported is not memory.unsupported:
        return memory
    if not poll.supported:
        log.say(EventKind.UNSUPPORTED, memory, "its JVB is older than stable 7210 (2022-04): left alone")
    return replace(memory, unsupported=not poll.supported)


def why_unhealthy(memory: BridgeMemory, instance: Instance, poll: Poll, *, fresh: bool) -> str | None:
    """
    First sign of health that is missing, or None. Each sign alone lies.

    ARM says running while the JVB is dead; the JVB says 200 while it is cut off from Prosody.
    """
    stats = poll.stats
    checks: tuple[tuple[bool, str], ...] = (
        (instance.provisioning not in ("Creating", "Deleting"), f"ARM is {instance.provisioning} it"),
        (instance.power is Power.RUNNING, f"ARM says its power is {instance.power}"),
        (poll.reach is Reach.ANSWERED, f"port {poll.reach}"),
        (not memory.unsupported, "its JVB is too old"),
        (poll.health_ok is True, f"health: {poll.problem or 'no answer'}"),
        (stats is not None, f"stats: {poll.problem or 'no answer'}"),
        (fresh, "its statistics do not advance"),
    )
    missing = next((why for ok, why in checks if not ok), None)
    if missing is not None or stats is None:
        return missing
    return _why_not_serving(stats)


def _why_not_serving(stats: BridgeStats) -> str | None:
    checks = (
        (stats.conferences is not None, "its conferences are not a count"),
        (stats.local_endpoints is not None, "its local endpoints are not a count"),
        (stats.healthy is not False, "it says that it is not healthy"),
        ((stats.muc_clients_connected or 0) >= 1, "no XMPP connection"),
        ((stats.mucs_joined or 0) >= 1, "not in its MUC"),
        (not stats.graceful_shutdown, "it is in graceful shutdown"),
        (not stats.shutting_down, "it is shutting down"),
    )
    return next((why for ok, why in checks if not ok), None)


def _history(memory: BridgeMemory, *, good: bool, now: datetime) -> BridgeMemory:
    polls = (memory.polls + ("1" if good else "0"))[-POLLS_REMEMBERED:]
    return replace(memory, polls=polls, bad_since=None if good else memory.bad_since or now)


def _quiet_since(memory: BridgeMemory, platform: PlatformLoad | None, now: datetime) -> datetime | None:
    if platform is None or platform.out_mbps is None or platform.out_mbps >= QUIET_MBPS:
        return None
    return memory.platform_quiet_since or now


def _relayed_since(
    memory: BridgeMemory,
    stats: BridgeStats | None,
    polled_before: datetime | None,
    now: datetime,
    log: _Log,
) -> datetime | None:
    if stats is None:
        return memory.relayed_since
    if not stats.octo_endpoints or stats.conferences != 0:
        return None
    since = memory.relayed_since or now
    before = (polled_before or now) - since
    if now - since >= RELAY_STUCK_AFTER and before < RELAY_STUCK_AFTER:
        log.say(
            EventKind.RELAY_COUNTER_STUCK, memory, f"{stats.octo_endpoints} relayed endpoints, no conference"
        )
    return since


# Passive moves, by phase


@dataclass(frozen=True, slots=True)
class _Seen:
    memory: BridgeMemory
    instance: Instance
    poll: Poll
    stats: BridgeStats | None
    restarted: bool
    healthy: bool


def _booting(seen: _Seen, policy: ScalingPolicy, now: datetime, log: _Log) -> BridgeMemory:
    memory = seen.memory
    if seen.healthy and seen.poll.drain is False:
        took = (now - _boot_began(memory)).total_seconds()
        log.say(EventKind.READY, memory, f"accepts calls {took:.0f} s after it was asked for")
        log.boots_done += 1
        return moved(memory, Move.JOINED, now, ever_ready=True)
    if now - _boot_began(memory) < policy.boot_timeout and not seen.instance.is_broken:
        return memory
    failure = seen.instance.error or seen.poll.problem or f"port {seen.poll.reach}"
    if seen.healthy:
        failure = "healthy, but still drained"
    minutes = (now - _boot_began(memory)).total_seconds() / 60
    log.say(
        EventKind.BOOT_FAILED, memory, f"not accepting {minutes:.0f} min after it was asked for: {failure}"
    )
    if memory.asked_by is not None:
        log.boots_failed += 1
        log.failed_intents.add(memory.asked_by)
    return moved(memory, Move.BOOT_TIMED_OUT, now, failure=failure)


def _boot_began(memory: BridgeMemory) -> datetime:
    return memory.asked_at or memory.time_created or memory.first_seen


def _failed(seen: _Seen, _policy: ScalingPolicy, now: datetime, log: _Log) -> BridgeMemory:
    memory = seen.memory
    if seen.healthy and seen.poll.drain is False:
        log.say(EventKind.READY_LATE, memory, "accepts calls after all")
        return moved(memory, Move.JOINED, now, ever_ready=True)
    return _empty_proof(_exit_proof(seen, memory, now), seen, now)


def _ready(seen: _Seen, _policy: ScalingPolicy, now: datetime, log: _Log) -> BridgeMemory:
    memory = seen.memory
    if seen.poll.drain and not memory.starts_drained:
        log.say(EventKind.FOREIGN_DRAIN, memory, "is drained, and not by us: it is left alone")
        return moved(memory, Move.DRAIN, now, purpose=Purpose.FOREIGN, drained_at=now)
    return memory


def _draining(seen: _Seen, policy: ScalingPolicy, now: datetime, log: _Log) -> BridgeMemory:
    memory, drain = seen.memory, seen.poll.drain
    if seen.restarted and memory.purpose is not Purpose.OPERATOR:
        return moved(memory, Move.NEW_PROCESS, now)
    if not memory.wanted_drain:
        if drain is False:
            log.say(EventKind.DRAIN_ENDED, memory, "accepts new calls again")
            return moved(memory, Move.DRAIN_ENDED, now)
        return memory
    if drain is None:
        return memory
    if not drain:
        if memory.drained_at is not None:
            log.say(EventKind.DRAIN_LOST, memory, "we drained it, and it says that it is not drained")
        return replace(
            memory,
            drained_at=None,
            drain_unseen_polls=memory.drain_unseen_polls + 1,
            **_NO_EMPTY,
        )
    memory = replace(memory, drained_at=memory.drained_at or now, drain_unseen_polls=0)
    settled_at = (memory.drained_at or now) + timedelta(seconds=policy.settle_seconds)
    return _empty_proof(memory, seen, now) if now >= settled_at else memory


def _fenced(seen: _Seen, _policy: ScalingPolicy, now: datetime, log: _Log) -> BridgeMemory:
    memory, stats = seen.memory, seen.poll.stats
    back = stats is not None and not stats.graceful_shutdown and not stats.shutting_down
    if (seen.restarted or back) and not memory.ever_ready:
        return moved(memory, Move.STILL_FAILED, now)
    if seen.restarted or back:
        log.say(EventKind.RESTARTED, memory, "answers after the fence as if nothing were: every term anew")
        return moved(memory, Move.NEW_PROCESS, now, restart_seen_at=now, starts_drained=True)
    memory = _exit_proof(seen, memory, now)
    if memory.exited_at is not None and seen.memory.exited_at is None:
        log.say(EventKind.EXITED, memory, "its process is gone: refused twice, nothing answering between")
    return memory


def _deleting(seen: _Seen, _policy: ScalingPolicy, now: datetime, log: _Log) -> BridgeMemory:
    """Follow a machine that ARM was asked to delete; one that ARM kept and that serves again is a bridge."""
    memory = seen.memory
    due = memory.operation is None and (memory.delete_not_before is None or now >= memory.delete_not_before)
    kept = due and not seen.instance.is_deleting
    if kept and seen.poll.reach is Reach.ANSWERED and memory.ever_ready:
        log.say(EventKind.RESTARTED, memory, "ARM did not delete it, and it answers again: every term anew")
        return moved(memory, Move.NEW_PROCESS, now, restart_seen_at=now, starts_drained=True)
    return _exit_proof(seen, memory, now)


_PASSIVE: dict[Phase, Callable[[_Seen, ScalingPolicy, datetime, _Log], BridgeMemory]] = {
    Phase.BOOTING: _booting,
    Phase.FAILED: _failed,
    Phase.READY: _ready,
    Phase.DRAINING: _draining,
    Phase.FENCED: _fenced,
    Phase.DELETING: _deleting,
}

_NO_EMPTY: dict[str, Any] = {"empty_since": None, "empty_seen_at": None, "created_at_empty": None}


def _empty_proof(memory: BridgeMemory, seen: _Seen, now: datetime) -> BridgeMemory:
    """Remember since when it is empty with nothing created between; anything else starts over."""
    stats = seen.stats
    empty = stats is not None and seen.poll.drain is True and _is_empty(stats)
    if memory.ever_ready and (stats is None or not stats.mucs_joined):
        empty = False  # cut off from Jicofo it may be empty only because nobody can tell it of calls
    if not empty or stats is None or stats.total_conferences_created is None:
        return replace(memory, **_NO_EMPTY)
    if memory.empty_since is None or memory.created_at_empty != stats.total_conferences_created:
        created = stats.total_conferences_created
        return replace(memory, empty_since=now, empty_seen_at=now, created_at_empty=created)
    return replace(memory, empty_seen_at=now)


def _is_empty(stats: BridgeStats) -> bool:
    return stats.conferences == 0 and stats.local_endpoints == 0


def _exit_proof(seen: _Seen, memory: BridgeMemory, now: datetime) -> BridgeMemory:
    """
    Remember since when its port is refused by a VM that runs, or ARM says that the VM does not run.

    Anything that answers starts over.

    A time-out proves neither: it keeps what was proved, and adds nothing.
    """
    if seen.poll.reach in (Reach.ANSWERED, Reach.BROKEN):
        return replace(memory, refused_since=None, refused_seen_at=None, exited_at=None)
    stopped = seen.instance.power is Power.STOPPED
    refused = seen.poll.reach is Reach.REFUSED and seen.instance.power is Power.RUNNING
    if not refused and not stopped:
        return memory
    since = memory.refused_since or now
    exited = memory.exited_at or (now if now - since >= EXIT_PROOF else None)
    return replace(memory, refused_since=since, refused_seen_at=now, exited_at=exited)


def is_proved_empty(memory: BridgeMemory) -> bool:
    """Two empty polls at least 10 s apart, with no conference created between."""
    if memory.empty_since is None or memory.empty_seen_at is None:
        return False
    return memory.empty_seen_at - memory.empty_since >= EMPTY_PROOF
