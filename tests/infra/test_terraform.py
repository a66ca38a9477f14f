"""infra/ under the real terraform binary, and the rules that hold for what it would send."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from cloud_init.settings import read_settings
from settings import from_env
from tests.infra.deployment import PASSWORDS, ROOT, Deployment, prepare
from tests.infra.rules import INBOUND, SCALE_SETS, app_settings, boot_settings, findings, inbound, shards


@pytest.fixture(params=["dev", "prod"])
def made(request: pytest.FixtureRequest) -> Deployment:
    deployment: Deployment = request.getfixturevalue(request.param)
    return deployment


def test_the_files_are_formatted(mirror: Path):
    """`terraform fmt` finds nothing to change."""
    done = subprocess.run(
        [
            "terraform",
            "fmt",
            "-check",
            "-recursive",
            "-list=true",
            str(ROOT / "infra"),
            str(ROOT / "tests/infra/terraform"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_configuration_is_valid(prod: Deployment):
    """`terraform validate` finds no fault, with every known body checked against Azure's types."""
    assert "Success" in prod.run("validate").stdout


def test_good_and_bad_input(tmp_path: Path, mirror: Path):
    """`terraform test`: production plans, and each bad input is refused by the variable that is wrong."""
    said = prepare(tmp_path / "infra", mirror).run("test").stdout
    assert re.search(r"Success! 1\d passed, 0 failed", said)


