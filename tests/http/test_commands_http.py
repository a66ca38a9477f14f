"""Operators' commands through the function app's own route, over the HTTP sandbox with Azurite."""

from __future__ import annotations

from typing import Any

import azure.functions as func
import orjson
from prometheus_client.parser import text_string_to_metric_families

import function_app
from tests.http.installation import Installation
from tests.http.test_triggers import it as it_
from tests.http.test_triggers import timer
from tests.scaler.worlds import SHARD

it = it_
"""The fixture of the triggers: the function app over a world of two old idle bridges."""


async def order(body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """POST a command; return the status and the answer."""
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    request = func.HttpRequest(
        method="POST", url="/api/commands", headers=headers or {}, params={}, route_params={}, body=sent
    )
    answer = await function_app.commands(request)
    return answer.status_code, orjson.loads(answer.get_body())


async def test_a_command_drains_a_bridge_and_its_row_tells(it: Installation):
    """One request: the row, the tick, the call to the bridge; then the status shows what came of it."""
    await timer(it)
    await it.advance(30)
    _, younger = it.names()
    status, answer = await order({"kind": "drain", "bridge": younger, "by": "ann", "why": "kernel trace"})
    assert status == 202
    assert answer["tick"]["result"] == "done"
    assert it.journal[-1] == ("drain", younger)
    await timer(it)
    (row,) = (await it.rows()).commands.values()
    assert (row.value.state, row.value.by, row.value.why) == ("done", "ann", "kernel trace")
    assert [event["subject"] for event in await it.events("command")] == [younger]


async def test_whom_the_platform_knows_is_who_gave_it(it: Installation):
    """With the platform's own sign-in nobody signs for another."""
    await timer(it)
    headers = {"x-ms-client-principal-name": "bob@example.com"}
    _, answer = await order({"kind": "pause", "by": "ann", "why": "maintenance"}, headers)
    assert answer["command"]["by"] == "bob@example.com"


async def test_a_bad_command_changes_nothing(it: Installation):
    """Each fault has its status and its words; no row is written for any of them."""
    await timer(it)
    assert (await order(b"not JSON"))[0] == 400
    status, answer = await order({"kind": "protect"})
    assert status == 400
    assert len(answer["faults"]) == 4
    assert (await order({"kind": "drain", "bridge": "x", "by": "a", "why": "b"}))[0] == 404
    taken = {"kind": "pause", "by": "a", "why": "b", "command_id": "mine"}
    assert (await order(taken))[0] == 202
    assert (await order({**taken, "kind": "resume"}))[0] == 409
    assert list((await it.store.load(SHARD)).commands) == ["mine"]


async def test_a_held_lease_leaves_the_command_to_the_next_tick(it: Installation):
    """It is written, and says that another run is at work."""
    await timer(it)
    await it.advance(30)
    lease = await it.store.acquire(SHARD, "another", it.world.now, 90)
    status, answer = await order({"kind": "pause", "by": "ann", "why": "maintenance"})
    assert (status, answer["tick"]["result"]) == (202, "lease held")
    await it.store.release(lease, it.world.now)
    await timer(it)
    assert (await it.state()).paused


async def get(name: str, **params: str) -> tuple[int, dict[str, Any]]:
    """GET a function's answer."""
    request = func.HttpRequest(method="GET", url=f"/api/{name}", params=params, body=b"")
    answer = await getattr(function_app, name)(request)
    return answer.status_code, orjson.loads(answer.get_body())


async def test_the_doctor_and_the_plan_right_after_a_tick_find_healthy_bridges(it: Installation):
    """A report of the same second is not taken for one that stands still."""
    await timer(it)
    status, body = await get("doctor")
    assert status == 200
    assert [bridge["first_broken"] for bridge in body["shards"][0]["bridges"]] == [None, None]
    assert (await get("plan"))[1]["shards"][0]["decision"]["totals"]["healthy"] == 2
    assert (await get("doctor", shard="x"))[0] == 404


async def test_status_is_csv_too(it: Installation):
    """Its bridges; another format is a fault that names those there are."""
    await timer(it)
    request = func.HttpRequest(method="GET", url="/api/status", params={"format": "csv"}, body=b"")
    answer = await function_app.status(request)
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    assert len(answer.get_body().split(b"\r\n")) == 4
    status, body = await get("status", format="xml")
    assert (status, body["error"]) == (400, "format: is 'xml', allowed: json or csv")


async def test_events_are_read_from_a_moment_on(it: Installation):
    """The route takes an ISO time, also with its plus sign lost on the way; anything else is 400."""
    await timer(it, 2)
    status, body = await get("events")
    assert status == 200
    assert body["events"]
    assert (await get("events", since=body["next_since"]))[1]["events"] == []
    assert (await get("events", since="2026-11-18T00:00:00 00:00", limit="1"))[0] == 200
    for bad in ({"since": "yesterday"}, {"since": "2026-11-18T00:00:00"}, {"limit": "0"}, {"limit": "x"}):
        status, body = await get("events", **bad)
        assert status == 400
        assert "since: an ISO time" in body["error"]


async def test_usage_is_told_by_the_minute_or_thinned(it: Installation):
    """The last day without a time; a field that cannot be read is a fault that says what is allowed."""
    await timer(it, 3)
    status, body = await get("usage")
    assert status == 200
    assert [row["listed"] for row in body["rows"]] == [2, 2]  # the present minute is not over
    assert (await get("usage", step="60"))[1]["rows"][0]["listed"] == 2
    assert len((await get("usage", **{"from": "2026-11-18", "to": "2026-11-18"}))[1]["rows"]) == 3
    (day,) = (await get("usage", step="day"))[1]["rows"]
    assert (day["day"], day["bridges_peak"], day["coverage"]) == ("2026-11-18", 2, round(3 / 1440, 4))
    assert (await get("usage", shard="x"))[0] == 404
    bad = (
        {"from": "yesterday"},
        {"from": "2026-11-18T00:00:00"},
        {"from": "2026-11-19", "to": "2026-11-18"},
        {"from": "2026-01-01", "to": "2026-11-18"},
        {"to": "9999-12-31"},
        {"from": "0001-01-01T00:00:00+14:00"},
        {"step": "7"},
        {"format": "xml"},
    )
    for asked in bad:
        status, body = await get("usage", **asked)
        assert (asked, status) == (asked, 400)
        assert "allowed" in body["error"] or "from, to: days" in body["error"]


async def test_prometheus_reads_the_metrics(it: Installation):
    """The route's text parses with the client's own parser, and tells the fleet."""
    await timer(it)
    request = func.HttpRequest(method="GET", url="/api/metrics", body=b"")
    answer = await function_app.metrics(request)
    assert (answer.status_code, answer.mimetype) == (200, "text/plain; version=0.0.4")
    families = {each.name: each for each in text_string_to_metric_families(answer.get_body().decode())}
    assert [sample.value for sample in families["jvb_autoscaler_bridges_healthy"].samples] == [2]
