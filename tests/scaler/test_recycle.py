"""The night's rules, one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler import recycle
from scaler.decision import Drain, Event, EventKind, Reason, Undrain
from scaler.model import Bridge, ImageVersion, Night, Nightly, Phase, Purpose, ShardMemory
from scaler.selection import Fleet
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    alert_kinds,
    bridge,
    busy,
    decided,
    draining,
    fleet,
    hot,
    intent,
    policy,
    reasons,
    scale_set,
    shard_memory,
    unheard,
    verbs,
)

DEFINITION = "/gallery/images/jvb"
OLD, NEW = f"{DEFINITION}/versions/1.0.0", f"{DEFINITION}/versions/1.1.0"
AT_NOON = policy(recycle_at="11:30", recycle_until="13:30", min_bridges=2, image_definition_id=DEFINITION)
"""`NOW` is 12:00."""
DAY = 24 * HOUR
DUE = Nightly((ImageVersion(NEW, usable=True),))


def old(name: str, age: Any = 5 * HOUR, **changes: Any) -> Bridge:
    """A bridge of the old image."""
    return bridge(name, age, **{"arm": {"image": OLD}, **changes})


def new(name: str, **changes: Any) -> Bridge:
    """A bridge of the night's image, half an hour old."""
    return bridge(name, HOUR / 2, **{"arm": {"image": NEW}, **changes})


def young(name: str) -> Bridge:
    """The same a minute too young to prove its image."""
    return bridge(name, 29 * MINUTE, arm={"image": NEW})


def deaf(name: str) -> Bridge:
    """The same that nobody's media reaches."""
    stats = {"total_participants": 8, "total_ice_failed": 6}
    return new(name, **stats)


def flapping(name: str) -> Bridge:
    """The same that is well now, and was bad in three of the last polls."""
    return new(name, remembered={"polls": "01001"})


def replacing(**changes: Any) -> Night:
    """A night whose canary was proved a while ago, with two bridges that must accept."""
    fields = {"date": "2026-11-18", "opened_at": NOW - HOUR, "until": NOW + HOUR, "target": NEW, "base": 2}
    return Night(**{**fields, "passed_at": NOW - MINUTE, "of": 2, "outdated": 2, **changes})


def at_night(*bridges: Bridge, night: Night | None = None, policy_: Any = AT_NOON, **changes: Any) -> Any:
    """The decision of a tick while bridges are replaced."""
    changes.setdefault("scale_set", scale_set(len(bridges), image=NEW))
    return decided(*bridges, policy_=policy_, night=night or replacing(), good_image=NEW, **changes)


# Left behind


@pytest.mark.parametrize(
    ("since", "policy_", "told"),
    [
        (DAY, AT_NOON, ["outdated"]),
        (DAY - MINUTE, AT_NOON, []),
        (None, AT_NOON, []),
        (DAY, replace(AT_NOON, recycle="off"), []),
    ],
    ids=["a day", "less", "just now", "switched off"],
)
def test_a_bridge_that_no_night_could_replace_for_a_day_is_told(
    since: timedelta | None, policy_: Any, told: list[str]
) -> None:
    """Its calls went on all night; a person decides whether to wait on."""
    state: dict[str, Any] = {"good_image": NEW, "outdated_since": None if since is None else NOW - since}
    behind = decided(old("a", 5 * HOUR, **busy()), new("b"), policy_=policy_, **state)
    assert [kind for kind in alert_kinds(behind) if kind == "outdated"] == told
    assert behind.memory.outdated_since == (state["outdated_since"] or NOW)
    if told:
        (alert,) = (each for each in behind.alerts if each.kind == "outdated")
        assert "1 of 2 bridges" in alert.text
        assert "a: 1 conferences" in alert.text


def test_nobody_is_left_behind_where_all_run_the_good_image() -> None:
    """A newer one than that is on trial, and is not behind."""
    state: dict[str, Any] = {"good_image": OLD, "outdated_since": NOW - DAY}
    assert decided(old("a"), new("b"), policy_=AT_NOON, **state).memory.outdated_since is None
    assert decided(old("a"), new("b"), policy_=AT_NOON, outdated_since=NOW - DAY).memory.outdated_since == (
        NOW - DAY
    )


# Opening and ending


