"""How the rules are put together, and how refusals and alerts are kept from tick to tick."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaler.decide import decide, hold, left_drained
from scaler.decision import EventKind, Reason, Totals
from scaler.model import CommandState, Phase, Purpose, Reach, ShardMemory
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    alert_kinds,
    all_reasons,
    bridge,
    busy,
    command,
    decided,
    draining,
    found_empty,
    hot,
    intent,
    policy,
    reasons,
    shard_memory,
    snapshot,
    unheard,
    verbs,
)

EXITED = {"phase": Phase.FENCED, "phase_since": NOW - 3 * MINUTE, "exited_at": NOW - MINUTE}


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({"other_owner": "them"}, {}, Reason.OTHER_OWNER),
        ({}, {"nic_mbps": None}, Reason.CONFIGURATION_INCOMPLETE),
        ({"scale_set": None}, {"participants_per_bridge": None}, Reason.CONFIGURATION_INCOMPLETE),
    ],
)
def test_what_stops_everything(changes: dict[str, Any], rules: dict[str, Any], reason: Reason) -> None:
    """Another owner, or a missing setting: no action at all, one refusal, one alert of the same name."""
    drained = bridge("a", 3 * HOUR, remembered=draining(**found_empty()))
    decision = decided(drained, hot("b"), policy_=policy(**rules), **changes)
    assert decision.actions == ()
    assert reasons(decision) == {reason}
    assert str(reason) in alert_kinds(decision)


def test_a_pause_takes_back_what_is_ours_finishes_what_is_fenced_and_starts_nothing() -> None:
    """Even a hot bridge buys nothing."""
    bridges = (
        hot("a"),
        bridge("b", remembered=draining(Purpose.SURPLUS)),
        bridge("c", remembered=draining(Purpose.FOREIGN), drain=True),
        unheard("d", reach=Reach.REFUSED, remembered=EXITED),
        bridge("e", remembered={"phase": Phase.BOOTING}),
    )
    decision = decided(*bridges, paused=True, pause_reason="maintenance")
    assert verbs(decision) == ["undrain e", "undrain b", "delete d"]
    assert Reason.PAUSED in reasons(decision)
    (paused,) = [r.detail for r in decision.refusals if r.reason is Reason.PAUSED]
    assert paused == "maintenance"
    blind = decided(*bridges, paused=True, blind_since=NOW - HOUR)
    assert "delete d" not in verbs(blind)


def test_while_blind_nothing_is_taken_away() -> None:
    """No drain, no fence, no delete, no clean-up."""
    bridges = (
        bridge("a", 3 * HOUR, remembered=draining(**found_empty())),
        unheard("d", reach=Reach.REFUSED, remembered=EXITED),
        bridge("b"),
        bridge("c"),
    )
    assert verbs(decided(*bridges)) == ["delete d", "fence a"]
    assert verbs(decided(*bridges, blind_since=NOW - HOUR)) == []
    assert reasons(decided(*bridges, blind_since=NOW - HOUR)) == {Reason.BLIND}


def test_what_is_taken_back_is_not_repurposed_or_fenced_in_the_same_tick() -> None:
    """The un-drain wins."""
    drained = bridge("a", 3 * HOUR, remembered=draining(**found_empty()))
    assert verbs(decided(drained, hot("b"))) == ["undrain a"]


def test_at_most_one_delete_a_tick_whatever_the_rules() -> None:
    """An exited bridge, and a machine that never joined."""
    never = {"phase": Phase.FAILED, "asked_by": "i", "exited_at": NOW}
    decision = decided(
        unheard("a", reach=Reach.REFUSED, remembered=EXITED),
        unheard("x", MINUTE, reach=Reach.REFUSED, remembered=never),
        bridge("b"),
        bridge("c"),
    )
    assert [word for word in verbs(decision) if word.startswith("delete")] == ["delete a"]


def test_a_refusal_keeps_its_since_when_and_is_said_once() -> None:
    """Routine ones are in every record, and never an event."""
    foreign = bridge("a", 3 * HOUR, remembered=draining(Purpose.FOREIGN), drain=True)
    first = decided(foreign, bridge("b", **busy()))
    said = [e.text for e in first.events if e.kind is EventKind.REFUSED]
    assert [text.partition(":")[0] for text in said] == ["foreign_drain"]
    standing = dict.fromkeys(first.memory.standing, NOW - HOUR)
    again = decided(foreign, bridge("b", **busy()), standing=standing)
    assert [e for e in again.events if e.kind is EventKind.REFUSED] == []
    assert {r.since for r in again.refusals} == {NOW - HOUR}
    alone = decided(bridge("a"))
    assert [e for e in alone.events if e.kind is EventKind.REFUSED] == []


def test_an_alert_is_said_when_it_opens_and_when_it_is_over() -> None:
    """In between it only stands."""
    sick = unheard("a", remembered={"polls": "00000", "bad_since": NOW - HOUR})
    opened = decided(sick, bridge("b"))
    assert [e.kind for e in opened.events if "sick" in e.text] == [EventKind.ALERT]
    assert opened.memory.alerts == {"sick:a": NOW}
    lasting = decided(sick, bridge("b"), alerts={"sick:a": NOW - HOUR})
    assert [e for e in lasting.events if "sick" in e.text] == []
    assert lasting.memory.alerts == {"sick:a": NOW - HOUR}
    over = decided(bridge("a"), bridge("b"), alerts={"sick:a": NOW - HOUR})
    assert [(e.kind, e.subject, e.text) for e in over.events] == [
        (EventKind.ALERT_CLOSED, "a", "sick is over")
    ]
    assert over.memory.alerts == {}


def test_each_bridge_remembers_why_it_stays_and_since_when() -> None:
    """Its own refusal, else that an older one goes first; none for what is not waiting."""
    remembered = {"refusal": "oldest_busy", "refusal_since": NOW - HOUR}
    booting = bridge("c", MINUTE, remembered={"phase": Phase.BOOTING, "polls": "0"})
    decision = decided(bridge("a", 3 * HOUR, remembered=remembered, **busy()), bridge("b"), booting)
    rows = decision.bridges
    assert (rows["vm-a"].refusal, rows["vm-a"].refusal_since) == ("oldest_busy", NOW - HOUR)
    assert (rows["vm-b"].refusal, rows["vm-b"].refusal_since) == ("not_oldest", NOW)
    assert (rows["vm-c"].refusal, rows["vm-c"].refusal_since) == (None, None)


def test_totals_count_what_there_is_and_what_there_will_be() -> None:
    """Desired: accepting and pending ones after this tick's actions."""
    bridges = (
        bridge("a", 3 * HOUR),
        bridge("b", **busy(2, 10, upload_kbps=5000.0)),
        bridge("c", remembered=draining(Purpose.FOREIGN), drain=True),
        unheard("d", MINUTE, remembered={"phase": Phase.BOOTING}),
        unheard("e", remembered={"phase": Phase.FENCED}),
        unheard("f", remembered={"phase": Phase.FAILED, "failure": "x"}),
    )
    totals = decided(*bridges, intents=[intent()]).totals
    assert (totals.listed, totals.healthy, totals.accepting, totals.draining) == (6, 3, 2, 1)
    assert (totals.booting, totals.pending, totals.fenced, totals.failed, totals.unknown) == (1, 2, 1, 1, 3)
    assert (totals.conferences, totals.participants, totals.out_mbps) == (2, 10, 5.0)
    assert (totals.desired, totals.capacity) == (4, 7)
    assert decided(bridge("a", 3 * HOUR), bridge("b")).totals.desired == 1
    assert decided(hot("a")).totals.desired == 2
    assert decided(bridge("a"), other_owner="them", scale_set=None).totals.capacity is None


