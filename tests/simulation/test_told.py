"""What a checker takes from the answers of a tick, where its row says otherwise."""

from __future__ import annotations

from sandbox.checkers.told import View
from sandbox.witness import Told
from scaler.model import Phase, Poll, Reach
from scaler.ports import ShardRows, Stored
from tests.scaler.builders import HOUR, NOW, instance, memory, policy, poll, silent


def is_blind(odd: Poll, *, was_unsupported: bool) -> bool:
    """Two bridges refuse, three answer, and one has this answer."""
    names = "abcdef"
    polls = {f"vm-{name}": poll() for name in names}
    polls |= {"vm-a": silent(reach=Reach.REFUSED), "vm-b": silent(reach=Reach.REFUSED), "vm-f": odd}
    rows = {f"vm-{name}": Stored(memory(name), None) for name in names}
    rows["vm-f"] = Stored(memory("f", unsupported=was_unsupported), None)
    told = Told(NOW, NOW, rows=ShardRows(None, rows, {}), instances=tuple(instance(name) for name in names))
    told.polls = polls
    return View(told, policy(), {}).is_blind()


def test_a_jvb_that_is_new_enough_now_counts_whatever_its_row_says() -> None:
    """Two of six are a third, two of five are more; a bridge that is silent is what its row says."""
    assert not is_blind(poll(), was_unsupported=True)
    assert not is_blind(poll(), was_unsupported=False)
    assert is_blind(poll(supported=False), was_unsupported=False)
    assert is_blind(silent(), was_unsupported=True)
    assert is_blind(silent(), was_unsupported=False)


def counts_as_older(answer: Poll, polls: str) -> bool:
    """A fenced bridge that is older than another one, with this answer and these polls behind it."""
    rows = {"vm-a": Stored(memory("a", phase=Phase.FENCED, polls=polls), None)}
    rows["vm-b"] = Stored(memory("b"), None)
    machines = (instance("a", 3 * HOUR), instance("b"))
    told = Told(NOW, NOW, rows=ShardRows(None, rows, {}), instances=machines)
    told.polls = {"vm-a": answer, "vm-b": poll()}
    return View(told, policy(), {}).older_live("vm-b") == ["vm-a"]


def test_a_fenced_bridge_that_came_back_is_live_by_its_polls_like_any_other() -> None:
    """One that leaves counts until it is gone, however silent; a new process does not, while most are bad."""
    assert counts_as_older(silent(), "00000")
    assert counts_as_older(poll(shutting_down=True), "00000")
    assert counts_as_older(poll(), "11111")
    assert not counts_as_older(poll(), "00000")