def test_a_shard_that_knew_no_good_image_learns_one_from_the_bridge_that_serves() -> None:
    """A night that opened while none served must not leave the model at the version that it blocked."""
    ended = Night(date="2026-11-18", opened_at=NOW - HOUR, ended_at=NOW - MINUTE, target=NEW)
    state: dict[str, Any] = {"night": ended, "blocked_images": {NEW: NOW - MINUTE}}
    decision = decided(old("a"), old("b"), policy_=AT_NOON, scale_set=scale_set(2, image=NEW), **state)
    assert decision.memory.good_image == OLD
    assert [action.verb for action in decision.actions] == ["set_image"]
    on_trial = replace(ended, ended_at=None, until=NOW + HOUR, base=0)
    assert decided(new("a"), old("b"), policy_=AT_NOON, night=on_trial).memory.good_image == OLD


def opened(*bridges: Bridge, policy_: Any = AT_NOON, nightly: Nightly | None = DUE, **state: Any) -> Night:
    """The night after a tick of its timer."""
    night: Night = decided(*bridges, policy_=policy_, nightly=nightly, **state).memory.night
    return night


def test_a_night_opens_once_for_its_date_inside_its_window() -> None:
    """By the timer of the night, not by a tick; never twice on a date, and never for one that has passed."""
    assert opened(old("a"), old("b")).is_open
    assert opened(old("a"), nightly=None).date is None
    early = replace(AT_NOON, recycle_at="12:01")
    assert opened(old("a"), policy_=early).date is None
    assert opened(old("a"), night=Night(date="2026-11-18")).opened_at is None
    assert opened(old("a"), night=Night(date="2026-11-19")).opened_at is None
    assert opened(old("a"), policy_=replace(AT_NOON, recycle="off")).date is None
    assert opened(old("a"), blind_since=NOW - MINUTE).date is None


def test_a_night_counts_what_serves_and_what_it_has_to_replace() -> None:
    """A bridge that one poll did not reach serves all the same; a corpse is shown beside."""
    corpse = unheard("d", arm={"image": OLD}, remembered={"polls": "00000", "bad_since": NOW - HOUR})
    unreached = unheard("b", arm={"image": OLD}, remembered={"polls": "11110"})
    night = opened(old("a"), unreached, new("c"), new("e"), new("f"), corpse)
    assert (night.base, night.of, night.outdated, night.target) == (5, 2, 2, NEW)
    after = at_night(old("a"), unreached, new("c"), new("e"), new("f"), corpse).memory.night
    assert (after.outdated, after.beside) == (2, 1)


def test_a_night_keeps_the_minimum_accepting_also_where_fewer_could() -> None:
    """A JVB that is too old counts as a machine and never accepts for us: nothing could leave beside it."""
    ancient = bridge("d", 9 * HOUR, unhealthy_because="its JVB is too old", remembered={"unsupported": True})
    three = replace(AT_NOON, min_bridges=3)
    assert opened(ancient, old("a"), old("b"), policy_=three).base == 3
    proved = replacing(base=3)
    grows = at_night(ancient, old("a"), old("b"), new("c"), policy_=three, night=proved)
    assert verbs(grows) == ["scale_out 5"]
    leaves = at_night(ancient, old("a"), old("b"), new("c"), new("e"), policy_=three, night=proved)
    assert verbs(leaves) == ["drain a"]


def test_always_replaces_the_oldest_and_on_new_image_only_what_is_outdated() -> None:
    """A patch never waits for load to fall, unless the operator wants it to."""
    night = opened(new("a"), new("b"))
    assert (night.oldest, night.of) == ("vm-a", 1)
    left_alone = opened(new("a"), policy_=replace(AT_NOON, recycle="on_new_image"))
    assert (left_alone.oldest, left_alone.outcome) == (None, "nothing to do")


def test_a_gallery_that_does_not_answer_opens_no_night_and_says_why() -> None:
    """It is not known what the night would be for."""
    decision = decided(old("a"), policy_=AT_NOON, nightly=Nightly(problem="503"))
    assert decision.memory.night.date is None
    assert Reason.GALLERY_UNKNOWN in reasons(decision)
    by_day = replace(AT_NOON, recycle_at="20:00", recycle_until="22:00")
    assert Reason.GALLERY_UNKNOWN not in reasons(
        decided(old("a"), policy_=by_day, nightly=Nightly(problem="503"))
    )


