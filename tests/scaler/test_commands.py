"""Operators' commands: taken under the same rules, carried out once, never against a term of tear-down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler.commands import heed, in_words
from scaler.decide import decide
from scaler.decision import Cause, EventKind, Reason
from scaler.explain import command_record
from scaler.model import Bridge, Command, CommandState, Phase, PlatformLoad, Power, Purpose, Reach
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    Shard,
    all_reasons,
    bridge,
    busy,
    command,
    decided,
    draining,
    found_empty,
    instance,
    memory,
    policy,
    reasons,
    snapshot,
    unheard,
    verbs,
)

FORCE = {"state": CommandState.IN_FORCE}
SICK = {"polls": "00000", "bad_since": NOW - 10 * MINUTE}
OPERATOR = draining(Purpose.OPERATOR)


def states(*commands: Command) -> list[str]:
    return [str(each.state) for each in commands]


def taken(*commands: Command, bridges: tuple[Bridge, ...] = (), **state: Any):
    """The shard's memory and the commands behind `heed`."""
    found = heed(snapshot(*bridges, commands=commands, **state))
    return found.memory, found.commands


# --- what changes only how a shard is judged ------------------------------------------------


def test_a_shard_without_commands_is_left_as_it_is():
    """The ordinary tick does not even copy its snapshot."""
    same = snapshot(bridge())
    assert heed(same) is same


def test_a_pause_holds_until_it_is_resumed():
    """It takes our drains back, says whose word it was, and a resume ends it."""
    drained = bridge("a", remembered=draining())
    decision = decided(drained, bridge("b"), commands=(command("pause"),))
    assert decision.memory.paused
    assert decision.memory.pause_reason == "paused by ann: she said so"
    assert verbs(decision) == ["undrain a"]
    assert reasons(decision) == {Reason.PAUSED}
    assert states(*decision.commands) == ["in_force"]
    later = command("resume", asked_at=NOW)
    memory, commands = taken(*decision.commands, later, paused=True, pause_reason="x")
    assert (memory.paused, memory.pause_reason) == (False, None)
    assert states(*commands) == ["cancelled", "done"]
    assert commands[1].outcome == "runs again"


@pytest.mark.parametrize("ids", [("c-1", "c-2"), ("c-2", "c-1")])
def test_of_a_pause_and_a_resume_of_the_same_moment_the_resume_counts(ids: tuple[str, str]):
    """Whatever their ids: nobody resumes what was not paused before."""
    pause, resume = command("pause", command_id=ids[0]), command("resume", command_id=ids[1])
    memory, commands = taken(pause, resume)
    assert not memory.paused
    assert {each.kind: str(each.state) for each in commands} == {"pause": "cancelled", "resume": "done"}


def test_a_resume_of_a_running_shard_says_so():
    """Nothing was paused, and nothing changes."""
    memory, commands = taken(command("resume"))
    assert not memory.paused
    assert commands[0].outcome == "was not paused"


def test_a_pause_ends_when_it_expires():
    """A pause for a time resumes by itself, and its row says that it was in force."""
    over = command("pause", expires_at=NOW, **FORCE)
    memory, commands = taken(over, paused=True, pause_reason="x")
    assert not memory.paused
    assert states(*commands) == ["expired"]
    assert commands[0].ended_at == NOW


def test_a_protection_that_expires_leaves_a_pause_alone():
    """Only the end of a pause resumes."""
    memory, _ = taken(
        command("protect", "a", expires_at=NOW, **FORCE), bridges=(bridge(),), paused=True, pause_reason="x"
    )
    assert memory.paused


