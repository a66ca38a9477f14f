"""Where conferences go, and the window between a drain and its effect."""

from __future__ import annotations

from datetime import timedelta

from sandbox.history import CutReason
from sandbox.workload import PlannedConference, Workload, meeting
from sandbox.world import ScaleSetSpec, World, WorldConfig
from tests.sandbox.worlds import SCALE_SET, START, bridge_of, carrier_of, hour_long, vms_of, world_of


def hourly(count: int, every_s: float, people: int = 3) -> list[PlannedConference]:
    """So many conferences, one after another, each for an hour."""
    starts = [START + timedelta(seconds=60 + n * every_s) for n in range(count)]
    return [meeting(start, 60, people, f"c{n:03d}") for n, start in enumerate(starts)]


def test_new_conferences_go_to_the_least_loaded() -> None:
    """Conferences of one size spread evenly over the bridges."""
    world = world_of(3, hourly(60, 30))
    world.advance(60 + 60 * 30 + 20)
    counts = [len(bridge_of(vm).conferences) for vm in vms_of(world)]
    assert sum(counts) == 60
    assert max(counts) - min(counts) <= 4


def test_draining_bridge_gets_no_new_conference_while_another_accepts() -> None:
    """Half a minute after a drain nothing new arrives on that bridge."""
    world = world_of(2, hourly(100, 5))
    world.advance(90)
    drained = bridge_of(vms_of(world)[0])
    drained.set_drain(True)
    world.advance(30)
    before = drained.totals.conferences_created
    world.advance(300)
    assert drained.totals.conferences_created == before
    assert bridge_of(vms_of(world)[1]).totals.conferences_created > 50


def test_conference_can_still_arrive_just_after_the_drain() -> None:
    """Until the next presence, and while requests are in flight, a drained bridge still gets calls."""
    arrived_s = []
    for seed in range(12):
        world = world_of(2, hourly(200, 1), seed=seed)
        world.advance(90)
        bridge = bridge_of(vms_of(world)[0])
        bridge.set_drain(True)
        for second in range(40):
            before = bridge.totals.conferences_created
            world.advance(1)
            arrived_s += [second] * (bridge.totals.conferences_created - before)
    assert max(arrived_s) > 5
    assert max(arrived_s) <= 20


def test_drain_is_soft_when_every_bridge_drains() -> None:
    """With nothing else to choose from, Jicofo still uses draining bridges."""
    world = world_of(2, hourly(10, 5))
    for vm in vms_of(world):
        bridge_of(vm).set_drain(True)
    world.advance(120)
    assert world.truth()["calls_served"] == 10


def test_graceful_bridge_refuses_and_the_conference_goes_elsewhere() -> None:
    """A request that meets a graceful bridge is placed on another one, without a cut."""
    for seed in range(8):
        world = world_of(2, [hour_long(), *hourly(60, 1)], seed=seed)
        world.advance(58)
        fenced = bridge_of(carrier_of(world))
        fenced.shutdown(graceful=True)
        world.advance(180)
        assert fenced.totals.conferences_created == 1
        assert world.truth()["calls_served"] == 61
        assert not world.history.cuts


def test_conferences_wait_when_nobody_takes_them() -> None:
    """Without a bridge conferences wait, are tried again each ten seconds, and the wait is counted."""
    world = world_of(1, [hour_long()])
    bridge_of(vms_of(world)[0]).restart(seconds=100)
    world.advance(60)
    assert world.truth()["waiting_conferences"] == 1
    world.advance(120)
    truth = world.truth()
    assert (truth["waiting_conferences"], truth["ongoing_conferences"]) == (0, 1)
    assert 100 <= truth["calls_waited_seconds"] <= 125


def test_one_person_alone_needs_no_bridge() -> None:
    """A conference gets a bridge with its second participant, and loses it 20 s after but one left."""
    plan = PlannedConference("pair", START, (10.0, 60.0), (100.0, 500.0))
    world = world_of(1, [plan])
    bridge = bridge_of(vms_of(world)[0])
    seen = {}
    for at in (30, 80, 110, 130, 600):
        world.advance_to(START + timedelta(seconds=at))
        seen[at] = (len(bridge.conferences), world.truth()["users_online"])
    assert seen == {30: (0, 1), 80: (1, 2), 110: (1, 1), 130: (0, 1), 600: (0, 0)}


def test_unhealthy_bridge_loses_its_calls_to_others() -> None:
    """Jicofo takes everything off a bridge whose health check fails, and that is not our doing."""
    world = world_of(2, [hour_long()])
    world.advance(60)
    carrier = carrier_of(world)
    bridge_of(carrier).fail_health("Failed to bind single-port")
    world.advance(120)
    assert [cut.reason for cut in world.history.cuts] == [CutReason.UNHEALTHY]
    assert carrier_of(world) is not carrier
    assert world.truth()["calls_cut"] == 0


def test_bridge_without_muc_gets_nothing_until_it_is_back() -> None:
    """A bridge that lost its XMPP connection is no candidate; back in the MUC it is one again."""
    world = world_of(2, hourly(40, 10))
    lost = bridge_of(vms_of(world)[0])
    lost.leave_muc()
    world.advance(200)
    assert lost.totals.conferences_created == 0
    lost.rejoin_muc()
    world.advance(200)
    assert lost.totals.conferences_created > 5


def test_bridge_that_comes_back_while_it_shuts_down_gets_nothing() -> None:
    """Back in the MUC a bridge says at once what it said last: one that shuts down is never a candidate."""
    for seconds in range(6, 20):
        world = world_of(1, hourly(10, 5))
        world.advance(60)
        bridge = bridge_of(vms_of(world)[0])
        bridge.leave_muc()
        bridge.shutdown(graceful=True)
        world.advance(seconds)
        bridge.rejoin_muc()
        world.advance(10)  # a waiting conference tries each ten seconds, and the process is there for thirty
        assert (bridge.shutting_down, bridge.totals.conferences_created) == (True, 0)
        world.advance(60)
        assert not world.history.cuts


def test_calls_go_on_without_prosody() -> None:
    """When Prosody is gone running calls stay where they are, new ones wait, and nothing is cut."""
    world = world_of(2, [hour_long(), *hourly(5, 20)])
    world.advance(58)
    carrier = carrier_of(world)
    for vm in vms_of(world):
        bridge_of(vm).leave_muc(strands_calls=False)
    world.advance(200)
    assert carrier_of(world) is carrier
    assert world.truth()["waiting_conferences"] == 5
    for vm in vms_of(world):
        bridge_of(vm).rejoin_muc()
    world.advance(60)
    assert (world.truth()["ongoing_conferences"], world.history.cuts) == (6, [])


def test_world_that_starts_at_noon_has_its_morning_calls() -> None:
    """Conferences that began before the world are placed at once with those who are in them."""
    spec = ScaleSetSpec(SCALE_SET, capacity=6)
    early = World(WorldConfig(5, START, (spec,), Workload.named("office", 5)))
    late = World(WorldConfig(5, START + timedelta(hours=2), (spec,), Workload.named("office", 5)))
    early.advance(7200 + 60)
    late.advance(60)
    assert late.truth()["users_online"] == early.truth()["users_online"]
    assert late.truth()["ongoing_conferences"] == early.truth()["ongoing_conferences"]
