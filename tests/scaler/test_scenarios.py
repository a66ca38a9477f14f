"""The scenarios by which the rules are judged, S1 to S23: ordinary days, one named test each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sandbox.bridge_report import MISSING
from sandbox.cloud import ScaleSetSpec
from sandbox.inprocess import scale_set_id
from sandbox.workload import Workload, meeting
from sandbox.world import BootModel, Prestarted, WorldConfig
from scaler import demand
from scaler.decision import Reason
from scaler.errors import Throttled, TryNextTick
from scaler.model import Phase, PlatformLoad, Purpose, Reach
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Shard,
    alert_kinds,
    all_reasons,
    bridge,
    busy,
    decided,
    draining,
    found_empty,
    hot,
    instance,
    memory,
    policy,
    poll,
    reasons,
    silent,
    stats,
    unheard,
    verbs,
)
from tests.scaler.worlds import (
    SCALE_SET,
    START,
    alerts,
    cuts,
    events,
    install,
    intents,
    latest,
    machines,
    memories,
    mutations,
    names,
    phases,
    run,
    slip_in_a_call,
    state,
    until_drained,
    world_of,
)

ROUND = 30
"""Minutes in which a quiet shard of two has torn one down, with time to spare."""


async def test_s01_of_two_idle_old_bridges_the_older_leaves() -> None:
    """The older is drained, fenced, seen to exit and deleted, in this order; the younger is untouched."""
    old, young = bridge("a", 3 * HOUR), bridge("b", 2 * HOUR)
    assert verbs(decided(old, young)) == ["drain a"]
    drained = bridge("a", 3 * HOUR, remembered=draining(**found_empty()))
    assert verbs(decided(drained, young)) == ["fence a"]
    gone = {"phase": Phase.FENCED, "fenced_at": NOW - 3 * MINUTE, "exited_at": NOW}
    exited = unheard("a", 3 * HOUR, reach=Reach.REFUSED, remembered=gone)
    assert verbs(decided(exited, young)) == ["delete a"]

    it = install()
    first, second = names(it)
    assert await run(it, ROUND) == ["drain", "fence", "delete"]
    assert mutations(it) == ["delete", "set_drain", "shut_down"]
    assert names(it) == [second]
    assert {"exited", "gone"} <= set(await events(it))
    assert it.world.history.lives[0].name == first
    await run(it, 2 * ROUND)
    assert names(it) == [second]


def test_s02_the_oldest_with_one_conference_keeps_everything() -> None:
    """Nothing is torn down, and the reason is that the oldest is busy."""
    decision = decided(bridge("a", 3 * HOUR, **busy()), bridge("b"))
    assert verbs(decision) == []
    assert Reason.OLDEST_BUSY in reasons(decision, "a")


def test_s03_an_idle_younger_bridge_waits_for_a_busy_older_one() -> None:
    """The younger goes first only where the operator chose `oldest_among: idle`."""
    fleet_ = (bridge("a", 3 * HOUR, **busy()), bridge("b"))
    assert verbs(decided(*fleet_)) == []
    assert verbs(decided(*fleet_, policy_=policy(oldest_among="idle"))) == ["drain b"]


async def test_s04_one_idle_machine_is_never_torn_down() -> None:
    """However old and idle: it is the only healthy bridge."""
    decision = decided(bridge("a", 400 * HOUR))
    assert verbs(decision) == []
    assert Reason.ONLY_HEALTHY in reasons(decision)
    it = install(world_of([100]))
    assert await run(it, 2 * ROUND) == []
    assert await phases(it) == [Phase.READY]


@pytest.mark.parametrize(
    ("age", "eligible"),
    [
        (timedelta(seconds=3300), False),
        (timedelta(seconds=3300, milliseconds=1), True),
        (timedelta(seconds=3299), False),
        (timedelta(seconds=-1), False),
        (None, False),
    ],
)
def test_s05_an_age_of_exactly_55_minutes_is_too_young(age: timedelta | None, *, eligible: bool) -> None:
    """Strictly over `uptime_minutes`: a millisecond more will do; an unknown or negative age never."""
    decision = decided(bridge("a", age), bridge("b", min(age or MINUTE, MINUTE) - HOUR))
    assert verbs(decision) == (["drain a"] if eligible else [])
    if not eligible:
        assert reasons(decision, "a") & {Reason.TOO_YOUNG, Reason.AGE_UNKNOWN}


def test_s06_an_unhealthy_oldest_blocks_until_three_of_five_polls_are_bad() -> None:
    """Then the next oldest is the candidate; the sick one stays, and a person is told."""
    shard = Shard().remember(memory("a", 3 * HOUR), memory("b"), memory("c", HOUR))
    machines_ = [instance("a", 3 * HOUR), instance("b"), instance("c", HOUR)]
    heard = dict(zip(machines_, [silent(), poll(), poll()], strict=True))
    for _ in range(2):
        decision = shard.tick(heard)
        assert verbs(decision) == []
        assert Reason.NOT_HEALTHY in reasons(decision, "a")
    decision = shard.tick(heard)
    assert verbs(decision) == ["drain b"]
    assert "sick" not in alert_kinds(decision)
    for _ in range(3):
        decision = shard.tick(heard)
    assert "sick" in alert_kinds(decision)
    assert not [word for word in verbs(decision) if word.endswith(" a")]


BAD_VALUES = [MISSING, None, -1, 0.5, True, "0", "NaN", [0]]


@pytest.mark.parametrize("field", ["conferences", "local_endpoints"])
@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
async def test_s07_a_count_that_is_no_count_is_unknown(field: str, value: Any) -> None:
    """Missing, negative, fractional, boolean or text: nothing is done to that bridge, or on its account."""
    it = install()
    oldest = machines(it)[0]
    assert oldest.bridge is not None
    oldest.bridge.faults.overrides = {field: value}
    if field == "local_endpoints" and value is MISSING:
        oldest.bridge.faults.overrides = {
            "local_endpoints": MISSING,
            "participants": MISSING,
            "endpoints": MISSING,
        }
    await run(it, ROUND)
    assert mutations(it) == []


async def test_s07_stale_or_absent_statistics_are_unknown() -> None:
    """A report whose clock stands still, or a status other than 200, allows no step."""
    for fault in ({"frozen_at": START}, {"statuses": {"stats": 404}}, {"statuses": {"stats": 500}}):
        it = install()
        oldest = machines(it)[0]
        assert oldest.bridge is not None
        for name, value in fault.items():
            setattr(oldest.bridge.faults, name, value)
        await run(it, ROUND)
        assert mutations(it) == []


async def test_s08_health_200_outside_the_muc_is_not_healthy() -> None:
    """It does not count, so the other one is the only healthy bridge and nothing is done."""
    it = install()
    oldest = machines(it)[0]
    assert oldest.bridge is not None
    oldest.bridge.faults.overrides = {"mucs_joined": 0}
    await run(it, ROUND)
    assert mutations(it) == []
    record = await latest(it)
    assert record["totals"]["healthy"] == 1
    assert Reason.ONLY_HEALTHY in {refusal["reason"] for refusal in record["refusals"]}


async def test_s09_a_conference_between_drain_and_fence_prevents_the_fence() -> None:
    """The drain becomes `surplus` while the others carry the load, else it is taken back."""
    met = bridge("a", 3 * HOUR, remembered=draining(**found_empty()), **busy(), pressure=0.1)
    assert verbs(decided(met, bridge("b", pressure=0.7))) == ["repurpose a"]
    assert verbs(decided(met, bridge("b", pressure=0.71))) == ["undrain a"]

    it = install()
    oldest = await until_drained(it)
    slip_in_a_call(it, oldest, minutes=20)
    await run(it, 15)
    assert (await memories(it))[oldest.name].purpose is Purpose.SURPLUS
    assert "shut_down" not in mutations(it)
    await run(it, ROUND)
    assert len(names(it)) == 1
    assert cuts(it) == 0


@pytest.mark.parametrize(
    "fault", [{"statuses": {"drain": 404}}, {"statuses": {"drain": 500}}, {"ignores_drain": True}]
)
async def test_s10_a_drain_that_does_not_happen_leads_no_further(fault: dict[str, Any]) -> None:
    """No fence and no delete, and an alert within two ticks."""
    it = install()
    oldest = machines(it)[0]
    assert oldest.bridge is not None
    for name, value in fault.items():
        setattr(oldest.bridge.faults, name, value)
    await until_drained(it)
    await run(it, 2)
    assert {"drain_not_seen", "drain_refused"} & await alerts(it)
    await run(it, ROUND)
    assert set(mutations(it)) == {"set_drain"}


def test_s13_of_bridges_created_in_the_same_instant_one_is_chosen_for_good() -> None:
    """Equal ages are ordered by name, whatever the order in which ARM lists them."""
    twins = [bridge(name, 2 * HOUR) for name in "cab"]
    assert {tuple(verbs(decided(*twins[n:], *twins[:n]))) for n in range(3)} == {("drain a",)}


async def test_s14_nothing_is_counted_or_compared_across_shards() -> None:
    """Two machines in A and one in B: A may shrink to one, B's only one is never removed."""
    stood = (Prestarted(3 * HOUR), Prestarted(2 * HOUR))
    specs = (
        ScaleSetSpec(SCALE_SET, capacity=2, prestarted=stood),
        ScaleSetSpec(scale_set_id("jvb-b"), capacity=1, prestarted=(Prestarted(50 * HOUR),)),
    )
    it = install(WorldConfig(1, START, specs, Workload.of(())))
    await run(it, 3 * ROUND)
    assert len(machines(it)) == 1
    assert await phases(it, "jvb-b") == [Phase.READY]


