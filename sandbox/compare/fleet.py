"""What a scaling rule can see of one scale set, and the ways in which systems take machines away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.cloud import SimScaleSet, SimVm
from sandbox.world import World

CPU_AT_STRESS_ONE = 0.9
"""A bridge's stress of 1 is a CPU at 90 %."""
MINIMUM, MAXIMUM = 1, 20
"""Bridges that every policy must keep, and may have."""


class Rule(ABC):
    """A scaling policy at work: something is done every `period_s` seconds of simulated time."""

    period_s: int

    @abstractmethod
    def step(self) -> None:
        """Look at the fleet, and change it."""

    def close(self) -> None:  # noqa: B027 - most rules hold nothing
        """Let go of what it holds, at the end."""


@dataclass(slots=True)
class Fleet:
    """
    The machines of the one scale set of a world.

    `leaving` are machines that a rule gave up and that still stand: they carry their last calls,
    or the notice of their end is running.
    """

    world: World
    scale_set_id: str
    minimum: int = MINIMUM
    maximum: int = MAXIMUM
    leaving: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        """The present moment, UTC."""
        return self.world.now

    @property
    def scale_set(self) -> SimScaleSet:
        """The scale set as ARM knows it."""
        return self.world.scale_set(self.scale_set_id)

    def staying(self) -> list[SimVm]:
        """Machines that nobody gave up, in the order of creation, whether they serve yet or not."""
        return [vm for vm in self.scale_set.live_vms() if vm.name not in self.leaving]

    def serving(self) -> list[SimVm]:
        """Those of them that have a bridge in the MUC."""
        return [vm for vm in self.staying() if vm.bridge is not None and vm.bridge.muc_joined]

    @property
    def count(self) -> int:
        """Machines that stay, with those that were asked for and are not listed yet."""
        return len(self.staying()) + self.scale_set.unlisted

    def nic_use(self, vm: SimVm) -> float:
        """Busier direction of the NIC over what the NIC can do."""
        meter = vm.meter
        return max(meter.in_kbps, meter.out_kbps) / 1000 / self.scale_set.spec.nic_mbps

    # Changes

    def add(self, wanted: int) -> int:
        """Ask for so many more machines, at most up to the maximum; how many were asked for."""
        number = max(0, min(wanted, self.maximum - self.count))
        if number:
            standing = len(self.scale_set.live_vms()) + self.scale_set.unlisted
            self.world.set_capacity(self.scale_set_id, standing + number)
        return number

    def terminate(self, vm: SimVm) -> None:
        """Delete a machine now, with whatever it carries."""
        self.leaving.discard(vm.name)
        self.world.delete_instances(self.scale_set_id, [vm.instance_id])

    def terminate_after(self, vm: SimVm, notice: timedelta) -> None:
        """Announce the end of a machine, which goes on as before, and delete it when the notice is over."""
        self.leaving.add(vm.name)
        self.world.schedule(self.now + notice, self.terminate, vm)

    def shut_down(self, vm: SimVm) -> None:
        """Let a bridge end by itself when its last people have left. There is no way back."""
        if vm.bridge is None:
            self.terminate(vm)
            return
        self.leaving.add(vm.name)
        vm.bridge.shutdown(graceful=True)

    def collect_exited(self) -> None:
        """Delete the machines whose bridge ended by itself."""
        for vm in self.scale_set.live_vms():
            if vm.name in self.leaving and vm.bridge is not None and not vm.bridge.listening:
                self.terminate(vm)


def cpu_use(vm: SimVm) -> float:
    """CPU of a serving bridge as it reports it, 0 to 1."""
    return vm.bridge.stress * CPU_AT_STRESS_ONE if vm.bridge is not None else 0.0
