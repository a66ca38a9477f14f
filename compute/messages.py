"""
ARM's answers, read into the model. Pure: what comes in is the JSON of the wire.

An entry that cannot be identified makes the whole list unknown: a machine left out would look
like a machine that is gone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from scaler.errors import ConfigurationInvalid, Refused, TryNextTick
from scaler.model import ImageBuild, ImageVersion, Instance, Power, ScaleSet
from scaler.ports import Operation

Json = Mapping[str, Any]

OWNER_TAG: Final = "jvb-autoscaler-owner"
CONFIG_TAG: Final = "jvb-autoscaler-config"
LONGEST_TEXT: Final = 500

_SCALE_SET_ID: Final = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.Compute/virtualMachineScaleSets/(?P<name>[^/]+)",
    re.IGNORECASE,
)
_POWERS: Final = {
    "running": Power.RUNNING,
    "stopping": Power.STOPPED,
    "stopped": Power.STOPPED,
    "deallocating": Power.STOPPED,
    "deallocated": Power.STOPPED,
}
_ENDED: Final = {"succeeded", "failed", "canceled", "cancelled"}


@dataclass(frozen=True, slots=True)
class ScaleSetId:
    """A scale set's ARM id in its parts."""

    text: str
    subscription: str
    group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ScaleSetId:
        """Read a full ARM id. Raises `ConfigurationInvalid`."""
        match = _SCALE_SET_ID.fullmatch(text.rstrip("/"))
        if match is None:
            raise ConfigurationInvalid([f"scale_set_id {text!r} is not the full ARM id of a scale set"])
        return cls(text.rstrip("/"), match["subscription"], match["group"], match["name"])


def scale_set_of(body: Json) -> ScaleSet:
    """Read a scale set's record. Raises `Refused` for one that is not Flexible."""
    properties = _part(body, "properties")
    mode = properties.get("orchestrationMode") or "Uniform"
    if mode != "Flexible":
        raise Refused("UniformNotSupported", f"{body.get('name')} has orchestration mode {mode}")
    sku = _part(body, "sku")
    return ScaleSet(
        capacity=_count(sku, "capacity"),
        etag=_text(body, "etag"),
        vm_size=_text(sku, "name"),
        owner=_tag(body.get("tags"), OWNER_TAG),
        provisioning=_text(properties, "provisioningState"),
        sku_tier=sku.get("tier"),
        location=str(body.get("location") or "") or None,
        image=_image(properties.get("virtualMachineProfile")),
        config=_tag(body.get("tags"), CONFIG_TAG),
    )


def instance_of(vm: Json, scale_set_id: str) -> Instance:
    """Read one VM of a Flexible scale set, with its instance view and without an address."""
    properties = _part(vm, "properties")
    name = _text(vm, "name")
    # Were the filter ever ignored, every VM of the resource group would pass for a bridge.
    if str(_part(properties, "virtualMachineScaleSet").get("id")).lower() != scale_set_id.lower():
        raise TryNextTick(f"ARM lists {name}, which is not of {scale_set_id}")
    statuses = _statuses(properties)
    provisioning = _text(properties, "provisioningState")
    return Instance(
        vm_id=_text(properties, "vmId").lower(),
        name=name,
        instance_id=name,
        resource_id=_text(vm, "id").lower(),
        time_created=_moment(properties.get("timeCreated")),
        power=_power(statuses),
        provisioning=provisioning,
        address=None,
        image=_image(properties),
        error=_failure(statuses) if provisioning == "Failed" else None,
        config=_tag(vm.get("tags"), CONFIG_TAG),
    )


def addresses_of(nics: Iterable[Json]) -> dict[str, str]:
    """Private IPv4 address by VM resource id in lower case, from network interfaces."""
    found: dict[str, str] = {}
    for nic in nics:
        properties = _part(nic, "properties")
        vm_id = (properties.get("virtualMachine") or {}).get("id")
        address = _primary_address(properties)
        # The only NIC of a machine need not say that it is the primary one.
        if vm_id and address and (properties.get("primary") or str(vm_id).lower() not in found):
            found[str(vm_id).lower()] = address
    return found


def image_version_of(body: Json) -> ImageVersion:
    """Read one entry of a gallery image's versions; replication is not told in a list."""
    properties = _part(body, "properties")
    profile = properties.get("publishingProfile") or {}
    state = properties.get("provisioningState")
    problem = None
    if state != "Succeeded":
        problem = f"its provisioning state is {state}"
    elif profile.get("excludeFromLatest"):
        problem = "it is excluded from latest"
    end_of_life = _moment(profile.get("endOfLifeDate"))
    return ImageVersion(_text(body, "id").lower(), problem is None, end_of_life, problem)


