"""decide(snapshot, policy) -> Decision. Composes the rules; knows none of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from scaler import recycle
from scaler.boots import boots_told
from scaler.commands import Obeyed, heed, obey, told
from scaler.decision import (
    Action,
    Alert,
    Decision,
    Drain,
    Event,
    EventKind,
    Reason,
    Refusal,
    Totals,
    Undrain,
)
from scaler.floors import with_floors
from scaler.images import build_step, model_step, prunings
from scaler.model import BridgeMemory, Night, Phase, Reach, ShardMemory, Snapshot, changed
from scaler.policy import ScalingPolicy
from scaler.scale_in import (
    Shrink,
    clean_ups,
    dead,
    deletes,
    drains,
    fences,
    redrains,
    repurposes,
)
from scaler.scale_out import Growth, Surge, Want, grow, openings, pause_undrains, want
from scaler.selection import Fleet, is_our_drain, refuse, survey
from scaler.watch import alerts, count_on, forget_after_outage

ROUTINE = frozenset(
    {
        Reason.SETTLING,
        Reason.NOT_EMPTY,
        Reason.AWAITING_EXIT,
        Reason.RETRY_LATER,
        Reason.DELETE_IN_FLIGHT,
        Reason.ALREADY_LEAVING,
        Reason.NOT_OLDEST,
        Reason.ONE_PER_TICK,
        Reason.PENDING_COVERS,
        Reason.STEP_LIMIT,
        Reason.CREATION_IN_FLIGHT,
        Reason.SCALED_OUT,
        Reason.HOT,
        Reason.NO_HEADROOM,
        Reason.SURPLUS_TOO_SHORT,
        Reason.TOO_YOUNG,
        Reason.ONLY_HEALTHY,
        Reason.AT_MINIMUM,
        Reason.LAST_ACCEPTING,
        Reason.CANARY_ON_TRIAL,
        Reason.CANARY_TURN,
        Reason.IMAGE_NOT_SET,
        Reason.SURGE_IN_USE,
    }
)
"""Refusals of ordinary days: in every decision record, but not worth an event each time."""

_PHASES_THAT_WAIT = (Phase.READY, Phase.DRAINING)


def decide(snapshot: Snapshot, policy: ScalingPolicy) -> Decision:
    """
    Decide what shall be done in this tick. `policy` must be complete for the VM size.

    Additions may only refuse more, drain, alert or add capacity: nothing here tears down a bridge
    that the owner's rule would keep.
    """
    ordered = heed(snapshot)
    in_force, floors = with_floors(policy, ordered.commands, snapshot.now)
    decision = _decide(ordered, in_force)
    return replace(
        decision,
        votes=(*decision.votes, *floors),
        events=(*told(snapshot.commands, decision.commands, snapshot.shard), *decision.events),
    )


def _decide(snapshot: Snapshot, policy: ScalingPolicy) -> Decision:
    fleet = survey(snapshot, policy)
    state = count_on(fleet)
    stop = _standstill(fleet)
    if stop is not None:
        found = (*_alerts(fleet, state), _stop_alert(fleet, stop))
        return _decision(fleet, state, want(fleet, state), (), (stop,), found)
    opened, obeyed = openings(fleet), obey(fleet, blind=state.blind_since is not None)
    if state.paused:
        return _paused(fleet, state, opened, obeyed, _alerts(fleet, state))
    unknown = recycle.gallery_unknown(fleet, state)
    state, said = recycle.follow(fleet, state)
    found = _alerts(fleet, state)
    growth = grow(fleet, state, _surge(fleet, state))
    grown = _grown(fleet, state, growth)
    back = tuple(u for u in recycle.take_backs(fleet, state) if u.vm_id not in _vm_ids(growth.undrains))
    shrink = _shrink(fleet, state, growth, obeyed, back)
    refusals = (*unknown, *obeyed.refusals, *growth.refusals, *shrink.refusals)
    state = recycle.progress(fleet, state, refusals)
    decision = _decision(
        fleet,
        state,
        growth.want,
        (
            *_together(obeyed, (*opened, *grown, *back), shrink.actions),
            *_image_steps(fleet, state, growth),
        ),
        refusals,
        (*found, *shrink.alerts, *_at_maximum(fleet, growth.refusals)),
        growth,
        obeyed,
    )
    return replace(decision, events=(*said, *decision.events))


def _alerts(fleet: Fleet, state: ShardMemory) -> tuple[Alert, ...]:
    return (*alerts(fleet, state), *recycle.alerts(fleet, state))


def _surge(fleet: Fleet, state: ShardMemory) -> Surge:
    count, votes, refusals = recycle.surge(fleet, state)
    return Surge(count, votes, refusals, fleet.policy.surge_of(state.night.base))


def _grown(fleet: Fleet, state: ShardMemory, growth: Growth) -> tuple[Action, ...]:
    """What grows; a model of a bad or unproved version is set back before any machine is made of it."""
    first = model_step(fleet, state, canary_may_start=False) if growth.created else None
    undrains, rest = growth.actions[: len(growth.undrains)], growth.actions[len(growth.undrains) :]
    return (*undrains, first, *rest) if first is not None and first.goes_back else growth.actions


def _image_steps(fleet: Fleet, state: ShardMemory, growth: Growth) -> tuple[Action, ...]:
    """Steps against model and gallery; not the model beside a capacity write, which changes its etag."""
    waits = recycle.is_waiting_to_start(fleet, state)
    may_start = waits and recycle.may_start_canary(fleet, state) is None
    model = None if growth.created else model_step(fleet, state, canary_may_start=may_start)
    steps = (model, build_step(fleet, state), *prunings(fleet, state))
    return tuple(step for step in steps if step is not None)


def _shrink(
    fleet: Fleet, state: ShardMemory, growth: Growth, obeyed: Obeyed, back: tuple[Undrain, ...]
) -> Shrink:
    """All that takes away, but not from a bridge that is just being taken back."""
    if state.blind_since is not None:
        return Shrink(refusals=(refuse(Reason.BLIND, "most bridges cannot be heard: nothing is taken away"),))
    if obeyed.drains:
        # It is counted as accepting wherever a rule asks who else accepts.
        return Shrink(refusals=(refuse(Reason.ONE_PER_TICK, "a drain by an operator takes this tick"),))
    on_trial = recycle.on_trial_refusal(fleet, state)
    if fleet.snapshot.unlisted:
        lacking = f"the list lacks {len(fleet.snapshot.unlisted)} machines that it had, and may be stale"
        unsure = Shrink(refusals=(refuse(Reason.ARM_UNKNOWN, lacking),))
        steps = deletes(fleet) + unsure + repurposes(fleet) + redrains(fleet)
    elif on_trial is not None:
        steps = (
            deletes(fleet)
            + clean_ups(fleet, state, spared=state.night.canary)
            + Shrink(refusals=(on_trial,))
            + repurposes(fleet)
            + redrains(fleet)
        )
    else:
        steps = (
            deletes(fleet)
            + dead(fleet)
            + clean_ups(fleet, state)
            + fences(fleet)
            + repurposes(fleet)
            + redrains(fleet)
            + _drains(fleet, state, growth, (*back, *obeyed.undrains))
        )
    taken_back = _vm_ids((*growth.undrains, *back))
    kept = tuple(a for a in steps.actions if getattr(a, "vm_id", None) not in taken_back)
    return replace(steps, actions=kept)


def _together(obeyed: Obeyed, first: tuple[Action, ...], then: tuple[Action, ...]) -> tuple[Action, ...]:
    """Growth before what operators ask for, that before what takes away; a machine has one action."""

    def others(actions: tuple[Action, ...]) -> tuple[Action, ...]:
        return tuple(a for a in actions if getattr(a, "vm_id", None) not in obeyed.machines)

    return _one_delete((*others(first), *obeyed.actions, *others(then)))


def _vm_ids(undrains: Iterable[Undrain]) -> set[str]:
    return {undrain.vm_id for undrain in undrains}


def _drains(fleet: Fleet, state: ShardMemory, growth: Growth, back: tuple[Undrain, ...]) -> Shrink:
    """By day for a surplus, at night for what is to be replaced; always for what a bad image made."""
    grew = bool(growth.for_load or growth.undrains or back)
    condemned = recycle.condemned_drains(fleet, state)
    if condemned.actions:
        return condemned
    if state.night.is_open and state.night.passed_at is not None:
        # The verdict is written down before anything is done on it.
        written = state.night.passed_at < fleet.now
        return condemned + (recycle.drains(fleet, state, grew=grew) if written else Shrink())
    return condemned + drains(fleet, state, grew=grew or growth.created > 0)


def _one_delete(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """At most one delete a tick, whatever the rules that asked for it."""
    first = next((a for a in actions if a.verb == "delete"), None)
    return tuple(a for a in actions if a.verb != "delete" or a is first)


def _standstill(fleet: Fleet) -> Refusal | None:
    """Why nothing at all may be done."""
    policy, scale_set = fleet.policy, fleet.snapshot.scale_set
    if fleet.snapshot.other_owner is not None:
        detail = f"the scale set's tag jvb-autoscaler-owner names {fleet.snapshot.other_owner!r}: read only"
        return refuse(Reason.OTHER_OWNER, detail)
    if policy.missing:
        size = scale_set.vm_size if scale_set else "unknown"
        fields = " and ".join(policy.missing)
        return refuse(
            Reason.CONFIGURATION_INCOMPLETE,
            f"VM size {size} is not in the table: set {fields} for this shard",
        )
    return None


def _stop_alert(fleet: Fleet, stop: Refusal) -> Alert:
    return Alert(str(stop.reason), fleet.snapshot.shard, stop.detail)


def _paused(
    fleet: Fleet, state: ShardMemory, opened: tuple[Undrain, ...], obeyed: Obeyed, found: tuple[Alert, ...]
) -> Decision:
    """Take back what may be taken back, finish what is fenced, start nothing but what is commanded."""
    refusal = refuse(Reason.PAUSED, state.pause_reason or "paused by an operator")
    finishing = deletes(fleet) if state.blind_since is None and not obeyed.drains else Shrink()
    actions = _together(obeyed, (*opened, *pause_undrains(fleet)), finishing.actions)
    refusals = (refusal, *obeyed.refusals, *finishing.refusals)
    return _decision(fleet, state, want(fleet, state), actions, refusals, found, obeyed=obeyed)


def hold(shard: str, now: datetime, epoch: int, memory: ShardMemory, reason: Reason, detail: str) -> Decision:
    """Decide nothing, because what is needed to decide is not known."""
    refusals, standing, events = _stand(memory, (refuse(reason, detail),), shard, now)
    alert = Alert(str(reason), shard, detail)
    told, open_alerts = _tell_alerts(memory, (alert,), now, close=False)
    # A tick that sees nothing is no look: held for long, it is an outage as if no tick had run.
    memory = forget_after_outage(memory, min([*standing.values(), memory.last_tick_at or now]), now)
    kept = replace(
        memory, last_tick_at=now, epoch=epoch, standing=standing, alerts=open_alerts, gap_since=None
    )
    return Decision(
        shard, now, epoch, Totals(), kept, refusals=refusals, events=(*events, *told), alerts=(alert,)
    )


def _at_maximum(fleet: Fleet, refusals: Iterable[Refusal]) -> tuple[Alert, ...]:
    return tuple(
        Alert("at_maximum", fleet.snapshot.shard, refusal.detail)
        for refusal in refusals
        if refusal.reason is Reason.AT_MAXIMUM
    )


def _decision(
    fleet: Fleet,
    state: ShardMemory,
    wish: Want,
    actions: tuple[Action, ...],
    refusals: tuple[Refusal, ...],
    found: tuple[Alert, ...],
    growth: Growth | None = None,
    obeyed: Obeyed | None = None,
) -> Decision:
    now, shard = fleet.now, fleet.snapshot.shard
    stated, standing, said = _stand(state, refusals, shard, now)
    told, open_alerts = _tell_alerts(state, found, now)
    return Decision(
        shard=shard,
        at=now,
        epoch=fleet.snapshot.epoch,
        totals=_totals(fleet, state.night, wish, actions, growth),
        memory=replace(state, standing=standing, alerts=open_alerts),
        bridges=_with_refusals(fleet, stated),
        actions=actions,
        votes=wish.votes,
        refusals=stated,
        events=(*said, *told),
        alerts=found,
        commands=obeyed.commands if obeyed else fleet.snapshot.commands,
    )


def _stand(
    state: ShardMemory, refusals: tuple[Refusal, ...], shard: str, now: datetime
) -> tuple[tuple[Refusal, ...], dict[str, datetime], tuple[Event, ...]]:
    """Add since-when to each refusal; say only those that are new and not routine."""
    unique = {refusal.key: refusal for refusal in reversed(refusals)}
    standing = {key: state.standing.get(key, now) for key in sorted(unique)}
    stated = tuple(replace(unique[key], since=since) for key, since in standing.items())
    events = tuple(
        Event(EventKind.REFUSED, r.name or shard, f"{r.reason}: {r.detail}", r.vm_id)
        for r in stated
        if r.key not in state.standing and r.reason not in ROUTINE
    )
    return stated, standing, events


def _tell_alerts(
    state: ShardMemory, found: tuple[Alert, ...], now: datetime, *, close: bool = True
) -> tuple[tuple[Event, ...], dict[str, datetime]]:
    """Say an alert when it opens and when it closes. Without knowledge none is closed."""
    present = {alert.key: alert for alert in found}
    opened = tuple(
        Event(EventKind.ALERT, alert.subject, f"{alert.kind}: {alert.text}")
        for key, alert in present.items()
        if key not in state.alerts
    )
    over = [key for key in state.alerts if key not in present] if close else []
    closed = tuple(
        Event(EventKind.ALERT_CLOSED, key.partition(":")[2], f"{key.partition(':')[0]} is over")
        for key in over
    )
    still = {key: since for key, since in state.alerts.items() if key not in over}
    return opened + closed, {**still, **{key: state.alerts.get(key, now) for key in present}}


def _with_refusals(fleet: Fleet, refusals: tuple[Refusal, ...]) -> Mapping[str, BridgeMemory]:
    """Write into each bridge's memory why it stays, with since-when."""
    first: dict[str, Refusal] = {}
    for refusal in refusals:
        if refusal.vm_id is not None:
            first.setdefault(refusal.vm_id, refusal)
    result = {}
    for bridge in fleet.bridges:
        memory, no = bridge.memory, first.get(bridge.vm_id)
        reason = str(no.reason) if no else None
        if reason is None and memory.phase in _PHASES_THAT_WAIT and memory.ever_ready:
            reason = str(Reason.NOT_OLDEST)
        if reason != memory.refusal:
            memory = changed(memory, refusal=reason, refusal_since=fleet.now if reason else None)
        result[bridge.vm_id] = memory
    return result