def test_the_later_of_two_words_counts():
    """A second pause, protection or drain of the same machine replaces the first."""
    first, second = command("pause", **FORCE), command("pause", command_id="pause-2", asked_at=NOW)
    assert states(*taken(second, first)[1]) == ["cancelled", "in_force"]
    guards = (
        command("protect", "a", **FORCE),
        command("protect", "a", command_id="protect-2", asked_at=NOW),
        command("protect", "b", command_id="protect-3", asked_at=NOW),
    )
    assert states(*taken(*guards, bridges=(bridge("a"), bridge("b")))[1]) == [
        "cancelled",
        "in_force",
        "in_force",
    ]
    orders = (
        command("drain", "a"),
        command("undrain", "a", asked_at=NOW),
        command("drain", "b", command_id="drain-2"),
    )
    found = taken(*orders, bridges=(bridge("a"), bridge("b")))[1]
    assert {each.command_id: str(each.state) for each in found} == {
        "drain-1": "cancelled",
        "undrain-1": "open",
        "drain-2": "open",
    }


def test_a_command_that_no_tick_could_carry_out_expires():
    """It is not done long after its time; the row tells what it waited for."""
    old = command("drain", "a", expires_at=NOW, outcome="waits: no other bridge accepts calls")
    decision = decided(bridge("a"), commands=(old, command("resume", expires_at=NOW)))
    assert states(*decision.commands) == ["expired", "expired"]
    assert decision.commands[0].outcome == "not carried out in time: waits: no other bridge accepts calls"
    assert decision.commands[1].outcome == "not carried out in time: no tick took it up"


def test_a_machine_that_is_gone_ends_its_commands():
    """What was to be replaced is; anything else failed."""
    _, commands = taken(command("replace", "x"), command("drain", "y"), command("protect", "z", **FORCE))
    assert {str(each.kind): str(each.state) for each in commands} == {
        "replace": "done",
        "drain": "failed",
        "protect": "failed",
    }


@pytest.mark.parametrize("way", ["cancelled", "expired"])
def test_a_drain_that_was_begun_outlives_its_command(way: str):
    """Only an `undrain` ends it, and whoever gives the command up is told so."""
    asked = bridge("a", remembered=draining(Purpose.OPERATOR), drain=False)
    over = {"expires_at": NOW} if way == "expired" else {}
    cancel = [command("cancel", target="drain-1", asked_at=NOW)] if way == "cancelled" else []
    decision = decided(asked, bridge("b"), commands=(command("drain", "a", **over), *cancel))
    assert (states(decision.commands[0]), decision.commands[0].command_id) == ([way], "drain-1")
    assert "until an undrain" in (decision.commands[0].outcome or "")
    never = decided(bridge("a"), bridge("b"), commands=(command("drain", "a", **over), *cancel))
    assert "until an undrain" not in (never.commands[0].outcome or "")


def test_a_cancel_ends_an_open_command():
    """Also a pause, which resumes; what is over or unknown cannot be cancelled."""
    floor = command("floor", minimum=4, **FORCE)
    cancel = command("cancel", target="floor-1", asked_at=NOW)
    memory, commands = taken(floor, cancel, paused=True)
    assert states(*commands) == ["cancelled", "done"]
    assert commands[0].outcome == "cancelled by ann: she said so"
    assert memory.paused
    memory, commands = taken(command("pause", **FORCE), replace(cancel, target="pause-1"), paused=True)
    assert not memory.paused
    early = taken(replace(cancel, asked_at=NOW - HOUR), replace(floor, state=CommandState.OPEN))[1]
    assert states(*early) == ["done", "cancelled"]
    for target in ("none", "cancel-1", "floor-1"):
        ended = replace(floor, expires_at=NOW)
        assert taken(ended, replace(cancel, target=target))[1][-1].state is CommandState.FAILED


def test_a_pause_that_was_given_after_a_resume_holds():
    """One tick takes both up: the latest word is the one that counts."""
    resume = command("resume", asked_at=NOW - MINUTE)
    memory, commands = taken(resume, command("pause", asked_at=NOW), paused=True)
    assert (memory.paused, states(*commands)) == (True, ["done", "in_force"])
    late = (command("pause", asked_at=NOW, state=CommandState.IN_FORCE), resume)
    memory, commands = taken(*late, paused=True)
    assert (memory.paused, states(*commands)) == (True, ["done", "in_force"])


