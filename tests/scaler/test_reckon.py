"""Hours and days reckoned from the minutes: recounted from the simulated world, resumed, and harmless."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest

from sandbox.cloud import SimVm
from sandbox.inprocess import InProcess, in_process
from sandbox.memory_store import MemoryStore
from sandbox.workload import Workload
from sandbox.world import World
from scaler import answers
from scaler.days import bounds, local_days
from scaler.errors import Refused, TryNextTick
from scaler.minutes import DAY
from scaler.policy import ScalingPolicy
from scaler.reckon import DEADLINE_SECONDS, HOURS_A_RUN, Books, day_of, reckon
from scaler.samples import Spent
from scaler.tick import TICK_DEADLINE_SECONDS
from tests.documented import ROOT
from tests.scaler.worlds import SHARD, SOON, START, install, run, world_of

HOURS = int(os.environ.get("RECOUNT_HOURS", "30"))
"""168 for a week: `make recount`."""
BERLIN = "Europe/Berlin"
MIDDLE_OF_THE_NIGHT = datetime(2026, 3, 28, 22, tzinfo=UTC)
"""Three hours before Berlin's clocks go on."""


class Recount:
    """Counts for itself, from the world: what bridges tell at each tick, and who is there when."""

    def __init__(self, world: World) -> None:
        """Bridges that are there now told much before anybody looked."""
        self.told: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self.first: dict[str, tuple[int, int]] = {}
        self.ticks: list[datetime] = []
        self.peak = 0
        self._world = world
        self._adopted = {vm.vm_id for vm in world.vms()}

    def look(self) -> None:
        """As the tick that begins now will see it."""
        now = self._world.now
        self.ticks.append(now)
        self.peak = max(self.peak, sum(vm.provisioning != "Deleting" for vm in self._world.vms()))
        for vm in self._world.vms():
            if vm.bridge is not None and vm.bridge.listening and vm.running and not vm.unreachable:
                stats = vm.bridge.stats(now)
                figures = stats["total_bytes_sent"], stats["total_conferences_created"]
                if vm.vm_id in self._adopted and vm.vm_id not in self.first:
                    self.first[vm.vm_id] = figures
                self.told.setdefault((vm.vm_id, vm.bridge.process), []).append(figures)

    def sent_and_served(self) -> tuple[int, int]:
        """What each process told last, less what was there before anybody looked."""
        sent = sum(figures[-1][0] for figures in self.told.values()) - sum(s for s, _ in self.first.values())
        calls = sum(figures[-1][1] for figures in self.told.values()) - sum(c for _, c in self.first.values())
        return sent, calls

    def lived_seconds(self, begin: datetime, end: datetime) -> float:
        """Of every machine, from its creation to the first tick behind its end."""
        return sum(
            max(0.0, (min(self._seen_gone(life.gone_at), end) - max(life.created_at, begin)).total_seconds())
            for life in self._world.history.lives
            if self._was_seen(life.created_at, life.gone_at)
        )

    def _seen_gone(self, gone_at: datetime | None) -> datetime:
        later = [tick for tick in self.ticks if gone_at is not None and tick >= gone_at]
        return later[0] if later else self.ticks[-1]

    def _was_seen(self, created_at: datetime, gone_at: datetime | None) -> bool:
        return any(created_at <= tick and (gone_at is None or tick < gone_at) for tick in self.ticks)


def strike(world: World, rng: Random) -> None:
    """Something happens to a bridge: it restarts, crashes for minutes, or cannot be heard."""
    victims = [vm for vm in world.vms() if vm.bridge is not None and vm.running and vm.bridge.listening]
    if not victims:
        return
    vm = rng.choice(victims)
    assert vm.bridge is not None
    match rng.randrange(4):
        case 0:
            vm.bridge.restart()
        case 1:
            vm.bridge.crash(back_after_s=rng.uniform(20, 900))
        case 2:
            vm.unreachable = True
            world.schedule(world.now + timedelta(minutes=rng.uniform(1, 40)), hear_again, vm)
        case _:
            world.lose(vm)


def hear_again(vm: SimVm) -> None:
    """The network to it is back."""
    vm.unreachable = False


