"""What ARM does: creates machines and removes them, each step after its own drawn time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from sandbox.agenda import Agenda
from sandbox.bridge import SimBridge
from sandbox.bridge_config import BridgeConfig
from sandbox.cloud import (
    RUNNING,
    STOPPED,
    STOPPING,
    BootModel,
    Prestarted,
    ScaleSetSpec,
    SimOperation,
    SimScaleSet,
    SimVm,
    WorldError,
)
from sandbox.gallery import Defect, Galleries
from sandbox.history import CutReason, History, VmLife
from sandbox.jicofo import Jicofo
from sandbox.meter import LoadMeter

OWNER_TAG = "jvb-autoscaler-owner"
BOOT_BEFORE_JOIN_S = 4.0
UNHEALTHY_AFTER_S = 600.0
CONFIG_TAG = "jvb-autoscaler-config"
DELETE_SECONDS = (30.0, 90.0)
GIVEN_UP_AFTER_S = 20.0
GIVEN_UP = ("OperationTimedOut", "the operation did not complete within the allowed time")


class Azure:
    """Every scale set of the world, and the only place where machines come and go."""

    def __init__(
        self,
        agenda: Agenda,
        history: History,
        rng: Random,
        boot: BootModel,
        bridge_config: Callable[[SimScaleSet], BridgeConfig],
        meter: Callable[[ScaleSetSpec], LoadMeter],
        *,
        capacity_falls_on_delete: bool,
        reuse_addresses: bool,
        address_scheme: Callable[[int, int], str],
    ) -> None:
        """`bridge_config` and `meter` make the parts of a new machine."""
        self._agenda = agenda
        self._history = history
        self._rng = rng
        self._boot = boot
        self._bridge_config = bridge_config
        self._meter = meter
        self._capacity_falls_on_delete = capacity_falls_on_delete
        self._reuse_addresses = reuse_addresses
        self._address_scheme = address_scheme
        self._free_addresses: dict[str, list[str]] = {}
        self._vm_ids: dict[str, dict[str, str]] = {}
        self._numbers: dict[str, int] = {}
        self.galleries = Galleries(agenda)
        self.scale_sets: dict[str, SimScaleSet] = {}
        self.operations: dict[str, SimOperation] = {}
        self.vms: dict[str, SimVm] = {}
        """Machines by resource id in lower case."""

    # Set-up

    def add_scale_set(self, spec: ScaleSetSpec) -> SimScaleSet:
        """Put up a scale set with its first machines."""
        key = spec.scale_set_id.lower()
        self._vm_ids[key] = {}
        jicofo = Jicofo(
            key, self._agenda, self._history, Random(self._rng.getrandbits(64)), self._vm_ids[key]
        )
        scale_set = SimScaleSet(
            id=spec.scale_set_id,
            number=len(self.scale_sets),
            spec=spec,
            capacity=0,
            etag=self._new_etag(),
            image=spec.image or spec.default_image,
            tags={OWNER_TAG: spec.owner} if spec.owner is not None else {},
            jicofo=jicofo,
        )
        self.scale_sets[key] = scale_set
        self._publish_image_of(scale_set)
        machines = spec.prestarted + (Prestarted(),) * (spec.capacity - len(spec.prestarted))
        for prestarted in machines:
            self._prestart(scale_set, prestarted)
        scale_set.capacity = len(machines)
        return scale_set

    def _publish_image_of(self, scale_set: SimScaleSet) -> None:
        """What the first machines are made of stands in a gallery, unless somebody put it there before."""
        definition, _, name = scale_set.image.partition("/versions/")
        if name and scale_set.image.lower() not in self.galleries.versions:
            self.galleries.publish(definition, name)

    def _prestart(self, scale_set: SimScaleSet, prestarted: Prestarted) -> None:
        created = self._agenda.now - prestarted.age
        vm = self._new_vm(scale_set, created, prestarted.image or scale_set.image)
        vm.provisioning, vm.power = "Succeeded", RUNNING
        bridge = self._put_bridge(vm)
        started = min(created + timedelta(seconds=self._boot.median_s), self._agenda.now)
        bridge.run_since(started.timestamp())
        scale_set.jicofo.welcome(bridge)

    def find(self, scale_set_id: str) -> SimScaleSet:
        """A scale set by id in any case, or 404."""
        try:
            return self.scale_sets[scale_set_id.lower()]
        except KeyError:
            message = f"The Resource '{scale_set_id}' was not found."
            raise WorldError(404, "ResourceNotFound", message) from None

    # Writes

    def check_etag(self, scale_set: SimScaleSet, etag: str | None) -> None:
        """Raise 412 where a condition is given and somebody else wrote since."""
        if etag is not None and etag not in {"*", scale_set.etag}:
            raise WorldError(412, "ConditionNotMet", "The condition specified using HTTP header is not met.")

    def touch(self, scale_set: SimScaleSet) -> None:
        """Note that the record of the scale set has changed."""
        scale_set.etag = self._new_etag()

    def set_capacity(self, scale_set: SimScaleSet, capacity: int) -> SimOperation:
        """
        Write an absolute capacity.

        Machines are created or removed until as many stand as asked for, whatever the
        capacity was before: a write on a wrong base has its real effect.
        """
        if capacity < 0:
            raise WorldError(400, "InvalidParameter", f"The value {capacity} of sku.capacity is not valid.")
        quota = scale_set.spec.quota
        if quota is not None and capacity > quota:
            raise WorldError(
                409, "OperationNotAllowed", f"Operation could exceed the quota of {quota} machines."
            )
        operation = self._new_operation(scale_set, "capacity")
        scale_set.capacity = capacity
        self.touch(scale_set)
        standing = scale_set.live_vms()
        missing = capacity - len(standing) - scale_set.unlisted
        for _ in range(missing):
            self._create(scale_set, operation)
        if missing < 0:
            newest_first = sorted(standing, key=lambda vm: (vm.time_created, vm.number), reverse=True)
            self._remove(scale_set, newest_first[:-missing], operation)
        return self._ending(operation)

    def delete(self, scale_set: SimScaleSet, instance_ids: Iterable[str]) -> SimOperation:
        """Remove exactly these machines; all of them must exist."""
        by_name = {name.lower(): vm for name, vm in scale_set.vms.items()}
        wanted = [name.lower() for name in instance_ids]
        unknown = [name for name in wanted if name not in by_name]
        if unknown or not wanted:
            raise WorldError(404, "NotFound", f"The VM instances {unknown} are not in {scale_set.name}.")
        operation = self._new_operation(scale_set, "delete")
        removed = self._remove(scale_set, [by_name[name] for name in wanted], operation)
        if self._capacity_falls_on_delete and removed:
            scale_set.capacity = max(scale_set.capacity - removed, 0)
            self.touch(scale_set)
        return self._ending(operation)

    # Machines come

    def _create(self, scale_set: SimScaleSet, operation: SimOperation) -> None:
        placeholder = f"creation {len(operation.waits_for)}"
        operation.waits_for.add(placeholder)
        scale_set.unlisted += 1
        boot = scale_set.boot or self._boot
        boot_s = boot.draw_s(self._rng)
        listed_s = self._rng.uniform(*boot.listed_s)
        rest = (scale_set, operation, placeholder, boot_s - listed_s)
        if scale_set.creates_late_s is None:
            self._agenda.after(listed_s, self._list_new, *rest)
            return
        self._agenda.after(GIVEN_UP_AFTER_S, self._give_up, scale_set, operation)
        self._agenda.after(
            GIVEN_UP_AFTER_S + self._rng.uniform(*scale_set.creates_late_s), self._list_late, *rest
        )

    def _give_up(self, scale_set: SimScaleSet, operation: SimOperation) -> None:
        """ARM says that nothing comes of it, and does not count on it any more."""
        scale_set.unlisted -= 1
        operation.fail(*GIVEN_UP, self._agenda.now)

    def _list_late(
        self, scale_set: SimScaleSet, operation: SimOperation, placeholder: str, boot_s: float
    ) -> None:
        scale_set.unlisted += 1
        self._list_new(scale_set, operation, placeholder, boot_s)

    def _list_new(
        self, scale_set: SimScaleSet, operation: SimOperation, placeholder: str, boot_s: float
    ) -> None:
        scale_set.unlisted -= 1
        vm = self._new_vm(scale_set, self._agenda.now, self.galleries.resolve(scale_set.image))
        self.galleries.machines_with[self.galleries.defect_of(vm.image)] += 1
        operation.waits_for.add(vm.name)
        operation.waits_for.discard(placeholder)
        if scale_set.allocation_error is not None:
            self._agenda.after(10.0, self._fail, vm, scale_set.allocation_error, operation)
            return
        boot = scale_set.boot or self._boot
        running_s = self._rng.uniform(*boot.running_s)
        never = self._rng.random() < boot.never or (self.galleries.defect_of(vm.image) is Defect.NEVER_STARTS)
        joined_s = max(boot_s, running_s + 2 * BOOT_BEFORE_JOIN_S)
        self._agenda.after(running_s, self._run, vm, operation)
        if not never:
            self._agenda.after(joined_s - BOOT_BEFORE_JOIN_S, self._start_bridge, vm)

    def _run(self, vm: SimVm, operation: SimOperation) -> None:
        if vm.provisioning == "Creating":
            vm.provisioning, vm.power = "Succeeded", RUNNING
        self._end(operation, vm.name)

    def _start_bridge(self, vm: SimVm) -> None:
        if not vm.running or vm.bridge is not None:
            return
        defect, bridge = self.galleries.defect_of(vm.image), self._put_bridge(vm)
        bridge.faults.no_media |= defect is Defect.NO_MEDIA
        bad_config = vm.tags.get(CONFIG_TAG) in vm.scale_set.bad_configs
        bridge.faults.never_joins |= defect is Defect.NEVER_JOINS or bad_config
        bridge.start(joins_after_s=BOOT_BEFORE_JOIN_S)
        if defect is Defect.UNHEALTHY:
            self._agenda.after(UNHEALTHY_AFTER_S, bridge.fail_health, "a fault of the image")

    def _fail(self, vm: SimVm, error: tuple[str, str], operation: SimOperation) -> None:
        if vm.provisioning != "Deleting":
            vm.provisioning, vm.power, vm.error = "Failed", None, error
            vm.life.error = f"{error[0]}: {error[1]}"
        operation.fail(*error, self._agenda.now)

    def _put_bridge(self, vm: SimVm) -> SimBridge:
        jicofo, rng = vm.scale_set.jicofo, Random(self._rng.getrandbits(64))
        config = self._bridge_config(vm.scale_set)
        vm.bridge = SimBridge(vm.name, config, vm.meter, self._agenda, jicofo, rng)
        vm.bridge.on_join = lambda: self._note_join(vm)
        if vm.scale_set.image_fault is not None:
            vm.scale_set.image_fault(vm.bridge)
        return vm.bridge

    def _note_join(self, vm: SimVm) -> None:
        if vm.life.joined_at is None:
            vm.life.joined_at = self._agenda.now

    def _new_vm(self, scale_set: SimScaleSet, created: datetime, image: str) -> SimVm:
        key = scale_set.id.lower()
        number = self._numbers[key] = self._numbers.get(key, -1) + 1
        vm_id = str(UUID(int=self._rng.getrandbits(128), version=4))
        name = f"{scale_set.name}_{self._rng.getrandbits(32):08x}"
        group = scale_set.id.split("/providers/")[0]
        vm = SimVm(
            vm_id=vm_id,
            name=name,
            number=number,
            resource_id=f"{group}/providers/Microsoft.Compute/virtualMachines/{name}",
            nic_id=f"{group}/providers/Microsoft.Network/networkInterfaces/{name}-nic",
            address=self._new_address(scale_set, number),
            time_created=created,
            image=image,
            scale_set=scale_set,
            meter=self._meter(scale_set.spec),
            life=VmLife(key, vm_id, name, created, image),
        )
        if CONFIG_TAG in scale_set.tags:
            vm.tags[CONFIG_TAG] = scale_set.tags[CONFIG_TAG]
        self._vm_ids[key][name] = vm_id
        self._history.lives.append(vm.life)
        scale_set.vms[name] = self.vms[vm.resource_id.lower()] = vm
        return vm

    def _new_address(self, scale_set: SimScaleSet, number: int) -> str:
        free = self._free_addresses.get(scale_set.id.lower())
        if self._reuse_addresses and free:
            return free.pop(0)
        return self._address_scheme(scale_set.number, number)

    # Machines go

    def _remove(self, scale_set: SimScaleSet, vms: list[SimVm], operation: SimOperation) -> int:
        """Begin to remove these; how many of them were not on their way out already."""
        begun = 0
        for vm in vms:
            if vm.provisioning == "Deleting":
                continue
            begun += 1
            operation.waits_for.add(vm.name)
            self._begin_delete(scale_set, vm, operation)
        return begun

    def _begin_delete(self, scale_set: SimScaleSet, vm: SimVm, operation: SimOperation) -> None:
        vm.provisioning = "Deleting"
        vm.life.delete_asked_at = self._agenda.now
        vm.power = STOPPING
        if vm.bridge is not None:
            # From the first moment: whoever is still on it is cut, however long the rest takes.
            vm.bridge.stop(CutReason.VM_DELETED)
        seconds = self._rng.uniform(*(scale_set.delete_seconds or DELETE_SECONDS))
        if scale_set.delete_error is not None:
            self._agenda.after(seconds, self._fail_delete, vm, scale_set.delete_error, operation)
        else:
            self._agenda.after(seconds, self._vanish, vm, operation)

    def _fail_delete(self, vm: SimVm, error: tuple[str, str], operation: SimOperation) -> None:
        if vm.scale_set.vms.get(vm.name) is not vm:
            return
        vm.provisioning, vm.power, vm.error = "Failed", STOPPED, error
        operation.fail(*error, self._agenda.now)
        if self._capacity_falls_on_delete:
            vm.scale_set.capacity += 1
            self.touch(vm.scale_set)

    def _vanish(self, vm: SimVm, operation: SimOperation) -> None:
        scale_set = vm.scale_set
        if scale_set.vms.get(vm.name) is not vm:
            return
        vm.meter.settle(self._agenda.now_s)
        self._history.overload_minutes += vm.meter.overload_minutes_so_far
        self._history.overload_user_seconds += vm.meter.overload_user_seconds
        vm.life.gone_at = self._agenda.now
        del scale_set.vms[vm.name]
        del self.vms[vm.resource_id.lower()]
        self._free_addresses.setdefault(scale_set.id.lower(), []).append(vm.address)
        self._end(operation, vm.name)

    # What nobody asked ARM for

    def lose(self, vm: SimVm) -> None:
        """The machine is gone at once, with its record: nothing was asked, nothing is announced."""
        if vm.bridge is not None:
            vm.bridge.stop(CutReason.CRASHED)
        if self._capacity_falls_on_delete and vm.provisioning != "Deleting":
            vm.scale_set.capacity = max(vm.scale_set.capacity - 1, 0)
            self.touch(vm.scale_set)
        self._vanish(vm, self._new_operation(vm.scale_set, "lost"))

    def reimage(self, vm: SimVm) -> None:
        """The machine is made anew under its old name and address: another vmId, an empty disk."""
        self.halt(vm)
        vm.life.gone_at = self._agenda.now
        vm.vm_id = str(UUID(int=self._rng.getrandbits(128), version=4))
        vm.time_created = self._agenda.now
        vm.life = VmLife(vm.scale_set.id.lower(), vm.vm_id, vm.name, vm.time_created, vm.image)
        self._vm_ids[vm.scale_set.id.lower()][vm.name] = vm.vm_id
        self._history.lives.append(vm.life)
        vm.bridge = None
        self._agenda.after(30.0, self.power_on, vm)

    def halt(self, vm: SimVm) -> None:
        """Power off: the process dies with whatever it carries, as in a crash."""
        if vm.bridge is not None:
            vm.bridge.stop(CutReason.CRASHED)
        vm.power = STOPPED

    def power_on(self, vm: SimVm) -> None:
        """Power on; the bridge begins with the machine, unless ARM removes it."""
        if vm.provisioning == "Deleting" or vm.power != STOPPED:
            return
        vm.power = RUNNING
        if vm.bridge is None:
            self._put_bridge(vm)
        assert vm.bridge is not None
        vm.bridge.start()

    # Operations

    def _new_operation(self, scale_set: SimScaleSet, kind: str) -> SimOperation:
        identity = str(UUID(int=self._rng.getrandbits(128), version=4))
        operation = SimOperation(identity, scale_set.id.lower(), kind)
        self.operations[identity] = scale_set.operation = operation
        return operation

    def _ending(self, operation: SimOperation) -> SimOperation:
        """One that has nothing to wait for ends by itself in a moment."""
        if not operation.waits_for:
            self._agenda.after(2.0, self._end, operation, "")
        return operation

    def _end(self, operation: SimOperation, name: str) -> None:
        operation.done_with(name, self._agenda.now)

    def _new_etag(self) -> str:
        return f'"{self._rng.getrandbits(32)}"'
