"""
The night: every bridge on the newest image, oldest first, without anyone noticing. Pure.

One machine more than the evening had is made of the night's target. When this canary is proved, the
oldest bridge is drained, and leaves by the same road as by day; its place is taken by the next new
machine. So the shard never accepts with fewer bridges than before, and nothing resets to a constant.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

from scaler import demand
from scaler.canary import is_on_trial, judge, media_failures, trial
from scaler.decision import Alert, Drain, Event, EventKind, Reason, Refusal, Undrain, Vote
from scaler.images import (
    choose_target,
    follow_build,
    is_outdated,
    left_behind,
    makes_blocked,
    proved_image,
    without_superseded,
)
from scaler.model import Bridge, Night, Phase, Purpose, ShardMemory
from scaler.scale_in import Shrink, pace_objections
from scaler.selection import (
    DRAIN_TERMS,
    SAFETY_TERMS,
    Fleet,
    bad_polls,
    is_condemned,
    is_our_drain,
    not_idle,
    objections,
    only_healthy,
    refuse,
    too_young,
    uptime,
)
from scaler.watch import delete_by_hand
from scaler.window import Window, window_at

DONE = "done"
UNFINISHED = "unfinished"
BAD_IMAGE = "bad image"
NOTHING_TO_DO = "nothing to do"
SWITCHED_OFF = "switched off"

CLOCK_SET_BACK = timedelta(minutes=5)
OUTDATED_FOR = timedelta(hours=24)
"""So long every bridge had its night."""
BAD_ONES_AT_MOST = 2
"""So many drained canaries of bad images, and no further version is tried until they have left."""
_ON_THE_WAY_OUT = frozenset({Phase.DRAINING, Phase.FENCED, Phase.DELETING})
_IN_THE_WAY = frozenset({Purpose.FOREIGN, Purpose.OPERATOR})


# What a night remembers, from tick to tick


def follow(fleet: Fleet, state: ShardMemory) -> tuple[ShardMemory, tuple[Event, ...]]:
    """Open, judge, count and end the night; return the state and what there is to say of it."""
    before = state.night
    state = _open(fleet, _closed(fleet, state))
    if state.night.is_open:
        state = _went_on(fleet, state)
    if state.good_image is None:
        state = replace(state, good_image=proved_image(fleet, state))
    behind = left_behind(fleet, state.good_image)
    state = replace(state, outdated_since=(state.outdated_since or fleet.now) if behind else None)
    made = {b.instance.image for b in fleet.bridges if b.instance}
    blocked = without_superseded(state.blocked_images, state.night.target, made)
    state = replace(state, blocked_images=blocked)
    build, built = follow_build(fleet, state.build)
    said = [*_night_in_words(before, state.night), *([(EventKind.IMAGE_BUILD, built)] if built else [])]
    events = tuple(Event(kind, fleet.snapshot.shard, text) for kind, text in said)
    return replace(state, build=build), events


def _closed(fleet: Fleet, state: ShardMemory) -> ShardMemory:
    """End a night whose window is over, or that the operator switched off."""
    night = state.night
    if not night.is_open:
        return state
    if fleet.policy.recycle == "off":
        return _ended(fleet, state, SWITCHED_OFF)
    over = night.until is None or fleet.now >= night.until
    # A clock that was set back far behind its opening: it is not known what belongs to it.
    over = over or (night.opened_at is not None and fleet.now < night.opened_at - CLOCK_SET_BACK)
    return _ended(fleet, state, UNFINISHED) if over else state


def _ended(fleet: Fleet, state: ShardMemory, outcome: str) -> ShardMemory:
    night = replace(state.night, ended_at=fleet.now, outcome=outcome, waits_for=None, waits_since=None)
    return replace(state, night=night)


def _open(fleet: Fleet, state: ShardMemory) -> ShardMemory:
    """Open the night of this date, once, where its timer runs inside the window."""
    window = _window_to_open(fleet, state)
    nightly = fleet.snapshot.nightly
    if window is None or nightly is None:
        return state
    target, policy, proved = None, fleet.policy, proved_image(fleet, state)
    if policy.image_definition_id is not None:
        if nightly.versions is None:
            return state
        target = choose_target(nightly.versions, state.blocked_images, fleet.now)
        if _bad_ones_pile_up(fleet):
            # Each further one would take a place. A night of the proved version brings them to the front.
            target = proved or target
    first = next(iter(fleet.live), None)
    night = Night(
        date=window.date,
        opened_at=fleet.now,
        until=window.closes_at,
        take_back_at=window.take_back_at,
        target=target,
        oldest=first.vm_id if first is not None and policy.recycle == "always" else None,
        relays=any(b.stats is not None and b.stats.relay_id for b in fleet.bridges),
    )
    night = replace(night, config=_config(fleet))
    replaceable, _ = to_replace(fleet, night)
    night = replace(night, of=len(replaceable), outdated=len(replaceable), base=_standing(fleet))
    state = replace(
        state,
        night=night,
        good_image=proved,
    )
    return state if replaceable else _ended(fleet, state, NOTHING_TO_DO)


def _window_to_open(fleet: Fleet, state: ShardMemory) -> Window | None:
    if fleet.snapshot.nightly is None or fleet.policy.recycle == "off" or state.blind_since is not None:
        return None
    window = window_at(fleet.policy, fleet.now)
    return window if window is not None and window.date > (state.night.date or "") else None


def gallery_unknown(fleet: Fleet, state: ShardMemory) -> tuple[Refusal, ...]:
    """The night is due and does not open, since it is not known what it would be for."""
    nightly = fleet.snapshot.nightly
    if nightly is None or nightly.problem is None or _window_to_open(fleet, state) is None:
        return ()
    return (refuse(Reason.GALLERY_UNKNOWN, nightly.problem),)


def _standing(fleet: Fleet) -> int:
    """
    Bridges that serve, also those that a single poll did not reach.

    At least the minimum, which has to accept beside the one that leaves: also where machines count
    for it that cannot accept, as a JVB that is too old.
    """
    return max(fleet.policy.minimum, sum(1 for b in fleet.live if b.phase is Phase.READY))


def _went_on(fleet: Fleet, state: ShardMemory) -> ShardMemory:
    """Carry an open night through this tick: the verdict, the base, the count of what is left."""
    night = state.night
    if night.passed_at is None:
        night = judge(fleet, night)
        if trial(fleet, night) is None:
            needless = _needs_no_canary(fleet, state)
            passed_at = fleet.now if needless else None
            night = replace(night, base=_standing(fleet), config=_config(fleet), passed_at=passed_at)
        state = replace(state, night=night)
        if night.failed is not None:
            return _condemned(fleet, state)
    if night.passed_at == fleet.now:
        state = replace(state, good_image=night.target or state.good_image)
    replaceable, beside = to_replace(fleet, night)
    enough = _enough_for_load(fleet, state)
    base = min(night.base, enough) if night.passed_at and enough is not None else night.base
    night = replace(night, outdated=len(replaceable), beside=len(beside), base=base)
    state = replace(state, night=night)
    if replaceable or is_on_trial(fleet, night):
        return state
    return _ended(fleet, state, DONE if night.passed_at else NOTHING_TO_DO)


def _config(fleet: Fleet) -> str | None:
    """Which boot configuration a new machine gets now."""
    scale_set = fleet.snapshot.scale_set
    return scale_set.config if scale_set is not None else None


def _needs_no_canary(fleet: Fleet, state: ShardMemory) -> bool:
    """
    What a new machine would be made of has served for long enough, and a place is free, or none is needed.

    Else, where nothing can leave, each night would add a machine that no day could remove.
    """
    night = state.night
    if night.opened_at == fleet.now or night.target not in (None, state.good_image):
        return False
    of_it = [bridge for bridge in fleet.accepting if _is_as_new_ones(fleet, night, bridge)]
    if any(map(media_failures, of_it)) or not any(_has_baked(fleet, bridge) for bridge in of_it):
        return False
    replaceable, _ = to_replace(fleet, night)
    if not replaceable:
        return False
    waiting = [b for b in replaceable if b.phase is Phase.READY and too_young(fleet, b) is None]
    enough = _enough_for_load(fleet, state)
    return not waiting or (enough is not None and len(fleet.accepting) > enough)


def _is_as_new_ones(fleet: Fleet, night: Night, bridge: Bridge) -> bool:
    """Only where the model names it exactly: of `latest` nobody knows what it makes next."""
    scale_set = fleet.snapshot.scale_set
    made_of = night.target or (scale_set.image if scale_set is not None else None)
    same = bridge.instance is not None and made_of is not None and bridge.instance.image == made_of
    return same and not is_outdated(bridge, scale_set, made_of)


def _has_baked(fleet: Fleet, bridge: Bridge) -> bool:
    """Up for as long as a canary has to be, and not bad in as many polls as would condemn one."""
    age = uptime(bridge.memory, fleet.now)
    old_enough = age is not None and age >= timedelta(minutes=fleet.policy.canary_bake_minutes)
    return old_enough and bad_polls(bridge.memory) < fleet.policy.unhealthy_polls


def _enough_for_load(fleet: Fleet, state: ShardMemory) -> int | None:
    """Bridges that the load needs, where there was one to spare for long enough: the rest may just leave."""
    since = state.surplus_since
    if since is None or fleet.now - since < fleet.policy.scale_in_window:
        return None
    carrying = demand.bridges_for(fleet.demand_in, fleet.policy.scale_in_pressure)
    return max(fleet.policy.minimum, carrying)


def _condemned(fleet: Fleet, state: ShardMemory) -> ShardMemory:
    """No more tonight. A version that makes other bridges well is not blocked for one bad machine."""
    target = state.night.target
    if target is not None and _serves_already(fleet, state.night):
        state = replace(state, good_image=target)
    if target is not None and target != state.good_image:
        state = replace(state, blocked_images={**state.blocked_images, target: fleet.now})
    return _ended(fleet, state, BAD_IMAGE)


def _serves_already(fleet: Fleet, night: Night) -> bool:
    """
    The fleet was moved onto it by hand, and has served since: that proves more than one new machine.

    One bridge proves nothing: it may be the canary of an earlier night that had no verdict.
    """
    on_it = [b for b in fleet.accepting if b.instance is not None and b.instance.image == night.target]
    return sum(b.vm_id != night.canary and _has_baked(fleet, b) for b in on_it) >= 2


def to_replace(fleet: Fleet, night: Night) -> tuple[tuple[Bridge, ...], tuple[Bridge, ...]]:
    """Bridges that the night has to replace, oldest first, and those beside that cannot be drained now."""
    due = {b.vm_id: b for b in fleet.bridges if b.memory.ever_ready and _is_due(fleet, night, b)}
    able = [b for b in fleet.live if b.vm_id in due and not _cannot_be_drained(b)]
    known = {b.vm_id for b in able}
    return tuple(able), tuple(b for vm_id, b in due.items() if vm_id not in known)


def _is_due(fleet: Fleet, night: Night, bridge: Bridge) -> bool:
    return bridge.vm_id == night.oldest or is_outdated(bridge, fleet.snapshot.scale_set, night.target)


def _cannot_be_drained(bridge: Bridge) -> bool:
    by_others = bridge.phase is Phase.DRAINING and bridge.memory.purpose in _IN_THE_WAY
    refuses = bridge.phase is Phase.READY and bridge.memory.failure is not None
    return by_others or refuses


def _night_in_words(before: Night, night: Night) -> list[tuple[EventKind, str]]:
    said = []
    if before.is_open and not night.is_open:
        said.append(_end_in_words(night))
    if night.date != before.date:
        image = f"onto {_version(night.target)}" if night.target else "onto what the model names"
        until = f"{night.until:%H:%M} UTC" if night.until else "an unknown time"
        said.append(f"the night of {night.date} opens: {night.of} to replace {image}, until {until}")
        if not night.is_open:
            said.append(_end_in_words(night))
    if night.accepted_at is not None and before.accepted_at is None:
        said.append("the canary accepts calls; its bake time begins")
    if night.passed_at is not None and before.passed_at is None:
        said.append(_verdict_in_words(night))
    if night.is_open and before.date == night.date and night.outdated != before.outdated:
        said.append(f"{night.outdated} of {night.of} still to replace")
    return [(EventKind.NIGHT, text) for text in said]


def _verdict_in_words(night: Night) -> str:
    if night.canary is None:
        return "no canary is needed: its image serves already, and there is room for the oldest to go"
    return "the canary is proved: the oldest bridges may go"


def _end_in_words(night: Night) -> str:
    left = f"{night.outdated} of {night.of} left" if night.outdated else f"all {night.of} replaced"
    if night.outcome == NOTHING_TO_DO:
        left = "no bridge is outdated"
    beside = f", {night.beside} beside that cannot be drained" if night.beside else ""
    why = f": {night.failed}" if night.failed else ""
    return f"the night of {night.date} ends, {night.outcome}{why}; {left}{beside}"


def _version(image: str | None) -> str:
    return image.rpartition("/")[2] if image else "none"


# New machines


def may_start_canary(fleet: Fleet, state: ShardMemory) -> Refusal | None:
    """Why the first machine of the night may not be asked for now; None: it may. Only for an open night."""
    night, bake = state.night, fleet.policy.canary_bake_minutes
    if fleet.snapshot.turn_of is not None:
        return refuse(Reason.CANARY_TURN, f"the canary of {fleet.snapshot.turn_of} goes first")
    left = (night.until - fleet.now).total_seconds() / 60 if night.until else 0
    if left < bake:
        return refuse(Reason.NIGHT_TOO_SHORT, f"{left:.0f} min left, {bake:g} needed to prove a canary")
    return _hot(fleet)


def _hot(fleet: Fleet) -> Refusal | None:
    hot = [b.name for b in fleet.accepting if demand.is_hot(b)]
    return refuse(Reason.HOT, f"{hot[0]} is over a threshold, load goes first") if hot else None


def is_waiting_to_start(fleet: Fleet, state: ShardMemory) -> bool:
    """Open, behind the tick that opened it, without a canary."""
    night = state.night
    if not night.is_open or night.opened_at == fleet.now or night.passed_at is not None:
        return False
    return trial(fleet, night) is None


def surge(fleet: Fleet, state: ShardMemory) -> tuple[int, tuple[Vote, ...], tuple[Refusal, ...]]:
    """Machines that the night asks for now, the vote for it, and why not more."""
    night = state.night
    if not night.is_open or night.passed_at == fleet.now or state.blind_since is not None:
        return 0, (), ()
    if night.passed_at is None:
        return _canary(fleet, state) if is_waiting_to_start(fleet, state) else (0, (), ())
    size = fleet.policy.surge_of(night.base)
    free = max(0, size - len(leaving(fleet)))
    next_ones = takewhile(lambda b: b.phase is Phase.READY, _in_turn(fleet, night))
    waiting = [b for b in next_ones if too_young(fleet, b) is None]
    wanted = night.base + min(free, len(waiting))
    missing = min(wanted - len(fleet.accepting) - fleet.pending, size)
    if missing <= 0:
        return 0, (), ()
    if (no := _hot(fleet) or _is_unproved(fleet, night)) is not None:
        return 0, (), (no,)
    because = f"{night.base} must accept while {len(waiting)} wait to be replaced"
    return missing, (Vote("night", f"{wanted}", because),), ()


def _canary(fleet: Fleet, state: ShardMemory) -> tuple[int, tuple[Vote, ...], tuple[Refusal, ...]]:
    night = state.night
    if (no := may_start_canary(fleet, state) or _is_unproved(fleet, night)) is not None:
        return 0, (), (no,)
    because = f"the canary of the night, made of {_version(night.target)}" if night.target else "its canary"
    return 1, (Vote("night", f"{len(fleet.accepting) + fleet.pending + 1}", because),), ()


def _is_unproved(fleet: Fleet, night: Night) -> Refusal | None:
    """Why a new machine would be another than the night is for."""
    scale_set = fleet.snapshot.scale_set
    if night.target is not None and (scale_set is None or scale_set.image != night.target):
        return refuse(Reason.IMAGE_NOT_SET, f"the model does not name {_version(night.target)} yet")
    if _config(fleet) != night.config:
        detail = f"it is {_config(fleet)}, and {night.config} when the canary was asked for"
        return refuse(Reason.CONFIGURATION_CHANGED, detail)
    return None


def leaving(fleet: Fleet) -> tuple[Bridge, ...]:
    """
    Bridges whose place in the surge is taken: drained for the night, and not yet ARM's to delete.

    One that died meanwhile waits for a person, and the others not for it.
    """
    going = {b.vm_id for b in (*fleet.going, *fleet.sick)}
    gone_by = (b for b in fleet.bridges if b.memory.purpose is Purpose.RECYCLE and b.vm_id not in going)
    return tuple(b for b in gone_by if b.phase in _ON_THE_WAY_OUT and not is_condemned(b, fleet.snapshot))


# Drains


def drains(fleet: Fleet, state: ShardMemory, *, grew: bool) -> Shrink:
    """
    Drain the oldest bridge, one a tick, until as many are on their way out as the surge brought.

    A busy one is drained at once and waited for. With `oldest_among: idle` the busy ones come last.
    `grew`: this tick adds bridges for load.
    """
    bridge = next(iter(_in_turn(fleet, state.night)), None)
    if bridge is None:
        return Shrink()
    if bridge.phase is not Phase.READY:
        no = refuse(Reason.ALREADY_LEAVING, "somebody else drained it; it goes first", bridge)
        return Shrink(refusals=(no,))
    against = _objections(fleet, state, bridge, grew=grew)
    if len(leaving(fleet)) >= fleet.policy.surge_of(state.night.base):
        against += (refuse(Reason.SURGE_IN_USE, f"{leaving(fleet)[0].name} is on its way out", bridge),)
    if against:
        return Shrink(refusals=against)
    because = "the oldest of the night's outdated bridges; a new one has taken its place"
    return Shrink(actions=(Drain(bridge.vm_id, Purpose.RECYCLE, because),))


def _in_turn(fleet: Fleet, night: Night) -> tuple[Bridge, ...]:
    """
    Bridges to drain in their order, up to the last that is to be replaced.

    An older one that is up to date goes too where the literal rule would make the others wait for it.
    """
    due = {b.vm_id for b in to_replace(fleet, night)[0] if b.phase is Phase.READY}
    waiting = [b for b in fleet.live if b.phase is Phase.READY or b.memory.purpose in _IN_THE_WAY]
    if fleet.policy.oldest_among == "idle":
        outdated = sorted((b for b in waiting if b.vm_id in due), key=lambda b: not b.idle)
        older = list(takewhile(lambda b: b is not outdated[0], waiting)) if outdated else []
        if _bad_ones_pile_up(fleet):
            last = max((place for place, b in enumerate(fleet.live) if b in fleet.condemned), default=0)
            older += [b for b in fleet.live[:last] if b.phase is Phase.READY and b not in older]
        return (*(b for b in older if b.idle and b.vm_id not in due), *outdated)
    if _bad_ones_pile_up(fleet):
        # They cannot leave before they are the oldest: those before them make room.
        bad = {b.vm_id for b in fleet.condemned}
        waiting = [b for b in fleet.live if b in waiting or b.vm_id in bad]
        due |= bad
    last = max((place for place, b in enumerate(waiting) if b.vm_id in due), default=-1)
    return tuple(b for b in waiting[: last + 1] if not is_our_drain(b))


def _objections(fleet: Fleet, state: ShardMemory, bridge: Bridge, *, grew: bool) -> tuple[Refusal, ...]:
    against = objections(fleet, bridge, (only_healthy, too_young, *SAFETY_TERMS, *DRAIN_TERMS))
    rest = fleet.accepting_others(bridge)
    base = fleet.snapshot.memory.night.base  # as it is written down: a lower one counts from the next tick on
    if rest < base:
        detail = f"{rest} others accept calls, {base} did before the night"
        against += (refuse(Reason.LAST_ACCEPTING, detail, bridge),)
    if (unproved := _is_unproved(fleet, state.night)) is not None:
        against += (unproved,)
    return against + pace_objections(fleet, state, rest, grew=grew, at_night=True)


def on_trial_refusal(fleet: Fleet, state: ShardMemory) -> Refusal | None:
    """Why nothing is drained or fenced now: the canary is not proved yet."""
    night = state.night
    if not is_on_trial(fleet, night):
        return None
    if night.accepted_at is None:
        return refuse(
            Reason.CANARY_ON_TRIAL, f"it has {fleet.policy.canary_timeout_minutes:g} min to accept calls"
        )
    bake = fleet.policy.canary_bake_minutes
    return refuse(Reason.CANARY_ON_TRIAL, f"healthy for {night.baked_seconds / 60:.0f} of {bake:g} min")


def take_backs(fleet: Fleet, state: ShardMemory) -> tuple[Undrain, ...]:
    """Un-drain what still drains for a night whose noon has come: nobody wants half a fleet by day."""
    night = state.night
    if night.is_open or (night.take_back_at is not None and fleet.now < night.take_back_at):
        return ()
    return tuple(
        Undrain(b.vm_id, "the night is over, and its calls did not end by noon")
        for b in fleet.our_drains
        if b.memory.purpose is Purpose.RECYCLE and b.healthy
    )


# A bad image


def condemned_drains(fleet: Fleet, state: ShardMemory) -> Shrink:
    """Drain a bridge that is made of a blocked version, where enough others carry the load."""
    found = [b for b in fleet.accepting if is_condemned(b, fleet.snapshot)]
    for bridge in found[:1]:
        against = objections(fleet, bridge, (only_healthy, *SAFETY_TERMS, *DRAIN_TERMS))
        against += pace_objections(fleet, state, fleet.accepting_others(bridge), grew=False, at_night=True)
        if against:
            return Shrink(refusals=against)
        return Shrink(
            actions=(Drain(bridge.vm_id, Purpose.RECYCLE, "it is made of a blocked image version"),)
        )
    return Shrink()


def alerts(fleet: Fleet, state: ShardMemory) -> tuple[Alert, ...]:
    """What a person should know of images: a bad one, and bridges that stay on an old one."""
    return (*_image_alerts(fleet, state), *_outdated_alerts(fleet, state))


def _outdated_alerts(fleet: Fleet, state: ShardMemory) -> tuple[Alert, ...]:
    """Bridges that no night could replace for a day, unless the nights are switched off."""
    since = state.outdated_since
    behind = left_behind(fleet, state.good_image)
    if not behind or fleet.policy.recycle == "off" or since is None or fleet.now - since < OUTDATED_FOR:
        return ()
    text = f"{len(behind)} of {len(fleet.live)} bridges run an older image than {_version(state.good_image)}"
    calls = "; ".join(f"{b.name}: {_calls(b)}" for b in behind[:5])
    return (Alert("outdated", fleet.snapshot.shard, f"{text} since {since:%Y-%m-%d %H:%M} UTC: {calls}"),)


def _end_of_block(fleet: Fleet) -> str:
    left = fleet.of_bad_images
    if not left:
        return "The block ends with a newer version, or by `image unblock`"
    return (
        "The block ends with a newer version, once no bridge is made of it. One still is, and leaves when "
        f"it is the oldest; or when it is empty, stop its VM, and: {delete_by_hand(left[0])}"
    )


def _bad_ones_pile_up(fleet: Fleet) -> bool:
    return len(fleet.of_bad_images) >= BAD_ONES_AT_MOST


def _pile_alert(fleet: Fleet) -> tuple[Alert, ...]:
    """The first bad image was told; that no newer one is tried any more is another matter."""
    if not _bad_ones_pile_up(fleet):
        return ()
    names = ", ".join(b.name for b in fleet.of_bad_images)
    text = (
        f"{names} are made of bad images and take places of `max_bridges`: no newer version is tried beside "
        f"them. When one is empty, stop its VM, and: {delete_by_hand(fleet.of_bad_images[0])}"
    )
    return (Alert("bad_bridges", fleet.snapshot.shard, text),)


def _calls(bridge: Bridge) -> str:
    conferences = bridge.stats.conferences if bridge.stats is not None else None
    return "calls not known" if conferences is None else f"{conferences} conferences"


def _image_alerts(fleet: Fleet, state: ShardMemory) -> tuple[Alert, ...]:
    """A bad image, while its version is blocked; a canary that failed on a good one, until the next night."""
    night, shard = state.night, fleet.snapshot.shard
    if state.blocked_images:
        versions = ", ".join(_version(image) for image in sorted(state.blocked_images))
        why = night.failed if night.failed and night.target in state.blocked_images else "see the events"
        made_of = f"New machines are made of {_version(state.good_image)}"
        if makes_blocked(fleet, state):
            made_of = f"No machine is added until the model names {_version(state.good_image)} again"
        text = f"image version {versions} is blocked: {why}. {made_of}. {_end_of_block(fleet)}"
        return (Alert("bad_image", shard, text), *_pile_alert(fleet))
    if night.failed is not None and night.target == (state.good_image if night.target else None):
        return (
            Alert("canary_failed", shard, f"{night.failed}. Its image makes other bridges well: not blocked"),
        )
    return ()


# Progress


def progress(fleet: Fleet, state: ShardMemory, refusals: tuple[Refusal, ...]) -> ShardMemory:
    """Note what an open night waits for, and since when."""
    night = state.night
    if not night.is_open:
        return state
    waits_for = _waits_for(fleet, state, refusals)
    since = night.waits_since if waits_for == night.waits_for else fleet.now
    return replace(state, night=replace(night, waits_for=waits_for, waits_since=since))


def _waits_for(fleet: Fleet, state: ShardMemory, refusals: tuple[Refusal, ...]) -> str:
    if is_on_trial(fleet, state.night):
        return "the canary to accept calls" if state.night.accepted_at is None else "the canary to be proved"
    due = to_replace(fleet, state.night)[0] if state.night.passed_at is not None else ()
    for bridge in (*leaving(fleet), *(b for b in due if b.phase is Phase.DRAINING)):
        busy = not_idle(fleet, bridge)
        if bridge.phase is Phase.DRAINING and busy is not None:
            return f"{bridge.name} to empty"
        return f"{bridge.name} to leave"
    if fleet.pending:
        return "a new machine"
    reasons = _AGAINST_A_MACHINE if state.night.passed_at is None else _AGAINST_A_MACHINE | _AGAINST_A_DRAIN
    own = next((r for r in refusals if r.reason in reasons), None)
    otherwise = "its canary" if state.night.passed_at is None else "the next tick"
    return str(own.reason).replace("_", " ") if own is not None else otherwise


_AGAINST_A_MACHINE = frozenset(
    {
        Reason.CANARY_TURN,
        Reason.IMAGE_NOT_SET,
        Reason.CONFIGURATION_CHANGED,
        Reason.NIGHT_TOO_SHORT,
        Reason.HOT,
        Reason.BACKING_OFF,
        Reason.CAPACITY_DISAGREES,
        Reason.AT_MAXIMUM,
        Reason.BLIND,
    }
)
_AGAINST_A_DRAIN = frozenset(
    {
        Reason.JUST_UNDRAINED,
        Reason.LAST_ACCEPTING,
        Reason.NO_HEADROOM,
        Reason.TOO_YOUNG,
        Reason.NOT_HEALTHY,
        Reason.ALREADY_LEAVING,
        Reason.PROTECTED,
    }
)
