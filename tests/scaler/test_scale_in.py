"""Drain, fence, delete, and clean up: each step with every term that can refuse it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler.decision import Cause, Delete, Drain, Fence, Reason
from scaler.model import Bridge, CommandState, Phase, PlatformLoad, Poll, Power, Purpose, Reach
from scaler.scale_in import drains, pace_objections
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    alert_kinds,
    bridge,
    busy,
    command,
    decided,
    draining,
    fleet,
    found_empty,
    hot,
    intent,
    policy,
    poll,
    reasons,
    unheard,
    verbs,
)

EMPTY = draining(**found_empty())
FENCED = {"phase": Phase.FENCED, "phase_since": NOW - 3 * MINUTE, "fenced_at": NOW - 3 * MINUTE}
EXITED = {**FENCED, "exited_at": NOW - MINUTE}


def drained(
    name: str = "a", age: timedelta = 3 * HOUR, remembered: dict[str, Any] = EMPTY, **changes: Any
) -> Bridge:
    """A bridge that we drained, settled and found empty twice."""
    return bridge(name, age, remembered=remembered, **changes)


# Drain


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({"age": 50 * MINUTE}, {}, Reason.TOO_YOUNG),
        ({"conferences": None}, {}, Reason.IDLE_UNKNOWN),
        ({"unhealthy_because": "health: 500"}, {}, Reason.NOT_HEALTHY),
        ({}, {"known_since": NOW - 9 * MINUTE}, Reason.NO_MEMORY),
        ({}, {"last_undrain_at": NOW - 9 * MINUTE}, Reason.JUST_UNDRAINED),
        ({}, {"intents": (intent(),)}, Reason.CREATION_IN_FLIGHT),
        ({"pressure": None}, {}, Reason.NO_HEADROOM),
    ],
)
def test_what_keeps_the_idle_oldest_from_being_drained(
    changes: dict[str, Any], state: dict[str, Any], reason: Reason
) -> None:
    """Each objection alone is enough, and is named."""
    oldest = bridge("a", **{"age": 3 * HOUR, **changes})
    others = [bridge("b", min(2 * HOUR, changes.get("age", 2 * HOUR) - SECOND), pressure=0.5)]
    decision = decided(oldest, *others, **state)
    assert not any(isinstance(action, Drain) for action in decision.actions)
    assert reason in reasons(decision) | reasons(decision, "a")


@pytest.mark.parametrize(("load", "done"), [(0.6, ["drain a"]), (0.61, [])])
def test_the_rest_must_stay_under_the_scale_in_pressure(load: float, done: list[str]) -> None:
    """0.6 of each bridge that remains, not more."""
    assert verbs(decided(bridge("a", 3 * HOUR), bridge("b", pressure=load, **busy()))) == done


def test_a_tick_that_adds_bridges_drains_none() -> None:
    """Nor while an accepting bridge is over its threshold."""
    decision = decided(bridge("a", 3 * HOUR), hot("b"), bridge("c"), bridge("d"), bridge("e"))
    assert verbs(decision) == ["scale_out 6"]
    assert {Reason.SCALED_OUT, Reason.HOT} <= reasons(decision)


@pytest.mark.parametrize(
    ("since", "done"), [(10 * MINUTE, ["drain a"]), (10 * MINUTE - SECOND, []), (None, [])]
)
def test_a_busy_oldest_is_drained_after_a_lasting_surplus(since: timedelta | None, done: list[str]) -> None:
    """Jicofo would refill it for ever; it empties as its calls end, and a tear-down still needs all terms."""
    busy_oldest = bridge("a", 3 * HOUR, pressure=0.1, **busy())
    decision = decided(busy_oldest, bridge("b"), surplus_since=None if since is None else NOW - since)
    assert verbs(decision) == done
    if done:
        assert [a.purpose for a in decision.actions if isinstance(a, Drain)] == [Purpose.SURPLUS]
    else:
        assert Reason.SURPLUS_TOO_SHORT in reasons(decision)


@pytest.mark.parametrize(
    ("second", "done"),
    [
        ({"age": 2 * HOUR, **busy()}, ["drain a"]),
        ({"age": 50 * MINUTE}, ["drain a"]),
        ({"age": 50 * MINUTE, "conferences": None}, ["drain a"]),
        ({"age": 2 * HOUR}, ["drain b"]),
    ],
    ids=["none is idle", "the idle one is young", "not known to be idle", "an idle one may go"],
)
def test_with_idle_a_busy_fleet_shrinks_too(second: dict[str, Any], done: list[str]) -> None:
    """Where none may be torn down now, the oldest is emptied; nobody waits for one that has just come."""
    fleet = (
        bridge("a", 3 * HOUR, pressure=0.1, **busy()),
        bridge("b", **second, pressure=0.1),
        bridge("c", MINUTE),
    )
    chosen = policy(oldest_among="idle")
    assert verbs(decided(*fleet, policy_=chosen, surplus_since=NOW - 10 * MINUTE)) == done
    if done == ["drain a"]:
        assert verbs(decided(*fleet, policy_=chosen, surplus_since=NOW - 9 * MINUTE)) == []


def test_a_young_oldest_is_not_emptied() -> None:
    """It is kept while its first hour runs, unless the operator chose `oldest_among: idle`."""
    fleet = [
        bridge(name, age, pressure=0.1, **busy()) for name, age in (("a", 50 * MINUTE), ("b", 5 * MINUTE))
    ]
    decision = decided(*fleet, bridge("c", MINUTE), surplus_since=NOW - 10 * MINUTE)
    assert verbs(decision) == []
    assert Reason.TOO_YOUNG in reasons(decision, "a")


def test_surplus_drains_go_strictly_oldest_first_up_to_a_limit() -> None:
    """The next one behind ours; none behind somebody else's, none beyond the limit, none if all drain."""
    rest = [bridge(name, HOUR) for name in "cdef"]
    since: dict[str, Any] = {"surplus_since": NOW - HOUR}
    behind = decided(drained("a", **busy()), bridge("b", **busy()), *rest, **since)
    assert [word for word in verbs(behind) if word.startswith("drain")] == ["drain b"]
    limited = decided(
        drained("a", **busy()), bridge("b", **busy()), *rest, policy_=policy(max_draining=1), **since
    )
    assert Reason.TOO_MANY_DRAINING in reasons(limited)
    foreign = bridge("a", 3 * HOUR, remembered=draining(Purpose.FOREIGN), drain=True, **busy())
    assert verbs(decided(foreign, bridge("b"), *rest, **since)) == []
    operator = bridge("a", 3 * HOUR, remembered=draining(Purpose.OPERATOR), **busy())
    told = decided(operator, bridge("b"), *rest, **since)
    assert Reason.OPERATOR_DRAIN in reasons(told, "a")


