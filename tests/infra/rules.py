"""What must hold for every installation, whatever its parameters: each finding is one sentence."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.documented import actions, text_of
from tests.infra.deployment import PASSWORDS, Body, Deployment, Sent

INBOUND = {
    ("bridges", "10000", "Udp", "Internet"),
    ("bridges", "10000", "Udp", "asg bridges"),
    ("bridges", "8080", "Tcp", "subnet function"),
    ("signalling", "443", "Tcp", "Internet"),
    ("signalling", "5222", "Tcp", "asg bridges"),
    ("endpoints", "443", "Tcp", "subnet function"),
    ("endpoints", "443", "Tcp", "asg bridges"),
}
"""Everything that may come in: role, port, protocol, source."""

SCALE_SETS = "Microsoft.Compute/virtualMachineScaleSets"
ROLES, ASSIGNMENTS = "Microsoft.Authorization/roleDefinitions", "Microsoft.Authorization/roleAssignments"
SCOPES = {
    "scale set": SCALE_SETS,
    "resource group": "resourceGroups",
    "subscription": "subscriptions",
    "gallery of the image": "Microsoft.Compute/galleries",
    "image template": "Microsoft.VirtualMachineImages/imageTemplates",
    "subnet of the bridges": "Microsoft.Network/virtualNetworks/subnets",
    "NSG in the NIC's configuration": "Microsoft.Network/networkSecurityGroups",
    "application security group of the bridges": "Microsoft.Network/applicationSecurityGroups",
    "prefix of the public addresses": "Microsoft.Network/publicIPPrefixes",
    "identity of the bridges": "Microsoft.ManagedIdentity/userAssignedIdentities",
}
"""Scopes as docs/permissions.md calls them -> the resource type that the role is assigned on."""


def findings(made: Deployment) -> list[str]:
    """Everything that is wrong with what was sent."""
    network, bridges = (_inbound, _subnets, _endpoints), (_scale_sets, _prefixes, _readers)
    app = (_app, _builder, _app_rights, _secrets, _storage, _vault, _alerts)
    rules = (*network, *bridges, *app)
    return [finding for rule in rules for finding in rule(made)]


# --- network --------------------------------------------------------------------------------


def _rules_of(group: Sent) -> list[Body]:
    rules: list[Body] = group.body["properties"]["securityRules"]
    return [{"name": rule["name"], **rule["properties"]} for rule in rules]


def _subnet_list(made: Deployment) -> list[Body]:
    network = made.one("Microsoft.Network/virtualNetworks").body["properties"]
    return [{"name": each["name"], **each["properties"]} for each in network["subnets"]]


def _source(made: Deployment, rule: Body) -> str:
    if groups := rule.get("sourceApplicationSecurityGroups"):
        return f"asg {groups[0]['id'].rpartition('-')[2]}"
    prefix = str(rule["sourceAddressPrefix"])
    named = {each["addressPrefix"]: each["name"].removeprefix("snet-") for each in _subnet_list(made)}
    return f"subnet {named[prefix]}" if prefix in named else prefix


def inbound(made: Deployment) -> set[tuple[str, str, str, str]]:
    """Every inbound rule that allows, as (role, port, protocol, source)."""
    return {
        (group.name.rpartition("-")[2], rule["destinationPortRange"], rule["protocol"], _source(made, rule))
        for group in made.of("Microsoft.Network/networkSecurityGroups")
        for rule in _rules_of(group)
        if rule["access"] == "Allow" and rule["direction"] == "Inbound"
    }


def _inbound(made: Deployment) -> Iterator[str]:
    for extra in sorted(inbound(made) - INBOUND):
        yield f"an inbound rule that nobody listed: {extra}"
    for lost in sorted(INBOUND - inbound(made)):
        yield f"an inbound rule is gone: {lost}"
    for group in made.of("Microsoft.Network/networkSecurityGroups"):
        last = max(_rules_of(group), key=lambda rule: int(rule["priority"]))
        closed = (last["access"], last["protocol"], last["sourceAddressPrefix"], last["destinationPortRange"])
        if closed != ("Deny", "*", "*", "*"):
            yield f"{group.name}: its last rule does not close what the network's default opens"


def _subnets(made: Deployment) -> Iterator[str]:
    network = made.one("Microsoft.Network/virtualNetworks").body["properties"]
    space = ipaddress.ip_network(network["addressSpace"]["addressPrefixes"][0])
    found = {each["name"]: ipaddress.ip_network(each["addressPrefix"]) for each in _subnet_list(made)}
    for name, subnet in found.items():
        if not subnet.subnet_of(space):  # type: ignore[arg-type]
            yield f"{name}: {subnet} is outside {space}"
        overlapping = [other for other, each in found.items() if other < name and each.overlaps(subnet)]
        yield from (f"{name} overlaps {other}" for other in overlapping)
    yield from (
        f"{each['name']}: has no security group of its own"
        for each in _subnet_list(made)
        if each["networkSecurityGroup"]["id"].rpartition("-")[2] != each["name"].removeprefix("snet-")
    )


def endpoints(made: Deployment) -> dict[str, Body]:
    """Private endpoints by what they lead to: blob, table, sites."""
    bodies = [each.body["properties"] for each in made.of("Microsoft.Network/privateEndpoints")]
    return {
        connection["properties"]["groupIds"][0]: body
        for body in bodies
        for connection in body["privateLinkServiceConnections"]
    }


def _endpoints(made: Deployment) -> Iterator[str]:
    """Bridges reach the app alone; what it keeps its tables in lies in the same subnet."""
    doors = [
        rule
        for group in made.of("Microsoft.Network/networkSecurityGroups")
        if group.name.endswith("-endpoints")
        for rule in _rules_of(group)
        if rule["access"] == "Allow" and _source(made, rule) == "asg bridges"
    ]
    opened = {
        to["id"] for rule in doors for to in rule.get("destinationApplicationSecurityGroups", [{"id": "*"}])
    }
    for subnet in _subnet_list(made):
        policy = subnet.get("privateEndpointNetworkPolicies")
        if subnet["name"] == "snet-endpoints" and policy not in ("Enabled", "NetworkSecurityGroupEnabled"):
            yield f"the rules of {subnet['name']} do not hold for private endpoints"
    network = made.one("Microsoft.Network/virtualNetworks").id
    links = made.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    resolved = {each.parent for each in links if each.body["properties"]["virtualNetwork"]["id"] == network}
    for each in made.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups"):
        zones = [config["properties"] for config in each.body["properties"]["privateDnsZoneConfigs"]]
        yield from (
            f"{zone['privateDnsZoneId']}: the network does not resolve it"
            for zone in zones
            if zone["privateDnsZoneId"] not in resolved
        )
    for name, body in endpoints(made).items():
        groups = {each["id"] for each in body.get("applicationSecurityGroups", [])}
        if (name == "sites") != bool(groups & opened) or "*" in opened:
            yield f"the private endpoint {name}: bridges reach it, or the app is not reached"


# --- bridges --------------------------------------------------------------------------------


def _scale_sets(made: Deployment) -> Iterator[str]:
    for each in made.of(SCALE_SETS):
        properties = each.body["properties"]
        profile = properties["virtualMachineProfile"]
        wrong = {
            "orchestrationMode": properties["orchestrationMode"] != "Flexible",
            "upgradePolicy": properties["upgradePolicy"] != {"mode": "Manual"},
            "automaticRepairsPolicy": properties["automaticRepairsPolicy"] != {"enabled": False},
            "scaleInPolicy": "scaleInPolicy" in properties,
            "tags": not each.body["tags"].get("jvb-autoscaler-owner"),
            "identity": len(each.body["identity"]["userAssignedIdentities"]) != 1,
            "terminate notification": not _tells_of_its_end(profile),
            "password": not profile["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"],
            "accelerated networking": not _nic(profile)["enableAcceleratedNetworking"],
            "delete of NIC": _nic(profile)["deleteOption"] != "Delete",
            "application security group": not _address(profile)["applicationSecurityGroups"],
        }
        yield from (f"{each.name}: {name} is not as it must be" for name, bad in wrong.items() if bad)


def _tells_of_its_end(profile: Body) -> bool:
    if profile["priority"] == "Spot":
        return "scheduledEventsProfile" not in profile  # Azure refuses it there
    notice = profile.get("scheduledEventsProfile", {}).get("terminateNotificationProfile", {})
    return bool(notice.get("enable")) and notice.get("notBeforeTimeout") == "PT5M"


def _nic(profile: Body) -> Body:
    (nic,) = profile["networkProfile"]["networkInterfaceConfigurations"]
    return dict(nic["properties"])


def _address(profile: Body) -> Body:
    (address,) = _nic(profile)["ipConfigurations"]
    return dict(address["properties"])


def _prefixes(made: Deployment) -> Iterator[str]:
    by_id = {each.id: each for each in made.of("Microsoft.Network/publicIPPrefixes")}
    needed = {shard["scale_set_id"]: shard["max_bridges"] + shard["recycle_surge"] for shard in shards(made)}
    for each in made.of(SCALE_SETS):
        public = _address(each.body["properties"]["virtualMachineProfile"])["publicIPAddressConfiguration"]
        prefix = by_id.pop(public["properties"]["publicIPPrefix"]["id"], None)
        if prefix is None:
            yield f"{each.name}: has no prefix of its own"
            continue
        if prefix.body["zones"] != each.body["zones"] or len(each.body["zones"]) != 1:
            yield f"{each.name}: lies in {each.body['zones']}, its addresses in {prefix.body['zones']}"
        addresses = 2 ** (32 - prefix.body["properties"]["prefixLength"])
        if not needed[each.id] <= addresses <= 16:
            yield f"{each.name}: {addresses} addresses for {needed[each.id]} machines"
    yield from (f"{prefix.name}: belongs to no scale set" for prefix in by_id.values())


def principals(made: Deployment) -> dict[str, str]:
    """Identity by resource id -> who it is in a role assignment."""
    return {
        instance["attributes"]["id"]: instance["attributes"]["output"]["value"]["properties"]["principalId"]
        for resource in json.loads(made.state)["resources"]
        for instance in resource["instances"]
        if str(instance["attributes"].get("type", "")).startswith("Microsoft.ManagedIdentity/")
    }


def boot_settings(scale_set: Sent) -> dict[str, Any]:
    """What a machine of this scale set is told at its boot."""
    os_profile = scale_set.body["properties"]["virtualMachineProfile"]["osProfile"]
    return yaml_settings(base64.b64decode(os_profile["customData"]).decode())


def yaml_settings(custom_data: str) -> dict[str, Any]:
    """Settings as they stand in a cloud-config, which is made line by line of one template."""
    lines = custom_data.splitlines()
    assert lines[0] == "#cloud-config"
    place = next(number for number, line in enumerate(lines) if line.endswith("/etc/jvb-boot/settings.json"))
    content = next(line for line in lines[place:] if line.strip().startswith("content: "))
    settings: dict[str, Any] = json.loads(base64.b64decode(content.partition("content: ")[2]))
    return settings


def _readers(made: Deployment) -> Iterator[str]:
    """The identity of a shard's bridges reads the secrets of that shard, and no other does."""
    known = principals(made)
    readers: set[tuple[str, str]] = set()
    for each in made.of(SCALE_SETS):
        (identity,) = each.body["identity"]["userAssignedIdentities"]
        vault = boot_settings(each)["key_vault"]
        told = (vault["password_secret"], vault["ca_secret"])
        readers |= {(known[identity], name) for name in told if name is not None}
    got = {
        (str(each.body["properties"]["principalId"]), each.parent.rpartition("/")[2])
        for each in made.of(ASSIGNMENTS)
        if "/secrets/" in each.parent
    }
    yield from (f"{name}: not read by the bridges that need it, or by others" for _, name in got ^ readers)


