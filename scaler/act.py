"""
Perform a decision. Each step is written before it is done, and proved again from a fresh report.

The decision saw a moment ago; the world may have moved. What cannot be proved now is not done,
and the next tick starts from what is then seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from scaler.decision import (
    Action,
    Cause,
    Delete,
    Drain,
    Event,
    EventKind,
    Fence,
    PruneImage,
    Reason,
    Refusal,
    RepairCapacity,
    Repurpose,
    ScaleOut,
    SetImage,
    StartBuild,
    Undrain,
)
from scaler.errors import (
    LeaseTooShort,
    NotTheSameBridge,
    Refused,
    ScalerError,
    StateChanged,
    Throttled,
    TryNextTick,
)
from scaler.explain import Outcome, action_in_words
from scaler.ledger import Ledger
from scaler.lifecycle import Move, delete_retry, moved
from scaler.model import (
    Bridge,
    BridgeMemory,
    Build,
    CreateIntent,
    Instance,
    Phase,
    Poll,
    Purpose,
    Reach,
    ShardMemory,
    Snapshot,
    changed,
)
from scaler.policy import ScalingPolicy
from scaler.ports import Bridges, Clock, Cloud, Images, Lease, Target
from scaler.process import is_another, restarts_now
from scaler.reflect import BACKOFF_MINUTES
from scaler.selection import uptime

T = TypeVar("T")

CALL_TIMEOUT = timedelta(seconds=15)
LEASE_MARGIN = timedelta(seconds=30)


class FactsChanged(ScalerError):
    """A fresh report no longer shows what the step needs."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What an action may touch."""

    cloud: Cloud
    bridges: Bridges
    clock: Clock
    lease: Lease
    policy: ScalingPolicy
    snapshot: Snapshot
    images: Images | None = None


async def perform(actions: Sequence[Action], hands: Hands, ledger: Ledger) -> tuple[Outcome, ...]:
    """
    Do the actions in order; the first permanent error stops the rest.

    Raises `StateChanged` or `TryNextTick` when the tables did not take an intent: then nothing
    more may be done in this tick. Errors of bridges and of ARM become outcomes.
    """
    outcomes: list[Outcome] = []
    stopped = False
    for action in actions:
        if stopped:
            outcomes.append(_refused(action, hands, Reason.STOPPED_EARLIER, ""))
            continue
        if isinstance(action, ScaleOut) and _has_set_the_model(outcomes):
            outcomes.append(_refused(action, hands, Reason.FACTS_CHANGED, "the model was set: next tick"))
            continue
        outcome, stopped = await _attempt(action, hands, ledger)
        outcomes.append(outcome)
        ledger.say(_event(outcome, hands))
    return tuple(outcomes)


def _has_set_the_model(outcomes: Sequence[Outcome]) -> bool:
    """The scale set has another etag now: a capacity write would be refused, or make what it named before."""
    return any(outcome.done and isinstance(outcome.action, SetImage) for outcome in outcomes)


async def _attempt(action: Action, hands: Hands, ledger: Ledger) -> tuple[Outcome, bool]:
    """Try one action; return its outcome, and whether the rest must not be tried."""
    try:
        _check_lease(hands)
        await _do(action, hands, ledger)
    except LeaseTooShort as error:
        return _refused(action, hands, Reason.LEASE_TOO_SHORT, str(error)), True
    except NotTheSameBridge as error:
        _ask_anew(action, hands, ledger)
        return _refused(action, hands, Reason.NOT_THE_SAME_BRIDGE, str(error)), False
    except FactsChanged as error:
        return _refused(action, hands, Reason.FACTS_CHANGED, str(error)), False
    except CallFailed as error:
        return _refused(action, hands, Reason.CALL_FAILED, str(error)), error.stops
    return Outcome(action, done=True), False


def _ask_anew(action: Action, hands: Hands, ledger: Ledger) -> None:
    """
    Forget which process a ready bridge had, so that the next tick asks; until then it is new.

    No total fell, or the tick would have seen it: without this the bridge were refused for ever.
    Its address is asked anew too: what answers there may be another machine's, and must not pass for it.
    Its next report counts as a first one: what its image drains at the start is nobody's drain.
    """
    memory = ledger.bridges.get(getattr(action, "vm_id", ""))
    if memory is not None and memory.phase is Phase.READY:
        now = hands.clock.now()
        ledger.remember(
            changed(
                memory,
                address=None,
                process_started_at=None,
                stats_timestamp=None,
                restart_seen_at=now,
                restarts=restarts_now(memory, now),
            )
        )


