"""
What the world did since the last tick: memory, machines and polls become a Snapshot. Pure.

Only passive moves are made here. Everything that we would do stands in a Decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scaler import demand
from scaler.decision import Event, EventKind
from scaler.health import (
    OUTAGE,
    learn_quiet,
    learn_silence,
    learn_support,
    relayed_since,
    remember_poll,
    why_unhealthy,
)
from scaler.lifecycle import NO_EXIT_PROOF, Move, moved
from scaler.model import (
    Bridge,
    BridgeMemory,
    CreateIntent,
    Instance,
    Phase,
    PlatformLoad,
    Poll,
    Reach,
    ScaleSet,
    ShardMemory,
    Snapshot,
    changed,
)
from scaler.noticed import Log
from scaler.passive import Seen, move_by_itself
from scaler.policy import ScalingPolicy
from scaler.process import judge_freshness, learn_process

BACKOFF_MINUTES = (2, 5, 15)
"""After the first, second, and every later failed creation in a row."""
POLLS_STAND_FOR = timedelta(minutes=30)
LISTS_MAY_BE_OLD_FOR = timedelta(minutes=5)
"""One may be stale, and the next one too: so long no absence and no new address is believed."""
_ASKED_BEFORE_CREATED = timedelta(minutes=2)
"""Clocks of ARM and ours may differ: a VM may seem created this long before we asked for it."""
_MADE_WITHIN = timedelta(minutes=3)
"""ARM makes a VM within seconds of the write, clocks included: a later one may be somebody else's."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything that was heard in one tick, before it is understood."""

    scale_set: ScaleSet
    instances: tuple[Instance, ...]
    polls: Mapping[str, Poll]
    platform: Mapping[str, PlatformLoad]
    measures: bool = False
    """Azure Monitor is there to be asked, whether it answered or not."""


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
    log = Log()
    known = state is not None or bool(memories)
    unheard = now - (state.heard_at or now) if state is not None else timedelta(0)
    matched = _match(heard.instances, memories, intents)
    bridges = []
    for instance in sorted(heard.instances, key=lambda each: each.name):
        memory = memories.get(instance.vm_id)
        if memory is None:
            memory = _first_sight(instance, matched.get(instance.vm_id), known=known, policy=policy, now=now)
            _announce(memory, log)
        poll = heard.polls.get(instance.vm_id, Poll(at=now, reach=Reach.NOT_ASKED))
        memory = _unwatched(memory, unheard)
        bridges.append(_bridge(memory, instance, poll, heard.platform.get(instance.vm_id), policy, now, log))
    bridges = _doubted(bridges, memories, policy)
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
        unlisted=frozenset(memory.vm_id for memory in absent if memory.phase is not Phase.GONE),
        measures=heard.measures,
        memory=_not_bought(_count_boots(state or ShardMemory(known_since=now), log, now), log),
    )
    return snapshot, absent, tuple(log.events)


def _other_owner(scale_set: ScaleSet, owner: str) -> str | None:
    return scale_set.owner if scale_set.owner not in (None, owner) else None


# Appearing, and leaving


def _match(
    instances: tuple[Instance, ...], memories: Mapping[str, BridgeMemory], intents: tuple[CreateIntent, ...]
) -> dict[str, CreateIntent]:
    """
    Give each new machine the oldest open intent that was written before it was created.

    A row that names an open intent has its machine already: the process was killed between the two writes.
    """
    claims = {memory.asked_by: vm_id for vm_id, memory in memories.items() if memory.asked_by is not None}
    matched = {claims[i.intent_id]: i for i in intents if i.is_open and i.intent_id in claims}
    free = (i for i in intents if i.is_open and i.intent_id not in claims)
    waiting = sorted(free, key=lambda i: (i.asked_at, i.intent_id))
    new = [each for each in instances if each.vm_id not in memories]
    for instance in sorted(new, key=lambda each: (each.time_created is None, each.time_created, each.name)):
        fitting = next((i for i in waiting if _could_be_for(instance, i)), None)
        if fitting is not None:
            waiting.remove(fitting)
            matched[instance.vm_id] = fitting
    return matched


def _could_be_for(instance: Instance, intent: CreateIntent) -> bool:
    return _is_not_before(instance.time_created, intent.asked_at)


def _is_not_before(created: datetime | None, asked_at: datetime) -> bool:
    return created is None or created >= asked_at - _ASKED_BEFORE_CREATED


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
        may_be_anothers=intent is not None and _may_be_of_another_write(instance, intent),
        ever_ready=not is_new,
        address=instance.address,
        time_created=created,
    )


def _may_be_of_another_write(instance: Instance, intent: CreateIntent) -> bool:
    """A write with no answer may not have been made; and what ours made may be gone, unseen, by then."""
    created = instance.time_created
    return intent.operation is None or created is None or created - intent.asked_at > _MADE_WITHIN


def _doubted(
    bridges: list[Bridge], memories: Mapping[str, BridgeMemory], policy: ScalingPolicy
) -> list[Bridge]:
    """
    Mark machines that may be another's: one that nobody of us asked for came while they were awaited.

    A person may have added it, and Azure have listed it first: then it has our intent, and ours has none.
    """
    new = (b.memory for b in bridges if b.vm_id not in memories)
    strangers = [memory.time_created for memory in new if memory.asked_by is None]

    def judged(bridge: Bridge) -> Bridge:
        asked_at, memory = bridge.memory.asked_at, bridge.memory
        if asked_at is None or bridge.phase not in (Phase.BOOTING, Phase.FAILED):
            return bridge
        awaited_until = asked_at + policy.boot_timeout
        if not any(_is_not_before(at, asked_at) and (at or asked_at) <= awaited_until for at in strangers):
            return bridge
        return replace(bridge, memory=changed(memory, may_be_anothers=True))

    return [judged(bridge) for bridge in bridges]