# --- the app --------------------------------------------------------------------------------


def app_settings(made: Deployment) -> dict[str, str]:
    """The app's settings by name."""
    site = made.one("Microsoft.Web/sites").body["properties"]
    return {each["name"]: each["value"] for each in site["siteConfig"]["appSettings"]}


def shards(made: Deployment) -> list[Body]:
    """What the app is told of its shards."""
    listed: list[Body] = json.loads(app_settings(made)["SCALER_SHARDS"])
    return listed


def _identity_of_app(made: Deployment) -> str:
    site = made.one("Microsoft.Web/sites").body
    (identity,) = site["identity"]["userAssignedIdentities"]
    table = next(
        e for e in made.of(ASSIGNMENTS) if e.body["properties"]["roleDefinitionId"].endswith("160aaa3")
    )
    assert str(identity).endswith("-autoscaler")
    return str(table.body["properties"]["principalId"])


def granted(made: Deployment) -> dict[tuple[str, str], set[str]]:
    """Actions of the app's custom roles: (action, resource type of the scope) -> scopes."""
    roles = {each.id: each.body["properties"]["permissions"] for each in made.of(ROLES)}
    found: dict[tuple[str, str], set[str]] = {}
    for assignment in made.of(ASSIGNMENTS):
        properties = assignment.body["properties"]
        if properties["principalId"] != _identity_of_app(made):
            continue
        for permission in roles.get(properties["roleDefinitionId"], []):
            for action in permission["actions"]:
                found.setdefault((action, scope_type(assignment.parent)), set()).add(assignment.parent)
    return found


