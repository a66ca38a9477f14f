"""The moves that a bridge makes by itself, phase by phase, and what is proved by looking. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scaler.decision import EventKind
from scaler.health import OUTAGE
from scaler.lifecycle import NO_EMPTY_PROOF, NO_EXIT_PROOF, Move, moved
from scaler.model import BridgeMemory, BridgeStats, Instance, Phase, Poll, Power, Purpose, Reach, changed
from scaler.noticed import Log
from scaler.policy import ScalingPolicy

EXIT_PROOF = timedelta(seconds=30)
"""A refused connection counts as an exit when it was refused twice, this far apart."""
UNTOLD_EXIT_PROOF = timedelta(minutes=5)
"""The same where no word of the fence came back: a process that crashed is soon started again."""
REPORT_IS_BEHIND_THE_FENCE = timedelta(seconds=10)
"""Twice the age that the report of any JVB can have."""
EMPTY_PROOF = timedelta(seconds=10)
"""Two empty polls must lie this far apart."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One bridge in one tick, for the move that it may make."""

    memory: BridgeMemory
    instance: Instance
    poll: Poll
    stats: BridgeStats | None
    restarted: bool
    healthy: bool


def _booting(seen: Seen, policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
    memory = seen.memory
    if seen.healthy and seen.poll.drain is False:
        took = (now - boot_began(memory)).total_seconds()
        log.say(EventKind.READY, memory, f"accepts calls {took:.0f} s after it was asked for")
        log.boots_done += 1
        return moved(memory, Move.JOINED, now, ever_ready=True, ready_after_seconds=took)
    if now - boot_began(memory) < policy.boot_timeout and not seen.instance.is_broken:
        return memory
    failure = seen.instance.error or memory.boot.failure or seen.poll.problem or f"port {seen.poll.reach}"
    if seen.healthy:
        failure = memory.boot.failure or "healthy, but still drained"
    minutes = (now - boot_began(memory)).total_seconds() / 60
    log.say(
        EventKind.BOOT_FAILED, memory, f"not accepting {minutes:.0f} min after it was asked for: {failure}"
    )
    if memory.asked_by is not None:
        log.boots_failed += 1
        log.failed_intents.add(memory.asked_by)
    return moved(memory, Move.BOOT_TIMED_OUT, now, failure=failure)


def boot_began(memory: BridgeMemory) -> datetime:
    """Return since when its boot is waited for."""
    return memory.asked_at or memory.time_created or memory.first_seen


def _failed(seen: Seen, _policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
    memory = seen.memory
    if seen.healthy and seen.poll.drain is False:
        log.say(EventKind.READY_LATE, memory, "accepts calls after all")
        return moved(memory, Move.JOINED, now, ever_ready=True)
    return _empty_proof(_exit_proof(seen, memory, now), seen)


def _ready(seen: Seen, _policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
    memory = seen.memory
    if seen.poll.drain and not memory.starts_drained:
        log.say(EventKind.FOREIGN_DRAIN, memory, "is drained, and not by us: it is left alone")
        return moved(memory, Move.DRAIN, now, purpose=Purpose.FOREIGN, drained_at=now)
    return memory


def _draining(seen: Seen, policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
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
        return changed(
            memory,
            drained_at=None,
            drain_unseen_polls=memory.drain_unseen_polls + 1,
            **NO_EMPTY_PROOF,
        )
    seen_at = seen.poll.at
    drained_at = memory.drained_at or seen_at
    # What an earlier drain refused is over: nothing else may take it for a refusal of its own.
    memory = changed(memory, drained_at=drained_at, drain_unseen_polls=0, failure=None)
    settled = seen_at - drained_at >= timedelta(seconds=policy.settle_seconds)
    return _empty_proof(memory, seen) if settled else memory


def _fenced(seen: Seen, _policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
    memory, stats = seen.memory, seen.poll.stats
    ends = stats is not None and (stats.graceful_shutdown or stats.shutting_down)
    # A report may be seconds old: of one right behind the fence nobody can tell what came first.
    is_behind = seen.poll.at - memory.phase_since >= REPORT_IS_BEHIND_THE_FENCE
    back = stats is not None and not ends and is_behind
    ignored = 0 if seen.restarted else memory.fences_ignored + 1
    if (seen.restarted or back) and not memory.ever_ready:
        return moved(memory, Move.STILL_FAILED, now, fences_ignored=ignored)
    if seen.restarted or back:
        log.say(EventKind.RESTARTED, memory, "answers after the fence as if nothing were: every term anew")
        return moved(
            memory,
            Move.NEW_PROCESS,
            now,
            restart_seen_at=now,
            starts_drained=True,
            fences_ignored=ignored,
        )
    if ends:
        memory = changed(memory, fenced_at=memory.fenced_at or now)
    memory = _exit_proof(seen, memory, now)
    if memory.exited_at is not None and seen.memory.exited_at is None:
        log.say(EventKind.EXITED, memory, "its process is gone: refused twice, nothing answering between")
    return memory


def _deleting(seen: Seen, _policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
    """Follow a machine that ARM was asked to delete; one that ARM kept and that serves again is a bridge."""
    memory = seen.memory
    kept = memory.operation is None and not seen.instance.is_deleting
    if kept and seen.poll.reach is Reach.ANSWERED and not memory.ever_ready:
        return moved(memory, Move.STILL_FAILED, now)
    if kept and seen.poll.reach is Reach.ANSWERED:
        log.say(EventKind.RESTARTED, memory, "ARM did not delete it, and it answers again: every term anew")
        return moved(memory, Move.NEW_PROCESS, now, restart_seen_at=now, starts_drained=True)
    return _exit_proof(seen, memory, now)


_PASSIVE: dict[Phase, Callable[[Seen, ScalingPolicy, datetime, Log], BridgeMemory]] = {
    Phase.BOOTING: _booting,
    Phase.FAILED: _failed,
    Phase.READY: _ready,
    Phase.DRAINING: _draining,
    Phase.FENCED: _fenced,
    Phase.DELETING: _deleting,
}


def _empty_proof(memory: BridgeMemory, seen: Seen) -> BridgeMemory:
    """
    Remember since when it is empty with nothing created between; anything else starts over.

    Dated by the answers themselves: the tick may have begun long before, if it stood still meanwhile.
    """
    stats, now = seen.stats, seen.poll.at
    empty = stats is not None and seen.poll.drain is True and _is_empty(stats)
    if memory.ever_ready and (stats is None or not stats.mucs_joined):
        empty = False  # cut off from Jicofo it may be empty only because nobody can tell it of calls
    if not empty or stats is None or stats.total_conferences_created is None:
        return changed(memory, **NO_EMPTY_PROOF)
    if memory.empty_since is None or memory.created_at_empty != stats.total_conferences_created:
        created = stats.total_conferences_created
        return changed(memory, empty_since=now, empty_seen_at=now, created_at_empty=created)
    return changed(memory, empty_seen_at=now)


def _is_empty(stats: BridgeStats) -> bool:
    return stats.conferences == 0 and stats.local_endpoints == 0


def _exit_proof(seen: Seen, memory: BridgeMemory, now: datetime) -> BridgeMemory:
    """
    Remember since when its port is refused by a VM that runs, or ARM says that the VM does not run.

    Anything that answers starts over. A time-out proves neither: it keeps what was proved, and adds nothing.
    """
    if seen.poll.reach in (Reach.ANSWERED, Reach.BROKEN):
        return changed(memory, **NO_EXIT_PROOF)
    stopped = seen.instance.power is Power.STOPPED
    refused = seen.poll.reach is Reach.REFUSED and seen.instance.power is Power.RUNNING
    if not refused and not stopped:
        return memory
    # By the answer itself: two polls lie as far apart as they do, whenever their ticks began.
    now = seen.poll.at if refused else now
    if memory.refused_seen_at is not None and now - memory.refused_seen_at > OUTAGE:
        memory = changed(memory, **NO_EXIT_PROOF)
    since = memory.refused_since or now
    untold = memory.ever_ready and memory.fenced_at is None
    lasts = UNTOLD_EXIT_PROOF if untold else EXIT_PROOF
    exited = memory.exited_at or (now if now - since >= lasts else None)
    return changed(memory, refused_since=since, refused_seen_at=now, exited_at=exited)


def is_proved_empty(memory: BridgeMemory) -> bool:
    """Two empty polls at least 10 s apart, with no conference created between."""
    if memory.empty_since is None or memory.empty_seen_at is None:
        return False
    return memory.empty_seen_at - memory.empty_since >= EMPTY_PROOF


def move_by_itself(seen: Seen, policy: ScalingPolicy, now: datetime, log: Log) -> BridgeMemory:
    """Return a bridge's memory after what the world did to it."""
    return _PASSIVE[seen.memory.phase](seen, policy, now, log)
