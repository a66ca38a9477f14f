"""One seed lived through: the real engine, hours of faults, then hours of peace, judged after every tick."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TypeVar

from compute.sizes import size_of
from sandbox.checkers.books import BooksChecker
from sandbox.checkers.court import Court, Violation
from sandbox.checkers.knowledge import KnowledgeChecker
from sandbox.checkers.pace import PaceChecker
from sandbox.checkers.truth import WorldChecker
from sandbox.fault_kinds import KINDS
from sandbox.faults import LONGEST_CLOCK_JUMP_S, Disaster, Fault, Site, draw
from sandbox.hostile import HostileBridges, HostileCloud, HostileImages, HostileMetrics, HostileStore
from sandbox.memory_store import MemoryStore
from sandbox.ports import WorldBridges, WorldCloud, WorldImages, WorldMetrics
from sandbox.scenario import DEFINITION, SCALE_SET, SHARD, Scenario, scenario
from sandbox.settling import unrest
from sandbox.witness import (
    Bench,
    HostClock,
    Journal,
    Killed,
    Process,
    Told,
    WitnessedBridges,
    WitnessedCloud,
    WitnessedImages,
    WitnessedMetrics,
    WitnessedStore,
)
from sandbox.world import World
from scaler.model import Command, CommandKind, Purpose
from scaler.observe import Ears
from scaler.tick import ALERT_PACE, Engine, Report, Shard

Port = TypeVar("Port", WorldCloud, WorldBridges, WorldMetrics, WorldImages)

TICK_S = 60
PEACE_TICKS = 300
"""Five hours: ten bridges that must first grow 55 minutes old leave one after the other."""
NIGHT_TICKS = 240
"""As much longer at most where, after a day of faults, the next night opens in the peace."""
SHARE_OF_NEW_PROCESSES = 0.2
KILL_WITHIN_EFFECTS = 24
FREEZE_WITHIN_QUESTIONS = 8
STORM_EVERY_S = 7.0
CLOCKS_MATTER_FOR = timedelta(minutes=20)
"""Longer than any time that a rule makes a step wait for."""
NIGHTLY_EVERY = timedelta(minutes=15)
NIGHTLY_AFTER_S = 25.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to."""

    seed: int
    violations: tuple[Violation, ...]
    restless: tuple[str, ...]
    """What kept the fleet from rest at the end of the peace; empty: it came to rest."""
    exercised: Counter[str]
    ticks: int
    acts: Counter[str]
    digest: str
    lines: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """A promise was broken, or the fleet never came to rest."""
        return bool(self.violations or self.restless)

    @property
    def complaint(self) -> str:
        """What to look for in a smaller story: which checker, or that it never came to rest."""
        return self.violations[0].checker if self.violations else "liveness" if self.restless else ""


def live_through(seed: int, hours: float, plan: Sequence[Fault] | None = None) -> Verdict:
    """Run a seed; `plan`: these faults instead of those that the seed draws."""
    drawn = draw(seed, hours, KINDS.values()) if plan is None else plan
    return asyncio.run(Run(scenario(seed, hours), drawn, hours).live())


