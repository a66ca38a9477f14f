"""Small worlds to test with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sandbox.bridge import SimBridge
from sandbox.cloud import ScaleSetSpec, SimVm
from sandbox.workload import PlannedConference, Workload, meeting
from sandbox.world import World, WorldConfig

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-Meet"
SCALE_SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/jvb-a"
OTHER = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/jvb-b"
START = datetime(2026, 11, 18, 9, tzinfo=UTC)  # a Wednesday


def world_of(
    capacity: int = 2,
    conferences: Sequence[PlannedConference] = (),
    seed: int = 1,
    spec: ScaleSetSpec | None = None,
    **config: Any,
) -> World:
    """One scale set with so many old bridges, and exactly these conferences."""
    spec = replace(spec or ScaleSetSpec(SCALE_SET), capacity=capacity)
    return World(WorldConfig(seed, START, (spec,), Workload.of(conferences), **config))


def hour_long(people: int = 5, name: str = "call") -> PlannedConference:
    """A conference from the start of the world on, for an hour."""
    return meeting(START, 60, people, name)


def vms_of(world: World) -> list[SimVm]:
    """Machines of the one scale set, in the order of creation."""
    return list(world.scale_set(SCALE_SET).vms.values())


def bridge_of(vm: SimVm) -> SimBridge:
    """The bridge on a machine that has one."""
    assert vm.bridge is not None
    return vm.bridge


def carrier_of(world: World) -> SimVm:
    """The one machine that carries a conference."""
    (carrier,) = [vm for vm in world.vms() if vm.bridge and vm.bridge.conferences]
    return carrier
