"""Who is what in a shard, who is the oldest, and each term by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scaler.decision import Reason
from scaler.model import Bridge, Phase, Power, Purpose, Reach
from scaler.selection import (
    LITERAL_TERMS,
    SAFETY_TERMS,
    Fleet,
    at_minimum,
    drain_refused,
    is_accepting,
    is_condemned,
    is_live,
    is_sick,
    last_accepting,
    next_to_drain,
    not_healthy,
    not_idle,
    not_oldest,
    oldest,
    only_healthy,
    protected,
    silence,
    too_young,
    uptime,
)
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    bridge,
    busy,
    draining,
    fleet,
    memory,
    policy,
    poll,
    silent,
    unheard,
)


def pair(a: Bridge | None = None, b: Bridge | None = None, **changes: Any) -> Fleet:
    """An older and a younger bridge."""
    return fleet(a or bridge("a", 3 * HOUR), b or bridge("b"), **changes)


def test_the_owners_rule_is_these_four_terms() -> None:
    """Nothing is torn down that one of them would keep; the others only refuse more."""
    assert (only_healthy, not_idle, too_young, not_oldest) == LITERAL_TERMS
    assert (at_minimum, last_accepting, not_healthy, protected) == SAFETY_TERMS


def test_one_healthy_bridge_is_not_more_than_one() -> None:
    """Draining ones count as healthy; unhealthy ones do not."""
    assert only_healthy(pair(), bridge()) is None
    assert only_healthy(pair(b=bridge("b", remembered=draining())), bridge()) is None
    assert only_healthy(pair(b=unheard("b")), bridge()) is not None


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({}, None),
        (busy(), Reason.OLDEST_BUSY),
        ({"conferences": 1}, Reason.OLDEST_BUSY),
        ({"local_endpoints": 1}, Reason.OLDEST_BUSY),
        ({"conferences": None}, Reason.IDLE_UNKNOWN),
        ({"local_endpoints": None}, Reason.IDLE_UNKNOWN),
        ({"fresh": False}, Reason.IDLE_UNKNOWN),
        ({"octo_endpoints": 3}, None),
    ],
)
def test_idle_is_no_conference_and_no_endpoint(figures: dict[str, Any], reason: Reason | None) -> None:
    """Both known and both zero; relayed endpoints alone are a stuck counter."""
    refusal = not_idle(fleet(), bridge(**figures))
    assert (refusal.reason if refusal else None) is reason


@pytest.mark.parametrize(
    ("machine", "process", "age"),
    [
        (2 * HOUR, 2 * HOUR, 2 * HOUR),
        (2 * HOUR, 5 * MINUTE, 5 * MINUTE),
        (2 * HOUR, 2 * HOUR + 30 * SECOND, 2 * HOUR),
        (2 * HOUR, 9 * HOUR, 3 * MINUTE),
        (2 * HOUR, None, 2 * HOUR),
        (None, 2 * HOUR, None),
        (-SECOND, None, None),
    ],
)
def test_uptime_is_the_smaller_of_machine_and_process(
    machine: timedelta | None, process: timedelta | None, age: timedelta | None
) -> None:
    """A process older than its machine can be is a new life; an age that is unknown or ahead is none."""
    known = memory(
        age=machine,
        process_started_at=None if process is None else NOW - process,
        first_seen=NOW - 3 * MINUTE,
    )
    assert uptime(known, NOW) == age


def test_a_proved_restart_makes_young_where_no_start_time_is_told() -> None:
    """The fall of a counter says when."""
    known = memory(process_started_at=None, restart_seen_at=NOW - MINUTE)
    assert uptime(known, NOW) == MINUTE


def test_too_young_and_age_unknown_are_told_apart() -> None:
    """Exactly 55 minutes are not over 55 minutes."""
    exactly = too_young(fleet(), bridge(age=timedelta(seconds=3300)))
    assert exactly is not None
    assert exactly.reason is Reason.TOO_YOUNG
    assert "55.0 min, more than 55 needed" in exactly.detail
    assert too_young(fleet(), bridge(age=timedelta(seconds=3300, milliseconds=1))) is None
    unknown = too_young(fleet(), bridge(age=None))
    assert unknown is not None
    assert unknown.reason is Reason.AGE_UNKNOWN


def test_only_the_oldest_may_go() -> None:
    """Equal ages by name; without any live bridge nobody is."""
    assert not_oldest(pair(), bridge("a")) is None
    refusal = not_oldest(pair(), bridge("b"))
    assert refusal is not None
    assert refusal.detail == "a is the oldest"
    nobody = not_oldest(fleet(), bridge("b"))
    assert nobody is not None
    assert nobody.detail == "no bridge is the oldest"
    twins = fleet(bridge("b", HOUR), bridge("a", HOUR))
    assert [each.name for each in twins.live] == ["a", "b"]
    unknown_age = fleet(bridge("a", 9 * HOUR), bridge("b", None))
    assert [each.name for each in unknown_age.live] == ["b", "a"]


def test_the_oldest_of_the_idle_ones_where_the_operator_prefers_cost() -> None:
    """Busy ones are passed over; what is leaving still counts, so that one leaves after the other."""
    chosen = policy(oldest_among="idle")
    fleet_ = pair(a=bridge("a", 3 * HOUR, **busy()), policy_=chosen)
    assert (first := oldest(fleet_)) is not None
    assert first.name == "b"
    leaving = pair(a=unheard("a", 3 * HOUR, remembered={"phase": Phase.FENCED}), policy_=chosen)
    assert (first := oldest(leaving)) is not None
    assert first.name == "a"
    assert oldest(fleet(bridge("a", **busy()), policy_=chosen)) is None


def test_the_operators_minimum_counts_bridges_and_machines() -> None:
    """Else it would be bought back: machines that are leaving already do not count."""
    two = policy(min_bridges=2)
    assert at_minimum(pair(policy_=two), bridge("a")) is not None
    three = (bridge("a", 3 * HOUR), bridge("b"), bridge("c", HOUR))
    assert at_minimum(fleet(*three, policy_=two), three[0]) is None
    fenced = unheard("d", remembered={"phase": Phase.FENCED})
    assert at_minimum(fleet(*three, fenced, policy_=two), three[0]) is None
    still_healthy = bridge("d", remembered={"phase": Phase.FENCED})
    refusal = at_minimum(fleet(three[0], three[1], still_healthy, policy_=two), three[0])
    assert refusal is not None
    assert refusal.detail == "1 machines would remain, minimum 2"


def test_enough_others_must_accept() -> None:
    """At least one, or the operator's minimum; draining and unheard ones do not."""
    assert last_accepting(pair(), bridge("a")) is None
    assert last_accepting(pair(b=bridge("b", remembered=draining())), bridge("a")) is not None
    assert last_accepting(pair(policy_=policy(min_bridges=2)), bridge("a")) is not None


