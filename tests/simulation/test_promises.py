"""
Each promise of the checkers by itself: an engine that obeys is let through, one that breaks it is not.

The rogue acts through the same witnessed ports as the real engine, on the rows and answers of its own
tick, so what catches it here is what would catch the engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.cloud import SimVm
from sandbox.scenario import SHARD, Scenario
from sandbox.simulation import Run
from sandbox.witness import Told
from scaler.model import BridgeMemory, CreateIntent, Instance, Phase, PlatformLoad, Purpose
from scaler.policy import ScalingPolicy
from scaler.ports import Lease, ShardRows, Stored, Target
from scaler.tick import Report
from tests.scaler.worlds import slip_in_a_call, world_of

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LONG_ENOUGH = 10
"""Minutes after which a shard is known for long enough, one before the real engine takes a step."""


class Rogue:
    """An engine that does what a test tells it, after two ticks of the real one."""

    def __init__(self, ages: Sequence[float], policy: ScalingPolicy) -> None:
        """`ages`: of the bridges in hours, oldest first."""
        self.run = Run(Scenario(1, world_of(ages), policy, capacity_stays=False, new_version=None), (), 1)
        self.policy = policy
        self.process, self.engine = self.run._new_process()
        ears = self.engine.shards[SHARD].ears
        self.cloud, self.bridges, self.store = ears.cloud, ears.bridges, self.engine.store
        self.lease: Lease | None = None

    # What it hears

    async def wait(self, minutes: int = 2) -> None:
        """Let the real engine tick."""
        for _ in range(minutes):
            self.run.world.advance(60)
            await self.run._tick(*self.run._new_process())

    async def hear(self) -> None:
        """End the tick so far, take the lease and hear everybody, as a tick does."""
        if self.process.told is not None:
            self.judge(None)
        self.run.world.advance(60)
        self.lease = await self.store.acquire(SHARD, "rogue", self.run.world.now, 150.0)
        self.rows: ShardRows = await self.store.load(SHARD)
        self.record = await self.cloud.scale_set()
        await self.cloud.instances({})
        await self.bridges.poll([self.target(vm) for vm in self.vms()])

    @property
    def told(self) -> Told:
        assert self.process.told is not None
        return self.process.told

    def vms(self) -> list[SimVm]:
        """Machines, oldest first."""
        return sorted(self.run.site.scale_set.vms.values(), key=lambda vm: vm.time_created)

    def vm(self, number: int) -> SimVm:
        return self.vms()[number]

    def bridge(self, number: int) -> Any:
        bridge = self.vm(number).bridge
        assert bridge is not None
        return bridge

    def target(self, vm: SimVm) -> Target:
        return Target(vm.vm_id, vm.address, ask_process=True)

    def know(self, number: int, **changes: Any) -> None:
        """Change a row as if an earlier tick had written it."""
        table = self.run.store.table(SHARD).bridges
        row = table[self.vm(number).vm_id]
        table[self.vm(number).vm_id] = Stored(replace(row.value, **changes), row.etag)

    # What it does

    async def read(self, number: int) -> None:
        await self.bridges.read(self.target(self.vm(number)))

    async def write(self, number: int, **changes: Any) -> None:
        """Write an intent into a row, under the lease of this tick."""
        assert self.lease is not None
        row = self.run.store.table(SHARD).bridges[self.vm(number).vm_id]
        memory: BridgeMemory = replace(row.value, **{"epoch": self.lease.epoch, **changes})
        await self.store.put_bridges(SHARD, [Stored(memory, row.etag)])

    async def drain(
        self, number: int = 0, purpose: Purpose = Purpose.TEAR_DOWN, *, read: bool = True, **changes: Any
    ) -> None:
        if read:
            await self.read(number)
        fields = {"phase": Phase.DRAINING, "wanted_drain": True, "purpose": purpose, **changes}
        await self.write(number, **fields)
        await self.bridges.set_drain(self.target(self.vm(number)), on=True)

    async def undrain(self, number: int = 0, **changes: Any) -> None:
        await self.write(number, **{"wanted_drain": False, **changes})
        await self.bridges.set_drain(self.target(self.vm(number)), on=False)

    async def fence(self, number: int = 0, **changes: Any) -> None:
        await self.read(number)
        await self.write(number, **{"phase": Phase.FENCED, **changes})
        await self.bridges.shut_down(self.target(self.vm(number)))

    async def delete(self, number: int = 0, **changes: Any) -> None:
        await self.read(number)
        await self.write(number, **{"phase": Phase.DELETING, **changes})
        await self.cloud.delete(self.instance(number))

    def instance(self, number: int) -> Instance:
        return next(each for each in self.told.instances if each.vm_id == self.vm(number).vm_id)

    async def buy(self, count: int = 1, more: int = 0, *, asked: bool = True, **changes: Any) -> None:
        assert self.lease is not None
        capacity = self.record.capacity + count + more
        if asked:
            now = self.run.world.now
            fields = {"epoch": self.lease.epoch, "capacity": capacity, "why": "on purpose", **changes}
            intents = [CreateIntent(f"rogue-{n}", now, **fields) for n in range(count)]
            await self.store.put_intents(SHARD, [Stored(each, None) for each in intents])
        await self.cloud.scale_out(self.record, capacity)

    # Ways to the later steps, by the book

    async def drained(self, number: int = 0) -> None:
        """A drain that has settled, found empty twice."""
        await self.hear()
        await self.drain(number)
        await self.hear()
        await self.hear()

    async def exited(self, number: int = 0) -> None:
        """A fence whose process has gone."""
        await self.drained(number)
        await self.fence(number)
        await self.hear()
        await self.hear()

    def dead_on_arrival(self, number: int, **changes: Any) -> None:
        """A machine of ours that never became a bridge, and whose port is refused."""
        self.bridge(number).crash()
        long_ago = self.run.world.now - HOUR
        fields = {"phase": Phase.FAILED, "ever_ready": False, "asked_by": "i", "asked_at": long_ago}
        self.know(number, **{**fields, **changes})

    async def end(self, actions: Sequence[dict[str, Any]] = (), *, recorded: bool = True) -> None:
        """End the tick with this record."""
        record = {"actions": list(actions), "sentence": ""}
        if recorded:
            await self.store.append_decision(SHARD, self.run.world.now, record)
        report = Report(SHARD, self.run.world.now, "done", "", record)
        self.judge(report)

    def judge(self, report: Report | None) -> None:
        for checker in self.run.bench.checkers:
            checker.after_tick(self.told, report)


Deed = Callable[[Rogue], Awaitable[None]]


async def live(deed: Deed, ages: Sequence[float] = (3, 2.5, 2), **fields: Any) -> list[str]:
    """What the checkers have against a deed."""
    policy = {"max_bridges": 6, "participants_per_bridge": 15, "recycle": "off", **fields}
    rogue = Rogue(ages, ScalingPolicy(**policy))
    await rogue.wait(LONG_ENOUGH)
    await deed(rogue)
    return [str(violation) for violation in rogue.run.court.violations]


# Deeds by the book


async def drains_the_oldest(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain()


async def drains_for_surplus(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain(purpose=Purpose.SURPLUS)


async def fences_it(rogue: Rogue) -> None:
    await rogue.drained()
    await rogue.fence()


async def deletes_it(rogue: Rogue) -> None:
    await rogue.exited()
    await rogue.delete()


async def takes_a_drain_back(rogue: Rogue) -> None:
    await rogue.drained()
    await rogue.undrain()


async def buys(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.buy()


async def cleans_up(rogue: Rogue) -> None:
    rogue.dead_on_arrival(2)
    await rogue.hear()
    await rogue.hear()
    await rogue.delete(2)


async def replaces_the_dead(rogue: Rogue, minutes: int = 31, mbps: float = 0.0) -> None:
    """It is silent for so long, while Azure Monitor sees so much leave it."""
    rogue.vm(0).unreachable = True
    for _ in range(minutes):
        await rogue.hear()
        load = PlatformLoad(rogue.run.world.now, 0.0, mbps, 0.0)
        rogue.told.platform = {vm.vm_id: load for vm in rogue.vms()}
    await rogue.delete(0)


BY_THE_BOOK = [
    *(drains_the_oldest, drains_for_surplus, fences_it, deletes_it, takes_a_drain_back, buys, cleans_up)
]


@pytest.mark.parametrize("deed", BY_THE_BOOK)
async def test_an_engine_that_obeys_is_let_through(deed: Deed) -> None:
    """Else what follows would prove nothing: each rogue differs from one of these in one thing."""
    assert await live(deed) == []


async def test_the_dead_may_be_replaced_where_the_operator_allows_it() -> None:
    """Also while a JVB runs there that nobody has heard of for half an hour."""
    assert await live(replaces_the_dead, replace_dead_after_minutes=30) == []


@pytest.mark.parametrize(("result", "says"), [("failed", 0), ("done", 1)])
async def test_an_answer_ends_the_silence_in_a_tick_that_ended_well(result: str, says: int) -> None:
    """What a tick heard whose rows another had written meanwhile is known to nobody."""

    async def deed(rogue: Rogue) -> None:
        rogue.vm(0).unreachable = True
        await rogue.hear()
        rogue.vm(0).unreachable = False
        await rogue.hear()
        rogue.judge(Report(SHARD, rogue.run.world.now, result, ""))
        await replaces_the_dead(rogue, minutes=29)

    found = await live(deed, replace_dead_after_minutes=28)
    assert sum(each.startswith("world: delete") for each in found) == says


# Deeds against one promise each: (who says it, what it says, the deed, the policy or the ages)

Case = tuple[str, str, Deed, dict[str, Any]]


def against(checker: str, says: str, **fields: Any) -> Callable[[Deed], Deed]:
    """Register a deed."""

    def register(deed: Deed) -> Deed:
        ROGUES.append((checker, says, deed, fields))
        return deed

    return register


ROGUES: list[Case] = [
    ("knowledge", "it is not old enough", drains_the_oldest, {"ages": (0.5, 0.4, 0.3)}),
    ("knowledge", "3 healthy, minimum 3", drains_the_oldest, {"min_bridges": 3}),
    ("knowledge", "2 others accept, 3 needed", drains_the_oldest, {"min_bridges": 3}),
    ("knowledge", "too few machines would remain", drains_the_oldest, {"min_bridges": 3}),
    ("knowledge", "not settled", fences_it, {"settle_seconds": 600.0}),
    ("knowledge", "over the maximum", buys, {"max_bridges": 3}),
]


@against("knowledge", "there is no row of it")
@against("books", "has no row")
async def _drains_what_has_no_row(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.read(0)
    del rogue.run.store.table(SHARD).bridges[rogue.vm(0).vm_id]
    await rogue.bridges.set_drain(rogue.target(rogue.vm(0)), on=True)


@against("knowledge", "ARM did not list it")
async def _drains_what_is_not_listed(rogue: Rogue) -> None:
    await rogue.hear()
    gone = rogue.vm(0).vm_id
    rogue.told.instances = tuple(each for each in rogue.told.instances if each.vm_id != gone)
    await rogue.drain()


@against("knowledge", "it was not told healthy")
async def _drains_what_is_not_healthy(rogue: Rogue) -> None:
    rogue.bridge(0).leave_muc()
    await drains_the_oldest(rogue)


@against("knowledge", "0 others accept")
async def _drains_the_last_that_accepts(rogue: Rogue) -> None:
    rogue.bridge(1).set_drain(True)
    rogue.bridge(2).set_drain(True)
    await drains_the_oldest(rogue)


@against("knowledge", "blind")
async def _drains_blindly(rogue: Rogue) -> None:
    rogue.vm(1).unreachable = rogue.vm(2).unreachable = True
    await drains_the_oldest(rogue)


@against("knowledge", "no fresh report of a bridge that is open")
async def _drains_without_looking(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain(read=False)


@against("knowledge", "no fresh report of a bridge that is open")
async def _drains_on_an_old_report(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.read(0)
    rogue.run.world.advance(11)
    await rogue.drain(read=False)


@against("knowledge", "a second new drain in one tick", ages=(5, 4, 3, 2))
async def _drains_two(rogue: Rogue) -> None:
    await drains_for_surplus(rogue)
    await rogue.drain(1, Purpose.SURPLUS)


@against("knowledge", "a new drain in a tick that scales out")
async def _buys_and_drains(rogue: Rogue) -> None:
    await buys(rogue)
    await rogue.drain()


@against("knowledge", "a new drain while a machine boots")
async def _drains_while_one_boots(rogue: Rogue) -> None:
    rogue.bridge(2).set_drain(True)
    rogue.know(2, phase=Phase.BOOTING, ever_ready=False, asked_by="i", asked_at=rogue.run.world.now)
    await drains_the_oldest(rogue)


@against("knowledge", "a new drain while a bridge is over its people")
async def _drains_while_one_is_full(rogue: Rogue) -> None:
    slip_in_a_call(rogue.run, rogue.vm(2), people=16)  # type: ignore[arg-type]
    rogue.run.world.advance(5)
    await drains_the_oldest(rogue)


@against("knowledge", "purpose foreign")
async def _drains_for_a_strange_purpose(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain(purpose=Purpose.FOREIGN)


@against("knowledge", "nobody commanded it")
async def _drains_by_a_command_that_nobody_gave(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain(purpose=Purpose.OPERATOR)


@against("knowledge", "1 older ones do not drain")
async def _drains_out_of_turn(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain(1, Purpose.SURPLUS)


@against("knowledge", "it is not the oldest")
async def _drains_a_younger_one(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.drain(1)


@against("knowledge", "1 drain already, at most 1", max_draining=1, ages=(5, 4, 3, 2))
async def _drains_too_many(rogue: Rogue) -> None:
    await drains_for_surplus(rogue)
    await rogue.hear()
    await rogue.drain(1, Purpose.SURPLUS)


@against("knowledge", "no fresh report that it is empty")
async def _drains_a_busy_one(rogue: Rogue) -> None:
    slip_in_a_call(rogue.run, rogue.vm(0))  # type: ignore[arg-type]
    rogue.run.world.advance(5)
    await drains_the_oldest(rogue)


@against("knowledge", "it is not our drain")
async def _takes_back_what_an_operator_drained(rogue: Rogue) -> None:
    rogue.bridge(0).set_drain(True)
    rogue.know(0, phase=Phase.DRAINING, purpose=Purpose.FOREIGN)
    await rogue.hear()
    await rogue.undrain()


@against("knowledge", "it is fenced")
async def _takes_a_fence_back(rogue: Rogue) -> None:
    rogue.know(0, phase=Phase.FENCED)
    await rogue.hear()
    await rogue.undrain()


@against("knowledge", "no fresh report that it is drained")
async def _fences_what_is_open(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.fence()


@against("knowledge", "not found empty in two polls")
async def _fences_too_soon(rogue: Rogue) -> None:
    await drains_the_oldest(rogue)
    await rogue.hear()
    await rogue.fence()


@against("knowledge", "a conference came and went")
async def _fences_behind_a_short_call(rogue: Rogue) -> None:
    await rogue.drained()
    rogue.bridge(0).totals.conferences_created += 1
    await rogue.fence()


@against("knowledge", "it is not in its MUC")
async def _fences_what_is_cut_off(rogue: Rogue) -> None:
    await rogue.drained()
    rogue.bridge(0).leave_muc()
    await rogue.fence()


@against("knowledge", "nothing proves that its process is gone")
@against("world", "while its JVB runs")
async def _deletes_what_runs(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.delete()


@against("knowledge", "the drain is not ours")
async def _fences_what_a_person_drained(rogue: Rogue) -> None:
    rogue.bridge(0).set_drain(True)
    rogue.know(0, phase=Phase.DRAINING, wanted_drain=True, purpose=Purpose.TEAR_DOWN)
    await rogue.hear()
    await rogue.hear()
    await rogue.fence()


@against("knowledge", "it was never fenced")
async def _deletes_what_crashed(rogue: Rogue) -> None:
    rogue.bridge(0).crash()
    await rogue.hear()
    await rogue.delete()


@against("knowledge", "refused for 0 s only")
async def _deletes_at_the_first_refusal(rogue: Rogue) -> None:
    await rogue.drained()
    await rogue.fence()
    await rogue.hear()
    await rogue.delete()


@against("knowledge", "it was never fenced")
async def _deletes_what_came_back_from_its_fence(rogue: Rogue) -> None:
    await rogue.exited()
    rogue.bridge(0).start()
    await rogue.hear()
    rogue.bridge(0).crash()
    await rogue.hear()
    await rogue.delete()


@against("knowledge", "no other bridge accepts")
async def _deletes_and_leaves_nobody(rogue: Rogue) -> None:
    await rogue.exited()
    rogue.bridge(1).set_drain(True)
    rogue.bridge(2).set_drain(True)
    await rogue.hear()
    await rogue.delete()


@against("knowledge", "a second delete in one tick")
async def _deletes_two(rogue: Rogue) -> None:
    rogue.dead_on_arrival(2)
    await deletes_it(rogue)
    await rogue.delete(1)


@against("knowledge", "a machine that we did not ask for")
async def _cleans_up_what_is_not_ours(rogue: Rogue) -> None:
    rogue.dead_on_arrival(2, asked_by=None)
    await rogue.hear()
    await rogue.delete(2)


@against("knowledge", "its boot deadline has not passed")
async def _cleans_up_too_soon(rogue: Rogue) -> None:
    rogue.dead_on_arrival(2, asked_at=rogue.run.world.now)
    await rogue.hear()
    await rogue.delete(2)


@against("knowledge", "a second clean-up in 10 min")
async def _cleans_up_two(rogue: Rogue) -> None:
    await cleans_up(rogue)
    rogue.dead_on_arrival(1)
    await rogue.hear()
    await rogue.delete(1)


@against("knowledge", "no other bridge answered")
async def _cleans_up_when_nobody_answers(rogue: Rogue) -> None:
    rogue.vm(0).unreachable = rogue.vm(1).unreachable = True
    await cleans_up(rogue)


@against("knowledge", "the scale set was not told")
async def _buys_without_looking(rogue: Rogue) -> None:
    await rogue.hear()
    rogue.told.scale_set = None
    await rogue.buy()


@against("knowledge", "a repair that is not allowed")
async def _repairs(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.buy(0, asked=False)


@against("knowledge", "a repair with machines on the way", repair_capacity=True)
async def _repairs_while_some_are_on_the_way(rogue: Rogue) -> None:
    await buys(rogue)
    await rogue.hear()
    await rogue.buy(0, asked=False)


@against("knowledge", "1 intents on 3")
async def _buys_more_than_it_asked_for(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.buy(1, more=1)


@against("knowledge", "on a wrong base")
async def _buys_on_a_wrong_base(rogue: Rogue) -> None:
    await rogue.hear()
    rogue.record = rogue.told.scale_set = replace(rogue.record, capacity=4)
    await rogue.buy()


@against("knowledge", "more than a step", max_scale_out_step=1)
async def _buys_too_many(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.buy(2)


@against("knowledge", "blind, and more than one")
async def _buys_a_fleet_blindly(rogue: Rogue) -> None:
    rogue.vm(1).unreachable = rogue.vm(2).unreachable = True
    await rogue.hear()
    await rogue.buy(2)


@against("world", "while its JVB runs with 0 calls")
@against("knowledge", "nothing proves that its process is gone")
async def _replaces_the_dead_unasked(rogue: Rogue) -> None:
    await replaces_the_dead(rogue)


@against("knowledge", "nothing proves that its process is gone", replace_dead_after_minutes=30)
async def _replaces_the_dead_too_soon(rogue: Rogue) -> None:
    await replaces_the_dead(rogue, minutes=25)


@against("knowledge", "nothing proves that its process is gone", replace_dead_after_minutes=30)
async def _replaces_what_sends(rogue: Rogue) -> None:
    await replaces_the_dead(rogue, mbps=0.1)


@against("knowledge", "1 others accept", replace_dead_after_minutes=30)
async def _replaces_the_dead_with_one_other(rogue: Rogue) -> None:
    rogue.bridge(2).set_drain(True)
    await replaces_the_dead(rogue)


@against("world", "while its JVB runs with 1 calls", replace_dead_after_minutes=30)
async def _replaces_what_a_call_was_on_when_it_was_measured(rogue: Rogue) -> None:
    slip_in_a_call(rogue.run, rogue.vm(0), minutes=60)  # type: ignore[arg-type]
    await replaces_the_dead(rogue)


@against("books", "is not under the newest lease")
async def _drains_under_a_lost_lease(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.run.store.acquire(SHARD, "another", rogue.run.world.now + HOUR, 150.0)
    await rogue.drain()


@against("books", "s before its lease ends")
async def _drains_at_the_end_of_its_lease(rogue: Rogue) -> None:
    await rogue.hear()
    rogue.run.world.advance(121)
    await rogue.drain()


@against("books", "is not written down first: the row is ready")
async def _drains_before_it_writes(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.read(0)
    await rogue.bridges.set_drain(rogue.target(rogue.vm(0)), on=True)


@against("books", "is not written down first: the row wants the drain")
async def _takes_back_before_it_writes(rogue: Rogue) -> None:
    await rogue.drained()
    await rogue.undrain(wanted_drain=True)


@against("books", "is not written down first: the row is draining")
async def _fences_before_it_writes(rogue: Rogue) -> None:
    await rogue.drained()
    await rogue.fence(phase=Phase.DRAINING)


@against("books", "is an intent of another epoch")
async def _fences_by_an_old_intent(rogue: Rogue) -> None:
    await rogue.drained()
    await rogue.fence(epoch=1)


@against("books", "has no intent, and is no repair")
async def _buys_without_an_intent(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.buy(asked=False)


@against("books", "a tick that is done has no decision record")
async def _keeps_no_record(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.end(recorded=False)


@against("books", "stands in no decision record")
async def _records_nothing_of_its_drain(rogue: Rogue) -> None:
    await drains_the_oldest(rogue)
    await rogue.end()


@against("books", "the record tells of 1 acts, 0 were seen")
async def _boasts(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.end([{"do": "delete", "vm_id": "x", "done": True}])


@against("books", "reads back as something else")
async def _writes_what_cannot_be_read(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.write(0, nic_mbps=[1.0])
    await rogue.end()


@against("books", "cannot be read")
async def _writes_what_no_column_takes(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.write(0, delete_attempts=1.5)
    await rogue.end()


@against("world", "nobody asked for that machine")
async def _lowers_the_capacity(rogue: Rogue) -> None:
    await rogue.hear()
    await rogue.buy(1, more=-2)
    await rogue.end()


@against("world", "lost")
async def _deletes_what_carries_a_call(rogue: Rogue) -> None:
    slip_in_a_call(rogue.run, rogue.vm(0))  # type: ignore[arg-type]
    rogue.run.world.advance(5)
    await _deletes_what_runs(rogue)
    await rogue.end()


def _name(case: Case) -> str:
    checker, says, deed, _ = case
    return f"{checker}: {says} ({deed.__name__.strip('_')})"


@pytest.mark.parametrize("case", ROGUES, ids=_name)
async def test_an_engine_that_breaks_one_promise_is_caught_by_it(case: Case) -> None:
    """The checker says which promise it was."""
    checker, says, deed, fields = case
    said = await live(deed, **fields)
    assert any(text.startswith(f"{checker}: ") and says in text for text in said), said
