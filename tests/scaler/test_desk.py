"""The desk: an operator's command is looked up, written once, and carried out by a tick of its shard."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler import answers, desk
from scaler.model import Phase, Purpose
from scaler.orders import read_order
from scaler.ports import Stored
from tests.scaler.worlds import SHARD, accepting, install, memories, mutations, names, run, state

WHO = {"by": "ann", "why": "a tap on the shoulder"}


async def order(it: Any, new_id: str = "c-1", **body: Any) -> dict[str, Any]:
    """Half a minute after the last tick, which is time enough for one more."""
    it.world.advance(30)
    return await desk.take(it.engine, {**WHO, **body}, new_id)


async def test_a_drain_is_carried_out_at_once_and_stays() -> None:
    """The tick that follows drains it; the next one sees it, and no rule ever takes it away or back."""
    it = install()
    await run(it, 1)
    younger = names(it)[1]
    answer = await order(it, kind="drain", bridge=younger)
    assert (answer["shard"], answer["tick"]["result"]) == (SHARD, "done")
    assert mutations(it) == ["set_drain"]
    assert (await memories(it))[younger].purpose is Purpose.OPERATOR
    await run(it, 90)
    assert mutations(it) == ["set_drain"]
    status = await answers.status(it.engine)
    (told,) = status["shards"][0]["commands"]
    assert (told["state"], told["by"]) == ("done", "ann")
    await order(it, "c-2", kind="undrain", bridge=younger)
    await run(it, 2)
    assert accepting(it) == 2


async def test_an_order_sent_twice_is_one_command() -> None:
    """A lost answer is asked for again with the same id; another order with that id is refused."""
    it = install()
    await run(it, 1)
    name = names(it)[1]
    first = await order(it, kind="drain", bridge=name, command_id="mine")
    again = await order(it, kind="drain", bridge=name, command_id="mine")
    assert first["command"]["command_id"] == again["command"]["command_id"] == "mine"
    assert mutations(it) == ["set_drain"]
    with pytest.raises(desk.IdTaken, match="mine is that of another command"):
        await order(it, kind="pause", command_id="mine")
    it.world.advance(2 * 86400)
    await run(it, 1)
    with pytest.raises(desk.IdTaken, match="mine was used before"):
        await order(it, kind="drain", bridge=name, command_id="mine")


async def test_two_orders_at_once_with_one_id_are_one_command() -> None:
    """Whoever comes second finds the row of the first."""
    it = install()
    await run(it, 1)
    rows = await it.store.load(SHARD)
    read, _ = read_order({**WHO, "kind": "pause"}, it.world.now, "c-1")
    assert read is not None
    it.store.order(SHARD, read.command)
    known = await desk._written(it.engine, SHARD, read.command)
    assert known.value == read.command
    assert rows.commands == {}


async def test_a_tick_that_just_ran_is_not_repeated() -> None:
    """The command waits for the next one: a bridge asked twice in a second has nothing new to say."""
    it = install()
    await run(it, 1)
    answer = await desk.take(it.engine, {**WHO, "kind": "pause"}, "c-1")
    assert (answer["tick"]["result"], answer["command"]["state"]) == ("too soon", "open")


async def test_while_another_run_holds_the_lease_the_command_waits() -> None:
    """It is written all the same; the next tick takes it up."""
    it = install()
    await run(it, 1)
    lease = await it.store.acquire(SHARD, "another", it.world.now, 150)
    answer = await order(it, kind="pause")
    assert answer["tick"]["result"] == "lease held"
    assert answer["command"]["state"] == "open"
    await it.store.release(lease, it.world.now)
    await run(it, 1)
    assert (await state(it)).paused


async def test_what_is_not_known_is_refused() -> None:
    """A shard, a bridge: the answer names those that there are; faults come all at once."""
    it = install()
    await run(it, 1)
    with pytest.raises(KeyError, match="no shard 'x'; there are: jvb-a"):
        await order(it, kind="pause", shard="x")
    with pytest.raises(KeyError, match="no bridge 'x' in jvb-a"):
        await order(it, kind="drain", bridge="x")
    with pytest.raises(desk.NotUnderstood) as caught:
        await order(it, kind="protect")
    assert len(caught.value.faults) == 2
    with pytest.raises(desk.NotUnderstood, match=r"at most max_bridges \(15\)"):
        await order(it, kind="floor", minimum=16, for_minutes=5)


async def test_a_bridge_is_found_by_its_vm_id_and_in_its_shard() -> None:
    """Names repeat, vmIds do not; of many shards a command for a whole one has to be named."""
    it = install()
    await run(it, 1)
    known = (await memories(it))[names(it)[0]]
    answer = await order(it, kind="protect", bridge=known.vm_id, for_minutes=60, shard=SHARD)
    assert answer["command"]["bridge"] == known.name
    assert (
        "freezes" in answer["command"]["outcome"] or "nothing else is removed" in answer["command"]["outcome"]
    )
    it.engine.shards["other"] = it.engine.shards[SHARD]
    with pytest.raises(desk.NotUnderstood, match="shard: is missing, allowed: jvb-a, other"):
        await order(it, "c-2", kind="pause")
    assert (await order(it, "c-3", kind="undrain", bridge=known.name))["shard"] == SHARD


async def test_of_two_machines_of_one_name_the_listed_one_is_meant() -> None:
    """One reimaged has a new vmId, and the row of the old one stands for minutes yet."""
    it = install()
    await run(it, 1)
    old = (await memories(it))[names(it)[1]]
    reborn = replace(old, vm_id="vm-new")
    gone = replace(old, unlisted_since=it.world.now)
    await it.store.put_bridges(SHARD, [Stored(reborn, None)])
    row = (await it.store.load(SHARD)).bridges[old.vm_id]
    await it.store.put_bridges(SHARD, [replace(row, value=gone)])
    wanted, faults = read_order({**WHO, "kind": "drain", "bridge": old.name}, it.world.now, "c-1")
    assert wanted is not None, faults
    assert (await desk._looked_up(it.engine, wanted))[2].vm_id == "vm-new"


async def test_a_floor_buys_and_its_end_lets_go() -> None:
    """Machines come for it, and when it is over the fleet shrinks by the ordinary rules."""
    it = install(scale_in_window_minutes=1)
    await run(it, 1)
    await order(it, kind="floor", minimum=3, for_minutes=30)
    await run(it, 10)
    assert accepting(it) == 3
    await run(it, 120)
    assert len(names(it)) < 3


async def test_a_replaced_machine_goes_and_is_stood_in_for() -> None:
    """A JVB that died for good: the operator's word deletes the VM, and the command is done."""
    it = install(min_bridges=2)
    await run(it, 1)
    dead = names(it)[0]
    vm = next(vm for vm in it.world.vms() if vm.name == dead)
    assert vm.bridge is not None
    vm.bridge.crash()
    await run(it, 8)
    assert (await memories(it))[dead].phase is Phase.READY
    await order(it, kind="replace", bridge=dead)
    await run(it, 15)
    assert dead not in names(it)
    assert accepting(it) == 2
    (told,) = (await answers.status(it.engine))["shards"][0]["commands"]
    assert (told["state"], told["outcome"]) == ("done", "ARM no longer lists the machine")


async def test_a_pause_for_a_time_resumes_by_itself() -> None:
    """Nobody has to remember it."""
    it = install()
    await run(it, 1)
    await order(it, kind="pause", for_minutes=5)
    assert (await state(it)).paused
    await run(it, 6)
    assert not (await state(it)).paused


async def test_in_dry_run_a_command_waits_and_says_what_it_would_do() -> None:
    """No bridge is called; the row stays open until it expires."""
    it = install(dry_run=True)
    await run(it, 1)
    answer = await order(it, kind="drain", bridge=names(it)[0])
    assert "would drain" in answer["tick"]["sentence"]
    assert mutations(it) == []
    it.world.advance(timedelta(hours=2).total_seconds())
    await run(it, 1)
    (told,) = (await answers.status(it.engine))["shards"][0]["commands"]
    assert told["state"] == "expired"
