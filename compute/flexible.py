"""
A scale set with Flexible orchestration, as the engine's `Cloud` port.

Its instances are ordinary VMs with NICs of their own. A Uniform set has its own calls for both,
and would be another adapter of the same port beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.pipeline import PipelineResponse
from azure.core.rest import HttpRequest
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.compute.models import (
    ImageReference,
    Sku,
    VirtualMachineScaleSetUpdate,
    VirtualMachineScaleSetUpdateProperties,
    VirtualMachineScaleSetUpdateStorageProfile,
    VirtualMachineScaleSetUpdateVMProfile,
    VirtualMachineScaleSetVMInstanceRequiredIDs,
)

from compute.failures import WRITE_SECONDS, asking
from compute.messages import Json, ScaleSetId, addresses_of, instance_of, operation_of, scale_set_of
from compute.pages import values
from scaler.model import Instance, ScaleSet
from scaler.ports import Operation

NETWORK_API_VERSION: Final = "2025-05-01"


class FlexibleScaleSet:
    """One Flexible scale set in ARM."""

    def __init__(self, client: ComputeManagementClient, scale_set_id: str) -> None:
        """`client`: of the scale set's subscription. Raises `ConfigurationInvalid` for a wrong id."""
        self._client = client
        self._id = ScaleSetId.parse(scale_set_id)

    async def scale_set(self) -> ScaleSet:
        """Read the record. Raises `Refused` (`UniformNotSupported`) for another orchestration mode."""
        async with asking(f"read scale set {self._id.name}"):
            found = await self._client.virtual_machine_scale_sets.get(self._id.group, self._id.name)
            return scale_set_of(found)

    async def instances(self, known_addresses: Mapping[str, str]) -> tuple[Instance, ...]:
        """List every machine, each with its address as far as one is known to us or to ARM."""
        machines = await self._machines()
        if any(not m.is_deleting and m.vm_id not in known_addresses for m in machines):
            told = await self._addresses()
        else:
            told = {}
        return tuple(
            replace(m, address=known_addresses.get(m.vm_id) or told.get(m.resource_id)) for m in machines
        )

    async def scale_out(self, scale_set: ScaleSet, capacity: int) -> str | None:
        """Write the absolute capacity on top of exactly the record that was read."""
        sku = Sku(name=scale_set.vm_size, tier=scale_set.sku_tier, capacity=capacity)
        answer = _Answer()
        async with asking(f"write capacity {capacity} of {self._id.name}", WRITE_SECONDS):
            await self._client.virtual_machine_scale_sets.begin_update(
                self._id.group,
                self._id.name,
                VirtualMachineScaleSetUpdate(sku=sku),
                etag=scale_set.etag,
                match_condition=MatchConditions.IfNotModified,
                polling=False,
                raw_response_hook=answer.keep,
            )
        return answer.operation

    async def set_image(self, scale_set: ScaleSet, image: str) -> None:
        """Write the image of machines to come on top of exactly the record that was read."""
        reference = VirtualMachineScaleSetUpdateStorageProfile(image_reference=ImageReference(id=image))
        profile = VirtualMachineScaleSetUpdateVMProfile(storage_profile=reference)
        properties = VirtualMachineScaleSetUpdateProperties(virtual_machine_profile=profile)
        async with asking(f"write image of {self._id.name}", WRITE_SECONDS):
            await self._client.virtual_machine_scale_sets.begin_update(
                self._id.group,
                self._id.name,
                VirtualMachineScaleSetUpdate(properties=properties),
                etag=scale_set.etag,
                match_condition=MatchConditions.IfNotModified,
                polling=False,
            )

    async def delete(self, instance: Instance) -> str | None:
        """Delete exactly this machine, by its own id: which one goes is never left to ARM."""
        only = VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=[instance.instance_id])
        answer = _Answer()
        async with asking(f"delete {instance.name}", WRITE_SECONDS):
            await self._client.virtual_machine_scale_sets.begin_delete_instances(
                self._id.group, self._id.name, only, polling=False, raw_response_hook=answer.keep
            )
        return answer.operation

    async def operation(self, url: str) -> Operation:
        """Read an operation once, at ARM's own host only."""
        async with asking("read operation"):
            response = await self._client.send_request(HttpRequest("GET", url))
            if response.status_code == 404:
                return Operation(done=True)
            response.raise_for_status()
            body = response.json() if response.content else {}
            return operation_of(response.status_code, body if isinstance(body, dict) else {})

    async def _machines(self) -> list[Instance]:
        async with asking(f"list the machines of {self._id.name}"):
            pages = self._client.virtual_machines.list(
                self._id.group,
                filter=f"'virtualMachineScaleSet/id' eq '{self._id.text}'",
                expand="instanceView",
                raw_response_hook=_require_list,
            )
            found = [instance_of(vm, self._id.text) async for vm in pages]
        # A list that moves while it is read can show a machine on two pages.
        return list({machine.vm_id: machine for machine in found}.values())

    async def _addresses(self) -> dict[str, str]:
        """
        Private addresses by resource id, from all NICs of the resource group.

        There is no narrower call for Flexible sets; the azure-mgmt-network package would do
        the same and cost half a second and 66 MiB to import.
        """
        path = f"/subscriptions/{self._id.subscription}/resourceGroups/{self._id.group}"
        url: str | None = f"{path}/providers/Microsoft.Network/networkInterfaces"
        params: dict[str, str] | None = {"api-version": NETWORK_API_VERSION}
        nics: list[Json] = []
        async with asking("list the network interfaces"):
            while url is not None:
                response = await self._client.send_request(HttpRequest("GET", url, params=params))
                response.raise_for_status()
                page, params = response.json(), None
                nics += values(page)
                url = page.get("nextLink") or None
            return addresses_of(nics)


class _Answer:
    """The operation URL of a write: the SDK shows it only to a hook when it shall not poll."""

    operation: str | None = None

    def keep(self, response: PipelineResponse[Any, Any]) -> None:
        headers = response.http_response.headers
        self.operation = headers.get("Azure-AsyncOperation") or headers.get("Location")


def _require_list(response: PipelineResponse[Any, Any]) -> None:
    """The SDK takes a page without `value` for an empty one, and the fleet for gone."""
    if response.http_response.status_code == 200:
        values(response.http_response.json())