class Run:
    """One run, from its first tick to its verdict."""

    def __init__(self, played: Scenario, plan: Sequence[Fault], hours: float) -> None:
        """Build the world, the hostile ports and the checkers."""
        self._played, self._hours = played, hours
        self._rng = Random(f"{played.seed}/run")
        self.world = World(played.config)
        self.journal = Journal()
        if played.new_version is not None:
            galleries = self.world.galleries
            galleries.publish(DEFINITION, galleries.next_name(DEFINITION), defect=played.new_version)
        self.site = Site(self.world, self.world.scale_set(SCALE_SET), self._log)
        self.store = MemoryStore(records_kept=200)
        self.store.tap.journal_reads = False
        self.site.order = partial(self.store.order, SHARD)
        self.site.forget = partial(self.store.forget, SHARD)
        self.court = Court(lambda: self.world.now, self._log)
        self._clocks_agree_from = self.world.now
        self.bench = Bench(
            self.site,
            self.journal,
            (
                WorldChecker(
                    self.site,
                    self.court,
                    replaces_dead=played.policy.replace_dead_after_minutes is not None,
                ),
                KnowledgeChecker(self.store, SHARD, played.policy, self.court, self._slack),
                PaceChecker(self.store, SHARD, played.policy, self.court, self._slack),
                BooksChecker(self.store, SHARD, self.court),
            ),
        )
        self._disaster = Disaster(self.site, KINDS)
        self._disaster.announce(plan)
        if played.capacity_stays:
            self.site.in_force["capacity_stays"] = [Fault("capacity_stays", 0, hours * 3600, 0)]
        line = HostileCloud(_quiet(WorldCloud(self.world, SCALE_SET)), self.site)
        self._ports = (
            line,
            HostileBridges(_quiet(WorldBridges(self.world, SCALE_SET)), self.site),
            HostileMetrics(_quiet(WorldMetrics(self.world)), self.site),
            HostileStore(self.store, self.site),
            HostileImages(_quiet(WorldImages(self.world)), line),
        )
        self._processes = 0
        self._frozen: list[tuple[asyncio.Task[None], Process, datetime]] = []
        self._quarter = -1
        self.ticks = 0
        self.acts: Counter[str] = Counter()
        self._process, self._engine = self._new_process()

    def _log(self, text: str) -> None:
        self.journal.write(self.world.now, text)

    def _slack(self) -> timedelta:
        """How much two clocks may differ: while they do, and as long as what was noted then counts."""
        if self.site.host_clocks is not None:
            self._clocks_agree_from = self.world.now + CLOCKS_MATTER_FOR
        jump = timedelta(seconds=2 * LONGEST_CLOCK_JUMP_S)
        return jump if self.world.now < self._clocks_agree_from else timedelta(0)

    def _new_process(self) -> tuple[Process, Engine]:
        """Start a process that remembers nothing."""
        self._processes += 1
        process = Process(f"run-{self._processes}", host=self._processes)
        cloud, bridges, metrics, store, images = self._ports
        ears = Ears(
            WitnessedCloud(cloud, process, self.bench),
            WitnessedBridges(bridges, process, self.bench),
            WitnessedMetrics(metrics, process, self.bench),
            WitnessedImages(images, process, self.bench),
        )
        engine = Engine(
            [Shard(SHARD, SCALE_SET, self._played.policy, ears)],
            WitnessedStore(store, process, self.bench),
            HostClock(self.site, process),
            run_id=process.name,
            owner="jvb-autoscaler",
            size_of=size_of,
        )
        return process, engine

    # The two halves

    async def live(self) -> Verdict:
        """Live through both halves, or up to the first violation."""
        restless: list[str] = []
        for _ in range(int(self._hours * 3600 / TICK_S)):
            if self.court.violations:
                break
            await self._minute()
        if not self.court.violations:
            restless = await self._peace()
        broken = self.world.galleries.machines_with
        self.site.exercised["image_broken"] += sum(n for defect, n in broken.items() if defect)
        return Verdict(
            self._played.seed,
            tuple(self.court.violations),
            tuple(restless),
            self.site.exercised,
            self.ticks,
            self.acts,
            self.journal.digest,
            tuple(self.journal.lines),
        )

    async def _peace(self) -> list[str]:
        """Tick on without faults until the fleet rests; return what keeps it from rest."""
        self._disaster.end_all()
        self._log("peace")
        await self._thaw(datetime.max.replace(tzinfo=UTC))
        self._take_back_commands()
        for minute in range(PEACE_TICKS + NIGHT_TICKS):
            if minute >= PEACE_TICKS and not self._is_night:
                break
            self.world.advance(TICK_S)
            await self._tick(*self._living())
            await self._nightly()
            if self.court.violations:
                return []
            if minute % 5 == 4 and self.world.now > self._calls_end and not self._unrest():
                return []
        return self._unrest()

    def _take_back_commands(self) -> None:
        """Who had bridges drained by a command takes that back before the peace is judged."""
        now = self.world.now
        for number, row in enumerate(self.store.table(SHARD).bridges.values()):
            if row.value.purpose is Purpose.OPERATOR:
                word = Command(f"peace-{number}", CommandKind.UNDRAIN, "sim", "peace", now)
                self.site.order(replace(word, vm_id=row.value.vm_id, bridge=row.value.name))

    @property
    def _is_night(self) -> bool:
        state = self.store.table(SHARD).states.get("state")
        return state is not None and state.value.night.is_open

    @property
    def _calls_end(self) -> datetime:
        return self._played.config.start + timedelta(hours=self._hours, minutes=15)

    def _unrest(self) -> list[str]:
        return unrest(self.site.scale_set, self.store.table(SHARD), self._played.policy)

    # One minute

    async def _minute(self) -> None:
        """Let a minute pass, with whatever ticks fall into it."""
        begin = self.world.now
        if self.site.strikes("alert_storm"):
            await self._storm(begin)
        self.world.advance_to(begin + timedelta(seconds=TICK_S))
        self._disaster.look_again()
        self._slack()  # remembers clocks that differ now, also where no checker asks meanwhile
        await self._thaw(self.world.now)
        if self.site.strikes("timer_late"):
            return
        self._renew()
        await self._freeze()
        if self.site.strikes("two_ticks"):
            await self._two_at_once()
        else:
            await self._tick(self._process, self._engine)
        if self.site.strikes("timer_twice"):
            await self._tick(self._process, self._engine)
        await self._nightly()

    async def _nightly(self) -> None:
        """Each quarter of an hour the timer of the night runs, half a minute beside the tick."""
        quarter = (self.world.now - self._played.config.start) // NIGHTLY_EVERY
        if quarter != self._quarter and self._played.policy.recycle != "off":
            self._quarter = quarter
            self.world.advance(NIGHTLY_AFTER_S)
            await self._tick(*self._living(), nightly=True)

    def _renew(self) -> None:
        """Now and then another process takes over, and sometimes it is about to be killed."""
        if self._process.dead or self._rng.random() < SHARE_OF_NEW_PROCESSES:
            self._process, self._engine = self._new_process()
        if (fault := next(iter(self.site.in_force.get("killed", ())), None)) is not None:
            self.site.spend(fault)
            rng = Random(fault.pick)
            self._process.kill_in = rng.randint(1, KILL_WITHIN_EFFECTS)
            self._process.kill_behind = rng.random() < 0.5

    async def _storm(self, begin: datetime) -> None:
        """Alerts run the same shard again and again, at their own pace."""
        offset = timedelta(seconds=STORM_EVERY_S)
        while begin + offset < self.world.now + timedelta(seconds=TICK_S - 5):
            moment = begin + offset
            if moment >= begin + timedelta(seconds=TICK_S - 1):
                return
            self.world.advance_to(moment)
            await self._tick(*self._living(), pace=ALERT_PACE)
            offset += timedelta(seconds=STORM_EVERY_S)

    def _living(self) -> tuple[Process, Engine]:
        if self._process.dead:
            self._process, self._engine = self._new_process()
        return self._process, self._engine

    async def _freeze(self) -> None:
        """A process stands still in the middle of its tick, with the lease or without; others go on."""
        fault = next(iter(self.site.in_force.get("process_frozen", ())), None)
        if fault is None:
            return
        self.site.spend(fault)
        process, engine = self._new_process()
        process.freeze_in = Random(fault.pick).randint(1, FREEZE_WITHIN_QUESTIONS)
        tick = asyncio.create_task(self._tick(process, engine))
        stands = asyncio.create_task(process.stands.wait())
        await asyncio.wait((tick, stands), return_when=asyncio.FIRST_COMPLETED)
        stands.cancel()
        if tick.done():
            return
        self.site.exercised[fault.kind] += 1
        self._log(f"{process.name} stands still")
        self._frozen.append((tick, process, self.world.now + timedelta(seconds=fault.lasts_s)))

    async def _thaw(self, until: datetime) -> None:
        """Let those go on that have stood still long enough."""
        due = [each for each in self._frozen if each[2] <= until]
        self._frozen = [each for each in self._frozen if each[2] > until]
        for tick, process, _ in due:
            self._log(f"{process.name} goes on")
            process.thaw.set()
            await tick

    async def _two_at_once(self) -> None:
        other = self._new_process()
        first = asyncio.create_task(self._tick(*self._living()))
        second = asyncio.create_task(self._tick(*other))
        await asyncio.gather(first, second)

    async def _tick(
        self, process: Process, engine: Engine, pace: timedelta | None = None, *, nightly: bool = False
    ) -> None:
        self.ticks += 1
        report: Report | None = None
        try:
            report = await engine.tick(SHARD, pace=pace, nightly=nightly)
            self._log(f"{process.name} {report.result}: {report.sentence}")
        except Killed:
            pass
        told = process.told or Told(self.world.now, self.world.now)
        self.acts.update(act.verb for act in told.acts)
        for checker in self.bench.checkers:
            checker.after_tick(told, report)


def _quiet(port: Port) -> Port:
    port.tap.journal_reads = False
    return port