def test_holding_still_keeps_everything_and_closes_no_alert() -> None:
    """Without knowledge nothing is over."""
    before = shard_memory(alerts={"sick:a": NOW - HOUR}, capacity_gap=1, gap_since=NOW - HOUR)
    held = hold("s", NOW, 3, before, Reason.ARM_UNKNOWN, "503")
    assert held.actions == ()
    assert [(e.kind, e.subject) for e in held.events] == [(EventKind.REFUSED, "s"), (EventKind.ALERT, "s")]
    assert held.memory.alerts == {"sick:a": NOW - HOUR, "arm_unknown:s": NOW}
    assert (held.memory.last_tick_at, held.memory.epoch, held.memory.gap_since) == (NOW, 3, None)
    assert (held.shard, held.at, held.epoch, held.totals) == ("s", NOW, 3, Totals())
    assert alert_kinds(held) == ["arm_unknown"]
    again = hold("s", NOW + MINUTE, 4, held.memory, Reason.ARM_UNKNOWN, "503")
    assert again.events == ()
    assert again.refusals[0].since == NOW


def test_what_lasted_does_not_last_through_a_long_hold() -> None:
    """A tick that sees nothing is no look: neither after a gap, nor one after the other for minutes."""
    before = shard_memory(surplus_since=NOW - HOUR, lower_bound_polls=2, last_tick_at=NOW)

    def held(memory: ShardMemory, minutes: int) -> ShardMemory:
        return hold("s", NOW + minutes * MINUTE, 3, memory, Reason.ARM_UNKNOWN, "503").memory

    short = held(before, 1)
    assert (short.surplus_since, short.lower_bound_polls) == (NOW - HOUR, 2)
    assert held(before, 5).surplus_since == NOW - HOUR
    assert (held(before, 6).surplus_since, held(before, 6).lower_bound_polls) == (None, 0)
    for minute in range(2, 7):
        short = held(short, minute)
        assert short.surplus_since == NOW - HOUR
    assert held(short, 7).surplus_since is None


