"""The ports with faults on the way: calls that fail, answers that are old, late, lost or somebody else's."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sandbox.fault_kinds import etag_moves
from sandbox.faults import Fault, Site
from sandbox.memory_store import MemoryStore
from sandbox.ports import WorldBridges, WorldCloud, WorldImages, WorldMetrics
from scaler.errors import Refused, StateChanged, Throttled, TryNextTick
from scaler.model import ImageBuild, ImageVersion, Instance, PlatformLoad, Poll, Power, Reach, ScaleSet
from scaler.ports import Operation, Target

ARM_TIMEOUT_S = 15.0
BRIDGE_TIMEOUT_S = 5.0
OLDEST_LISTS = 4
LONGEST_LACK_S = 240
MONITOR_LATER_MINUTES = 3
MONITOR_STALE = timedelta(minutes=6)


def _ids(instances: tuple[Instance, ...]) -> set[str]:
    return {each.vm_id for each in instances}


@dataclass(slots=True)
class HostileCloud:
    """`scaler.ports.Cloud` over a bad line."""

    inner: WorldCloud
    site: Site
    lists: deque[tuple[Instance, ...]] = field(default_factory=lambda: deque(maxlen=OLDEST_LISTS))
    hidden: str | None = None
    """vm_id of a machine that the lists lack now."""
    hidden_until: datetime | None = None
    """It stays away so long; the first list behind that has every machine."""
    endless: set[str] = field(default_factory=set)
    """Operations of which ARM never says that they are done."""

    def answers(self) -> None:
        """Fail as ARM may at any time."""
        site = self.site
        if (fault := site.strikes("arm_throttled", 0.7)) is not None:
            raise Throttled("429: too many requests", Random(fault.pick).uniform(10, 300))
        if site.strikes("arm_error", 0.7):
            raise TryNextTick("503: the server is busy")

    def _may_change(self) -> None:
        self.answers()
        if self.site.strikes("arm_conflict", 0.7):
            raise TryNextTick("409: another operation is in progress")

    def _changed(self) -> None:
        if (fault := self.site.strikes("arm_timeout_after_change")) is not None:
            self.site.spend(fault)
            self.site.world.advance(ARM_TIMEOUT_S)
            raise TryNextTick(f"no answer within {ARM_TIMEOUT_S:g} s")
        if (fault := self.site.strikes("arm_answer_lost")) is not None:
            self.site.spend(fault)
            raise TryNextTick("connection reset")

    async def scale_set(self) -> ScaleSet:
        """Read the scale set's own record."""
        self.answers()
        return await self.inner.scale_set()

    async def instances(self, known_addresses: Mapping[str, str]) -> tuple[Instance, ...]:
        """List every machine, or those of some minutes ago."""
        self.answers()
        if self.site.strikes("arm_partial_page", 0.7):
            raise TryNextTick("page 2 of the list did not come")
        found = await self.inner.instances(known_addresses)
        if self.lists and self.lists[0] != found and self.site.strikes("arm_stale_list", 0.7):
            return self.lists[0]
        self.lists.append(found)
        self._exchange_addresses()
        return self._without_one(self._without_power(self._without_address(found, known_addresses)))

    def _without_power(self, found: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """The instance view of one does not say whether it runs."""
        if not found or (fault := self.site.strikes("arm_power_unknown", 0.7)) is None:
            return found
        unknown = found[fault.pick % len(found)].vm_id
        return tuple(replace(e, power=Power.UNKNOWN) if e.vm_id == unknown else e for e in found)

    def _without_address(self, found: tuple[Instance, ...], known: Mapping[str, str]) -> tuple[Instance, ...]:
        """The list of the NICs lacks one whose address the engine does not know yet."""
        new = [each.vm_id for each in found if each.vm_id not in known]
        if not new or (fault := self.site.strikes("arm_nic_lacks", 0.7)) is None:
            return found
        lacks = new[fault.pick % len(new)]
        return tuple(replace(each, address=None) if each.vm_id == lacks else each for each in found)

    def _without_one(self, found: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """Lists of up to four minutes lack a machine that stands: half the time the oldest."""
        now = self.site.world.now
        if self.hidden_until is None:
            self._hide_one(found, now)
        elif now >= self.hidden_until:
            self.hidden = self.hidden_until = None
        return tuple(each for each in found if each.vm_id != self.hidden)

    def _hide_one(self, found: tuple[Instance, ...], now: datetime) -> None:
        known = [each for each in found if all(each.vm_id in _ids(before) for before in self.lists)]
        if len(known) >= 2 and (fault := self.site.strikes("arm_list_lacks", 0.5)) is not None:
            self.hidden = known[0 if fault.pick % 2 else fault.pick // 2 % len(known)].vm_id
            self.hidden_until = now + timedelta(seconds=fault.pick // 64 % LONGEST_LACK_S)

    def _exchange_addresses(self) -> None:
        """
        Right behind the list, a machine gets the address that another one had.

        Both answer: Azure moves no address of a machine that runs, and with an old list on top of that
        a closed port would pass for the exit of the machine that was there before.
        """
        vms = [vm for vm in self.site.serving() if not vm.rest_elsewhere]
        if len(vms) >= 2 and (fault := self.site.strikes("address_reused")) is not None:
            self.site.spend(fault)
            one, two = Random(fault.pick).sample(vms, 2)
            one.address, two.address = two.address, one.address

    async def scale_out(self, scale_set: ScaleSet, capacity: int) -> str | None:
        """Write the absolute capacity."""
        self._may_change()
        site = self.site
        if site.strikes("arm_quota"):
            raise Refused("OperationNotAllowed", "409: the quota of cores is used up")
        if (fault := site.strikes("arm_etag_moves")) is not None:
            site.spend(fault)
            etag_moves(site)
        operation = await self.inner.scale_out(scale_set, capacity)
        site.strikes("arm_allocation")
        site.strikes("arm_creates_late")
        self._may_never_end(operation)
        self._changed()
        return operation

    async def set_image(self, scale_set: ScaleSet, image: str) -> None:
        """Write the image of machines to come."""
        self._may_change()
        await self.inner.set_image(scale_set, image)
        self._changed()

    async def delete(self, instance: Instance) -> str | None:
        """Delete exactly this machine."""
        self._may_change()
        operation = await self.inner.delete(instance)
        for kind in ("arm_slow_delete", "arm_failed_delete", "capacity_stays"):
            self.site.strikes(kind)
        self._may_never_end(operation)
        self._changed()
        return operation

    async def operation(self, url: str) -> Operation:
        """Read an operation once."""
        self.answers()
        if url in self.endless:
            return Operation(done=False, error=None)
        return await self.inner.operation(url)

    def _may_never_end(self, operation: str | None) -> None:
        if operation is not None and self.site.strikes("arm_operation_endless", 0.7):
            self.endless.add(operation)


@dataclass(slots=True)
class HostileImages:
    """`scaler.ports.Images` over the same bad line as the scale set."""

    inner: WorldImages
    cloud: HostileCloud

    async def versions(self, definition_id: str, location: str) -> tuple[ImageVersion, ...]:
        """List every version of a gallery image."""
        self.cloud.answers()
        return await self.inner.versions(definition_id, location)

    async def delete_version(self, image: str) -> None:
        """Delete one version."""
        self.cloud.answers()
        await self.inner.delete_version(image)

    async def build(self, template_id: str) -> ImageBuild | None:
        """Read the last run of a template."""
        self.cloud.answers()
        return await self.inner.build(template_id)

    async def start_build(self, template_id: str) -> None:
        """Start a run of a template."""
        self.cloud.answers()
        await self.inner.start_build(template_id)


@dataclass(slots=True)
class HostileBridges:
    """`scaler.ports.Bridges` with slow and strange neighbours."""

    inner: WorldBridges
    site: Site

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        """Ask all bridges; the slowest one decides how long it takes."""
        names = self._names()
        slow = {t.vm_id for t in targets if self.site.hits("bridge_slow", names.get(t.address, ""))}
        polls = await self.inner.poll([t for t in targets if t.vm_id not in slow])
        if slow:
            self.site.world.advance(BRIDGE_TIMEOUT_S)
        now = self.site.world.now
        late = {t.vm_id: _timed_out(now) for t in targets if t.vm_id in slow}
        return {t.vm_id: late.get(t.vm_id) or self._sized(t, polls[t.vm_id], names) for t in targets}

    async def read(self, target: Target) -> Poll:
        """Ask one bridge everything."""
        names = self._names()
        if self.site.hits("bridge_slow", names.get(target.address, "")):
            self.site.world.advance(BRIDGE_TIMEOUT_S)
            return _timed_out(self.site.world.now)
        call = self._late_call(target)
        if call is not None and call.pick % 3:
            self.site.slip_in(call, target.address)
        poll = self._sized(target, await self.inner.read(target), names)
        if call is not None and not call.pick % 3:
            self.site.slip_in(call, target.address)
        return poll

    def _late_call(self, target: Target) -> Fault | None:
        """A call that comes between the tick's poll of a drained bridge and the act upon it."""
        if not self.site.in_force.get("call_slips_in") or not self.site.takes_late_calls(target.address):
            return None
        fault = self.site.strikes("call_slips_in", 0.5)
        if fault is not None:
            self.site.spend(fault)
        return fault

    async def set_drain(self, target: Target, *, on: bool) -> None:
        """POST drain enable or disable."""
        await self.inner.set_drain(target, on=on)
        self.site.hits("drain_ignored", self._names().get(target.address, ""))
        self._answers_late(target)

    async def shut_down(self, target: Target) -> None:
        """POST graceful shutdown."""
        await self.inner.shut_down(target)
        self._answers_late(target)

    def _answers_late(self, target: Target) -> None:
        if self.site.hits("bridge_slow", self._names().get(target.address, "")):
            self.site.world.advance(BRIDGE_TIMEOUT_S)
            raise TryNextTick("no answer in time, though the bridge obeyed")

    def _sized(self, target: Target, poll: Poll, names: Mapping[str, str]) -> Poll:
        if poll.stats is None or not self.site.hits("bridge_huge_body", names.get(target.address, "")):
            return poll
        return replace(poll, stats=None, drain=None, problem="stats: body: too large")

    def _names(self) -> dict[str, str]:
        marked = self.site.marked
        if not any(marked.values()):
            return {}
        return {vm.address: vm.name for vm in self.site.scale_set.vms.values()}


def _timed_out(now: datetime) -> Poll:
    return Poll(at=now, reach=Reach.TIMED_OUT, problem="no answer in time")


@dataclass(slots=True)
class HostileMetrics:
    """`scaler.ports.Metrics` with holes."""

    inner: WorldMetrics
    site: Site

    async def read(self, instances: Sequence[Instance], now: datetime) -> Mapping[str, PlatformLoad]:
        """Newest complete minute of each machine, as far as Monitor has one."""
        site = self.site
        if site.strikes("monitor_absent"):
            raise TryNextTick("Azure Monitor does not answer")
        if site.strikes("monitor_late"):
            old = await self.inner.read(instances, now - timedelta(minutes=MONITOR_LATER_MINUTES))
            return {vm_id: load for vm_id, load in old.items() if now - load.at <= MONITOR_STALE}
        loads = dict(await self.inner.read(instances, now))
        if loads and site.strikes("monitor_gap"):
            loads = {vm_id: load for n, (vm_id, load) in enumerate(loads.items()) if n % 2}
        if loads and (fault := site.strikes("monitor_spike")) is not None:
            vm_id = sorted(loads)[fault.pick % len(loads)]
            loads[vm_id] = replace(loads[vm_id], out_mbps=90_000.0)
        return loads


class HostileStore:
    """`scaler.ports.Store` that conflicts, loses answers, or is away."""

    def __init__(self, inner: MemoryStore, site: Site) -> None:
        """Every method of the store is called through `call`."""
        self._inner, self._site = inner, site

    async def call(self, name: str, *args: Any) -> Any:
        """Call a method of the store by its name."""
        site = self._site
        if site.strikes("tables_unavailable"):
            raise TryNextTick("the tables do not answer")
        writes = name not in ("load", "load_state", "decisions", "events", "minutes")
        if name.startswith("put_") and site.strikes("table_conflict", 0.1):
            raise StateChanged("the row was written by another")
        answer = await getattr(self._inner, name)(*args)
        if writes and site.strikes("table_timeout_after_write", 0.1):
            raise TryNextTick(f"{name}: no answer in time, though it was written")
        return answer