def test_what_is_not_healthy_cannot_be_judged() -> None:
    """The first missing sign is told."""
    refusal = not_healthy(fleet(), unheard("a"))
    assert refusal is not None
    assert refusal.detail == "port timed_out"
    assert not_healthy(fleet(), bridge("a")) is None


@pytest.mark.parametrize(
    ("phase", "drain", "accepts"),
    [
        (Phase.READY, False, True),
        (Phase.READY, None, False),
        (Phase.READY, True, False),
        (Phase.DRAINING, False, False),
        (Phase.BOOTING, False, False),
    ],
)
def test_accepting_is_healthy_ready_and_seen_undrained(
    phase: Phase, drain: bool | None, accepts: bool
) -> None:
    """What it says itself must agree with what we remember."""
    assert is_accepting(bridge(remembered={"phase": phase}, drain=drain)) is accepts


@pytest.mark.parametrize(
    ("changes", "sick"),
    [
        ({"polls": "00011", "bad_since": NOW - 5 * MINUTE}, True),
        ({"polls": "00111", "bad_since": NOW - 5 * MINUTE}, False),
        ({"polls": "00000", "bad_since": NOW - 5 * MINUTE + SECOND}, False),
        ({"polls": "00000", "bad_since": None}, False),
        ({"polls": "00000", "bad_since": NOW - HOUR, "phase": Phase.FENCED}, False),
        ({"polls": "00000", "bad_since": NOW - HOUR, "ever_ready": False}, False),
        ({"polls": "00000", "bad_since": NOW - HOUR, "unsupported": True}, False),
    ],
)
def test_sick_is_bad_in_most_polls_and_for_minutes(changes: dict[str, Any], *, sick: bool) -> None:
    """A bridge that was ready; never one that is leaving, booting or too old to be understood."""
    assert is_sick(memory(**changes), policy(), NOW) is sick


@pytest.mark.parametrize(
    ("changes", "live"),
    [
        ({"polls": "11100"}, True),
        ({"polls": "11000"}, False),
        ({"polls": "00000", "phase": Phase.FENCED}, True),
        ({"polls": "00000", "phase": Phase.DELETING}, True),
        ({"phase": Phase.BOOTING}, False),
        ({"phase": Phase.FAILED, "ever_ready": True}, False),
        ({"unsupported": True}, False),
        (draining(Purpose.FOREIGN), True),
    ],
)
def test_live_is_what_counts_for_oldest(changes: dict[str, Any], *, live: bool) -> None:
    """One lost poll lets nobody younger go; a corpse does not block for ever."""
    assert is_live(memory(**changes), policy()) is live


@pytest.mark.parametrize(
    ("silent_ones", "heard", "blind"),
    [(1, 0, False), (1, 1, False), (2, 4, False), (2, 3, True), (3, 6, False)],
)
def test_blind_is_at_least_two_and_over_a_third(silent_ones: int, heard: int, *, blind: bool) -> None:
    """Exactly a third is not over a third; a shard of one is never blind."""
    bridges = [unheard(chr(97 + n)) for n in range(silent_ones)] + [
        bridge(chr(107 + n)) for n in range(heard)
    ]
    assert silence(fleet(*bridges)).is_blinding is blind


