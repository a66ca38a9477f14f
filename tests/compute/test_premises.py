"""Preflight against the simulated Azure: each right is taken away in turn, and each must be named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from compute.flexible import FlexibleScaleSet
from compute.gallery import GalleryImages
from compute.monitor import MonitorMetrics
from compute.pipeline import arm_client, metrics_client
from compute.premises import AzurePremises, build_of, size_of
from compute.sizes import size_of as known_size
from sandbox.faces.arm_premises import GRANTED
from sandbox.faces.server import Faces, Options, faces
from sandbox.memory_store import MemoryStore
from sandbox.ports import WorldBridges, WorldClock
from sandbox.world import World
from scaler.inspection import Inspector
from scaler.observe import Ears
from scaler.policy import ScalingPolicy
from scaler.preflight import SCOPE_OF
from scaler.tick import Engine, Shard
from tests.compute.azure_faces import (
    SCALE_SET_ID,
    SUBSCRIPTION,
    SandboxCredential,
    new_world,
    trusting_transport,
)
from tests.documented import actions, text_of


async def _made() -> None:
    """Tables in memory need no making."""


GROUP = SCALE_SET_ID.partition("/providers/")[0]
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/jvb"


@dataclass
class Before:
    """An installation before its first tick."""

    world: World
    served: Faces
    shard: Shard
    premises: AzurePremises

    async def findings(self, **policy: Any) -> list[dict[str, Any]]:
        """What preflight finds, with another policy where one is given."""
        fields: dict[str, Any] = {
            "image_definition_id": DEFINITION,
            "image_template_id": TEMPLATE,
            "max_bridges": 8,
        } | policy
        shard = Shard("a", SCALE_SET_ID, ScalingPolicy(**fields), self.shard.ears)
        engine = Engine(
            [shard], MemoryStore(), WorldClock(self.world), run_id="t", owner="tests", size_of=known_size
        )
        told = await Inspector(engine, "tests", {"a": self.premises}, _made).inspect(None)
        found: list[dict[str, Any]] = told["shards"][0]["findings"]
        assert told["ready"] == (not any(each["verdict"] == "missing" for each in found))
        return found

    def changes(self) -> list[str]:
        """Calls that were no reads."""
        reads = ("/read",)
        return [call.operation for call in self.served.journal if not call.operation.endswith(reads)]


@pytest.fixture
async def before() -> AsyncIterator[Before]:
    world = new_world()
    world.galleries.add_template(TEMPLATE, DEFINITION)
    async with faces(world, Options()) as served:
        credential = SandboxCredential(served.tokens)
        client = arm_client(credential, SUBSCRIPTION, served.arm_url, trusting_transport(served))
        monitor = metrics_client(credential, served.monitor_url, trusting_transport(served))
        async with client, monitor:
            ears = Ears(
                FlexibleScaleSet(client, SCALE_SET_ID),
                WorldBridges(world),
                MonitorMetrics(monitor),
                GalleryImages(client),
            )
            yield Before(
                world,
                served,
                Shard("a", SCALE_SET_ID, ScalingPolicy(max_bridges=8), ears),
                AzurePremises(client),
            )


def named(found: Iterable[dict[str, Any]]) -> list[str]:
    return [each["what"] for each in found]


async def test_where_all_is_well_nothing_is_found_and_nothing_is_changed(before: Before):
    """A whole installation is ready, and preflight only reads."""
    assert await before.findings() == []
    assert before.changes() == []


@pytest.mark.parametrize("action", sorted(SCOPE_OF))
async def test_each_right_that_is_missing_is_named_with_its_scope_and_fix(before: Before, action: str):
    """Azure refuses one action: preflight names it, its resource and the fix, and changes nothing."""
    before.served.stage.denied.add(action)
    found = await before.findings()
    (right,) = [each for each in found if each["area"] == "permission" and each["verdict"] == "missing"]
    assert right["what"] == action
    assert right["detail"].startswith("on /subscriptions/")
    assert action in right["fix"]
    assert right["detail"].removeprefix("on ") in right["fix"]
    assert before.changes() == []


async def test_rights_that_may_not_be_asked_are_unknown_and_not_well(before: Before):
    """Without the right to ask for rights every one of them is unknown; what was tried is still told."""
    before.served.stage.denied.update(
        {"Microsoft.Authorization/permissions/read", "Microsoft.Compute/virtualMachines/read"}
    )
    found = await before.findings()
    unknown = {each["what"] for each in found if each["verdict"] == "unknown"}
    assert set(SCOPE_OF) == unknown
    (endpoint,) = {each["what"] for each in found if each["area"] == "endpoint"} - {"metrics"}
    assert endpoint == "machines"


@pytest.mark.parametrize(
    ("action", "area"),
    [
        ("Microsoft.Compute/locations/usages/read", "quota"),
        ("Microsoft.Compute/skus/read", "quota"),
        ("Microsoft.Network/publicIPPrefixes/read", "addresses"),
    ],
)
async def test_what_may_not_be_read_is_unknown(before: Before, action: str, area: str):
    """A quota or prefix that Azure does not show is not taken for large enough."""
    before.served.stage.denied.add(action)
    (found,) = await before.findings()
    assert (found["verdict"], found["area"]) == ("unknown", area)
    assert found["fix"].startswith("az ")


async def test_a_quota_that_is_too_small_is_told_in_figures(before: Before):
    """201 bridges of 8 vCPUs and a night's surge do not fit: both figures are said."""
    found = [each for each in await before.findings(max_bridges=201) if each["area"] == "quota"]
    assert "of 1600 vCPUs are used" in found[0]["detail"]
    assert found[0]["fix"].startswith("ask for 1768 in the portal")


