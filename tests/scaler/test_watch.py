"""What is counted from tick to tick, and what a person is told while it lasts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from scaler.model import Bridge, Phase, Purpose
from scaler.watch import alerts, capacity_disagrees, count_on, expected_capacity
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    alert_kinds,
    bridge,
    busy,
    decided,
    draining,
    fleet,
    intent,
    policy,
    scale_set,
    unheard,
)

SICK = {"polls": "00000", "bad_since": NOW - HOUR}


def kinds(*bridges: Bridge, **changes: Any) -> list[str]:
    """Alerts of a shard."""
    view = fleet(*bridges, **changes)
    return [alert.kind for alert in alerts(view, count_on(view))]


def test_a_surplus_is_remembered_since_when() -> None:
    """Over a lone bridge there is none; while blind none is counted; more load ends it."""
    spare = count_on(fleet(bridge("a"), bridge("b")))
    assert spare.surplus_since == NOW
    lasting = count_on(fleet(bridge("a"), bridge("b"), surplus_since=NOW - HOUR))
    assert lasting.surplus_since == NOW - HOUR
    assert count_on(fleet(bridge("a"))).surplus_since is None
    loaded = [bridge(name, pressure=0.4, **busy()) for name in "ab"]
    assert count_on(fleet(*loaded, surplus_since=NOW - HOUR)).surplus_since is None
    assert count_on(fleet(bridge("a"), bridge("b"), blind_since=NOW)).surplus_since is None


@pytest.mark.parametrize("phase", [Phase.READY, Phase.DRAINING])
def test_a_jvb_too_old_to_be_drained_is_an_alert(phase: Phase) -> None:
    """It stays for ever and is judged in nothing, so a person must know while it lasts."""
    old = unheard("a", remembered={"phase": phase, "unsupported": True, "purpose": Purpose.FOREIGN})
    assert "unsupported" in kinds(old, bridge("b"))
    assert "unsupported" not in kinds(bridge("a", remembered={"phase": phase}), bridge("b"))


@pytest.mark.parametrize(
    ("restarts", "ago", "told"),
    [(3, MINUTE, True), (2, MINUTE, False), (3, HOUR - SECOND, True), (3, HOUR, False)],
)
def test_a_jvb_that_keeps_restarting_is_an_alert(restarts: int, ago: timedelta, told: bool) -> None:
    """It cuts calls each time, and is never old enough to go; an hour without one closes it."""
    known = {"restarts": restarts, "restart_seen_at": NOW - ago}
    assert ("keeps_restarting" in kinds(bridge("a", remembered=known), bridge("b"))) is told


def test_what_lasted_while_nobody_looked_did_not_last() -> None:
    """After five minutes without a tick, what is counted from tick to tick starts over."""
    before: dict[str, Any] = {
        "surplus_since": NOW - HOUR,
        "lower_bound_polls": 1,
        "last_tick_at": NOW - 5 * MINUTE,
    }
    view = (bridge("a"), bridge("b"))
    assert count_on(fleet(*view, **before)).surplus_since == NOW - HOUR
    before["last_tick_at"] = NOW - 5 * MINUTE - SECOND
    assert count_on(fleet(*view, **before)).surplus_since == NOW


def test_polls_at_saturation_are_counted_in_a_row() -> None:
    """From 1.2 a bridge on."""
    assert count_on(fleet(bridge("a", pressure=1.2), lower_bound_polls=3)).lower_bound_polls == 4
    assert count_on(fleet(bridge("a", pressure=1.19), lower_bound_polls=3)).lower_bound_polls == 0
    assert count_on(fleet(lower_bound_polls=3)).lower_bound_polls == 0


def test_blindness_lasts_until_three_clear_ticks_in_a_row() -> None:
    """A relapse starts the count over."""
    gone, here = [unheard("a"), unheard("b")], [bridge("a"), bridge("b")]
    assert count_on(fleet(*gone)).blind_since == NOW
    blind: dict[str, Any] = {"blind_since": NOW - HOUR, "blind_bought": True}
    relapse = count_on(fleet(*gone, **blind, blind_clear_ticks=2))
    assert (relapse.blind_since, relapse.blind_clear_ticks, relapse.blind_bought) == (NOW - HOUR, 0, True)
    clearing = count_on(fleet(*here, **blind, blind_clear_ticks=1))
    assert (clearing.blind_since, clearing.blind_clear_ticks) == (NOW - HOUR, 2)
    clear = count_on(fleet(*here, **blind, blind_clear_ticks=2))
    assert (clear.blind_since, clear.blind_clear_ticks, clear.blind_ended_at) == (None, 0, NOW)


@pytest.mark.parametrize(
    ("ended", "bought"), [(None, False), (NOW - HOUR, False), (NOW - HOUR + SECOND, True)]
)
def test_silence_that_comes_back_within_the_hour_buys_nothing_more(
    ended: datetime | None, *, bought: bool
) -> None:
    """A way to the bridges that comes and goes would buy a fleet, one machine each time."""
    again = count_on(fleet(unheard("a"), unheard("b"), blind_bought=True, blind_ended_at=ended))
    assert (again.blind_since, again.blind_bought) == (NOW, bought)


def test_capacity_is_compared_with_what_is_listed_and_asked_for() -> None:
    """Without what is being deleted; while something is deleted ARM may be between two states."""
    leaves = {"phase": Phase.DELETING, "phase_since": NOW - MINUTE}
    going = bridge("c", arm={"provisioning": "Deleting"}, remembered=leaves)
    view = fleet(bridge("a"), bridge("b"), going, intents=[intent()])
    assert expected_capacity(view) == 3
    assert not capacity_disagrees(view)
    assert count_on(fleet(bridge("a"), capacity=2, disagree_ticks=1)).disagree_ticks == 2
    assert count_on(fleet(bridge("a"), going, capacity=2, disagree_ticks=1)).disagree_ticks == 0
    late = bridge(
        "c",
        arm={"provisioning": "Deleting"},
        remembered={"phase": Phase.DELETING, "phase_since": NOW - 16 * MINUTE},
    )
    assert count_on(fleet(bridge("a"), late, capacity=2, disagree_ticks=1)).disagree_ticks == 2
    assert not capacity_disagrees(fleet(bridge("a"), scale_set=None))
    assert kinds(bridge("a"), scale_set=None, disagree_ticks=5) == []


SEEN_BEFORE: dict[str, Any] = {"capacity_gap": 1, "gap_since": NOW - HOUR, "gap_etag": "1"}


@pytest.mark.parametrize(
    ("capacity", "state", "gap", "since"),
    [
        (1, SEEN_BEFORE, 0, None),
        (2, {}, 1, NOW),
        (2, SEEN_BEFORE, 1, NOW - HOUR),
        (3, SEEN_BEFORE, 2, NOW),
        (2, {**SEEN_BEFORE, "last_tick_at": NOW - HOUR}, 1, NOW),
        (2, {**SEEN_BEFORE, "gap_etag": "0"}, 1, NOW),
        (2, {**SEEN_BEFORE, "gap_etag": None}, 1, NOW),
        (2, {**SEEN_BEFORE, "unlisted": frozenset({"vm-z"})}, 1, NOW),
    ],
    ids=["none", "new", "the same", "another", "not watched", "written to", "was not at rest", "one lacks"],
)
def test_a_gap_of_the_capacity_lasts_while_it_is_seen_and_stays_the_same(
    capacity: int, state: dict[str, Any], gap: int, since: datetime | None
) -> None:
    """Another number is another matter, and what lasted while nobody looked did not last."""
    counted = count_on(fleet(bridge("a"), capacity=capacity, **state))
    assert (counted.capacity_gap, counted.gap_since) == (gap, since)
    assert counted.gap_etag == ("1" if gap else None)


def test_no_gap_lasts_while_arm_makes_machines() -> None:
    """A list older than the machine that has just come shows the gap that it ended."""
    making = scale_set(2, provisioning="Updating")
    counted = count_on(fleet(bridge("a"), scale_set=making, **SEEN_BEFORE))
    assert (counted.capacity_gap, counted.gap_since, counted.gap_etag) == (1, NOW, None)


@pytest.mark.parametrize(
    ("bridges", "state", "expected"),
    [
        ((), {}, ["no_accepting_bridge"]),
        ((), {"known_since": NOW - 10 * MINUTE + SECOND}, []),
        ((bridge("a"),), {}, []),
        ((bridge("a", remembered=draining(Purpose.OPERATOR)),), {}, ["no_accepting_bridge"]),
        ((unheard("a"), unheard("b")), {}, ["blind"]),
        ((bridge("a"), bridge("b")), {"blind_since": NOW - HOUR}, ["blind"]),
        ((unheard("a", remembered=SICK), unheard("b", remembered=SICK)), {}, ["blind"]),
        ((bridge("b"), unheard("a", remembered=SICK)), {}, ["sick"]),
        ((bridge("a"),), {"boot_failures": 1}, []),
        ((bridge("a"),), {"boot_failures": 2}, ["boot_failures"]),
        ((bridge("a"),), {"capacity": 2, "disagree_ticks": 0}, []),
        ((bridge("a"),), {"capacity": 2, "disagree_ticks": 1}, ["capacity_disagrees"]),
    ],
)
def test_alerts_of_a_shard(bridges: tuple[Bridge, ...], state: dict[str, Any], expected: list[str]) -> None:
    """One for what is common; while blind nobody is called sick."""
    assert kinds(*bridges, **state) == expected


def test_an_operators_drain_that_keeps_the_others_is_told_after_an_hour() -> None:
    """Empty and the oldest: nothing else leaves before it, and the app leaves it to the operator."""
    waits = draining(Purpose.OPERATOR, HOUR)
    oldest_one, other = bridge("a", 9 * HOUR, remembered=waits, drain=True), bridge("b", HOUR)
    assert kinds(oldest_one, other) == ["operator_drain"]
    assert kinds(bridge("a", 9 * HOUR, remembered=waits, **busy(drain=True)), other) == []
    assert kinds(bridge("a", HOUR, remembered=waits, drain=True), bridge("b", 9 * HOUR)) == []
    shorter = draining(Purpose.OPERATOR, HOUR - SECOND)
    assert kinds(bridge("a", 9 * HOUR, remembered=shorter, drain=True), other) == []


LATE = 15 * MINUTE + SECOND


@pytest.mark.parametrize(
    ("remembered", "changes", "expected"),
    [
        ({"phase": Phase.FENCED, "phase_since": NOW - 5 * MINUTE}, {}, None),
        ({"phase": Phase.FENCED, "phase_since": NOW - 5 * MINUTE - SECOND}, {}, "exit_overdue"),
        ({"phase": Phase.FENCED, "phase_since": NOW - HOUR, "exited_at": NOW}, {}, None),
        ({"phase": Phase.DELETING, "phase_since": NOW - LATE}, {}, "delete_overdue"),
        ({"phase": Phase.DELETING, "phase_since": NOW - LATE + SECOND}, {}, None),
        (draining(drain_unseen_polls=1), {}, None),
        (draining(drain_unseen_polls=2), {}, "drain_not_seen"),
        (draining(Purpose.FOREIGN, 10 * MINUTE), {}, "foreign_drain"),
        (draining(Purpose.FOREIGN, 10 * MINUTE - SECOND), {}, None),
        (draining(fence_failure="404"), {}, "no_fence"),
        ({"failure": "404"}, {}, "drain_refused"),
        (draining(failure="404"), {}, "drain_refused"),
        ({"fences_ignored": 2}, {}, "no_fence"),
        (draining(fences_ignored=2), {}, "no_fence"),
        ({"phase": Phase.FENCED, "phase_since": NOW, "fences_ignored": 2}, {}, "no_fence"),
        ({"phase": Phase.FAILED, "ever_ready": False, "fences_ignored": 2}, {}, "no_fence"),
        ({"phase": Phase.DELETING, "phase_since": NOW, "fences_ignored": 2}, {}, None),
        (draining(since=24 * HOUR), busy(), "stuck_drain"),
        (draining(since=24 * HOUR), {"fresh": False, **busy()}, None),
        (draining(since=24 * HOUR), {}, None),
        (draining(since=23 * HOUR), busy(), None),
    ],
)
def test_alerts_of_a_bridge(
    remembered: dict[str, Any], changes: dict[str, Any], expected: str | None
) -> None:
    """Each has its patience."""
    found = kinds(bridge("a", 99 * HOUR, remembered=remembered, **changes), bridge("b"))
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("intents", "failed", "why"),
    [
        (
            [intent(1, error="old", ended_at=NOW - HOUR), intent(2, error="AllocationFailed", ended_at=NOW)],
            [],
            "AllocationFailed",
        ),
        ([intent(1, error="not ended")], [], "not ended"),
        ([], [{"failure": "port refused"}], "port refused"),
        ([], [{"failure": None}], "it never joined"),
    ],
)
def test_failed_creations_are_told_with_the_newest_reason(
    intents: list[Any], failed: list[dict[str, Any]], why: str
) -> None:
    """ARM's words, else the machine's, else that it never joined."""
    machines = [
        unheard("x", remembered={"phase": Phase.FAILED, "asked_by": "i", **known}) for known in failed
    ]
    decision = decided(bridge("a"), *machines, intents=intents, boot_failures=2)
    (text,) = [alert.text for alert in decision.alerts if alert.kind == "boot_failures"]
    assert text == f"2 creations failed in a row, the last one: {why}"


def test_alerts_give_the_figures_and_the_command() -> None:
    """What a person needs to act."""
    told = {a.kind: a.text for a in decided(bridge("b"), unheard("a", remembered=SICK)).alerts}
    assert "jvb-autoscaler replace a --why" in told["sick"]
    stuck = bridge("a", 99 * HOUR, remembered=draining(since=timedelta(hours=30)), **busy(2))
    told = {a.kind: a.text for a in decided(stuck, bridge("b")).alerts}
    assert told["stuck_drain"] == "drains for 30 h, 2 conferences left"
    told = {a.kind: a.text for a in decided(bridge("a"), blind_since=NOW - HOUR).alerts}
    assert "waiting for three clear ticks" in told["blind"]
    assert alert_kinds(decided(bridge("a"), policy_=policy())) == []
