"""What is counted from tick to tick, and what a person should know of while it lasts. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from scaler import demand
from scaler.decision import Alert
from scaler.health import OUTAGE
from scaler.model import Bridge, Phase, Purpose, ScaleSet, ShardMemory
from scaler.policy import ScalingPolicy
from scaler.process import restarted_lately
from scaler.selection import Fleet, Silence, is_condemned, is_late, oldest, silence

BLIND_UNTIL_CLEAR_TICKS = 3
_FOREIGN_DRAIN_WORTH_AN_ALERT = timedelta(minutes=10)
SHUTTING_DOWN_TOO_LONG = timedelta(minutes=5)
SAME_INCIDENT = timedelta(hours=1)
_OPERATOR_DRAIN_WORTH_AN_ALERT = timedelta(hours=1)
_DRAIN_UNSEEN_POLLS = 2
_DISAGREES_TICKS = 2
_FAILURES_WORTH_AN_ALERT = 2
_RESTARTS_WORTH_AN_ALERT = 3
_FENCES_WORTH_AN_ALERT = 2


def count_on(fleet: Fleet) -> ShardMemory:
    """Carry the shard's counters through this tick's observation."""
    state = fleet.snapshot.memory
    state = forget_after_outage(state, state.last_tick_at, fleet.now)
    state = replace(state, last_tick_at=fleet.now, heard_at=fleet.now, epoch=fleet.snapshot.epoch)
    state = _blindness(fleet, state)
    accepting = len(fleet.accepting)
    full = accepting > 0 and fleet.demand_out >= demand.LOWER_BOUND_FROM * accepting
    spare = (
        accepting > 1
        and state.blind_since is None
        and demand.has_surplus(fleet.demand_in, accepting - 1, fleet.policy.scale_in_pressure)
    )
    gap, scale_set = _capacity_gap(fleet), fleet.snapshot.scale_set
    lasts = state.gap_since if gap == state.capacity_gap and _stood_still(fleet, state) else None
    return replace(
        state,
        lower_bound_polls=state.lower_bound_polls + 1 if full else 0,
        surplus_since=(state.surplus_since or fleet.now) if spare else None,
        disagree_ticks=state.disagree_ticks + 1 if gap else 0,
        capacity_gap=gap,
        gap_since=(lasts or fleet.now) if gap else None,
        gap_etag=scale_set.etag if gap and scale_set is not None and _is_at_rest(scale_set) else None,
    )


def _stood_still(fleet: Fleet, state: ShardMemory) -> bool:
    """
    Nobody wrote to the scale set since the last tick, and ARM makes no machine that a list may lack.

    Else the same gap may be another: of a list older than the machine that has just ended the first.
    """
    scale_set = fleet.snapshot.scale_set
    if scale_set is None or fleet.snapshot.unlisted:
        return False
    return _is_at_rest(scale_set) and scale_set.etag == state.gap_etag


def _is_at_rest(scale_set: ScaleSet) -> bool:
    return scale_set.provisioning == "Succeeded"


def forget_after_outage(state: ShardMemory, looked_at: datetime | None, now: datetime) -> ShardMemory:
    """What lasted while nobody looked did not last."""
    if looked_at is None or now - looked_at <= OUTAGE:
        return state
    return replace(
        state, surplus_since=None, lower_bound_polls=0, blind_clear_ticks=0, disagree_ticks=0, gap_since=None
    )


def _blindness(fleet: Fleet, state: ShardMemory) -> ShardMemory:
    if silence(fleet).is_blinding:
        begun = state if state.blind_since is not None else _blinded(state, fleet.now)
        return replace(begun, blind_clear_ticks=0)
    if state.blind_since is None:
        return state
    clear = state.blind_clear_ticks + 1
    if clear < BLIND_UNTIL_CLEAR_TICKS:
        return replace(state, blind_clear_ticks=clear)
    return replace(state, blind_since=None, blind_clear_ticks=0, blind_ended_at=fleet.now)


def _blinded(state: ShardMemory, now: datetime) -> ShardMemory:
    """A way to the bridges that comes and goes must not buy one each time that it goes."""
    ended = state.blind_ended_at
    again = ended is not None and now - ended < SAME_INCIDENT
    return replace(state, blind_since=now, blind_bought=state.blind_bought and again)


def expected_capacity(fleet: Fleet) -> int:
    """What `sku.capacity` must be for an absolute write to mean what we think it means."""
    return len(fleet.bridges) - len(fleet.going) + fleet.open_intents


def capacity_disagrees(fleet: Fleet) -> bool:
    """ARM's capacity is not the machines that it lists and we asked for."""
    scale_set = fleet.snapshot.scale_set
    return scale_set is not None and scale_set.capacity != expected_capacity(fleet)