def test_an_image_that_a_bridge_is_made_of_is_not_unblocked():
    """Its bridge would be opened for calls, for which it was drained."""
    blocked = {"/gallery/versions/1.2.3": NOW}
    bad = bridge("a", arm={"image": "/gallery/versions/1.2.3"}, remembered=draining(), drain=True)
    unblock = command("unblock_image", image_version="1.2.3")
    memory, commands = taken(unblock, bridges=(bad,), blocked_images=blocked)
    assert (memory.blocked_images, states(*commands)) == (blocked, ["failed"])
    assert (commands[0].outcome or "").startswith("a is made of it")
    serves = bridge("a", arm={"image": "/gallery/versions/1.2.3"})
    assert states(*taken(unblock, bridges=(serves,), blocked_images=blocked)[1]) == ["done"]


def test_an_image_is_unblocked_by_its_version_or_its_id():
    """Only a blocked version can be; the answer names those that are."""
    blocked = {"/gallery/versions/1.2.3": NOW, "1.2.4": NOW}
    by_version = command("unblock_image", image_version="1.2.3")
    memory, commands = taken(by_version, blocked_images=blocked)
    assert set(memory.blocked_images) == {"1.2.4"}
    assert states(*commands) == ["done"]
    memory, commands = taken(replace(by_version, image_version="9.9.9"), blocked_images=blocked)
    assert memory.blocked_images == blocked
    assert commands[0].outcome == "version 9.9.9 is not blocked; blocked: /gallery/versions/1.2.3, 1.2.4"
    assert taken(by_version)[1][0].outcome == "version 1.2.3 is not blocked; blocked: none"


# --- protect --------------------------------------------------------------------------------


def test_a_protected_bridge_is_not_torn_down():
    """The idle oldest stays while it is protected, and the row says that this freezes scale-in."""
    free = decided(bridge("a"), bridge("b"))
    assert verbs(free) == ["drain a"]
    kept = decided(bridge("a"), bridge("b", HOUR), commands=(command("protect", "a"),))
    assert verbs(kept) == []
    assert reasons(kept, "a") == {Reason.PROTECTED}
    assert states(*kept.commands) == ["in_force"]
    assert "nothing else is removed from this shard" in (kept.commands[0].outcome or "")


def test_a_protected_bridge_that_is_not_the_oldest_freezes_nothing():
    """The oldest goes as ever."""
    decision = decided(bridge("a"), bridge("b", HOUR), commands=(command("protect", "b"),))
    assert verbs(decision) == ["drain a"]
    assert decision.commands[0].outcome == "it is neither drained nor removed"


def test_a_protected_bridge_is_taken_back_from_our_drain():
    """Also one that was found empty: it is not fenced, but un-drained."""
    empty = bridge("a", remembered=draining(**found_empty()))
    assert verbs(decided(empty, bridge("b", HOUR), bridge("c", HOUR))) == ["fence a"]
    decision = decided(
        empty, bridge("b", HOUR), bridge("c", HOUR), commands=(command("protect", "a", **FORCE),)
    )
    assert verbs(decision) == ["undrain a"]


@pytest.mark.parametrize("state", list(FORCE.values()) + [CommandState.OPEN])
def test_what_was_told_to_end_cannot_be_protected(state: CommandState):
    """Behind the fence there is no way back, and the operator is told."""
    fenced = bridge("a", remembered={"phase": Phase.FENCED, "fenced_at": NOW - MINUTE})
    decision = decided(fenced, bridge("b"), commands=(command("protect", "a", state=state),))
    assert states(*decision.commands) == ["failed"]


