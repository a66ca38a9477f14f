"""The nights by which the rules are judged, S24 to S30 and what belongs to them, lived through whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.gallery import Defect
from sandbox.inprocess import InProcess, scale_set_id
from sandbox.workload import meeting
from scaler import answers
from scaler.errors import TryNextTick
from scaler.model import Phase, Purpose, ShardMemory
from scaler.ports import ShardRows, Stored
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
    accepting,
    alerts,
    cuts,
    machines,
    memories,
    mutations,
    names,
    slip_in_a_call,
    state,
)


async def said(it: InProcess, kind: str = "night", shard: str = "jvb-a") -> list[str]:
    """Texts of the events of a kind, oldest first."""
    rows = await it.store.events(shard, it.world.now, 1000)
    return [str(row["text"]) for row in reversed(rows) if row["kind"] == kind]


async def test_s24_one_bridge_is_replaced_by_one_on_the_new_image() -> None:
    """At 04:00 one becomes two; the new one bakes; the old one is drained and deleted; one is left."""
    it, fewest = install(fleet_of(1)), list[int]()
    publish(it, "1.0.1")
    (old,) = names(it)
    await until(it, "04:05", fewest=fewest)
    assert (await state(it)).night.is_open
    await until(it, "04:15", fewest=fewest)
    assert versions(it) == ["1.0.0", "1.0.1"]
    assert (await memories(it))[old].phase is Phase.READY
    await until(it, "06:00", fewest=fewest)
    assert versions(it) == ["1.0.1"]
    assert (await state(it)).night.outcome == "done"
    assert (fewest, cuts(it)) == ([1], 0)


async def test_s25_a_busy_oldest_is_waited_for_and_no_younger_goes_before_it() -> None:
    """The oldest is drained and kept while busy; never fewer than three accept; no surge after 06:00."""
    it, fewest = install(fleet_of(3), min_bridges=3), list[int]()
    publish(it, "1.0.1")
    slip_in_a_call(it, machines(it)[0], minutes=240)
    oldest = names(it)[0]
    done = await until(it, "06:00", fewest=fewest)
    assert (done.count("scale_out"), done.count("drain"), done.count("fence")) == (1, 1, 0)
    kept = (await memories(it))[oldest]
    assert (kept.phase, kept.purpose) == (Phase.DRAINING, Purpose.RECYCLE)
    night = (await state(it)).night
    assert (night.outdated, night.of) == (3, 3)
    done = await until(it, "09:00", fewest=fewest)
    assert "scale_out" not in done
    assert "drain" not in done
    assert versions(it) == ["1.0.0", "1.0.0", "1.0.1"]
    assert (await state(it)).night.outcome == "unfinished"
    assert (fewest, cuts(it)) == ([3], 0)


async def test_a_night_waits_for_the_call_on_the_third_of_eight() -> None:
    """The two older ones are replaced, the third drained, the five younger wait; the next night has them."""
    it, fewest = install(fleet_of(8), min_bridges=8), list[int]()
    publish(it, "1.0.1")
    third = machines(it)[2]
    slip_in_a_call(it, third, minutes=180)
    await until(it, "06:05", fewest=fewest)
    assert versions(it).count("1.0.0") == 6
    assert (await memories(it))[third.name].phase is Phase.DRAINING
    await until(it, "07:00", fewest=fewest)
    assert versions(it).count("1.0.0") == 5
    assert third.name not in names(it)
    await until_moment(it, EVENING + timedelta(hours=26, minutes=30), fewest=fewest)
    assert versions(it) == ["1.0.1"] * 8
    assert (fewest, cuts(it)) == ([8], 0)


async def test_a_night_by_the_idle_oldest_leaves_only_the_busy_one_for_the_morning() -> None:
    """With `oldest_among: idle` seven are replaced by 06:00, and the eighth when its call ends."""
    it, fewest = install(fleet_of(8), min_bridges=8, oldest_among="idle"), list[int]()
    publish(it, "1.0.1")
    third = machines(it)[2]
    slip_in_a_call(it, third, minutes=180)
    done = await until(it, "06:05", fewest=fewest)
    left = [vm.name for vm in machines(it) if vm.image.endswith("1.0.0")]
    assert left == [third.name]
    assert done.count("drain") == 8
    await until(it, "07:00", fewest=fewest)
    assert versions(it) == ["1.0.1"] * 8
    assert (fewest, cuts(it)) == ([8], 0)


@pytest.mark.parametrize("defect", [Defect.NEVER_STARTS, Defect.NEVER_JOINS])
async def test_s26_a_bad_image_is_stopped_and_pinned_away(defect: Defect) -> None:
    """The others are untouched, there is one alert, and scale-out at noon uses the last good version."""
    it, fewest = install(fleet_of(5), min_bridges=5), list[int]()
    publish(it, "1.0.1", defect)
    old = names(it)
    await until(it, "07:00", fewest=fewest)
    assert names(it)[:5] == old
    assert fewest == [5]
    assert model(it) == "1.0.0"
    assert await alerts(it) - {"cannot_reach"} == {"bad_image"}
    assert len([text for text in await said(it, "alert") if text.startswith("bad_image")]) == 1
    assert (await state(it)).night.outcome == "bad image"
    jicofo = it.world.scale_set(it.engine.shards["jvb-a"].scale_set_id).jicofo
    await until(it, "12:00")
    for number in range(25):
        jicofo.begin(meeting(it.world.now, 60, 40, f"noon-{number}"))
    done = await until(it, "12:30")
    assert "scale_out" in done
    newest = machines(it)[-1]
    assert newest.image.endswith("1.0.0")
    assert cuts(it) == 0


async def test_s26_where_nothing_can_run_the_bad_canary_is_removed() -> None:
    """Its port is refused, so no call can be on it."""
    it = install(fleet_of(5), min_bridges=5)
    publish(it, "1.0.1", Defect.NEVER_STARTS)
    await until(it, "05:00")
    assert versions(it) == ["1.0.0"] * 5
    assert await alerts(it) == {"bad_image"}


async def test_a_canary_that_sickens_condemns_its_image() -> None:
    """It joined, and was bad in three polls while the old bridges were well: it stays, without new calls."""
    it = install(fleet_of(2), min_bridges=2)
    publish(it, "1.0.1", Defect.UNHEALTHY)
    await until(it, "05:00")
    assert (await state(it)).night.outcome == "bad image"
    assert model(it) == "1.0.0"
    assert versions(it) == ["1.0.0", "1.0.0", "1.0.1"]
    assert await alerts(it) == {"bad_image"}


async def test_a_canary_without_media_condemns_its_image_and_is_drained() -> None:
    """Health does not see ICE: half of all who came, and at least five, could not connect."""
    it = install(fleet_of(2), min_bridges=2)
    publish(it, "1.0.1", Defect.NO_MEDIA)
    await until(it, "04:10")
    canary = machines(it)[-1]
    slip_in_a_call(it, canary, minutes=90, people=8)
    await until(it, "05:00")
    assert (await state(it)).night.outcome == "bad image"
    row = (await memories(it))[canary.name]
    assert (row.phase, row.purpose) == (Phase.DRAINING, Purpose.RECYCLE)
    await until(it, "13:00")
    kept = (await memories(it)).get(canary.name)
    assert kept is not None
    assert kept.phase is Phase.DRAINING
    assert cuts(it) == 0


async def test_a_blocked_version_is_not_tried_again_and_a_newer_one_ends_the_block() -> None:
    """The next night has nothing outdated; the one after is for the newer version."""
    it = install(fleet_of(2), min_bridges=2, recycle="on_new_image")
    publish(it, "1.0.1", Defect.NEVER_STARTS)
    await until(it, "07:00")
    await until_moment(it, EVENING + timedelta(hours=27))
    night = (await state(it)).night
    assert (night.date, night.outcome, night.target) == (
        "2026-11-19",
        "nothing to do",
        f"{DEFINITION}/versions/1.0.0".lower(),
    )
    publish(it, "1.0.2")
    await until_moment(it, EVENING + timedelta(hours=51))
    assert versions(it) == ["1.0.2", "1.0.2"]
    assert (await state(it)).blocked_images == {}
    assert await alerts(it) == set()


async def test_a_bad_canary_of_a_proved_image_blocks_nothing() -> None:
    """The image makes other bridges well: a machine that failed condemns only this night."""
    it = install(fleet_of(2), min_bridges=2)
    it.world.galleries.versions[f"{DEFINITION}/versions/1.0.0".lower()].defect = Defect.NEVER_STARTS
    await until(it, "05:00")
    assert (await state(it)).night.outcome == "bad image"
    assert (await state(it)).blocked_images == {}
    assert await alerts(it) == {"canary_failed"}
    assert model(it) == "1.0.0"


async def test_s27_a_timer_past_due_at_noon_opens_no_night() -> None:
    """Outside the window nothing is recycled, however late the timer runs."""
    it = install(fleet_of(2, start=EVENING.replace(hour=11, minute=50)), min_bridges=2)
    publish(it, "1.0.1")
    await until(it, "15:00")
    assert (await state(it)).night.date is None
    assert versions(it) == ["1.0.0", "1.0.0"]


@pytest.mark.parametrize(
    ("zone", "day", "opens"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, 20, tzinfo=UTC), "02:15"),
        ("Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=UTC), "02:15"),
        ("America/New_York", datetime(2026, 3, 8, 0, tzinfo=UTC), "02:15"),
        ("America/New_York", datetime(2026, 11, 1, 0, tzinfo=UTC), "01:15"),
    ],
)
async def test_s28_a_night_in_which_the_clocks_change_comes_once(
    zone: str, day: datetime, opens: str
) -> None:
    """The hour that is skipped swallows no night, the one that comes twice gives no second."""
    it = install(
        fleet_of(1, start=day), time_zone=zone, recycle_at=opens, recycle_until="03:45", canary_bake_minutes=5
    )
    publish(it, "1.0.1")
    await until_moment(it, day + timedelta(hours=14))
    opened = [text for text in await said(it) if "opens" in text]
    assert len(opened) == 1
    assert versions(it) == ["1.0.1"]


async def test_s29_the_operators_minimum_survives_the_night_and_a_crash() -> None:
    """Three before, three at every moment, three after, though the process is new in the middle."""
    it, fewest = install(fleet_of(3), min_bridges=3), list[int]()
    publish(it, "1.0.1")
    await until(it, "04:40", fewest=fewest)
    after = install(fleet_of(3), min_bridges=3)
    again = InProcess(it.world, it.store, after.engine)
    for shard, own in zip(after.engine.shards.values(), it.engine.shards.values(), strict=True):
        object.__setattr__(shard, "ears", own.ears)
    after.engine.store, after.engine.clock = it.store, it.engine.clock
    await until(again, "06:30", fewest=fewest)
    assert versions(again) == ["1.0.1"] * 3
    assert fewest == [3]


async def test_s30_the_target_is_the_newest_usable_version_and_stays_it() -> None:
    """1.10.0 is newer than 1.9.0; excluded and unreplicated ones are none; one of 04:30 waits a night."""
    it = install(fleet_of(1))
    for name in ("1.9.0", "1.10.0"):
        publish(it, name)
    publish(it, "1.11.0", excluded=True)
    publish(it, "1.12.0", replicated_after_s=86_400)
    await until(it, "04:30")
    publish(it, "1.13.0")
    await until(it, "06:00")
    assert versions(it) == ["1.10.0"]
    await until_moment(it, EVENING + timedelta(hours=27))
    assert versions(it) == ["1.13.0"]


async def test_a_shard_without_images_still_replaces_its_oldest_machine() -> None:
    """With `recycle: always` a patch never waits for load to fall; what the model names is not touched."""
    it = install(fleet_of(2), images=False, min_bridges=2)
    first, second = names(it)
    done = await until(it, "06:00")
    assert done.count("scale_out") == 1
    assert first not in names(it)
    assert names(it)[0] == second
    assert (await state(it)).night.outcome == "done"
    assert "set_image" not in [call.name for call in it.engine.shards["jvb-a"].ears.cloud.journal]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("mode", "outcome"), [("on_new_image", "nothing to do"), ("off", None)])
async def test_without_a_new_image_a_shard_may_be_left_alone(mode: str, outcome: str | None) -> None:
    """`on_new_image` buys no machine where none is outdated; `off` never opens a night."""
    it = install(fleet_of(2), min_bridges=2, recycle=mode)
    assert await until(it, "07:00") == []
    assert (await state(it)).night.outcome == outcome


async def test_another_boot_configuration_is_outdated_too() -> None:
    """The tag of the scale set tells machines apart that have the same image."""
    it = install(fleet_of(2), min_bridges=2, recycle="on_new_image")
    scale_set = it.world.scale_set(it.engine.shards["jvb-a"].scale_set_id)
    it.world.set_tags(scale_set.id, {"jvb-autoscaler-config": "2"})
    before = names(it)
    await until(it, "06:00")
    assert not set(before) & set(names(it))


async def test_a_configuration_that_changes_behind_the_canary_waits_for_the_next_night() -> None:
    """Nobody has tried it: no bridge is moved onto it before a canary of its own is proved."""
    it = install(fleet_of(2), min_bridges=2, recycle="on_new_image")
    publish(it, "1.0.1")
    await until(it, "04:20")
    it.world.set_tags(scale_set_id("jvb-a"), {"jvb-autoscaler-config": "2"})
    await until(it, "05:55")
    assert (versions(it), [vm.tags.get("jvb-autoscaler-config") for vm in machines(it)]) == (
        ["1.0.0", "1.0.0", "1.0.1"],
        [None] * 3,
    )
    assert (await state(it)).night.waits_for == "configuration changed"
    await until(it, "06:10")
    assert (await state(it)).night.outcome == "unfinished"
    await until_moment(it, EVENING + timedelta(days=1, hours=3))
    assert [vm.tags.get("jvb-autoscaler-config") for vm in machines(it)] == ["2", "2"]


async def test_surplus_leaves_without_a_surge() -> None:
    """A quiet fleet above its minimum only shrinks, oldest first: its outdated ones are not bought back."""
    it = install(fleet_of(4, start=EVENING + timedelta(minutes=25)), min_bridges=1)
    publish(it, "1.0.1")
    done = await until(it, "06:00")
    assert done.count("scale_out") == 1
    assert versions(it) == ["1.0.1"]


@pytest.mark.parametrize("images", [True, False], ids=["images", "none of ours"])
async def test_nights_in_which_nothing_can_leave_add_no_machine_after_the_first(images: bool) -> None:
    """A call of a week on the oldest blocks every tear-down: what a night adds could not leave again."""
    it, fewest = install(fleet_of(2), min_bridges=2, images=images), list[int]()
    slip_in_a_call(it, machines(it)[0], minutes=7 * 24 * 60)
    for night in (1, 2, 3):
        await until_moment(it, EVENING + timedelta(days=night), fewest=fewest)
        assert (night, len(machines(it))) == (night, 3)
    assert (await state(it)).night.date == "2026-11-20"
    assert (await said(it))[-2].startswith("no canary is needed: its image serves already")
    assert (fewest, cuts(it)) == ([2], 0)


async def test_a_new_version_has_its_canary_also_where_there_is_a_bridge_to_spare() -> None:
    """What no bridge has run yet is proved before anything leaves for it."""
    it = install(fleet_of(2), min_bridges=2)
    slip_in_a_call(it, machines(it)[0], minutes=7 * 24 * 60)
    await until_moment(it, EVENING + timedelta(days=1))
    publish(it, "1.0.1")
    await until_moment(it, EVENING + timedelta(days=1, hours=3))
    assert versions(it) == ["1.0.0", "1.0.0", "1.0.0", "1.0.1"]
    assert (await state(it)).night.canary is not None


async def test_the_surge_may_exceed_the_maximum() -> None:
    """The addresses are there for it: a fleet at its maximum is recycled all the same."""
    it = install(fleet_of(2), min_bridges=2, max_bridges=2)
    publish(it, "1.0.1")
    await until(it, "06:00")
    assert versions(it) == ["1.0.1", "1.0.1"]


async def test_a_larger_surge_brings_more_at_once() -> None:
    """As many creations and drains may be in flight as the surge, and never more."""
    it, fewest, most = install(fleet_of(6), min_bridges=6, recycle_surge=3), list[int](), 0
    publish(it, "1.0.1")
    while it.world.now < EVENING + timedelta(hours=2, minutes=30):
        await until_moment(it, it.world.now + timedelta(minutes=1), fewest=fewest)
        leaving = [row for row in (await memories(it)).values() if row.phase is Phase.DRAINING]
        most = max(most, len(leaving))
        assert len(machines(it)) <= 6 + 2 * 3
    assert versions(it) == ["1.0.1"] * 6
    assert 2 <= most <= 3
    assert fewest == [6]


async def test_what_drains_for_a_night_is_taken_back_at_noon() -> None:
    """The morning must not meet a half-drained fleet for ever; the call goes on."""
    it = install(fleet_of(2), min_bridges=2)
    publish(it, "1.0.1")
    slip_in_a_call(it, machines(it)[0], minutes=600)
    oldest = names(it)[0]
    await until(it, "11:58")
    assert (await memories(it))[oldest].phase is Phase.DRAINING
    await until(it, "12:05")
    assert (await memories(it))[oldest].phase is Phase.READY
    assert cuts(it) == 0


async def test_load_takes_back_what_drains_for_the_night() -> None:
    """Un-drain is the first step of scale-out at night too, and no new drain follows for a window."""
    it = install(fleet_of(2), min_bridges=2)
    publish(it, "1.0.1")
    slip_in_a_call(it, machines(it)[0], minutes=300)
    await until(it, "05:00")
    assert Phase.DRAINING in {row.phase for row in (await memories(it)).values()}
    jicofo = it.world.scale_set(it.engine.shards["jvb-a"].scale_set_id).jicofo
    for number in range(12):
        jicofo.begin(meeting(it.world.now, 60, 40, f"early-{number}"))
    done = await until(it, "05:05")
    assert "undrain" in done
    assert cuts(it) == 0


async def test_a_hot_shard_begins_no_night() -> None:
    """Load goes first: no canary while a bridge is over its threshold."""
    it = install(fleet_of(2), min_bridges=2, participants_per_bridge=20, max_bridges=2)
    publish(it, "1.0.1")
    for vm in machines(it):
        slip_in_a_call(it, vm, minutes=200, people=30)
    await until(it, "06:00")
    assert versions(it) == ["1.0.0", "1.0.0"]
    assert model(it) == "1.0.0"


async def test_a_refusal_of_azure_condemns_no_image() -> None:
    """No room is no verdict: the canary is asked for again, and the night goes on where there is room."""
    it = install(fleet_of(1))
    publish(it, "1.0.1")
    scale_set = it.world.scale_set(it.engine.shards["jvb-a"].scale_set_id)
    scale_set.allocation_error = ("AllocationFailed", "no room")
    await until(it, "04:30")
    assert (await state(it)).blocked_images == {}
    scale_set.allocation_error = None
    await until(it, "06:10")
    assert versions(it)[-1] == "1.0.1"
    assert (await state(it)).blocked_images == {}


async def test_prosody_being_down_condemns_no_image() -> None:
    """The clock of the canary stands still while the old ones are not well; no verdict, all is as before."""
    it = install(fleet_of(2), min_bridges=2)
    publish(it, "1.0.1")
    await until(it, "04:12")
    for vm in machines(it):
        assert vm.bridge is not None
        vm.bridge.leave_muc(strands_calls=False)
    await until(it, "06:10")
    now = await state(it)
    assert (now.night.outcome, now.blocked_images) == ("unfinished", {})
    assert model(it) == "1.0.0"


async def test_a_night_that_cannot_ask_the_gallery_does_not_open() -> None:
    """What it would be for is not known; it opens a quarter of an hour later, when the gallery answers."""
    it = install(fleet_of(1))
    publish(it, "1.0.1")

    def silent(call: str, **_details: Any) -> None:
        if call == "versions" and it.world.now < EVENING + timedelta(minutes=40):
            raise TryNextTick("no answer")

    it.engine.shards["jvb-a"].ears.images.tap.before = silent  # type: ignore[union-attr]
    await until(it, "04:10")
    assert (await state(it)).night.date is None
    await until(it, "04:20")
    assert (await state(it)).night.is_open
    assert any("gallery_unknown" in text for text in await said(it, "refused"))


async def test_an_image_is_built_before_the_night_and_used_in_it() -> None:
    """Two hours before, once; its outcome is an event; old versions that nothing needs are deleted."""
    it = install(fleet_of(1, start=EVENING - timedelta(hours=2)), image_template_id=TEMPLATE)
    template = it.world.galleries.add_template(TEMPLATE, DEFINITION)
    for number in range(1, 13):
        publish(it, f"0.9.{number}")
    await until(it, "06:00")
    assert template.runs == 1
    assert versions(it) == ["1.0.1"]
    assert any("ended as Succeeded" in text for text in await said(it, "image_build"))
    left = sorted(version.name for version in it.world.galleries.of(DEFINITION))
    assert left == ["0.9.10", "0.9.11", "0.9.12", *(f"0.9.{n}" for n in range(5, 10)), "1.0.0", "1.0.1"]


def two_shards_of_one_image() -> InProcess:
    """Two hours before the evening; the template has made twelve versions more."""
    config = fleet_of(1, start=EVENING - timedelta(hours=2), shards=("jvb-a", "jvb-b"))
    it = install(config, image_template_id=TEMPLATE)
    it.world.galleries.add_template(TEMPLATE, DEFINITION)
    for number in range(1, 13):
        publish(it, f"1.1.{number}")
    return it


async def test_a_version_that_another_shard_needs_is_not_deleted() -> None:
    """Two shards of one gallery image: what one of them still runs outlives the pruning of the other."""
    it = two_shards_of_one_image()
    other = it.engine.shards["jvb-b"]
    object.__setattr__(other, "policy", replace(other.policy, recycle="off"))
    await until(it, "06:00")
    left = {version.name for version in it.world.galleries.of(DEFINITION)}
    assert versions(it, "jvb-b") == ["1.0.0"]
    assert "1.0.0" in left
    assert "1.1.1" not in left


async def test_what_another_shard_would_make_is_not_deleted() -> None:
    """It knows no gallery, runs another version, and its model names one: by day it buys of that."""
    it = two_shards_of_one_image()
    other = it.engine.shards["jvb-b"]
    policy = replace(other.policy, recycle="off", image_definition_id=None, image_template_id=None)
    object.__setattr__(other, "policy", policy)
    it.world.set_image(scale_set_id("jvb-b"), f"{DEFINITION}/versions/1.1.1".lower())
    await until(it, "06:00")
    left = {version.name for version in it.world.galleries.of(DEFINITION)}
    assert {"1.0.0", "1.1.1"} <= left
    assert "1.1.2" not in left


async def test_a_shard_that_does_not_tell_what_it_makes_stops_the_pruning() -> None:
    """Unknown is not unneeded."""
    it = two_shards_of_one_image()

    def silent(call: str, **_details: Any) -> None:
        raise TryNextTick(f"no answer to {call}")

    it.engine.shards["jvb-b"].ears.cloud.tap.before = silent  # type: ignore[attr-defined]
    await until(it, "06:00")
    assert len(it.world.galleries.of(DEFINITION)) == 14
    assert (await state(it)).night.outcome == "done"


async def test_a_row_of_another_shard_that_cannot_be_read_holds_up_nobody() -> None:
    """A cell that a person mended wrongly stops its own shard alone; nothing is pruned meanwhile."""
    it = two_shards_of_one_image()
    inner_load, inner_state = it.store.load, it.store.load_state

    async def load(shard: str, known: ShardRows | None = None) -> ShardRows:
        if shard == "jvb-b":
            raise TryNextTick("table bridges: column address cannot be read")
        return await inner_load(shard, known)

    async def load_state(shard: str) -> Stored[ShardMemory] | None:
        if shard == "jvb-b":
            raise TryNextTick("table shards: column night_base cannot be read")
        return await inner_state(shard)

    it.store.load, it.store.load_state = load, load_state  # type: ignore[method-assign]
    await until(it, "06:00")
    night = (await inner_load("jvb-a")).state
    assert night is not None
    assert (night.value.night.outcome, versions(it, "jvb-a")) == ("done", ["1.1.13"])
    assert len(it.world.galleries.of(DEFINITION)) == 14


async def test_a_build_that_fails_is_told_and_the_night_goes_on_without_it() -> None:
    """Its message is the service's own; the target is what there is."""
    it = install(fleet_of(1, start=EVENING - timedelta(hours=2)), image_template_id=TEMPLATE)
    it.world.galleries.add_template(TEMPLATE, DEFINITION).error = "the package server did not answer"
    await until(it, "06:00")
    assert any("Failed: the package server did not answer" in text for text in await said(it, "image_build"))
    assert (await state(it)).night.outcome == "done"


