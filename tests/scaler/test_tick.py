"""One tick: lease, hear, reflect, decide, act, record; and what happens when a neighbour fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.cloud import ScaleSetSpec
from sandbox.inprocess import scale_set_id
from sandbox.memory_store import MemoryStore
from sandbox.workload import Workload, meeting
from sandbox.world import WorldConfig
from scaler.decision import Reason
from scaler.errors import Refused, TryNextTick
from scaler.model import Phase, Poll
from scaler.ports import Bridges, ShardRows, Stored, Target
from scaler.tick import ALERT_PACE, LEASE_SECONDS, Engine
from tests.scaler.builders import command
from tests.scaler.worlds import (
    SCALE_SET,
    SHARD,
    START,
    alerts,
    events,
    install,
    latest,
    machines,
    memories,
    mutations,
    phases,
    run,
    state,
    world_of,
)


def failing(call: str, error: Exception) -> Any:
    """A hook that breaks one call."""

    def hook(name: str, **_details: object) -> None:
        if name == call:
            raise error

    return hook


async def test_a_tick_leaves_rows_a_record_usage_and_its_lease_behind() -> None:
    """Everything that the next one, and a person, needs."""
    it = install()
    it.world.advance(60)
    (report,) = await it.tick()
    assert (report.shard, report.result, report.at) == (SHARD, "done", it.world.now)
    assert report.record == await latest(it)
    assert report.sentence == (await latest(it))["sentence"]
    assert len(await memories(it)) == 2
    assert (await state(it)).last_tick_at == it.world.now
    assert list(it.store.usage(SHARD)) == [it.world.now]
    assert (await events(it)).count("adopted") == 2
    (again,) = await install(store=it.store, world=it.world, run_id="run-2").tick()
    assert again.result == "done"


async def test_the_second_tick_of_a_moment_is_too_soon_where_a_pace_is_given() -> None:
    """Alerts may come in bursts."""
    it = install()
    await run(it, 1)
    it.world.advance(19)
    assert (await it.engine.tick(SHARD, pace=ALERT_PACE)).result == "too soon"
    it.world.advance(1)
    assert (await it.engine.tick(SHARD, pace=ALERT_PACE)).result == "done"


class Reading(MemoryStore):
    """A store that tells how it was read: `all`, or only what others write (`commands`)."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.reads: list[str] = []

    async def load(self, shard: str, known: ShardRows | None = None) -> ShardRows:
        """Note how, and read."""
        self.reads.append("all" if known is None else "commands")
        return await super().load(shard, known)


async def test_a_process_reads_nothing_again_that_its_last_tick_wrote() -> None:
    """While nobody else held the lease, only commands are read; after five minutes all is, once."""
    store = Reading()
    it = install(store=store)
    await run(it, 7)
    assert store.reads == ["all", *["commands"] * 4, "all", "commands"]
    it.world.advance(5)
    assert (await it.engine.tick(SHARD, pace=ALERT_PACE)).result == "too soon"
    await run(it, 1)
    assert store.reads[7:] == ["commands", "commands"]


async def test_a_process_reads_all_again_after_another_held_the_lease() -> None:
    """Whoever holds it may write."""
    store = Reading()
    it = install(store=store)
    other = install(store=store, world=it.world, run_id="run-2")
    await run(it, 2)
    await run(other, 1)
    await run(it, 2)
    assert store.reads == ["all", "commands", "all", "all", "commands"]


@pytest.mark.parametrize(
    "call", ["load", "put_bridges", "put_state", "append_decision", "append_usage", "release"]
)
async def test_a_process_reads_all_again_after_a_tick_that_failed(call: str) -> None:
    """Nobody knows what was written of it."""
    store = Reading()
    it = install(store=store)
    await run(it, 1)
    store.tap.before = failing(call, TryNextTick("the tables are away"))
    it.world.advance(60)
    assert [report.result for report in await it.tick()] == ["failed"]
    store.tap.before = None
    it.world.advance(60 + LEASE_SECONDS)
    await run(it, 1)
    assert store.reads == ["all", "commands", "all"]


async def test_all_is_read_in_each_tick_of_a_paused_shard() -> None:
    """Then a person may mend rows, and what was mended counts when the shard goes on."""
    store = Reading()
    it = install(store=store)
    await run(it, 2)
    store.order(SHARD, command("pause"))
    await run(it, 2)
    row = store.table(SHARD).states["state"]
    store.table(SHARD).states["state"] = Stored(replace(row.value, good_image="mended"), "by hand")
    store.order(SHARD, command("resume"))
    await run(it, 2)
    assert store.reads == ["all", "commands", "commands", "all", "all", "commands"]
    assert (await state(it)).good_image == "mended"


