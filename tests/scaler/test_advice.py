"""`explain` answers for every reason that the code knows: what it means, since when, and what ends it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from scaler import answers
from scaler.advice import WAY_OUT
from scaler.decision import Reason
from scaler.explain import SENTENCES
from scaler.model import Phase
from scaler.ports import Stored
from tests.scaler.builders import NOW, memory, shard_memory
from tests.scaler.worlds import SHARD, install

SINCE = NOW - timedelta(minutes=7)
WRITTEN = "2026-11-18T11:53:00.000Z"
INSIDE_WORDS = re.compile(
    r"\b(snapshot|epoch|vmId|vm_id|purpose|phase|policy|reach|stale|literal|X\d+|Y\d+|N\d+)\b"
)
"""Words that only those know who have read the rules or the code."""


def understood(sentence: str) -> bool:
    """Whether somebody new can read it: plain words, a whole thought, no name of the code."""
    bare = re.sub(r"`[^`]+`", "", sentence)
    return len(bare.split()) >= 4 and "_" not in bare and INSIDE_WORDS.search(bare) is None


async def explained(**record: Any) -> Any:
    """What `explain` says of a shard whose last decision and bridge have these."""
    it = install()
    it.world.advance_to(NOW)
    refused = record.pop("refused", None)
    row = memory("a", refusal=refused, refusal_since=SINCE if refused else None)
    await it.store.put_state(SHARD, Stored(shard_memory(), None))
    await it.store.put_bridges(SHARD, [Stored(row, None), Stored(memory("g", phase=Phase.READY), None)])
    await it.store.append_decision(SHARD, NOW, {"at": "2026-11-18T12:00:00.000Z", **record})
    (shard,) = (await answers.explain(it.engine, SHARD, record.get("bridge")))["shards"]
    return shard


@pytest.mark.parametrize("reason", Reason)
async def test_explain_answers_for_every_refusal(reason: Reason):
    """Of the shard and of a bridge: a meaning that a newcomer understands, since when, and what ends it."""
    refusal = {"reason": str(reason), "detail": "2 of 3", "since": WRITTEN}
    shard = await explained(
        refusals=[refusal, {**refusal, "vm_id": "vm-a", "name": "a"}], refused=str(reason)
    )
    for told in shard["not_done"]:
        assert told["since"] == WRITTEN
        assert understood(told["meaning"])
        assert understood(told["way_out"])
        assert told["way_out"].endswith(".")
        assert told["meaning"] != told["way_out"]
    assert len(shard["not_done"]) == 2
    bridge = next(each for each in shard["bridges"] if each["name"] == "a")
    assert bridge["since"] == WRITTEN
    assert SENTENCES[reason] in bridge["why"]
    assert bridge["why"].endswith(f"since {WRITTEN}")
    assert bridge["way_out"] == WAY_OUT[reason]


@pytest.mark.parametrize("reason", Reason)
async def test_explain_answers_for_every_step_that_failed(reason: Reason):
    """A step that was decided and not done is told like a refusal, since this very tick."""
    action = {"do": "drain", "vm_id": "vm-a", "done": False, "refused": str(reason), "detail": "404"}
    shard = await explained(
        actions=[action, {"do": "undrain", "done": True}], bridges=[{"vm_id": "vm-a", "name": "a"}]
    )
    (told,) = shard["not_done"]
    assert (told["name"], told["since"], told["detail"]) == ("a", "2026-11-18T12:00:00.000Z", "404")
    assert understood(told["meaning"])


async def test_explain_of_one_bridge_leaves_the_others_out():
    """What is asked about one is answered about one."""
    of_both = [
        {"reason": "too_young", "detail": "", "vm_id": "vm-a", "name": "a", "since": WRITTEN},
        {"reason": "not_oldest", "detail": "", "vm_id": "vm-g", "name": "g", "since": WRITTEN},
    ]
    shard = await explained(refusals=of_both, bridge="g")
    assert [told["reason"] for told in shard["not_done"]] == ["not_oldest"]
    assert [(bridge["name"], bridge["way_out"]) for bridge in shard["bridges"]] == [("g", None)]


def test_there_is_no_way_out_without_a_reason():
    """The two lists are one."""
    assert set(WAY_OUT) == set(Reason)


def test_the_commands_that_a_way_out_names_exist():
    """What an operator is told to type can be typed."""
    from cli.app import cli

    named = {word for text in WAY_OUT.values() for word in re.findall(r"`jvb-autoscaler (\w+)", text)}
    assert named
    assert named <= set(cli.commands)