def test_silence_names_what_the_silent_have_in_common() -> None:
    """Time-out, refusal, no statistics, no MUC; what leaves, is off, or is too old is not asked."""
    refused = unheard("b", reach=Reach.REFUSED)
    mute = bridge("c", poll_=poll(stats=None), unhealthy_because="stats")
    said_why = bridge("d", poll_=poll(stats=None, problem="status 404"), unhealthy_because="stats")
    outside = bridge("e", mucs_joined=0, unhealthy_because="not in its MUC")
    left_out = (
        unheard("f", remembered={"phase": Phase.FENCED}),
        bridge("g", remembered={"unsupported": True}, poll_=silent()),
        unheard("h", arm={"power": Power.STOPPED}, reach=Reach.NOT_ASKED),
    )
    heard = silence(fleet(unheard("a"), refused, mute, said_why, outside, *left_out))
    assert (heard.silent, heard.asked) == (5, 5)
    assert heard.common == "1 x no statistics, 1 x not in its MUC, 1 x refused, 1 x status 404, 1 x timed_out"


def test_a_machine_that_arm_deletes_is_deleting_whoever_asked() -> None:
    """It is listed no more among those of use."""
    going = fleet(
        bridge("a"),
        bridge("b", arm={"provisioning": "Deleting"}),
        bridge("c", remembered={"phase": Phase.DELETING}),
    )
    assert [each.name for each in going.deleting] == ["c", "b"]
    assert (going.listed, going.working) == (1, 1)


@pytest.mark.parametrize(
    ("purpose", "reason"),
    [
        (Purpose.FOREIGN, Reason.FOREIGN_DRAIN),
        (Purpose.OPERATOR, Reason.OPERATOR_DRAIN),
        (Purpose.SURPLUS, None),
    ],
)
def test_drains_go_strictly_oldest_first(purpose: Purpose, reason: Reason | None) -> None:
    """Behind one of ours the next may follow; behind somebody else's nobody."""
    candidate, obstacle = next_to_drain(pair(a=bridge("a", 3 * HOUR, remembered=draining(purpose))))
    assert (obstacle.reason if obstacle else None) is reason
    assert (candidate.name if candidate else None) == (None if reason else "b")


def test_with_all_draining_there_is_nobody_to_drain() -> None:
    """And nobody in the way."""
    assert next_to_drain(fleet(bridge("a", remembered=draining()))) == (None, None)


@pytest.mark.parametrize(
    ("arm", "known", "going"),
    [
        ({"provisioning": "Deleting"}, {}, True),
        ({}, {"operation": "op1"}, True),
        ({}, {"delete_asked_at": NOW - MINUTE}, True),
        ({}, {"delete_asked_at": NOW - HOUR}, False),
        ({}, {}, False),
        ({}, {"operation": "op1", "phase_since": NOW - 16 * MINUTE}, False),
        ({}, {"delete_asked_at": NOW - MINUTE, "phase_since": NOW - 16 * MINUTE}, False),
        ({}, {"operation": "op1", "phase_since": NOW - 15 * MINUTE}, True),
        ({"provisioning": "Deleting"}, {"phase_since": NOW - HOUR}, True),
    ],
)
def test_a_delete_that_failed_leaves_its_machine_in_the_capacity(
    arm: dict[str, Any], known: dict[str, Any], *, going: bool
) -> None:
    """Going is what ARM deletes, or was asked to delete a while ago; growth does not wait for ever."""
    leaving = unheard("a", arm=arm, remembered={"phase": Phase.DELETING, "phase_since": NOW, **known})
    assert bool(fleet(leaving, bridge("b")).going) is going


@pytest.mark.parametrize(
    ("known", "drain", "stays"),
    [
        ({"failure": "404"}, False, True),
        ({"failure": "404"}, None, True),
        ({"failure": "404"}, True, False),
        ({"fence_failure": "404"}, True, True),
    ],
)
def test_an_oldest_that_cannot_go_keeps_the_others_from_being_drained(
    known: dict[str, Any], *, drain: bool | None, stays: bool
) -> None:
    """It refused the fence, or lost its drain and refuses another; a drain that shows is no obstacle."""
    first = bridge("a", 3 * HOUR, remembered=draining(**known), drain=drain)
    found, obstacle = next_to_drain(fleet(first, bridge("b")))
    assert (found is None) is stays
    assert (obstacle is not None and obstacle.reason is Reason.NO_FENCE) is stays


def test_a_bridge_that_refused_its_drain_is_not_asked_again() -> None:
    """Only another process changes that."""
    refused = bridge("a", 3 * HOUR, remembered={"failure": "drain 404"})
    refusal = drain_refused(pair(refused), refused)
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == (Reason.DRAIN_REFUSED, "drain 404")
    assert drain_refused(pair(), bridge("a")) is None


def test_condemned_is_what_a_blocked_image_made() -> None:
    """And nothing else."""
    blocked = pair(a=bridge("a", 3 * HOUR, arm={"image": "2.0.0"}), blocked_images={"2.0.0": NOW})
    assert [is_condemned(each, blocked.snapshot) for each in blocked.bridges] == [True, False]
