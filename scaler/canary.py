"""
The first machine of a night, and what it proves of an image. Pure.

It counts only what is seen while the old bridges are well: a Prosody that is down must not condemn
an image. A refusal of ARM condemns none either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from scaler.decision import Reason
from scaler.model import Bridge, CreateIntent, Night, Phase, ShardMemory
from scaler.policy import ScalingPolicy
from scaler.process import process_began
from scaler.selection import Fleet, is_accepting

LONGEST_STEP = timedelta(minutes=2)
"""More than this between two looks was not seen, and is not counted."""
FIRST_IN_TURN_FOR = timedelta(minutes=20)
"""So long a shard whose canary is next may keep the others waiting without having one, or a sign of life."""
_HELD_BY = frozenset({Reason.ARM_UNKNOWN, Reason.OTHER_OWNER, Reason.CONFIGURATION_INCOMPLETE})
_MEDIA_FAILURES = 5
_FAULT_OF_THE_IMAGE = "OSProvisioning"


@dataclass(frozen=True, slots=True)
class Trial:
    """The machine that was asked for, and what came of it so far."""

    intent: CreateIntent
    bridge: Bridge | None
    """None: ARM does not list it yet."""


def trial(fleet: Fleet, night: Night) -> Trial | None:
    """Return the first machine that was asked for in this night with its image, by whatever rule."""
    by_id = {bridge.vm_id: bridge for bridge in fleet.bridges}
    for intent in sorted(fleet.snapshot.intents, key=lambda i: (i.asked_at, i.intent_id)):
        if not _is_for(night, intent):
            continue
        if intent.vm_id is None:
            if intent.ended_at is None:
                return Trial(intent, None)
            continue
        bridge = by_id.get(intent.vm_id)
        if bridge is not None and not _was_refused(bridge):
            return Trial(intent, bridge)
    return None


def _is_for(night: Night, intent: CreateIntent) -> bool:
    """Asked for in this night, with its image; where images are not judged, any will do."""
    if night.opened_at is None or intent.asked_at < night.opened_at:
        return False
    return night.target is None or intent.image == night.target


def _was_refused(bridge: Bridge) -> bool:
    """ARM could not make it, for want of room or the like: no fault of its image."""
    instance = bridge.instance
    if instance is None or not instance.is_broken:
        return False
    return not (instance.error or "").startswith(_FAULT_OF_THE_IMAGE)


def is_on_trial(fleet: Fleet, night: Night) -> bool:
    """
    From the first surge to the verdict: no bridge of this shard is drained or torn down.

    The verdict's own tick is still part of it: it is written down before anything is done on it.
    """
    proved = night.passed_at is not None and night.passed_at < fleet.now
    in_force = night.is_open or night.ended_at == fleet.now
    return in_force and not proved and trial(fleet, night) is not None


def judge(fleet: Fleet, night: Night) -> Night:
    """Count what is seen of the canary in this tick; passed or failed once it is enough."""
    found = trial(fleet, night)
    if found is None or found.bridge is None:
        return replace(_fresh(night, None), judged_at=None)
    canary = found.bridge
    night = night if night.canary == canary.vm_id else _fresh(night, canary.vm_id)
    if not _old_ones_are_well(fleet, night):
        return replace(night, judged_at=None)
    seen = min(fleet.now - night.judged_at, LONGEST_STEP) if night.judged_at else timedelta()
    night = replace(night, judged_at=fleet.now)
    if night.accepted_at is None:
        return _awaited(fleet, night, canary, seen)
    return _baked(fleet, night, canary, seen)


def _fresh(night: Night, canary: str | None) -> Night:
    return replace(
        night,
        canary=canary,
        judged_at=None,
        waited_seconds=0.0,
        accepted_at=None,
        baked_seconds=0.0,
        bad_polls=0,
    )


def _old_ones_are_well(fleet: Fleet, night: Night) -> bool:
    """
    At least nine of ten bridges that serve since before the night.

    Left out are the sick, and those whose JVB is too old to be called healthy: they never would be.
    """
    given_up = {bridge.vm_id for bridge in fleet.sick}
    old = [
        b
        for b in fleet.bridges
        if b.memory.ever_ready
        and b.phase is Phase.READY
        and b.vm_id not in given_up
        and not b.memory.unsupported
        and not _is_of_tonight(b, night)
    ]
    well = sum(b.healthy for b in old)
    return well > 0 and (len(old) - well) * 10 <= len(old)


def _is_of_tonight(bridge: Bridge, night: Night) -> bool:
    created = bridge.memory.time_created
    return bridge.vm_id == night.canary or (
        created is not None and night.opened_at is not None and created >= night.opened_at
    )


def _awaited(fleet: Fleet, night: Night, canary: Bridge, seen: timedelta) -> Night:
    if is_accepting(canary):
        return replace(night, accepted_at=fleet.now)
    night = replace(night, waited_seconds=night.waited_seconds + seen.total_seconds())
    if night.waited_seconds < 60 * fleet.policy.canary_timeout_minutes:
        return night
    why = canary.memory.failure or canary.unhealthy_because or "it stays drained"
    minutes = fleet.policy.canary_timeout_minutes
    return replace(night, failed=f"{canary.name} did not accept calls within {minutes:g} min: {why}")


def _baked(fleet: Fleet, night: Night, canary: Bridge, seen: timedelta) -> Night:
    began, accepted_at = process_began(canary.memory), night.accepted_at
    if accepted_at is not None and began is not None and began > accepted_at:
        night = replace(night, accepted_at=fleet.now, baked_seconds=0.0)
        return _with_bad_poll(fleet.policy, night, canary, "its process started anew")
    if not canary.healthy:
        return _with_bad_poll(fleet.policy, night, canary, canary.unhealthy_because or "")
    if (failed := media_failures(canary)) is not None:
        return replace(night, failed=failed)
    baked = night.baked_seconds + seen.total_seconds()
    done = baked >= 60 * fleet.policy.canary_bake_minutes
    return replace(night, baked_seconds=baked, passed_at=fleet.now if done else None)


def _with_bad_poll(policy: ScalingPolicy, night: Night, canary: Bridge, because: str) -> Night:
    bad = night.bad_polls + 1
    if bad < policy.unhealthy_polls:
        return replace(night, bad_polls=bad)
    why = f"{canary.name} was bad in {bad} polls while the old bridges were well: {because}"
    return replace(night, bad_polls=bad, failed=why)


def media_failures(bridge: Bridge) -> str | None:
    """Why it is bad though healthy: at least five, and half of all who came, could not connect."""
    stats = bridge.stats
    if stats is None or not stats.total_participants:
        return None
    failures = max(stats.total_ice_failed or 0, stats.dtls_failed_endpoints or 0)
    if failures < _MEDIA_FAILURES or 2 * failures < stats.total_participants:
        return None
    return (
        f"{failures} of {stats.total_participants} endpoints could not connect to {bridge.name} (ICE or DTLS)"
    )


# One shard after another


def goes_first(
    me: str, shards: Sequence[str], states: Mapping[str, ShardMemory], now: datetime
) -> str | None:
    """
    Name the shard whose canary goes before this one's, or None where it is this one's turn.

    Every shard knows the same order, and the first of it rotates with the date, so that a bad
    image is met by one shard, and not always by the same.
    """
    night = states[me].night
    if night.date is None:
        return None
    order = _order(shards, date.fromisoformat(night.date))
    for name in order:
        if name == me or name not in states or _stands_still(states[name], now):
            continue
        other = states[name].night
        if other.date != night.date or not other.is_open:
            continue
        over = other.until is not None and other.until <= now
        if other.passed_at is not None or other.opened_at is None or over:
            continue
        is_earlier = order.index(name) < order.index(me) and now - other.opened_at < FIRST_IN_TURN_FOR
        if other.canary is not None or is_earlier:
            return name
    return None


def _stands_still(state: ShardMemory, now: datetime) -> bool:
    """Paused, or neither heard nor ticked for long: nobody can tell when its canary has a verdict."""
    held = (since for key, since in state.standing.items() if key.partition(":")[0] in _HELD_BY)
    sinces = [since for since in (state.last_tick_at, state.blind_since, *held) if since is not None]
    return state.paused or not sinces or now - min(sinces) >= FIRST_IN_TURN_FOR


def _order(shards: Sequence[str], day: date) -> list[str]:
    names = sorted(shards)
    first = day.toordinal() % len(names)
    return names[first:] + names[:first]