@pytest.mark.parametrize(
    ("changes", "policy_", "outcome"),
    [
        ({"until": NOW}, AT_NOON, "unfinished"),
        ({"until": None}, AT_NOON, "unfinished"),
        ({"opened_at": NOW + 6 * MINUTE}, AT_NOON, "unfinished"),  # the clock was set back
        ({}, replace(AT_NOON, recycle="off"), "switched off"),
    ],
)
def test_a_night_ends_with_its_window_or_its_policy(changes: Any, policy_: Any, outcome: str) -> None:
    """From then on nothing new is begun for it."""
    decision = at_night(old("a"), old("b"), new("c"), night=replacing(**changes), policy_=policy_)
    assert (decision.memory.night.outcome, decision.memory.night.ended_at) == (outcome, NOW)


def test_a_night_is_done_when_nothing_outdated_is_left() -> None:
    """What cannot be drained now is named beside, and does not keep it open."""
    foreign = old("a", remembered=draining(Purpose.FOREIGN), drain=True)
    decision = at_night(foreign, new("b"), new("c"))
    night = decision.memory.night
    assert (night.outcome, night.outdated, night.beside) == ("done", 0, 1)
    assert any("1 beside" in text for text in said(decision.events))


def test_a_night_whose_work_vanished_buys_no_canary() -> None:
    """What was outdated is gone before it began: there is nothing to prove an image for."""
    waiting = replacing(passed_at=None, opened_at=NOW - 2 * MINUTE)
    decision = at_night(new("b"), new("c"), night=waiting, policy_=replace(AT_NOON, recycle="on_new_image"))
    assert decision.memory.night.outcome == "nothing to do"
    assert verbs(decision) == []


@pytest.mark.parametrize(
    ("others", "changes", "passes"),
    [
        ([new("b"), new("c")], {"surplus_since": NOW - 10 * MINUTE}, True),
        ([new("b"), new("c")], {"surplus_since": NOW - 9 * MINUTE}, False),
        ([new("b")], {"surplus_since": NOW - HOUR}, False),
        ([old("b"), old("c")], {"surplus_since": NOW - HOUR}, False),
        ([new("b"), new("c")], {"surplus_since": NOW - HOUR, "good_image": OLD}, False),
        ([young("b"), young("c")], {"surplus_since": NOW - HOUR}, False),
        ([young("b"), new("c")], {"surplus_since": NOW - HOUR}, True),
        ([deaf("b"), deaf("c")], {"surplus_since": NOW - HOUR}, False),
        ([deaf("b"), new("c")], {"surplus_since": NOW - HOUR}, False),
        ([flapping("b"), flapping("c")], {"surplus_since": NOW - HOUR}, False),
    ],
    ids=[
        *("to spare", "not for long", "at the minimum", "nothing runs it", "not proved"),
        *("all too young", "one is old enough", "without media", "one without media", "flapping"),
    ],
)
def test_no_canary_where_its_image_is_proved_and_there_is_a_bridge_to_spare(
    others: list[Bridge], changes: dict[str, Any], passes: bool
) -> None:
    """What it would prove is known, and its place is free; anything less has its canary."""
    state: dict[str, Any] = {"good_image": NEW, **changes}
    fresh = replacing(passed_at=None, opened_at=NOW - 5 * MINUTE, base=2)
    them = (old("a"), *others)
    state["scale_set"] = scale_set(len(them), image=NEW)
    decision = decided(*them, policy_=AT_NOON, night=fresh, **state)
    assert (decision.memory.night.passed_at is not None) is passes
    assert any(verb.startswith("scale_out") for verb in verbs(decision)) is not passes


def test_no_canary_for_what_drains_already_or_is_not_old_enough() -> None:
    """Nothing waits for its place: a machine more would only stand there."""
    fresh = replacing(passed_at=None, opened_at=NOW - 5 * MINUTE, base=2)
    leaving = old("a", remembered=draining(Purpose.SURPLUS), drain=True, **busy())
    fresh_start = old("a", 50 * MINUTE)
    for oldest in (leaving, fresh_start):
        night = decided(oldest, new("b"), new("c"), policy_=AT_NOON, night=fresh, good_image=NEW).memory.night
        assert night.passed_at == NOW


def test_without_images_of_ours_what_the_model_names_has_to_have_served() -> None:
    """A person set the model anew: what comes of it nobody has seen."""
    without = replace(AT_NOON, image_definition_id=None)
    fresh = replacing(passed_at=None, opened_at=NOW - 5 * MINUTE, target=None, oldest="vm-a")
    state: dict[str, Any] = {"night": fresh, "surplus_since": NOW - HOUR}
    them = (old("a"), old("b"), old("c"))
    for image, passes in ((OLD, True), (NEW, False)):
        decision = decided(*them, policy_=without, scale_set=scale_set(3, image=image), **state)
        assert (decision.memory.night.passed_at is not None) is passes
        assert not any(isinstance(action, Drain) for action in decision.actions)


