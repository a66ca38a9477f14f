"""What load asks for, and each limit on it."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.decision import Reason, RepairCapacity, ScaleOut, Undrain
from scaler.model import Bridge, Phase, Purpose
from scaler.scale_out import LIST_IS_NEVER_OLDER
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    all_reasons,
    bridge,
    busy,
    decided,
    draining,
    hot,
    intent,
    policy,
    reasons,
    unheard,
    verbs,
)

GIANT = {"largest_conference": 300, **busy(1, 300)}


@pytest.mark.parametrize(
    ("pressures", "bought"),
    [
        ((0.8,), 0),
        ((0.81,), 1),
        ((0.8, 0.8), 0),
        ((0.9, 0.8), 1),
        ((0.3, 1.01), 1),
        ((1.7, 0.6), 1),
        ((1.0, 1.0), 1),
    ],
)
def test_machines_by_demand_or_by_one_hot_bridge(pressures: tuple[float, ...], bought: int) -> None:
    """Over 0.8 on average, or any bridge over its threshold: the higher vote wins."""
    bridges = [bridge(name, pressure=p, **busy(9, 90)) for name, p in zip("ab", pressures, strict=False)]
    out = [action for action in decided(*bridges).actions if isinstance(action, ScaleOut)]
    assert sum(action.count for action in out) == bought
    assert all(action.capacity == len(bridges) + bought for action in out)


def test_what_is_on_its_way_counts() -> None:
    """Booting machines and open intents cover the demand; the hot bridge is told so."""
    boots = unheard("b", MINUTE, remembered={"phase": Phase.BOOTING})
    assert verbs(decided(hot("a", 1.1), boots)) == []
    covered = decided(hot("a", 1.1), intents=[intent()])
    assert verbs(covered) == []
    assert Reason.PENDING_COVERS in reasons(covered)
    assert verbs(decided(hot("a", 1.7), boots)) == ["scale_out 3"]


def test_a_saturated_fleet_is_doubled_at_its_second_poll() -> None:
    """Full bridges cannot say how full: one poll is not enough, two double the fleet."""
    full = [hot(name, 1.3) for name in "abc"]
    assert verbs(decided(*full, lower_bound_polls=0)) == ["scale_out 5"]
    assert verbs(decided(*full, lower_bound_polls=1)) == ["scale_out 6"]


def test_a_hot_bridge_is_answered_once() -> None:
    """Then it is said that another bridge cannot help; what is pending is waited for first."""
    (first,) = decided(hot("a", **GIANT), bridge("b")).actions
    assert isinstance(first, ScaleOut)
    assert first.answers == ("vm-a",)
    had_one = hot("a", **GIANT, remembered={"hot_answered": True})
    again = decided(had_one, bridge("b"))
    assert verbs(again) == []
    assert Reason.NEW_BRIDGE_CANNOT_HELP in reasons(again, "a")
    assert Reason.NEW_BRIDGE_CANNOT_HELP not in all_reasons(decided(had_one, bridge("b"), intents=[intent()]))


def test_two_hot_bridges_are_answered_one_after_the_other() -> None:
    """The hottest first; the machine on its way is not the other one's answer."""
    (first,) = decided(hot("a", 1.1), hot("b", 1.2), *idle("cde")).actions
    assert isinstance(first, ScaleOut)
    assert (first.count, first.answers) == (1, ("vm-b",))


def idle(names: str) -> list[Bridge]:
    """Bridges with nothing to do."""
    return [bridge(name, HOUR) for name in names]


def test_a_giant_on_its_way_to_hot_has_its_answer_in_the_machine_its_demand_asks_for() -> None:
    """Not yet hot, but nothing can be taken off it: a second bridge for the same conference helps nobody."""
    (first,) = decided(bridge("a", pressure=0.9, **GIANT)).actions
    assert isinstance(first, ScaleOut)
    assert first.answers == ("vm-a",)
    (spread,) = decided(bridge("a", pressure=0.9, **busy(30, 180))).actions
    assert isinstance(spread, ScaleOut)
    assert spread.answers == ()