async def lived(seed: int, hours: int) -> tuple[InProcess, Recount, ScalingPolicy]:
    """A shard with calls, faults, gaps and Azure that does not answer; reckoned each quarter of an hour."""
    rng = Random(seed)
    deaf: list[datetime] = []

    def before(name: str, **_: Any) -> None:
        if name == "instances" and it.world.now < max(deaf):
            raise TryNextTick("ARM: no answer")

    config = replace(
        world_of((9, 8), workload=Workload.named("office", seed, 0.3), seed=seed, boot=SOON),
        start=MIDDLE_OF_THE_NIGHT,
    )
    policy = ScalingPolicy(max_bridges=8, min_bridges=2, time_zone=BERLIN, participants_per_bridge=40)
    it = in_process(config, policy, store=MemoryStore(), before=before)
    for shard in it.engine.shards.values():
        for port in (shard.ears.cloud, shard.ears.bridges, shard.ears.metrics):
            port.tap.journal_reads = False  # type: ignore[union-attr]
    recount, asleep_until = Recount(it.world), it.world.now
    for minute in range(hours * 60):
        it.world.advance(60)
        if rng.random() < 0.01:
            strike(it.world, rng)
        asleep_until = max(asleep_until, it.world.now + pause(rng, 0.002, (2, 5, 20, 150)))
        deaf.append(it.world.now + pause(rng, 0.004, (1, 3, 30)))
        if it.world.now >= asleep_until:
            await tick(it, recount, hears=it.world.now >= max(deaf))
            if minute % 15 == 0:
                await reckon(Books(it.store), SHARD, policy, it.world.now)
    return it, recount, policy


def pause(rng: Random, odds: float, minutes: tuple[int, ...]) -> timedelta:
    """None, but for these odds."""
    return timedelta(minutes=rng.choice(minutes)) if rng.random() < odds else timedelta(0)


async def tick(it: InProcess, recount: Recount, *, hears: bool) -> None:
    """One tick, recounted where Azure answers."""
    if hears:
        recount.look()
    await it.tick()


@pytest.mark.parametrize("seed", [1, 2])
async def test_rollups_are_what_the_world_lived(seed: int):
    """
    Recounted by another way over a change of the clock, with restarts, crashes, losses, silence and gaps.

    Lifetimes agree to the second, bytes and calls to the last one that a bridge told, and each moment
    of a machine is in exactly one class.
    """
    it, recount, _ = await lived(seed, HOURS)
    days = local_days(MIDDLE_OF_THE_NIGHT, it.world.now, BERLIN)
    rows = []
    for day in days:
        row = await day_of(
            Books(it.store), SHARD, day, BERLIN, await it.store.reckoned_until(SHARD), it.world.now
        )
        assert row is not None
        rows.append(row)
        begin, end = bounds(day, BERLIN)
        expected = recount.lived_seconds(max(begin, recount.ticks[0]), end)
        assert row["bridge_hours"] * 3600 == pytest.approx(expected, abs=0.5)
        classes = sum(row[f"{each}_minutes"] for each in Spent)
        assert classes * 60 == pytest.approx(row["bridge_hours"] * 3600, abs=0.01)
    assert sum(row["unseen_minutes"] for row in rows) > 60
    assert min(row["coverage"] for row in rows) < 1
    assert max(row["bridges_peak"] for row in rows) <= recount.peak
    sent, calls = recount.sent_and_served()
    assert sum(row["calls_served"] for row in rows) == calls > 0
    assert sum(row["egress_gb"] for row in rows) == pytest.approx(sent / 1e9, abs=1e-5)
    stored = await it.store.daily(SHARD, days[0], days[-1])
    assert [row["day"] for row in stored] == [day.isoformat() for day in days[: len(stored)]]
    assert len(stored) >= len(days) - 1
    assert list(stored) == rows[: len(stored)]
    assert (rows[1]["day"], rows[1]["hours"]) == ("2026-03-29", 23)


async def test_hours_are_written_once_an_hour_and_come_out_the_same_again():
    """Two minutes after its end; a run between writes nothing; a second reckoning gives equal rows."""
    it = install(store=MemoryStore())
    books, policy = Books(it.store), ScalingPolicy(max_bridges=9)
    await run(it, 61)
    assert await reckon(books, SHARD, policy, it.world.now) == 0
    await run(it, 2)
    assert [await reckon(books, SHARD, policy, it.world.now) for _ in range(2)] == [1, 0]
    once = await it.store.bridgehours(SHARD, START, it.world.now)
    stayed = next(row for row in once if not row["left"])
    samples = dict(it.store.table(SHARD).samples)
    assert {row["at"] for row in once} == {"2026-11-18T09:00:00Z"}
    assert (
        sum(name[1:].isdecimal() for name in samples[START, stayed["vm_id"]]) == 59
    )  # the first tick was a minute after nine
    await run(it, 70)
    it.store.table(SHARD).reckoned_until = None
    assert await reckon(books, SHARD, policy, it.world.now) == 2
    assert list(await it.store.bridgehours(SHARD, START, START + timedelta(hours=1))) == list(once)


