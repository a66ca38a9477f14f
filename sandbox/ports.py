"""
The engine's ports over a simulated world, in process: for simulations of days and weeks.

They answer as the adapters do over the HTTP faces of the same world. Each has a `tap` with
a journal and hooks; time never passes inside a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import orjson

from colibri.messages import DRAIN, HEALTH, METRICS, SETTING_BEHIND_404, SHUTDOWN, STATS, Answer, Findings
from sandbox.azure import CONFIG_TAG, OWNER_TAG
from sandbox.bridge import SimBridge
from sandbox.bridge_stats import bridge_stats
from sandbox.cloud import RUNNING, STOPPED, STOPPING, SimVm
from sandbox.gallery import SimTemplate, SimVersion
from sandbox.tap import Hook, Tap
from sandbox.world import World, WorldError
from scaler.errors import Refused, ScalerError, StateChanged, Throttled, TryNextTick
from scaler.model import ImageBuild, ImageVersion, Instance, PlatformLoad, Poll, Power, Reach, ScaleSet
from scaler.ports import Operation, Target

OLDEST_METRIC_MINUTES = 6
_ENDPOINTS = {HEALTH: "health", STATS: "stats", METRICS: "metrics", DRAIN: "drain", SHUTDOWN: "shutdown"}
_POWERS = {RUNNING: Power.RUNNING, STOPPED: Power.STOPPED, STOPPING: Power.STOPPED}


class WorldClock:
    """The world's time, as `scaler.ports.Clock`."""

    def __init__(self, world: World) -> None:
        """`world`: whose time it is."""
        self._world = world

    def now(self) -> datetime:
        """Return the present moment of the world."""
        return self._world.now


class WorldCloud:
    """One scale set, as `scaler.ports.Cloud`. The operation URL is the id of the operation."""

    def __init__(
        self, world: World, scale_set_id: str, before: Hook | None = None, after: Hook | None = None
    ) -> None:
        """`scale_set_id`: in any case; it need not exist."""
        self.tap = Tap(before, after)
        self.journal = self.tap.journal
        self._world = world
        self._id = scale_set_id

    async def scale_set(self) -> ScaleSet:
        """Read the scale set's own record."""
        self.tap.reading("scale_set", self._world.now)
        try:
            found = self._world.scale_set(self._id)
        except WorldError as error:
            raise _as_port_error(error) from error
        return ScaleSet(
            capacity=found.capacity,
            etag=found.etag,
            vm_size=found.vm_size,
            owner=found.tags.get(OWNER_TAG),
            provisioning=found.provisioning,
            sku_tier=found.sku_tier,
            location=found.location,
            image=found.image.lower(),
            config=found.tags.get(CONFIG_TAG),
        )

    async def instances(self, known_addresses: Mapping[str, str]) -> tuple[Instance, ...]:
        """List every machine, in the order of creation."""
        self.tap.reading("instances", self._world.now)
        try:
            vms = self._world.scale_set(self._id).vms.values()
        except WorldError as error:
            raise _as_port_error(error) from error
        return tuple(_instance(vm, known_addresses.get(vm.vm_id)) for vm in vms)

    async def scale_out(self, scale_set: ScaleSet, capacity: int) -> str | None:
        """Write the absolute capacity under the etag of `scale_set`."""
        self.tap.changing("scale_out", self._world.now, capacity=capacity)
        try:
            operation = self._world.set_capacity(self._id, capacity, scale_set.etag)
        except WorldError as error:
            raise _as_port_error(error) from error
        self.tap.done("scale_out", capacity=capacity)
        return operation.id

    async def set_image(self, scale_set: ScaleSet, image: str) -> None:
        """Write the image of machines to come under the etag of `scale_set`."""
        self.tap.changing("set_image", self._world.now, image=image)
        try:
            self._world.set_image(self._id, image, scale_set.etag)
        except WorldError as error:
            raise _as_port_error(error) from error
        self.tap.done("set_image", image=image)

    async def delete(self, instance: Instance) -> str | None:
        """Delete exactly this machine."""
        self.tap.changing("delete", self._world.now, vm_id=instance.vm_id, vm_name=instance.name)
        try:
            operation = self._world.delete_instances(self._id, [instance.instance_id])
        except WorldError as error:
            raise _as_port_error(error) from error
        self.tap.done("delete", vm_id=instance.vm_id, vm_name=instance.name)
        return operation.id

    async def operation(self, url: str) -> Operation:
        """Read an operation once."""
        self.tap.reading("operation", self._world.now, url=url)
        found = self._world.operations.get(url)
        if found is None:
            raise Refused("NotFound", f"no operation {url}")
        error = f"{found.error_code}: {found.error_message}" if found.status == "Failed" else None
        return Operation(done=found.status != "InProgress", error=error)