def _announce(memory: BridgeMemory, log: Log) -> None:
    if memory.asked_by:
        log.say(EventKind.APPEARED, memory, f"appeared for intent {memory.asked_by}")
    else:
        log.say(EventKind.ADOPTED, memory, f"was not asked for by us; adopted as {memory.phase}")


def _leave(memory: BridgeMemory, now: datetime, log: Log) -> BridgeMemory:
    if memory.phase is Phase.DELETING:
        log.say(EventKind.GONE, memory, "ARM no longer lists it")
    elif memory.unlisted_since is None or now - memory.unlisted_since < LISTS_MAY_BE_OLD_FOR:
        return changed(memory, unlisted_since=memory.unlisted_since or now)
    else:
        log.say(EventKind.VANISHED, memory, f"was {memory.phase} and is no longer listed: not our doing")
    return moved(memory, Move.NOT_LISTED, now)


def _follow(
    intent: CreateIntent,
    matched: Mapping[str, CreateIntent],
    scale_set: ScaleSet,
    policy: ScalingPolicy,
    now: datetime,
    log: Log,
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
    if intent.operation is None and not intent.taken and intent.asked_at < now:
        if scale_set.capacity < intent.capacity:
            error = "ARM did not take the write"
            log.not_taken.append(intent.asked_at)
            log.failed_intents.add(intent.intent_id)
            log.events.append(Event(EventKind.CREATE_FAILED, intent.intent_id, error))
            return replace(intent, ended_at=now, error=error)
        intent = replace(intent, taken=True)
    if error is None and now - intent.asked_at >= policy.boot_timeout:
        error = f"no machine appeared within {policy.boot_timeout_minutes:g} min"
    if error is None:
        return intent
    log.boots_failed += 1
    log.failed_intents.add(intent.intent_id)
    log.events.append(Event(EventKind.CREATE_FAILED, intent.intent_id, error))
    return replace(intent, ended_at=now, error=error)


def _count_boots(state: ShardMemory, log: Log, now: datetime) -> ShardMemory:
    """Failures in a row, and until when no machine is asked for because of them."""
    if log.boots_done:
        return replace(state, boot_failures=0, backoff_until=None)
    if not log.boots_failed:
        return state
    failures = state.boot_failures + 1
    wait = BACKOFF_MINUTES[min(failures, len(BACKOFF_MINUTES)) - 1]
    return replace(state, boot_failures=failures, backoff_until=now + timedelta(minutes=wait))


def _not_bought(state: ShardMemory, log: Log) -> ShardMemory:
    """Give a blind shard its one purchase back: of a write that ARM never took no machine will come."""
    since = state.blind_since
    if since is None or not any(asked_at >= since for asked_at in log.not_taken):
        return state
    return replace(state, blind_bought=False)


def _unanswered(bridge: Bridge) -> Bridge:
    """A machine that never came was no answer to a hot bridge."""
    return replace(bridge, memory=changed(bridge.memory, hot_answered=False))


# One bridge


def _unwatched(memory: BridgeMemory, gap: timedelta) -> BridgeMemory:
    """
    What was counted from look to look starts over where nobody looked: Friday's load is not Monday's.

    The polls stand for longer: where ticks are few, a bridge must still come to be opened, or sick.
    """
    if gap <= OUTAGE:
        return memory
    memory = changed(memory, nic_mbps=(), cpu_fractions=(), stress_levels=())
    return memory if gap <= POLLS_STAND_FOR else changed(memory, polls="", bad_since=None, silent_since=None)


def _bridge(
    memory: BridgeMemory,
    instance: Instance,
    poll: Poll,
    platform: PlatformLoad | None,
    policy: ScalingPolicy,
    now: datetime,
    log: Log,
) -> Bridge:
    if memory.address and instance.address and instance.address != memory.address:
        memory = changed(memory, **NO_EXIT_PROOF)  # what refused there may have been another machine's
    memory = changed(
        memory,
        name=instance.name,
        address=instance.address or memory.address,
        time_created=instance.time_created or memory.time_created,
        image=instance.image or memory.image,
        unlisted_since=None,
    )
    memory, restarted = learn_process(memory, poll, now, log)
    polled_before = memory.polled_at
    memory, fresh = judge_freshness(memory, poll, policy, log)
    stats = poll.stats if fresh else None
    memory = learn_support(memory, poll, log)
    because = why_unhealthy(memory, instance, poll, fresh=fresh)
    memory = remember_poll(memory, good=because is None, now=now)
    memory = learn_silence(memory, instance, poll, now)
    load = demand.measure(memory, stats, platform, policy)
    memory = changed(
        memory,
        nic_mbps=load.nic_samples,
        cpu_fractions=load.cpu_samples,
        stress_levels=load.stress_samples,
        pressure=load.pressure if load.pressure is not None else memory.pressure,
        hot_answered=memory.hot_answered
        and not (load.pressure is not None and load.pressure < demand.ANSWERED_AGAIN_BELOW),
        relayed_since=relayed_since(memory, stats, polled_before, now, log),
    )
    memory = learn_quiet(memory, platform, now)
    memory = move_by_itself(Seen(memory, instance, poll, stats, restarted, because is None), policy, now, log)
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
