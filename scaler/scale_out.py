"""
How many bridges are wanted, and what of it is allowed. Pure.

A bridge too few hurts a call, one too many costs cents: so scale-out has no window and no cooldown.
What is already on its way is the only brake, and taking a drain back is always the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from scaler import demand
from scaler.decision import Action, Reason, Refusal, RepairCapacity, ScaleOut, Undrain, Vote
from scaler.images import makes_blocked
from scaler.model import Bridge, BridgeMemory, Phase, Purpose, ShardMemory
from scaler.selection import Fleet, age_order, cannot_be_fenced, oldest, refuse
from scaler.watch import capacity_disagrees, expected_capacity

_GOOD_POLLS_TO_OPEN = "11"
LIST_IS_NEVER_OLDER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Want:
    """What the load asks for, before any limit."""

    accepting: int
    """Accepting bridges that the load asks for."""
    unanswered: tuple[Bridge, ...]
    """Hot bridges that had no answer yet, hottest first."""
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """The scale-out half of a decision."""

    want: Want
    undrains: tuple[Undrain, ...]
    created: int
    actions: tuple[Action, ...]
    refusals: tuple[Refusal, ...]
    for_load: bool = False
    """Machines were asked for by load or minimum, not only by the night."""


@dataclass(frozen=True, slots=True)
class Surge:
    """What the night asks for besides the load."""

    count: int = 0
    votes: tuple[Vote, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    most: int = 0
    """How far it may exceed `max_bridges`: addresses are there for it."""


NO_SURGE = Surge()


def openings(fleet: Fleet) -> tuple[Undrain, ...]:
    """
    Bridges to open: those whose image started drained, and un-drains that were not seen yet.

    Two good polls first: in its first minute a JVB says 200 without having looked.
    """
    found = []
    for bridge in fleet.bridges:
        memory = bridge.memory
        if not bridge.healthy or not bridge.observed_drain:
            continue
        if _undrain_is_due(memory):
            found.append(Undrain(bridge.vm_id, "was to accept calls again, and is still drained"))
        elif _starts_drained(bridge) and memory.polls.endswith(_GOOD_POLLS_TO_OPEN):
            because = "healthy in two polls: opened for calls"
            found.append(Undrain(bridge.vm_id, because, initial=not memory.ever_ready))
    return tuple(found)


def _undrain_is_due(memory: BridgeMemory) -> bool:
    """We took its drain back, and it was not yet seen to accept."""
    return (
        memory.phase is Phase.DRAINING and not memory.wanted_drain and memory.purpose is not Purpose.FOREIGN
    )


def _starts_drained(bridge: Bridge) -> bool:
    return bridge.phase in (Phase.BOOTING, Phase.FAILED) or (
        bridge.phase is Phase.READY and bridge.memory.starts_drained
    )


def want(fleet: Fleet, state: ShardMemory) -> Want:
    """Let every scale-out rule vote; the highest wins."""
    accepting, policy = len(fleet.accepting), fleet.policy
    by_load = demand.bridges_for(fleet.demand_out, policy.scale_out_pressure)
    votes = [
        Vote(
            "demand",
            f"{by_load}",
            f"the load of {fleet.demand_out:.2f} full bridges, {policy.scale_out_pressure:g} on each",
        )
    ]
    wanted = by_load
    unanswered = _unanswered(fleet)
    if unanswered:
        hottest = unanswered[0]
        because = f"{hottest.name} stands at {hottest.pressure or 0:.2f} of its threshold"
        votes.append(Vote("hot", f"{accepting + 1}", because))
        wanted = max(wanted, accepting + 1)
    if state.lower_bound_polls >= 2:
        doubled = demand.doubled(accepting, policy.max_scale_out_step)
        votes.append(Vote("lower_bound", f"{doubled}", "full bridges cannot say how full: twice the fleet"))
        wanted = max(wanted, doubled)
    return Want(wanted, unanswered, tuple(votes))


def _unanswered(fleet: Fleet) -> tuple[Bridge, ...]:
    hot = [b for b in fleet.accepting if demand.is_hot(b) and not b.memory.hot_answered]
    return tuple(sorted(hot, key=lambda b: (-(b.pressure or 0), b.name)))


def grow(fleet: Fleet, state: ShardMemory, surge: Surge = NO_SURGE) -> Growth:
    """Un-drain first, then ask for machines, each limit adding its reason."""
    wish = want(fleet, state)
    refusals = [*_hopeless(fleet), *_unknown_load(fleet), *surge.refusals]
    askers = _askers(fleet, wish)
    undrains = _undrains(fleet, wish, askers)
    missing, votes = _missing(fleet, wish, len(undrains))
    votes += surge.votes
    count, limits = _limited(fleet, state, missing, surge)
    actions: list[Action] = [*undrains]
    if count:
        answers = askers[len(undrains) : len(undrains) + count]
        asking = votes if missing else surge.votes
        because = "; ".join(f"{vote.rule}: {vote.because}" for vote in asking)
        actions.append(ScaleOut(expected_capacity(fleet) + count, count, because, answers))
    elif _may_repair(fleet, state):
        actions.append(RepairCapacity(fleet.listed, "nothing is in flight, and `repair_capacity` is set"))
    return Growth(
        Want(wish.accepting, wish.unanswered, votes),
        undrains,
        count,
        tuple(actions),
        (*refusals, *limits),
        for_load=missing > 0,
    )


def _askers(fleet: Fleet, wish: Want) -> tuple[str, ...]:
    """
    Whom a new bridge answers: hot bridges, then giants on their way there.

    While its people come in, a giant asks by its demand first. That bridge is its answer: being
    hot a minute later must not buy a second one.
    """
    full = fleet.policy.scale_out_pressure
    growing = [
        b
        for b in fleet.accepting
        if b not in wish.unanswered and demand.has_one_giant(b) and demand.helpable_pressure(b) > full
    ]
    return tuple(b.vm_id for b in (*wish.unanswered, *growing))


def _undrains(fleet: Fleet, wish: Want, askers: tuple[str, ...]) -> tuple[Undrain, ...]:
    """Take drains back, youngest first, where the rest does not carry the load or the minimum."""
    floor = fleet.policy.minimum
    needed = max(wish.accepting, floor) - len(fleet.accepting)
    because = f"{max(wish.accepting, floor)} accepting bridges are wanted, {len(fleet.accepting)} accept"
    if needed <= 0 and _is_out_of_turn(fleet):
        needed, because = 1, "an older bridge is back, has to go first, and cannot while this one drains"
    chosen = [b for b in fleet.our_drains if b.healthy][: max(0, needed)]
    return tuple(
        Undrain(
            bridge.vm_id,
            because,
            answers=askers[place : place + 1],
        )
        for place, bridge in enumerate(chosen)
    )


def _is_out_of_turn(fleet: Fleet) -> bool:
    """
    Our drains wait for the oldest to go, and it cannot be drained.

    So it is when a bridge that was given up as sick comes back: it waits for one of them to accept
    again, or its drain API refuses. Without this they waited for ever.
    """
    first = oldest(fleet)
    if first is None or first.phase not in (Phase.READY, Phase.DRAINING):
        return False
    if not any(age_order(drain) > age_order(first) for drain in fleet.our_drains):
        return False  # with `oldest_among: idle` an older one that drains is only waiting for its calls
    if first.phase is Phase.DRAINING:
        return cannot_be_fenced(fleet, first)
    return first.memory.failure is not None or fleet.accepting_others(first) < fleet.policy.minimum


def _missing(fleet: Fleet, wish: Want, undrained: int) -> tuple[int, tuple[Vote, ...]]:
    """Machines to ask for by load and by the operator's minimum, and the votes for it."""
    by_load = wish.accepting - len(fleet.accepting) - undrained - fleet.pending
    by_minimum = fleet.policy.min_bridges - fleet.working - fleet.open_intents
    votes = wish.votes
    if by_minimum > 0:
        because = f"{fleet.working} machines of use, {fleet.open_intents} asked for"
        votes += (Vote("minimum", f"{fleet.policy.min_bridges}", because),)
    return max(0, by_load, by_minimum), votes


