"""What is read from ARM's JSON, without ARM."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from compute.messages import addresses_of, instance_of, operation_of, scale_set_of
from scaler.errors import Refused, TryNextTick
from scaler.model import Power
from scaler.ports import Operation

SET_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/b"


def vm(**properties: Any) -> dict[str, Any]:
    """A machine of the scale set."""
    known = {
        "vmId": "ABC",
        "provisioningState": "Succeeded",
        "virtualMachineScaleSet": {"id": SET_ID.upper()},
    }
    return {"id": "/X/Vm", "name": "Vm", "properties": known | properties}


def scale_set(**changes: Any) -> dict[str, Any]:
    """A scale set's record."""
    record = {
        "name": "b",
        "etag": '"1"',
        "sku": {"name": "Standard_F8s_v2", "capacity": 2},
        "properties": {"orchestrationMode": "Flexible", "provisioningState": "Succeeded"},
    }
    return record | changes


def nic(vm_id: str | None, *addresses: str, primary: bool | None = None) -> dict[str, Any]:
    """A network interface with IP configurations in this order."""
    properties: dict[str, Any] = {
        "ipConfigurations": [{"properties": {"privateIPAddress": address}} for address in addresses]
    }
    if vm_id:
        properties["virtualMachine"] = {"id": vm_id}
    if primary is not None:
        properties["primary"] = primary
    return {"properties": properties}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T09:00:00.1234567+00:00", datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-20T09:00:00.1234567Z", datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-20T11:00:00.5+02:00", datetime(2026, 11, 20, 9, 0, 0, 500000, tzinfo=UTC)),
        ("2026-11-20T09:00:00", datetime(2026, 11, 20, 9, 0, tzinfo=UTC)),
        ("yesterday", None),
        (None, None),
        (7, None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_creation_times_are_utc_or_unknown(text: object, moment: datetime | None) -> None:
    """Seven digits of a second, zones and garbage are all read, the last as unknown."""
    assert instance_of(vm(timeCreated=text), SET_ID).time_created == moment


@pytest.mark.parametrize(
    ("code", "power"),
    [
        ("PowerState/running", Power.RUNNING),
        ("PowerState/stopped", Power.STOPPED),
        ("PowerState/stopping", Power.STOPPED),
        ("PowerState/deallocating", Power.STOPPED),
        ("PowerState/deallocated", Power.STOPPED),
        ("PowerState/starting", Power.UNKNOWN),
        ("PowerState/unknown", Power.UNKNOWN),
        ("ProvisioningState/succeeded", Power.UNKNOWN),
    ],
)
def test_power_is_known_or_unknown(code: str, power: Power) -> None:
    """Only states in which no process can run count as stopped."""
    view = {"statuses": [{"code": code}]}
    assert instance_of(vm(instanceView=view), SET_ID).power is power


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ({"id": "/g/images/jvb/versions/1.2.0", "exactVersion": "1.2.0"}, "/g/images/jvb/versions/1.2.0"),
        ({"id": "/g/images/jvb", "exactVersion": "1.2.0"}, "/g/images/jvb/versions/1.2.0"),
        ({"offer": "x", "version": "latest", "exactVersion": "24.04.1"}, "24.04.1"),
        ({}, None),
        (None, None),
    ],
)
def test_the_image_is_the_exact_one(reference: object, image: str | None) -> None:
    """An image that was asked for as the latest is told as what it became."""
    assert instance_of(vm(storageProfile={"imageReference": reference}), SET_ID).image == image


def test_a_failed_machine_tells_arms_code_and_message() -> None:
    """The reason stands in the instance view; without one the failure still shows."""
    statuses = [{"code": "ProvisioningState/failed/AllocationFailed", "message": "No room."}]
    failed = instance_of(vm(provisioningState="Failed", instanceView={"statuses": statuses}), SET_ID)
    assert failed.error == "AllocationFailed: No room."
    silent = instance_of(vm(provisioningState="Failed"), SET_ID)
    assert silent.error == "ProvisioningFailed: no reason given"


def test_identity_is_lower_case() -> None:
    """ARM writes ids in any case; ours are comparable."""
    machine = instance_of(vm(), SET_ID)
    assert (machine.vm_id, machine.resource_id, machine.instance_id) == ("abc", "/x/vm", "Vm")


@pytest.mark.parametrize("key", ["vmId", "provisioningState", "virtualMachineScaleSet"])
def test_a_machine_that_cannot_be_identified_is_no_machine(key: str) -> None:
    """Whoever lists it must treat the list as unknown."""
    with pytest.raises(TryNextTick):
        instance_of(vm(**{key: None}), SET_ID)


def test_addresses_are_those_of_primary_interfaces() -> None:
    """Unattached, address-less and IPv6 entries are passed over; the primary interface wins."""
    nics = [
        nic(None, "10.0.0.1"),
        nic("/VM/one", "10.0.0.2"),
        nic("/vm/two", "10.0.0.4", primary=False),
        nic("/vm/two", "10.0.0.3", primary=True),
        nic("/vm/two", "10.0.0.5", primary=False),
        nic("/vm/three", "fd00::1", "10.0.0.6"),
        nic("/vm/four"),
    ]
    assert addresses_of(nics) == {"/vm/one": "10.0.0.2", "/vm/two": "10.0.0.3", "/vm/three": "10.0.0.6"}


@pytest.mark.parametrize("mode", ["Uniform", None])
def test_only_flexible_scale_sets_are_served(mode: str | None) -> None:
    """A record without a mode is from before there were two, and Uniform."""
    with pytest.raises(Refused, match="Uniform"):
        scale_set_of(scale_set(properties={"orchestrationMode": mode}))


@pytest.mark.parametrize("capacity", [None, -1, True, "2", 2.0])
def test_a_capacity_that_is_no_count_is_unknown(capacity: object) -> None:
    """No capacity is ever written on such a base."""
    with pytest.raises(TryNextTick):
        scale_set_of(scale_set(sku={"name": "x", "capacity": capacity}))


def test_without_an_etag_nothing_is_known() -> None:
    """A record that cannot be written conditionally is no base for a write."""
    with pytest.raises(TryNextTick):
        scale_set_of(scale_set(etag=None))


def test_the_owner_tag_is_found_in_any_case() -> None:
    """Azure treats names of tags alike in any case."""
    assert scale_set_of(scale_set(tags={"JVB-Autoscaler-Owner": "us"})).owner == "us"
    assert scale_set_of(scale_set(tags=None)).owner is None


@pytest.mark.parametrize(
    ("status", "body", "operation"),
    [
        (200, {"status": "InProgress"}, Operation(done=False)),
        (200, {"status": "Updating"}, Operation(done=False)),
        (200, {"status": "Succeeded"}, Operation(done=True)),
        (200, {"status": "Canceled"}, Operation(done=True, error="Canceled: no reason given")),
        (
            200,
            {"status": "Failed", "error": {"code": "AllocationFailed", "message": "No\n room."}},
            Operation(done=True, error="AllocationFailed: No room."),
        ),
        (202, {}, Operation(done=False)),
        (204, {}, Operation(done=True)),
        (200, {"id": "/x"}, Operation(done=True)),
    ],
)
def test_an_operation_is_running_done_or_failed(
    status: int, body: dict[str, Any], operation: Operation
) -> None:
    """Both forms of operation URLs are understood."""
    assert operation_of(status, body) == operation