def test_while_the_oldest_is_leaving_the_next_waits_or_is_emptied() -> None:
    """A fenced one counts as the oldest until ARM lists it no more."""
    leaving = unheard("a", 3 * HOUR, remembered=FENCED)
    decision = decided(leaving, bridge("b"), bridge("c", HOUR))
    assert verbs(decision) == []
    assert Reason.ALREADY_LEAVING in reasons(decision, "a")


def test_an_empty_or_unready_shard_has_no_candidate() -> None:
    """Nothing live: nothing to say."""
    assert verbs(decided()) == ["scale_out 1"]
    only_drains = decided(drained("a", **busy()), drained("b", 2 * HOUR, **busy()), surplus_since=NOW - HOUR)
    assert "drain" not in " ".join(word for word in verbs(only_drains) if not word.startswith("undrain"))


# Fence


@pytest.mark.parametrize(
    ("remembered", "changes", "reason"),
    [
        (draining(**found_empty(), drained_at=None), {}, Reason.DRAIN_NOT_SEEN),
        (EMPTY, {"drain": None}, Reason.DRAIN_NOT_SEEN),
        (EMPTY, {"drain": False}, Reason.DRAIN_NOT_SEEN),
        (EMPTY, {"age": 55 * MINUTE}, Reason.TOO_YOUNG),
        (EMPTY, {"age": HOUR}, Reason.NOT_OLDEST),
        (EMPTY, busy(), Reason.OLDEST_BUSY),
        (EMPTY, {"conferences": None}, Reason.IDLE_UNKNOWN),
        (EMPTY, {"unhealthy_because": "stats"}, Reason.NOT_HEALTHY),
        (draining(since=30 * SECOND - timedelta(milliseconds=1), **found_empty()), {}, Reason.SETTLING),
        (draining(), {}, Reason.NOT_EMPTY),
        (draining(empty_since=NOW - 9 * SECOND, empty_seen_at=NOW), {}, Reason.NOT_EMPTY),
        (draining(**found_empty(), fence_failure="404"), {}, Reason.NO_FENCE),
    ],
)
def test_what_keeps_a_drained_bridge_from_the_fence(
    remembered: dict[str, Any], changes: dict[str, Any], reason: Reason
) -> None:
    """Confirmation, the four terms, settle time, two empty polls, the fence itself: each alone is enough."""
    decision = decided(drained(**{"remembered": remembered, **changes}), bridge("b"))
    assert not {"fence a", "delete a"} & set(verbs(decision))
    assert reason in reasons(decision, "a")


def test_one_healthy_or_one_accepting_bridge_is_not_fenced() -> None:
    """Both numbers are checked again at the fence."""
    alone = decided(drained(), unheard("b"))
    assert "fence a" not in verbs(alone)
    assert Reason.ONLY_HEALTHY in reasons(alone)
    other_drains = decided(drained(), bridge("b", remembered=draining(Purpose.FOREIGN), drain=True))
    assert "fence a" not in verbs(other_drains)
    assert Reason.LAST_ACCEPTING in reasons(other_drains, "a")