def _limited(fleet: Fleet, state: ShardMemory, missing: int, surge: Surge) -> tuple[int, tuple[Refusal, ...]]:
    """Cap the number of new machines; every cap that bites says so."""
    policy, refusals, count = fleet.policy, [], max(missing, surge.count)
    if count == 0:
        return 0, _pending_covers(fleet)
    if state.blind_since is not None:
        spare = 0 if state.blind_bought or len(fleet.accepting) >= policy.minimum else 1
        if count > spare:
            refusals.append(refuse(Reason.BLIND, f"{count} wanted, but silence may not buy a fleet"))
        count = min(count, spare)
    if count > policy.max_scale_out_step:
        refusals.append(refuse(Reason.STEP_LIMIT, f"{count} wanted, {policy.max_scale_out_step} a tick"))
        count = policy.max_scale_out_step
    used = machines_against_maximum(fleet)
    room = max(0, policy.max_bridges - used, min(surge.count, policy.max_bridges + surge.most - used))
    if count > room:
        refusals.append(refuse(Reason.AT_MAXIMUM, f"{count} wanted, {room} left of {policy.max_bridges}"))
        count = room
    if count and state.backoff_until is not None and fleet.now < state.backoff_until:
        until = f"{state.backoff_until:%H:%M:%S} UTC"
        refusals.append(
            refuse(
                Reason.BACKING_OFF, f"{state.boot_failures} creations failed in a row, next try at {until}"
            )
        )
        count = 0
    if count and makes_blocked(fleet, state):
        refusals.append(refuse(Reason.BLOCKED_MODEL, f"{state.good_image} is to be set first"))
        count = 0
    if count and capacity_disagrees(fleet) and fleet.snapshot.scale_set is not None:
        detail = f"capacity {fleet.snapshot.scale_set.capacity}, expected {expected_capacity(fleet)}"
        refusals.append(refuse(Reason.CAPACITY_DISAGREES, detail))
        count = 0
    return count, tuple(refusals)


