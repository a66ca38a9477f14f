"""Nights against an adversary: dead, bad and unproved bridges that would hold up or mislead a night."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sandbox.gallery import Defect
from scaler.errors import Refused
from scaler.model import Phase
from tests.scaler.nights import (
    DEFINITION,
    EVENING,
    TEMPLATE,
    fleet_of,
    install,
    model,
    publish,
    until,
    until_moment,
    versions,
)
from tests.scaler.worlds import (
    cuts,
    events,
    is_accepting,
    machines,
    memories,
    slip_in_a_call,
    state,
)


@pytest.mark.parametrize("least", [1, 2])
async def test_a_bad_bridge_is_not_opened_again_when_a_newer_version_ends_the_block(least: int) -> None:
    """It stays drained until it is the oldest and leaves; the newer version's night goes on beside it."""
    it = install(fleet_of(2), min_bridges=least, scale_in_pressure=0.05)
    publish(it, "1.0.1", Defect.NO_MEDIA)
    for vm in machines(it):
        slip_in_a_call(it, vm, minutes=60 * 24 + 90, people=40)
    await until(it, "04:10")
    canary = machines(it)[-1]
    slip_in_a_call(it, canary, minutes=60, people=8)
    await until(it, "06:00")
    assert (await memories(it))[canary.name].phase is Phase.DRAINING
    publish(it, "1.0.2")
    while it.world.now < EVENING + timedelta(hours=26, minutes=30):
        await until_moment(it, it.world.now + timedelta(minutes=1))
        assert not is_accepting(canary)
    assert set(versions(it)) == {"1.0.2"}
    assert (await state(it)).blocked_images == {}
    assert cuts(it) == 0


async def test_a_canary_without_a_verdict_does_not_prove_its_image_by_standing_there() -> None:
    """The night after, a bad canary of the same version blocks it, and the model goes back."""
    it = install(fleet_of(3), min_bridges=3)
    publish(it, "1.0.1", Defect.NO_MEDIA)
    for vm in machines(it):  # so hot until half past five that no canary can be proved in time
        slip_in_a_call(it, vm, minutes=114, people=230)
    await until(it, "06:05")
    night = (await state(it)).night
    assert (night.outcome, night.passed_at) == ("unfinished", None)
    assert "1.0.1" in versions(it)
    await until_moment(it, EVENING + timedelta(hours=24, minutes=45))
    slip_in_a_call(it, machines(it)[-1], minutes=60, people=8)
    await until_moment(it, EVENING + timedelta(hours=27))
    now = await state(it)
    assert [image.rpartition("/")[2] for image in now.blocked_images] == ["1.0.1"]
    assert model(it) == "1.0.0"


async def test_one_lost_poll_at_the_opening_costs_no_last_good_version() -> None:
    """The only bridge was not heard in the opening tick of the first night: the model still goes back."""
    it = install(fleet_of(1))
    publish(it, "1.0.1", Defect.NEVER_STARTS)
    await until(it, "03:59")
    (vm,) = machines(it)
    assert vm.bridge is not None
    it.world.advance_to(it.world.now.replace(hour=4, minute=0, second=0))
    await it.tick()
    vm.bridge.leave_muc(strands_calls=False)
    it.world.advance(30)
    await it.engine.nightly()
    vm.bridge.rejoin_muc()
    assert (await state(it)).night.is_open
    await until(it, "06:10")
    assert (await state(it)).night.outcome == "bad image"
    assert model(it) == "1.0.0"


async def test_a_drained_bridge_that_dies_holds_up_no_night() -> None:
    """A corpse waits for a person; the younger ones go on without it, and no noon asks it in vain."""
    it, fewest = install(fleet_of(3), min_bridges=3), list[int]()
    publish(it, "1.0.1")
    slip_in_a_call(it, machines(it)[0], minutes=600)
    await until(it, "04:45", fewest=fewest)
    first = machines(it)[0]
    assert (await memories(it))[first.name].phase is Phase.DRAINING
    assert first.bridge is not None
    first.bridge.crash()
    await until(it, "12:30", fewest=fewest)
    assert [vm.name for vm in machines(it) if vm.image.endswith("1.0.0")] == [first.name]
    assert "act_failed" not in await events(it)
    assert fewest == [3]


async def test_a_template_that_cannot_be_read_holds_up_no_night() -> None:
    """What the build came to is then not known; what the night is for is."""
    it = install(fleet_of(1, start=EVENING - timedelta(hours=2)), image_template_id=TEMPLATE)
    it.world.galleries.add_template(TEMPLATE, DEFINITION)
    publish(it, "1.0.5")

    def forbidden(call: str, **_details: Any) -> None:
        if call in ("build", "start_build"):
            raise Refused("AuthorizationFailed", "no role on the template")

    it.engine.shards["jvb-a"].ears.images.tap.before = forbidden  # type: ignore[union-attr]
    await until(it, "06:10")
    assert versions(it) == ["1.0.5"]


async def test_a_canary_that_keeps_restarting_condemns_its_image() -> None:
    """Back before each look, it is never seen unhealthy: its start times tell."""
    it = install(fleet_of(2), min_bridges=2)
    publish(it, "1.0.1")
    await until(it, "04:10")
    canary = machines(it)[-1]
    assert canary.bridge is not None
    for _ in range(6):
        await until_moment(it, it.world.now + timedelta(minutes=4))
        canary.bridge.restart(5)
    await until(it, "04:40")
    assert (await state(it)).night.outcome == "bad image"
