"""The scenarios by which the rules are judged, S31 to S43: strange fleets, faults and dry runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from sandbox.cloud import SimVm
from sandbox.inprocess import InProcess
from sandbox.workload import Workload, meeting
from sandbox.world import BootModel
from scaler.decision import Reason
from scaler.model import Phase, Purpose
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    Shard,
    alert_kinds,
    bridge,
    busy,
    decided,
    draining,
    instance,
    memory,
    poll,
    reasons,
    silent,
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
    is_accepting,
    latest,
    machines,
    memories,
    mutations,
    names,
    phases,
    run,
    state,
    until_drained,
    world_of,
)

ROUND = 30
"""Minutes in which a quiet shard of two has torn one down, with time to spare."""


async def test_s31_a_machine_added_by_hand_is_adopted_and_never_cleaned_up() -> None:
    """It was not asked for by us: when it never joins it is named in an alert, and stays."""
    it = install(world_of([3], boot=BootModel(never=1.0)))
    await run(it, 11)
    it.world.set_capacity(SCALE_SET, 2)
    await run(it, 60)
    added = machines(it)[1]
    row = (await memories(it))[added.name]
    assert (row.phase, row.asked_by) == (Phase.FAILED, None)
    assert "cannot_reach" in await alerts(it)
    assert mutations(it) == []


async def test_s31_a_machine_deleted_by_hand_has_vanished() -> None:
    """It is forgotten with an event of its own, not with that of our deletes."""
    it = install(world_of([3, 2]), min_bridges=1)
    await run(it, 1)
    it.world.delete_instances(SCALE_SET, [names(it)[1]])
    await run(it, 8)
    assert "vanished" in await events(it)
    assert "gone" not in await events(it)
    assert len(await memories(it)) == 1


def test_s32_a_reimaged_machine_is_young() -> None:
    """A new vmId under an old name, or a process older than its machine can be, counts from zero."""
    shard = Shard().remember(memory("a", 3 * HOUR), memory("b"))
    new = instance("a", MINUTE, vm_id="vm-new")
    heard = {new: poll(), instance("b"): poll(), instance("c", HOUR): poll()}
    assert verbs(shard.tick(heard)) == []  # a list that lacks the old one may be stale
    assert shard.memories["vm-new"].first_seen == shard.now
    assert verbs(shard.tick(heard, after=5 * MINUTE)) == ["drain b"]
    older_than_it_can_be = memory(
        "a", 2 * HOUR, process_started_at=NOW - 9 * HOUR, first_seen=NOW - 5 * MINUTE
    )
    again = bridge("a", 2 * HOUR)
    again = type(again)(again.instance, older_than_it_can_be, again.poll, fresh=True, pressure=0.0)
    assert Reason.TOO_YOUNG in reasons(decided(again, bridge("b", HOUR)), "a")


async def test_s33_a_process_that_began_five_minutes_ago_is_young() -> None:
    """However old its machine: it is idle because it dropped its users."""
    young = bridge("a", 9 * HOUR, remembered={"process_started_at": NOW - 5 * MINUTE})
    assert Reason.TOO_YOUNG in reasons(decided(young, bridge("b")), "a")

    it = install()
    await run(it, 9)
    oldest = machines(it)[0]
    assert oldest.bridge is not None
    oldest.bridge.restart()
    await run(it, 50)
    assert "delete" not in mutations(it)
    await run(it, 20)
    assert mutations(it).count("delete") == 1


async def test_s33_a_restart_that_no_counter_shows_is_found_before_the_drain() -> None:
    """The process is refused as another one, and learnt: the shard is not frozen for ever."""
    it = install()
    await run(it, 9)
    oldest = machines(it)[0]
    assert oldest.bridge is not None
    oldest.bridge.faults.overrides = {"total_bytes_sent": 0, "total_bytes_received": 0}
    oldest.bridge.restart(seconds=1)
    it.world.advance(20)
    oldest.bridge.set_drain(False)
    await run(it, 1)
    assert mutations(it) == []
    await run(it, 80)
    assert len(names(it)) == 1


async def test_s34_blind_is_harmless() -> None:
    """Over a third silent: nothing is taken away, at most one machine is bought, one alert says why."""
    it = install(world_of([5, 4, 3, 2]), min_bridges=3)
    assert await run(it, 11) == ["drain"]
    for vm in machines(it)[:2]:
        vm.unreachable = True
    done = await run(it, 60)
    assert await alerts(it) == {"blind"}
    assert set(done) <= {"scale_out", "undrain"}
    assert done.count("scale_out") <= 1
    for vm in machines(it):
        vm.unreachable = False
    await run(it, 2)
    assert "blind" in await alerts(it)
    await run(it, 1)
    assert "blind" not in await alerts(it)
    assert cuts(it) == 0


def test_s34_a_silent_shard_of_one_is_sick_not_blind() -> None:
    """After five minutes one machine is added for it, and no more."""
    shard = Shard().remember(memory("a"))
    lone = {instance("a"): silent()}
    done = [word for _ in range(5) for word in verbs(shard.tick(lone))]
    assert done == []
    decision = shard.tick(lone)
    assert alert_kinds(decision) == ["no_accepting_bridge", "sick"]
    assert verbs(decision) == ["scale_out 2"]


class Chance:
    """A seeded history: meetings of all sizes, and faults of machines and bridges."""

    def __init__(self, seed: int) -> None:
        """Everything follows from the seed."""
        self.rng = Random(seed)
        bridges = self.rng.randint(1, 4)
        ages = sorted((self.rng.uniform(0.2, 9) for _ in range(bridges)), reverse=True)
        scale = self.rng.choice([0.05, 0.2, 0.6])
        self.config = world_of(
            ages,
            workload=Workload.named("office", seed, scale),
            seed=seed,
            boot=BootModel(never=self.rng.choice([0, 0.2])),
            capacity_falls_on_delete=self.rng.random() < 0.8,
        )

    def strike(self, it: InProcess) -> None:
        """Now and then something goes wrong, or is right again."""
        for vm in list(it.world.vms()):
            if vm.bridge is None or self.rng.random() > 0.004:
                continue
            self.rng.choice([_restart, _crash, _cut_off, _deaf, _number_lost, _stand_still])(vm)
        for vm in it.world.vms():
            if self.rng.random() < 0.1:
                _heal(vm)


def _restart(vm: SimVm) -> None:
    assert vm.bridge is not None
    vm.bridge.restart()


def _crash(vm: SimVm) -> None:
    assert vm.bridge is not None
    vm.bridge.crash(back_after_s=90)


def _cut_off(vm: SimVm) -> None:
    vm.unreachable = True


def _deaf(vm: SimVm) -> None:
    assert vm.bridge is not None
    vm.bridge.faults.ignores_drain = True


def _number_lost(vm: SimVm) -> None:
    assert vm.bridge is not None
    vm.bridge.faults.overrides = {"conferences": "many"}


def _stand_still(vm: SimVm) -> None:
    assert vm.bridge is not None
    vm.bridge.faults.statuses = {"stats": 500}


def _heal(vm: SimVm) -> None:
    vm.unreachable = False
    if vm.bridge is not None:
        vm.bridge.faults = type(vm.bridge.faults)()


def _leaving_one_alone(it: InProcess, accepted_before: set[str]) -> bool:
    """Bridges accepted before this tick, and none of those that still work does so after it."""
    return bool(accepted_before) and not any(
        is_accepting(vm) for vm in it.world.vms() if vm.name in accepted_before
    )


@pytest.mark.parametrize("seed", range(6))
async def test_s35_whatever_happens_no_call_is_cut_and_one_bridge_accepts(seed: int) -> None:
    """Random days with faults: no call is cut by us, and no tick takes the last accepting bridge away."""
    chance = Chance(seed)
    it = install(chance.config, max_bridges=8)
    tally: Counter[str] = Counter()
    for _ in range(1440):
        it.world.advance(60)
        chance.strike(it)
        before = {vm.name for vm in it.world.vms() if is_accepting(vm)}
        for report in await it.tick():
            tally.update(a["do"] for a in (report.record or {}).get("actions", ()) if a["done"])
        assert not _leaving_one_alone(it, before), f"seed {seed} at {it.world.now}"
        assert cuts(it) == 0, f"seed {seed}: {it.world.history.cut_by_us()}"
    assert tally["drain"], f"seed {seed}: nothing happened"


async def test_s36_an_empty_table_over_a_fleet_without_statistics_touches_nothing() -> None:
    """Five bridges with calls, statistics answer 404: nothing is drained, fenced or deleted; one alert."""
    calls = [meeting(START, 300, 5, f"call-{n}") for n in range(8)]
    it = install(world_of([6, 5, 4, 3, 2], calls))
    for vm in machines(it):
        assert vm.bridge is not None
        vm.bridge.faults.statuses = {"stats": 404}
    await run(it, 4)
    assert mutations(it) == []
    assert await alerts(it) == {"blind"}
    done = await run(it, 120)
    assert done == ["scale_out", "undrain"]  # the one machine that silence may buy, and its opening
    assert cuts(it) == 0


@pytest.mark.parametrize("late", [-1, 1, 61, 121])
async def test_s37_a_machine_that_joins_just_after_its_deadline_is_kept(late: int) -> None:
    """Late is only what we saw: it becomes ready and its calls are not cut."""
    full = meeting(START + 2 * MINUTE, 120, 180, "full")
    it = install(world_of([2], [full], boot=BootModel(median_s=600 + late, p95_s=600 + late)))
    await run(it, 60)
    late_one = machines(it)[1]
    assert (await memories(it))[late_one.name].phase is Phase.READY
    assert late_one.bridge is not None
    assert not late_one.bridge.drain
    assert "delete" not in mutations(it)
    assert cuts(it) == 0


async def test_s38_a_bridge_that_comes_back_from_its_fence_is_ready() -> None:
    """A new process answers: nothing is deleted, and every term is proved anew."""
    it = install()
    oldest = await until_drained(it)
    await run(it, 2)
    assert "shut_down" in mutations(it)
    assert oldest.bridge is not None
    oldest.bridge.crash(back_after_s=20)
    await run(it, 5)
    assert (await memories(it))[oldest.name].phase is Phase.READY
    assert is_accepting(oldest)
    assert "delete" not in mutations(it)
    assert "restarted" in await events(it)
    await run(it, 45)
    assert "delete" not in mutations(it)


async def test_s39_a_small_surplus_drains_one_bridge_and_does_not_flap() -> None:
    """Three bridges with a demand of 1.0: one drain in three hours, never taken back."""
    calls = [meeting(START - 10 * MINUTE, 400, 10, f"room-{n}") for n in range(18)]
    it = install(world_of([4, 3, 2], calls))
    done = await run(it, 180)
    assert done.count("drain") == 1
    assert done.count("undrain") == 0
    assert done.count("scale_out") == 0
    demand = (await latest(it))["totals"]["demand"]
    assert demand == pytest.approx(1.0, abs=0.15)


def test_s40_an_operators_drain_is_named_as_the_reason() -> None:
    """Nobody behind it is drained either: the reason says who stands in the way."""
    foreign = bridge("a", 3 * HOUR, remembered=draining(Purpose.FOREIGN, 11 * MINUTE), drain=True)
    decision = decided(foreign, bridge("b"), bridge("c", HOUR, **busy()), surplus_since=NOW - HOUR)
    assert verbs(decision) == []
    assert Reason.FOREIGN_DRAIN in reasons(decision, "a")
    assert "foreign_drain" in alert_kinds(decision)


async def test_s40_somebody_elses_drain_is_not_touched() -> None:
    """It is neither taken back nor torn down, stays the oldest, and a person is told."""
    it = install()
    await run(it, 1)
    oldest = machines(it)[0]
    assert oldest.bridge is not None
    oldest.bridge.set_drain(True)
    await run(it, 1)
    assert "foreign_drain" in await events(it)
    assert "foreign_drain" not in await alerts(it)
    await run(it, 40)
    assert "foreign_drain" in await alerts(it)
    assert mutations(it) == []
    assert Reason.FOREIGN_DRAIN in {refusal["reason"] for refusal in (await latest(it))["refusals"]}


async def test_s41_where_a_delete_leaves_the_capacity_nothing_is_written_on_the_wrong_base() -> None:
    """No machine is bought or picked by Azure; a person is told that the two disagree."""
    busy_later = meeting(START + 90 * MINUTE, 60, 180, "full")
    it = install(world_of([4, 3, 2], [busy_later], capacity_falls_on_delete=False), min_bridges=1)
    await run(it, 120)
    assert mutations(it).count("scale_out") == 0
    assert it.world.scale_set(SCALE_SET).capacity == 3
    assert "capacity_disagrees" in await alerts(it)
    assert cuts(it) == 0


async def test_s41_with_repair_capacity_the_listed_number_is_written_once_nothing_is_in_flight() -> None:
    """Then the fleet can grow again."""
    busy_later = meeting(START + 90 * MINUTE, 60, 180, "full")
    config = world_of([4, 3, 2], [busy_later], capacity_falls_on_delete=False)
    it = install(config, repair_capacity=True)
    await run(it, 80)
    assert len(names(it)) == 1
    assert it.world.scale_set(SCALE_SET).capacity == 1
    await run(it, 30)
    assert len(names(it)) == 2
    assert cuts(it) == 0


async def test_s42_a_dry_run_changes_nothing_and_the_live_run_starts_from_what_is_seen() -> None:
    """Zero mutating calls, phases unchanged, 'would drain' said once; then live, the older one leaves."""
    dry = install(dry_run=True)
    await run(dry, 60)
    assert mutations(dry) == []
    assert await phases(dry) == [Phase.READY, Phase.READY]
    assert (await events(dry)).count("would") == 1
    assert (await latest(dry))["sentence"].startswith("would drain")
    live = install(store=dry.store, world=dry.world)
    assert await run(live, ROUND) == ["drain", "fence", "delete"]


async def test_s42_a_dry_run_of_a_failing_scale_out_writes_no_intent() -> None:
    """Neither ARM nor the intents are touched, however full the bridge is."""
    full = meeting(START + 2 * MINUTE, 600, 180, "full")
    dry = install(world_of([2], [full], quota=1), dry_run=True)
    await run(dry, 60)
    assert mutations(dry) == []
    assert await intents(dry) == []
    assert (await state(dry)).boot_failures == 0


async def test_s42_a_dry_run_names_what_a_live_run_left_drained() -> None:
    """It takes nothing back and goes no further; live again, the step is finished."""
    live = install()
    await until_drained(live)
    dry = install(store=live.store, world=live.world, dry_run=True)
    await run(dry, 20)
    assert mutations(dry) == []
    assert (await phases(dry))[0] is Phase.DRAINING
    assert (await state(dry)).left_drained == (names(dry)[0],)
    again = install(store=live.store, world=live.world)
    await run(again, ROUND)
    assert len(names(again)) == 1
    assert (await state(again)).left_drained == ()


async def test_s43_an_address_that_passed_to_another_machine_is_refused() -> None:
    """Between the list and the POST another process answers there: nothing is done to it."""
    it = install(world_of([4, 3, 2]))
    first, second, _ = machines(it)
    swapped: list[Any] = []

    def swap(name: str, **details: Any) -> None:
        if name == "read" and not swapped:
            swapped.append(details)
            first.address, second.address = second.address, first.address

    it.engine.shards["jvb-a"].ears.bridges.tap.before = swap  # type: ignore[attr-defined]
    await run(it, 11)
    assert swapped
    refused: list[Mapping[str, Any]] = [a for a in (await latest(it))["actions"] if not a["done"]]
    assert [a["refused"] for a in refused] == [Reason.NOT_THE_SAME_BRIDGE]
    assert mutations(it) == []