@pytest.mark.parametrize("named", [None, DEFINITION, f"{DEFINITION}/versions/latest", "/images/jvb-2"])
def test_a_canary_is_tried_where_the_model_does_not_say_what_the_bridges_are_made_of(
    named: str | None,
) -> None:
    """`latest` may have moved on, a marketplace version is not told: what comes of it nobody has seen."""
    without = replace(AT_NOON, image_definition_id=None)
    fresh = replacing(passed_at=None, opened_at=NOW - 5 * MINUTE, target=None, oldest="vm-a")
    state: dict[str, Any] = {"night": fresh, "surplus_since": NOW - HOUR}
    for image in (NEW, None):
        them = (old("a"), old("b"), new("c", arm={"image": image}))
        decision = decided(*them, policy_=without, scale_set=scale_set(3, image=named), **state)
        assert decision.memory.night.passed_at is None


def test_what_replaces_the_others_is_made_of_the_target() -> None:
    """Somebody changed the model behind the verdict: it is set first."""
    changed_model = at_night(old("a"), old("b"), scale_set=scale_set(2, image=OLD))
    assert Reason.IMAGE_NOT_SET in reasons(changed_model)
    assert [action.verb for action in changed_model.actions] == ["set_image"]


def test_a_canary_proves_no_other_boot_configuration() -> None:
    """The tag changed behind it: nothing more is bought for the night, and nothing drained onto it."""
    changed_tag = scale_set(2, image=NEW, config="2")
    bought = at_night(old("a"), old("b"), scale_set=changed_tag, night=replacing(config="1"))
    assert (verbs(bought), Reason.CONFIGURATION_CHANGED in reasons(bought)) == ([], True)
    three = (old("a"), old("b"), new("c"))
    drained = at_night(*three, scale_set=replace(changed_tag, capacity=3), night=replacing(config="1"))
    assert (verbs(drained), Reason.CONFIGURATION_CHANGED in reasons(drained)) == ([], True)
    assert drained.memory.night.waits_for == "configuration changed"


def test_a_night_without_a_canary_follows_the_boot_configuration() -> None:
    """It is the canary that proves one: what came before it was asked for is another matter."""
    decision = start(scale_set=scale_set(2, image=NEW, config="2"), night={"config": "1"})
    assert verbs(decision) == ["scale_out 3"]
    assert decision.memory.night.config == "2"


def said(events: tuple[Event, ...]) -> list[str]:
    """What is told of the night."""
    return [event.text for event in events if event.kind is EventKind.NIGHT]


# Machines


def test_a_new_machine_takes_the_place_of_each_that_leaves() -> None:
    """As many as must accept, and the surge above it; not for bridges that are too young to go."""
    assert verbs(at_night(old("a"), new("b"))) == ["scale_out 3"]
    young = at_night(old("a", 50 * MINUTE), new("b"))
    assert verbs(young) == []


def test_machines_on_their_way_count_and_a_hot_shard_gets_none_for_the_night() -> None:
    """Load goes first."""
    waiting = (intent(1, image=NEW),)
    assert verbs(at_night(old("a"), new("b"), intents=waiting)) == []
    loaded = at_night(
        old("a"), new("b", pressure=1.1, **busy(20, 150)), policy_=replace(AT_NOON, max_bridges=2)
    )
    assert "night" not in {vote.rule for vote in loaded.votes}


def test_the_surge_goes_over_the_maximum_and_load_does_not() -> None:
    """Addresses are there for the surge alone."""
    full = replace(AT_NOON, max_bridges=2)
    assert verbs(at_night(old("a"), new("b"), policy_=full)) == ["scale_out 3"]
    assert verbs(at_night(old("a"), new("b"), new("c"), policy_=full, night=replacing(base=3))) == []


def start(**changes: Any) -> Any:
    """The decision of the tick in which the canary could be asked for."""
    night = replacing(passed_at=None, opened_at=NOW - MINUTE, **changes.pop("night", {}))
    return at_night(*changes.pop("bridges", (old("a"), old("b"))), night=night, **changes)