def test_taking_back_drains_is_the_first_step() -> None:
    """Youngest first, only ours and healthy ones, each an answer to one hot bridge."""
    drains = [
        bridge("b", 3 * HOUR, remembered=draining(Purpose.SURPLUS)),
        bridge("c", 2 * HOUR, remembered=draining(Purpose.TEAR_DOWN)),
        bridge("d", HOUR, remembered=draining(Purpose.FOREIGN), drain=True),
        bridge("e", HOUR, remembered=draining(Purpose.OPERATOR)),
        bridge("f", HOUR, remembered={"phase": Phase.FENCED}),
    ]
    decision = decided(hot("a", 1.1), *drains)
    assert verbs(decision) == ["undrain c"]
    (undrain,) = decision.actions
    assert isinstance(undrain, Undrain)
    assert undrain.answers == ("vm-a",)
    more = decided(hot("a", 2.3), *drains)
    assert verbs(more) == ["undrain c", "undrain b"]
    unheard_drain = unheard("b", remembered=draining(Purpose.SURPLUS))
    assert verbs(decided(hot("a", 1.1), unheard_drain)) == ["scale_out 3"]


@pytest.mark.parametrize(("pressure", "done"), [(0.8, []), (0.81, ["undrain a"])])
def test_a_drain_in_force_is_judged_as_already_gone(pressure: float, done: list[str]) -> None:
    """It stays up to 0.8 of the rest; above, it is taken back."""
    drained = bridge("a", 3 * HOUR, remembered=draining(Purpose.SURPLUS))
    assert verbs(decided(drained, bridge("b", pressure=pressure, **busy()))) == done


@pytest.mark.parametrize(
    ("minimum", "failure", "done"), [(1, None, False), (2, None, True), (1, "404: no drain", True)]
)
def test_a_drain_is_taken_back_when_an_older_bridge_is_back_and_cannot_go_before_it(
    minimum: int, failure: str | None, done: bool
) -> None:
    """The oldest waits for the minimum, or refuses, and the drained one for the oldest: one must give way."""
    back, other = bridge("a", 3 * HOUR, remembered={"failure": failure}), bridge("c", HOUR)
    drained = bridge("b", 2 * HOUR, drain=True, remembered=draining(Purpose.TEAR_DOWN))
    actions = decided(back, drained, other, policy_=policy(min_bridges=minimum)).actions
    undrains = [each for each in actions if isinstance(each, Undrain)]
    assert any("an older bridge is back" in each.because for each in undrains) is done


def test_a_drain_is_taken_back_for_the_minimum() -> None:
    """A drain must never leave fewer accepting ones than the operator wants."""
    drained = bridge("a", 3 * HOUR, remembered=draining(Purpose.SURPLUS))
    assert "undrain a" in verbs(decided(drained, bridge("b"), policy_=policy(min_bridges=2)))


def test_below_the_minimum_it_is_raised_to_it() -> None:
    """By machines of use: sick and failed ones are none."""
    assert verbs(decided(bridge("a"), policy_=policy(min_bridges=3))) == ["scale_out 3"]
    sick = unheard("b", remembered={"polls": "00000", "bad_since": NOW - HOUR})
    assert verbs(decided(bridge("a"), sick, policy_=policy(min_bridges=2))) == ["scale_out 3"]
    pending = decided(bridge("a"), policy_=policy(min_bridges=2), intents=[intent(capacity=2)])
    assert verbs(pending) == []


def test_each_limit_says_so() -> None:
    """The step, the maximum, the back-off, and a capacity that is not what is listed."""
    step = decided(hot("a", 9.0))
    assert verbs(step) == ["scale_out 5"]
    assert Reason.STEP_LIMIT in reasons(step)
    maximum = decided(hot("a", 9.0), policy_=policy(max_bridges=3))
    assert verbs(maximum) == ["scale_out 3"]
    assert Reason.AT_MAXIMUM in reasons(maximum)
    waiting = decided(hot("a"), backoff_until=NOW + MINUTE, boot_failures=1)
    assert verbs(waiting) == []
    assert Reason.BACKING_OFF in reasons(waiting)
    assert verbs(decided(hot("a"), backoff_until=NOW, boot_failures=1)) == ["scale_out 2"]
    disagrees = decided(hot("a"), capacity=3)
    assert verbs(disagrees) == []
    assert Reason.CAPACITY_DISAGREES in reasons(disagrees)


def test_one_sick_machine_does_not_use_up_the_maximum() -> None:
    """It can be stood in for; a second sick one cannot."""
    sick = [unheard(name, remembered={"polls": "00000", "bad_since": NOW - HOUR}) for name in "bc"]
    assert verbs(decided(hot("a"), bridge("d"), bridge("e"), sick[0], policy_=policy(max_bridges=4))) == [
        "scale_out 5"
    ]
    others = [bridge(name) for name in "defgh"]
    full = decided(hot("a"), *others, *sick, policy_=policy(max_bridges=7))
    assert verbs(full) == []


