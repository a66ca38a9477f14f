"""
Which bridge is drained, fenced and deleted, and which machine that never joined is cleaned up. Pure.

At most one of each a tick: every count is stale the moment something is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from scaler import demand
from scaler.decision import Action, Alert, Cause, Delete, Drain, Fence, Reason, Refusal, Repurpose
from scaler.health import shows_traffic
from scaler.model import Bridge, BridgeMemory, Phase, Power, Purpose, Reach, ShardMemory
from scaler.passive import is_proved_empty
from scaler.selection import (
    DRAIN_TERMS,
    LITERAL_TERMS,
    SAFETY_TERMS,
    Fleet,
    is_late,
    is_our_drain,
    next_to_drain,
    objections,
    oldest,
    only_healthy,
    protected,
    refuse,
)
from scaler.watch import delete_by_hand

CLEAN_UP_EVERY = timedelta(minutes=10)
DEAD_QUIET_FOR = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Shrink:
    """The scale-in half of a decision."""

    actions: tuple[Action, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    alerts: tuple[Alert, ...] = ()

    def __add__(self, other: Shrink) -> Shrink:
        """Put two halves together."""
        return Shrink(
            self.actions + other.actions, self.refusals + other.refusals, self.alerts + other.alerts
        )


def _no(*refusals: Refusal) -> Shrink:
    return Shrink(refusals=refusals)


def _do(action: Action) -> Shrink:
    return Shrink(actions=(action,))


# Delete: its process was seen to be gone


def deletes(fleet: Fleet) -> Shrink:
    """Delete the oldest exited machine, or ask again for one that ARM did not remove."""
    result, free = Shrink(), not delete_in_flight(fleet)
    for bridge in fleet.bridges:
        if bridge.phase is Phase.DELETING:
            step = _again(fleet, bridge)
        elif bridge.phase is Phase.FENCED:
            step = _finish(fleet, bridge, free=free)
        else:
            continue
        free = free and not step.actions
        result += step
    return result


def delete_in_flight(fleet: Fleet) -> bool:
    """ARM works on a delete, and not for too long already."""
    return any(b.phase is Phase.DELETING and not is_late(b, fleet.now) for b in fleet.deleting)


def _finish(fleet: Fleet, bridge: Bridge, *, free: bool) -> Shrink:
    memory = bridge.memory
    if not _never_ran(bridge) and (memory.exited_at is None or not _is_still_gone(bridge)):
        untold = memory.ever_ready and memory.fenced_at is None
        needs = "; it never answered to the fence, so 5 min of it are needed" if untold else ""
        return _no(refuse(Reason.AWAITING_EXIT, f"its process was not yet seen to be gone{needs}", bridge))
    if memory.ever_ready and fleet.accepting_others(bridge) < 1:
        return _no(refuse(Reason.LAST_ACCEPTING, "no other bridge accepts calls", bridge))
    if not memory.ever_ready and not _has_witness(fleet, bridge):
        return _no(refuse(Reason.NO_WITNESS, "no other bridge answers: it may be us", bridge))
    if not free:
        return _no(refuse(Reason.DELETE_IN_FLIGHT, "one machine is deleted at a time", bridge))
    cause = _cause(memory)
    seen = f"ended, seen {memory.exited_at:%H:%M:%S} UTC" if memory.exited_at else "never ran"
    return _do(Delete(bridge.vm_id, cause, f"its process {seen}"))


def _cause(memory: BridgeMemory) -> Cause:
    if not memory.ever_ready:
        return Cause.NEVER_READY
    return Cause.RECYCLE if memory.purpose is Purpose.RECYCLE else Cause.TEAR_DOWN


def _never_ran(bridge: Bridge) -> bool:
    """ARM could not make it, so there is no exit to wait for, also after a delete of it that failed."""
    instance = bridge.instance
    return not bridge.memory.ever_ready and instance is not None and instance.has_no_host


def _is_still_gone(bridge: Bridge) -> bool:
    stopped = bridge.instance is not None and bridge.instance.power is Power.STOPPED
    return stopped or bridge.poll.reach is Reach.REFUSED


def _again(fleet: Fleet, bridge: Bridge) -> Shrink:
    """ARM was asked and still lists it without deleting it: a failed delete, or a call that was lost."""
    if not _was_kept(bridge):
        return Shrink()
    due = bridge.memory.delete_not_before
    if due is not None and fleet.now < due:
        return _no(refuse(Reason.RETRY_LATER, f"the next delete is tried at {due:%H:%M:%S} UTC", bridge))
    return _finish(fleet, bridge, free=True)


def _was_kept(bridge: Bridge) -> bool:
    return bridge.instance is not None and not bridge.instance.is_deleting


# Fence: drained, settled, and found empty long enough


def fences(fleet: Fleet) -> Shrink:
    """Fence the one drained bridge for which every term holds now: only one is the oldest."""
    result = Shrink()
    for bridge in fleet.live:
        if is_our_drain(bridge):
            result += _fence(fleet, bridge)
    return result


def _fence(fleet: Fleet, bridge: Bridge) -> Shrink:
    memory = bridge.memory
    if memory.drained_at is None or bridge.observed_drain is not True:
        return _no(refuse(Reason.DRAIN_NOT_SEEN, "its report does not show the drain", bridge))
    against = objections(fleet, bridge, (*LITERAL_TERMS, *SAFETY_TERMS))
    if against:
        return _no(*against)
    if fleet.now - memory.drained_at < timedelta(seconds=fleet.policy.settle_seconds):
        return _no(refuse(Reason.SETTLING, f"drained at {memory.drained_at:%H:%M:%S} UTC", bridge))
    if not is_proved_empty(memory):
        return _no(refuse(Reason.NOT_EMPTY, "two empty reports in a row are needed", bridge))
    if memory.fence_failure is None:
        return _do(Fence(bridge.vm_id, "drained, settled, empty in two reports, oldest"))
    if fleet.policy.require_fence:
        return _no(refuse(Reason.NO_FENCE, memory.fence_failure, bridge))
    return _do(Delete(bridge.vm_id, _cause(memory), "empty; no fence, and `require_fence` is false"))


# Drain: a first step that costs no call and can be taken back


def repurposes(fleet: Fleet) -> Shrink:
    """Keep a drain that met a conference, where the others carry the load: it empties as calls end."""
    carried = demand.has_surplus(fleet.demand_out, len(fleet.accepting), fleet.policy.scale_out_pressure)
    met = [
        b for b in fleet.our_drains if b.memory.purpose is Purpose.TEAR_DOWN and b.idle is False and carried
    ]
    because = "a conference came before the fence; the others carry the load"
    return Shrink(actions=tuple(Repurpose(b.vm_id, Purpose.SURPLUS, because) for b in met))


def redrains(fleet: Fleet) -> Shrink:
    """Ask again for a drain that its bridge does not show."""
    lost = [
        b
        for b in fleet.bridges
        if b.phase is Phase.DRAINING and b.memory.wanted_drain and b.observed_drain is False
    ]
    return Shrink(
        actions=tuple(
            Drain(b.vm_id, b.memory.purpose or Purpose.SURPLUS, "its report does not show the drain")
            for b in lost
        )
    )


def drains(fleet: Fleet, state: ShardMemory, *, grew: bool) -> Shrink:
    """Start at most one new drain: the idle oldest, else the oldest at all after a lasting surplus."""
    candidate, result = oldest(fleet), Shrink()
    if candidate is not None and candidate.phase is Phase.READY:
        against = objections(fleet, candidate, (*LITERAL_TERMS, *SAFETY_TERMS, *DRAIN_TERMS))
        if not against:
            pace = pace_objections(fleet, state, fleet.accepting_others(candidate), grew=grew)
            because = "more than one healthy, idle, old enough, oldest"
            return _no(*pace) if pace else _do(Drain(candidate.vm_id, Purpose.TEAR_DOWN, because))
        result = _no(*against)
        if any(refusal.reason not in _passed_over(fleet) for refusal in against):
            return result
    elif candidate is not None:
        result = _why_waiting(candidate)
    return result + _surplus_drain(fleet, state, grew=grew)


def _passed_over(fleet: Fleet) -> frozenset[Reason]:
    """
    Why the next to be torn down is passed over for one that is emptied for later.

    With `idle` it may be one that has just come, and nobody is on it yet: the old ones that are
    full need not wait for it.
    """
    found = {Reason.OLDEST_BUSY}
    return frozenset(found | {Reason.TOO_YOUNG} if fleet.policy.oldest_among == "idle" else found)


def _why_waiting(oldest_bridge: Bridge) -> Shrink:
    reasons = {Purpose.FOREIGN: Reason.FOREIGN_DRAIN, Purpose.OPERATOR: Reason.OPERATOR_DRAIN}
    purpose = oldest_bridge.memory.purpose
    reason = reasons.get(purpose, Reason.ALREADY_LEAVING) if purpose else Reason.ALREADY_LEAVING
    return _no(refuse(reason, f"the oldest is {oldest_bridge.phase}", oldest_bridge))


def _surplus_drain(fleet: Fleet, state: ShardMemory, *, grew: bool) -> Shrink:
    """Empty the oldest by draining it, since Jicofo would keep refilling it for ever."""
    bridge, obstacle = next_to_drain(fleet)
    if obstacle is not None:
        return _no(obstacle)
    if bridge is None:
        return Shrink()
    against = objections(fleet, bridge, (only_healthy, *SAFETY_TERMS, *DRAIN_TERMS))
    against += pace_objections(fleet, state, fleet.accepting_others(bridge), grew=grew)
    limit = fleet.policy.draining_limit(fleet.listed)
    if len(fleet.our_drains) >= limit:
        against += (refuse(Reason.TOO_MANY_DRAINING, f"{len(fleet.our_drains)} drain, at most {limit}"),)
    window = fleet.policy.scale_in_window
    if not against and (state.surplus_since is None or fleet.now - state.surplus_since < window):
        since = f"{state.surplus_since:%H:%M:%S} UTC" if state.surplus_since else "now"
        detail = f"a bridge to spare since {since}, {window.total_seconds() / 60:g} min needed"
        against += (refuse(Reason.SURPLUS_TOO_SHORT, detail),)
    if against:
        return _no(*against)
    because = f"a bridge to spare since {state.surplus_since:%H:%M:%S} UTC; the oldest empties as calls end"
    return _do(Drain(bridge.vm_id, Purpose.SURPLUS, because))


def pace_objections(
    fleet: Fleet, state: ShardMemory, rest: int, *, grew: bool, at_night: bool = False
) -> tuple[Refusal, ...]:
    """
    Why no new drain may start in this tick, whatever the bridge; `rest` would accept without it.

    At night a surplus is not needed, only that the drain would not be taken back at once, and
    machines on their way are the night's own.
    """
    window, found = fleet.policy.scale_in_window, []
    if grew:
        found.append(refuse(Reason.SCALED_OUT, "this tick adds bridges"))
    if fleet.pending and not at_night:
        found.append(refuse(Reason.CREATION_IN_FLIGHT, f"{fleet.pending} machines on the way"))
    hot = [b.name for b in fleet.accepting if demand.is_hot(b)]
    if hot:
        found.append(refuse(Reason.HOT, f"{hot[0]} is over a threshold"))
    most = fleet.policy.scale_out_pressure if at_night else fleet.policy.scale_in_pressure
    if not demand.has_surplus(fleet.demand_in, rest, most):
        detail = f"demand {fleet.demand_in:.2f} on {rest} others is over {most:g} each"
        found.append(refuse(Reason.NO_HEADROOM, detail))
    undrained = state.last_undrain_at
    if undrained is not None and fleet.now - undrained < window:
        found.append(refuse(Reason.JUST_UNDRAINED, f"a drain was taken back at {undrained:%H:%M:%S} UTC"))
    if fleet.now - state.known_since < window:
        found.append(refuse(Reason.NO_MEMORY, f"watching since {state.known_since:%H:%M:%S} UTC only"))
    return tuple(found)


# Machines that never became a bridge, and bridges that died


def clean_ups(fleet: Fleet, state: ShardMemory, *, spared: str | None = None) -> Shrink:
    """
    Remove one machine that we asked for and that cannot be serving; name the others.

    `spared`: vm_id of a canary that still has time.
    """
    result = Shrink()
    last = state.last_clean_up_at
    free = last is None or fleet.now - last >= CLEAN_UP_EVERY
    for bridge in fleet.failed:
        if bridge.vm_id == spared:
            continue
        step = _clean_up(fleet, bridge, free=free)
        free = free and not step.actions
        result += step
    return result


def _clean_up(fleet: Fleet, bridge: Bridge, *, free: bool) -> Shrink:
    memory = bridge.memory
    if (kept := protected(fleet, bridge)) is not None:
        return _no(kept)
    action = _removal(fleet, bridge)
    asked = memory.asked_at or memory.first_seen
    if fleet.now - asked < fleet.policy.boot_timeout:
        return Shrink()
    if memory.asked_by is None:
        return _cannot_reach(bridge, refuse(Reason.NOT_OURS, "we did not ask for it", bridge))
    if memory.may_be_anothers:
        detail = "it may not be the one we asked for: the answer was lost, it came late, or another came too"
        return _cannot_reach(bridge, refuse(Reason.NOT_OURS, detail, bridge))
    if action is None:
        unproved = (
            may_send(fleet, bridge) or _no_longer_known(bridge) or memory.fence_failure or memory.failure
        )
        why = refuse(Reason.CANNOT_REACH, f"a process may be serving on it: {unproved or ''}", bridge)
        return _cannot_reach(bridge, why)
    if not _has_witness(fleet, bridge):
        return _no(refuse(Reason.NO_WITNESS, "no other bridge answers: it may be us", bridge))
    if not free:
        return _no(refuse(Reason.CLEAN_UP_PACE, "one clean-up in 10 min", bridge))
    if delete_in_flight(fleet):
        return _no(refuse(Reason.DELETE_IN_FLIGHT, "one machine is deleted at a time", bridge))
    return _do(action)


def may_send(fleet: Fleet, bridge: Bridge) -> str | None:
    """Why traffic may leave it, as far as Azure Monitor can tell; unknown is not quiet."""
    if shows_traffic(bridge.platform):
        return "Azure Monitor sees traffic leave it"
    if fleet.snapshot.measures and (bridge.platform is None or bridge.platform.out_mbps is None):
        return "Azure Monitor does not tell whether traffic leaves it"
    return None


def _removal(fleet: Fleet, bridge: Bridge) -> Action | None:
    memory = bridge.memory
    instance = bridge.instance
    if instance is not None and instance.has_no_host:
        return Delete(bridge.vm_id, Cause.NEVER_READY, "never joined, and ARM says that it does not run")
    # REST may be bound elsewhere, or the address be another machine's: traffic outweighs a refusal.
    refused = memory.exited_at is not None and bridge.poll.reach is Reach.REFUSED
    if refused and may_send(fleet, bridge) is None:
        return Delete(bridge.vm_id, Cause.NEVER_READY, "never joined, and its port is refused")
    drained = not bridge.healthy and bridge.observed_drain is True and memory.fence_failure is None
    if drained and is_proved_empty(memory) and _no_longer_known(bridge) is None:
        return Fence(bridge.vm_id, "never joined; drained and empty", never_ready=True)
    return None


def _no_longer_known(bridge: Bridge) -> str | None:
    """Why its process cannot be told from another: the fence would be refused in every tick."""
    told = bridge.poll.process_started_at is not None or bridge.memory.process_started_at is None
    return None if told or bridge.poll.reach is not Reach.ANSWERED else "it no longer tells when it started"


def _has_witness(fleet: Fleet, bridge: Bridge) -> bool:
    """
    One that answers shows that we can hear. What ARM says is switched off could answer nobody.

    Nor could a fenced one whose process was seen to end. Of a machine that never got a host there is
    nothing to be heard.
    """
    if bridge.instance is not None and bridge.instance.has_no_host:
        return True
    ready = [b for b in fleet.bridges if b.vm_id != bridge.vm_id and b.memory.ever_ready]
    others = [b for b in ready if not (_is_off(b) or _has_ended(b))]
    return not others or any(b.poll.reach is Reach.ANSWERED for b in others)


def _is_off(bridge: Bridge) -> bool:
    return bridge.instance is not None and bridge.instance.power is Power.STOPPED


def _has_ended(bridge: Bridge) -> bool:
    ended = bridge.phase is Phase.FENCED and bridge.memory.exited_at is not None
    return ended and bridge.poll.reach is Reach.REFUSED


def _cannot_reach(bridge: Bridge, refusal: Refusal) -> Shrink:
    text = (
        f"never joined ({bridge.memory.failure}) and is not removed: {refusal.detail}. "
        f"When you know that it serves nobody: {delete_by_hand(bridge)}"
    )
    return Shrink(refusals=(refusal,), alerts=(Alert("cannot_reach", bridge.name, text),))


def dead(fleet: Fleet) -> Shrink:
    """Replace a dead bridge where the operator allowed it and the platform proves that nothing flows."""
    minutes = fleet.policy.replace_dead_after_minutes
    if minutes is None:
        return Shrink()
    result = Shrink()
    for bridge in _to_replace(fleet, minutes):
        step = _replace_dead(fleet, bridge)
        if step.actions and result.actions:
            step = _no(refuse(Reason.ONE_PER_TICK, "another machine is deleted in this tick", bridge))
        result += step
    return result


def _to_replace(fleet: Fleet, minutes: float) -> tuple[Bridge, ...]:
    """Bridges that are dead for so long, and behind them those that Azure kept when it should delete them."""
    sick = (b for b in fleet.sick if b.phase is Phase.READY)
    kept = (b for b in fleet.deleting if _is_kept(fleet, b))
    return tuple(b for b in (*sick, *kept) if _is_silent_for(fleet, b, minutes))


def _is_silent_for(fleet: Fleet, bridge: Bridge, minutes: float) -> bool:
    since = bridge.memory.silent_since
    return since is not None and fleet.now - since >= timedelta(minutes=minutes)


def _is_kept(fleet: Fleet, bridge: Bridge) -> bool:
    """
    A dead one that Azure kept: it was never told to end, so its exit need not show.

    It may have come back meanwhile, so it has to be silent for as long as at the first time.
    """
    memory, due = bridge.memory, bridge.memory.delete_not_before
    given_up = memory.phase is Phase.DELETING and memory.ever_ready and memory.purpose is None
    waits = memory.operation is not None or (due is not None and fleet.now < due)
    return given_up and _was_kept(bridge) and not waits


def _replace_dead(fleet: Fleet, bridge: Bridge) -> Shrink:
    if (no := _not_proved_dead(fleet, bridge)) is not None:
        return _no(no)
    if delete_in_flight(fleet):
        return _no(refuse(Reason.DELETE_IN_FLIGHT, "one machine is deleted at a time", bridge))
    return _do(_delete_dead(bridge))


def _not_proved_dead(fleet: Fleet, bridge: Bridge) -> Refusal | None:
    quiet = bridge.memory.platform_quiet_since
    if (kept := protected(fleet, bridge)) is not None:
        return kept
    if fleet.accepting_others(bridge) < 2:
        return refuse(Reason.DEAD_NOT_PROVEN, "fewer than 2 others accept calls", bridge)
    if quiet is None or fleet.now - quiet < DEAD_QUIET_FOR:
        return refuse(Reason.DEAD_NOT_PROVEN, "Azure Monitor does not show 30 quiet minutes", bridge)
    if bridge.poll.reach in (Reach.ANSWERED, Reach.BROKEN):
        return refuse(Reason.DEAD_NOT_PROVEN, "its port still answers", bridge)
    return None


def _delete_dead(bridge: Bridge) -> Delete:
    quiet = bridge.memory.platform_quiet_since
    return Delete(bridge.vm_id, Cause.DEAD, f"dead, and quiet since {quiet:%H:%M:%S} UTC")
