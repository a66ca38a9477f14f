"""Decisions in words."""

from __future__ import annotations

import json

import pytest

from scaler.decision import (
    Action,
    Cause,
    Decision,
    Delete,
    Drain,
    Fence,
    Reason,
    Refusal,
    RepairCapacity,
    Repurpose,
    ScaleOut,
    Undrain,
)
from scaler.explain import (
    SENTENCES,
    Outcome,
    action_in_words,
    bridge_in_words,
    chief,
    record,
    refusal_in_words,
    sentence,
)
from scaler.model import Purpose
from tests.scaler.builders import NOW, bridge, busy, decided, draining, hot, memory, snapshot, unheard


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """Plain words, without the code's own names and without a full stop."""
    assert len(SENTENCES[reason]) > 15
    assert not SENTENCES[reason].endswith(".")
    assert str(reason) not in SENTENCES[reason] or "_" not in str(reason)


def test_there_is_no_sentence_without_a_reason() -> None:
    """The two lists are one."""
    assert set(SENTENCES) == set(Reason)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (ScaleOut(3, 1, ""), "add 1 bridge (capacity 3)"),
        (ScaleOut(4, 2, ""), "add 2 bridges (capacity 4)"),
        (RepairCapacity(2, ""), "set the capacity to the 2 machines that exist"),
        (Drain("vm-a", Purpose.SURPLUS, ""), "drain a (surplus)"),
        (Undrain("vm-a", ""), "un-drain a"),
        (Undrain("vm-a", "", initial=True), "open a"),
        (Repurpose("vm-a", Purpose.SURPLUS, ""), "keep a draining (surplus)"),
        (Fence("vm-a", ""), "fence a"),
        (Delete("vm-a", Cause.DEAD, ""), "delete a (dead)"),
    ],
)
def test_actions_in_words(action: Action, words: str) -> None:
    """The verb, the bridge, and why or how many."""
    assert action_in_words(action, "a") == words


def test_the_sentence_says_what_was_done_or_would_be() -> None:
    """Done: with its reason. Not done: with what stood in the way. Dry: 'would'."""
    decision = decided(bridge("a"), bridge("b"))
    (drain,) = decision.actions
    assert sentence(decision, [Outcome(drain, done=True)]).startswith(
        "drain a (tear_down): more than one healthy"
    )
    assert sentence(decision, (), dry_run=True).startswith("would drain a")
    refused = Refusal(Reason.CALL_FAILED, "500", "vm-a", "a")
    assert (
        sentence(decision, [Outcome(drain, done=False, refusal=refused)])
        == "did not drain a (tear_down): 500"
    )
    unexplained = Refusal(Reason.STOPPED_EARLIER, "", "vm-a", "a")
    said = sentence(decision, [Outcome(drain, done=False, refusal=unexplained)])
    assert said == f"did not drain a (tear_down): {SENTENCES[Reason.STOPPED_EARLIER]}"


def test_without_an_action_the_chief_refusal_is_the_sentence() -> None:
    """What stops everything comes before what is waited for; figures and since-when are told."""
    decision = decided(bridge("a"))
    assert sentence(decision, ()).startswith("nothing to do: it is the only healthy bridge (1 healthy")
    quiet = Decision("s", NOW, 1, decision.totals, decision.memory)
    assert sentence(quiet, ()) == "nothing to do: the bridges carry their load and none is to spare"
    refusals = [Refusal(Reason.NOT_OURS, ""), Refusal(Reason.SETTLING, ""), Refusal(Reason.BLIND, "")]
    assert chief(refusals).reason is Reason.BLIND
    assert chief(refusals[:1]).reason is Reason.NOT_OURS


def test_a_refusal_in_words_names_whom_the_figures_and_since_when() -> None:
    """What is not known is left out."""
    full = Refusal(Reason.OLDEST_BUSY, "2 conferences", "vm-a", "a", NOW)
    words = "a: the oldest bridge still has a conference (2 conferences), since 2026-11-18T12:00:00Z"
    assert refusal_in_words(full) == words
    assert refusal_in_words(Refusal(Reason.PAUSED, "")) == SENTENCES[Reason.PAUSED]


def test_the_record_is_plain_json_and_holds_whom_it_speaks_of() -> None:
    """Totals, votes, refusals and actions with outcomes; of the bridges only those that matter."""
    bridges = (bridge("a", **busy()), hot("b"), bridge("c", remembered=draining(Purpose.SURPLUS)))
    view = snapshot(*bridges, unheard("d"))
    decision = decided(*bridges, unheard("d"))
    (undrain,) = decision.actions
    refused = Refusal(Reason.CALL_FAILED, "500", undrain.vm_id, "c")  # type: ignore[union-attr]
    row = json.loads(
        json.dumps(record(decision, [Outcome(undrain, done=False, refusal=refused)], view, dry_run=False))
    )
    (action,) = row["actions"]
    assert (action["do"], action["done"], action["refused"], action["answers"]) == (
        "undrain",
        False,
        "call_failed",
        ["vm-b"],
    )
    assert [each["name"] for each in row["bridges"]] == ["a", "b", "c"]
    assert (row["bridges"][0]["conferences"], row["bridges"][2]["purpose"]) == (1, "surplus")
    assert {vote["rule"] for vote in row["votes"]} == {"demand", "hot"}
    assert row["at"] == "2026-11-18T12:00:00.000Z"


def test_a_record_without_a_snapshot_tells_no_bridges() -> None:
    """When ARM did not answer, nothing is known of them; an action without outcome was not done."""
    decision = decided(bridge("a"), bridge("b"))
    row = record(decision, (), None, dry_run=True)
    assert row["bridges"] == []
    assert row["actions"][0]["done"] is False
    silent = record(decided(unheard("a")), (), snapshot(unheard("a")), dry_run=False)
    assert {each["conferences"] for each in silent["bridges"]} <= {None}


def test_a_bridge_in_words() -> None:
    """Phase, purpose, and why it stays, from its row alone."""
    assert bridge_in_words(memory()) == "ready since 2026-11-18T10:00:00.000Z"
    known = memory(**draining(Purpose.SURPLUS), refusal="settling", refusal_since=NOW)
    assert bridge_in_words(known) == (
        "draining since 2026-11-18T11:55:00.000Z (surplus): "
        f"{SENTENCES[Reason.SETTLING]}, since 2026-11-18T12:00:00.000Z"
    )
    assert bridge_in_words(memory(refusal="paused")).endswith(SENTENCES[Reason.PAUSED])