async def test_shards_try_their_canaries_one_after_the_other() -> None:
    """A bad image is met by one shard at a time; all of them are through by the end of the window."""
    it = install(
        fleet_of(1, shards=("jvb-a", "jvb-b", "jvb-c")), canary_bake_minutes=10, recycle_until="06:30"
    )
    publish(it, "1.0.1")
    on_trial_at_once = 0
    while it.world.now < EVENING + timedelta(hours=3):
        await until_moment(it, it.world.now + timedelta(minutes=1))
        nights = [(await state(it, name)).night for name in it.engine.shards]
        on_trial = [n for n in nights if n.is_open and n.canary is not None and n.passed_at is None]
        on_trial_at_once = max(on_trial_at_once, len(on_trial))
    assert on_trial_at_once == 1
    assert [versions(it, name) for name in ("jvb-a", "jvb-b", "jvb-c")] == [["1.0.1"]] * 3


async def test_a_leap_of_the_clock_into_the_next_date_ends_one_night_and_opens_the_other() -> None:
    """A night that was open belongs to its own date."""
    it = install(fleet_of(3), min_bridges=3)
    publish(it, "1.0.1")
    await until(it, "04:20")
    it.world.advance(86_400)
    await until_moment(it, EVENING + timedelta(days=1, minutes=65))
    night = (await state(it)).night
    assert (night.date, night.is_open) == ("2026-11-19", True)
    opened = [text for text in await said(it) if "opens" in text]
    assert [text.split()[3] for text in opened] == ["2026-11-18", "2026-11-19"]
    await until_moment(it, EVENING + timedelta(days=1, hours=3))
    assert versions(it) == ["1.0.1"] * 3


