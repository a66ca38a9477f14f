"""Which JVB process answers, since when, and whether its report is of this moment. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from scaler.decision import EventKind
from scaler.model import BridgeMemory, BridgeStats, Poll, ProcessTotals, changed
from scaler.noticed import Log
from scaler.policy import ScalingPolicy

SKEW_WORTH_SAYING_SECONDS = 300.0
_IN_A_ROW = timedelta(hours=1)
_SAME_START = timedelta(seconds=1)
_CLOCK_STEP_TOLERANCE_SECONDS = 5.0


def learn_process(memory: BridgeMemory, poll: Poll, now: datetime, log: Log) -> tuple[BridgeMemory, bool]:
    """Learn which process answers; say whether it is another one than before."""
    told, totals = poll.process_started_at, totals_of(poll.stats)
    restarted = is_another(memory, poll)
    if totals is not None:
        memory = changed(memory, totals=totals)
    if told is not None:
        memory = changed(memory, process_started_at=told)
    if not restarted:
        return _first_drain_seen(memory, poll, first=memory.stats_timestamp is None), False
    log.say(EventKind.RESTARTED, memory, f"another JVB process answers (started {told or 'unknown'})")
    memory = changed(
        memory,
        process_started_at=told,
        restart_seen_at=now,
        restarts=restarts_now(memory, now),
        stats_timestamp=None,
        polled_at=None,
        skew_seconds=None,
        polls="",
        starts_drained=False,
        # It may have another configuration now.
        failure=None if memory.ever_ready else memory.failure,
        fence_failure=None,
        fences_ignored=0,
    )
    return _first_drain_seen(memory, poll, first=True), True


def restarts_now(memory: BridgeMemory, now: datetime) -> int:
    """How many restarts in a row it has had, with one that is seen now."""
    return memory.restarts + 1 if restarted_lately(memory, now) else 1


def restarted_lately(memory: BridgeMemory, now: datetime) -> bool:
    """Whether another restart now would be one in a row."""
    return memory.restart_seen_at is not None and now - memory.restart_seen_at < _IN_A_ROW


def is_another(memory: BridgeMemory, poll: Poll) -> bool:
    """Another process answers than the one we know: its start time differs, or a total fell."""
    told, known = poll.process_started_at, memory.process_started_at
    if told is not None and known is not None and abs(told - known) > _SAME_START:
        return True
    return fell(memory.totals, totals_of(poll.stats))


def _first_drain_seen(memory: BridgeMemory, poll: Poll, *, first: bool) -> BridgeMemory:
    """
    Tell a drain that the image starts with from one that somebody set.

    Only for processes whose beginning we saw: an adopted bridge that drains was drained by someone.
    """
    if poll.drain is False:
        return changed(memory, starts_drained=False)
    started = process_began(memory)
    began_here = not memory.ever_ready or (started is not None and started >= memory.first_seen)
    if first and poll.drain and began_here:
        return changed(memory, starts_drained=True)
    return memory


def process_began(memory: BridgeMemory) -> datetime | None:
    """
    When its process began, by our clock; None where nothing tells.

    The start time is told by the bridge's own clock, which may have been set since: of what it says
    and what that is by our clock the later counts. A restart that we saw is never before that.
    """
    told = memory.process_started_at
    if told is not None:
        told += timedelta(seconds=max(memory.skew_seconds or 0, 0))
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


def judge_freshness(
    memory: BridgeMemory, poll: Poll, policy: ScalingPolicy, log: Log
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
        return changed(
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
        changed(memory, stats_timestamp=stats.timestamp, polled_at=poll.at, skew_seconds=round(skew, 3)),
        fresh,
    )


def _is_skewed(memory: BridgeMemory) -> bool:
    return memory.skew_seconds is not None and abs(memory.skew_seconds) > SKEW_WORTH_SAYING_SECONDS
