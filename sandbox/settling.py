"""The liveness half of a run: nothing goes wrong any more, and the fleet must come to rest."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.cloud import SimScaleSet, SimVm
from sandbox.memory_store import Shard
from scaler.model import BridgeMemory, Phase
from scaler.policy import ScalingPolicy

LEFT_TO_THE_OPERATOR = ("sick", "cannot_reach", "foreign_drain", "drain_refused", "no_fence")
"""Alerts of machines that the rules leave to a person."""
BLIND_FROM = 2
HELD_UP = ("capacity_disagrees", "at_maximum")
"""Alerts of a shard that may not grow until a person acts."""


def unrest(scale_set: SimScaleSet, table: Shard, policy: ScalingPolicy) -> list[str]:
    """Say what still keeps the fleet from rest; empty: it has come to rest."""
    return list(_unrest(scale_set, table, policy))


def _unrest(scale_set: SimScaleSet, table: Shard, policy: ScalingPolicy) -> Iterator[str]:
    stored = table.states.get("state")
    if stored is None:
        yield "the shard is not remembered"
        return
    alerts = stored.value.alerts
    if any(key.startswith("blind:") for key in alerts) and _is_truly_silent(scale_set):
        return  # too many died for the engine to tell a dead fleet from its own deafness: a person must
    rows = {vm_id: row.value for vm_id, row in table.bridges.items()}
    listed = {vm.vm_id: vm for vm in scale_set.vms.values()}
    yield from (f"row of {rows[vm_id].name} without a machine" for vm_id in rows.keys() - listed.keys())
    yield from (f"{listed[vm_id].name} without a row" for vm_id in listed.keys() - rows.keys())
    yield from (f"intent {i.value.intent_id} is open" for i in table.intents.values() if i.value.is_open)
    left = {vm_id for vm_id in listed if _is_left(listed[vm_id], alerts)}
    for vm_id in sorted(listed.keys() & rows.keys() - left):
        yield from _of_one(listed[vm_id], rows[vm_id])
    accepting = sum(is_open(vm) for vm_id, vm in listed.items() if vm_id not in left)
    yield from _of_all(accepting, len(left), alerts, policy)
    if scale_set.capacity != len(listed) and not any(a.startswith("capacity_disagrees") for a in alerts):
        yield f"capacity {scale_set.capacity}, {len(listed)} machines, and no alert"


def _is_truly_silent(scale_set: SimScaleSet) -> bool:
    silent = sum(vm.bridge is None or not vm.bridge.muc_joined for vm in scale_set.vms.values())
    return silent >= BLIND_FROM and silent * 3 > len(scale_set.vms)


def _of_all(accepting: int, left: int, alerts: object, policy: ScalingPolicy) -> Iterator[str]:
    keys = {str(key).partition(":")[0] for key in alerts} if isinstance(alerts, dict) else set()
    held_up = bool(keys & set(HELD_UP))
    wanted = max(1, policy.min_bridges)
    # A machine that waits for a person may be of use to nobody: the minimum counts machines.
    if accepting < wanted and not held_up:
        yield f"{accepting} accept, {wanted} wanted, {left} left to the operator"
    if accepting > wanted and "foreign_drain" not in keys and "drain_refused" not in keys:
        yield f"{accepting} accept, {wanted} wanted"
    if accepting > wanted + 1 and left == 0:
        yield "more than one too many"


def _is_left(vm: SimVm, alerts: dict[str, object] | object) -> bool:
    return isinstance(alerts, dict) and any(f"{kind}:{vm.name}" in alerts for kind in LEFT_TO_THE_OPERATOR)


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