class CallFailed(ScalerError):
    """A call to a bridge or to ARM failed."""

    def __init__(self, cause: ScalerError, *, stops: bool = False) -> None:
        """
        Wrap what the port raised, so that a failing table is never taken for a failing call.

        `stops`: nothing else may be done in this tick. What one bridge refuses stops no other.
        """
        super().__init__(str(cause))
        self.stops = stops


def _check_lease(hands: Hands) -> None:
    """Before the proof, so as not to begin in vain, and behind it: a slow report uses the lease up."""
    left = hands.lease.until - hands.clock.now()
    if left <= CALL_TIMEOUT + LEASE_MARGIN:
        raise LeaseTooShort(f"the lease ends in {left.total_seconds():.0f} s")


async def _do(action: Action, hands: Hands, ledger: Ledger) -> None:
    match action:
        case Undrain():
            await _undrain(action, hands, ledger)
        case Drain():
            await _drain(action, hands, ledger)
        case Repurpose():
            memory = ledger.bridge(action.vm_id)
            await ledger.intend(changed(memory, purpose=action.purpose, epoch=hands.lease.epoch))
        case Fence():
            await _fence(action, hands, ledger)
        case Delete():
            await _delete(action, hands, ledger)
        case ScaleOut():
            await _scale_out(action, hands, ledger)
        case RepairCapacity():
            await _repair_capacity(action, hands, ledger)
        case SetImage() | StartBuild() | PruneImage():
            await _on_images(action, hands, ledger)


# Bridges


async def _undrain(action: Undrain, hands: Hands, ledger: Ledger) -> None:
    memory = ledger.bridge(action.vm_id)
    await _same_bridge(hands, memory, start_must_be_told=False)
    _check_lease(hands)
    now = hands.clock.now()
    if memory.phase is Phase.DRAINING:  # opening a process that started drained takes nothing back
        await ledger.intend_state(replace(ledger.state, last_undrain_at=now))
    await ledger.intend(
        changed(memory, wanted_drain=False, drain_asked_at=now, drained_at=None, epoch=hands.lease.epoch)
    )
    try:
        await hands.bridges.set_drain(_target(hands, memory), on=False)
    except Refused as error:
        # It stays drained, and a person must know: asked again each tick, as its setting may be mended.
        ledger.remember(replace(ledger.bridge(action.vm_id), failure=str(error)))
        raise CallFailed(error) from error
    except TryNextTick as error:
        raise CallFailed(error) from error
    if memory.phase is Phase.READY:
        ledger.remember(replace(ledger.bridge(action.vm_id), failure=None))
    for vm_id in action.answers:
        ledger.remember(changed(ledger.bridge(vm_id), hot_answered=True))


async def _drain(action: Drain, hands: Hands, ledger: Ledger) -> None:
    memory = ledger.bridge(action.vm_id)
    report = await _same_bridge(hands, memory)
    if memory.phase is Phase.READY:
        # A person may empty one that is ill: it ends no call, and is often why he asks.
        serves = _serving(report) or action.purpose is Purpose.OPERATOR
        _prove(serves, "it does not answer as a bridge that serves")
        _prove(_told_drain(report) is False, "somebody else drained it meanwhile, or it is not known")
    if action.purpose is Purpose.TEAR_DOWN and memory.phase is Phase.READY:
        _prove(_empty(report), "a call came meanwhile")
        _prove_age(hands, memory, report)
    _check_lease(hands)
    now = hands.clock.now()
    draining = moved(
        memory,
        Move.DRAIN,
        now,
        wanted_drain=True,
        purpose=action.purpose,
        drain_asked_at=now,
        drained_at=None,
        epoch=hands.lease.epoch,
        process_started_at=report.process_started_at or memory.process_started_at,
    )
    await ledger.intend(draining)
    target = _target(hands, memory)
    try:
        await hands.bridges.set_drain(target, on=True)
    except Refused as error:
        # Nothing was drained: back as it was, and not asked again until another process runs.
        ledger.remember(changed(memory, failure=str(error)))
        raise CallFailed(error) from error
    except TryNextTick as error:
        raise CallFailed(error) from error
    confirmed = await hands.bridges.read(target)
    if confirmed.drain is True and not is_another(draining, confirmed):
        ledger.remember(changed(draining, drained_at=hands.clock.now()))


