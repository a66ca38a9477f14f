"""The starred nights over HTTP: the gallery through ARM, the tables in Azurite, the timer of the night."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sandbox.gallery import Defect
from scaler.model import Phase
from tests.http.conftest import Install
from tests.http.installation import Installation
from tests.scaler.nights import DEFINITION
from tests.scaler.worlds import START, world_of

BRISK: dict[str, Any] = {
    "recycle_at": f"{START + timedelta(minutes=2):%H:%M}",
    "recycle_until": f"{START + timedelta(minutes=62):%H:%M}",
    "canary_bake_minutes": 2,
    "canary_timeout_minutes": 6,
    "boot_timeout_minutes": 4,
    "image_definition_id": DEFINITION,
}
"""A night that opens two minutes after the start and needs two minutes to prove an image."""


async def night(it: Installation, minutes: int) -> None:
    """Tick once a minute, and run the timer of the night half a minute behind every third tick."""
    for number in range(minutes):
        await it.minutes(1)
        if number % 3 == 2:
            await it.advance(30)
            await it.app.nightly()
            await it.advance(-30)


def versions(it: Installation) -> list[str]:
    """Image versions of the machines, oldest machine first."""
    return [vm.image.rpartition("/")[2] for vm in it.machines()]


async def test_s24_one_bridge_is_replaced_by_one_on_the_new_image(install: Install) -> None:
    """One becomes two, the canary bakes, the old one is drained, fenced and deleted: one on the new image."""
    it = await install(world_of([5]), **BRISK)
    it.world.galleries.publish(DEFINITION, "1.0.1")
    (old,) = it.names()
    await night(it, 28)
    assert it.verbs == ["set_image", "scale_out", "undrain", "drain", "fence", "delete"]
    assert it.journal[0].subject == "1.0.1"
    assert [step.subject for step in it.journal[3:]] == [old] * 3
    assert versions(it) == ["1.0.1"]
    state = await it.state()
    assert (state.night.outcome, state.night.of, state.night.outdated) == ("done", 1, 0)
    assert state.good_image == f"{DEFINITION}/versions/1.0.1".lower()
    assert it.cuts() == 0


async def test_s25_a_busy_oldest_is_waited_for_and_no_younger_goes_before_it(install: Install) -> None:
    """Its drain lasts as long as its call; three accept at every moment; behind the window nothing begins."""
    it = await install(world_of([5, 4, 3]), min_bridges=3, **BRISK)
    it.world.galleries.publish(DEFINITION, "1.0.1")
    oldest = it.names()[0]
    it.slip_in_a_call(oldest, minutes=200, people=4, name="long")
    fewest = 3
    for _ in range(23):
        await night(it, 3)
        fewest = min(fewest, len(it.accepting()))
    assert it.verbs == ["set_image", "scale_out", "undrain", "drain"]
    assert it.journal[-1].subject == oldest
    assert (await it.memories())[oldest].phase is Phase.DRAINING
    state = await it.state()
    assert (state.night.outcome, state.night.outdated, state.night.of) == ("unfinished", 3, 3)
    assert (fewest, it.cuts()) == (3, 0)


async def test_s26_a_bad_image_is_stopped_and_pinned_away(install: Install) -> None:
    """The canary is removed, the version blocked, the model set back; the old bridges are not touched."""
    it = await install(world_of([5, 4]), min_bridges=2, **BRISK)
    it.world.galleries.publish(DEFINITION, "1.0.1", defect=Defect.NEVER_STARTS)
    old = it.names()
    await night(it, 24)
    assert it.names() == it.accepting() == old
    assert it.verbs[:2] == ["set_image", "scale_out"]
    assert sorted(it.verbs[2:]) == ["delete", "set_image"]
    assert [step.subject for step in it.journal if step.verb == "set_image"] == ["1.0.1", "1.0.0"]
    assert await it.alerts() == {"bad_image"}
    assert len([e for e in await it.events("alert") if str(e["text"]).startswith("bad_image")]) == 1
    state = await it.state()
    assert list(state.blocked_images) == [f"{DEFINITION}/versions/1.0.1".lower()]


async def test_s42_a_dry_night_makes_no_mutating_call(install: Install) -> None:
    """What it would do stands in the events, once each."""
    it = await install(world_of([5]), dry_run=True, **BRISK)
    it.world.galleries.publish(DEFINITION, "1.0.1")
    await night(it, 12)
    assert it.journal == []
    would = [str(event["text"]) for event in await it.events("would")]
    assert len([text for text in would if text.startswith("would set the model")]) == 1
