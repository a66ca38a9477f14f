"""The first machine of a night, and what it proves of an image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaler.canary import goes_first, is_on_trial, judge, trial
from scaler.model import Bridge, CreateIntent, Night, Phase, Power, ShardMemory
from scaler.selection import Fleet
from tests.scaler.builders import HOUR, MINUTE, NOW, bridge, fleet, intent, policy, shard_memory, unheard

TARGET = "/gallery/images/jvb/versions/1.1.0"


def night(**changes: Any) -> Night:
    """A night that opened ten minutes ago."""
    opened = {"date": "2026-11-18", "opened_at": NOW - 10 * MINUTE, "until": NOW + HOUR, "target": TARGET}
    return Night(**{**opened, **changes})


def asked(**changes: Any) -> CreateIntent:
    """The machine of the night that was asked for, and came."""
    came = {"asked_at": NOW - 9 * MINUTE, "image": TARGET, "vm_id": "vm-c", "ended_at": NOW - 8 * MINUTE}
    return intent(1, **{**came, **changes})


def canary(**changes: Any) -> Bridge:
    """The machine of the night, seven minutes old."""
    return bridge("c", 7 * MINUTE, **changes)


def seen(*bridges: Bridge, **changes: Any) -> Fleet:
    """An old bridge that is well, and these."""
    intents = changes.pop("intents", (asked(),))
    old = changes.pop("old", (bridge("a", 5 * HOUR),))
    return fleet(*old, *bridges, intents=intents, policy_=policy(canary_bake_minutes=30), **changes)


# Which machine it is


def test_the_canary_is_the_first_machine_of_the_night_with_its_image() -> None:
    """By whatever rule it was asked for; not an older one, not one of another image."""
    them = seen(canary(), intents=(asked(asked_at=NOW - 5 * MINUTE, vm_id="vm-z"), asked()))
    found = trial(them, night())
    assert found is not None
    assert found.bridge is not None
    assert found.bridge.vm_id == "vm-c"
    assert trial(seen(canary(), intents=(asked(asked_at=NOW - 11 * MINUTE),)), night()) is None
    assert (
        trial(seen(canary(), intents=(asked(image="/gallery/images/jvb/versions/1.0.0"),)), night()) is None
    )
    assert trial(seen(canary()), Night()) is None


def test_where_images_are_not_judged_any_machine_of_the_night_is_its_canary() -> None:
    """Else a night without a gallery would ask for one machine a minute."""
    them = seen(canary(), intents=(asked(image="/gallery/images/jvb/versions/1.0.0"),))
    assert trial(them, night(target=None)) is not None


def test_a_machine_that_is_on_its_way_is_the_canary_already() -> None:
    """It was asked for and is not listed yet; one whose creation failed, or that is gone, is none."""
    waiting = trial(seen(intents=(asked(vm_id=None, ended_at=None),)), night())
    assert waiting is not None
    assert waiting.bridge is None
    assert trial(seen(intents=(asked(vm_id=None, error="AllocationFailed"),)), night()) is None
    assert trial(seen(intents=(asked(),)), night()) is None


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        ("AllocationFailed: no room", False),
        ("OSProvisioningTimedOut: it did not report", True),
        (None, False),
    ],
)
def test_what_azure_could_not_make_condemns_no_image(error: str | None, *, counts: bool) -> None:
    """Only an operating system that did not come up is a fault of its image."""
    broken = {"provisioning": "Failed", "power": Power.UNKNOWN, "error": error}
    them = seen(unheard("c", 7 * MINUTE, arm=broken, remembered={"phase": Phase.BOOTING}))
    assert (trial(them, night()) is not None) is counts


def test_a_trial_lasts_to_the_tick_behind_the_verdict() -> None:
    """What is decided on a verdict is decided when it stands in the tables."""
    them = seen(canary())
    assert is_on_trial(them, night())
    assert is_on_trial(them, night(passed_at=NOW))
    assert not is_on_trial(them, night(passed_at=NOW - MINUTE))
    assert is_on_trial(them, night(failed="bad", ended_at=NOW))
    assert not is_on_trial(them, night(failed="bad", ended_at=NOW - MINUTE))
    assert not is_on_trial(seen(intents=()), night())


# What it proves

LOOKED = {"canary": "vm-c", "judged_at": NOW - MINUTE}


def test_a_canary_that_accepts_begins_to_bake() -> None:
    """Its time counts from then on, a minute for each minute seen."""
    first = judge(seen(canary()), night(**LOOKED, waited_seconds=100))
    assert (first.accepted_at, first.baked_seconds) == (NOW, 0)
    second = judge(seen(canary()), replace(first, accepted_at=NOW - MINUTE, judged_at=NOW - MINUTE))
    assert (second.baked_seconds, second.passed_at) == (60, None)
    last = judge(seen(canary()), replace(second, judged_at=NOW - MINUTE, baked_seconds=29 * 60))
    assert last.passed_at == NOW


def test_what_was_not_seen_is_not_counted() -> None:
    """After an outage of the ticks two minutes count, and at the first look none."""
    assert judge(seen(canary(drain=True)), night(canary="vm-c")).waited_seconds == 0
    late = night(canary="vm-c", judged_at=NOW - HOUR)
    assert judge(seen(canary(drain=True)), late).waited_seconds == 120


def test_another_canary_begins_anew() -> None:
    """The first one vanished: what was seen of it says nothing of the next."""
    after = judge(
        seen(canary()), night(canary="vm-x", waited_seconds=900, bad_polls=2, judged_at=NOW - MINUTE)
    )
    assert (after.canary, after.waited_seconds, after.bad_polls) == ("vm-c", 0, 0)
    nothing = judge(seen(intents=()), night(**LOOKED, waited_seconds=900))
    assert (nothing.canary, nothing.waited_seconds, nothing.judged_at) == (None, 0, None)


def test_a_canary_that_does_not_accept_in_time_has_failed() -> None:
    """With what is known of why: its failure, its health, or that it stays drained."""
    waiting = night(**LOOKED, waited_seconds=19 * 60)
    cases = {
        "JVB exploded": unheard(
            "c", 7 * MINUTE, remembered={"phase": Phase.FAILED, "failure": "JVB exploded"}
        ),
        "port refused": unheard("c", 7 * MINUTE, reach="refused", remembered={"phase": Phase.BOOTING}),
        "it stays drained": canary(drain=True),
    }
    for why, machine in cases.items():
        failed = judge(seen(machine), waiting).failed
        assert failed is not None
        assert why in failed
    assert judge(seen(canary(drain=True)), replace(waiting, waited_seconds=18 * 60)).failed is None


BAKING = night(**LOOKED, accepted_at=NOW - 5 * MINUTE, baked_seconds=120)


def test_three_bad_polls_while_the_old_bridges_are_well_are_a_verdict() -> None:
    """Fewer are noise."""
    sickly = canary(unhealthy_because="health 500")
    assert judge(seen(sickly), replace(BAKING, bad_polls=1)).failed is None
    failed = judge(seen(sickly), replace(BAKING, bad_polls=2)).failed
    assert failed is not None
    assert "health 500" in failed


def test_a_restart_begins_the_bake_anew_and_counts_as_bad() -> None:
    """A crash loop never passes."""
    restarted = canary(remembered={"process_started_at": NOW - MINUTE})
    after = judge(seen(restarted), BAKING)
    assert (after.accepted_at, after.baked_seconds, after.bad_polls) == (NOW, 0, 1)


@pytest.mark.parametrize(
    ("told", "bad"),
    [
        ({"total_participants": 10, "total_ice_failed": 5}, True),
        ({"total_participants": 10, "dtls_failed_endpoints": 5}, True),
        ({"total_participants": 8, "total_ice_failed": 4}, False),
        ({"total_participants": 11, "total_ice_failed": 5}, False),
        ({"total_participants": 0, "total_ice_failed": 9}, False),
        ({"total_participants": None}, False),
    ],
)
def test_media_that_does_not_come_through_condemns_an_image(told: dict[str, Any], *, bad: bool) -> None:
    """At least five endpoints, and half of all that came."""
    assert (judge(seen(canary(**told)), BAKING).failed is not None) is bad


def test_nothing_is_judged_while_the_old_bridges_are_not_well() -> None:
    """Prosody's failure must not condemn an image; a sick corpse must not hold the night up."""
    sickly = canary(unhealthy_because="not in its MUC")
    unwell = bridge("a", 5 * HOUR, unhealthy_because="not in its MUC")
    almost = replace(BAKING, bad_polls=2)
    paused = judge(seen(sickly, old=(unwell, bridge("b", 4 * HOUR))), almost)
    assert (paused.failed, paused.bad_polls, paused.judged_at) == (None, 2, None)
    corpse = unheard("a", 5 * HOUR, remembered={"polls": "00000", "bad_since": NOW - HOUR})
    assert judge(seen(sickly, old=(corpse, bridge("b", 4 * HOUR))), almost).failed is not None
    assert judge(seen(sickly, old=(corpse,)), almost).failed is None
    ancient = bridge("d", 9 * HOUR, unhealthy_because="its JVB is too old", remembered={"unsupported": True})
    assert judge(seen(sickly, old=(ancient, bridge("b", 4 * HOUR))), almost).failed is not None
    assert judge(seen(sickly, old=(ancient,)), almost).failed is None
    ten = tuple(bridge(name, 5 * HOUR) for name in "defghijkl")
    assert judge(seen(sickly, old=(unwell, *ten)), almost).failed is not None