def test_settled_for_exactly_30_seconds_and_found_empty_it_is_fenced() -> None:
    """And with `oldest_among: idle` only one of two a tick."""
    settled = drained(
        remembered=draining(since=30 * SECOND, empty_since=NOW - 10 * SECOND, empty_seen_at=NOW)
    )
    assert verbs(decided(settled, bridge("b"))) == ["fence a"]
    twins = [drained("a"), drained("b", 3 * HOUR), bridge("c")]
    assert verbs(decided(*twins)) == ["fence a"]


def test_without_a_shutdown_api_it_is_deleted_only_where_the_operator_says_so() -> None:
    """The event names why; by default it stays and a person is told."""
    open_ = drained(remembered=draining(**found_empty(), fence_failure="404: set rest.shutdown.enabled"))
    kept = decided(open_, bridge("b"))
    assert verbs(kept) == []
    assert "no_fence" in alert_kinds(kept)
    allowed = decided(open_, bridge("b"), policy_=policy(require_fence=False))
    assert verbs(allowed) == ["delete a"]


def test_a_drain_that_is_not_shown_is_asked_for_again() -> None:
    """With its own purpose."""
    lost = drained(remembered=draining(Purpose.SURPLUS), drain=False)
    (again,) = decided(lost, bridge("b")).actions
    assert isinstance(again, Drain)
    assert again.purpose is Purpose.SURPLUS


# Delete


@pytest.mark.parametrize(
    ("leaving", "reason"),
    [
        (unheard("a", reach=Reach.REFUSED, remembered=FENCED), Reason.AWAITING_EXIT),
        (unheard("a", reach=Reach.TIMED_OUT, remembered=EXITED), Reason.AWAITING_EXIT),
        (bridge("a", remembered=EXITED, shutting_down=True), Reason.AWAITING_EXIT),
        (
            unheard(
                "a",
                remembered={
                    "phase": Phase.DELETING,
                    "phase_since": NOW - HOUR,
                    "delete_not_before": NOW + MINUTE,
                },
            ),
            Reason.RETRY_LATER,
        ),
        (
            bridge("a", remembered={**EXITED, "phase": Phase.DELETING, "phase_since": NOW - HOUR}),
            Reason.AWAITING_EXIT,
        ),
    ],
)
def test_what_keeps_a_leaving_machine_from_being_deleted(leaving: Bridge, reason: Reason) -> None:
    """Only a refused port that stayed refused is an exit; a failed delete has its pace."""
    decision = decided(leaving, bridge("b"))
    assert verbs(decision) == []
    assert reason in reasons(decision, "a")


def test_the_last_other_bridge_must_accept_at_the_delete() -> None:
    """One that was never ready has no such need, but another one must answer."""
    exited = unheard("a", reach=Reach.REFUSED, remembered=EXITED)
    refused = decided(exited, unheard("b"))
    assert "delete a" not in verbs(refused)
    assert Reason.LAST_ACCEPTING in reasons(refused, "a")
    never = unheard("a", reach=Reach.REFUSED, remembered={**EXITED, "ever_ready": False})
    assert "delete a" in verbs(decided(never, bridge("b", unhealthy_because="not in its MUC")))
    assert Reason.NO_WITNESS in reasons(decided(never, unheard("b")), "a")
    off = unheard("b", reach=Reach.NOT_ASKED, arm={"power": Power.STOPPED})
    assert "delete a" in verbs(decided(never, off))


def test_one_machine_is_deleted_at_a_time() -> None:
    """A delete in flight holds the next back for 15 minutes; then it is an alert and no longer in the way."""
    exited = [unheard(name, reach=Reach.REFUSED, remembered=EXITED) for name in "ab"]
    decision = decided(*exited, bridge("c"))
    assert verbs(decision) == ["delete a"]
    assert Reason.DELETE_IN_FLIGHT in reasons(decision, "b")

    def going(since: timedelta) -> Bridge:
        told = {"phase": Phase.DELETING, "phase_since": NOW - since, "delete_attempts": 1}
        return unheard("z", arm={"provisioning": "Deleting"}, remembered=told)

    assert verbs(decided(exited[0], going(15 * MINUTE - SECOND), bridge("c"))) == []
    late = decided(exited[0], going(15 * MINUTE + SECOND), bridge("c"))
    assert verbs(late) == ["delete a"]
    assert "delete_overdue" in alert_kinds(late)


def test_a_failed_delete_of_a_machine_that_never_ran_is_asked_for_again() -> None:
    """There is no exit to wait for where ARM could not even make the machine."""
    told = {"phase": Phase.DELETING, "phase_since": NOW - HOUR, "delete_not_before": NOW, "ever_ready": False}
    no_room = {"provisioning": "Failed", "power": Power.UNKNOWN, "error": "AllocationFailed: no room"}
    broken = unheard("a", arm=no_room, remembered=told)
    (again,) = decided(broken, bridge("b")).actions
    assert isinstance(again, Delete)
    assert (again.vm_id, again.cause) == ("vm-a", Cause.NEVER_READY)


