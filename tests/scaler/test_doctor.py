"""The doctor: one broken link is named, the first, with what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from scaler import answers
from scaler.doctor import LINKS, examine
from scaler.model import Bridge, Phase, Power, Purpose, Reach
from tests.scaler.builders import bridge, draining, poll, silent, unheard
from tests.scaler.worlds import SHARD, install, machines, run


def with_poll(**changes: Any) -> Bridge:
    """A bridge whose poll differs in this."""
    return bridge(poll_=poll(**changes))


@pytest.mark.parametrize(
    ("broken", "of"),
    [
        ("power", bridge(arm={"power": Power.STOPPED})),
        (
            "power",
            bridge(arm={"provisioning": "Failed", "power": Power.UNKNOWN, "error": "AllocationFailed"}),
        ),
        ("power", bridge(arm={"provisioning": "Creating"})),
        ("power", bridge(arm={"provisioning": "Deleting"})),
        ("power", replace(bridge(), instance=None)),
        ("address", bridge(arm={"address": None})),
        ("port", unheard()),
        ("port", unheard(reach=Reach.REFUSED)),
        ("port", unheard(reach=Reach.BROKEN)),
        ("port", bridge(poll_=replace(silent(reach=Reach.NOT_ASKED), problem=None))),
        ("health", with_poll(health_ok=False, problem="health: 500")),
        ("health", with_poll(health_ok=None)),
        ("statistics", with_poll(stats=None, problem="stats: 404")),
        ("statistics", with_poll(supported=False)),
        ("fresh", bridge(fresh=False)),
        ("muc", bridge(muc_clients_connected=0, mucs_joined=0)),
        ("muc", bridge(mucs_joined=0)),
        ("accepting", bridge(remembered=draining(Purpose.FOREIGN), drain=True)),
        ("accepting", bridge(remembered=draining(Purpose.OPERATOR))),
        ("accepting", bridge(remembered=draining(Purpose.SURPLUS))),
        ("accepting", bridge(remembered={"phase": Phase.BOOTING}, drain=True)),
        ("accepting", bridge(graceful_shutdown=True, drain=True)),
        ("accepting", bridge(unhealthy_because="it says that it is not healthy")),
    ],
)
def test_the_first_broken_link_is_named_with_a_way_out(broken: str, of: Bridge):
    """What is before it holds, what is behind it is not judged, and the operator reads what to do."""
    found = examine(of)
    assert found["first_broken"] == broken
    assert len(found["detail"]) > 10
    assert len(found["fix"]) > 10
    order = ["listed", *(name for name, _ in LINKS)]
    place = order.index(broken)
    assert [found["links"][name] for name in order] == [True] * place + [False] + [None] * (
        len(order) - place - 1
    )


def test_a_bridge_that_takes_calls_has_no_broken_link():
    """Every link holds."""
    found = examine(bridge())
    assert found["first_broken"] is None
    assert set(found["links"].values()) == {True}


def test_the_detail_names_the_answer_behind_it():
    """The cause in the neighbour's own words."""
    assert (
        "AllocationFailed"
        in examine(bridge(arm={"power": Power.STOPPED, "error": "AllocationFailed"}))["detail"]
    )
    assert "health: 500" in examine(with_poll(health_ok=False, problem="health: 500"))["detail"]
    assert "no answer in time" in examine(unheard())["detail"]


async def test_the_doctor_looks_at_the_world_now() -> None:
    """A JVB that died a moment ago is found before any tick saw it, and nothing is changed by looking."""
    it = install()
    await run(it, 3)
    healthy = await answers.doctor(it.engine, None)
    assert [b["first_broken"] for b in healthy["shards"][0]["bridges"]] == [None, None]
    dead = machines(it)[0]
    assert dead.bridge is not None
    dead.bridge.crash()
    found = await answers.doctor(it.engine, SHARD)
    assert {b["name"]: b["first_broken"] for b in found["shards"][0]["bridges"]}[dead.name] == "port"
    with pytest.raises(KeyError):
        await answers.doctor(it.engine, "x")


async def test_what_stops_a_whole_shard_is_told_first() -> None:
    """A size that nobody knows, or another owner: the bridges may be well, and nothing happens."""
    it = install()
    it.engine._size_of = lambda _size: None
    (shard,) = (await answers.doctor(it.engine, None))["shards"]
    assert "nic_mbps" in shard["error"]
    assert len(shard["bridges"]) == 2


async def test_events_are_told_once_from_a_moment_on() -> None:
    """`next_since` leads on without a gap and without a repetition; oldest first."""
    it = install(scale_in_window_minutes=1)
    await run(it, 3)
    first = await answers.events(it.engine, None, None, 100)
    assert [row["kind"] for row in first["events"]][:2] == ["adopted", "adopted"]
    assert first["events"] == sorted(first["events"], key=lambda row: row["at"])
    since = datetime.fromisoformat(first["next_since"])
    assert (await answers.events(it.engine, SHARD, since, 100))["events"] == []
    await run(it, 10)
    later = await answers.events(it.engine, SHARD, since, 100)
    assert later["events"]
    assert later["events"][0]["at"] > first["next_since"]
    assert later["events"][0]["shard"] == SHARD
    assert len((await answers.events(it.engine, None, None, 2))["events"]) == 2