def test_s15_a_draining_bridge_is_no_other_bridge_that_accepts() -> None:
    """Two are healthy, as the owner's rule wants, but no other one accepts: nothing is done."""
    younger = bridge("b", remembered=draining(Purpose.FOREIGN), drain=True)
    decision = decided(bridge("a", 3 * HOUR), younger)
    assert verbs(decision) == []
    assert Reason.LAST_ACCEPTING in reasons(decision, "a")
    assert decision.totals.healthy == 2


async def test_s16_a_fleet_shrinks_to_the_operators_minimum_and_stays() -> None:
    """Three idle bridges and a minimum of two: one leaves, then nothing is removed or bought back."""
    it = install(world_of([4, 3, 2]), min_bridges=2)
    assert await run(it, ROUND) == ["drain", "fence", "delete"]
    assert await run(it, 2 * ROUND) == []
    assert len(names(it)) == 2


def test_s17_a_hot_shard_keeps_its_idle_oldest() -> None:
    """An idle bridge is the head-room of a full one."""
    decision = decided(bridge("a", 3 * HOUR), hot("b", remembered={"hot_answered": True}), bridge("c"))
    assert verbs(decision) == []
    assert Reason.HOT in reasons(decision)


@pytest.mark.parametrize(("mbps", "is_hot"), [(8_400, False), (8_412, True)])
@pytest.mark.parametrize("source", ["download_kbps", "upload_kbps", "in_mbps", "out_mbps"])
def test_s18_seventy_percent_of_the_nic_is_not_over_seventy(
    mbps: float, source: str, *, is_hot: bool
) -> None:
    """70.0 % no, 70.1 % yes, in either direction, whether Colibri's kbit/s or Monitor's Mbit/s say it."""
    told = stats(**{source: mbps * 1000}) if source.endswith("kbps") else None
    figures: dict[str, Any] = {"in_mbps": 0.0, "out_mbps": 0.0, "cpu_fraction": None, source: mbps}
    platform = None if told else PlatformLoad(NOW, **figures)
    load = demand.measure(memory("a"), told, platform, policy())
    assert load.nic_mbps == mbps
    assert demand.is_hot(bridge("a", pressure=load.pressure)) is is_hot