@pytest.mark.parametrize(("ready", "cause"), [(True, "tear_down"), (False, "never_ready")])
def test_a_delete_that_failed_or_was_lost_is_asked_for_again(*, ready: bool, cause: str) -> None:
    """When its time has come."""
    told = {**EXITED, "phase": Phase.DELETING, "phase_since": NOW - HOUR, "delete_not_before": NOW}
    gone = unheard("a", reach=Reach.REFUSED, remembered={**told, "ever_ready": ready})
    (again,) = decided(gone, bridge("b")).actions
    assert isinstance(again, Delete)
    assert again.cause == cause


# Machines that never became a bridge


def never_joined(reach: Reach = Reach.REFUSED, name: str = "x", **changes: Any) -> Bridge:
    """A machine that we asked for, over its deadline."""
    known = {
        "phase": Phase.FAILED,
        "asked_by": "i1",
        "failure": "port refused",
        **changes.pop("remembered", {}),
    }
    return unheard(name, 20 * MINUTE, reach=reach, remembered=known, **changes)


def told_start(**changes: Any) -> Poll:
    """An answer of the process that the builders remember of such a machine."""
    return poll(process_started_at=NOW - 20 * MINUTE, **changes)


GONE = {"exited_at": NOW, "refused_since": NOW - MINUTE}


@pytest.mark.parametrize(
    ("machine", "done", "reason"),
    [
        (never_joined(remembered=GONE), ["delete x"], None),
        (never_joined(), [], Reason.CANNOT_REACH),
        (never_joined(Reach.TIMED_OUT, remembered=GONE), [], Reason.CANNOT_REACH),
        (never_joined(Reach.NOT_ASKED, arm={"power": Power.STOPPED}), ["delete x"], None),
        (never_joined(remembered={**GONE, "asked_by": None}), [], Reason.NOT_OURS),
        (never_joined(remembered={**GONE, "may_be_anothers": True}), [], Reason.NOT_OURS),
        (
            never_joined(
                poll_=told_start(drain=True, mucs_joined=0),
                remembered={**found_empty(), "fence_failure": "404"},
                fresh=True,
            ),
            [],
            Reason.CANNOT_REACH,
        ),
        (
            never_joined(poll_=told_start(drain=True, mucs_joined=0), remembered=found_empty(), fresh=True),
            ["fence x"],
            None,
        ),
        (
            never_joined(
                poll_=poll(drain=True, mucs_joined=0),
                remembered={**found_empty(), "process_started_at": None},
                fresh=True,
            ),
            ["fence x"],
            None,
        ),
        (
            never_joined(poll_=poll(drain=True, mucs_joined=0), remembered=found_empty(), fresh=True),
            [],
            Reason.CANNOT_REACH,
        ),
        (never_joined(poll_=poll(drain=True, mucs_joined=0), fresh=True), [], Reason.CANNOT_REACH),
    ],
)
def test_a_machine_that_never_joined_goes_only_if_nothing_can_be_serving_on_it(
    machine: Bridge, done: list[str], reason: Reason | None
) -> None:
    """
    Refused for long enough, not running, or drained and empty; and only if it was asked for by us.

    The last one knew when its process started and no longer tells: its fence would be refused for ever.
    """
    decision = decided(bridge("b"), machine)
    assert verbs(decision) == done
    if reason is not None:
        assert reason in reasons(decision, "x")
        assert "cannot_reach" in alert_kinds(decision)


def test_a_clean_up_needs_a_witness_and_has_its_pace() -> None:
    """Another bridge must answer, unless there is none; one clean-up in ten minutes."""
    dead = never_joined(remembered=GONE)
    unseen = decided(unheard("b"), dead)
    assert Reason.NO_WITNESS in reasons(unseen, "x")
    assert "delete x" in verbs(decided(dead))
    paced = decided(bridge("b"), dead, last_clean_up_at=NOW - 10 * MINUTE + SECOND)
    assert verbs(paced) == []
    assert Reason.CLEAN_UP_PACE in reasons(paced, "x")
    assert verbs(decided(bridge("b"), dead, last_clean_up_at=NOW - 10 * MINUTE)) == ["delete x"]


def test_a_delete_in_flight_holds_every_other_delete_back() -> None:
    """A clean-up, and the replacing of a dead bridge, too."""
    told = {"phase": Phase.DELETING, "phase_since": NOW - MINUTE, "delete_attempts": 1}
    going = unheard("z", arm={"provisioning": "Deleting"}, remembered=told)
    waits = decided(bridge("b"), never_joined(remembered=GONE), going)
    assert verbs(waits) == []
    assert Reason.DELETE_IN_FLIGHT in reasons(waits, "x")
    alive = [bridge(name, 50 * MINUTE) for name in "bc"]
    corpse = unheard("a", 9 * HOUR, remembered=DEAD)
    kept = decided(corpse, *alive, going, policy_=policy(replace_dead_after_minutes=30))
    assert Reason.DELETE_IN_FLIGHT in reasons(kept, "a")


