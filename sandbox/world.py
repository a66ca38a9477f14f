"""The world: scale sets, bridges, Jicofo and people under one clock, grown from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sandbox.agenda import Agenda
from sandbox.azure import Azure
from sandbox.bridge_config import BridgeConfig
from sandbox.cloud import (
    BootModel,
    Prestarted,
    ScaleSetSpec,
    SimOperation,
    SimScaleSet,
    SimVm,
    WorldError,
    default_address,
)
from sandbox.gallery import Galleries
from sandbox.history import History
from sandbox.meter import LoadMeter, MetricMinute
from sandbox.workload import Workload

__all__ = [
    "BootModel",
    "BridgeConfig",
    "MetricMinute",
    "Prestarted",
    "ScaleSetSpec",
    "SimOperation",
    "SimScaleSet",
    "SimVm",
    "Workload",
    "World",
    "WorldConfig",
    "WorldError",
]

HEADER_SHARE = 1.03
"""A NIC carries headers that the bridge does not count."""
CHATTER_BYTES_PER_MINUTE = 120_000
"""What an operating system says and hears without being asked."""


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Everything that a history depends on, besides what is done to the world."""

    seed: int
    start: datetime
    scale_sets: tuple[ScaleSetSpec, ...]
    workload: Workload | None = None
    capacity_falls_on_delete: bool = True
    """Whether a delete of chosen machines lowers the capacity; Azure's documents do not say."""
    boot: BootModel = field(default_factory=BootModel)
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    address_scheme: Callable[[int, int], str] = default_address
    """(number of the scale set, number of the machine) -> private address."""
    reuse_addresses: bool = False
    """Give addresses of machines that are gone to new ones first."""
    monitor_lag_minutes: int = 2
    """Complete minutes that Azure Monitor does not have yet."""
    people_per_vcpu: int = 25
    """The truth of how many a bridge carries well; with the two shares below, what is overload."""
    full_nic_share: float = 0.7
    full_cpu_share: float = 0.8