def test_a_machine_of_tonight_is_no_witness() -> None:
    """One that was added for load since may have the same bad image."""
    fresh = bridge("d", 5 * MINUTE, unhealthy_because="health 500")
    assert judge(seen(canary(), fresh), BAKING).baked_seconds == 180


# One shard after another


def of(night_: Night) -> ShardMemory:
    """A shard with this night."""
    return shard_memory(night=night_, last_tick_at=NOW - MINUTE)


def test_one_shard_after_another_tries_its_canary() -> None:
    """The order is the same for all and turns with the date; whoever has a canary goes on."""
    shards = ("a", "b", "c")
    states = {name: of(night()) for name in shards}
    first = [goes_first(name, shards, states, NOW) for name in shards]
    assert first.count(None) == 1
    leader = shards[first.index(None)]
    next_day = {name: of(replace(night(), date="2026-11-19")) for name in shards}
    assert goes_first(leader, shards, next_day, NOW) is not None
    other = next(name for name in shards if name != leader)
    taken = {**states, other: of(night(canary="vm-c"))}
    assert goes_first(leader, shards, taken, NOW) == other


@pytest.mark.parametrize(
    "changes",
    [
        {"passed_at": NOW},
        {"ended_at": NOW},
        {"date": "2026-11-17"},
        {"opened_at": NOW - 20 * MINUTE},  # it had its chance
        {"canary": "vm-c", "until": NOW},  # over, and not closed
    ],
)
def test_a_shard_that_is_through_or_cannot_start_keeps_nobody_waiting(changes: dict[str, Any]) -> None:
    """Its verdict, its end, another date, or twenty minutes without a machine set the others free."""
    shards = ("a", "b")
    for me, other in (shards, shards[::-1]):
        states = {me: of(night()), other: of(replace(night(), **changes))}
        assert goes_first(me, shards, states, NOW) is None


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({}, True),
        ({"paused": True}, False),
        ({"blind_since": NOW - 20 * MINUTE}, False),
        ({"blind_since": NOW - 19 * MINUTE}, True),
        ({"last_tick_at": NOW - 20 * MINUTE}, False),
        ({"last_tick_at": None}, False),
        ({"standing": {"arm_unknown:": NOW - 20 * MINUTE}}, False),
        ({"standing": {"other_owner:": NOW - 19 * MINUTE}}, True),
        ({"standing": {"hot:": NOW - HOUR}}, True),
    ],
)
def test_a_canary_that_nobody_can_judge_holds_up_no_other_shard(changes: dict[str, Any], waits: bool) -> None:
    """Paused, blind for long, or without a tick: its verdict may never come."""
    states = {"a": of(night()), "b": replace(of(night(canary="vm-c")), **changes)}
    assert goes_first("a", ("a", "b"), states, NOW) == ("b" if waits else None)


def test_a_shard_without_a_night_or_a_row_is_in_nobodys_way() -> None:
    """What is not known of another shard holds up none."""
    assert goes_first("a", ("a", "b"), {"a": of(Night())}, NOW) is None
    assert goes_first("a", ("a", "b"), {"a": of(night())}, NOW) is None