def machines_against_maximum(fleet: Fleet) -> int:
    """Machines that use up `max_bridges`; one of no use is let off, so that it can be stood in for."""
    let_off = min(1, len(fleet.sick) + len(fleet.condemned))
    return len(fleet.bridges) - len(fleet.going) - let_off + fleet.open_intents


def _pending_covers(fleet: Fleet) -> tuple[Refusal, ...]:
    hot = [b for b in fleet.accepting if demand.is_hot(b)]
    if not hot or not fleet.pending:
        return ()
    return (refuse(Reason.PENDING_COVERS, f"{fleet.pending} on the way"),)


def _hopeless(fleet: Fleet) -> list[Refusal]:
    """Hot bridges that had their answer: more bridges cannot take a conference off them."""
    if fleet.pending:
        return []
    return [
        refuse(Reason.NEW_BRIDGE_CANNOT_HELP, f"stands at {b.pressure or 0:.2f}, had its new bridge", b)
        for b in fleet.accepting
        if demand.is_hot(b) and b.memory.hot_answered
    ]


def _unknown_load(fleet: Fleet) -> list[Refusal]:
    return [
        refuse(Reason.LOAD_UNKNOWN, "no figure of its load is known", b)
        for b in fleet.accepting
        if b.pressure is None
    ]


def _may_repair(fleet: Fleet, state: ShardMemory) -> bool:
    """
    The same gap has stood for longer than a list of ARM's is ever old, and the scale set at rest.

    Where machines stand that the list lacks, a write of what it tells lets Azure choose victims.
    """
    since = state.gap_since
    return (
        fleet.policy.repair_capacity
        and since is not None
        and fleet.now - since >= LIST_IS_NEVER_OLDER
        and fleet.pending == 0
        and not fleet.deleting
        and state.blind_since is None
    )


def pause_undrains(fleet: Fleet) -> tuple[Undrain, ...]:
    """A paused shard keeps no bridge drained that it may take back."""
    return tuple(Undrain(b.vm_id, "the shard is paused") for b in fleet.our_drains)