def test_neither_a_clean_up_nor_a_dead_bridge_is_taken_from_protection():
    """The paths past the owner's rule respect it too."""
    failed = bridge(
        "a",
        remembered={"phase": Phase.FAILED, "asked_by": "i", "asked_at": NOW - HOUR, "failure": "x"},
        arm={"power": Power.STOPPED},
        unhealthy_because="x",
    )
    guard = command("protect", "a", **FORCE)
    assert verbs(decided(failed, bridge("b"))) == ["delete a"]
    kept = decided(failed, bridge("b"), commands=(guard,))
    assert verbs(kept) == []
    assert reasons(kept, "a") == {Reason.PROTECTED}
    dead = unheard(
        "a", remembered={**SICK, "silent_since": NOW - 2 * HOUR, "platform_quiet_since": NOW - HOUR}
    )
    others = (bridge("b", HOUR), bridge("c", HOUR), bridge("d", HOUR))
    rules = policy(replace_dead_after_minutes=30)
    assert "delete a" in verbs(decided(dead, *others, policy_=rules))
    kept = decided(dead, *others, policy_=rules, commands=(guard,))
    assert "delete a" not in verbs(kept)
    assert reasons(kept, "a") == {Reason.PROTECTED}


# --- floors ---------------------------------------------------------------------------------


def test_a_floor_raises_the_minimum_and_says_why():
    """Machines are added up to it, none is removed below it, and its reason is a vote."""
    floor = command("floor", minimum=3, why="town hall")
    decision = decided(bridge("a"), commands=(floor,))
    assert verbs(decision) == ["scale_out 3"]
    assert decision.totals.minimum == 3
    assert [vote.because for vote in decision.votes if vote.rule == "floor"] == [
        "at least 3, by ann: town hall"
    ]
    kept = decided(
        bridge("a"), bridge("b"), bridge("c"), commands=(replace(floor, state=CommandState.IN_FORCE),)
    )
    assert verbs(kept) == []
    assert Reason.AT_MINIMUM in all_reasons(kept)
    assert verbs(decided(bridge("a"), bridge("b"), bridge("c"))) == ["drain a"]


# --- drain and undrain ----------------------------------------------------------------------


def test_an_operator_drains_any_bridge():
    """Busy, young, or not the oldest: a drain ends no call; its purpose is `operator`."""
    busy_one = bridge("b", MINUTE, **busy())
    decision = decided(bridge("a"), busy_one, commands=(command("drain", "b"),))
    assert verbs(decision) == ["drain b"]
    assert decision.actions[0].purpose is Purpose.OPERATOR  # type: ignore[union-attr]
    assert decision.actions[0].because == "commanded by ann: she said so"
    assert states(*decision.commands) == ["open"]
    assert Reason.ONE_PER_TICK in all_reasons(decision)  # the idle oldest waits for the next tick


def test_a_drain_is_done_when_the_bridge_shows_it():
    """Not when it was asked for: what the bridge says counts."""
    shown = decided(bridge("a", remembered=OPERATOR), bridge("b"), commands=(command("drain", "a"),))
    assert states(*shown.commands) == ["done"]
    assert [e.text for e in shown.events if e.kind is EventKind.COMMAND] == [
        "drain drain-1, by ann (she said so): done: it drains, until an undrain"
    ]
    waits = decided(
        bridge("a", remembered=OPERATOR, drain=False), bridge("b"), commands=(command("drain", "a"),)
    )
    assert states(*waits.commands) == ["open"]
    assert verbs(waits) == ["drain a"]  # asked again, as any drain of ours that is not shown
    assert Reason.DRAIN_NOT_SEEN in reasons(waits, "a")


def test_an_operators_drain_that_is_empty_is_not_torn_down():
    """Only the rules' own drains lead to a fence; the operator may be at work on it."""
    empty = bridge("a", remembered=draining(Purpose.OPERATOR, **found_empty()))
    decision = decided(empty, bridge("b"), bridge("c"), commands=())
    assert verbs(decision) == []
    assert Reason.OPERATOR_DRAIN in reasons(decision, "a")