def test_a_machine_whose_creation_failed_is_not_removed_before_its_deadline() -> None:
    """ARM may still be at it; afterwards it goes, since ARM does not say that it runs."""
    broken = {"provisioning": "Failed", "power": Power.UNKNOWN, "error": "AllocationFailed: no room"}
    for asked, done in ((9 * MINUTE, []), (10 * MINUTE, ["delete x"])):
        machine = never_joined(Reach.NOT_ASKED, arm=broken, remembered={"asked_at": NOW - asked})
        assert verbs(decided(bridge("b"), machine)) == done


def test_one_that_never_joined_stays_while_the_platform_sees_traffic_leave_it() -> None:
    """Calls may run behind a refused port: REST may be bound elsewhere, or its address be another's."""
    flowing = PlatformLoad(NOW - MINUTE, 10.0, 12.0, 0.1)
    kept = decided(bridge("b"), never_joined(remembered=GONE, platform=flowing))
    assert verbs(kept) == []
    assert Reason.CANNOT_REACH in reasons(kept, "x")
    assert "cannot_reach" in alert_kinds(kept)
    quiet = never_joined(remembered=GONE, platform=replace(flowing, out_mbps=0.04))
    assert verbs(decided(bridge("b"), quiet)) == ["delete x"]
    audio = never_joined(remembered=GONE, platform=replace(flowing, out_mbps=0.78))  # 20 people, one talks
    assert verbs(decided(bridge("b"), audio)) == []
    for untold in (None, replace(flowing, out_mbps=None)):
        unknown = never_joined(remembered=GONE, platform=untold)
        assert verbs(decided(bridge("b"), unknown, measures=True)) == []  # one tick without Azure Monitor
        assert verbs(decided(bridge("b"), unknown)) == ["delete x"]  # there is none to be asked
    stopped = never_joined(Reach.NOT_ASKED, arm={"power": Power.STOPPED}, platform=flowing)
    assert verbs(decided(bridge("b"), stopped)) == ["delete x"]
    assert verbs(decided(bridge("b"), stopped, measures=True)) == ["delete x"]


def test_two_that_never_joined_go_one_after_the_other() -> None:
    """The second one waits for its turn."""
    decision = decided(bridge("b"), never_joined(remembered=GONE), never_joined(name="y", remembered=GONE))
    assert verbs(decision) == ["delete x"]
    assert Reason.CLEAN_UP_PACE in reasons(decision, "y")


def test_one_whose_clean_up_comes_to_nothing_holds_up_no_other() -> None:
    """What was tried last comes last, whatever its name: else it would be tried for ever, alone."""
    tried = never_joined(name="a", remembered={**GONE, "phase_since": NOW - 11 * MINUTE})
    waiting = never_joined(name="b", remembered={**GONE, "phase_since": NOW - HOUR})
    for machines in ((tried, waiting), (waiting, tried)):
        assert verbs(decided(bridge("c"), *machines)) == ["delete b"]


# Bridges that died

DEAD = {
    "polls": "00000",
    "bad_since": NOW - HOUR,
    "silent_since": NOW - 31 * MINUTE,
    "platform_quiet_since": NOW - 30 * MINUTE,
}


@pytest.mark.parametrize(
    ("changes", "others", "done"),
    [
        ({}, 2, ["delete a"]),
        ({}, 1, []),
        ({"remembered": {**DEAD, "platform_quiet_since": NOW - 29 * MINUTE}}, 2, []),
        ({"remembered": {**DEAD, "platform_quiet_since": None}}, 2, []),
        ({"remembered": {**DEAD, "silent_since": NOW - 29 * MINUTE}}, 2, []),
        ({"remembered": {**DEAD, "silent_since": None}}, 2, []),
        ({"poll_": poll(stats=None)}, 2, []),
        ({"remembered": {**DEAD, **draining()}}, 2, []),
    ],
)
def test_a_dead_bridge_is_replaced_only_on_proof(
    changes: dict[str, Any], others: int, done: list[str]
) -> None:
    """Where the operator allows it: dead for us, two others accept, and the platform saw nothing leave it."""
    allowed = policy(replace_dead_after_minutes=30)
    corpse = unheard("a", 9 * HOUR, **{"remembered": DEAD, **changes})
    alive = [bridge(name, 50 * MINUTE) for name in "bcd"[:others]]
    assert [word for word in verbs(decided(corpse, *alive, policy_=allowed)) if word.endswith(" a")] == done
    assert "delete a" not in verbs(decided(corpse, *alive))


def test_of_two_dead_bridges_one_is_replaced_a_tick() -> None:
    """Counts are stale the moment something is deleted."""
    dead = [unheard(name, 9 * HOUR, remembered=DEAD) for name in "ab"]
    alive = [bridge(name, 50 * MINUTE) for name in "cdefg"]
    decision = decided(*dead, *alive, policy_=policy(replace_dead_after_minutes=30))
    assert [word for word in verbs(decision) if word.startswith("delete")] == ["delete a"]
    assert Reason.ONE_PER_TICK in reasons(decision, "b")