async def _fence(action: Fence, hands: Hands, ledger: Ledger) -> None:
    memory = ledger.bridge(action.vm_id)
    report = await _same_bridge(hands, memory)
    _prove_empty_and_drained(hands, memory, report, joined=not action.never_ready)
    _check_lease(hands)
    now = hands.clock.now()
    fenced = moved(
        memory,
        Move.FENCE,
        now,
        epoch=hands.lease.epoch,
        process_started_at=report.process_started_at or memory.process_started_at,
    )
    await ledger.intend(fenced)
    if action.never_ready:
        await ledger.intend_state(replace(ledger.state, last_clean_up_at=now))
    try:
        await hands.bridges.shut_down(_target(hands, memory))
    except Refused as error:
        failed = Move.FENCE_FAILED if memory.ever_ready else Move.STILL_FAILED
        ledger.remember(moved(fenced, failed, now, fence_failure=str(error)))
        raise CallFailed(error) from error
    except TryNextTick as error:
        raise CallFailed(error) from error
    ledger.remember(changed(fenced, fenced_at=hands.clock.now()))


async def _delete(action: Delete, hands: Hands, ledger: Ledger) -> None:
    memory = ledger.bridge(action.vm_id)
    bridge = _bridge(hands, action.vm_id)
    if bridge.instance is None:
        raise FactsChanged("ARM no longer lists it")
    await _prove_gone(action, hands, bridge.instance, memory)
    _check_lease(hands)
    now = hands.clock.now()
    attempts = memory.delete_attempts + 1
    deleting = moved(
        memory,
        Move.DELETE,
        now,
        delete_asked_at=now,
        delete_attempts=attempts,
        delete_not_before=now + delete_retry(attempts),
        operation=None,
        epoch=hands.lease.epoch,
    )
    await ledger.intend(deleting)
    if action.cause not in (Cause.TEAR_DOWN, Cause.RECYCLE):
        await ledger.intend_state(replace(ledger.state, last_clean_up_at=now))
    operation = await _called(hands.cloud.delete(bridge.instance), stops=True)
    ledger.remember(changed(deleting, operation=operation))


async def _prove_gone(action: Delete, hands: Hands, instance: Instance, memory: BridgeMemory) -> None:
    """Prove again that no process can be serving. A time-out proves nothing of a VM that runs."""
    if memory.phase is Phase.DRAINING and action.cause is not Cause.REPLACED:
        report = await _same_bridge(hands, memory)
        _prove_empty_and_drained(hands, memory, report, joined=True)
        return
    address = instance.address or _last_address(hands, memory)
    if instance.has_no_host and address is None:
        return  # ARM did not even get as far as an address
    # Asked also where ARM says that it is off: its list may be old, and somebody has started it since.
    report = await hands.bridges.read(_target(hands, memory, address))
    _prove(report.reach not in (Reach.ANSWERED, Reach.BROKEN), "something answers on it")
    vouched = action.cause in (Cause.DEAD, Cause.REPLACED)
    proved = report.reach is Reach.REFUSED or instance.has_no_host or vouched
    _prove(proved, f"its port {report.reach}: that is no proof of an exit")


def _last_address(hands: Hands, memory: BridgeMemory) -> str | None:
    """Where ARM said that it was, unless another machine is there now."""
    taken = {b.instance.address for b in hands.snapshot.bridges if b.instance is not None}
    return memory.address if memory.address not in taken else None


def _target(hands: Hands, memory: BridgeMemory, address: str | None = None) -> Target:
    """
    Address that ARM gave in this very tick; nothing else is ever told anything.

    `address`: one that ARM gave earlier, which may only be asked whether anything still answers there.
    """
    instance = _bridge(hands, memory.vm_id).instance
    address = address or (instance.address if instance is not None else None)
    if address is None:
        raise FactsChanged("ARM tells no address for it")
    return Target(memory.vm_id, address, ask_process=True)