async def test_a_row_that_a_person_changes_meanwhile_is_not_written_over() -> None:
    """The tick that finds it fails, and the next one takes it as it is."""
    it = install()
    await run(it, 2)
    table = it.store.table(SHARD)
    vm_id, row = next(iter(table.bridges.items()))
    table.bridges[vm_id] = Stored(replace(row.value, restarts=7), "by hand")
    it.world.advance(60)
    (failed,) = await it.tick()
    assert (failed.result, table.bridges[vm_id].etag) == ("failed", "by hand")
    assert "written by another" in failed.sentence
    it.world.advance(60)
    (done,) = await it.tick()
    assert (done.result, table.bridges[vm_id].value.restarts) == ("done", 7)


@pytest.mark.parametrize("call", ["acquire", "load", "put_bridges", "put_state", "append_decision"])
@pytest.mark.parametrize(
    "error", [TryNextTick("tables are away"), Refused("AuthorizationFailure", "no role")]
)
async def test_without_tables_nothing_is_done_at_all(call: str, error: Exception) -> None:
    """No bridge and no machine is touched, and the tick does not raise."""
    it = install()
    await run(it, 10)
    before = len(mutations(it))
    it.store.tap.before = failing(call, error)
    it.world.advance(60)
    (report,) = await it.tick()
    assert report.result == "failed"
    assert "the tables did not answer" in report.sentence
    if call not in ("put_state", "append_decision"):
        assert len(mutations(it)) == before
    it.store.tap.before = None
    await run(it, 30)
    assert len(machines(it)) == 1


async def test_a_fault_of_ours_in_one_shard_costs_no_other_its_tick() -> None:
    """Whatever is raised becomes a report."""
    specs = tuple(ScaleSetSpec(scale_set_id(name), capacity=2) for name in (SHARD, "jvb-b"))
    it = install(WorldConfig(1, START, specs, Workload.of(())))
    cloud = it.engine.shards[SHARD].ears.cloud
    cloud.tap.before = failing("instances", ZeroDivisionError("ours"))  # type: ignore[attr-defined]
    it.world.advance(60)
    results = {report.shard: (report.result, report.sentence) for report in await it.tick()}
    assert results[SHARD] == ("failed", "a fault of the autoscaler itself: ZeroDivisionError('ours')")
    assert results["jvb-b"][0] == "done"


@pytest.mark.parametrize("error", [TryNextTick("503"), Refused("AuthorizationFailed", "no role")])
async def test_when_arm_does_not_answer_completely_everything_is_held(error: Exception) -> None:
    """Machines are unknown, not absent: memory stays, an alert opens, and closes when ARM is back."""
    it = install()
    await run(it, 1)
    before = await memories(it)
    it.engine.shards[SHARD].ears.cloud.tap.before = failing("scale_set", error)  # type: ignore[attr-defined]
    await run(it, 2)
    assert await memories(it) == before
    assert await alerts(it) == {"arm_unknown"}
    assert (await latest(it))["refusals"][0]["reason"] == Reason.ARM_UNKNOWN
    it.engine.shards[SHARD].ears.cloud.tap.before = None  # type: ignore[attr-defined]
    await run(it, 1)
    assert await alerts(it) == set()


async def test_arm_that_never_answered_leaves_no_memory_of_machines() -> None:
    """Also the very first tick, live or dry."""
    for dry in (False, True):
        it = install(dry_run=dry)
        it.engine.shards[SHARD].ears.cloud.tap.before = failing("scale_set", TryNextTick("x"))  # type: ignore[attr-defined]
        await run(it, 1)
        assert await memories(it) == {}
        assert (await state(it)).known_since == it.world.now


async def test_a_plan_writes_and_calls_nothing() -> None:
    """Not even a lease; it says what would be done."""
    it = install()
    await run(it, 10)
    it.world.advance(60)
    writes = [call for call in it.store.journal if call.name != "load"]
    report = await it.engine.plan(SHARD)
    assert report.sentence.startswith("would drain")
    assert report.record is not None
    assert report.record["dry_run"] is True
    assert [call for call in it.store.journal if call.name != "load"] == writes
    assert mutations(it) == []
    it.store.tap.before = failing("load", TryNextTick("away"))
    assert (await it.engine.plan(SHARD)).result == "failed"


async def test_an_unknown_vm_size_is_an_alert_and_no_action() -> None:
    """A guessed NIC would be a guessed load."""
    it = install(world_of([3, 2], [meeting(START + timedelta(minutes=1), 60, 300, "full")]))
    unknown = Engine(
        list(it.engine.shards.values()),
        it.store,
        it.engine.clock,
        run_id="run-1",
        owner="jvb-autoscaler",
        size_of=lambda _size: None,
    )
    for _ in range(15):
        it.world.advance(60)
        await unknown.tick_all()
    assert mutations(it) == []
    assert "configuration_incomplete" in await alerts(it)