def test_the_model_is_set_before_the_canary_is_asked_for() -> None:
    """One tick after the other, since a capacity write would meet another ETag."""
    first = start(scale_set=scale_set(2, image=OLD))
    assert [action.verb for action in first.actions] == ["set_image"]
    assert Reason.IMAGE_NOT_SET in reasons(first)
    assert verbs(start()) == ["scale_out 3"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"turn_of": "other"}, Reason.CANARY_TURN),
        ({"night": {"until": NOW + 29 * MINUTE}}, Reason.NIGHT_TOO_SHORT),
        ({"night": {"until": None}}, None),
        (
            {"bridges": (hot("a", arm={"image": OLD}), old("b")), "policy_": replace(AT_NOON, max_bridges=2)},
            Reason.HOT,
        ),
    ],
)
def test_a_canary_waits_for_its_turn_for_time_and_for_a_cool_shard(
    changes: Any, reason: Reason | None
) -> None:
    """And what it waits for is named."""
    decision = start(**changes)
    assert "scale_out 3" not in verbs(decision)
    assert reason is None or reason in reasons(decision)


def test_the_tick_that_opens_a_night_asks_for_no_machine() -> None:
    """Whose turn it is shows when every shard has opened its night."""
    decision = decided(old("a"), old("b"), policy_=AT_NOON, nightly=DUE, scale_set=scale_set(2, image=OLD))
    assert decision.memory.night.is_open
    assert verbs(decision) == []


# Drains


def test_the_oldest_is_drained_busy_or_not_when_a_new_one_has_taken_its_place() -> None:
    """With its purpose written; not the younger one, and not while others would be too few."""
    decision = at_night(old("a", **busy()), old("b", 4 * HOUR), new("c"))
    (drain,) = decision.actions
    assert isinstance(drain, Drain)
    assert (drain.vm_id, drain.purpose) == ("vm-a", Purpose.RECYCLE)
    too_few = at_night(old("a"), old("b", 4 * HOUR), new("c"), night=replacing(base=3))
    assert "drain a" not in verbs(too_few)
    assert Reason.LAST_ACCEPTING in {refusal.reason for refusal in too_few.refusals}


def test_as_many_leave_at_once_as_the_surge_and_no_more() -> None:
    """In their order, one a tick; those that ARM deletes already make room."""
    three = (old("a"), old("b", 4 * HOUR), old("c", 3 * HOUR))
    wide = replace(AT_NOON, recycle_surge=2)
    both = at_night(*three, new("d"), new("e"), new("f"), policy_=wide)
    assert verbs(both) == ["drain a"]
    leaving = old("a", remembered=draining(Purpose.RECYCLE), **busy(drain=True))
    second = at_night(leaving, *three[1:], new("d"), new("e"), policy_=wide)
    assert verbs(second) == ["drain b"]
    one = at_night(leaving, *three[1:], new("d"), new("e"))
    assert "drain b" not in verbs(one)
    assert Reason.SURGE_IN_USE in reasons(one, "b")
    going = bridge(
        "a",
        5 * HOUR,
        remembered={
            "phase": Phase.DELETING,
            "phase_since": NOW,
            "purpose": Purpose.RECYCLE,
            "operation": "op",
        },
    )
    assert "drain b" in verbs(at_night(going, *three[1:], new("d"), capacity=3))


def test_nothing_younger_is_drained_behind_what_others_drained() -> None:
    """It would wait for that one all night."""
    foreign = bridge("a", 6 * HOUR, remembered=draining(Purpose.FOREIGN), drain=True, arm={"image": OLD})
    decision = at_night(foreign, old("b"), new("c"), new("d"))
    assert verbs(decision) == []
    assert Reason.ALREADY_LEAVING in reasons(decision, "a")


def test_an_older_one_that_is_up_to_date_goes_where_the_rule_makes_others_wait() -> None:
    """Oldest first is strict; with `idle` the outdated alone go, idle ones first."""
    first = bridge("a", 6 * HOUR, arm={"image": NEW}, **busy())
    strict = at_night(first, old("b"), new("c"), new("d"))
    assert verbs(strict) == ["drain a"]
    loose = replace(AT_NOON, oldest_among="idle")
    idle = at_night(first, old("b", **busy()), old("c", 4 * HOUR), new("d"), policy_=loose)
    assert verbs(idle) == ["drain c"]


