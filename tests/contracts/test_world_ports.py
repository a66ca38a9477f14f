"""What the ports promise: those of simulations, and the real adapters over the sandbox's HTTP faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from colibri.client import ColibriClient, colibri_http_client
from compute.flexible import FlexibleScaleSet
from compute.gallery import GalleryImages
from compute.monitor import MonitorMetrics
from compute.pipeline import arm_client, metrics_client
from sandbox.cloud import SimVm
from sandbox.faces.server import Options, faces
from sandbox.ports import WorldBridges, WorldClock, WorldCloud, WorldImages, WorldMetrics
from sandbox.world import World
from scaler.errors import Refused, StateChanged
from scaler.model import Instance, Poll, Power, Reach
from scaler.ports import Bridges, Cloud, Images, Metrics, Target
from tests.compute.azure_faces import (
    SCALE_SET_ID,
    SUBSCRIPTION,
    SandboxCredential,
    new_world,
    trusting_transport,
)


@dataclass(frozen=True, slots=True)
class Ports:
    """One world and the four ports to it; `sync` lets the ports see what was done to the world by hand."""

    world: World
    cloud: Cloud
    bridges: Bridges
    metrics: Metrics
    images: Images
    sync: Callable[[], Awaitable[None]]

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.world.advance(seconds)
        await self.sync()

    async def machines(self) -> tuple[Instance, ...]:
        """What ARM lists, by name."""
        return tuple(sorted(await self.cloud.instances({}), key=lambda each: each.name))

    @property
    def vm(self) -> SimVm:
        """The machine with the first name."""
        return min(self.world.vms(), key=lambda vm: vm.name)

    @property
    def target(self) -> Target:
        """Where the first machine's bridge is."""
        return Target(self.vm.vm_id, self.vm.address, ask_process=True)

    async def poll(self) -> Poll:
        """Poll the first machine's bridge."""
        return (await self.bridges.poll([self.target]))[self.vm.vm_id]


