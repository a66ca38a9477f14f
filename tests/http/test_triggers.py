"""The function app's own triggers, over the HTTP sandbox: what Azure and operators call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import azure.functions as func
import azure.functions.timer as timers
import orjson
import pytest

import function_app
import wiring
from sandbox.ports import WorldClock
from state.store import TableStore
from tests.http.conftest import Install
from tests.http.installation import Installation
from tests.scaler.worlds import SCALE_SET, SHARD

HOUR = timedelta(hours=1)


@pytest.fixture
async def it(install: Install, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    """Give an installation on which the function app itself runs, from its environment."""
    it = await install(scale_in_window_minutes=1)
    for name, value in it.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wiring, "factory", partial(wiring.engine, clock=WorldClock(it.world)))
    yield it
    await (await wiring.application()).close()
    wiring._applications.clear()


async def timer(it: Installation, minutes: int = 1) -> None:
    """Let minutes pass with the timer's trigger at the end of each."""
    for _ in range(minutes):
        await it.advance(60)
        await function_app.tick(timers.TimerRequest(past_due=False))


def alert_body(*targets: str) -> bytes:
    """An alert of Azure Monitor, in the common schema."""
    essentials = {
        "alertId": "/subscriptions/0/providers/Microsoft.AlertsManagement/alerts/1",
        "alertRule": "bridges send much",
        "severity": "Sev2",
        "signalType": "Metric",
        "monitorCondition": "Fired",
        "monitoringService": "Platform",
        "alertTargetIDs": list(targets),
        "firedDateTime": "2026-11-18T09:00:00.0000000Z",
        "essentialsVersion": "1.0",
        "alertContextVersion": "1.0",
    }
    data = {
        "essentials": essentials,
        "alertContext": {"conditionType": "MetricCriteria"},
    }
    return orjson.dumps({"schemaId": "azureMonitorCommonAlertSchema", "data": data})


async def post_alert(body: bytes) -> tuple[int, Any]:
    """Status and body of the answer to an alert."""
    request = func.HttpRequest(method="POST", url="/api/alerts/monitor", body=body)
    return _read(await function_app.alert(request))


async def get(name: str, **params: str) -> tuple[int, Any]:
    """Status and body of the answer of `status`, `explain` or `plan`."""
    request = func.HttpRequest(method="GET", url=f"/api/{name}", params=params, body=b"")
    return _read(await getattr(function_app, name)(request))


def _read(response: func.HttpResponse) -> tuple[int, Any]:
    assert response.mimetype == "application/json"
    return response.status_code, orjson.loads(response.get_body())


def results(body: Mapping[str, Any]) -> list[str]:
    """What the tick of each shard that an alert named came to."""
    return [shard["result"] for shard in body["shards"]]


async def test_the_timer_runs_the_whole_protocol(it: Installation) -> None:
    """Called once a minute as the host does, the older of two idle bridges leaves."""
    first, second = it.names()
    await timer(it, 14)
    assert it.journal == [("drain", first), ("fence", first), ("delete", first)]
    assert it.names() == [second]


async def test_an_alert_ticks_its_shard_at_once_and_the_next_one_is_too_soon(it: Installation) -> None:
    """202 and a decision; another within 20 seconds changes nothing, and after them it ticks again."""
    await timer(it)
    seen = len(await it.decisions())
    await it.advance(30)
    status, body = await post_alert(alert_body(SCALE_SET.upper()))
    assert (status, results(body)) == (202, ["done"])
    assert body["shards"][0]["shard"] == SHARD
    assert len(await it.decisions()) == seen + 1
    await it.advance(19)
    status, body = await post_alert(alert_body(SCALE_SET))
    assert (status, results(body)) == (202, ["too soon"])
    assert len(await it.decisions()) == seen + 1
    await it.advance(1)
    assert results((await post_alert(alert_body(SCALE_SET)))[1]) == ["done"]


async def test_a_storm_of_alerts_is_one_tick(it: Installation) -> None:
    """Ten alerts at once, each answered with 202: one decision."""
    await timer(it)
    seen = len(await it.decisions())
    await it.advance(30)
    answers = await asyncio.gather(*(post_alert(alert_body(SCALE_SET)) for _ in range(10)))
    assert {status for status, _ in answers} == {202}
    outcomes = [result for _, body in answers for result in results(body)]
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", "lease held", "too soon"}
    assert len(await it.decisions()) == seen + 1


async def test_an_alert_meets_a_tick_that_is_running(it: Installation) -> None:
    """Timer and alert at the same moment: one of them acts, the other leaves with 202 or in silence."""
    await timer(it)
    seen = len(await it.decisions())
    await it.advance(60)
    tick = function_app.tick(timers.TimerRequest(past_due=False))
    _, (status, body) = await asyncio.gather(tick, post_alert(alert_body(SCALE_SET)))
    assert status == 202
    assert set(results(body)) <= {"done", "lease held", "too soon"}
    assert len(await it.decisions()) == seen + 1


