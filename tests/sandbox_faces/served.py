"""Small worlds to serve, and ways to find things in them."""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox.bridge import SimBridge
from sandbox.cloud import SimVm
from sandbox.faces.server import Faces
from sandbox.world import BootModel, ScaleSetSpec, World, WorldConfig

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-calls"
SCALE_SET_ID = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/bridges"
START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def new_world(capacity: int = 2) -> World:
    """One scale set in which nobody meets and machines boot in a minute."""
    spec = ScaleSetSpec(SCALE_SET_ID, capacity=capacity)
    return World(WorldConfig(7, START, (spec,), boot=BootModel(median_s=60, p95_s=60)))


def first_vm(served: Faces) -> SimVm:
    """The machine that was created first."""
    return next(iter(served.world.vms()))


def bridge_of(vm: SimVm) -> SimBridge:
    """The bridge on a machine that has one."""
    assert vm.bridge is not None
    return vm.bridge


def url_of(served: Faces, vm: SimVm, path: str) -> str:
    """A path at a bridge's private port."""
    return f"http://{vm.address}:{served.bridge_port}{path}"