def scope_type(scope: str) -> str:
    """`resourceGroups`, `subscriptions`, or the type of a resource."""
    _, separator, rest = scope.partition("/providers/")
    if not separator:
        return "resourceGroups" if "/resourceGroups/" in scope else "subscriptions"
    parts = rest.split("/")
    return "/".join([parts[0], *parts[1::2]])


def _app(made: Deployment) -> Iterator[str]:
    site = made.one("Microsoft.Web/sites").body["properties"]
    wrong = {
        "Python 3.13": site["functionAppConfig"]["runtime"] != {"name": "python", "version": "3.13"},
        "the network": not str(site["virtualNetworkSubnetId"]).endswith("/snet-function"),
        "HTTPS alone": site["httpsOnly"] is not True or site["siteConfig"]["ftpsState"] != "Disabled",
    }
    yield from (f"the app: {name} is not as it must be" for name, bad in wrong.items() if bad)
    monitoring = [
        each
        for each in made.of(ASSIGNMENTS)
        if each.body["properties"]["roleDefinitionId"].endswith("8ba259a9fe05")
    ]
    if [each.body["properties"]["principalId"] for each in monitoring] != [_identity_of_app(made)]:
        yield "the app is no Monitoring Reader, or somebody else is"


def _builder(made: Deployment) -> Iterator[str]:
    """Who builds images may write versions of the gallery, and nothing else."""
    roles = {each.id for each in made.of(ROLES) if "image builder" in each.body["properties"]["roleName"]}
    for each in made.of(ASSIGNMENTS):
        scope = scope_type(each.parent)
        if each.body["properties"]["roleDefinitionId"] in roles and scope != "Microsoft.Compute/galleries":
            yield f"the image builder's role is assigned on {each.parent}"