KEPT = {**DEAD, "phase": Phase.DELETING, "phase_since": NOW - HOUR, "delete_not_before": NOW}


@pytest.mark.parametrize(
    ("changes", "minutes", "again"),
    [
        ({}, 30, True),
        ({}, None, False),
        ({"platform_quiet_since": None}, 30, False),
        ({"delete_not_before": NOW + SECOND}, 30, False),
        ({"purpose": Purpose.TEAR_DOWN}, 30, False),
        ({"silent_since": NOW - 29 * MINUTE}, 30, False),
    ],
)
def test_a_dead_bridge_that_azure_kept_is_asked_for_again_on_the_same_proof(
    changes: dict[str, Any], minutes: float | None, again: bool
) -> None:
    """It only times out, so no exit will ever show; without the delete it would stop all scale-in."""
    kept = unheard("a", 9 * HOUR, remembered={**KEPT, **changes})
    alive = [bridge(name, 50 * MINUTE) for name in "bc"]
    decision = decided(kept, *alive, policy_=policy(replace_dead_after_minutes=minutes))
    assert [a.cause for a in decision.actions if isinstance(a, Delete)] == ([Cause.DEAD] if again else [])


@pytest.mark.parametrize("held", [{"paused": True}, {"unlisted": frozenset({"vm-z"})}, {"blind_since": NOW}])
def test_the_dead_are_asked_for_again_only_where_they_would_be_the_first_time(held: dict[str, Any]) -> None:
    """Without an exit it is no finishing: a pause, or a list that lacks a machine, waits."""
    kept = unheard("a", 9 * HOUR, remembered=KEPT)
    alive = [bridge(name, 50 * MINUTE) for name in "bc"]
    allowed = policy(replace_dead_after_minutes=30)
    assert not [a for a in decided(kept, *alive, policy_=allowed, **held).actions if isinstance(a, Delete)]


def test_the_dead_are_asked_for_again_one_at_a_time_and_not_while_something_answers() -> None:
    """As at the first time: counts are stale the moment something is deleted."""
    allowed = policy(replace_dead_after_minutes=30)
    alive = [bridge(name, 50 * MINUTE) for name in "bcdefghi"]
    kept = [unheard(name, 9 * HOUR, remembered=KEPT) for name in "xy"]
    assert verbs(decided(*kept, *alive, policy_=allowed)) == ["delete x"]
    leaving = unheard("z", 9 * HOUR, remembered={**KEPT, "phase_since": NOW - MINUTE})
    decision = decided(kept[0], leaving, *alive, policy_=allowed)
    assert verbs(decision) == []
    assert Reason.DELETE_IN_FLIGHT in reasons(decision, "x")
    garbled = unheard("x", 9 * HOUR, reach=Reach.BROKEN, remembered=KEPT)
    assert verbs(decided(garbled, *alive, policy_=allowed)) == []


# Found by changing the rules line by line: what no test noticed before


def test_a_surplus_drain_keeps_its_own_objections_beside_those_of_the_pace() -> None:
    """One refusal must not make room for another: not open, the last that accepts, its drain API off."""
    since: dict[str, Any] = {"surplus_since": NOW - HOUR}
    closed = bridge("a", 3 * HOUR, drain=None, **busy())
    assert verbs(decided(closed, bridge("b"), bridge("c"), **since)) == []
    refused = bridge("a", 3 * HOUR, remembered={"failure": "404"}, **busy())
    assert verbs(decided(refused, bridge("b"), bridge("c"), **since)) == []


def test_a_machine_that_was_never_ready_is_no_witness_of_its_own() -> None:
    """It answers, drained and empty, and the only other one is silent: that may be us."""
    asked = {"asked_by": "i1", "asked_at": NOW - HOUR, "phase": Phase.FAILED, **found_empty()}
    asked["process_started_at"] = None
    failed = bridge(
        "x", HOUR, remembered=asked, drain=True, unhealthy_because="not in its MUC", mucs_joined=0
    )
    assert verbs(decided(failed, unheard("b"))) == []
    heard = decided(failed, bridge("b"))
    assert verbs(heard) == ["fence x"]
    assert [a.never_ready for a in heard.actions if isinstance(a, Fence)] == [True]


def test_one_that_never_ran_is_deleted_as_that() -> None:
    """The record says which rule removed it."""
    asked = {"asked_by": "i1", "asked_at": NOW - HOUR, "phase": Phase.FAILED}
    gone = unheard("x", HOUR, remembered=asked, arm={"power": Power.STOPPED}, reach=Reach.NOT_ASKED)
    refused = unheard("x", HOUR, remembered={**asked, "exited_at": NOW - MINUTE}, reach=Reach.REFUSED)
    for machine in (gone, refused):
        found = decided(machine, bridge("b"))
        assert [a.cause for a in found.actions if isinstance(a, Delete)] == [Cause.NEVER_READY]