def test_an_idle_bridge_that_is_up_to_date_goes_before_a_younger_outdated_one() -> None:
    """With `idle` the oldest idle one is torn down first: the outdated one would wait drained behind it."""
    loose = replace(AT_NOON, oldest_among="idle")
    them = (old("b", 4 * HOUR), new("c"), new("d"))
    up_to_date = {"arm": {"image": NEW}}
    assert verbs(at_night(old("a", 6 * HOUR, **up_to_date), *them, policy_=loose)) == ["drain a"]
    assert verbs(at_night(old("a", 6 * HOUR, **up_to_date, **busy()), *them, policy_=loose)) == ["drain b"]


def test_a_drain_that_would_be_taken_back_at_once_is_not_begun() -> None:
    """The rest must carry the load at the pressure that adds bridges, and nothing was taken back just now."""
    them = (old("a", pressure=0.9, **busy()), old("b", 4 * HOUR, pressure=0.8), new("c", pressure=0.0))
    assert "drain a" not in verbs(at_night(*them, policy_=replace(AT_NOON, max_bridges=3)))
    again = at_night(old("a"), old("b", 4 * HOUR), new("c"), last_undrain_at=NOW - 9 * MINUTE)
    assert Reason.JUST_UNDRAINED in reasons(again)


def test_a_surplus_leaves_without_a_surge() -> None:
    """Where one was to spare for the whole window the base falls to what the load needs."""
    decision = at_night(
        old("a"), old("b", 4 * HOUR), old("d", 3 * HOUR), night=replacing(base=3), surplus_since=NOW - HOUR
    )
    assert decision.memory.night.base == 2
    assert "drain a" not in verbs(decision)
    short = at_night(
        old("a"), old("b", 4 * HOUR), old("d", 3 * HOUR), night=replacing(base=3), surplus_since=NOW - MINUTE
    )
    assert short.memory.night.base == 3


def test_nothing_is_drained_or_fenced_while_a_canary_is_on_trial() -> None:
    """What was fenced before is finished; load may still take drains back."""
    asked = (intent(1, asked_at=NOW - 5 * MINUTE, image=NEW, vm_id="vm-c", ended_at=NOW - 4 * MINUTE),)
    waiting = replacing(passed_at=None, canary="vm-c")
    quiet = at_night(
        old("a"), old("b", 4 * HOUR), new("c"), night=waiting, intents=asked, surplus_since=NOW - HOUR
    )
    assert verbs(quiet) == []
    assert Reason.CANARY_ON_TRIAL in reasons(quiet)
    baking = replace(waiting, accepted_at=NOW - MINUTE, judged_at=NOW - MINUTE)
    text = at_night(old("a"), old("b", 4 * HOUR), new("c"), night=baking, intents=asked)
    assert any("of 30 min" in refusal.detail for refusal in text.refusals)


# The end, and bad images


def test_what_still_drains_is_taken_back_from_noon_on() -> None:
    """Not before, not while a night is open, and at once where nothing is remembered of one."""
    leaving = old("a", remembered=draining(Purpose.RECYCLE), **busy(drain=True))
    them = (leaving, old("b"), old("c", 4 * HOUR))
    ended = replacing(ended_at=NOW - HOUR, take_back_at=NOW)
    assert [type(action) for action in decided(*them, night=ended).actions] == [Undrain]
    assert decided(*them, night=replace(ended, take_back_at=NOW + MINUTE)).actions == ()
    assert verbs(decided(*them)) == ["undrain a"]


def test_what_load_takes_back_is_not_taken_back_twice() -> None:
    """One action for one bridge."""
    leaving = old("a", remembered=draining(Purpose.RECYCLE), **busy(drain=True))
    assert verbs(decided(leaving, hot("b"))) == ["undrain a"]


BLOCKED = {"blocked_images": {NEW: NOW - HOUR}, "good_image": OLD}


def test_a_bridge_of_a_blocked_image_that_drains_is_of_no_use_to_the_minimum() -> None:
    """It never opens again, and at the minimum it could not go: another one stands in for it."""
    leaving = draining(Purpose.RECYCLE)
    them = (old("a"), bridge("b", HOUR, remembered=leaving, arm={"image": NEW}))
    state: dict[str, Any] = {"policy_": AT_NOON, "scale_set": scale_set(2, image=OLD)}
    blocked: dict[str, Any] = {**state, **BLOCKED}
    assert verbs(decided(*them, **blocked)) == ["scale_out 3"]
    assert verbs(decided(*them, **state, good_image=NEW)) == ["undrain b"]