OTHER = SCALE_SET.replace(SHARD, "somebody-elses")
COMMON = orjson.loads(alert_body(SCALE_SET))


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"fire!", 400, "not JSON"),
        (b"[]", 400, "schemaId"),
        (orjson.dumps({**COMMON, "schemaId": "AzureMonitorMetricAlert"}), 400, "schemaId"),
        (orjson.dumps({"schemaId": COMMON["schemaId"]}), 400, "alertTargetIDs"),
        (orjson.dumps({**COMMON, "data": {"essentials": {}}}), 400, "alertTargetIDs"),
        (alert_body(), 400, "alertTargetIDs"),
        (orjson.dumps({**COMMON, "data": {"essentials": {"alertTargetIDs": [7]}}}), 400, "alertTargetIDs"),
        (b'{"padding": "' + b"x" * 300_000 + b'"}', 400, "bytes"),
        (alert_body(OTHER), 404, "somebody-elses"),
    ],
    ids=["empty", "text", "list", "schema", "no data", "no targets", "none", "number", "huge", "unknown"],
)
async def test_what_is_no_alert_of_ours_is_refused(
    it: Installation, body: bytes, status: int, says: str
) -> None:
    """4xx with what is wrong, and no tick."""
    await timer(it)
    seen = len(await it.decisions())
    await it.advance(30)
    answer = await post_alert(body)
    assert answer[0] == status
    assert says in answer[1]["error"]
    assert len(await it.decisions()) == seen


async def test_status_shows_every_bridge_and_every_open_alert(it: Installation) -> None:
    """From the tables: what the last tick saw, said and did."""
    assert (await get("status"))[1]["shards"][0]["sentence"] == "no tick has run yet"
    first, second = it.names()
    it.bridge(first).faults.ignores_drain = True
    await timer(it, 5)
    status, body = await get("status")
    assert (status, body["dry_run"], body["configuration"]["valid"]) == (200, False, True)
    (shard,) = body["shards"]
    assert shard["shard"] == SHARD
    assert [(bridge["name"], bridge["phase"]) for bridge in shard["bridges"]] == [
        (first, "draining"),
        (second, "ready"),
    ]
    assert [alert["key"] for alert in shard["alerts"]] == [f"drain_not_seen:{first}"]
    assert shard["totals"]["listed"] == 2
    assert shard["decisions"][0]["sentence"] == shard["sentence"]


async def test_explain_answers_for_all_for_one_shard_and_for_one_bridge(it: Installation) -> None:
    """Each bridge says where it stands and why; what nobody knows is 404 with the names there are."""
    await timer(it)
    first, second = it.names()
    for params in ({}, {"shard": SHARD}):
        status, body = await get("explain", **params)
        assert status == 200
        assert [bridge["name"] for bridge in body["shards"][0]["bridges"]] == [first, second]
    status, body = await get("explain", bridge=second)
    (bridge,) = body["shards"][0]["bridges"]
    assert (status, bridge["name"]) == (200, second)
    assert bridge["why"].startswith("ready since")
    status, body = await get("explain", shard=SHARD, bridge="jvb-a_nobody")
    assert status == 404
    assert "jvb-a_nobody" in body["error"]
    status, body = await get("explain", shard="jvb-z")
    assert status == 404
    assert SHARD in body["error"]


async def test_plan_says_what_would_be_done_and_does_nothing(it: Installation) -> None:
    """No row is written, no call changes anything; the next tick then does what was planned."""
    await timer(it)
    first, _ = it.names()
    await it.advance(60)
    before, said = await it.rows(), (await it.events(), await it.decisions())
    for params in ({}, {"shard": SHARD}):
        status, body = await get("plan", **params)
        (shard,) = body["shards"]
        assert (status, shard["result"]) == (200, "done")
        assert shard["sentence"].startswith(f"would drain {first}")
        assert shard["decision"]["dry_run"] is True
    assert it.journal == []
    assert await it.rows() == before
    assert (await it.events(), await it.decisions()) == said
    await function_app.tick(timers.TimerRequest(past_due=False))
    assert it.journal == [("drain", first)]
    assert (await get("plan", shard="jvb-z"))[0] == 404


async def test_without_tables_nothing_is_done_and_it_says_so(
    it: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer does not fail, questions and alerts are answered with 503, and no bridge is touched."""
    closed = it.env["SCALER_TABLES_CONNECTION_STRING"].partition("TableEndpoint=")[0]
    endpoint = it.faces.arm_url.replace("https", "http")
    monkeypatch.setenv("SCALER_TABLES_CONNECTION_STRING", f"{closed}TableEndpoint={endpoint}/sandbox;")
    await timer(it, 2)
    for answer in (await get("status"), await get("explain"), await post_alert(alert_body(SCALE_SET))):
        assert answer[0] == 503
        assert "tables" in answer[1]["error"]
    assert it.journal == []


async def test_the_timer_of_the_night_reckons_usage_beside_its_ticks(it: Installation):
    """An hour that is over has its rows, made of what ticks wrote; a day is told with its cost."""
    await timer(it, 4)
    app = await wiring.application()
    assert isinstance(app, wiring.Running)
    tables, now = app.books.tables, it.world.now
    (*_, row) = await tables.minutes(SHARD, now - HOUR, now + HOUR)
    figures = {name: value for name, value in row.items() if name != "at"}
    assert isinstance(tables, TableStore)
    for minute in range(61):
        at = now.replace(minute=0) - 3 * HOUR + minute * HOUR / 60
        await tables.append_usage(SHARD, at, {**figures, "seen_at": round(at.timestamp() * 1000)})
    await function_app.nightly_recycle(timers.TimerRequest(past_due=False))
    found = await tables.bridgehours(SHARD, now - 4 * HOUR, now)
    assert {each["seconds"] for each in found} == {3600.0}
    assert {each["at"][11:13] for each in found} == {
        f"{now - 3 * HOUR:%H}",
        f"{now - 2 * HOUR:%H}",
        f"{now - HOUR:%H}",
    }
    asked = func.HttpRequest("GET", "/api/usage", params={"step": "day", "from": f"{now:%Y-%m-%d}"}, body=b"")
    (day,) = orjson.loads((await function_app.usage(asked)).get_body())["rows"]
    assert day["bridge_hours"] >= 3 * day["bridges_peak"]
    assert day["cost"] > 0