def is_replicated(version: ImageVersion, body: Json, location: str) -> ImageVersion:
    """Return the version as unusable unless its replication to a region is told to be complete."""
    summary = (_part(body, "properties").get("replicationStatus") or {}).get("summary") or ()
    states = {_region(each.get("region")): each.get("state") for each in summary if isinstance(each, Mapping)}
    state = states.get(_region(location))
    if state == "Completed":
        return version
    return replace(version, usable=False, problem=f"its replication to {location} is {state or 'not told'}")


def _region(name: object) -> str:
    """`West Europe` and `westeurope` are one region."""
    return str(name or "").replace(" ", "").lower()


def image_build_of(template: Json) -> ImageBuild | None:
    """Read the last run of an image template; None: it never ran."""
    run = _part(template, "properties").get("lastRunStatus")
    if not isinstance(run, Mapping) or not run.get("runState"):
        return None
    return ImageBuild(
        str(run["runState"]), _moment(run.get("startTime")), one_line(str(run.get("message") or ""))
    )


def operation_of(status: int, body: Json) -> Operation:
    """
    Read a long-running operation: the body of `Azure-AsyncOperation`, else the bare status of `Location`.

    An operation that ARM no longer knows has ended, one way or the other: 404 is done without
    a verdict, and the machines themselves tell.
    """
    state = body.get("status")
    if not isinstance(state, str):
        return Operation(done=status != 202)
    if state.lower() not in _ENDED:
        return Operation(done=False)
    if state.lower() == "succeeded":
        return Operation(done=True)
    code, message = error_text(body.get("error"))
    return Operation(done=True, error=f"{code or state}: {message or 'no reason given'}")


def error_text(error: object) -> tuple[str, str]:
    """Code and message of ARM's error object, whatever of it is there."""
    if not isinstance(error, Mapping):
        return "", ""
    return str(error.get("code") or ""), one_line(str(error.get("message") or ""))


def one_line(text: str) -> str:
    """A text of any origin, fit for a log line and a table cell."""
    return " ".join(text.split())[:LONGEST_TEXT]


def _primary_address(nic: Json) -> str | None:
    configurations = [c.get("properties") or {} for c in nic.get("ipConfigurations") or ()]
    configurations.sort(key=lambda c: not c.get("primary"))
    for configuration in configurations:
        address = _ipv4(configuration.get("privateIPAddress"))
        if address is not None:
            return address
    return None


def _ipv4(text: object) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def _power(statuses: list[Json]) -> Power:
    for status in statuses:
        kind, _, state = str(status.get("code")).partition("/")
        if kind == "PowerState":
            return _POWERS.get(state, Power.UNKNOWN)
    return Power.UNKNOWN


def _failure(statuses: list[Json]) -> str:
    """`Code: message` of `ProvisioningState/failed/<Code>`."""
    for status in statuses:
        kind, _, state = str(status.get("code")).partition("/")
        if kind == "ProvisioningState" and state.startswith("failed"):
            code = state.partition("/")[2] or "ProvisioningFailed"
            return f"{code}: {status.get('message') or status.get('displayStatus') or 'no reason given'}"
    return "ProvisioningFailed: no reason given"


def _statuses(properties: Json) -> list[Json]:
    view = properties.get("instanceView") or {}
    return [status for status in view.get("statuses") or () if isinstance(status, Mapping)]


def _image(properties: Json | None) -> str | None:
    """The gallery version's own id, or the exact version that `latest` became; in lower case."""
    reference = ((properties or {}).get("storageProfile") or {}).get("imageReference") or {}
    image, exact = reference.get("id"), reference.get("exactVersion")
    if image and exact and "/versions/" not in image:
        return f"{image}/versions/{exact}".lower()
    found = image or exact
    return str(found).lower() if found else None


def _moment(text: object) -> datetime | None:
    """ARM writes seven digits of a second; Python reads six. The year 1 is .NET's word for none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None


def _tag(tags: object, wanted: str) -> str | None:
    """Names of tags are the same in any case."""
    if not isinstance(tags, Mapping):
        return None
    return next((str(value) for name, value in tags.items() if name.lower() == wanted), None)


def _part(body: Json, key: str) -> Json:
    part = body.get(key)
    if not isinstance(part, Mapping):
        raise TryNextTick(f"ARM's answer has no {key}")
    return part


def _text(body: Json, key: str) -> str:
    text = body.get(key)
    if not isinstance(text, str) or not text:
        raise TryNextTick(f"ARM's answer has no {key}")
    return text


def _count(body: Json, key: str) -> int:
    count = body.get(key)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise TryNextTick(f"ARM's answer has no {key}")
    return count