class WorldImages:
    """Galleries and templates, as `scaler.ports.Images`."""

    def __init__(self, world: World, before: Hook | None = None, after: Hook | None = None) -> None:
        """`world`: whose galleries they are."""
        self.tap = Tap(before, after)
        self.journal = self.tap.journal
        self._galleries = world.galleries
        self._world = world

    async def versions(self, definition_id: str, location: str) -> tuple[ImageVersion, ...]:
        """List every version of a gallery image."""
        self.tap.reading("versions", self._world.now, definition_id=definition_id)
        return tuple(self._version(each) for each in self._galleries.of(definition_id))

    def _version(self, version: SimVersion) -> ImageVersion:
        problem = None
        if version.excluded:
            problem = "it is excluded from latest"
        elif version.replicated_at > self._world.now:
            problem = "its replication is not complete"
        return ImageVersion(version.id.lower(), problem is None, version.end_of_life, problem)

    async def delete_version(self, image: str) -> None:
        """Delete one version."""
        self.tap.changing("delete_version", self._world.now, image=image)
        try:
            self._galleries.remove(image)
        except KeyError as error:
            raise Refused("ResourceNotFound", f"no version {image}") from error
        self.tap.done("delete_version", image=image)

    async def build(self, template_id: str) -> ImageBuild | None:
        """Read the last run of a template."""
        self.tap.reading("build", self._world.now, template_id=template_id)
        template = self._template(template_id)
        if template.state is None:
            return None
        return ImageBuild(template.state, template.started_at, template.message)

    async def start_build(self, template_id: str) -> None:
        """Start a run of a template."""
        self.tap.changing("start_build", self._world.now, template_id=template_id)
        self._template(template_id)
        self._galleries.run(template_id)
        self.tap.done("start_build", template_id=template_id)

    def _template(self, template_id: str) -> SimTemplate:
        try:
            return self._galleries.templates[template_id.lower()]
        except KeyError as error:
            raise Refused("ResourceNotFound", f"no template {template_id}") from error


class WorldBridges:
    """The private ports of the bridges, as `scaler.ports.Bridges`."""

    def __init__(
        self,
        world: World,
        scale_set_id: str | None = None,
        before: Hook | None = None,
        after: Hook | None = None,
    ) -> None:
        """`scale_set_id`: only machines of this scale set can be reached; None: of all."""
        self.tap = Tap(before, after)
        self.journal = self.tap.journal
        self._world = world
        self._id = scale_set_id

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        """Ask all bridges, each by its address: whoever has it now answers."""
        self.tap.reading("poll", self._world.now, vm_ids=[target.vm_id for target in targets])
        vms = self._vms_by_address()
        return {t.vm_id: self._ask(vms.get(t.address), fully=False, process=t.ask_process) for t in targets}

    async def read(self, target: Target) -> Poll:
        """Ask one bridge everything."""
        self.tap.reading("read", self._world.now, vm_id=target.vm_id)
        return self._ask(self._vms_by_address().get(target.address), fully=True, process=True)

    async def set_drain(self, target: Target, *, on: bool) -> None:
        """POST drain enable or disable."""
        self.tap.changing("set_drain", self._world.now, vm_id=target.vm_id, on=on)
        self._commanded(target, DRAIN).set_drain(on)
        self.tap.done("set_drain", vm_id=target.vm_id, on=on)

    async def shut_down(self, target: Target) -> None:
        """POST graceful shutdown."""
        self.tap.changing("shut_down", self._world.now, vm_id=target.vm_id)
        self._commanded(target, SHUTDOWN).shutdown(graceful=True)
        self.tap.done("shut_down", vm_id=target.vm_id)

    def _vms_by_address(self) -> dict[str, SimVm]:
        vms = self._world.vms() if self._id is None else self._world.scale_set(self._id).vms.values()
        return {vm.address: vm for vm in vms}

    def _ask(self, vm: SimVm | None, *, fully: bool, process: bool) -> Poll:
        """Put the questions in the order of the real client, so that the same ones are answered."""
        now, reach = self._world.now, reach_of(vm)
        if vm is None or vm.bridge is None or reach is not Reach.ANSWERED:
            return Poll(at=now, reach=reach, problem=_why_silent(reach))
        found = Findings(reaches={reach})
        bridge = vm.bridge
        found.take_health(_answer(bridge, HEALTH, now))
        _take_stats(found, bridge, now)
        if process:
            _take_process(found, bridge, now)
        if fully or (found.stats is not None and found.stats.drain is None):
            found.drain = None
            found.take_drain(_answer(bridge, DRAIN, now))
        return found.as_poll(now)

    def _commanded(self, target: Target, path: str) -> SimBridge:
        """The bridge that accepts a command, or what the real client would raise."""
        vm = self._vms_by_address().get(target.address)
        reach = reach_of(vm)
        if vm is None or vm.bridge is None or reach is not Reach.ANSWERED:
            raise TryNextTick(f"POST {path}: {_why_silent(reach)}")
        status = vm.bridge.faults.statuses.get(_ENDPOINTS[path], 200)
        if 400 <= status < 500:
            vm.bridge.refused_in = vm.bridge.process
            raise Refused(str(status), f"POST {path} was refused; check jvb.conf: {SETTING_BEHIND_404[path]}")
        if status != 200:
            raise TryNextTick(f"POST {path}: status {status}")
        return vm.bridge