def test_a_broken_machine_that_was_a_bridge_still_has_to_be_seen_to_exit() -> None:
    """ARM's word of a failed provisioning stands for the exit only where there never was a process."""
    broken: dict[str, Any] = {"provisioning": "Failed", "power": Power.UNKNOWN}
    fenced = unheard("a", 3 * HOUR, remembered=FENCED, arm=broken)
    assert verbs(decided(fenced, bridge("b"))) == []


def test_an_exit_is_still_one_on_a_machine_that_was_stopped() -> None:
    """Nobody answers on it, and nobody refuses either."""
    stopped = unheard("a", 3 * HOUR, remembered=EXITED, arm={"power": Power.STOPPED}, reach=Reach.NOT_ASKED)
    assert verbs(decided(stopped, bridge("b"))) == ["delete a"]
    assert verbs(decided(unheard("a", 3 * HOUR, remembered=EXITED), bridge("b"))) == []


@pytest.mark.parametrize("field", ["known_since", "last_undrain_at"])
def test_the_window_without_new_drains_ends_to_the_second(field: str) -> None:
    """Ten minutes are enough, one second less is not."""
    fleet = (bridge("a", 3 * HOUR), bridge("b"))
    just: dict[str, Any] = {field: NOW - 10 * MINUTE}
    not_yet: dict[str, Any] = {field: NOW - 10 * MINUTE + SECOND}
    assert verbs(decided(*fleet, **just)) == ["drain a"]
    assert verbs(decided(*fleet, **not_yet)) == []


def test_what_a_busy_shard_waits_for_behind_somebody_elses_drain_is_said() -> None:
    """An operator's drain and one that nobody explains have their own names."""
    foreign = bridge("a", 3 * HOUR, remembered=draining(Purpose.FOREIGN), drain=True)
    assert Reason.FOREIGN_DRAIN in reasons(decided(foreign, bridge("b")), "a")
    ours = drained("a", remembered=draining())
    assert Reason.ALREADY_LEAVING in reasons(decided(ours, bridge("b"), bridge("c")), "a")


@pytest.mark.parametrize(
    ("leaving", "done"),
    [
        (unheard("a", arm={"provisioning": "Failed", "power": Power.UNKNOWN}, remembered=FENCED), []),
        (unheard("a", reach=Reach.REFUSED, remembered={**FENCED, "ever_ready": False}), []),
        (unheard("a", reach=Reach.NOT_ASKED, arm={"power": Power.STOPPED}, remembered=EXITED), ["delete a"]),
        (
            unheard(
                "a",
                reach=Reach.REFUSED,
                arm={"provisioning": "Deleting"},
                remembered={**EXITED, "phase": Phase.DELETING, "phase_since": NOW - HOUR},
            ),
            [],
        ),
    ],
    ids=["ARM lost it, it served", "never ready, not seen to exit", "switched off", "being deleted"],
)
def test_only_a_machine_that_never_served_and_that_arm_could_not_make_needs_no_exit(
    leaving: Bridge, done: list[str]
) -> None:
    """All others were seen to exit, and are so still; what ARM is deleting is not asked for again."""
    assert verbs(decided(leaving, bridge("b"))) == done


def test_every_delete_says_which_rule_asked_for_it() -> None:
    """The night's, a tear-down without a fence, one that never joined, a dead one."""

    def cause(*bridges: Bridge, **rules: Any) -> Cause:
        (only,) = decided(*bridges, policy_=policy(**rules)).actions
        assert isinstance(only, Delete)
        return only.cause

    exited = unheard("a", reach=Reach.REFUSED, remembered={**EXITED, "purpose": Purpose.RECYCLE})
    assert cause(exited, bridge("b")) is Cause.RECYCLE
    open_ = drained(remembered=draining(**found_empty(), fence_failure="404"))
    assert cause(open_, bridge("b"), require_fence=False) is Cause.TEAR_DOWN
    assert cause(bridge("b"), never_joined(remembered=GONE)) is Cause.NEVER_READY
    off = never_joined(Reach.NOT_ASKED, arm={"power": Power.STOPPED})
    assert cause(bridge("b"), off) is Cause.NEVER_READY
    corpse, alive = unheard("a", 9 * HOUR, remembered=DEAD), [bridge(name, 50 * MINUTE) for name in "bc"]
    assert cause(corpse, *alive, replace_dead_after_minutes=30) is Cause.DEAD


def test_a_fence_of_one_that_never_joined_says_so() -> None:
    """Its terms are others: it was never one of those that accept."""
    empty = never_joined(poll_=told_start(drain=True, mucs_joined=0), remembered=found_empty(), fresh=True)
    (fence,) = decided(bridge("b"), empty).actions
    assert isinstance(fence, Fence)
    assert fence.never_ready