def _capacity_gap(fleet: Fleet) -> int:
    """None is counted while ARM deletes something: it may be between two states, though not for ever."""
    scale_set = fleet.snapshot.scale_set
    if scale_set is None or any(not is_late(bridge, fleet.now) for bridge in fleet.going):
        return 0
    return scale_set.capacity - expected_capacity(fleet)


def alerts(fleet: Fleet, state: ShardMemory) -> tuple[Alert, ...]:
    """Every state that a person should know of now."""
    found = [*_shard_alerts(fleet, state)]
    for bridge in fleet.bridges:
        found += _bridge_alerts(fleet, bridge)
    if state.blind_since is None:
        # What a bad image made is named by that image's own alert.
        found += [_sick_alert(b) for b in fleet.sick if not is_condemned(b, fleet.snapshot)]
    return tuple(found)


def _shard_alerts(fleet: Fleet, state: ShardMemory) -> list[Alert]:
    shard, found = fleet.snapshot.shard, []
    if state.blind_since is not None:
        found.append(Alert("blind", shard, f"cannot hear the bridges: {_said(silence(fleet))}"))
    is_known = fleet.now - state.known_since >= fleet.policy.boot_timeout
    if (fleet.bridges or is_known) and not fleet.accepting and state.blind_since is None:
        found.append(Alert("no_accepting_bridge", shard, "no bridge accepts new calls"))
    if state.boot_failures >= _FAILURES_WORTH_AN_ALERT:
        why = _last_failure(fleet) or "it never joined"
        text = f"{state.boot_failures} creations failed in a row, the last one: {why}"
        found.append(Alert("boot_failures", shard, text))
    if state.disagree_ticks >= _DISAGREES_TICKS and fleet.snapshot.scale_set is not None:
        capacity = fleet.snapshot.scale_set.capacity
        found.append(
            Alert(
                "capacity_disagrees",
                shard,
                f"capacity is {capacity}, but {expected_capacity(fleet)} machines are listed or asked for: "
                "set it by hand, or `repair_capacity`; until then nothing is added",
            )
        )
    return found


def _last_failure(fleet: Fleet) -> str | None:
    """What ARM said of the last creation that failed, or what is known of a later boot that failed."""
    told = [(i.ended_at or i.asked_at, i.error) for i in fleet.snapshot.intents if i.error]
    told += [(b.memory.phase_since, b.memory.failure) for b in fleet.failed if b.memory.failure]
    return max(told, key=lambda each: each[0])[1] if told else None


def _said(heard: Silence) -> str:
    common = heard.common or "all answer again, waiting for three clear ticks"
    return f"{heard.silent} of {heard.asked} ({common})"


def _sick_alert(bridge: Bridge) -> Alert:
    since = bridge.memory.bad_since
    return Alert(
        "sick",
        bridge.name,
        f"not healthy since {since:%H:%M:%S} UTC ({bridge.unhealthy_because}). It may still carry calls; "
        f"when you know that it does not: {delete_by_hand(bridge)}",
    )


def delete_by_hand(bridge: Bridge) -> str:
    """Write the command with which an operator gives his word that one machine may go."""
    return f"jvb-autoscaler replace {bridge.name} --why '...'"