def test_too_many_addresses_are_said_in_full(tmp_path: Path, mirror: Path):
    """Whoever asks for more than 16 addresses is told which shard, how many, and what to do."""
    shard = {
        "zone": "1",
        "max_bridges": 16,
        "signalling": {"address": "10.20.1.4", "domain": "d", "muc": "m", "secret_name": "s"},
    }
    given = f"-var=shards={json.dumps({'a': shard})}"
    done = prepare(tmp_path / "infra", mirror).run(
        "plan", "-var-file=environments/dev.tfvars", given, check=False
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "at most 16 addresses" in said
    assert "a asks for max_bridges 16 + surge 1 = 17: lower it, or split it into two shards" in said


def test_nothing_is_wrong_with_what_would_be_sent(made: Deployment):
    """Doors, zones, addresses, rights, secrets: every rule holds for both environments."""
    assert findings(made) == []


def test_every_inbound_rule_is_listed(made: Deployment):
    """Whoever opens a port has to open it here too: role, port, protocol, source."""
    assert inbound(made) == INBOUND
    assert not any(port in ("22", "4443", "*") for _, port, _, _ in inbound(made))
    assert {source for role, port, _, source in inbound(made) if port == "8080"} == {"subnet function"}
    assert {source for role, port, _, source in inbound(made) if port == "5222"} == {"asg bridges"}


def test_the_app_understands_its_settings(made: Deployment):
    """The app's own reader finds no fault in the settings that it is deployed with."""
    settings = from_env(app_settings(made))
    assert settings.dry_run
    assert {shard.scale_set_id for shard in settings.shards} == {each.id for each in made.of(SCALE_SETS)}
    assert all(shard.policy.image_template_id for shard in settings.shards)


def test_the_bridges_understand_their_settings(made: Deployment):
    """What a machine is told at boot has no fault for its own reader, and names its own shard."""
    for scale_set in made.of(SCALE_SETS):
        settings = read_settings(boot_settings(scale_set))
        assert settings["shard"] == scale_set.body["tags"]["shard"]
        assert settings["key_vault"]["uri"] == made.outputs()["key_vault"]
        assert settings["key_vault"]["password_secret"] in {
            each.name for each in made.of("Microsoft.KeyVault/vaults/secrets")
        }


def test_bridges_report_their_boot_where_the_app_listens_inside_the_network(
    dev: Deployment, prod: Deployment
):
    """In prod over a private endpoint, whose name the network resolves; in dev they do not report."""
    assert {boot_settings(each)["callback_url"] for each in dev.of(SCALE_SETS)} == {None}
    url = f"{prod.outputs()['url']}/api/bridges/boot"
    assert {boot_settings(each)["callback_url"] for each in prod.of(SCALE_SETS)} == {url}
    assert "privatelink.azurewebsites.net" in {
        each.name for each in prod.of("Microsoft.Network/privateDnsZones")
    }
    assert dev.of("Microsoft.Network/privateEndpoints") == []


def test_policy_reaches_the_app_as_it_was_written(prod: Deployment):
    """Numbers stay numbers, and the times of the night are those of the parameters."""
    settings = from_env(app_settings(prod))
    assert {(s.policy.recycle_at, s.policy.time_zone, s.policy.surge_of(14)) for s in settings.shards} == {
        ("03:30", "Europe/Berlin", 2)
    }


def test_the_passwords_go_to_the_vault_and_nowhere_else(prod: Deployment):
    """Each password is sent once, as the value of its secret."""
    with_password = {
        sent.name: next(password for password in PASSWORDS.values() if password in json.dumps(sent.body))
        for sent in prod.sent
        if any(password in json.dumps(sent.body) for password in PASSWORDS.values())
    }
    assert with_password == {"xmpp-a": PASSWORDS["a"], "xmpp-b": PASSWORDS["b"]}
    assert not any(password in prod.state for password in PASSWORDS.values())


def test_a_second_apply_connects_the_alerts_and_keeps_no_key(tmp_path: Path, mirror: Path):
    """After the first publish the function's key reaches the action group, and no state, output or plan."""
    made = prepare(tmp_path / "infra", mirror)
    made.apply("prod")
    first = next(e for e in made.of("Microsoft.Insights/actionGroups") if e.name.endswith("-app"))
    assert "azureFunctionReceivers" not in first.body["properties"]

    said = made.apply("prod", alerts_connected=True, xmpp_passwords={})
    (group,) = made.of("Microsoft.Insights/actionGroups")
    (receiver,) = group.body["properties"]["azureFunctionReceivers"]
    assert receiver["httpTriggerUrl"].partition("?")[0].endswith("/api/alerts/monitor")
    key = receiver["httpTriggerUrl"].partition("?code=")[2]
    assert len(key) > 20
    assert key not in made.state
    assert key not in json.dumps(made.outputs())
    assert key not in said.stdout + said.stderr
    assert [each.id for each in made.sent if each.method == "PUT"] == [group.id]
    assert made.outputs()["next"].endswith("# then docs/runbook.md#switching-on")


def test_the_next_command_is_readmes(tmp_path: Path, mirror: Path):
    """What the first apply prints is what README says next, word for word but for the names."""
    made = prepare(tmp_path / "infra", mirror)
    made.apply("prod")
    name, readme = made.outputs()["function_app"], (ROOT / "README.md").read_text(encoding="utf-8")
    for command in made.outputs()["next"].split(" && "):
        assert f"    {command.replace(name, '$APP')}\n" in readme
    made.apply("prod", alerts_connected=True)
    told = made.outputs()["next"]
    key = "az functionapp keys list --resource-group rg-jvb-prod --name $APP"
    assert key in readme
    assert key.replace("$APP", name) in told
    assert f"JVB_AUTOSCALER_URL={made.outputs()['url']} JVB_AUTOSCALER_KEY=$(" in told


def test_a_second_apply_changes_nothing(tmp_path: Path, mirror: Path):
    """What was applied is what is wanted: no second write, no password asked for again."""
    made = prepare(tmp_path / "infra", mirror)
    made.apply("prod")
    assert "No changes" in made.apply("prod", xmpp_passwords={}).stdout
    assert made.sent == []


def test_the_app_owns_capacity_and_image(tmp_path: Path, mirror: Path):
    """Capacity and image version, which the app writes, are left as they are by later applies."""
    made = prepare(tmp_path / "infra", mirror)
    made.apply("prod")
    state = json.loads(made.state)
    for resource in state["resources"]:
        for instance in resource["instances"]:
            attributes = instance["attributes"]
            if str(attributes.get("type", "")).startswith(SCALE_SETS):
                body = attributes["body"]["value"]
                body["sku"]["capacity"] = 7
                profile = body["properties"]["virtualMachineProfile"]
                profile["storageProfile"]["imageReference"]["id"] += "/versions/1.0.7"
    state["serial"] += 1
    (made.folder / "terraform.tfstate").write_text(json.dumps(state))
    assert "No changes" in made.apply("prod").stdout


def test_the_image_is_built_before_the_first_scale_set(prod: Deployment):
    """A scale set cannot be made of an image without a version: the template's first run comes before."""
    order = [sent.kind if sent.method == "PUT" else f"run {sent.name}" for sent in prod.sent]
    assert order.index("run run") < order.index(SCALE_SETS)


def test_a_throw_away_installation_says_so(dev: Deployment):
    """The shard of dev is on Spot, and each resource carries the date on which it may be thrown away."""
    tagged = [sent for sent in dev.sent if "tags" in sent.body]
    assert tagged
    assert all(sent.body["tags"].get("expires-on") for sent in tagged)
    (scale_set,) = dev.of(SCALE_SETS)
    assert scale_set.body["properties"]["virtualMachineProfile"]["priority"] == "Spot"


def test_production_is_two_shards_in_two_zones(prod: Deployment):
    """The shards of prod share no zone, no prefix, no secret and no identity."""
    sets = prod.of(SCALE_SETS)
    assert sorted(zone for each in sets for zone in each.body["zones"]) == ["1", "2"]
    identities = {next(iter(each.body["identity"]["userAssignedIdentities"])) for each in sets}
    assert len(identities) == len(shards(prod)) == 2
