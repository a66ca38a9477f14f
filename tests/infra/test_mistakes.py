"""The checks are checked: each mistake, seeded into a copy of infra/, must be caught."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.deployment import Deployment, prepare
from tests.infra.rules import findings


@dataclass(frozen=True, slots=True)
class Mistake:
    """One line of one file, changed; and a part of what must be said about it."""

    file: str
    right: str
    wrong: str
    said: str


NETWORK, SHARD, VAULT = "modules/network/main.tf", "modules/shard/main.tf", "modules/vault/main.tf"
ACCESS, APP, STORAGE = "modules/access/actions.json", "modules/app/main.tf", "modules/storage/main.tf"

OF_TERRAFORM = {
    "a property that does not exist": Mistake(
        SHARD, "orchestrationMode ", "orchestratonMode ", "no such property"
    ),
    "a property of the wrong case": Mistake(
        STORAGE, "minimumTlsVersion ", "minimumTLSVersion ", "did you mean minimumTlsVersion?"
    ),
    "a value of the wrong type": Mistake(
        SHARD, "platformFaultDomainCount = 1", 'platformFaultDomainCount = "one"', "allowed: a number"
    ),
    "a value that Azure does not know": Mistake(
        SHARD, '{ mode = "Manual" }', '{ mode = "Never" }', "allowed: Automatic, Manual, Rolling"
    ),
    "something required that is missing": Mistake(
        VAULT, 'sku                       = { family = "A", name = "standard" }', "", "sku: is missing"
    ),
    "something read-only that is set": Mistake(
        NETWORK, "addressSpace = {", 'resourceGuid = "x"\n      addressSpace = {', "is read-only"
    ),
    "one object where a list belongs": Mistake(APP, "appSettings = [for", "appSettings = {} // [for", ""),
    "a version of a type that nobody has": Mistake(
        SHARD, "virtualMachineScaleSets@2025-04-01", "virtualMachineScaleSets@2025-04-31", "is not at hand"
    ),
    "a wrong value that comes by a default": Mistake(
        "modules/image/main.tf", 'scheme = "Latest"', 'scheme = "Newest"', "allowed: Latest, Source"
    ),
    "a name that is too long": Mistake(
        "main.tf",
        '"${var.name}${var.environment}${local.unique}"',
        '"${var.name}-${var.environment}-storage"',
        "allowed: ^[a-z0-9]+$",
    ),
    "a password in the state": Mistake(
        VAULT,
        "body      = { properties = { contentType",
        "body      = { properties = { value = lookup(var.values, each.key, null), contentType",
        "phemeral",
    ),
    "a module's output that does not exist": Mistake(
        "main.tf", "module.network.id", "module.network.identifier", "Unsupported attribute"
    ),
}
"""Those that terraform with the stand-in refuses."""

OF_OURS = {
    "SSH for the Internet": Mistake(
        NETWORK,
        'merge(local.media, { name = "media-from-internet"',
        'merge({ protocol = "Tcp", port = "22" }, { name = "ssh", priority = 90, from = "Internet", '
        'to_group = "bridges" }),\n      merge(local.media, { name = "media-from-internet"',
        "an inbound rule that nobody listed: ('bridges', '22'",
    ),
    "Colibri for everybody": Mistake(
        NETWORK,
        "from = var.network.function, to_group",
        'from = "*", to_group',
        "('bridges', '8080', 'Tcp', '*')",
    ),
    "XMPP for the Internet": Mistake(
        NETWORK,
        'from_group = "bridges" }),\n    ]',
        'from = "Internet" }),\n    ]',
        "('signalling', '5222', 'Tcp', 'Internet')",
    ),
    "bridges before the storage": Mistake(
        NETWORK,
        'from_group = "bridges", to_group = "app" }',
        'from_group = "bridges" }',
        "the private endpoint table: bridges reach it",
    ),
    "rules that do not hold for endpoints": Mistake(
        NETWORK, '"NetworkSecurityGroupEnabled"', '"Disabled"', "do not hold for private endpoints"
    ),
    "a name that the network does not resolve": Mistake(
        "modules/endpoint/main.tf",
        "virtualNetwork = { id = var.network_id }",
        'virtualNetwork = { id = "${var.network_id}-other" }',
        "the network does not resolve it",
    ),
    "a secret that the other shard reads": Mistake(
        VAULT,
        "principalId = each.value.principal_id",
        "principalId = values(var.secrets)[0].principal_id",
        "xmpp-b: not read by the bridges that need it, or by others",
    ),
    "an old Python": Mistake(APP, 'version = "3.13"', 'version = "3.11"', "the app: Python 3.13"),
    "an app outside the network": Mistake(
        APP,
        "virtualNetworkSubnetId = var.subnet_id",
        "virtualNetworkSubnetId = var.endpoints_subnet_id",
        "the app: the network",
    ),
    "FTP": Mistake(APP, '= "Disabled"', '= "AllAllowed"', "the app: HTTPS alone"),
    "an app that reads no metrics": Mistake(
        "modules/access/main.tf", "8ba259a9fe05", "8ba259a9fe06", "no Monitoring Reader"
    ),
    "a builder of everything": Mistake(
        "modules/image/main.tf",
        "parent_id = azapi_resource.gallery.id\n  body = {\n    properties = {\n      roleDefinitionId",
        "parent_id = var.parent_id\n  body = {\n    properties = {\n      roleDefinitionId",
        "the image builder's role is assigned on",
    ),
    "an alarm at the first silence": Mistake(
        "modules/monitoring/main.tf",
        "numberOfEvaluationPeriods = 3, minFailingPeriodsToAlert = 3",
        "numberOfEvaluationPeriods = 1, minFailingPeriodsToAlert = 1",
        "not three periods of silence",
    ),
    "load that calls nobody": Mistake(
        "modules/monitoring/main.tf",
        "actions = [{ actionGroupId = azapi_resource.app.id }]",
        "actions = []",
        "does not call the app",
    ),
    "a workbook without usage": Mistake(
        "modules/monitoring/main.tf", "/api/usage", "/api/status", "the workbook shows no usage"
    ),
    "nothing closes the network": Mistake(NETWORK, '= "Deny"', '= "Allow"', "does not close"),
    "addresses in another zone": Mistake(
        SHARD,
        "zones = [var.zone]\n    properties = {\n      prefixLength",
        'zones = ["3"]\n    properties = {\n      prefixLength',
        "its addresses in",
    ),
    "a prefix too small": Mistake(
        SHARD, "var.addresses <= 2 ? 31", "var.addresses <= 16 ? 31", "2 addresses for"
    ),
    "repairs by Azure": Mistake(SHARD, "{ enabled = false }", "{ enabled = true }", "automaticRepairsPolicy"),
    "no notice of an end": Mistake(
        SHARD, "enable = true, notBefore", "enable = false, notBefore", "terminate notification"
    ),
    "no owner": Mistake(SHARD, "jvb-autoscaler-owner = var.owner", "jvb-autoscaler-own = var.owner", "tags"),
    "a right too many": Mistake(
        ACCESS,
        '"Microsoft.Compute/virtualMachineScaleSets/read",',
        '"Microsoft.Compute/virtualMachineScaleSets/read",\n"Microsoft.Compute/virtualMachineScaleSets/delete",',
        "a right that is not documented",
    ),
    "a right too few": Mistake(
        ACCESS,
        '["Microsoft.Network/publicIPPrefixes/join/action"]',
        "[]",
        "a documented right is not granted",
    ),
    "a right on too much": Mistake(
        "main.tf",
        "name => shard.scale_set_id }\n    prefix",
        "name => local.group_id }\n    prefix",
        "the right to write scale sets",
    ),
    "keys that open the storage": Mistake(
        STORAGE,
        "allowSharedKeyAccess         = false",
        "allowSharedKeyAccess         = true",
        "allowSharedKeyAccess",
    ),
    "a vault for everybody": Mistake(VAULT, '= "Deny"', '= "Allow"', "vault: everybody may knock"),
    "an alert that tells nobody": Mistake(
        "modules/monitoring/main.tf",
        "actions = { actionGroups = [azapi_resource.people.id] }",
        "actions = { actionGroups = [] }",
        "tells nobody",
    ),
}
"""Those that are good Terraform and good Azure, and wrong for us."""


@pytest.fixture
def copy(tmp_path: Path, mirror: Path) -> Deployment:
    return prepare(tmp_path / "infra", mirror)


def seed(copy: Deployment, mistake: Mistake) -> None:
    path = copy.folder / mistake.file
    text = path.read_text()
    assert mistake.right in text
    path.write_text(text.replace(mistake.right, mistake.wrong))


@pytest.mark.parametrize("name", OF_TERRAFORM)
def test_terraform_refuses(copy: Deployment, name: str):
    """What Azure would refuse, the plan refuses, and says where."""
    seed(copy, OF_TERRAFORM[name])
    done = copy.run("plan", "-var-file=environments/prod.tfvars", check=False)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert OF_TERRAFORM[name].said in said


@pytest.mark.parametrize("name", OF_OURS)
def test_our_rules_find(copy: Deployment, name: str):
    """What Azure would take and we must not send is found in the bodies."""
    seed(copy, OF_OURS[name])
    copy.apply("prod")
    found = findings(copy)
    assert any(OF_OURS[name].said in each for each in found), found
