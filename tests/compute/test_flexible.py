"""The adapter of a Flexible scale set, with the real SDK over real HTTP and TLS."""

from __future__ import annotations

from datetime import timedelta

import pytest

from compute.flexible import FlexibleScaleSet
from scaler.errors import ConfigurationInvalid, StateChanged
from scaler.model import Power
from tests.compute.azure_faces import SCALE_SET_ID, SUBSCRIPTION, Azure

READ = "Microsoft.Compute/virtualMachineScaleSets/read 200"
LIST = "Microsoft.Compute/virtualMachines/read 200"
NICS = "Microsoft.Network/networkInterfaces/read 200"


async def test_reads_the_scale_sets_record(azure: Azure) -> None:
    """Capacity, etag, size, tier and owner come from ARM's record."""
    record = await azure.cloud.scale_set()
    truth = azure.world.scale_set(SCALE_SET_ID)
    assert (record.capacity, record.etag, record.vm_size) == (2, truth.etag, "Standard_F8s_v2")
    assert (record.owner, record.sku_tier, record.provisioning) == ("tests", "Standard", "Succeeded")


async def test_lists_every_machine_with_all_that_the_engine_needs(azure: Azure) -> None:
    """Identity, age, power, image and address of each machine are those of the world."""
    listed = await azure.cloud.instances({})
    assert len(listed) == 2
    for machine in listed:
        vm = azure.world.vm(machine.resource_id)
        assert vm is not None
        assert (machine.vm_id, machine.name, machine.instance_id) == (vm.vm_id, vm.name, vm.name)
        assert (machine.address, machine.image) == (vm.address, vm.image.lower())
        assert machine.time_created == vm.time_created
        assert (machine.power, machine.provisioning, machine.error) == (Power.RUNNING, "Succeeded", None)
        assert machine.resource_id == machine.resource_id.lower()


@pytest.mark.parametrize("machines", [12])
async def test_reads_all_pages(azure: Azure) -> None:
    """Lists longer than a page are complete, with every address."""
    listed = await azure.cloud.instances({})
    assert {m.vm_id for m in listed} == {vm.vm_id for vm in azure.world.vms()}
    assert all(machine.address for machine in listed)
    assert azure.actions == [LIST] * 3 + [NICS] * 3


async def test_asks_for_addresses_only_when_one_is_unknown(azure: Azure) -> None:
    """The network interfaces are read when a machine has no known address, and only then."""
    first = await azure.cloud.instances({})
    known = {machine.vm_id: machine.address or "" for machine in first}
    azure.faces.journal.clear()
    again = await azure.cloud.instances(known)
    assert again == first
    assert azure.actions == [LIST]


async def test_a_machine_that_is_being_deleted_needs_no_address(azure: Azure) -> None:
    """A machine on its way out costs no call for its address."""
    leaving, staying = await azure.cloud.instances({})
    await azure.cloud.delete(leaving)
    azure.faces.journal.clear()
    listed = await azure.cloud.instances({staying.vm_id: staying.address or ""})
    assert [machine.is_deleting for machine in listed] == [True, False]
    assert azure.actions == [LIST]


async def test_scales_out_and_follows_the_operation(azure: Azure) -> None:
    """A capacity write creates the machines, and its operation is running until they stand."""
    url = await azure.cloud.scale_out(await azure.cloud.scale_set(), 4)
    assert url is not None
    assert not (await azure.cloud.operation(url)).done
    await azure.faces.advance_to(azure.world.now + timedelta(seconds=6))
    assert [m.provisioning for m in await azure.cloud.instances({})].count("Creating") == 2
    await azure.faces.advance_to(azure.world.now + timedelta(minutes=3))
    ended = await azure.cloud.operation(url)
    assert (ended.done, ended.error) == (True, None)
    assert [m.power for m in await azure.cloud.instances({})] == [Power.RUNNING] * 4


async def test_a_stale_etag_changes_nothing(azure: Azure) -> None:
    """When somebody else wrote since our read, the capacity stays and the caller is told."""
    record = await azure.cloud.scale_set()
    azure.world.set_tags(SCALE_SET_ID, {"colour": "green"})
    with pytest.raises(StateChanged):
        await azure.cloud.scale_out(record, 3)
    assert azure.world.scale_set(SCALE_SET_ID).capacity == 2


async def test_deletes_exactly_the_machine_named(azure: Azure) -> None:
    """Of two machines the given one goes, and its operation ends when it is gone."""
    leaving, staying = await azure.cloud.instances({})
    url = await azure.cloud.delete(leaving)
    assert url is not None
    await azure.faces.advance_to(azure.world.now + timedelta(minutes=3))
    assert (await azure.cloud.operation(url)).done
    assert [m.vm_id for m in await azure.cloud.instances({})] == [staying.vm_id]


async def test_a_creation_that_fails_later_tells_why(azure: Azure) -> None:
    """The error of an accepted write reaches the operation, and the machine that never came."""
    scale_set = azure.world.scale_set(SCALE_SET_ID)
    scale_set.allocation_error = ("AllocationFailed", "No capacity in this zone.")
    url = await azure.cloud.scale_out(await azure.cloud.scale_set(), 3)
    await azure.faces.advance_to(azure.world.now + timedelta(minutes=10))
    ended = await azure.cloud.operation(url or "")
    assert ended.done
    assert ended.error == "AllocationFailed: No capacity in this zone."
    failed = [m for m in await azure.cloud.instances({}) if m.provisioning == "Failed"]
    assert [m.error for m in failed] == ["AllocationFailed: No capacity in this zone."]


async def test_an_operation_that_arm_forgot_is_done_without_a_verdict(azure: Azure) -> None:
    """A 404 for an operation ends the waiting and is no error."""
    url = f"{azure.faces.arm_url}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"
    ended = await azure.cloud.operation(f"{url}/locations/x/operations/y?api-version=2026-04-01")
    assert (ended.done, ended.error) == (True, None)


async def test_the_location_form_of_an_operation_is_read_too(azure: Azure) -> None:
    """Where ARM only gives a `Location`, its status tells whether the work is done."""
    url = await azure.cloud.scale_out(await azure.cloud.scale_set(), 3)
    assert not (await azure.cloud.operation(f"{url}&monitor=true")).done
    await azure.faces.advance_to(azure.world.now + timedelta(minutes=5))
    assert (await azure.cloud.operation(f"{url}&monitor=true")).done


def test_a_wrong_id_is_a_fault_of_the_configuration(azure: Azure) -> None:
    """An id that is not a scale set's is refused before anything is asked."""
    with pytest.raises(ConfigurationInvalid):
        FlexibleScaleSet(azure.client, "/subscriptions/x/resourceGroups/y")