def test_s18_stress_is_cpu_over_nine_tenths() -> None:
    """A stress of 0.8 is a CPU of 72 %, which is 0.9 of its threshold and 1.0 of that of stress."""
    known = memory("a", stress_levels=(0.8,) * 4, cpu_fractions=(0.72,) * 4)
    load = demand.measure(known, stats(stress_level=0.8), None, policy())
    assert load.cpu_fraction == pytest.approx(0.72)
    assert load.pressure == pytest.approx(1.0)


@pytest.mark.parametrize("giants", [1, 2])
async def test_s19_each_giant_conference_is_answered_once(giants: int) -> None:
    """For six hours one giant buys exactly one bridge, and two giants exactly two."""
    calls = [meeting(START + 10 * MINUTE + n * SECOND, 360, 300, f"giant-{n}") for n in range(giants)]
    it = install(world_of([2] * giants, calls))
    done = await run(it, 370)
    assert done.count("scale_out") == giants
    assert len(names(it)) == 2 * giants


@pytest.mark.parametrize("seed", [1, 2])
async def test_s19_a_giant_that_gathers_slowly_is_answered_once(seed: int) -> None:
    """Its demand asks for a bridge before it is hot: being hot then must not buy a second one."""
    it = install(world_of([2], workload=Workload.named("giant", seed)))
    assert (await run(it, 400)).count("scale_out") == 1


def test_s20_without_monitor_colibri_tells_the_load_and_without_both_nothing_is_done() -> None:
    """Unknown load is said, neither bought for nor shrunk on."""
    machine, said = instance("a"), poll(upload_kbps=9_000_000.0)
    shard = Shard().remember(memory("a"))
    assert shard.tick({machine: said}).totals.demand == pytest.approx(9_000 / 8_400, abs=0.001)
    hold = decided(bridge("a", 3 * HOUR, pressure=None), bridge("b", pressure=None))
    assert verbs(hold) == []
    assert {Reason.LOAD_UNKNOWN} <= reasons(hold, "a")
    assert Reason.NO_HEADROOM in reasons(hold)