@pytest.mark.parametrize("purpose", [Purpose.SURPLUS, Purpose.FOREIGN])
def test_a_drain_of_another_purpose_becomes_the_operators(purpose: Purpose):
    """Ours is then not taken back when load rises, and what somebody drained by hand has a name."""
    drained = bridge("a", remembered=draining(purpose))
    decision = decided(drained, bridge("b"), bridge("c"), commands=(command("drain", "a"),))
    assert verbs(decision) == ["drain a"]


@pytest.mark.parametrize(
    ("asked", "others", "reason"),
    [
        (bridge("a"), (), Reason.LAST_ACCEPTING),
        (bridge("a", remembered={"phase": Phase.BOOTING}), (bridge("b"),), Reason.NOT_OPEN),
    ],
    ids=["last", "booting"],
)
def test_a_drain_waits_with_a_reason(asked: Bridge, others: tuple[Bridge, ...], reason: Reason):
    """Calls always find a bridge; the command's row says what it waits for."""
    decision = decided(asked, *others, commands=(command("drain", "a"),))
    assert "drain a" not in verbs(decision)
    assert reason in reasons(decision, "a")
    assert states(*decision.commands) == ["open"]
    assert (decision.commands[0].outcome or "").startswith("waits: ")


def test_a_drain_that_cannot_be_fails():
    """Its drain API refused this very process, or it leaves already."""
    refused = bridge("a", remembered={"failure": "404: no such path"})
    fenced = bridge("b", remembered={"phase": Phase.FENCED})
    commands = (command("drain", "a"), command("drain", "b", command_id="drain-2"))
    decision = decided(refused, fenced, bridge("c"), commands=commands)
    assert states(*decision.commands) == ["failed", "failed"]
    assert "404" in (decision.commands[0].outcome or "")


def test_one_drain_in_a_tick():
    """Who else accepts is known only when the first one is drained."""
    commands = (command("drain", "a"), command("drain", "b", command_id="drain-2"))
    decision = decided(bridge("a"), bridge("b"), bridge("c"), commands=commands)
    assert verbs(decision) == ["drain a"]
    assert decision.commands[1].outcome == "waits: another machine takes this step in this tick"


def test_nothing_is_drained_or_replaced_while_blind():
    """Silence takes nothing away, not even by command; taking back is always possible."""
    deaf = [unheard(name, remembered=SICK) for name in "abc"]
    drained = bridge("d", remembered=OPERATOR)
    commands = (
        command("replace", "a"),
        command("drain", "e", command_id="drain-2"),
        command("undrain", "d"),
    )
    decision = decided(*deaf, drained, bridge("e"), bridge("f"), commands=commands, blind_since=NOW - MINUTE)
    assert verbs(decision) == ["undrain d"]
    assert sum(refusal.reason is Reason.BLIND for refusal in decision.refusals) >= 1
    assert [each.outcome for each in decision.commands if each.command_id == "drain-2"] == [
        "waits: most bridges cannot be heard: nothing is taken away"
    ]


@pytest.mark.parametrize("purpose", list(Purpose))
def test_an_undrain_takes_any_drain_back(purpose: Purpose):
    """Also a foreign one: this is the operator's own word."""
    drained = bridge("a", remembered=draining(purpose))
    decision = decided(drained, bridge("b"), commands=(command("undrain", "a"),))
    assert verbs(decision) == ["undrain a"]


def test_an_undrain_is_done_when_the_bridge_accepts():
    """And fails behind the fence, where there is no way back."""
    assert states(*decided(bridge("a"), commands=(command("undrain", "a"),)).commands) == ["done"]
    fenced = bridge("a", remembered={"phase": Phase.FENCED})
    assert states(*decided(fenced, commands=(command("undrain", "a"),)).commands) == ["failed"]
    silent = decided(unheard("a"), bridge("b"), commands=(command("undrain", "a"),))
    assert states(*silent.commands) == ["open"]
    assert Reason.NOT_OPEN in reasons(silent, "a")


