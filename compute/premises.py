"""
What preflight asks of Azure: rights, sizes, quotas, addresses, and how the scale set is made. Reads only.

A question that is not answered becomes `Unknown` with the reason, so that one refusal hides nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from azure.core.rest import HttpRequest
from azure.mgmt.compute.aio import ComputeManagementClient

from compute.failures import asking
from compute.messages import OWNER_TAG, Json
from compute.pages import values
from scaler.errors import ScalerError
from scaler.preflight import Build, Permission, Quota, Size, Unknown

PERMISSIONS_API: Final = "2022-04-01"
COMPUTE_API: Final = "2026-04-01"
SKUS_API: Final = "2021-07-01"
NETWORK_API: Final = "2025-05-01"
_MOST_PAGES: Final = 50

T = TypeVar("T")


class AzurePremises:
    """The surroundings of the scale sets that one ARM client may see."""

    def __init__(self, client: ComputeManagementClient) -> None:
        """`client`: whose endpoint and identity are used, so that what it may do is what the app may do."""
        self._client = client

    async def build(self, scale_set_id: str) -> Build | Unknown:
        """How the scale set makes its machines."""
        return await told(lambda: self._build(scale_set_id))

    async def permissions(self, scopes: Iterable[str]) -> dict[str, tuple[Permission, ...] | Unknown]:
        """What the identity itself may do on each scope."""
        asked = sorted(set(scopes))
        answers = await asyncio.gather(*(told(lambda s=s: self._permissions(s)) for s in asked))  # type: ignore[misc]
        return dict(zip(asked, answers, strict=True))

    async def quotas(self, subscription_id: str, location: str) -> tuple[Quota, ...] | Unknown:
        """VCPUs of the region, by family and in all."""
        url = f"/subscriptions/{subscription_id}/providers/Microsoft.Compute/locations/{location}/usages"

        async def ask() -> tuple[Quota, ...]:
            found = await self._list(url, {"api-version": COMPUTE_API}, "read the quotas")
            return tuple(
                Quota(str(each["name"]["value"]), int(each["currentValue"]), int(each["limit"]))
                for each in found
            )

        return await told(ask)

    async def size(self, subscription_id: str, location: str, vm_size: str) -> Size | Unknown | None:
        """What Azure says of a VM size there; None: the region has none of that name."""
        url = f"/subscriptions/{subscription_id}/providers/Microsoft.Compute/skus"
        params = {"api-version": SKUS_API, "$filter": f"location eq '{location}'"}

        async def ask() -> Size | None:
            listed = await self._list(url, params, "read the sizes")
            return size_of(listed, vm_size)

        return await told(ask)

    async def addresses(self, prefix_id: str) -> int | Unknown:
        """How many addresses a public IP prefix has."""

        async def ask() -> int:
            params = {"api-version": NETWORK_API}
            body = await self._get(prefix_id, params, "read the public IP prefix")
            return 1 << (32 - int(body["properties"]["prefixLength"]))

        return await told(ask)

    async def _build(self, scale_set_id: str) -> Build:
        return build_of(await self._get(scale_set_id, {"api-version": COMPUTE_API}, "read the scale set"))

    async def _permissions(self, scope: str) -> tuple[Permission, ...]:
        url = f"{scope}/providers/Microsoft.Authorization/permissions"
        found = await self._list(url, {"api-version": PERMISSIONS_API}, "read the own permissions")
        return tuple(
            Permission(tuple(each.get("actions") or ()), tuple(each.get("notActions") or ()))
            for each in found
        )

    async def _list(self, url: str, params: Mapping[str, str], what: str) -> list[Json]:
        found: list[Json] = []
        page = await self._get(url, params, what)
        for _ in range(_MOST_PAGES):
            found += values(page)
            following = page.get("nextLink")
            if not following:
                break
            page = await self._get(str(following), {}, what)
        return found

    async def _get(self, url: str, params: Mapping[str, str], what: str) -> Json:
        async with asking(what):
            response = await self._client.send_request(HttpRequest("GET", url, params=dict(params)))
            response.raise_for_status()
            body: Any = response.json()
            return body if isinstance(body, dict) else {}


async def told(question: Callable[[], Awaitable[T]]) -> T | Unknown:
    """Ask, and take every failure for an answer that is not known."""
    try:
        return await question()
    except ScalerError as error:
        return Unknown(str(error))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return Unknown(f"answer not understood ({error!r})")


def build_of(body: Json) -> Build:
    """Read how a scale set makes its machines."""
    properties = body["properties"]
    profile = properties.get("virtualMachineProfile") or {}
    upgrade = properties.get("upgradePolicy") or {}
    tags = {str(name).lower(): str(value) for name, value in (body.get("tags") or {}).items()}
    return Build(
        location=str(body["location"]),
        vm_size=str(body["sku"]["name"]),
        capacity=int(body["sku"]["capacity"]),
        orchestration=str(properties.get("orchestrationMode") or "Uniform"),
        upgrade_mode=upgrade.get("mode"),
        repairs=bool((properties.get("automaticRepairsPolicy") or {}).get("enabled")),
        os_upgrades=bool((upgrade.get("automaticOSUpgradePolicy") or {}).get("enableAutomaticOSUpgrade")),
        owner=tags.get(OWNER_TAG),
        zones=tuple(body.get("zones") or ()),
        spot=profile.get("priority") == "Spot",
        linked=_linked(profile, body.get("identity") or {}),
    )


def _linked(profile: Json, identity: Json) -> dict[str, tuple[str, ...]]:
    """Ids of what a new machine is tied to, by kind of scope; kinds without one are left out."""
    found: dict[str, list[str]] = {"identity": list(identity.get("userAssignedIdentities") or {})}

    def note(kind: str, reference: Any) -> None:
        if isinstance(reference, dict) and reference.get("id"):
            found.setdefault(kind, []).append(str(reference["id"]))

    for nic in (profile.get("networkProfile") or {}).get("networkInterfaceConfigurations") or ():
        note("security_group", nic["properties"].get("networkSecurityGroup"))
        for address in nic["properties"].get("ipConfigurations") or ():
            parts = address["properties"]
            note("subnet", parts.get("subnet"))
            for group in parts.get("applicationSecurityGroups") or ():
                note("application_group", group)
            public = (parts.get("publicIPAddressConfiguration") or {}).get("properties") or {}
            note("prefix", public.get("publicIPPrefix"))
    return {kind: tuple(dict.fromkeys(ids)) for kind, ids in found.items() if ids}


def size_of(listed: Iterable[Json], vm_size: str) -> Size | None:
    """Find a VM size in Azure's list of what a region sells to this subscription."""
    for each in listed:
        if each.get("resourceType") == "virtualMachines" and str(each.get("name")).lower() == vm_size.lower():
            capabilities = {c["name"]: c["value"] for c in each.get("capabilities") or ()}
            barred = {
                zone
                for restriction in each.get("restrictions") or ()
                for zone in (restriction.get("restrictionInfo") or {}).get("zones") or ()
            }
            zones = {zone for place in each.get("locationInfo") or () for zone in place.get("zones") or ()}
            return Size(int(capabilities["vCPUs"]), str(each["family"]), tuple(sorted(zones - barred)))
    return None
