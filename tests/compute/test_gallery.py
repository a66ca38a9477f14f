"""The adapter of galleries and templates, with the real pipeline over real HTTP and TLS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from compute.gallery import GalleryImages
from compute.messages import image_build_of, image_version_of, is_replicated
from compute.pages import values
from sandbox.faces.http import FaultAnswer
from scaler.errors import Refused, StateChanged, Throttled, TryNextTick
from scaler.model import ImageVersion
from tests.compute.azure_faces import SCALE_SET_ID, Azure

GROUP = SCALE_SET_ID.partition("/providers/")[0]
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
READ = "Microsoft.Compute/galleries/images/versions/read"


async def test_reads_all_pages_and_the_replication_of_the_newest_only(azure: Azure) -> None:
    """A list tells nothing of replication: it is asked version by version, from the newest on, five times."""
    for number in range(1, 12):
        azure.world.galleries.publish(DEFINITION, f"1.0.{number}", excluded=number == 11)
    found = await GalleryImages(azure.client).versions(DEFINITION, "westeurope")
    assert [each.version for each in found] == [f"1.0.{number}" for number in range(11, -1, -1)]
    assert [each.usable for each in found] == [False] + [True] * 11
    assert azure.actions == [f"{READ} 200"] * (3 + 5)


async def test_a_region_that_is_not_told_is_not_replicated_to(azure: Azure) -> None:
    """Unknown is not usable."""
    (found,) = await GalleryImages(azure.client).versions(DEFINITION, "northeurope")
    assert (found.usable, found.problem) == (False, "its replication to northeurope is not told")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, {"error": {"code": "AuthorizationFailed", "message": "no"}}, Refused),
        (404, {"error": {"code": "ResourceNotFound", "message": "no gallery"}}, Refused),
        (429, {}, Throttled),
        (503, {}, TryNextTick),
        (200, {}, TryNextTick),
        (200, {"value": [{"id": DEFINITION}]}, TryNextTick),
        (200, [], TryNextTick),
    ],
)
async def test_an_answer_that_is_no_list_is_no_empty_list(
    azure: Azure, status: int, body: Any, error: type[Exception]
) -> None:
    """A gallery that cannot be read opens no night; it is never taken for one without versions."""

    def broken(face: str, operation: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        return FaultAnswer(status, body=orjson.dumps(body)) if operation == READ else None

    azure.faces.break_with(broken)
    with pytest.raises(error):
        await GalleryImages(azure.client).versions(DEFINITION, "westeurope")


async def test_a_stale_image_write_is_told_from_a_refused_one(azure: Azure) -> None:
    """Under another ETag nothing is written."""
    before = await azure.cloud.scale_set()
    await azure.cloud.set_image(before, f"{DEFINITION}/versions/1.1.0")
    with pytest.raises(StateChanged):
        await azure.cloud.set_image(before, f"{DEFINITION}/versions/1.2.0")


@pytest.mark.parametrize(
    ("profile", "state", "problem"),
    [
        ({}, "Succeeded", None),
        (None, "Succeeded", None),
        ({"excludeFromLatest": True}, "Succeeded", "it is excluded from latest"),
        ({}, "Creating", "its provisioning state is Creating"),
        ({}, None, "its provisioning state is None"),
    ],
)
def test_a_version_is_usable_when_it_is_made_and_not_excluded(
    profile: Any, state: str | None, problem: str | None
) -> None:
    """What the list of versions tells of each."""
    properties = {"publishingProfile": profile, "provisioningState": state}
    version = image_version_of({"id": f"{DEFINITION}/versions/1.1.0", "properties": properties})
    assert (version.usable, version.problem) == (problem is None, problem)


@pytest.mark.parametrize(
    ("summary", "usable"),
    [
        ([{"region": "West Europe", "state": "Completed"}], True),
        ([{"region": "westeurope", "state": "Completed"}], True),
        ([{"region": "West Europe", "state": "Replicating"}], False),
        ([{"region": "North Europe", "state": "Completed"}], False),
        ([None], False),
        (None, False),
    ],
)
def test_replication_is_told_by_region(summary: Any, *, usable: bool) -> None:
    """Regions have two spellings, and one that is not told is not there."""
    body = {"properties": {"replicationStatus": {"summary": summary}}}
    version = ImageVersion(f"{DEFINITION}/versions/1.1.0", usable=True)
    assert is_replicated(version, body, "westeurope").usable is usable


def test_a_template_that_never_ran_tells_no_run() -> None:
    """And a run without a start has none."""
    assert image_build_of({"properties": {}}) is None
    run = image_build_of({"properties": {"lastRunStatus": {"runState": "Running"}}})
    assert run is not None
    assert run.started_at is None


def test_a_page_without_its_list_is_not_an_empty_page() -> None:
    """A machine or a version left out looks like one that is gone."""
    assert values({"value": []}) == []
    pages: tuple[object, ...] = ({}, {"value": None}, None, [])
    for page in pages:
        with pytest.raises(TryNextTick):
            values(page)