async def test_a_prefix_that_is_too_small_is_told_in_figures(before: Before):
    """16 addresses are one too few for 16 bridges and the canary of a night."""
    (found,) = await before.findings(max_bridges=16)
    assert found["detail"] == "the prefix has 16 addresses, and 17 bridges may run at once in a night"
    assert found["fix"].startswith("lower max_bridges to 15")


async def test_a_scale_set_that_is_not_there_is_one_finding_and_the_rest_is_still_looked_at(before: Before):
    """Where the scale set cannot be read, rights and endpoints are still judged."""
    before.served.stage.denied.add("Microsoft.Compute/virtualMachineScaleSets/read")
    found = await before.findings()
    assert "scale set" in named(found)
    assert "Microsoft.Compute/virtualMachineScaleSets/read" in named(found)


def test_how_a_scale_set_is_made_is_read_whole():
    """Two deciders, another owner, Spot: what the record says is what is judged."""
    build = build_of(
        {
            "location": "westeurope",
            "tags": {"JVB-Autoscaler-Owner": "other"},
            "sku": {"name": "Standard_F4s_v2", "capacity": 3},
            "zones": ["2"],
            "properties": {
                "upgradePolicy": {
                    "mode": "Rolling",
                    "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True},
                },
                "automaticRepairsPolicy": {"enabled": True},
                "virtualMachineProfile": {"priority": "Spot"},
            },
        }
    )
    assert (build.orchestration, build.upgrade_mode, build.repairs, build.os_upgrades) == (
        "Uniform",
        "Rolling",
        True,
        True,
    )
    assert (build.owner, build.spot, build.zones, build.linked) == ("other", True, ("2",), {})


def test_a_size_is_found_with_the_zones_that_are_open():
    """A zone that is closed to this subscription does not count; a size that is not sold is None."""
    listed: list[dict[str, Any]] = [
        {"resourceType": "disks", "name": "Standard_F4s_v2"},
        {
            "resourceType": "virtualMachines",
            "name": "Standard_F4s_v2",
            "family": "standardFSv2Family",
            "capabilities": [{"name": "vCPUs", "value": "4"}],
            "locationInfo": [{"zones": ["1", "2"]}],
            "restrictions": [{"type": "Zone", "restrictionInfo": {"zones": ["2"]}}],
        },
    ]
    size = size_of(listed, "standard_f4s_V2")
    assert size is not None
    assert (size.vcpus, size.family, size.zones) == (4, "standardFSv2Family", ("1",))
    assert size_of(listed, "Standard_F8s_v2") is None


def test_every_action_that_is_needed_is_judged():
    """Preflight judges each action that docs/permissions.md lists and infra/ grants, on that scope."""
    assert set(SCOPE_OF) == actions("Asked for by name") | actions("Checked along the way")
    by_kind = json.loads(text_of("infra/modules/access/actions.json"))
    assert {action: kind for kind, listed in by_kind.items() for action in listed} == SCOPE_OF
    assert set(SCOPE_OF) | actions("Asked by preflight") == set(GRANTED)