def test_the_next_to_be_emptied_has_objections_of_its_own() -> None:
    """Behind one that leaves, a protected one is not drained, whatever the surplus."""
    since: dict[str, Any] = {"surplus_since": NOW - HOUR}
    leaving, rest = drained("a", **busy()), [bridge(name, HOUR) for name in "cdef"]
    protect = command("protect", "b", state=CommandState.IN_FORCE, expires_at=NOW + HOUR)
    kept = decided(leaving, bridge("b", **busy()), *rest, commands=(protect,), **since)
    assert not any(isinstance(action, Drain) for action in kept.actions)
    assert Reason.PROTECTED in reasons(kept, "b")


def test_a_protected_machine_is_named_where_it_would_have_been_removed() -> None:
    """The operator reads who keeps it."""
    protect = command("protect", "x", state=CommandState.IN_FORCE, expires_at=NOW + HOUR)
    kept = decided(bridge("b"), never_joined(remembered=GONE), commands=(protect,))
    assert verbs(kept) == []
    assert Reason.PROTECTED in reasons(kept, "x")
    corpse = unheard("x", 9 * HOUR, remembered=DEAD)
    alive = [bridge(name, 50 * MINUTE) for name in "bc"]
    dead = decided(corpse, *alive, commands=(protect,), policy_=policy(replace_dead_after_minutes=30))
    assert Reason.PROTECTED in reasons(dead, "x")


@pytest.mark.parametrize(
    ("arm", "done"),
    [
        ({"provisioning": "Failed", "power": Power.UNKNOWN, "error": "AllocationFailed: no room"}, True),
        ({"provisioning": "Failed", "power": Power.UNKNOWN, "error": "OSProvisioningTimedOut: late"}, False),
        ({"provisioning": "Failed", "power": Power.UNKNOWN}, False),
        ({"power": Power.STOPPED}, True),
    ],
    ids=["no room", "slow", "no word", "off"],
)
def test_where_arm_tells_that_nothing_runs_no_witness_is_needed(arm: dict[str, Any], *, done: bool) -> None:
    """Else shells of failed creations would fill a shard to its maximum while its only bridge is dead."""
    shell = never_joined(Reach.NOT_ASKED, arm=arm)
    assert ("delete x" in verbs(decided(unheard("b"), shell))) is done


def test_a_provisioning_that_failed_is_no_proof_that_nothing_runs() -> None:
    """An extension may have failed on a VM that runs, whose power ARM does not tell: a person is told."""
    failed = {"provisioning": "Failed", "power": Power.UNKNOWN, "error": "VMExtensionProvisioningError: x"}
    kept = decided(bridge("b"), never_joined(Reach.TIMED_OUT, arm=failed))
    assert verbs(kept) == []
    assert "cannot_reach" in alert_kinds(kept)
    gone = never_joined(arm=failed, remembered=GONE)
    assert verbs(decided(bridge("b"), gone)) == ["delete x"]


def test_a_fenced_one_whose_process_ended_is_no_witness_to_wait_for() -> None:
    """The last bridge, fenced, stays until another accepts: the dead beside it would fill the shard."""
    ended = {"phase": Phase.FENCED, "fenced_at": NOW - HOUR, **GONE}
    last = unheard("b", 5 * HOUR, reach=Reach.REFUSED, remembered=ended)
    dead = never_joined(remembered=GONE)
    assert verbs(decided(last, dead, capacity=2)).count("delete x") == 1
    for other in (
        unheard("b", 5 * HOUR, reach=Reach.TIMED_OUT, remembered=ended),
        unheard("b", 5 * HOUR, reach=Reach.REFUSED, remembered={**ended, "exited_at": None}),
        unheard("b", 5 * HOUR, reach=Reach.REFUSED, remembered={**ended, "phase": Phase.READY}),
    ):
        assert "delete x" not in verbs(decided(other, dead, capacity=2))


def test_another_that_never_joined_is_no_witness() -> None:
    """Only one that was ready shows by its answer that we can hear."""
    other = never_joined(name="y", poll_=poll(mucs_joined=0), fresh=True)
    unseen = decided(unheard("b"), never_joined(remembered=GONE), other)
    assert "delete x" not in verbs(unseen)
    assert Reason.NO_WITNESS in reasons(unseen, "x")


def test_the_pace_ends_to_the_second_and_is_looser_at_night() -> None:
    """Ten minutes are enough; at night the rest may carry what adds bridges by day."""
    of_old: dict[str, Any] = {"last_undrain_at": NOW - 10 * MINUTE, "known_since": NOW - 10 * MINUTE}
    assert verbs(decided(bridge("a", 3 * HOUR), bridge("b"), **of_old)) == ["drain a"]
    them = fleet(bridge("a", 3 * HOUR), bridge("b", pressure=0.7))
    state = them.snapshot.memory
    by_day = pace_objections(them, state, 1, grew=False)
    assert [refusal.reason for refusal in by_day] == [Reason.NO_HEADROOM]
    assert pace_objections(them, state, 1, grew=False, at_night=True) == ()
    added = drains(fleet(bridge("a", 3 * HOUR, **busy()), bridge("b")), state, grew=True)
    assert Reason.SCALED_OUT in {refusal.reason for refusal in added.refusals}
