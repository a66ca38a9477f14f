"""What surrounds the scale sets in ARM: rights, quotas, sizes, addresses, and what machines are tied to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sandbox.cloud import SimScaleSet

GRANTED: Final = (
    "Microsoft.Authorization/permissions/read",
    "Microsoft.Compute/galleries/images/read",
    "Microsoft.Compute/galleries/images/versions/delete",
    "Microsoft.Compute/galleries/images/versions/read",
    "Microsoft.Compute/locations/operations/read",
    "Microsoft.Compute/locations/usages/read",
    "Microsoft.Compute/skus/read",
    "Microsoft.Compute/virtualMachineScaleSets/delete/action",
    "Microsoft.Compute/virtualMachineScaleSets/read",
    "Microsoft.Compute/virtualMachineScaleSets/write",
    "Microsoft.Compute/virtualMachines/instanceView/read",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Insights/metrics/read",
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/publicIPPrefixes/join/action",
    "Microsoft.Network/publicIPPrefixes/read",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.VirtualMachineImages/imageTemplates/read",
    "Microsoft.VirtualMachineImages/imageTemplates/run/action",
)
"""What the app's identity may do on every scope of a world; a test may deny some of it."""

PREFIX_LENGTH: Final = 28
_AMPLE_QUOTA_VCPUS: Final = 2000
_FAMILY: Final = "standardBridgeFamily"


def permissions_body(denied: Iterable[str]) -> dict[str, Any]:
    """What the caller may do, as Azure lists it: what no role names is not there."""
    refused = set(denied)
    return {"value": [{"actions": [each for each in GRANTED if each not in refused], "notActions": []}]}


def usages_body(scale_sets: Iterable[SimScaleSet]) -> dict[str, Any]:
    """The quotas of a region; a scale set's own limit of machines is told as one of vCPUs."""
    sets = list(scale_sets)
    used = sum(len(each.vms) * each.spec.vcpus for each in sets)
    limits = [each.spec.quota * each.spec.vcpus for each in sets if each.spec.quota is not None]
    limit = min(limits, default=_AMPLE_QUOTA_VCPUS)
    names = (("cores", _AMPLE_QUOTA_VCPUS), ("lowPriorityCores", _AMPLE_QUOTA_VCPUS), (_FAMILY, limit))
    return {
        "value": [
            {
                "name": {"value": name, "localizedValue": name},
                "currentValue": used,
                "limit": most,
                "unit": "Count",
            }
            for name, most in names
        ]
    }


def skus_body(scale_sets: Iterable[SimScaleSet]) -> dict[str, Any]:
    """The sizes that a region sells: those that the scale sets have."""
    sizes = {each.spec.vm_size: each.spec.vcpus for each in scale_sets}
    return {
        "value": [
            {
                "resourceType": "virtualMachines",
                "name": name,
                "family": _FAMILY,
                "capabilities": [{"name": "vCPUs", "value": str(vcpus)}],
                "locationInfo": [{"zones": ["1", "2", "3"]}],
                "restrictions": [],
            }
            for name, vcpus in sizes.items()
        ]
    }


def prefix_body(path: str) -> dict[str, Any]:
    """A public IP prefix."""
    return {"id": path, "name": path.rpartition("/")[2], "properties": {"prefixLength": PREFIX_LENGTH}}


def network_profile(scale_set: SimScaleSet) -> dict[str, Any]:
    """What each new machine is tied to."""
    network = f"{_group(scale_set)}/providers/Microsoft.Network"
    public = {"publicIPPrefix": {"id": f"{network}/publicIPPrefixes/{scale_set.name}"}}
    address = {
        "subnet": {"id": f"{network}/virtualNetworks/bridges/subnets/bridges"},
        "applicationSecurityGroups": [{"id": f"{network}/applicationSecurityGroups/bridges"}],
        "publicIPAddressConfiguration": {"name": "media", "properties": public},
    }
    nic = {
        "networkSecurityGroup": {"id": f"{network}/networkSecurityGroups/bridges"},
        "ipConfigurations": [{"name": "media", "properties": address}],
    }
    return {"networkInterfaceConfigurations": [{"name": "media", "properties": nic}]}


def identity(scale_set: SimScaleSet) -> dict[str, Any]:
    """The identity of the bridges."""
    identities = f"{_group(scale_set)}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    return {"type": "UserAssigned", "userAssignedIdentities": {f"{identities}/bridges": {}}}


def _group(scale_set: SimScaleSet) -> str:
    return scale_set.id.partition("/providers/")[0]
