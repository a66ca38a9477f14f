"""What preflight judges of what it was told, without any Azure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaler.policy import ScalingPolicy
from scaler.preflight import (
    SCOPE_OF,
    Build,
    Finding,
    Permission,
    Premises,
    Quota,
    Size,
    Unknown,
    Verdict,
    as_json,
    judge,
    scopes_of,
)

ID = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg"
    "/providers/Microsoft.Compute/virtualMachineScaleSets/jvb"
)
BUILD = Build(
    location="westeurope",
    vm_size="Standard_F8s_v2",
    capacity=2,
    orchestration="Flexible",
    upgrade_mode="Manual",
    repairs=False,
    os_upgrades=False,
    owner="us",
    zones=("1",),
    spot=False,
    linked={"prefix": ("/prefix",)},
)
POLICY = ScalingPolicy(max_bridges=8, nic_mbps=12500, participants_per_bridge=200)


def well(policy: ScalingPolicy = POLICY, **changes: Any) -> Premises:
    """Premises in which nothing is missing, but for the changes."""
    scopes = scopes_of(ID, BUILD, policy)
    everything = {scope: (Permission(("*",)),) for group in scopes.values() for scope in group}
    quotas = (Quota("cores", 16, 400), Quota("fsv2", 16, 100), Quota("lowPriorityCores", 0, 10))
    size = Size(8, "FSv2", ("1", "2"))
    return replace(Premises(ID, policy, "us", BUILD, everything, quotas, size, 16), **changes)


def only(premises: Premises) -> Finding:
    (found,) = judge(premises)
    return found


def test_where_nothing_is_missing_nothing_is_said():
    """Rights by a wildcard, a quota in another case and room in the prefix are enough."""
    assert judge(well()) == ()


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"orchestration": "Uniform"}, "orchestration", "Flexible"),
        ({"upgrade_mode": "Rolling"}, "upgrade policy", "--set upgradePolicy.mode=Manual"),
        ({"repairs": True}, "automatic repairs", "--set automaticRepairsPolicy.enabled=false"),
        ({"os_upgrades": True}, "automatic OS upgrades", "enableAutomaticOSUpgrade=false"),
        ({"owner": "them"}, "owner", "SCALER_OWNER"),
    ],
)
def test_a_second_decider_is_named_with_the_command_that_ends_it(change: dict[str, Any], what: str, fix: str):
    """Whatever else writes to the scale set is one finding with its fix."""
    found = only(well(scale_set=replace(BUILD, **change)))
    assert (found.area, found.what) == ("setting", what)
    assert fix in found.fix


def test_a_scale_set_without_owner_or_upgrade_policy_is_well():
    """Flexible sets need not have either."""
    assert judge(well(scale_set=replace(BUILD, owner=None, upgrade_mode=None))) == ()


def test_a_size_without_figures_needs_them_in_the_settings():
    """An unknown NIC is named as the field that is to be set."""
    found = only(well(ScalingPolicy(max_bridges=8, participants_per_bridge=200)))
    assert (found.what, found.fix) == ("nic_mbps", "set nic_mbps for this shard in SCALER_SHARDS")


def test_what_a_role_takes_away_is_not_there():
    """`notActions` go before `actions`, in any case."""
    action = "Microsoft.Compute/virtualMachineScaleSets/write"
    premises = well()
    part = Permission(("Microsoft.Compute/*",), ("microsoft.compute/*/WRITE",))
    assert only(replace(premises, permissions={**premises.permissions, ID: (part,)})).what == action
    both = (part, Permission(("*/write",)))
    assert judge(replace(premises, permissions={**premises.permissions, ID: both})) == ()


def test_a_scope_that_was_not_asked_is_unknown():
    """Silence about a right is not a right."""
    found = judge(well(permissions={}))
    asked = {"scale_set", "group", "subscription", "prefix"}
    assert {each.what for each in found} == {action for action, kind in SCOPE_OF.items() if kind in asked}
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}


def test_a_scale_set_that_could_not_be_read_leaves_the_rest_judged():
    """Nothing is said of quota or settings; what was asked and failed is."""
    found = judge(well(scale_set=Unknown("403"), reads={"scale set": Unknown("403"), "tables": None}))
    assert [(each.area, each.what, each.detail) for each in found] == [("endpoint", "scale set", "403")]


def test_without_a_template_no_version_is_deleted_and_no_right_to_it_needed():
    """Only who builds images prunes them."""
    policy = replace(POLICY, image_definition_id="/gallery/images/jvb")
    premises = well(policy)
    part = Permission(("*",), ("*/images/versions/delete",))
    assert judge(replace(premises, permissions=dict.fromkeys(premises.permissions, (part,)))) == ()
    building = replace(policy, image_template_id="/template")
    scopes = {s: (part,) for group in scopes_of(ID, BUILD, building).values() for s in group}
    assert only(replace(well(building), permissions=scopes)).what.endswith("versions/delete")


@pytest.mark.parametrize(
    ("changes", "verdict", "detail"),
    [
        ({"size": Unknown("no answer")}, Verdict.UNKNOWN, "no answer"),
        ({"quotas": Unknown("no answer")}, Verdict.UNKNOWN, "no answer"),
        ({"size": None}, Verdict.MISSING, "Azure lists no Standard_F8s_v2 in westeurope"),
        ({"size": Size(8, "FSv2", ("2",))}, Verdict.MISSING, "may not be used in zone 1 of westeurope"),
        ({"quotas": (Quota("cores", 16, 400),)}, Verdict.UNKNOWN, "Azure does not list it"),
        (
            {"quotas": (Quota("cores", 16, 71), Quota("FSv2", 0, 99))},
            Verdict.MISSING,
            "56 more are needed for 9",
        ),
        ({"addresses": Unknown("no answer")}, Verdict.UNKNOWN, "no answer"),
        ({"addresses": 8}, Verdict.MISSING, "8 addresses, and 9 bridges"),
    ],
)
def test_room_for_the_maximum_and_a_night(changes: dict[str, Any], verdict: Verdict, detail: str):
    """Sizes, vCPUs and addresses must hold the most machines that may run at once."""
    found = only(well(**changes))
    assert found.verdict is verdict
    assert detail in found.detail
    assert found.fix


def test_the_exact_quota_is_enough():
    """16 used of 72, and 7 more bridges of 8 vCPUs: 72 of 72."""
    quotas = (Quota("cores", 16, 72), Quota("FSv2", 16, 72))
    assert judge(well(quotas=quotas)) == ()


def test_spot_has_a_quota_of_its_own():
    """Bridges on Spot need low-priority vCPUs, and no others."""
    found = only(well(scale_set=replace(BUILD, spot=True)))
    assert found.what == "lowPriorityCores"


def test_without_a_night_no_surge_is_needed():
    """With `recycle` off the maximum itself must fit."""
    assert judge(well(replace(POLICY, recycle="off"), addresses=8)) == ()


def test_a_finding_is_told_in_plain_values():
    """What `GET /api/preflight` sends has the five fields of a finding, as text."""
    told = as_json(only(well(addresses=8)))
    assert set(told) == {"verdict", "area", "what", "detail", "fix"}
    assert told["verdict"] == "missing"


def test_a_scale_set_without_a_prefix_needs_none():
    """Addresses of no prefix are not counted."""
    assert judge(well(addresses=None)) == ()
