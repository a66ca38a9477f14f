"""Preflight through the function app, over HTTP to the simulated Azure."""

from __future__ import annotations

import azure.functions as func
import orjson

import function_app
from tests.http.installation import Installation
from tests.http.test_triggers import it as it_

it = it_
"""The fixture of the triggers: the function app over a world of two old idle bridges."""


async def get(**params: str) -> tuple[int, dict[str, object]]:
    """Ask the trigger, as the host would."""
    request = func.HttpRequest("GET", "/api/preflight", params=params, body=b"")
    answer = await function_app.preflight(request)
    return answer.status_code, orjson.loads(answer.get_body())


async def test_preflight_of_a_fresh_installation_is_ready_and_writes_nothing(it: Installation):
    """Right after the deployment, before any tick: ready, and no call that changes anything."""
    status, told = await get()
    assert (status, told["ready"]) == (200, True)
    assert it.journal == []
    assert (await get(shard="x"))[0] == 404


async def test_preflight_names_the_right_that_is_missing(it: Installation):
    """A right that Azure refuses is told through the endpoint as it is to the tick."""
    it.faces.stage.denied.add("Microsoft.Compute/virtualMachineScaleSets/delete/action")
    _, told = await get()
    assert told["ready"] is False
    (finding,) = told["shards"][0]["findings"]  # type: ignore[index]
    assert finding["what"] == "Microsoft.Compute/virtualMachineScaleSets/delete/action"
