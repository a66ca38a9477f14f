"""The life of a bridge, written once more as the table that it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from scaler.lifecycle import TABLE, IllegalMove, Move, after, delete_retry, moved
from scaler.model import Phase, Purpose, changed
from tests.scaler.builders import MINUTE, NOW, draining, found_empty, memory

LIFE = """
booting   joined          ready
booting   boot_timed_out  failed
booting   not_listed      gone
ready     drain           draining
ready     delete          deleting
ready     not_listed      gone
draining  drain           draining
draining  drain_ended     ready
draining  new_process     ready
draining  fence           fenced
draining  delete          deleting
draining  not_listed      gone
fenced    fence_failed    draining
fenced    still_failed    failed
fenced    new_process     ready
fenced    delete          deleting
fenced    not_listed      gone
deleting  delete          deleting
deleting  new_process     ready
deleting  still_failed    failed
deleting  not_listed      gone
failed    joined          ready
failed    fence           fenced
failed    delete          deleting
failed    not_listed      gone
"""
MOVES = {
    (Phase(before), Move(move)): Phase(then) for before, move, then in map(str.split, LIFE.split("\n")[1:-1])
}


@pytest.mark.parametrize(("phase", "move"), list(product(Phase, Move)))
def test_every_move_leads_where_the_table_says_or_nowhere(phase: Phase, move: Move) -> None:
    """What the life of a bridge does not have is an error, and nothing may be done on it."""
    if (phase, move) in MOVES:
        assert after(phase, move) is MOVES[phase, move]
    else:
        with pytest.raises(IllegalMove, match=f"a bridge that is {phase} cannot {move}"):
            after(phase, move)


def test_the_table_has_no_other_rows() -> None:
    """What stands above is all of it."""
    assert TABLE == MOVES


def test_nothing_but_a_delete_leads_to_deleting_and_only_a_process_that_answers_leads_back() -> None:
    """Else only ARM's list ends it."""
    assert {move for (_, move), then in TABLE.items() if then is Phase.DELETING} == {Move.DELETE}
    back = {move for (before, move), then in TABLE.items() if before is Phase.DELETING and then is not before}
    assert back == {Move.NEW_PROCESS, Move.STILL_FAILED, Move.NOT_LISTED}


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 2), (1, 2), (2, 5), (3, 15), (9, 15)])
def test_a_failed_delete_waits_longer_each_time(attempts: int, minutes: int) -> None:
    """2, 5, then 15 minutes."""
    assert delete_retry(attempts) == minutes * MINUTE


def test_a_move_begins_a_phase_and_staying_keeps_its_beginning() -> None:
    """`phase_since` is the moment of the change."""
    known = memory(**draining(Purpose.SURPLUS))
    assert moved(known, Move.FENCE, NOW).phase_since == NOW
    assert moved(known, Move.DRAIN, NOW).phase_since == known.phase_since


def test_no_proof_outlives_the_state_that_it_proved() -> None:
    """Ready again, nothing is left of the drain; drained again, nothing of fence and emptiness."""
    fenced = memory(
        **draining(**found_empty()) | {"phase": Phase.FENCED},
        fenced_at=NOW,
        refused_since=NOW - MINUTE,
        refused_seen_at=NOW,
        exited_at=NOW,
        failure="404",
        fence_failure="404",
    )
    back = moved(fenced, Move.NEW_PROCESS, NOW)
    assert (back.wanted_drain, back.purpose, back.drained_at, back.empty_since) == (False, None, None, None)
    assert (back.fenced_at, back.refused_since, back.exited_at) == (None, None, None)
    assert (back.failure, back.fence_failure) == (None, None)
    draining_on = moved(fenced, Move.FENCE_FAILED, NOW, fence_failure="500")
    assert (draining_on.purpose, draining_on.drained_at) == (Purpose.TEAR_DOWN, fenced.drained_at)
    assert (draining_on.empty_since, draining_on.exited_at, draining_on.fence_failure) == (None, None, "500")
    assert moved(memory(**draining(), exited_at=NOW), Move.FENCE, NOW).exited_at is None


def test_a_change_leaves_the_memory_it_came_from_and_equals_a_whole_replace() -> None:
    """What is remembered is never changed in place, however it is copied."""
    before = memory("a")
    after_it = changed(before, address="10.0.0.9", polls="1")
    assert after_it == replace(before, address="10.0.0.9", polls="1")
    assert before == memory("a")
    assert hash(after_it) == hash(replace(after_it))


def test_a_field_that_a_memory_does_not_have_is_refused_by_name() -> None:
    """A misspelt field would be remembered nowhere."""
    with pytest.raises(TypeError, match="no field adress, pols"):
        changed(memory("a"), pols="1", adress=None)


def test_a_move_that_keeps_the_phase_forgets_nothing() -> None:
    """Asking for a drain again is no new beginning: only the bridge's own reports end a proof."""
    known = memory(**draining(**found_empty()))
    again = moved(known, Move.DRAIN, NOW)
    assert again == known