def _totals(
    fleet: Fleet, night: Night, wish: Want, actions: tuple[Action, ...], growth: Growth | None
) -> Totals:
    stats = [b.stats for b in fleet.bridges if b.stats is not None]
    scale_set = fleet.snapshot.scale_set
    added = (growth.created + len(growth.undrains)) if growth else 0
    new_drains = sum(1 for a in actions if isinstance(a, Drain) and _was_accepting(fleet, a.vm_id))
    return Totals(
        listed=fleet.listed,
        healthy=len(fleet.healthy),
        accepting=len(fleet.accepting),
        draining=sum(1 for b in fleet.bridges if b.phase is Phase.DRAINING),
        fenced=len(fleet.fenced),
        deleting=len(fleet.deleting),
        booting=sum(1 for b in fleet.bridges if b.phase is Phase.BOOTING),
        failed=len(fleet.failed),
        sick=len(fleet.sick),
        unknown=sum(1 for b in fleet.bridges if b.poll.reach is not Reach.ANSWERED),
        pending=fleet.pending,
        minimum=fleet.policy.min_bridges,
        maximum=fleet.policy.max_bridges,
        capacity=scale_set.capacity if scale_set else None,
        demand=round(fleet.demand_out, 3),
        wanted=wish.accepting,
        desired=len(fleet.accepting) + fleet.pending + added - new_drains,
        conferences=sum(s.conferences or 0 for s in stats),
        participants=sum(s.local_endpoints or 0 for s in stats),
        out_mbps=round(sum(s.upload_kbps or 0 for s in stats) / 1000, 1),
        outdated=night.outdated if night.is_open else 0,
        boots=boots_told(fleet),
    )


def _was_accepting(fleet: Fleet, vm_id: str) -> bool:
    return any(b.vm_id == vm_id for b in fleet.accepting)


def left_drained(snapshot: Snapshot) -> tuple[str, ...]:
    """Names of the bridges that we drained: what a dry run leaves as it found it."""
    return tuple(b.name for b in snapshot.bridges if is_our_drain(b))
