"""What stands in ARM, in ARM's JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sandbox.cloud import SimOperation, SimScaleSet, SimVm
from sandbox.faces.arm_premises import identity, network_profile
from sandbox.gallery import SimTemplate, SimVersion


def scale_set_body(scale_set: SimScaleSet) -> dict[str, Any]:
    """A scale set as ARM shows it."""
    return {
        "id": scale_set.id,
        "name": scale_set.name,
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "location": scale_set.location,
        "etag": scale_set.etag,
        "tags": scale_set.tags,
        "zones": ["1"],
        "identity": identity(scale_set),
        "sku": {"name": scale_set.vm_size, "tier": scale_set.sku_tier, "capacity": scale_set.capacity},
        "properties": {
            "orchestrationMode": "Flexible",
            "provisioningState": scale_set.provisioning,
            "upgradePolicy": {"mode": "Manual"},
            "virtualMachineProfile": {
                "storageProfile": {"imageReference": {"id": scale_set.image}},
                "networkProfile": network_profile(scale_set),
            },
        },
    }


def vm_body(vm: SimVm) -> dict[str, Any]:
    """A machine as the list shows it, with its instance view."""
    return {
        "id": vm.resource_id,
        "name": vm.name,
        "type": "Microsoft.Compute/virtualMachines",
        "location": vm.scale_set.location,
        "tags": vm.tags,
        "properties": {
            "vmId": vm.vm_id,
            "hardwareProfile": {"vmSize": vm.scale_set.vm_size},
            "provisioningState": vm.provisioning,
            # Azure writes seven digits of a second.
            "timeCreated": f"{vm.time_created:%Y-%m-%dT%H:%M:%S.%f}0+00:00",
            "virtualMachineScaleSet": {"id": vm.scale_set.id},
            "storageProfile": {
                "imageReference": {"id": vm.image, "exactVersion": vm.image.rpartition("/")[2]}
            },
            "networkProfile": {"networkInterfaces": [{"id": vm.nic_id}]},
            "instanceView": {"statuses": _statuses(vm)},
        },
    }


def version_body(version: SimVersion, now: datetime | None = None) -> dict[str, Any]:
    """A gallery image version; with `now` also how far its replication is."""
    profile: dict[str, Any] = {
        "publishedDate": version.published_at.isoformat(),
        "excludeFromLatest": version.excluded,
        "targetRegions": [{"name": "West Europe", "regionalReplicaCount": 1}],
    }
    if version.end_of_life is not None:
        profile["endOfLifeDate"] = version.end_of_life.isoformat()
    properties: dict[str, Any] = {"publishingProfile": profile, "provisioningState": version.provisioning}
    if now is not None:
        state = "Completed" if version.replicated_at <= now else "Replicating"
        summary = [{"region": "West Europe", "state": state, "progress": 100 if state == "Completed" else 40}]
        properties["replicationStatus"] = {"aggregatedState": state, "summary": summary}
    return {"id": version.id, "name": version.name, "location": "westeurope", "properties": properties}


def template_body(template: SimTemplate) -> dict[str, Any]:
    """An image template with its last run."""
    properties: dict[str, Any] = {"provisioningState": "Succeeded"}
    if template.state is not None and template.started_at is not None:
        properties["lastRunStatus"] = {
            "startTime": template.started_at.isoformat(),
            "runState": template.state,
            "message": template.message,
        }
    return {"id": template.id, "name": template.id.rpartition("/")[2], "properties": properties}


def nic_body(vm: SimVm) -> dict[str, Any]:
    """The network interface of a machine."""
    configuration = {
        "primary": True,
        "privateIPAddress": vm.address,
        "privateIPAddressVersion": "IPv4",
        "privateIPAllocationMethod": "Dynamic",
    }
    return {
        "id": vm.nic_id,
        "name": vm.nic_id.rpartition("/")[2],
        "type": "Microsoft.Network/networkInterfaces",
        "location": vm.scale_set.location,
        "properties": {
            "primary": True,
            "provisioningState": "Succeeded",
            "virtualMachine": {"id": vm.resource_id},
            "ipConfigurations": [{"name": "internal", "properties": configuration}],
        },
    }


def operation_body(operation: SimOperation) -> dict[str, Any]:
    """A long-running operation as its status URL shows it."""
    body: dict[str, Any] = {"name": operation.id, "status": operation.status}
    if operation.ends_at is not None:
        body["endTime"] = operation.ends_at.isoformat()
    if operation.status == "Failed":
        body["error"] = {"code": operation.error_code, "message": operation.error_message}
    return body


def _statuses(vm: SimVm) -> list[dict[str, str]]:
    statuses = [{"code": f"ProvisioningState/{vm.provisioning.lower()}", "level": "Info"}]
    if vm.error is not None:
        code, message = vm.error
        statuses = [{"code": f"ProvisioningState/failed/{code}", "level": "Error", "message": message}]
    if vm.power is not None:
        statuses.append({"code": vm.power, "level": "Info"})
    return statuses