def test_a_bridge_of_a_blocked_image_is_drained_and_stays_so() -> None:
    """Where enough others carry the load; neither load nor noon takes it back."""
    them = (old("a"), old("b", 4 * HOUR), new("c", **busy()))
    assert verbs(decided(*them, policy_=AT_NOON, **BLOCKED)) == ["drain c"]
    alone = decided(old("a"), new("c", **busy()), policy_=AT_NOON, **BLOCKED)
    assert verbs(alone) == []
    drained = new("c", remembered=draining(Purpose.RECYCLE), **busy(drain=True))
    full = replace(AT_NOON, max_bridges=3)
    them = (hot("a", arm={"image": OLD}), old("b", pressure=1.0), drained)
    assert verbs(decided(*them, policy_=full, **BLOCKED)) == ["scale_out 4"]


def test_one_bridge_of_a_bad_image_takes_no_place_and_two_stop_the_next_try() -> None:
    """Else a pipeline with a standing fault fills the fleet with bridges that serve nobody."""
    bad = [new(name, remembered=draining(Purpose.RECYCLE), drain=True) for name in ("c", "d")]
    loaded = (hot("a", arm={"image": OLD}), old("b", pressure=1.0))
    rules = replace(AT_NOON, max_bridges=3)
    two = decided(*loaded, *bad, policy_=rules, **BLOCKED)
    assert (verbs(two), Reason.AT_MAXIMUM in reasons(two)) == ([], True)
    mended = f"{DEFINITION}/versions/1.2.0"
    night: dict[str, Any] = {"nightly": Nightly((ImageVersion(mended, usable=True),)), **BLOCKED}
    assert opened(old("a"), old("b"), bad[0], **night).target == mended
    assert opened(old("a"), old("b"), *bad, **night).target == OLD
    assert opened(old("a"), old("b"), *bad, **{**night, "good_image": None}).target == OLD
    assert opened(bridge("a", arm={"image": None}), *bad, **{**night, "good_image": None}).target == mended
    (alert,) = (a for a in two.alerts if a.kind == "bad_bridges")
    assert "c, d are made of bad images" in alert.text
    ill = unheard("d", HOUR, arm={"image": NEW}, remembered={"polls": "00000", "bad_since": NOW - HOUR})
    assert opened(old("a"), old("b"), bad[0], ill, **night).target == OLD
    # The proved version's night brings them to the front, also where no other bridge is outdated.
    waits = replacing(target=OLD, base=2)
    front: dict[str, Any] = {"policy_": replace(AT_NOON, recycle="on_new_image"), "night": waits, **BLOCKED}
    model = scale_set(5, image=OLD)
    for among in ("all", "idle"):
        front["policy_"] = replace(front["policy_"], oldest_among=among)
        five = (old("a"), old("b"), *bad, old("e", HOUR))
        behind_one = replace(bad[0], memory=replace(bad[0].memory, time_created=NOW - 9 * HOUR))
        between = (behind_one, old("a"), bad[1], old("e", HOUR), old("f", HOUR))
        assert "drain a" in verbs(decided(*between, scale_set=model, **front))
        assert verbs(decided(*five, scale_set=model, **front)) == ["drain a"]


def test_an_image_on_which_the_fleet_serves_is_not_blocked_for_one_bad_machine() -> None:
    """It was moved onto it by hand; one such bridge may be the canary of a night without a verdict."""
    night = replacing(passed_at=None, target=NEW, canary="vm-x", failed="it did not accept")
    ill = unheard("x", 10 * MINUTE, arm={"image": NEW})
    asked = (intent(1, vm_id="vm-x", image=NEW, asked_at=NOW - 20 * MINUTE),)
    judged = replace(night, failed=None, waited_seconds=20 * 60.0, judged_at=NOW - MINUTE)
    for others, blocked in (((new("b"), new("c")), False), ((new("b"), old("c")), True)):
        state: dict[str, Any] = {"night": judged, "good_image": OLD, "intents": asked}
        decision = decided(old("a"), *others, ill, policy_=AT_NOON, **state)
        assert decision.memory.night.outcome == "bad image"
        assert bool(decision.memory.blocked_images) is blocked
        assert decision.memory.good_image == (OLD if blocked else NEW)
        assert alert_kinds(decision) == (["bad_image"] if blocked else ["canary_failed"])


