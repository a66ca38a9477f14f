"""The whole product in one process: the real engine over the simulated world, without a socket."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from compute.sizes import size_of
from sandbox.memory_store import MemoryStore
from sandbox.ports import WorldBridges, WorldClock, WorldCloud, WorldImages, WorldMetrics
from sandbox.tally import count
from sandbox.tap import Hook
from sandbox.workload import Workload
from sandbox.world import BootModel, Prestarted, ScaleSetSpec, World, WorldConfig
from scaler.observe import Ears
from scaler.policy import ScalingPolicy
from scaler.tick import Engine, Report, Shard

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


def scale_set_id(name: str) -> str:
    """Full ARM id of a scale set of the sandbox."""
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-jvb"
        f"/providers/Microsoft.Compute/virtualMachineScaleSets/{name}"
    )


def default_day(seed: int) -> WorldConfig:
    """One shard of 8-vCPU bridges on an office day, from midnight, with two bridges of the day before."""
    return WorldConfig(
        seed=seed,
        start=datetime(2026, 3, 4, tzinfo=UTC),
        scale_sets=(
            ScaleSetSpec(
                scale_set_id("jvb-a"),
                capacity=2,
                prestarted=(Prestarted(timedelta(hours=9)), Prestarted(timedelta(hours=8))),
            ),
        ),
        workload=Workload.named("office", seed),
        boot=BootModel(),
    )


@dataclass(frozen=True, slots=True)
class InProcess:
    """A world, the tables in memory, and the engine over both."""

    world: World
    store: MemoryStore
    engine: Engine

    async def tick(self) -> tuple[Report, ...]:
        """One tick of every shard."""
        return await self.engine.tick_all()

    async def minute(self) -> list[Report]:
        """Let a minute pass: the tick, and each quarter of an hour the timer of the night beside it."""
        whole = self.world.now.replace(second=0) + timedelta(minutes=1)
        self.world.advance_to(whole)
        reports = [*await self.tick()]
        if whole.minute % 15 == 0:
            self.world.advance_to(whole + timedelta(seconds=30))
            reports += await self.engine.nightly()
        return reports

    async def run(self, minutes: int, tally: Counter[str] | None = None) -> Counter[str]:
        """Let so many minutes pass with a tick at the end of each; count what was done."""
        tally = tally if tally is not None else Counter()
        for _ in range(minutes):
            self.world.advance(60)
            for report in await self.tick():
                count(report.record["actions"] if report.record else (), tally)
        return tally


def in_process(
    config: WorldConfig,
    policy: ScalingPolicy | None = None,
    *,
    store: MemoryStore | None = None,
    before: Hook | None = None,
    after: Hook | None = None,
    dry_run: bool = False,
    with_metrics: bool = True,
    run_id: str = "run-1",
    world: World | None = None,
) -> InProcess:
    """Build all of it; `before` and `after` see every call that the engine makes."""
    world = world or World(config)
    store = store or MemoryStore(records_kept=1000)
    shards = [
        Shard(
            name=spec.scale_set_id.rsplit("/", 1)[1],
            scale_set_id=spec.scale_set_id,
            policy=policy or ScalingPolicy(max_bridges=15),
            ears=Ears(
                cloud=WorldCloud(world, spec.scale_set_id, before, after),
                bridges=WorldBridges(world, spec.scale_set_id, before, after),
                metrics=WorldMetrics(world, before, after) if with_metrics else None,
                images=WorldImages(world, before, after),
            ),
        )
        for spec in config.scale_sets
    ]
    engine = Engine(
        shards,
        store,
        WorldClock(world),
        run_id=run_id,
        owner="jvb-autoscaler",
        size_of=size_of,
        dry_run=dry_run,
    )
    return InProcess(world, store, engine)
