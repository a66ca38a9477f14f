"""Which version a night is for, who is outdated by it, and what the model must be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler.decision import PruneImage, Reason, SetImage
from scaler.images import (
    build_step,
    choose_target,
    follow_build,
    is_outdated,
    model_step,
    proved_image,
    prunings,
    without_superseded,
)
from scaler.model import Build, ImageBuild, ImageVersion, Night, Nightly, ShardMemory, version_order
from scaler.selection import Fleet
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    bridge,
    decided,
    draining,
    fleet,
    hot,
    policy,
    reasons,
    scale_set,
    shard_memory,
)

DEFINITION = "/gallery/images/jvb"


def version(number: str) -> str:
    """Id of a version."""
    return f"{DEFINITION}/versions/{number}"


def usable(number: str, **changes: Any) -> ImageVersion:
    """A version that may be used."""
    return ImageVersion(**{"id": version(number), "usable": True, **changes})


OLD, NEW, BAD = version("1.0.0"), version("1.1.0"), version("1.2.0")
WITH_IMAGES = policy(image_definition_id=DEFINITION)


def test_versions_are_ordered_by_their_numbers() -> None:
    """1.10.0 is newer than 1.9.0, and what is no number is no version."""
    assert version_order(version("1.10.0")) > version_order(version("1.9.0"))
    assert version_order(version("latest")) == ()


def test_the_target_is_the_newest_that_may_be_used() -> None:
    """Not one that is unusable, past its end, blocked, or that has no numbers."""
    versions = [
        usable("1.9.0"),
        usable("1.10.0"),
        usable("1.11.0", usable=False),
        usable("1.12.0", end_of_life=NOW),
        usable("1.13.0"),
        usable("newest"),
    ]
    assert choose_target(versions, {version("1.13.0"): NOW}, NOW) == version("1.10.0")
    assert choose_target(versions, {}, NOW) == version("1.13.0")
    assert choose_target([usable("1.0.0", end_of_life=NOW + HOUR)], {}, NOW) == OLD
    assert choose_target([], {}, NOW) is None


@pytest.mark.parametrize(
    ("arm", "set_", "target", "expected"),
    [
        ({"image": OLD}, {}, NEW, True),
        ({"image": NEW}, {}, NEW, False),
        ({"image": None}, {}, NEW, False),
        ({"image": OLD}, {}, None, False),
        ({"image": NEW}, {"config": "2"}, NEW, True),
        ({"image": NEW, "config": "2"}, {"config": "2"}, NEW, False),
        ({"image": NEW, "config": "2"}, {}, NEW, False),
    ],
)
def test_outdated_is_another_image_or_another_boot_configuration(
    arm: dict[str, Any], set_: dict[str, Any], target: str | None, *, expected: bool
) -> None:
    """What is not known makes no machine outdated."""
    assert is_outdated(bridge("a", arm=arm), scale_set(**set_), target) is expected


def test_a_machine_or_a_scale_set_that_is_not_known_is_not_outdated() -> None:
    """Doubt touches nothing."""
    assert not is_outdated(bridge("a", instance=None), scale_set(), NEW)
    assert not is_outdated(bridge("a", arm={"image": OLD}), None, NEW)


def test_the_good_image_is_the_newest_that_a_bridge_accepts_on() -> None:
    """Never a blocked one; without any such bridge the last one known."""
    bridges = [
        bridge("a", arm={"image": OLD}),
        bridge("b", arm={"image": NEW}),
        bridge("c", arm={"image": BAD}),
    ]
    blocked = shard_memory(blocked_images={BAD: NOW})
    assert proved_image(fleet(*bridges), blocked) == NEW
    assert proved_image(fleet(bridge("a", arm={"image": "x"})), shard_memory(good_image=OLD)) == OLD


def test_a_roll_back_is_not_undone_by_the_bridge_that_still_runs_the_newer_version() -> None:
    """Nor one definition by the higher numbers of another: what was proved last is what is good."""
    left = (bridge("a", 5 * HOUR, arm={"image": NEW}), bridge("b", arm={"image": OLD}))
    assert proved_image(fleet(*left), shard_memory(good_image=OLD)) == OLD
    assert proved_image(fleet(left[0]), shard_memory(good_image=OLD)) == NEW
    assert proved_image(fleet(*left), shard_memory(good_image=OLD, blocked_images={OLD: NOW})) == NEW
    drained = bridge("b", arm={"image": OLD}, remembered=draining())
    assert proved_image(fleet(left[0], drained), shard_memory(good_image=OLD)) == NEW


def test_what_one_night_proved_no_later_night_without_a_verdict_takes_away() -> None:
    """Else a slow boot of the next canary would block an image that half of the fleet runs."""
    again = Night(date="2026-11-18", opened_at=NOW - HOUR, ended_at=NOW, target=NEW)
    bridges = (bridge("a", arm={"image": NEW}), bridge("b", arm={"image": OLD}))
    assert proved_image(fleet(*bridges), shard_memory(night=again, good_image=NEW)) == NEW
    assert proved_image(fleet(*bridges), shard_memory(night=again, good_image=OLD)) == OLD


def test_a_block_ends_when_a_newer_version_appears() -> None:
    """And only then: an older target leaves it, and so does a night without one."""
    assert without_superseded({NEW: NOW}, BAD) == {}
    assert without_superseded({NEW: NOW}, OLD) == {NEW: NOW}
    assert without_superseded({NEW: NOW}, None) == {NEW: NOW}


def open_night(**changes: Any) -> Night:
    """A night that is for `NEW`."""
    return Night(
        **{"date": "2026-11-18", "opened_at": NOW - HOUR, "until": NOW + HOUR, "target": NEW, **changes}
    )


def step(model: str, state: ShardMemory, *, may: bool = False, **changes: Any) -> str | None:
    """What the model is set to."""
    them = fleet(bridge("a"), policy_=changes.pop("policy_", WITH_IMAGES), scale_set=scale_set(image=model))
    found = model_step(them, state, canary_may_start=may)
    return found.image if isinstance(found, SetImage) else None


def test_the_model_names_the_target_from_its_canary_on() -> None:
    """Not before the canary may start, and again where somebody changed it while bridges are replaced."""
    waiting = shard_memory(night=open_night(), good_image=OLD)
    assert step(OLD, waiting) is None
    assert step(OLD, waiting, may=True) == NEW
    assert step(NEW, waiting, may=True) is None
    proved = shard_memory(night=open_night(passed_at=NOW), good_image=NEW)
    assert step(OLD, proved) == NEW
    assert step(NEW, proved) is None


def test_the_model_goes_back_to_the_last_good_version() -> None:
    """From a blocked one, from one without a verdict, and from 'the newest' while that one is blocked."""
    ended = open_night(ended_at=NOW)
    assert step(NEW, shard_memory(night=ended, good_image=OLD)) == OLD
    assert step(BAD, shard_memory(blocked_images={BAD: NOW}, good_image=OLD)) == OLD
    assert step(DEFINITION, shard_memory(blocked_images={BAD: NOW}, good_image=OLD)) == OLD
    assert step(DEFINITION, shard_memory(good_image=OLD)) is None


@pytest.mark.parametrize(
    ("state", "done"),
    [
        ({"blocked_images": {NEW: NOW}}, ["undrain", "set_image"]),
        ({"night": open_night(until=NOW, take_back_at=NOW + HOUR)}, ["undrain", "set_image", "scale_out"]),
    ],
    ids=["blocked", "without a verdict"],
)
def test_load_buys_nothing_of_a_version_that_is_bad_or_not_proved(
    state: dict[str, Any], done: list[str]
) -> None:
    """The model goes back first; taking drains back does not wait for it. Nobody can use a blocked one."""
    drains = bridge("c", remembered=draining(drained_at=NOW - HOUR), drain=True, arm={"image": OLD})
    them = (hot("a", 1.3, arm={"image": OLD}), hot("b", 1.3, arm={"image": OLD}), drains)
    model = scale_set(3, image=NEW)
    state = {"scale_set": model, "good_image": OLD, "lower_bound_polls": 2, **state}
    decision = decided(*them, policy_=WITH_IMAGES, **state)
    assert [action.verb for action in decision.actions] == done
    assert (Reason.BLOCKED_MODEL in reasons(decision)) is ("scale_out" not in done)


def test_the_model_is_left_alone_by_day() -> None:
    """What an operator writes there is his, what is proved stays, and nothing is written on no knowledge."""
    passed = open_night(ended_at=NOW, passed_at=NOW)
    assert step(NEW, shard_memory(night=passed, good_image=NEW)) is None
    assert step(version("0.9.0"), shard_memory(good_image=OLD)) is None
    assert step(BAD, shard_memory(blocked_images={BAD: NOW})) is None
    assert step(OLD, shard_memory(night=open_night()), may=True, policy_=policy()) is None
    unknown = fleet(bridge("a"), policy_=WITH_IMAGES, scale_set=None)
    assert model_step(unknown, shard_memory(night=open_night()), canary_may_start=True) is None


# Builds

TEMPLATE = policy(
    image_definition_id=DEFINITION, image_template_id="/template", recycle_at="14:00", recycle_until="16:00"
)
AT_TWELVE = fleet(bridge("a"), policy_=TEMPLATE, nightly=Nightly())


def test_a_build_is_started_once_in_the_lead_of_each_night() -> None:
    """Two hours before 14:00 is now; not earlier, not twice, not without a template, not by another tick."""
    found = build_step(AT_TWELVE, shard_memory())
    assert found is not None
    assert found.date == "2026-11-18"
    assert build_step(AT_TWELVE, shard_memory(build=Build("2026-11-18", NOW))) is None
    assert build_step(AT_TWELVE, shard_memory(build=Build("2026-11-17", NOW))) is not None
    late = replace(TEMPLATE, image_build_lead_minutes=119)
    for policy_, nightly in ((late, Nightly()), (policy(), Nightly()), (TEMPLATE, None)):
        assert build_step(fleet(bridge("a"), policy_=policy_, nightly=nightly), shard_memory()) is None
    off = replace(TEMPLATE, recycle="off")
    assert build_step(fleet(bridge("a"), policy_=off, nightly=Nightly()), shard_memory()) is None


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (None, None),
        (ImageBuild("Running", NOW), None),
        (ImageBuild("Succeeded", None), None),
        (ImageBuild("Succeeded", NOW - HOUR), None),  # the run of another night
        (ImageBuild("Succeeded", NOW), "Succeeded"),
        (ImageBuild("Failed", NOW + MINUTE, "no network"), "Failed"),
    ],
)
def test_the_outcome_of_a_build_is_told_once(run: ImageBuild | None, outcome: str | None) -> None:
    """Only of the run that we started, and only when it has ended."""
    heard = fleet(bridge("a"), policy_=TEMPLATE, nightly=Nightly(build=run))
    build, text = follow_build(heard, Build("2026-11-18", NOW))
    assert build.outcome == outcome
    assert (text is None) is (outcome is None)
    assert follow_build(heard, build if outcome else Build())[1] is None


def replace_nightly(them: Fleet, nightly: Nightly) -> Fleet:
    """The same shard, with something else heard by the timer of the night."""
    return replace(them, snapshot=replace(them.snapshot, nightly=nightly))


def test_only_old_versions_that_nothing_needs_are_deleted() -> None:
    """The newest ten stay, and what a bridge, the model, a night or the good image names."""
    numbers = [f"1.0.{n}" for n in range(16)]
    versions = tuple(usable(number) for number in (*numbers, "latest"))
    them = fleet(
        bridge("a", arm={"image": version("1.0.0")}),
        policy_=TEMPLATE,
        nightly=Nightly(versions),
        scale_set=scale_set(image=version("1.0.1")),
    )
    state = shard_memory(good_image=version("1.0.2"), night=Night(target=version("1.0.3")))
    assert [prune.image for prune in prunings(them, state)] == [version("1.0.5"), version("1.0.4")]
    assert all(isinstance(prune, PruneImage) for prune in prunings(them, state))
    ordinary = fleet(bridge("a"), policy_=TEMPLATE)
    unheard = fleet(bridge("a"), policy_=TEMPLATE, nightly=Nightly())
    by_hand = fleet(bridge("a"), policy_=WITH_IMAGES, nightly=Nightly(versions))
    unknown = fleet(
        bridge("a", instance=None), policy_=TEMPLATE, nightly=Nightly(versions[:11]), scale_set=None
    )
    for each in (ordinary, unheard, by_hand):
        assert prunings(each, state) == ()
    shared = Nightly(versions, needed_elsewhere=frozenset({version("1.0.4")}))
    assert [p.image for p in prunings(replace_nightly(them, shared), state)] == [version("1.0.5")]
    untold = Nightly(versions, needed_elsewhere=None)
    assert prunings(replace_nightly(them, untold), state) == ()
    assert len(prunings(unknown, ShardMemory(known_since=NOW - timedelta(days=1)))) == 1