def _bridge_alerts(fleet: Fleet, bridge: Bridge) -> list[Alert]:
    memory, now = bridge.memory, fleet.now
    in_phase_for = now - memory.phase_since
    found = []
    if memory.phase is Phase.DRAINING:
        found += _drain_alerts(fleet.policy, bridge, in_phase_for)
    if _blocks_by_command(fleet, bridge) and in_phase_for >= _OPERATOR_DRAIN_WORTH_AN_ALERT:
        text = (
            "is drained by an operator's command, empty, and the oldest: nothing else leaves before it. "
            f"`undrain` it; or stop its VM, and: {delete_by_hand(bridge)}"
        )
        found.append(Alert("operator_drain", bridge.name, text))
    if memory.unsupported and memory.phase in (Phase.READY, Phase.DRAINING):
        text = (
            "its JVB is older than stable 7210 (2022-04) and cannot be drained, so it is left alone; "
            f"once it is empty, and you have stopped its VM: {delete_by_hand(bridge)}"
        )
        found.append(Alert("unsupported", bridge.name, text))
    if memory.fences_ignored >= _FENCES_WORTH_AN_ALERT and memory.phase is not Phase.DELETING:
        text = (
            f"was to shut down {memory.fences_ignored} times and goes on as if nothing were: "
            "see its log for POST /colibri/shutdown, and whether it came through"
        )
        found.append(Alert("no_fence", bridge.name, text))
    if memory.restarts >= _RESTARTS_WORTH_AN_ALERT and restarted_lately(memory, now):
        text = f"its JVB restarted {memory.restarts} times in a row, which cuts its calls each time"
        found.append(Alert("keeps_restarting", bridge.name, text))
    if memory.phase in (Phase.READY, Phase.DRAINING) and memory.failure is not None:
        found.append(
            Alert(
                "drain_refused", bridge.name, f"its drain API refuses, so it stays as it is: {memory.failure}"
            )
        )
    if memory.phase is Phase.FENCED and memory.exited_at is None and in_phase_for > SHUTTING_DOWN_TOO_LONG:
        text = f"was told to shut down {in_phase_for.total_seconds() / 60:.0f} min ago and has not exited"
        found.append(Alert("exit_overdue", bridge.name, text))
    if is_late(bridge, now):
        text = (
            f"its delete was asked for {in_phase_for.total_seconds() / 60:.0f} min ago and ARM still lists it"
        )
        found.append(Alert("delete_overdue", bridge.name, text))
    return found


def _blocks_by_command(fleet: Fleet, bridge: Bridge) -> bool:
    memory = bridge.memory
    if memory.phase is not Phase.DRAINING or memory.purpose is not Purpose.OPERATOR or not bridge.idle:
        return False
    first = oldest(fleet)
    return first is not None and first.vm_id == bridge.vm_id


def _drain_alerts(policy: ScalingPolicy, bridge: Bridge, lasting: timedelta) -> list[Alert]:
    memory, found = bridge.memory, []
    if memory.drain_unseen_polls >= _DRAIN_UNSEEN_POLLS:
        found.append(
            Alert(
                "drain_not_seen",
                bridge.name,
                f"we drained it, but {memory.drain_unseen_polls} reports say that it is not drained",
            )
        )
    if memory.purpose is Purpose.FOREIGN and lasting >= _FOREIGN_DRAIN_WORTH_AN_ALERT:
        found.append(
            Alert("foreign_drain", bridge.name, "is drained, not by us; left alone, and it blocks scale-in")
        )
    if memory.fence_failure is not None:
        found.append(Alert("no_fence", bridge.name, memory.fence_failure))
    stats = bridge.stats
    if lasting >= timedelta(hours=policy.drain_alert_hours) and stats is not None and stats.conferences:
        found.append(
            Alert(
                "stuck_drain",
                bridge.name,
                f"drains for {lasting.total_seconds() / 3600:.0f} h, {stats.conferences} conferences left",
            )
        )
    return found
