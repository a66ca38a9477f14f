"""Determinism, time, capacity, deletes and what is counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from sandbox.cloud import BootModel, Prestarted, ScaleSetSpec
from sandbox.history import CutReason
from sandbox.workload import Workload
from sandbox.world import World, WorldConfig, WorldError
from tests.sandbox.worlds import (
    GROUP,
    OTHER,
    SCALE_SET,
    START,
    bridge_of,
    carrier_of,
    hour_long,
    vms_of,
    world_of,
)


def office(seed: int, start: datetime = START) -> World:
    """A working day on five bridges."""
    spec = ScaleSetSpec(SCALE_SET, capacity=5)
    return World(WorldConfig(seed, start, (spec,), Workload.named("office", seed)))


def lived(world: World, step_seconds: float, *, look: bool = False) -> dict[str, Any]:
    """Three hours with a scale-out, a crash and a delete in them; everything that can be compared."""
    while world.now < START + timedelta(hours=3):
        world.advance(step_seconds)
        if look:
            world.truth()
            [bridge_of(vm).stats(world.now) for vm in world.vms() if vm.bridge]
        if world.now == START + timedelta(hours=1):
            world.set_capacity(SCALE_SET, 6)
            world.delete_instances(SCALE_SET, [vms_of(world)[0].name])
        if world.now == START + timedelta(hours=2):
            bridge_of(vms_of(world)[0]).crash(back_after_s=10)
    stats = [bridge_of(vm).stats(world.now) for vm in world.vms()]
    return {"truth": world.truth(), "history": world.history, "stats": stats}


def test_same_seed_same_history() -> None:
    """The same seed gives the same machines, calls and cuts, and another seed gives others."""
    first, second, other = lived(office(3), 60), lived(office(3), 60), lived(office(4), 60)
    assert first == second
    assert first["history"].lives[0].vm_id != other["history"].lives[0].vm_id
    assert first["truth"] != other["truth"]


def test_looking_and_stepping_change_nothing() -> None:
    """How often the world is read, and in which steps time moves, has no part in its history."""
    assert lived(office(3), 60, look=True) == lived(office(3), 1800)


def test_time_never_goes_back() -> None:
    """Advancing to a moment that has passed does nothing."""
    world = world_of()
    world.advance(60)
    world.advance_to(START)
    assert world.now == START + timedelta(seconds=60)


def test_scale_set_is_named_by_its_id() -> None:
    """Name, group and subscription come from the ARM id, and ids are found in any case."""
    found = world_of().scale_set(SCALE_SET.upper())
    assert (found.name, found.resource_group) == ("jvb-a", "rg-Meet")
    assert found.subscription == "00000000-0000-0000-0000-000000000001"
    assert vms_of(world_of())[0].resource_id.startswith(
        f"{GROUP}/providers/Microsoft.Compute/virtualMachines/jvb-a_"
    )


def test_new_machine_boots_then_listens_then_joins() -> None:
    """A machine is listed as Creating, then runs, then its JVB listens drained and enters the MUC."""
    world = world_of(1)
    operation = world.set_capacity(SCALE_SET, 2)
    seen = []
    for _ in range(1200):
        world.advance(0.5)
        for vm in vms_of(world)[1:]:
            bridge = vm.bridge
            seen.append(
                (vm.provisioning, vm.running, bridge is not None, bridge is not None and bridge.muc_joined)
            )
    assert list(dict.fromkeys(seen)) == [
        ("Creating", False, False, False),
        ("Succeeded", True, False, False),
        ("Succeeded", True, True, False),
        ("Succeeded", True, True, True),
    ]
    assert bridge_of(vms_of(world)[1]).drain
    assert operation.status == "Succeeded"
    assert operation.ends_at is not None


def test_boot_times_follow_the_model() -> None:
    """Half of the machines are in the MUC within the median, and 95 of 100 within the 95th percentile."""
    world = world_of(0, boot=BootModel(median_s=120, p95_s=300))
    world.set_capacity(SCALE_SET, 400)
    world.advance(7200)
    waits = sorted((life.joined_at - START).total_seconds() for life in world.history.lives if life.joined_at)
    assert len(waits) == 400
    assert waits[200] == pytest.approx(120, rel=0.15)
    assert waits[380] == pytest.approx(300, rel=0.25)


def test_machine_that_never_boots_runs_and_refuses() -> None:
    """With `never` at 1 the machine runs, and no bridge ever listens on it."""
    world = world_of(0, boot=BootModel(never=1.0))
    world.set_capacity(SCALE_SET, 1)
    world.advance(3600)
    (vm,) = vms_of(world)
    assert vm.running
    assert vm.bridge is None


def test_allocation_fails_after_the_write_was_accepted() -> None:
    """An allocation failure shows in the operation and on the machine, not in the write."""
    world = world_of(1)
    world.scale_set(SCALE_SET).allocation_error = ("AllocationFailed", "no capacity in the region")
    operation = world.set_capacity(SCALE_SET, 2)
    assert operation.status == "InProgress"
    world.advance(60)
    assert (operation.status, operation.error_code) == ("Failed", "AllocationFailed")
    assert vms_of(world)[1].provisioning == "Failed"


def test_write_with_an_old_etag_is_refused() -> None:
    """Each change of a scale set gives it a new etag, and a write under the old one changes nothing."""
    world = world_of()
    old = world.scale_set(SCALE_SET).etag
    world.set_capacity(SCALE_SET, 3, old)
    with pytest.raises(WorldError) as refusal:
        world.set_capacity(SCALE_SET, 9, old)
    assert refusal.value.status == 412
    assert world.scale_set(SCALE_SET).capacity == 3


def test_two_writes_in_a_row_do_not_buy_twice() -> None:
    """Machines that were accepted count towards the next capacity, even before ARM lists them."""
    world = world_of(1)
    world.set_capacity(SCALE_SET, 3)
    world.advance(0.5)
    world.set_capacity(SCALE_SET, 4)
    world.advance(600)
    assert len(vms_of(world)) == world.scale_set(SCALE_SET).capacity == 4


def test_unknown_names_and_quota_are_refused() -> None:
    """A scale set or machine that is not there is a 404, and more than the quota a 409."""
    world = world_of(spec=ScaleSetSpec(SCALE_SET, quota=3))
    with pytest.raises(WorldError, match="404 ResourceNotFound"):
        world.set_capacity(OTHER, 2)
    with pytest.raises(WorldError, match="404 NotFound"):
        world.delete_instances(SCALE_SET, ["jvb-a_0"])
    with pytest.raises(WorldError, match="409 OperationNotAllowed"):
        world.set_capacity(SCALE_SET, 4)


@pytest.mark.parametrize(("falls", "capacity"), [(True, 1), (False, 2)])
def test_capacity_after_a_delete_is_a_matter_of_configuration(falls: bool, capacity: int) -> None:
    """Both worlds exist: one in which a delete of a chosen machine lowers the capacity, one without."""
    world = world_of(2, capacity_falls_on_delete=falls)
    operation = world.delete_instances(SCALE_SET, [vms_of(world)[0].name])
    assert vms_of(world)[0].provisioning == "Deleting"
    world.advance(90)
    assert len(vms_of(world)) == 1
    assert world.scale_set(SCALE_SET).capacity == capacity
    assert operation.status == "Succeeded"


def test_delete_takes_between_30_and_90_seconds_and_only_once() -> None:
    """A second delete of the same machine is accepted and changes nothing."""
    world = world_of(3)
    victim = vms_of(world)[1]
    world.delete_instances(SCALE_SET, [victim.name])
    world.advance(29)
    world.delete_instances(SCALE_SET, [victim.name])
    assert victim in vms_of(world)
    world.advance(62)
    assert victim not in vms_of(world)
    assert world.scale_set(SCALE_SET).capacity == 2


def test_write_on_a_wrong_base_buys_or_kills() -> None:
    """An absolute capacity makes as many machines stand as it says, calls or not."""
    world = world_of(3, [hour_long()], capacity_falls_on_delete=False)
    world.set_capacity(SCALE_SET, 5)
    world.advance(600)
    assert len(vms_of(world)) == 5
    world.set_capacity(SCALE_SET, 0)
    assert world.truth()["calls_cut"] == 1


def test_call_is_cut_when_its_machine_is_deleted() -> None:
    """Deleting a machine with people on it cuts their call, and the history says where and why."""
    world = world_of(2, [hour_long(people=7)])
    world.advance(60)
    carrier = carrier_of(world)
    world.delete_instances(SCALE_SET, [carrier.name])
    (cut,) = world.history.cuts
    assert (cut.vm_id, cut.participants, cut.reason, cut.at) == (
        carrier.vm_id,
        7,
        CutReason.VM_DELETED,
        world.now,
    )
    world.advance(60)
    assert carrier_of(world) is not carrier
    truth = world.truth()
    assert (truth["calls_cut"], truth["participants_cut"], truth["calls_served"]) == (1, 7, 1)


def test_idle_machine_is_deleted_without_a_cut() -> None:
    """Deleting a machine without calls cuts nothing and ends what it costs."""
    world = world_of(2, [hour_long()])
    world.advance(60)
    (idle,) = [vm for vm in vms_of(world) if vm is not carrier_of(world)]
    world.delete_instances(SCALE_SET, [idle.name])
    world.advance(3600)
    life = next(life for life in world.history.lives if life.vm_id == idle.vm_id)
    assert not world.history.cuts
    assert life.gone_at is not None
    assert world.truth()["bridge_hours"] == pytest.approx(
        life.hours(world.config.start, world.now) + 3660 / 3600, abs=0.01
    )


def test_monitor_lags_and_knows_only_running_machines() -> None:
    """The newest two minutes are absent, and an older one has the bytes of the call."""
    world = world_of(1, [hour_long(people=10)])
    world.advance(600)
    vm = vms_of(world)[0]
    minutes = [world.metric_minute(vm.resource_id, START + timedelta(minutes=m)) for m in range(10)]
    assert [minute is None for minute in minutes] == [False] * 8 + [True] * 2
    busy = minutes[5]
    assert busy is not None
    assert busy.out_bytes == pytest.approx(bridge_of(vm).stats(world.now)["bit_rate_upload"] * 7500, rel=0.05)
    assert busy.out_bytes > busy.in_bytes > 0
    assert world.metric_minute(vm.resource_id.replace("jvb-a", "none"), START) is None


def test_overload_is_counted_in_minutes_with_people() -> None:
    """A bridge beyond what it can carry counts each clock minute, an equal load on two does not."""
    crowd = [hour_long(people=50, name=f"c{n}") for n in range(5)]
    alone, together = world_of(1, crowd), world_of(3, crowd)
    for world in (alone, together):
        world.advance(600)
    assert alone.truth()["overload_minutes"] in range(9, 12)
    assert together.truth()["overload_minutes"] == 0


def test_addresses_repeat_only_when_told_so() -> None:
    """A new machine gets the address of one that is gone only with `reuse_addresses`."""
    for reuse in (False, True):
        world = world_of(1, reuse_addresses=reuse)
        gone = vms_of(world)[0]
        world.delete_instances(SCALE_SET, [gone.name])
        world.advance(100)
        world.set_capacity(SCALE_SET, 1)
        world.advance(100)
        (fresh,) = vms_of(world)
        assert (fresh.address == gone.address) is reuse
        assert fresh.address.startswith("127.64.")


def test_prestarted_machines_have_their_age_and_image() -> None:
    """Machines that stand at the beginning are as old as told, and run the image they were given."""
    spec = ScaleSetSpec(
        SCALE_SET, prestarted=(Prestarted(timedelta(days=3), "old"), Prestarted(timedelta(hours=1)))
    )
    world = world_of(2, spec=spec)
    assert [vm.time_created for vm in vms_of(world)] == [
        START - timedelta(days=3),
        START - timedelta(hours=1),
    ]
    assert [vm.image for vm in vms_of(world)] == ["old", world.scale_set(SCALE_SET).image]


def test_shards_have_their_own_jicofo() -> None:
    """Bridges of one scale set never carry the calls of another."""
    specs = (ScaleSetSpec(SCALE_SET, workload=Workload.of([hour_long()])), ScaleSetSpec(OTHER, capacity=5))
    world = World(WorldConfig(1, START, specs))
    world.advance(60)
    assert carrier_of(world) in vms_of(world)
    assert [vm.address.split(".")[1] for vm in world.vms()] == ["64", *["65"] * 5]
