"""One seed's installation: its world, its people and its policy, small enough to live through often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.bridge_config import BridgeConfig
from sandbox.gallery import Defect
from sandbox.inprocess import scale_set_id
from sandbox.workload import PlannedConference, Workload
from sandbox.world import BootModel, Prestarted, ScaleSetSpec, WorldConfig
from scaler.policy import ScalingPolicy

SHARD = "jvb-a"
SCALE_SET = scale_set_id(SHARD)
GROUP = SCALE_SET.partition("/providers/")[0]
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
START = datetime(2026, 11, 18, 9, tzinfo=UTC)
LAST_CALLS = timedelta(minutes=10)
"""All calls are over so long after the faults."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run begins with."""

    seed: int
    config: WorldConfig
    policy: ScalingPolicy
    capacity_stays: bool
    """A delete does not lower the capacity: one of the two worlds that Azure may be."""
    new_version: Defect | None
    """Of the image version that is published before the night; None: there is none."""


def scenario(seed: int, hours: float) -> Scenario:
    """Draw the installation of a seed; the calls end soon after so many hours."""
    rng = Random(f"{seed}/scenario")
    bridges = rng.randint(2, 8)
    stays = rng.random() < 0.15
    ages = tuple(Prestarted(timedelta(minutes=rng.uniform(5, 600))) for _ in range(bridges))
    end = START + timedelta(hours=hours) + LAST_CALLS
    config = WorldConfig(
        seed=rng.getrandbits(32),
        start=START,
        scale_sets=(ScaleSetSpec(SCALE_SET, capacity=bridges, prestarted=ages),),
        workload=Workload.of(_conferences(rng, hours, end)),
        capacity_falls_on_delete=not stays,
        boot=BootModel(median_s=rng.choice((60, 120)), p95_s=300),
        bridge=BridgeConfig(initial_drain=rng.random() < 0.8),
        reuse_addresses=rng.random() < 0.5,
    )
    night = Random(f"{seed}/night")
    policy = replace(_policy(rng), **_night(night, hours), **_opted_in(Random(f"{seed}/opted in")))
    return Scenario(seed, config, policy, stays, _new_version(night))


def _night(rng: Random, hours: float) -> dict[str, Any]:
    """Half of all runs have a night: somewhere in the world it is the time for it."""
    if rng.random() < 0.5:
        return {"recycle": "off"}
    zone = rng.choice(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"))
    opens = START + timedelta(hours=rng.uniform(0.1, 0.4) * min(hours, 24))
    bake_minutes = rng.choice((1, 5, 15))
    closes = opens + timedelta(minutes=bake_minutes + rng.uniform(20, 150))
    return {
        "recycle": rng.choice(("always", "on_new_image")),
        "recycle_at": f"{opens.astimezone(ZoneInfo(zone)):%H:%M}",
        "recycle_until": f"{closes.astimezone(ZoneInfo(zone)):%H:%M}",
        "time_zone": zone,
        "recycle_surge": rng.choice((None, 1, 2)),
        "canary_bake_minutes": bake_minutes,
        "image_definition_id": DEFINITION if rng.random() < 0.8 else None,
        "oldest_among": rng.choice(("all", "all", "idle")),
    }


def _opted_in(rng: Random) -> dict[str, Any]:
    """A quarter lets the dead be replaced."""
    return {"replace_dead_after_minutes": rng.choice((30, 45)) if rng.random() < 0.25 else None}


def _new_version(rng: Random) -> Defect | None:
    choices: tuple[Defect | None, ...] = (None, Defect.NONE, Defect.NONE, Defect.NONE, *Defect)
    return rng.choice(choices)


def _policy(rng: Random) -> ScalingPolicy:
    minimum = rng.choice((1, 1, 1, 2, 3))
    return ScalingPolicy(
        max_bridges=rng.randint(max(minimum, 4), 10),
        min_bridges=minimum,
        participants_per_bridge=rng.choice((15, 30, 60)),
        max_draining=rng.choice((None, 1)),
        repair_capacity=rng.random() < 0.5,
    )


def _conferences(rng: Random, hours: float, end: datetime) -> list[PlannedConference]:
    """Short ones in waves, a few that last for hours, and quiet in between."""
    found: list[PlannedConference] = []
    at_s = 0.0
    while at_s < hours * 3600:
        wave_s = rng.uniform(600, 3600)
        gap_s = rng.choice((40.0, 150.0, 600.0, 3600.0))
        start_s = at_s + rng.expovariate(1 / gap_s)
        while start_s < at_s + wave_s:
            found.append(_conference(rng, f"call-{len(found)}", START + timedelta(seconds=start_s), end))
            start_s += rng.expovariate(1 / gap_s)
        at_s += wave_s
    return [conference for conference in found if conference.start < end - LAST_CALLS]


def _conference(rng: Random, name: str, start: datetime, end: datetime) -> PlannedConference:
    people = min(2 + int(rng.expovariate(1 / 4)), 25)
    minutes = rng.uniform(120, 400) if rng.random() < 0.04 else rng.uniform(3, 40)
    length_s = min(minutes * 60, max((end - start).total_seconds() - 30, 120))
    joins = sorted(rng.uniform(0, min(120, length_s / 3)) for _ in range(people))
    leaves = sorted(rng.uniform(length_s * 0.7, length_s) for _ in range(people))
    return PlannedConference(name, start, tuple(joins), tuple(leaves))
