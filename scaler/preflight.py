"""
What is missing before the app can do its work: rights, quota, addresses, settings, endpoints. Pure.

Whoever looks hands in what Azure told; what could not be learnt is said to be unknown, never taken for well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from scaler.policy import ScalingPolicy


class Verdict(StrEnum):
    """How a finding stands."""

    MISSING = "missing"
    """It will fail, or be wrong."""
    UNKNOWN = "unknown"
    """It could not be learnt."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be, and what to do about it."""

    verdict: Verdict
    area: str
    """`permission`, `quota`, `addresses`, `setting` or `endpoint`."""
    what: str
    detail: str
    fix: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A question that was not answered, and why."""

    because: str


@dataclass(frozen=True, slots=True)
class Permission:
    """One role's part of what the identity may do on a scope; `*` stands for anything."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()

    def covers(self, action: str) -> bool:
        """Whether this part allows an action. Azure compares names in any case."""
        return _any_fits(action, self.actions) and not _any_fits(action, self.not_actions)


def _any_fits(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Quota:
    """vCPUs of a region: what is used of what may be."""

    name: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Size:
    """What Azure says of a VM size in a region."""

    vcpus: int
    family: str
    """Name of its quota."""
    zones: tuple[str, ...]
    """Zones in which this subscription may use it."""


@dataclass(frozen=True, slots=True)
class Build:
    """How a scale set makes its machines."""

    location: str
    vm_size: str
    capacity: int
    orchestration: str
    upgrade_mode: str | None
    repairs: bool
    os_upgrades: bool
    owner: str | None
    zones: tuple[str, ...]
    spot: bool
    linked: Mapping[str, tuple[str, ...]]
    """Kind of scope -> ids of what each machine is tied to: subnet, prefix, identity and so on."""


@dataclass(frozen=True, slots=True)
class Premises:
    """Everything that was learnt of one shard's surroundings. `None`: does not apply."""

    scale_set_id: str
    policy: ScalingPolicy
    owner: str
    scale_set: Build | Unknown
    permissions: Mapping[str, tuple[Permission, ...] | Unknown] = field(default_factory=dict)
    """By scope, of each scope of `scopes_of`."""
    quotas: tuple[Quota, ...] | Unknown = ()
    size: Size | Unknown | None = None
    addresses: int | Unknown | None = None
    """How many addresses the prefix has."""
    reads: Mapping[str, Unknown | None] = field(default_factory=dict)
    """What was asked as every tick asks it, by endpoint; None: answered."""


SCOPE_OF: Mapping[str, str] = {
    "Microsoft.Compute/virtualMachineScaleSets/read": "scale_set",
    "Microsoft.Compute/virtualMachineScaleSets/write": "scale_set",
    "Microsoft.Compute/virtualMachineScaleSets/delete/action": "scale_set",
    "Microsoft.Compute/virtualMachines/read": "group",
    "Microsoft.Compute/virtualMachines/write": "group",
    "Microsoft.Compute/virtualMachines/instanceView/read": "group",
    "Microsoft.Network/networkInterfaces/read": "group",
    "Microsoft.Compute/locations/operations/read": "subscription",
    "Microsoft.Insights/metrics/read": "subscription",
    "Microsoft.Compute/galleries/images/read": "gallery",
    "Microsoft.Compute/galleries/images/versions/read": "gallery",
    "Microsoft.Compute/galleries/images/versions/delete": "gallery",
    "Microsoft.VirtualMachineImages/imageTemplates/read": "template",
    "Microsoft.VirtualMachineImages/imageTemplates/run/action": "template",
    "Microsoft.Network/virtualNetworks/subnets/join/action": "subnet",
    "Microsoft.Network/networkSecurityGroups/join/action": "security_group",
    "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action": "application_group",
    "Microsoft.Network/publicIPPrefixes/join/action": "prefix",
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action": "identity",
}
"""Every action that the app needs -> the kind of scope on which it needs it."""


def scopes_of(scale_set_id: str, build: Build | None, policy: ScalingPolicy) -> dict[str, tuple[str, ...]]:
    """Return the scopes on which rights are needed, by kind; a kind that does not apply is absent."""
    group = scale_set_id.partition("/providers/")[0]
    subscription = "/".join(group.split("/")[:3])
    found: dict[str, tuple[str, ...]] = {
        "scale_set": (scale_set_id,),
        "group": (group,),
        "subscription": (subscription,),
    }
    if policy.image_definition_id is not None:
        found["gallery"] = (policy.image_definition_id,)
    if policy.image_template_id is not None:
        found["template"] = (policy.image_template_id,)
    return found | (dict(build.linked) if build else {})


def judge(premises: Premises) -> tuple[Finding, ...]:
    """Return everything that is missing or unknown, rights first; empty: ready."""
    build = premises.scale_set if isinstance(premises.scale_set, Build) else None
    found = [*_permissions(premises, build), *_reads(premises)]
    if build is None:
        return tuple(found)
    return (*found, *_settings(premises, build), *_quota(premises, build), *_addresses(premises))


def _permissions(premises: Premises, build: Build | None) -> Iterator[Finding]:
    scopes = scopes_of(premises.scale_set_id, build, premises.policy)
    for action, kind in SCOPE_OF.items():
        if action.endswith("images/versions/delete") and premises.policy.image_template_id is None:
            continue
        for scope in scopes.get(kind, ()):
            told = premises.permissions.get(scope, Unknown("it was not asked"))
            if isinstance(told, Unknown):
                fix = (
                    "give the identity Monitoring Reader, which may ask; or compare with docs/permissions.md"
                )
                yield Finding(Verdict.UNKNOWN, "permission", action, f"on {scope}: {told.because}", fix)
            elif not any(permission.covers(action) for permission in told):
                fix = (
                    f"give the app's identity a role with {action} on {scope} "
                    "(docs/permissions.md; infra/ makes it), and wait up to ten minutes"
                )
                yield Finding(Verdict.MISSING, "permission", action, f"on {scope}", fix)


_ENDPOINT_FIXES: Mapping[str, str] = {
    "scale set": "see that `scale_set_id` is right, and the permission above",
    "machines": "see the permission above; else ask Azure's status page",
    "metrics": "see that SCALER_METRICS_ENDPOINT names the region of the bridges, and Monitoring Reader",
    "images": "see that `image_definition_id` is right, and that a version was built",
    "template": "see that `image_template_id` is right",
    "tables": "see SCALER_TABLES_ENDPOINT, its firewall or endpoint, and Storage Table Data Contributor",
}


def _reads(premises: Premises) -> Iterator[Finding]:
    for endpoint, failure in premises.reads.items():
        if failure is not None:
            fix = _ENDPOINT_FIXES[endpoint]
            yield Finding(Verdict.MISSING, "endpoint", endpoint, failure.because, fix)


def _settings(premises: Premises, build: Build) -> Iterator[Finding]:
    def wrong(what: str, detail: str, fix: str) -> Finding:
        return Finding(Verdict.MISSING, "setting", what, detail, fix)

    update = f"az vmss update --ids {premises.scale_set_id}"
    if build.orchestration != "Flexible":
        detail = f"is {build.orchestration}"
        yield wrong("orchestration", detail, "make a scale set with Flexible orchestration")
    if build.upgrade_mode not in (None, "Manual"):
        detail = f"upgrade policy is {build.upgrade_mode}: Azure replaces bridges by itself"
        yield wrong("upgrade policy", detail, f"{update} --set upgradePolicy.mode=Manual")
    if build.repairs:
        detail = "automatic repairs are on: Azure replaces bridges by itself"
        yield wrong("automatic repairs", detail, f"{update} --set automaticRepairsPolicy.enabled=false")
    if build.os_upgrades:
        detail = "automatic OS upgrades are on: Azure replaces bridges by itself"
        fix = f"{update} --set upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade=false"
        yield wrong("automatic OS upgrades", detail, fix)
    if build.owner not in (None, premises.owner):
        detail = f"the tag jvb-autoscaler-owner is {build.owner!r}, and this installation {premises.owner!r}"
        yield wrong("owner", detail, "set the tag or SCALER_OWNER: until then this app only reads")
    for name in premises.policy.missing:
        detail = f"is not known for {build.vm_size}"
        yield wrong(name, detail, f"set {name} for this shard in SCALER_SHARDS")


def _quota(premises: Premises, build: Build) -> Iterator[Finding]:
    size = premises.size
    if isinstance(size, Unknown) or isinstance(premises.quotas, Unknown):
        because = size.because if isinstance(size, Unknown) else _because(premises.quotas)
        fix = f"az vm list-usage --location {build.location} --output table"
        yield Finding(Verdict.UNKNOWN, "quota", f"vCPUs for {build.vm_size}", because, fix)
        return
    if size is None:
        fix = "choose a size that the region has: az vm list-skus --resource-type virtualMachines"
        detail = f"Azure lists no {build.vm_size} in {build.location}"
        yield Finding(Verdict.MISSING, "quota", build.vm_size, detail, fix)
        return
    if barred := [zone for zone in build.zones if zone not in size.zones]:
        detail = f"{build.vm_size} may not be used in zone {', '.join(barred)} of {build.location}"
        fix = "choose another zone or size, or ask Azure's support for it"
        yield Finding(Verdict.MISSING, "quota", build.vm_size, detail, fix)
    more = (_machines(premises.policy) - build.capacity) * size.vcpus
    wanted = {"lowPriorityCores"} if build.spot else {"cores", size.family}
    for name in sorted(wanted):
        quota = next((each for each in premises.quotas if each.name.lower() == name.lower()), None)
        if quota is None:
            fix = f"az vm list-usage --location {build.location} --output table"
            yield Finding(Verdict.UNKNOWN, "quota", name, "Azure does not list it", fix)
        elif quota.used + more > quota.limit:
            detail = (
                f"{quota.used} of {quota.limit} vCPUs are used, and {more} more are needed for "
                f"{_machines(premises.policy)} bridges of {size.vcpus}"
            )
            fix = f"ask for {quota.used + more} in the portal under Quotas, or lower max_bridges"
            yield Finding(Verdict.MISSING, "quota", name, detail, fix)


def _because(told: object) -> str:
    return told.because if isinstance(told, Unknown) else ""


def _machines(policy: ScalingPolicy) -> int:
    """Most machines at once: at the maximum, in a night."""
    surge = 0 if policy.recycle == "off" else policy.surge_of(policy.max_bridges)
    return policy.max_bridges + surge


def _addresses(premises: Premises) -> Iterator[Finding]:
    told, needed = premises.addresses, _machines(premises.policy)
    if isinstance(told, Unknown):
        fix = "az network public-ip prefix show --ids <prefix> --query prefixLength"
        yield Finding(Verdict.UNKNOWN, "addresses", "public IP prefix", told.because, fix)
    elif told is not None and told < needed:
        detail = f"the prefix has {told} addresses, and {needed} bridges may run at once in a night"
        fits = told - (needed - premises.policy.max_bridges)
        fix = f"lower max_bridges to {fits}, or make a larger prefix (at most /28)"
        yield Finding(Verdict.MISSING, "addresses", "public IP prefix", detail, fix)


def as_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as `GET /api/preflight` tells it."""
    return {
        "verdict": str(finding.verdict),
        "area": finding.area,
        "what": finding.what,
        "detail": finding.detail,
        "fix": finding.fix,
    }
