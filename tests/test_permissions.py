"""The identity's documented permissions are those that the calls need."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest

from compute.flexible import FlexibleScaleSet
from compute.gallery import GalleryImages
from compute.monitor import MonitorMetrics
from compute.pipeline import arm_client, metrics_client
from sandbox.faces.server import Options, faces
from scaler.ports import Cloud, Images, Metrics
from tests.compute.azure_faces import (
    SCALE_SET_ID,
    START,
    SUBSCRIPTION,
    Azure,
    SandboxCredential,
    new_world,
    trusting_transport,
)
from tests.documented import actions, section, text_of

FORBIDDEN = re.compile(r"\*|virtualMachineScaleSets/delete$|runCommand|Microsoft\.Authorization/|KeyVault")


@pytest.fixture
async def azure() -> AsyncIterator[Azure]:
    """The simulated Azure with the real adapters in front of it."""
    world = new_world()
    async with faces(world, Options()) as served:
        credential = SandboxCredential(served.tokens)
        client = arm_client(credential, SUBSCRIPTION, served.arm_url, trusting_transport(served))
        monitor = metrics_client(credential, served.monitor_url, trusting_transport(served))
        async with client, monitor:
            cloud = FlexibleScaleSet(client, SCALE_SET_ID)
            yield Azure(world, served, client, cloud, MonitorMetrics(monitor))


GROUP = SCALE_SET_ID.partition("/providers/")[0]
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
VERSION = f"{DEFINITION}/versions/1.0.0"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/jvb"


def questions_of(port: type) -> set[str]:
    return {name for name in vars(port) if not name.startswith("_")}


async def ask_everything(azure: Azure) -> set[str]:
    """Call every method of the two ports that Azure stands behind; return their names."""
    scale_set = await azure.cloud.scale_set()
    instances = await azure.cloud.instances({})
    await azure.metrics.read(instances, START)
    operation = await azure.cloud.scale_out(scale_set, scale_set.capacity + 1)
    assert operation is not None
    await azure.cloud.operation(operation)
    await azure.cloud.delete(instances[0])
    await azure.cloud.set_image(await azure.cloud.scale_set(), VERSION)
    asked = {"scale_set", "instances", "read", "scale_out", "operation", "delete", "set_image"}
    return asked | await ask_of_images(azure)


async def ask_of_images(azure: Azure) -> set[str]:
    """Call every method of the port of galleries and templates."""
    azure.world.galleries.add_template(TEMPLATE, DEFINITION)
    images = GalleryImages(azure.client)
    assert await images.versions(DEFINITION, "westeurope")
    await images.delete_version(VERSION)
    await images.start_build(TEMPLATE)
    assert await images.build(TEMPLATE)
    return {"versions", "delete_version", "build", "start_build"}


async def test_the_calls_are_those_that_are_documented(azure: Azure):
    """Every method of the ports together asks for exactly the documented actions, and is served."""
    assert await ask_everything(azure) == questions_of(Cloud) | questions_of(Metrics) | questions_of(Images)
    journal = azure.faces.journal
    assert {call.operation for call in journal} == actions("Asked for by name")
    assert [call for call in journal if call.status >= 400] == []


def test_the_role_is_both_tables_and_nothing_else():
    """The role to copy grants what the tables name, no more and no less."""
    block = re.search(r"```json\n(.*?)```", section("docs/permissions.md", "The role"), re.DOTALL)
    assert block is not None
    role = json.loads(block[1])
    assert role["Actions"] == sorted(actions("Asked for by name") | actions("Checked along the way"))
    assert (role["NotActions"], role["DataActions"], role["NotDataActions"]) == ([], [], [])


def test_what_is_deployed_grants_the_same():
    """The roles that infra/ makes hold both tables and nothing else, by kind of scope."""
    by_scope = json.loads(text_of("infra/modules/access/actions.json"))
    granted = [action for listed in by_scope.values() for action in listed]
    assert sorted(granted) == sorted(actions("Asked for by name") | actions("Checked along the way"))


def test_no_permission_is_wide():
    """Nothing grants everything, deletes a whole scale set, runs commands or gives rights away."""
    granted = actions("Asked for by name") | actions("Checked along the way")
    assert len(granted) == 19
    assert [action for action in granted if FORBIDDEN.search(action)] == []