def test_a_shard_is_found_by_its_scale_set_in_any_case() -> None:
    """ARM and its alerts do not agree on upper and lower case."""
    engine = install().engine
    assert engine.shard_of(SCALE_SET.upper()) == SHARD
    assert engine.shard_of("/subscriptions/other") is None


async def test_another_installations_scale_set_is_only_read() -> None:
    """Its tag names the owner."""
    it = install()
    it.world.set_tags(SCALE_SET, {"jvb-autoscaler-owner": "somebody else"})
    await run(it, 30)
    assert mutations(it) == []
    assert "other_owner" in await alerts(it)
    assert await phases(it) == [Phase.READY, Phase.READY]


async def test_a_slow_shard_holds_up_no_other() -> None:
    """While the bridges of one shard do not answer, the other has long had its tick."""
    names = ("jvb-a", "jvb-b")
    specs = tuple(ScaleSetSpec(scale_set_id(name), capacity=2) for name in names)
    it = install(WorldConfig(seed=1, start=START, scale_sets=specs))
    answer = asyncio.Event()
    slow = it.engine.shards["jvb-a"]
    bridges = _Slow(slow.ears.bridges, answer)
    it.engine.shards["jvb-a"] = replace(slow, ears=replace(slow.ears, bridges=bridges))
    ticking = asyncio.ensure_future(it.tick())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not ticking.done()
    assert len(await it.store.decisions("jvb-b", it.world.now, 1)) == 1
    answer.set()
    assert [report.result for report in await ticking] == ["done", "done"]


class _Slow:
    """Bridges that answer a poll only when they are told to."""

    def __init__(self, inner: Bridges, answer: asyncio.Event) -> None:
        self._inner, self._answer = inner, answer

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        await self._answer.wait()
        return await self._inner.poll(targets)

    async def read(self, target: Target) -> Poll:
        return await self._inner.read(target)

    async def set_drain(self, target: Target, *, on: bool) -> None:
        await self._inner.set_drain(target, on=on)

    async def shut_down(self, target: Target) -> None:
        await self._inner.shut_down(target)


@pytest.mark.parametrize("call", ["put_bridges", "append_decision", "append_usage", "append_events"])
async def test_an_alert_is_in_the_log_whatever_table_fails_then(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and the log is what pages people; what else is to be written has its try."""
    store = Reading()
    it = install(store=store)
    await run(it, 1)
    for vm in it.world.vms():
        vm.unreachable = True
    store.tap.before = failing(call, TryNextTick("busy"))
    it.world.advance(60)
    with caplog.at_level(logging.WARNING, logger="jvb_autoscaler"):
        assert [report.result for report in await it.tick()] == ["failed"]
    assert any(r.getMessage().startswith(f"alert {SHARD}: blind") for r in caplog.records)
    if call == "append_usage":
        store.tap.before = None
        told = await store.events(SHARD, it.world.now, 10)
        assert any(str(event["text"]).startswith("blind: ") for event in told)


async def test_what_else_is_to_be_written_has_its_try_before_the_tick_fails() -> None:
    """Else its rows were written, or lost, behind the lease."""
    store = Reading()
    it = install(store=store)
    inner, done = store.append_events, []

    async def slow(*args: Any) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        await inner(*args)
        done.append(args)

    store.append_events = slow  # type: ignore[method-assign,assignment]
    store.tap.before = failing("append_usage", TryNextTick("busy"))
    for vm in it.world.vms():
        vm.unreachable = True
    it.world.advance(60)
    assert [(report.result, len(done)) for report in await it.tick()] == [("failed", 1)]


async def test_an_alert_is_in_the_log_before_anything_is_done(caplog: pytest.LogCaptureFixture) -> None:
    """A process that is killed in its first call must not take the page with it: the row says it was said."""

    class Killed(BaseException):
        pass

    def kill(name: str, **_details: object) -> None:
        if name == "scale_out":
            raise Killed

    it = install(world_of((3, 2)), before=kill, min_bridges=2)
    await run(it, 15)
    for vm in machines(it):
        assert vm.bridge is not None
        vm.bridge.set_drain(True)
    it.world.advance(60)
    with caplog.at_level(logging.WARNING, logger="jvb_autoscaler"), pytest.raises(Killed):
        await it.tick()
    assert any("no_accepting_bridge" in r.getMessage() for r in caplog.records)


async def test_the_log_says_what_was_decided_and_warns_of_alerts(caplog: pytest.LogCaptureFixture) -> None:
    """The platform's log shows only messages: each tick's sentence and each alert stand in them."""
    it = install()
    with caplog.at_level(logging.INFO, logger="jvb_autoscaler"):
        await run(it, 1)
        for vm in it.world.vms():
            vm.unreachable = True
        await run(it, 1)
    said = (await latest(it))["sentence"]
    assert f"tick {SHARD}: {said}" in [record.getMessage() for record in caplog.records]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith(f"alert {SHARD}: blind: cannot hear the bridges")