async def test_s21_a_booting_machine_is_the_brake_and_a_dead_one_is_replaced_with_patience() -> None:
    """While it boots nothing more is bought; after its deadline it is removed, and the next try waits."""
    calls = [meeting(START + 5 * MINUTE, 600, 180, "full")]
    it = install(world_of([2], calls, boot=BootModel(never=1.0)))
    assert await run(it, 17) == ["scale_out"]
    (asked,) = [m for m in (await memories(it)).values() if m.asked_by]
    assert asked.phase is Phase.FAILED
    assert (await state(it)).boot_failures == 1
    assert (await state(it)).backoff_until == asked.phase_since + 2 * MINUTE
    assert sorted(await run(it, 1)) == ["delete", "scale_out"]
    assert await run(it, 14) == ["delete"]
    assert (await state(it)).boot_failures == 2
    assert "boot_failures" in await alerts(it)
    assert await run(it, 1) == ["scale_out"]
    assert cuts(it) == 0


FULL = meeting(START + 2 * MINUTE, 600, 180, "full")


async def test_s22_an_allocation_that_fails_later_is_found_and_backed_off_from() -> None:
    """ARM accepts, then fails: its code reaches the alert, and tries come after 2, 5, 15 minutes."""
    it = install(world_of([2], [FULL]))
    it.world.scale_set(SCALE_SET).allocation_error = ("AllocationFailed", "no room")
    await run(it, 120)
    writes = mutations(it).count("scale_out")
    assert 3 <= writes <= 12
    assert "boot_failures" in await alerts(it)
    told = {alert["kind"]: alert["text"] for alert in (await latest(it))["alerts"]}
    assert "AllocationFailed" in told["boot_failures"]
    assert mutations(it).count("delete") >= 2
    assert len(names(it)) <= 3


async def test_s22_a_quota_stops_the_tick_and_is_backed_off_from() -> None:
    """409 for good: no machine is waited for, and ARM is not asked every minute."""
    it = install(world_of([2], [FULL], quota=1))
    await run(it, 60)
    assert mutations(it).count("scale_out") <= 6
    assert all(not each.is_open for each in await intents(it))
    assert "boot_failures" in await alerts(it)


class Breaking:
    """A hook that raises for some calls, so many times."""

    def __init__(self, call: str, error: Exception, times: int) -> None:
        """`call`: name of the port's method."""
        self.call, self.error, self.times = call, error, times

    def __call__(self, name: str, **_details: Any) -> None:
        """See one call."""
        if name == self.call and self.times:
            self.times -= 1
            raise self.error


@pytest.mark.parametrize("error", [Throttled("slow down", 120), TryNextTick("503")])
async def test_s22_a_write_that_was_not_taken_is_tried_again(error: Exception) -> None:
    """429 and 5xx before the change: one machine in the end, none waited for in vain."""
    it = install(world_of([2], [FULL]), before=Breaking("scale_out", error, 1))
    await run(it, 25)
    assert len(names(it)) == 2
    assert [each.vm_id is None for each in await intents(it)] == [True, False]


async def test_s22_a_lost_answer_after_the_change_buys_no_second_machine() -> None:
    """The next tick reads the capacity, waits for the machine, and knows it for its own."""
    rooms = [meeting(START + 2 * MINUTE, 600, 12, f"room-{n}") for n in range(15)]
    it = install(world_of([2], rooms), after=Breaking("scale_out", TryNextTick("lost"), 1))
    await run(it, 25)
    assert len(names(it)) == 2
    assert mutations(it).count("scale_out") == 1
    assert [m.asked_by is not None for m in (await memories(it)).values()] == [False, True]


async def test_s22_a_partial_list_of_machines_is_no_list() -> None:
    """Nothing is decided on it, and nothing that was remembered is lost."""
    it = install()
    await run(it, 11)
    before = await memories(it)
    broken = Breaking("instances", TryNextTick("page 2 did not come"), 5)
    it.engine.shards["jvb-a"].ears.cloud.tap.before = broken  # type: ignore[attr-defined]
    count = len(mutations(it))
    await run(it, 5)
    assert len(mutations(it)) == count
    assert await memories(it) == before
    assert "arm_unknown" in await alerts(it)
    await run(it, ROUND)
    assert len(names(it)) == 1


async def test_s23_at_the_maximum_there_is_an_alert_and_no_write() -> None:
    """However full the bridges are."""
    it = install(world_of([2], [FULL]), max_bridges=1)
    await run(it, 20)
    assert "at_maximum" in await alerts(it)
    assert mutations(it) == []
    decision = decided(hot("a"), policy_=policy(max_bridges=1))
    assert Reason.AT_MAXIMUM in all_reasons(decision)