def test_a_bad_image_is_one_alert_that_names_what_is_left_of_it() -> None:
    """And what to do with it; a sick machine of it has no alert of its own."""
    sick = unheard("c", HOUR, arm={"image": NEW}, remembered={"polls": "00000", "bad_since": NOW - HOUR})
    decision = decided(old("a"), old("b"), sick, policy_=AT_NOON, **BLOCKED)
    assert alert_kinds(decision) == ["bad_image"]
    assert "replace c" in decision.alerts[0].text
    nothing_left = decided(old("a"), old("b"), policy_=AT_NOON, **BLOCKED)
    assert "replace" not in nothing_left.alerts[0].text


def test_a_canary_that_failed_on_a_good_image_is_an_alert_until_the_next_night() -> None:
    """It blocks nothing; an image that was unblocked since is no alert any more."""
    failed = replacing(passed_at=None, failed="it did not accept", ended_at=NOW - HOUR)
    good = decided(old("a"), old("b"), policy_=AT_NOON, night=failed, good_image=NEW)
    assert alert_kinds(good) == ["canary_failed"]
    unblocked = decided(old("a"), old("b"), policy_=AT_NOON, night=failed, good_image=OLD)
    assert alert_kinds(unblocked) == []
    no_images = decided(old("a"), old("b"), night=replace(failed, target=None))
    assert alert_kinds(no_images) == ["canary_failed"]


# Progress


def waits(*bridges: Bridge, **changes: Any) -> Night:
    """What the night is told to wait for."""
    night: Night = at_night(*bridges, **changes).memory.night
    return night


def test_a_night_says_what_it_waits_for_and_since_when() -> None:
    """A call, a bridge on its way out, a machine, a refusal, or nothing."""
    emptying = old("a", remembered=draining(Purpose.RECYCLE), **busy(drain=True))
    assert waits(emptying, new("b"), new("c")).waits_for == "a to empty"
    fenced = old("a", remembered={"phase": Phase.FENCED, "purpose": Purpose.RECYCLE})
    assert waits(fenced, new("b"), new("c")).waits_for == "a to leave"
    assert waits(old("a"), new("b"), intents=(intent(1, image=NEW),)).waits_for == "a new machine"
    again = waits(old("a"), old("b", 4 * HOUR), new("c"), last_undrain_at=NOW - MINUTE)
    assert (again.waits_for, again.waits_since) == ("just undrained", NOW)
    same = replace(replacing(), waits_for="just undrained", waits_since=NOW - HOUR)
    kept = waits(old("a"), old("b", 4 * HOUR), new("c"), last_undrain_at=NOW - MINUTE, night=same)
    assert kept.waits_since == NOW - HOUR
    assert waits(old("a"), old("b", 4 * HOUR), new("c")).waits_for == "the next tick"
    assert start(turn_of="other").memory.night.waits_for == "canary turn"


def test_each_step_of_a_night_is_told_once() -> None:
    """Its opening, its end at once where there is nothing to do, how many are left."""
    first = decided(old("a"), old("b"), policy_=AT_NOON, nightly=DUE)
    assert ["opens: 2 to replace onto 1.1.0" in text for text in said(first.events)] == [True]
    nothing = decided(new("a"), policy_=replace(AT_NOON, recycle="on_new_image"), nightly=DUE)
    assert ["opens" in said(nothing.events)[0], "nothing to do" in said(nothing.events)[1]] == [True, True]
    fewer = at_night(old("b"), new("c"), new("d"))
    assert said(fewer.events) == ["1 of 2 still to replace"]
    without = Night(date="2026-11-18", opened_at=NOW, until=None)
    assert "unknown time" in recycle._night_in_words(Night(), without)[0][1]


def test_an_operators_drain_takes_the_tick_from_the_night() -> None:
    """One bridge fewer accepts, which nobody has counted."""
    from tests.scaler.builders import command

    decision = at_night(old("a"), old("b", 4 * HOUR), new("c"), commands=(command("drain", "c"),))
    assert verbs(decision) == ["drain c"]


def state_of(fleet_: Fleet) -> ShardMemory:
    """What is remembered of the shard."""
    return fleet_.snapshot.memory


def test_a_blind_shard_buys_nothing_for_the_night() -> None:
    """Silence may not buy a fleet, at night neither."""
    them = fleet(old("a"), new("b"), policy_=AT_NOON, night=replacing(), blind_since=NOW)
    assert recycle.surge(them, state_of(them)) == (0, (), ())
    assert recycle.surge(them, replace(shard_memory(), night=replacing(passed_at=NOW))) == (0, (), ())