@pytest.mark.parametrize("kind", ["drain", "undrain", "protect"])
def test_a_word_about_a_bridge_that_does_not_answer_holds_up_no_other(kind: str):
    """A dead JVB can be told nothing: the command waits, and the shard goes on without it."""
    purpose = Purpose.SURPLUS if kind == "protect" else Purpose.OPERATOR
    memory_ = {**SICK, **({} if kind == "drain" else draining(purpose))}
    dead = unheard("a", 5 * HOUR, remembered=memory_, reach=Reach.REFUSED)
    word = command(kind, "a", **(FORCE if kind == "protect" else {}))
    decision = decided(dead, bridge("b", 3 * HOUR), bridge("c"), bridge("d"), commands=(word,))
    assert verbs(decision) == ["drain b"]
    if kind != "protect":
        assert decision.commands[0].outcome == "waits: its port refused, so it can be told nothing"
        assert Reason.NOT_HEALTHY in reasons(decision, "a")


def test_commands_are_carried_out_in_a_pause():
    """A pause stops the rules, not the operator; a fenced one is not finished beside a new drain."""
    gone = unheard("c", remembered={"phase": Phase.FENCED, "exited_at": NOW}, reach=Reach.REFUSED)
    assert verbs(decided(bridge("a"), bridge("b"), gone, paused=True)) == ["delete c"]
    decision = decided(bridge("a"), bridge("b"), gone, commands=(command("drain", "a"),), paused=True)
    assert verbs(decision) == ["drain a"]


def test_a_standstill_leaves_commands_for_later():
    """Where another installation owns the scale set nothing is called for anybody."""
    decision = decided(bridge("a"), bridge("b"), commands=(command("drain", "a"),), other_owner="them")
    assert verbs(decision) == []
    assert states(*decision.commands) == ["open"]


# --- replace --------------------------------------------------------------------------------


def replaced(*bridges: Bridge, **changes: Any):
    return decided(*bridges, commands=(command("replace", "a"),), **changes)


@pytest.mark.parametrize(
    "given_up",
    [
        unheard("a", remembered=SICK),
        unheard("a", remembered=SICK, reach=Reach.REFUSED),
        unheard("a", remembered={**SICK, **OPERATOR}),
        unheard("a", remembered={"phase": Phase.FAILED, "failure": "port timed_out"}),
        unheard("a", arm={"power": Power.STOPPED}),
    ],
    ids=["silent", "refused", "drained", "never ready", "stopped"],
)
def test_an_operator_gives_his_word_for_a_machine(given_up: Bridge):
    """A sick, never ready or stopped machine that answers nobody is deleted by command."""
    decision = replaced(given_up, bridge("b"), bridge("c"))
    deletes = [action for action in decision.actions if action.verb == "delete"]
    assert [action.cause for action in deletes] == [Cause.REPLACED]
    assert states(*decision.commands) == ["open"]


@pytest.mark.parametrize("reach", [Reach.ANSWERED, Reach.BROKEN])
def test_no_word_removes_a_machine_on_which_something_answers(reach: Reach):
    """It may carry calls, whatever the operator believes: he has to stop it first."""
    answers = bridge("a", remembered=SICK, unhealthy_because="health 500", **busy())
    answers = replace(answers, poll=replace(answers.poll, reach=reach))
    decision = replaced(answers, bridge("b"))
    assert "delete a" not in verbs(decision)
    assert Reason.STILL_SERVING in reasons(decision, "a")


def test_a_machine_whose_traffic_azure_sees_is_not_replaced():
    """It may be unreachable for us alone while media flows: a word cannot be right against that."""
    flowing = PlatformLoad(NOW - MINUTE, 40.0, 60.0, 0.2)
    unreached = unheard("a", remembered=SICK, platform=flowing)
    decision = replaced(unreached, bridge("b"))
    assert "delete a" not in verbs(decision)
    assert Reason.STILL_SERVING in reasons(decision, "a")
    quiet = unheard("a", remembered=SICK, platform=replace(flowing, out_mbps=0.04))
    assert "delete a" in verbs(replaced(quiet, bridge("b")))