def _app_rights(made: Deployment) -> Iterator[str]:
    wanted = {
        (action, SCOPES[scope])
        for title in ("Asked for by name", "Checked along the way")
        for action, scope in scopes_of(title).items()
    }
    got = granted(made)
    yield from (f"a right that is not documented: {each}" for each in sorted(set(got) - wanted))
    yield from (f"a documented right is not granted: {each}" for each in sorted(wanted - set(got)))
    sets = {each.id for each in made.of(SCALE_SETS)}
    written = {
        scope
        for (action, _), scopes in got.items()
        if action.endswith("virtualMachineScaleSets/write")
        for scope in scopes
    }
    if written != sets:
        yield f"the right to write scale sets is assigned on {sorted(written)}"
    for role in made.of(ROLES):
        listed = [action for each in role.body["properties"]["permissions"] for action in each["actions"]]
        yield from (f"{role.body['properties']['roleName']}: {a}" for a in listed if "*" in a)


def scopes_of(title: str) -> dict[str, str]:
    """Action -> scope, from a table of docs/permissions.md."""
    lines = text_of("docs/permissions.md").partition(f"## {title}")[2].partition("\n## ")[0].splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
    ]
    found = {row[0].strip("`"): row[1] for row in cells}
    assert set(found) == actions(title)
    return found


