"""The liveness half of a run: nothing goes wrong any more, and the fleet must come to rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sandbox.bridge_config import BridgeFaults
from sandbox.cloud import SimScaleSet, SimVm
from sandbox.memory_store import Shard
from scaler.model import OURS_TO_UNDRAIN, BridgeMemory, Phase
from scaler.policy import ScalingPolicy

UNSOUND = ("sick", "cannot_reach", "unsupported", "keeps_restarting")
"""Alerts of machines that the rules leave to a person, since they are no good bridges."""
REFUSED = ("drain_refused", "no_fence")
"""Alerts of bridges that serve and refused once to go: not asked again until another process runs."""
IN_THE_WAY = ("foreign_drain", "keeps_restarting")
"""Alerts of bridges that cannot go now, and that no younger one may overtake."""
BLIND_FROM = 2


def unrest(scale_set: SimScaleSet, table: Shard, policy: ScalingPolicy) -> list[str]:
    """Say what still keeps the fleet from rest; empty: it has come to rest."""
    return list(_unrest(scale_set, table, policy))


def _unrest(scale_set: SimScaleSet, table: Shard, policy: ScalingPolicy) -> Iterator[str]:
    stored = table.states.get("state")
    if stored is None:
        yield "the shard is not remembered"
        return
    alerts, night = stored.value.alerts, stored.value.night
    if night.is_open:
        yield f"the night of {night.date} is open"
    if scale_set.image.lower() in stored.value.blocked_images:
        yield "new machines are made of a blocked image"
    rows = {vm_id: row.value for vm_id, row in table.bridges.items()}
    listed = {vm.vm_id: vm for vm in scale_set.vms.values()}
    yield from (f"row of {rows[vm_id].name} without a machine" for vm_id in rows.keys() - listed.keys())
    yield from (f"{listed[vm_id].name} without a row" for vm_id in listed.keys() - rows.keys())
    yield from (f"intent {i.value.intent_id} is open" for i in table.intents.values() if i.value.is_open)
    leaving = {vm_id for vm_id, row in rows.items() if row.phase in (Phase.FENCED, Phase.DELETING)}
    told = {key.partition(":")[0] for key in alerts}
    held_up = _is_held_up(scale_set, alerts, policy)
    counted = {vm_id for vm_id, row in rows.items() if row.ever_ready and not row.unsupported} - leaving
    in_service = [vm for vm_id, vm in listed.items() if vm_id in counted]
    if any(key.startswith("blind:") for key in alerts) and _is_truly_silent(in_service):
        return  # too many died for the engine to tell a dead fleet from its own deafness: a person must
    if "no_accepting_bridge" in told and held_up and not any(map(is_open, scale_set.vms.values())):
        return  # nothing serves, none can be added, and nothing answers that could witness a clean-up
    condemned = {vm_id for vm_id, vm in listed.items() if vm.image.lower() in stored.value.blocked_images}
    left = {vm_id for vm_id, vm in listed.items() if _is_left(vm, alerts)} | condemned
    accepting = sum(is_open(vm) for vm_id, vm in listed.items() if vm_id not in left)
    serving = sum(is_open(vm) or _is_drained_by_others(vm, alerts) for vm in listed.values())
    blocked = any(_stands_in_the_way(listed[vm_id], alerts) for vm_id in left)
    for vm_id in sorted(listed.keys() & rows.keys() - left):
        one_in_the_way = blocked and rows[vm_id].purpose in OURS_TO_UNDRAIN
        # The last machine stays until another accepts, and here none may be added: what was fenced, and
        # what ARM refused to delete before.
        is_last = rows[vm_id].phase in (Phase.FENCED, Phase.DELETING) and not accepting and held_up
        if not (one_in_the_way or is_last):
            yield from _of_one(listed[vm_id], rows[vm_id])
    yield from _of_all(accepting, serving, policy, blocked=blocked, held_up=held_up)
    if scale_set.capacity != len(listed) and not any(a.startswith("capacity_disagrees") for a in alerts):
        yield f"capacity {scale_set.capacity}, {len(listed)} machines, and no alert"


def _is_truly_silent(in_service: Sequence[SimVm]) -> bool:
    """Over a third are dead, or can never join: the engine cannot tell that from its own deafness."""
    silent = sum(vm.bridge is None or not vm.bridge.muc_joined or vm.rest_elsewhere for vm in in_service)
    return silent >= BLIND_FROM and silent * 3 > len(in_service)


def _of_all(
    accepting: int, serving: int, policy: ScalingPolicy, *, blocked: bool, held_up: bool
) -> Iterator[str]:
    """
    Without a call as many as the minimum are wanted, and as many must accept.

    `serving`: also those that are left to a person and take calls all the same, as a JVB that is too old;
    and those that a person drained: the minimum counts machines, and they have theirs.
    """
    wanted = max(1, policy.min_bridges)
    if serving < wanted and not held_up:
        yield f"{serving} serve, {wanted} wanted"
    if accepting > wanted and not blocked:
        yield f"{accepting} accept, {wanted} wanted"


def _is_held_up(scale_set: SimScaleSet, alerts: Mapping[str, datetime], policy: ScalingPolicy) -> bool:
    """A person was told why no machine may be added, and it is true."""
    told = {key.partition(":")[0] for key in alerts}
    differs = scale_set.capacity != len(scale_set.vms)
    full = len(scale_set.vms) >= policy.max_bridges
    return ("capacity_disagrees" in told and differs) or ("at_maximum" in told and full)


def _is_left(vm: SimVm, alerts: Mapping[str, datetime]) -> bool:
    """A person was told, and what was told is true."""
    told = {kind for kind in (*UNSOUND, *REFUSED) if f"{kind}:{vm.name}" in alerts}
    unsound = bool(told & set(UNSOUND)) and not _is_sound(vm)
    refused = bool(told & set(REFUSED)) and _did_refuse(vm)
    return unsound or refused or _is_drained_by_others(vm, alerts)


def _is_drained_by_others(vm: SimVm, alerts: Mapping[str, datetime]) -> bool:
    return f"foreign_drain:{vm.name}" in alerts and vm.bridge is not None and vm.bridge.drain


def _did_refuse(vm: SimVm) -> bool:
    bridge = vm.bridge
    never_fenced = bridge is not None and "shutdown" in bridge.faults.statuses
    return never_fenced or (bridge is not None and bridge.refused_in == bridge.process)


def _is_sound(vm: SimVm) -> bool:
    """It serves, its health check finds nothing, and its image is not at fault."""
    bridge = vm.bridge
    if bridge is None or bridge.health_problem or vm.rest_elsewhere:
        return False
    return is_open(vm) and bridge.faults == BridgeFaults()


def _stands_in_the_way(vm: SimVm, alerts: Mapping[str, datetime]) -> bool:
    """It cannot go, and bridges go strictly oldest first."""
    return any(f"{kind}:{vm.name}" in alerts for kind in (*REFUSED, *IN_THE_WAY))


def _of_one(vm: SimVm, row: BridgeMemory) -> Iterator[str]:
    if vm.provisioning in ("Creating", "Deleting"):
        yield f"{vm.name} is {vm.provisioning}"
    if row.phase is not Phase.READY:
        yield f"{vm.name} is {row.phase} ({row.purpose}, {row.refusal})"
    elif not is_open(vm):
        yield f"{vm.name} is ready and does not accept"


def is_open(vm: SimVm) -> bool:
    """A running process in its MUC that neither drains nor ends."""
    bridge = vm.bridge
    return (
        bridge is not None
        and vm.running
        and bridge.muc_joined
        and not bridge.drain
        and not bridge.graceful_shutdown
        and not bridge.shutting_down
    )