class World:
    """
    One simulated installation. It changes by time passing and by what is done to it.

    Reading never changes it: two worlds of the same configuration that are treated alike
    have the same history, however often either is looked at or in whichever steps time moves.
    """

    def __init__(self, config: WorldConfig) -> None:
        """Stand at `config.start` with the first machines running and their people online."""
        root = Random(config.seed)
        self.config = config
        self.history = History()
        self._agenda = Agenda(config.start)
        self._azure = Azure(
            self._agenda,
            self.history,
            Random(root.getrandbits(64)),
            config.boot,
            self._bridge_config,
            self._new_meter,
            capacity_falls_on_delete=config.capacity_falls_on_delete,
            reuse_addresses=config.reuse_addresses,
            address_scheme=config.address_scheme,
        )
        for number, spec in enumerate(config.scale_sets):
            scale_set = self._azure.add_scale_set(spec)
            workload = spec.workload or self._share_of(config.workload, number)
            if workload is not None:
                scale_set.jicofo.follow(workload)

    def _share_of(self, workload: Workload | None, number: int) -> Workload | None:
        return replace(workload, seed=workload.seed + number, _days={}) if workload else None

    def _bridge_config(self, scale_set: SimScaleSet) -> BridgeConfig:
        return replace(self.config.bridge, region=self.config.bridge.region or scale_set.location)

    def _new_meter(self, spec: ScaleSetSpec) -> LoadMeter:
        config = self.config
        return LoadMeter(
            self._agenda.now_s,
            spec.vcpus,
            spec.nic_mbps,
            config.people_per_vcpu,
            config.full_nic_share,
            config.full_cpu_share,
        )

    # Time

    @property
    def now(self) -> datetime:
        """The present moment, UTC."""
        return self._agenda.now

    def advance_to(self, moment: datetime) -> None:
        """Let everything happen up to this moment; a moment that has passed changes nothing."""
        self._agenda.run_until(moment.timestamp())

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.advance_to(self.now + timedelta(seconds=seconds))

    def schedule(self, moment: datetime, action: Callable[..., None], *args: Any) -> None:
        """Run `action(*args)` when time comes to this moment: how fault plans are written."""
        self._agenda.at(moment.timestamp(), action, *args)

    # ARM

    @property
    def scale_sets(self) -> dict[str, SimScaleSet]:
        """Scale sets by id in lower case."""
        return self._azure.scale_sets

    @property
    def galleries(self) -> Galleries:
        """Image versions and templates."""
        return self._azure.galleries

    @property
    def operations(self) -> dict[str, SimOperation]:
        """Every operation there ever was, by id."""
        return self._azure.operations

    def scale_set(self, scale_set_id: str) -> SimScaleSet:
        """A scale set by id in any case. Raises `WorldError` 404."""
        return self._azure.find(scale_set_id)

    def set_capacity(self, scale_set_id: str, capacity: int, etag: str | None = None) -> SimOperation:
        """Write the absolute capacity. Raises `WorldError` 404, 409 (quota) or 412 (etag)."""
        scale_set = self._azure.find(scale_set_id)
        self._azure.check_etag(scale_set, etag)
        return self._azure.set_capacity(scale_set, capacity)

    def set_image(self, scale_set_id: str, image: str, etag: str | None = None) -> None:
        """Write the image of machines to come. Raises `WorldError` 404 or 412."""
        scale_set = self._azure.find(scale_set_id)
        self._azure.check_etag(scale_set, etag)
        scale_set.image = image
        self._azure.touch(scale_set)

    def set_tags(self, scale_set_id: str, tags: dict[str, str], etag: str | None = None) -> None:
        """Replace the tags of a scale set. Raises `WorldError` 404 or 412."""
        scale_set = self._azure.find(scale_set_id)
        self._azure.check_etag(scale_set, etag)
        scale_set.tags = dict(tags)
        self._azure.touch(scale_set)

    def delete_instances(self, scale_set_id: str, instance_ids: Iterable[str]) -> SimOperation:
        """Remove these machines, with whatever they carry. Raises `WorldError` 404."""
        return self._azure.delete(self._azure.find(scale_set_id), instance_ids)

    # What happens to machines unasked

    def lose(self, vm: SimVm) -> None:
        """A machine is gone at once, as nobody asked for."""
        self._azure.lose(vm)

    def reimage(self, vm: SimVm) -> None:
        """Make a machine anew under its old name and address, with another vmId."""
        self._azure.reimage(vm)

    def halt(self, vm: SimVm) -> None:
        """Power a machine off."""
        self._azure.halt(vm)

    def power_on(self, vm: SimVm) -> None:
        """Power a machine that was halted on again; its bridge starts with it."""
        self._azure.power_on(vm)

    # Finding machines

    def vms(self) -> Iterable[SimVm]:
        """Every machine that ARM lists, of all scale sets, in the order of creation."""
        return self._azure.vms.values()

    def vm(self, resource_id: str) -> SimVm | None:
        """A machine by its ARM id in any case."""
        return self._azure.vms.get(resource_id.lower())

    def vm_at(self, address: str) -> SimVm | None:
        """Whoever answers at a private address: of several, the newest."""
        found = [vm for vm in self._azure.vms.values() if vm.address == address]
        return found[-1] if found else None

    # Monitor and truth

    def metric_minute(self, resource_id: str, minute: datetime) -> MetricMinute | None:
        """What Monitor has of a machine for the minute that begins here; None: nothing (yet)."""
        vm = self.vm(resource_id)
        number = int(minute.timestamp() // 60)
        newest = int(self._agenda.now_s // 60) - 1 - self.config.monitor_lag_minutes
        if vm is None or number > newest or minute < vm.time_created:
            return None
        vm.meter.settle(self._agenda.now_s)
        measured = vm.meter.minute(number)
        if measured is None:
            return None
        return MetricMinute(
            round(measured.in_bytes * HEADER_SHARE) + CHATTER_BYTES_PER_MINUTE,
            round(measured.out_bytes * HEADER_SHARE) + CHATTER_BYTES_PER_MINUTE,
            measured.cpu_percent,
        )

    def truth(self) -> dict[str, Any]:
        """Figures of the whole run so far: what users had and what it took."""
        meters = [vm.meter for vm in self.vms()]
        for meter in meters:
            meter.settle(self._agenda.now_s)
        history, cuts = self.history, self.history.cut_by_us()
        jicofos = [scale_set.jicofo for scale_set in self.scale_sets.values()]
        overload_s = history.overload_user_seconds + sum(m.overload_user_seconds for m in meters)
        return {
            "calls_served": history.calls_served,
            "calls_cut": len(cuts),
            "participants_cut": sum(cut.participants for cut in cuts),
            "calls_lost_to_faults": len(history.cuts) - len(cuts),
            "calls_waited_seconds": round(history.calls_waited_s, 3),
            "overload_minutes": history.overload_minutes + sum(m.overload_minutes_so_far for m in meters),
            "overload_user_minutes": round(overload_s / 60, 3),
            "bridge_hours": round(sum(life.hours(self.config.start, self.now) for life in history.lives), 4),
            "vms_created": len(history.lives),
            "ongoing_conferences": sum(len(vm.bridge.conferences) for vm in self.vms() if vm.bridge),
            "waiting_conferences": sum(_waiting(j.conferences.values()) for j in jicofos),
            "users_online": sum(jicofo.users_online for jicofo in jicofos),
        }


def _waiting(conferences: Iterable[Any]) -> int:
    return sum(conference.waiting_since_s is not None for conference in conferences)