async def test_hours_that_were_missed_are_made_good_a_few_at_a_time():
    """After an outage each run does as much as is allowed, in order, and days come with their last hour."""
    it = install(store=MemoryStore(), time_zone="Asia/Kolkata")
    books, policy = Books(it.store), ScalingPolicy(max_bridges=9, time_zone="Asia/Kolkata")
    assert await reckon(books, SHARD, policy, it.world.now) == 0  # nothing was ever written
    await run(it, 10)
    it.world.advance(11 * 3600)
    await run(it, 5)
    done = [await reckon(books, SHARD, policy, it.world.now) for _ in range(3)]
    assert done == [HOURS_A_RUN, 5, 0]
    rows = await it.store.bridgehours(SHARD, START + timedelta(hours=3), START + timedelta(hours=4))
    assert [(row["seconds"], row["unseen_seconds"]) for row in rows] == [(3600, 3600)] * 2
    (day,) = await it.store.daily(SHARD, date(2026, 11, 17), date(2026, 11, 19))
    assert (day["day"], day["bridge_hours"]) == (
        "2026-11-18",
        pytest.approx(2 * (9.5 - 1 / 60)),
    )  # 9:01 to 18:30 UTC


async def test_an_hour_waits_until_somebody_looked_again():
    """Who outlived its end is not known before; after a day without a look what is known is written."""
    it = install(store=MemoryStore())
    books, policy = Books(it.store), ScalingPolicy(max_bridges=9)
    await run(it, 59)
    later = [START + timedelta(hours=hours) for hours in (1.5, 24.9, 25.1)]
    assert [await reckon(books, SHARD, policy, now) for now in later] == [0, 0, 1]


async def test_an_hour_waits_until_the_look_behind_it_is_no_longer_written_to():
    """The last tick of a minute wins: what an hour ends with must stand, or made again it would differ."""
    it = install(store=MemoryStore())
    books, policy = Books(it.store), ScalingPolicy(max_bridges=9)
    await run(it, 58)
    it.world.advance(4 * 60)
    await run(it, 1)
    assert await reckon(books, SHARD, policy, it.world.now + timedelta(seconds=30)) == 0
    assert await reckon(books, SHARD, policy, it.world.now + timedelta(seconds=150)) == 1


async def test_a_day_that_goes_on_is_told_as_far_as_it_went():
    """Whole days stand in the table, today is reckoned when it is asked for; days to come have no row."""
    it = install(store=MemoryStore())
    await run(it, 95)
    books = Books(it.store)
    told = await answers.usage(it.engine, books, None, START, it.world.now, DAY)
    (today,) = told["rows"]
    assert today["bridge_hours"] == pytest.approx(
        sum(v.hours(START, it.world.now) for v in it.world.history.lives), abs=0.1
    )
    await reckon(books, SHARD, ScalingPolicy(max_bridges=9), it.world.now)
    assert (await answers.usage(it.engine, books, None, START, it.world.now, DAY))["rows"] == [today]
    await it.store.put_day(SHARD, {**today, "calls_served": 12345})
    told = await answers.usage(it.engine, books, None, START, it.world.now, DAY)
    assert told["rows"][0]["calls_served"] == 12345
    later = await answers.usage(
        it.engine, books, None, it.world.now + timedelta(days=2), it.world.now + timedelta(days=3), DAY
    )
    assert later["rows"] == []


async def test_days_without_a_minute_cost_a_look_each():
    """A month that is asked for before there was anything is not searched hour by hour."""
    it = install(store=MemoryStore())
    await run(it, 5)
    before, now = len(it.store.journal), it.world.now
    told = await answers.usage(it.engine, Books(it.store), None, now - timedelta(days=30), now, DAY)
    assert [row["day"] for row in told["rows"]] == [START.date().isoformat()]
    assert len(it.store.journal) - before < 31 + 80