async def test_s42_a_dry_night_touches_nothing_and_a_live_one_goes_on_from_there() -> None:
    """Zero mutating calls to anything; then live: the night that is open is carried out."""
    it = install(fleet_of(1), dry_run=True)
    publish(it, "1.0.1")
    await until(it, "04:20")
    assert mutations(it) == []
    assert any("would set the model" in text for text in await said(it, "would"))
    it.engine.dry_run = False
    await until(it, "06:00")
    assert versions(it) == ["1.0.1"]


async def test_the_progress_of_a_night_stands_in_status() -> None:
    """How many of how many, what it waits for and since when, the canary's verdict, a warning of relays."""
    it = install(fleet_of(2, bridge=_with_relays()), min_bridges=2)
    publish(it, "1.0.1")
    await until(it, "04:20")
    night = await _night_in_status(it)
    assert (night["outdated"], night["of"], night["open"]) == (2, 2, True)
    assert night["waits_for"] == "the canary to be proved"
    assert night["waits_since"] is not None
    assert night["canary"]["verdict"] == "on trial"
    assert "relay ids" in night["warning"]
    await until(it, "06:10")
    night = await _night_in_status(it)
    assert (night["outcome"], night["canary"]["verdict"], night["warning"]) == ("done", "proved", None)


def _with_relays() -> Any:
    from sandbox.bridge_config import BridgeConfig

    return BridgeConfig(relay=True)


async def _night_in_status(it: InProcess) -> Mapping[str, Any]:
    status = await answers.status(it.engine)
    night: Mapping[str, Any] = status["shards"][0]["night"]
    return night


async def test_a_paused_or_switched_off_shard_has_no_night() -> None:
    """Pause opens none; a policy that is switched off in the middle ends it."""
    it = install(fleet_of(1))
    publish(it, "1.0.1")
    await until(it, "04:05")
    shard = it.engine.shards["jvb-a"]
    off = type(shard.policy)(max_bridges=15, recycle="off")
    object.__setattr__(shard, "policy", off)
    await until(it, "04:10")
    assert (await state(it)).night.outcome == "switched off"
    assert accepting(it) >= 1