def test_a_list_that_lacks_a_machine_takes_no_other() -> None:
    """The missing one may be the oldest: the next list tells."""
    empty = bridge("b", 3 * HOUR, remembered=draining(**found_empty()))
    others = (bridge("c"), bridge("d"))
    assert verbs(decided(empty, *others)) == ["fence b"]
    lacking = decided(empty, *others, unlisted=frozenset({"vm-a"}))
    assert verbs(lacking) == []
    assert Reason.ARM_UNKNOWN in all_reasons(lacking)
    assert verbs(decided(bridge("b", 3 * HOUR), *others, unlisted=frozenset({"vm-a"}))) == []


def test_a_paused_shard_says_what_came_of_its_commands() -> None:
    """They work while it is paused, so their rows go on."""
    done = command("undrain", "b", expires_at=NOW + HOUR)
    decision = decided(bridge("a", 3 * HOUR), bridge("b"), paused=True, commands=(done,))
    assert [(each.command_id, each.state) for each in decision.commands] == [("undrain-1", CommandState.DONE)]


def test_what_a_live_run_left_drained_is_ours_alone() -> None:
    """Neither an operator's nor a fenced one."""
    bridges = (
        bridge("a", remembered=draining(Purpose.SURPLUS)),
        bridge("b", remembered=draining(Purpose.OPERATOR)),
        bridge("c", remembered=draining(Purpose.FOREIGN)),
        bridge("d", remembered={"phase": Phase.FENCED}),
    )
    assert left_drained(snapshot(*bridges)) == ("a",)


def test_a_decision_depends_on_nothing_but_its_snapshot() -> None:
    """The same one twice is the same decision, and nothing in it was changed."""
    view = snapshot(bridge("a", 3 * HOUR), hot("b"), bridge("c"))
    copy = replace(view)
    assert decide(view, policy()) == decide(view, policy())
    assert view == copy