def test_a_healthy_machine_is_not_replaced():
    """It is drained, and leaves by the rules; the command says so and is over."""
    decision = replaced(bridge("a"), bridge("b"))
    assert states(*decision.commands) == ["failed"]
    assert "drain it" in (decision.commands[0].outcome or "")


def test_a_drain_waits_where_it_is_not_told_whether_the_bridge_accepts():
    """To try it in each tick would hold up every other bridge; an ill one may be drained."""
    untold = bridge("a", drain=None)
    decision = decided(untold, bridge("b"), bridge("c"), commands=(command("drain", "a"),))
    assert (states(*decision.commands), Reason.NOT_OPEN in reasons(decision, "a")) == (["open"], True)
    ill = bridge("a", unhealthy_because="health: 500")
    assert "drain a" in verbs(decided(ill, bridge("b"), commands=(command("drain", "a"),)))


def test_what_was_tried_says_so():
    """An order that expires was not forgotten: its events tell what came of each try."""
    decision = decided(bridge("a"), bridge("b"), commands=(command("drain", "a"),))
    assert decision.commands[0].outcome == "asked for: see the events"


def test_a_drained_machine_of_a_bad_image_is_stopped_first():
    """As its alert says: no word removes what answers."""
    bad = bridge("a", remembered=draining(Purpose.RECYCLE), drain=True, arm={"image": "v/1.1.0"})
    decision = replaced(bad, bridge("b"), blocked_images={"v/1.1.0": NOW})
    assert "stop its VM" in (decision.commands[0].outcome or "")


def test_a_jvb_that_is_too_old_may_be_given_up():
    """As the alert `unsupported` says; while it answers it has to be stopped first."""
    known = {"unsupported": True}
    gone = unheard("a", reach=Reach.REFUSED, remembered=known)
    assert "delete a" in verbs(replaced(gone, bridge("b")))
    for serves in (unheard("a", remembered=known), bridge("a", remembered=known, supported=False)):
        decision = replaced(serves, bridge("b"))
        assert (states(*decision.commands), "delete a" in verbs(decision)) == (["failed"], False)
        assert "stop its VM" in (decision.commands[0].outcome or "")


@pytest.mark.parametrize("phase", [Phase.BOOTING, Phase.FENCED])
def test_what_ends_by_itself_is_waited_for(phase: Phase):
    """A boot has its deadline and a fenced bridge its exit."""
    waits = unheard("a", remembered={"phase": phase, "phase_since": NOW - 5 * MINUTE})
    decision = replaced(waits, bridge("b"))
    assert Reason.NOT_HEALTHY in reasons(decision, "a")
    assert states(*decision.commands) == ["open"]


def test_a_machine_that_hangs_behind_its_fence_may_be_given_up():
    """As the alert `exit_overdue` says; what answers, or sends, is still believed before the word."""
    fenced = {"phase": Phase.FENCED, "phase_since": NOW - 5 * MINUTE - timedelta(seconds=1)}
    assert "delete a" in verbs(replaced(unheard("a", remembered=fenced), bridge("b")))
    ending = bridge("a", remembered=fenced, graceful_shutdown=True, **busy())
    sends = unheard("a", remembered=fenced, platform=PlatformLoad(NOW, 0.1, 3.0, 0.01))
    for serves in (ending, sends):
        decision = replaced(serves, bridge("b"))
        assert "delete a" not in verbs(decision)
        assert Reason.STILL_SERVING in reasons(decision, "a")
    unmeasured = replaced(unheard("a", remembered=fenced), bridge("b"), measures=True)
    assert Reason.STILL_SERVING in reasons(unmeasured, "a")
    kept = {"phase": Phase.DELETING, "phase_since": NOW - HOUR, "fenced_at": NOW - HOUR}
    again = replaced(unheard("a", remembered=kept), bridge("b"), measures=True)
    assert Reason.STILL_SERVING in reasons(again, "a")
    assert "delete a" in verbs(replaced(unheard("a", remembered=kept), bridge("b")))
    off = unheard("a", remembered=fenced, arm={"power": Power.STOPPED}, reach=Reach.NOT_ASKED)
    assert "delete a" in verbs(replaced(off, bridge("b"), measures=True))