class WorldMetrics:
    """Azure Monitor, as `scaler.ports.Metrics`."""

    def __init__(self, world: World, before: Hook | None = None, after: Hook | None = None) -> None:
        """`world`: whose machines are measured."""
        self.tap = Tap(before, after)
        self.journal = self.tap.journal
        self._world = world

    async def read(self, instances: Sequence[Instance], now: datetime) -> Mapping[str, PlatformLoad]:
        """Newest complete minute of each machine, at most six minutes old."""
        self.tap.reading("read", self._world.now, vm_ids=[instance.vm_id for instance in instances])
        this_minute = now.replace(second=0, microsecond=0)
        loads = {instance.vm_id: self._newest(instance, this_minute) for instance in instances}
        return {vm_id: load for vm_id, load in loads.items() if load is not None}

    def _newest(self, instance: Instance, this_minute: datetime) -> PlatformLoad | None:
        for age in range(1, OLDEST_METRIC_MINUTES + 1):
            minute = this_minute - timedelta(minutes=age)
            measured = self._world.metric_minute(instance.resource_id, minute)
            if measured is not None:
                return PlatformLoad(
                    minute,
                    _mbps(measured.in_bytes),
                    _mbps(measured.out_bytes),
                    measured.cpu_percent / 100,
                )
        return None


def reach_of(vm: SimVm | None) -> Reach:
    """How a connection to a machine's private port goes; None: nobody has the address."""
    if vm is None or not vm.running or vm.unreachable:
        return Reach.TIMED_OUT
    if vm.bridge is None or not vm.bridge.listening or vm.rest_elsewhere:
        return Reach.REFUSED
    return Reach.ANSWERED


def _take_stats(found: Findings, bridge: SimBridge, now: datetime) -> None:
    """Strange statistics go through the real parser; sound ones would only cost time there."""
    faults = bridge.faults
    if faults.overrides or "stats" in faults.statuses or "stats" in faults.bodies:
        found.take_stats(_answer(bridge, STATS, now), now)
        return
    found.stats, found.stats_at = bridge_stats(bridge.stats(now)), now
    found.drain = found.stats.drain


def _take_process(found: Findings, bridge: SimBridge, now: datetime) -> None:
    if "metrics" in bridge.faults.statuses or "metrics" in bridge.faults.bodies:
        found.take_process(_answer(bridge, METRICS, now))
    else:
        found.process_started_at = bridge.started_at


def _answer(bridge: SimBridge, path: str, now: datetime) -> Answer:
    """Answer of the private port to a GET."""
    status = bridge.faults.statuses.get(_ENDPOINTS[path])
    if status is not None and status != 200:
        return Answer(status, b"")
    if (strange := bridge.faults.bodies.get(_ENDPOINTS[path])) is not None:
        return Answer(200, strange)
    if path == HEALTH:
        health_status, text = bridge.health(now)
        return Answer(health_status, text.encode())
    if path == DRAIN:
        return Answer(200, b'{"drain":true}' if bridge.drain else b'{"drain":false}')
    body = bridge.stats(now) if path == STATS else bridge.metrics_json(now)
    return Answer(200, orjson.dumps(body))


def _instance(vm: SimVm, known_address: str | None) -> Instance:
    return Instance(
        vm_id=vm.vm_id,
        name=vm.name,
        instance_id=vm.instance_id,
        resource_id=vm.resource_id.lower(),
        time_created=vm.time_created,
        power=_POWERS.get(vm.power or "", Power.UNKNOWN),
        provisioning=vm.provisioning,
        address=known_address or vm.address,
        image=vm.image.lower(),
        error=f"{vm.error[0]}: {vm.error[1]}" if vm.error else None,
        config=vm.tags.get(CONFIG_TAG),
    )


def _as_port_error(error: WorldError) -> ScalerError:
    """Say what the caller must do about ARM's answer."""
    if error.status == 412:
        return StateChanged(error.message)
    if error.status == 429:
        return Throttled(error.message)
    if error.status >= 500 or (error.status == 409 and error.code != "OperationNotAllowed"):
        return TryNextTick(str(error))
    return Refused(error.code, error.message)


def _why_silent(reach: Reach) -> str:
    return "connection refused" if reach is Reach.REFUSED else "no answer in time"


def _mbps(bytes_per_minute: int) -> float:
    return bytes_per_minute * 8 / 60 / 1_000_000