def _bridge(hands: Hands, vm_id: str) -> Bridge:
    return next(b for b in hands.snapshot.bridges if b.vm_id == vm_id)


async def _same_bridge(hands: Hands, memory: BridgeMemory, *, start_must_be_told: bool = True) -> Poll:
    """
    Read a fresh report and make sure that the process we know gave it.

    A start time that we know and that is not told now is unknown, and unknown waits; only taking
    a drain back, which harms nobody, does without.
    """
    report = await hands.bridges.read(_target(hands, memory))
    if report.reach is not Reach.ANSWERED:
        raise FactsChanged(f"its port {report.reach}")
    untold = report.process_started_at is None and memory.process_started_at is not None
    if untold and start_must_be_told:
        raise FactsChanged("it does not tell when its process started")
    if is_another(memory, report):
        raise NotTheSameBridge(f"started {report.process_started_at}, we know {memory.process_started_at}")
    return report


def _created(report: Poll) -> int | None:
    return report.stats.total_conferences_created if report.stats else None


def _prove(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FactsChanged(otherwise)


def _serving(report: Poll) -> bool:
    stats = report.stats
    return (
        stats is not None
        and report.health_ok is True
        and bool(stats.mucs_joined)
        and not stats.graceful_shutdown
        and not stats.shutting_down
    )


def _told_drain(report: Poll) -> bool | None:
    """Where the drain endpoint itself fails, the statistics tell: its failure must come to light."""
    if report.drain is None and report.stats is not None:
        return report.stats.drain
    return report.drain


def _empty(report: Poll) -> bool:
    return report.stats is not None and report.stats.conferences == 0 and report.stats.local_endpoints == 0


def _prove_age(hands: Hands, memory: BridgeMemory, report: Poll) -> None:
    """The process may have restarted, idle, without a total to show it: judge its age once more."""
    started = report.process_started_at or memory.process_started_at
    age = uptime(changed(memory, process_started_at=started), hands.snapshot.now)
    old_enough = age is not None and age > timedelta(minutes=hands.policy.uptime_minutes)
    _prove(old_enough, f"its process started {started}")


def _prove_empty_and_drained(hands: Hands, memory: BridgeMemory, report: Poll, *, joined: bool) -> None:
    _prove(report.drain is True, "it does not say that it is drained")
    _prove(_empty(report), "a call came meanwhile, or it is not known")
    _prove(_created(report) == memory.created_at_empty, "a conference came and went meanwhile")
    if joined:
        _prove(_serving(report), "it does not answer as a bridge that serves")
        _prove_age(hands, memory, report)


# ARM


async def _scale_out(action: ScaleOut, hands: Hands, ledger: Ledger) -> None:
    now = hands.clock.now()
    intents = [
        CreateIntent(
            intent_id=f"{now:%Y%m%dT%H%M%S}-{hands.lease.epoch}-{number}",
            asked_at=now,
            epoch=hands.lease.epoch,
            capacity=action.capacity,
            why=action.because,
            image=hands.snapshot.scale_set.image if hands.snapshot.scale_set else None,
            answers=action.answers if number == 1 else (),
        )
        for number in range(1, action.count + 1)
    ]
    before = ledger.state
    blind = before.blind_since is not None
    await ledger.intend_machines(intents)
    await ledger.intend_state(
        replace(before, last_scale_out_at=now, blind_bought=before.blind_bought or blind)
    )
    for vm_id in action.answers:
        await ledger.intend(changed(ledger.bridge(vm_id), hot_answered=True))
    try:
        operation = await _write_capacity(hands, action.capacity)
    except CallFailed as error:
        _not_bought(ledger, before, intents, error)
        raise
    ledger.remember_machines([replace(i, operation=operation) for i in intents])


def _not_bought(ledger: Ledger, before: ShardMemory, intents: list[CreateIntent], error: CallFailed) -> None:
    """
    End the intents of a write that ARM certainly did not take.

    After a lost answer nothing is certain: those stay open, and the next tick reads the capacity.
    """
    cause = error.__cause__
    if isinstance(cause, TryNextTick) and not isinstance(cause, Throttled):
        return
    now = intents[0].asked_at
    ledger.remember_machines([replace(i, ended_at=now, error=str(error)) for i in intents])
    for vm_id in {vm_id for intent in intents for vm_id in intent.answers}:
        ledger.remember(changed(ledger.bridge(vm_id), hot_answered=False))
    state = ledger.state = replace(ledger.state, blind_bought=before.blind_bought)
    if isinstance(cause, Throttled):
        wait = timedelta(seconds=cause.retry_after_seconds or 60)
        ledger.state = replace(state, backoff_until=now + wait)
    elif isinstance(cause, Refused):
        failures = state.boot_failures + 1
        wait = timedelta(minutes=BACKOFF_MINUTES[min(failures, len(BACKOFF_MINUTES)) - 1])
        ledger.state = replace(state, boot_failures=failures, backoff_until=now + wait)


async def _repair_capacity(action: RepairCapacity, hands: Hands, ledger: Ledger) -> None:
    """Forget the gap first: it would count as old where the next list lacks a machine."""
    _check_lease(hands)
    await ledger.intend_state(replace(ledger.state, gap_since=None))
    await _write_capacity(hands, action.capacity)


async def _write_capacity(hands: Hands, capacity: int) -> str | None:
    scale_set = hands.snapshot.scale_set
    if scale_set is None:
        raise FactsChanged("the scale set is not known")
    # After a lost answer nothing else may change the capacity until it was read again.
    return await _called(hands.cloud.scale_out(scale_set, capacity), stops=True)


async def _on_images(action: SetImage | StartBuild | PruneImage, hands: Hands, ledger: Ledger) -> None:
    if isinstance(action, SetImage):
        await _set_image(action, hands, ledger)
    elif hands.images is None:
        raise FactsChanged("no gallery is set")
    elif isinstance(action, PruneImage):
        await _called(hands.images.delete_version(action.image))
    else:
        await _start_build(action, hands, ledger, hands.images)


async def _set_image(action: SetImage, hands: Hands, ledger: Ledger) -> None:
    """The state row is the intent: it names the night's target and the last good version."""
    scale_set = hands.snapshot.scale_set
    if scale_set is None:
        raise FactsChanged("the scale set is not known")
    await ledger.intend_state(ledger.state)
    try:
        await hands.cloud.set_image(scale_set, action.image)
    except Refused as error:
        raise CallFailed(error) from error  # growth must not wait for what is refused for good
    except (TryNextTick, StateChanged) as error:
        raise CallFailed(error, stops=True) from error


async def _start_build(action: StartBuild, hands: Hands, ledger: Ledger, images: Images) -> None:
    # Written first: a lost answer must not start a second run of an hour.
    await ledger.intend_state(replace(ledger.state, build=Build(action.date, hands.clock.now())))
    await _called(images.start_build(hands.policy.image_template_id or ""))


async def _called(call: Awaitable[T], *, stops: bool = False) -> T:
    try:
        return await call
    except (TryNextTick, Refused, StateChanged) as error:
        raise CallFailed(error, stops=stops) from error


# Words


def _refused(action: Action, hands: Hands, reason: Reason, detail: str) -> Outcome:
    vm_id = getattr(action, "vm_id", None)
    return Outcome(action, done=False, refusal=Refusal(reason, detail, vm_id, _name(action, hands)))


def _name(action: Action, hands: Hands) -> str:
    vm_id = getattr(action, "vm_id", None)
    return next((b.name for b in hands.snapshot.bridges if b.vm_id == vm_id), hands.snapshot.shard)


def _event(outcome: Outcome, hands: Hands) -> Event:
    name, vm_id = _name(outcome.action, hands), getattr(outcome.action, "vm_id", None)
    words = action_in_words(outcome.action, name)
    if outcome.done:
        return Event(EventKind.ACTED, name, f"{words}: {outcome.action.because}", vm_id)
    detail = f"{outcome.refusal.reason}: {outcome.refusal.detail}" if outcome.refusal else ""
    return Event(EventKind.ACT_FAILED, name, f"did not {words}: {detail}", vm_id)