@pytest.mark.parametrize(
    ("state", "bought"),
    [({}, ["scale_out 3"]), ({"blind_bought": True}, [])],
)
def test_while_blind_one_machine_at_most_and_only_below_the_minimum(
    state: dict[str, bool], bought: list[str]
) -> None:
    """Silence must not buy a second fleet."""
    gone = [unheard(name, remembered={"polls": "00000", "bad_since": NOW - HOUR}) for name in "ab"]
    blind: dict[str, Any] = {"blind_since": NOW - HOUR, **state}
    decision = decided(*gone, policy_=policy(min_bridges=2), **blind)
    assert verbs(decision) == bought
    assert Reason.BLIND in reasons(decision)
    enough = decided(*gone, hot("c"), **blind)
    assert verbs(enough) == []


def test_capacity_is_repaired_only_where_the_operator_allows_it() -> None:
    """With nothing in flight, up or down, and only when no list can be as stale as that."""
    allowed = policy(repair_capacity=True)
    missing: dict[str, Any] = {"capacity": 3, "disagree_ticks": 20, "capacity_gap": 2, "gap_etag": "1"}
    lasting: dict[str, Any] = {**missing, "gap_since": NOW - LIST_IS_NEVER_OLDER}
    decision = decided(bridge("a", MINUTE), **lasting, policy_=allowed)
    assert decision.actions == (RepairCapacity(1, "nothing is in flight, and `repair_capacity` is set"),)
    shorter = {**lasting, "gap_since": NOW - LIST_IS_NEVER_OLDER + SECOND}
    assert verbs(decided(bridge("a", MINUTE), **shorter, policy_=allowed)) == []
    assert verbs(decided(bridge("a", MINUTE), **missing, policy_=allowed)) == []
    assert verbs(decided(bridge("a", MINUTE), **lasting)) == []
    other = {**lasting, "capacity": 4}
    assert verbs(decided(bridge("a", MINUTE), **other, policy_=allowed)) == []
    booting = unheard("b", MINUTE, remembered={"phase": Phase.BOOTING})
    assert verbs(decided(bridge("a", MINUTE), booting, **lasting, policy_=allowed)) == []
    two = (bridge("a", MINUTE), bridge("b", MINUTE))
    low: dict[str, Any] = {"capacity": 1, "disagree_ticks": 20, "capacity_gap": -1, "gap_etag": "1"}
    assert verbs(decided(*two, **low, policy_=allowed)) == []
    low["gap_since"] = NOW - LIST_IS_NEVER_OLDER
    assert verbs(decided(*two, **low, policy_=allowed)) == ["repair_capacity 2"]


@pytest.mark.parametrize("capacity", [1, 3])
def test_no_capacity_is_repaired_from_a_list_that_lacks_a_machine(capacity: int) -> None:
    """The gap is as large as the one before it, and Azure would choose a victim."""
    state: dict[str, Any] = {
        "disagree_ticks": 20,
        "capacity_gap": capacity - 2,
        "gap_etag": "1",
        "gap_since": NOW - LIST_IS_NEVER_OLDER,
        "capacity": capacity,
        "policy_": policy(repair_capacity=True),
    }
    two = (bridge("a", MINUTE), bridge("b", MINUTE))
    assert verbs(decided(*two, **state)) == ["repair_capacity 2"]
    lacking = decided(*two, **state, unlisted=frozenset({"vm-z"}))
    assert verbs(lacking) == []
    assert lacking.memory.gap_since == NOW


@pytest.mark.parametrize(
    ("changes", "opened"),
    [
        ({"remembered": {"phase": Phase.BOOTING, "polls": "011"}}, True),
        ({"remembered": {"phase": Phase.BOOTING, "polls": "1101"}}, False),
        ({"remembered": {"phase": Phase.FAILED, "polls": "11"}, "drain": True}, True),
        ({"remembered": {"starts_drained": True}, "drain": True}, True),
        ({"remembered": {"starts_drained": False}, "drain": True}, False),
        ({"remembered": draining(wanted_drain=False), "drain": True}, True),
        ({"remembered": draining(Purpose.FOREIGN), "drain": True}, False),
        ({"remembered": draining(wanted_drain=False), "drain": False}, False),
        ({"remembered": draining(wanted_drain=False), "drain": True, "unhealthy_because": "x"}, False),
    ],
)
def test_bridges_that_wait_to_be_opened(changes: dict[str, object], *, opened: bool) -> None:
    """Those whose image starts drained, healthy in two polls; and un-drains that were not seen yet."""
    decision = decided(bridge("a", **changes))  # type: ignore[arg-type]
    assert ("undrain a" in verbs(decision)) is opened