@pytest.fixture(params=["in_process", "http"])
async def ports(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    world = new_world(2)
    world.advance(300)
    if request.param == "in_process":

        async def nothing() -> None: ...

        inside = WorldCloud(world, SCALE_SET_ID), WorldBridges(world, SCALE_SET_ID), WorldMetrics(world)
        yield Ports(world, *inside, WorldImages(world), nothing)
        return
    async with (
        faces(world, Options(page_size=1, stopped_machines_are_silent=True)) as served,
        colibri_http_client() as http,
    ):
        credential = SandboxCredential(served.tokens)
        arm = arm_client(credential, SUBSCRIPTION, served.arm_url, trusting_transport(served))
        monitor = metrics_client(credential, served.monitor_url, trusting_transport(served))
        async with arm, monitor:
            bridges = ColibriClient(
                http, WorldClock(world), port=served.bridge_port, poll_deadline_seconds=0.5
            )
            cloud = FlexibleScaleSet(arm, SCALE_SET_ID)
            yield Ports(world, cloud, bridges, MonitorMetrics(monitor), GalleryImages(arm), served.sync)


async def test_the_scale_set_is_read(ports: Ports) -> None:
    """Capacity, size, tier, owner tag and an etag come back as they stand."""
    found = await ports.cloud.scale_set()
    assert (found.capacity, found.vm_size, found.owner) == (2, "Standard_F8s_v2", "tests")
    assert found.etag
    assert found.provisioning == "Succeeded"


async def test_every_machine_is_listed_with_its_facts(ports: Ports) -> None:
    """Identity, creation, power, address and image of each machine are those of the world."""
    machines = await ports.machines()
    true = sorted(ports.world.vms(), key=lambda vm: vm.name)
    assert [m.vm_id for m in machines] == [vm.vm_id.lower() for vm in true]
    assert [m.address for m in machines] == [vm.address for vm in true]
    assert [m.time_created for m in machines] == [vm.time_created for vm in true]
    assert {m.power for m in machines} == {Power.RUNNING}
    assert all(m.image and m.resource_id == m.resource_id.lower() for m in machines)


async def test_a_known_address_is_kept(ports: Ports) -> None:
    """Where every address is known the answer has those, and ARM need not be asked for NICs."""
    known = {vm.vm_id: vm.address for vm in ports.world.vms()}
    assert {m.vm_id: m.address for m in await ports.cloud.instances(known)} == known


async def test_capacity_is_written_under_its_etag(ports: Ports) -> None:
    """A write raises the capacity, its operation ends, and the machines appear."""
    before = await ports.cloud.scale_set()
    operation = await ports.cloud.scale_out(before, 3)
    assert operation is not None
    await ports.advance(120)
    assert (await ports.cloud.operation(operation)).done
    assert (await ports.cloud.operation(operation)).error is None
    assert (await ports.cloud.scale_set()).capacity == 3
    assert len(await ports.machines()) == 3


async def test_a_stale_etag_writes_nothing(ports: Ports) -> None:
    """A scale set that changed since it was read is not written."""
    before = await ports.cloud.scale_set()
    await ports.cloud.scale_out(before, 3)
    with pytest.raises(StateChanged):
        await ports.cloud.scale_out(before, 5)
    assert (await ports.cloud.scale_set()).capacity == 3


async def test_a_refused_write_says_arms_code(ports: Ports) -> None:
    """A quota that is used up is a refusal with ARM's own code."""
    with pytest.raises(Refused) as refused:
        await ports.cloud.scale_out(await ports.cloud.scale_set(), 500)
    assert refused.value.code == "OperationNotAllowed"


async def test_an_allocation_that_fails_later_is_told_by_its_operation(ports: Ports) -> None:
    """The write is accepted; only its operation ends with the error."""
    scale_set = ports.world.scale_set(SCALE_SET_ID)
    scale_set.allocation_error = ("AllocationFailed", "no room in this zone")
    operation = await ports.cloud.scale_out(await ports.cloud.scale_set(), 3)
    assert operation is not None
    await ports.advance(300)
    ended = await ports.cloud.operation(operation)
    assert ended.done
    assert ended.error is not None
    assert ended.error.startswith("AllocationFailed: ")


async def test_exactly_one_machine_is_deleted(ports: Ports) -> None:
    """The named machine goes, the other stays."""
    first, second = await ports.machines()
    await ports.cloud.delete(first)
    await ports.sync()
    assert {m.vm_id: m.is_deleting for m in await ports.machines()} == {
        first.vm_id: True,
        second.vm_id: False,
    }
    await ports.advance(300)
    assert [m.vm_id for m in await ports.machines()] == [second.vm_id]


async def test_a_bridge_tells_health_stats_and_process(ports: Ports) -> None:
    """A healthy bridge answers with everything that a decision needs."""
    poll = await ports.poll()
    assert (poll.reach, poll.health_ok, poll.drain, poll.supported) == (Reach.ANSWERED, True, False, True)
    assert poll.process_started_at is not None
    assert poll.stats is not None
    assert (poll.stats.conferences, poll.stats.local_endpoints, poll.stats.mucs_joined) == (0, 0, 1)
    assert poll.stats.timestamp <= ports.world.now


async def test_the_process_is_told_only_where_it_was_asked(ports: Ports) -> None:
    """One request less for a bridge whose process is known."""
    plain = replace(ports.target, ask_process=False)
    assert (await ports.bridges.poll([plain]))[plain.vm_id].process_started_at is None
    assert (await ports.bridges.read(plain)).process_started_at is not None


async def test_a_drain_is_set_and_taken_back(ports: Ports) -> None:
    """The next report shows the drain, and shows its end."""
    await ports.bridges.set_drain(ports.target, on=True)
    assert (await ports.bridges.read(ports.target)).drain is True
    await ports.bridges.set_drain(ports.target, on=False)
    assert (await ports.poll()).drain is False


async def test_a_fence_ends_an_idle_bridge(ports: Ports) -> None:
    """After a graceful shutdown it says so, and then its port is refused."""
    await ports.bridges.set_drain(ports.target, on=True)
    await ports.bridges.shut_down(ports.target)
    poll = await ports.poll()
    assert poll.stats is not None
    assert poll.stats.graceful_shutdown
    await ports.advance(60)
    assert (await ports.poll()).reach is Reach.REFUSED


@pytest.mark.parametrize("status", [404, 500])
async def test_a_refusing_endpoint_is_an_error(ports: Ports, status: int) -> None:
    """An endpoint that is off refuses for good, one that fails may be asked again."""
    assert ports.vm.bridge is not None
    ports.vm.bridge.faults.statuses["drain"] = status
    with pytest.raises(Exception) as raised:  # noqa: PT011  # judged below
        await ports.bridges.set_drain(ports.target, on=True)
    assert isinstance(raised.value, Refused) is (status == 404)


async def test_a_silent_bridge_is_a_value(ports: Ports) -> None:
    """A bridge behind a cut network times out, which proves nothing, and does not hold up the other."""
    ports.vm.unreachable = True
    await ports.sync()
    targets = [Target(vm.vm_id, vm.address, ask_process=False) for vm in ports.world.vms()]
    polls = await ports.bridges.poll(targets)
    assert polls[ports.vm.vm_id].reach is Reach.TIMED_OUT
    assert sorted(poll.reach for poll in polls.values()) == [Reach.ANSWERED, Reach.TIMED_OUT]


async def test_statistics_that_are_off_are_unknown(ports: Ports) -> None:
    """A bridge without its REST API answers, and its numbers are not there."""
    assert ports.vm.bridge is not None
    ports.vm.bridge.faults.statuses["stats"] = 404
    poll = await ports.poll()
    assert (poll.reach, poll.stats) == (Reach.ANSWERED, None)
    assert poll.problem is not None


async def test_whoever_has_the_address_answers(ports: Ports) -> None:
    """An address that moved to another machine tells of that machine, whoever was expected there."""
    first, second = sorted(ports.world.vms(), key=lambda vm: vm.name)
    assert first.bridge is not None
    first.bridge.faults.overrides["conferences"] = 3
    expected_at = Target(second.vm_id, second.address, ask_process=False)
    assert _conferences(await ports.bridges.read(expected_at)) == 0
    first.address, second.address = second.address, first.address
    await ports.sync()
    assert _conferences(await ports.bridges.read(expected_at)) == 3


def _conferences(poll: Poll) -> int | None:
    assert poll.stats is not None
    return poll.stats.conferences


async def test_monitor_tells_the_newest_minute(ports: Ports) -> None:
    """Each machine's newest minute is recent, and a machine that Monitor does not know is absent."""
    machines = await ports.machines()
    stranger = replace(machines[0], vm_id="stranger", resource_id=machines[0].resource_id + "x")
    loads = await ports.metrics.read([*machines, stranger], ports.world.now)
    assert set(loads) == {m.vm_id for m in machines}
    for load in loads.values():
        assert ports.world.now - load.at <= timedelta(minutes=6)
        assert load.cpu_fraction is not None
        assert 0 <= load.cpu_fraction <= 1
        assert load.out_mbps is not None


GROUP = SCALE_SET_ID.partition("/providers/")[0]
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/jvb"


async def test_the_image_of_new_machines_is_written_under_its_etag(ports: Ports) -> None:
    """The next machine is made of it, those that stand are not touched, and a stale etag writes nothing."""
    version = f"{DEFINITION}/versions/1.1.0"
    before = await ports.cloud.scale_set()
    await ports.cloud.set_image(before, version)
    after = await ports.cloud.scale_set()
    assert (before.image, after.image) == (f"{DEFINITION}/versions/1.0.0".lower(), version.lower())
    assert after.location == "westeurope"
    with pytest.raises(StateChanged):
        await ports.cloud.set_image(before, version)
    await ports.cloud.scale_out(after, 3)
    await ports.advance(120)
    images = sorted(m.image or "" for m in await ports.machines())
    assert [image.rpartition("/")[2] for image in images] == ["1.0.0", "1.0.0", "1.1.0"]


async def test_the_boot_configuration_is_told_of_the_set_and_of_each_machine(ports: Ports) -> None:
    """A machine has the tag that the scale set had when it was made; tags' names are the same in any case."""
    scale_set = ports.world.scale_set(SCALE_SET_ID)
    ports.world.set_tags(scale_set.id, {**scale_set.tags, "jvb-autoscaler-config": "2"})
    found = await ports.cloud.scale_set()
    assert found.config == "2"
    await ports.cloud.scale_out(found, 3)
    await ports.advance(120)
    assert sorted(m.config or "" for m in await ports.machines()) == ["", "", "2"]


async def test_every_version_of_an_image_is_told_with_what_speaks_against_it(ports: Ports) -> None:
    """One that is excluded, or not replicated to the region, is not usable; its end of life is told."""
    galleries = ports.world.galleries
    end = ports.world.now + timedelta(days=1)
    galleries.publish(DEFINITION, "1.1.0", end_of_life=end)
    galleries.publish(DEFINITION, "1.2.0", excluded=True)
    galleries.publish(DEFINITION, "1.3.0", replicated_after_s=3600)
    found = {each.version: each for each in await ports.images.versions(DEFINITION, "westeurope")}
    assert {version: each.usable for version, each in found.items()} == {
        "1.0.0": True,
        "1.1.0": True,
        "1.2.0": False,
        "1.3.0": False,
    }
    assert found["1.1.0"].end_of_life == end
    assert found["1.3.0"].problem
    assert all(each.id == each.id.lower() for each in found.values())
    await ports.advance(3600)
    assert all(
        each.usable
        for each in await ports.images.versions(DEFINITION, "westeurope")
        if each.version != "1.2.0"
    )


async def test_a_version_is_deleted_by_its_id(ports: Ports) -> None:
    """It is no longer told; one that does not exist is a refusal."""
    ports.world.galleries.publish(DEFINITION, "1.1.0")
    await ports.images.delete_version(f"{DEFINITION}/versions/1.1.0".lower())
    assert [each.version for each in await ports.images.versions(DEFINITION, "westeurope")] == ["1.0.0"]
    with pytest.raises(Refused):
        await ports.images.delete_version(f"{DEFINITION}/versions/9.9.9")


async def test_a_template_is_run_and_its_run_followed(ports: Ports) -> None:
    """Nothing is told before its first run; then Running, and how it ended, with the service's words."""
    template = ports.world.galleries.add_template(TEMPLATE, DEFINITION)
    assert await ports.images.build(TEMPLATE) is None
    began = ports.world.now
    await ports.images.start_build(TEMPLATE)
    running = await ports.images.build(TEMPLATE)
    assert running is not None
    assert (running.state, running.started_at) == ("Running", began)
    template.error = "no network"
    await ports.advance(3600)
    ended = await ports.images.build(TEMPLATE)
    assert ended is not None
    assert (ended.state, ended.message) == ("Failed", "no network")
    with pytest.raises(Refused):
        await ports.images.start_build(TEMPLATE + "-of-nobody")