def test_one_delete_at_a_time_also_by_command():
    """Another delete in flight is waited for, and of two commands one goes first."""
    sick = unheard("a", remembered=SICK)
    going = unheard("b", remembered={"phase": Phase.DELETING, "phase_since": NOW - MINUTE})
    assert Reason.DELETE_IN_FLIGHT in reasons(replaced(sick, going, bridge("c"), bridge("d")), "a")
    both = (command("replace", "a"), command("replace", "b", command_id="replace-2"))
    decision = decided(sick, unheard("b", remembered=SICK), *map(bridge, "cdefg"), commands=both)
    assert [verb for verb in verbs(decision) if verb.startswith("delete")] == ["delete a"]


@pytest.mark.parametrize(
    ("remembered", "arm", "again"),
    [
        ({}, {}, True),
        ({"operation": "https://arm.example/op"}, {}, False),
        ({"delete_not_before": NOW + MINUTE}, {}, False),
        ({"delete_not_before": NOW}, {}, True),
        ({}, {"provisioning": "Deleting"}, False),
    ],
)
def test_a_delete_that_failed_is_asked_for_again(
    remembered: dict[str, Any], arm: dict[str, Any], again: bool
):
    """The word still holds when ARM kept the machine, at the pace of every delete."""
    since = NOW - timedelta(minutes=5)
    kept = unheard("a", remembered={"phase": Phase.DELETING, "phase_since": since, **remembered}, arm=arm)
    decision = replaced(kept, bridge("b"))
    assert ("delete a" in verbs(decision)) is again


def test_a_replacement_that_was_begun_does_not_expire():
    """Azure failed to delete it: the word is gone on with; nothing else would ever remove the corpse."""
    kept = unheard("a", remembered={"phase": Phase.DELETING, "phase_since": NOW - HOUR}, reach=Reach.REFUSED)
    late = command("replace", "a", expires_at=NOW - MINUTE)
    decision = decided(kept, commands=(late,))
    assert "delete a" in verbs(decision)
    assert states(*decision.commands) == ["open"]
    assert states(*decided(unheard("a", remembered=SICK), commands=(late,)).commands) == ["expired"]


# --- words ----------------------------------------------------------------------------------


def test_a_command_in_words_says_whose_it_is_and_what_came_of_it():
    """Storage Explorer, the events and the status page all read the same sentence."""
    assert in_words(command("resume")) == "resume resume-1, by ann (she said so): open: not taken up yet"
    record = command_record(command("floor", minimum=4, days=("mon",), expires_at=NOW))
    assert record["minimum"] == 4
    assert record["expires_at"] == "2026-11-18T12:00:00.000Z"
    assert "vm_id" not in record


def test_a_decision_twice_is_the_same():
    """What was decided again after a crash is decided alike: commands are judged by what is seen."""
    shot = snapshot(bridge("a"), bridge("b"), commands=(command("pause"), command("drain", "a")))
    assert decide(shot, policy()) == decide(shot, policy())


@pytest.mark.parametrize("kind", ["protect", "drain", "undrain"])
def test_a_command_outlives_one_list_that_lacks_its_machine(kind: str) -> None:
    """Lists may be stale for minutes, as the row's own life supposes."""
    state = CommandState.IN_FORCE if kind == "protect" else CommandState.OPEN
    told = command(kind, "a", state=state, expires_at=NOW + HOUR)
    shard = Shard().remember(memory("a"), memory("b"), memory("c"))
    for after_, expected in ((MINUTE, state), (4 * MINUTE, state), (MINUTE, CommandState.FAILED)):
        shard.tick([instance("b"), instance("c")], after=after_)
        assert shard.snapshot is not None
        (after,) = decide(replace(shard.snapshot, commands=(told,)), shard.policy).commands
        assert after.state is expected