async def test_the_days_boots_are_those_of_the_world():
    """Every machine that joined is in the day, with the seconds that it truly took, to the tick."""
    it = install(min_bridges=4, store=MemoryStore())
    await run(it, 40)
    told = await answers.usage(it.engine, Books(it.store), None, START, it.world.now, DAY)
    (day,) = told["rows"]
    came = [life for life in it.world.history.lives if life.joined_at and life.created_at > START]
    assert (day["boots"], len(came), day["machines_came"]) == (2, 2, 4)  # two came before the first look
    slowest = max((life.joined_at - life.created_at).total_seconds() for life in came if life.joined_at)
    assert slowest <= day["boot_seconds_p95"] <= slowest + 240


async def test_a_day_made_again_from_fewer_minutes_does_not_replace_the_one_that_knew_more():
    """As where somebody has hours made again of which the minutes are forgotten."""
    it = install(store=MemoryStore())
    books, policy = Books(it.store), ScalingPolicy(max_bridges=9)
    await run(it, 16 * 60)
    for _ in range(4):
        await reckon(books, SHARD, policy, it.world.now)
    (day,) = await it.store.daily(SHARD, START.date(), START.date())
    usage = it.store.table(SHARD).usage
    for minute in [each for each in usage if each < START + timedelta(hours=2)]:
        del usage[minute]
    it.store.table(SHARD).reckoned_until = START
    for _ in range(4):
        await reckon(books, SHARD, policy, it.world.now)
    assert list(await it.store.daily(SHARD, START.date(), START.date())) == [day]
    await it.store.put_day(SHARD, {**day, "coverage": 0.1, "calls_served": 999})
    it.store.table(SHARD).reckoned_until = START
    for _ in range(4):
        await reckon(books, SHARD, policy, it.world.now)
    (better,) = await it.store.daily(SHARD, START.date(), START.date())
    assert better["coverage"] > 0.1


async def test_what_is_too_old_is_forgotten_with_the_hour():
    """Rows of days before the retention go, at most so many a run; rows of days stay."""
    it = install(store=MemoryStore())
    await run(it, 130)
    books = Books(it.store)
    await it.store.put_day(SHARD, {"day": "2026-01-01"})
    await reckon(books, SHARD, ScalingPolicy(max_bridges=9), it.world.now)
    assert len(it.store.usage(SHARD)) == 130
    it.world.advance(3 * 86400)
    await run(it, 3)
    await reckon(books, SHARD, ScalingPolicy(max_bridges=9, retention_days=2), it.world.now)
    assert len(it.store.usage(SHARD)) == 3
    assert await it.store.daily(SHARD, date(2026, 1, 1), date(2026, 1, 1))


@pytest.mark.parametrize("error", [TryNextTick("down"), Refused("403", "no"), ValueError("a fault of ours")])
async def test_a_reckoning_that_fails_is_a_line_in_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
):
    """It raises nothing, says what was wrong, and the next run does the same work."""
    it = install(store=MemoryStore())
    await run(it, 70)

    class Broken(MemoryStore):
        async def put_hour(self, *_: Any) -> None:
            raise error

    broken = Broken()
    vars(broken)["_shards"] = vars(it.store)["_shards"]
    policy = ScalingPolicy(max_bridges=9)
    assert await reckon(Books(broken), SHARD, policy, it.world.now) == 0
    assert "is not reckoned" in caplog.text
    assert await reckon(Books(it.store), SHARD, policy, it.world.now) == 1


async def test_a_reckoning_that_hangs_ends_before_the_host_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """With a tick before it, it stays below the time-out of the function, which would kill the worker."""
    timeout = json.loads((ROOT / "host.json").read_text())["functionTimeout"]
    hours, minutes, seconds = map(int, timeout.split(":"))
    allowed = 3600 * hours + 60 * minutes + seconds
    assert allowed - 10 > TICK_DEADLINE_SECONDS + DEADLINE_SECONDS
    it = install(store=MemoryStore())
    await run(it, 70)

    class Hanging(MemoryStore):
        async def put_hour(self, *_: Any) -> None:
            await asyncio.Event().wait()

    hanging = Hanging()
    vars(hanging)["_shards"] = vars(it.store)["_shards"]
    monkeypatch.setattr("scaler.reckon.DEADLINE_SECONDS", 0)
    assert await reckon(Books(hanging), SHARD, ScalingPolicy(max_bridges=9), it.world.now) == 0
    assert "not reckoned now" in caplog.text