# --- secrets and doors ----------------------------------------------------------------------


def _secrets(made: Deployment) -> Iterator[str]:
    outputs = json.dumps(made.outputs())
    for name in PASSWORDS.values():
        yield from (
            f"a password is in the {place}"
            for place, text in (("state", made.state), ("outputs", outputs))
            if name in text
        )
    for place, text in (("state", made.state), ("outputs", outputs)):
        if "made-up-function-key" in text or "?code=" in text:
            yield f"the function's key is in the {place}"
    for each in made.of(SCALE_SETS):
        custom_data = each.body["properties"]["virtualMachineProfile"]["osProfile"]["customData"]
        if len(custom_data) > 87_380:  # what the API takes
            yield f"{each.name}: custom data of {len(custom_data)} characters"


def _storage(made: Deployment) -> Iterator[str]:
    properties = made.one("Microsoft.Storage/storageAccounts").body["properties"]
    wanted = {
        "allowSharedKeyAccess": False,
        "allowBlobPublicAccess": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    }
    yield from (
        f"storage: {name} is {properties.get(name)}"
        for name, value in wanted.items()
        if properties.get(name) != value
    )
    ways_in = set(endpoints(made)) - {"sites"}
    if properties["networkAcls"]["defaultAction"] == "Deny" and ways_in != {"blob", "table"}:
        yield f"storage is closed, and the app has no way in but {sorted(ways_in)}"


def _vault(made: Deployment) -> Iterator[str]:
    properties = made.one("Microsoft.KeyVault/vaults").body["properties"]
    wanted = {"enableRbacAuthorization": True, "enablePurgeProtection": True, "enableSoftDelete": True}
    yield from (
        f"vault: {name} is {properties.get(name)}"
        for name, value in wanted.items()
        if properties.get(name) != value
    )
    if properties["networkAcls"]["defaultAction"] != "Deny":
        yield "vault: everybody may knock"


def _alerts(made: Deployment) -> Iterator[str]:
    rules = made.of("Microsoft.Insights/scheduledQueryRules")
    yield from (
        f"{each.name}: names no section of the runbook"
        for each in rules
        if "docs/runbook.md" not in each.body["properties"]["description"]
    )
    quiet = [each.name for each in rules if not each.body["properties"]["actions"]["actionGroups"]]
    yield from (f"{name}: tells nobody" for name in quiet)
    for each in rules:
        periods = each.body["properties"]["criteria"]["allOf"][0]["failingPeriods"]
        if each.name.endswith("-silent") and set(periods.values()) != {3}:
            yield f"{each.name}: not three periods of silence"
    callers = {each.id for each in made.of("Microsoft.Insights/actionGroups") if each.name.endswith("-app")}
    loads = {each.name: each.body["properties"] for each in made.of("Microsoft.Insights/metricAlerts")}
    for name, load in loads.items():
        if {action["actionGroupId"] for action in load["actions"]} != callers:
            yield f"{name}: does not call the app"
    if len(loads) != 2 * len(shards(made)):
        yield f"load is watched by {sorted(loads)} only"
    (workbook,) = made.of("Microsoft.Insights/workbooks")
    if workbook.body["properties"]["serializedData"].count("/api/usage") < 3:
        yield "the workbook shows no usage"
    watched = {each.name.split("-")[-2] for each in rules if each.name.endswith("-silent")}
    if watched != {shard["name"] for shard in shards(made)}:
        yield f"silence is watched for {sorted(watched)} only"


def strings(value: Any) -> Iterable[str]:
    """Every text in a body."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
