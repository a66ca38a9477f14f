"""One policy through one seeded week, and what it came to."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.bridge_config import BridgeConfig
from sandbox.cloud import Prestarted, ScaleSetSpec
from sandbox.compare.bound import Capacity, accepting_by_rule, bridges_for, demand_by_minute
from sandbox.compare.fleet import MAXIMUM, Fleet
from sandbox.compare.observer import Observer
from sandbox.compare.policies import POLICIES, Policy
from sandbox.inprocess import scale_set_id
from sandbox.workload import Workload
from sandbox.world import World, WorldConfig
from scaler.policy import ScalingPolicy

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
WEEK_DAYS = 7
FIRST_MACHINES = 2
FOR_EVER_S = 10 * 365 * 86400.0
"""Whoever shuts down gracefully here grants all the time that the last call needs."""


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of one week, or of an average one."""

    policy: str
    shape: str
    seed: int
    bridge_hours: float
    bound_hours: float
    overload_minutes: float
    """Minutes in which a bridge was over a threshold, summed over bridges."""
    user_minutes: float
    """Minutes that people spent on such a bridge."""
    calls_cut: float
    people_cut: float
    drain_hours: float
    reversals: float
    rule_hours: float = 0.0
    """Bridge-hours of the fewest that this product's own limits keep accepting."""
    held_hours: float = 0.0
    """Hours of bridges that were given up and on which calls still ran."""
    behind_hours: float = 0.0
    """Hours of idle bridges that a busy older one kept from going, under the literal rule."""

    @property
    def ratio(self) -> float:
        """Bridge-hours over those of the bound."""
        return self.bridge_hours / self.bound_hours

    @property
    def least_hours(self) -> float:
        """Hours that the product's limits and the calls on drained bridges take together."""
        return self.rule_hours + self.held_hours


def bound_of(shape: str, seed: int, days: int = WEEK_DAYS) -> list[int]:
    """Fewest bridges for each minute of the week."""
    return [bridges_for(full_bridges, 1.0) for full_bridges in demand_of(shape, seed, days)]


def demand_of(shape: str, seed: int, days: int = WEEK_DAYS) -> list[float]:
    """How many bridges each minute's demand fills to their thresholds."""
    config = _config(shape, seed, (), starts_drained=False)
    each = Capacity.of(
        config.scale_sets[0], config.people_per_vcpu, config.full_nic_share, config.full_cpu_share
    )
    workload = Workload.named(shape, seed)
    return [demand.full_bridges(each) for demand in demand_by_minute(workload, MONDAY, days)]


def simulate(policy: str, shape: str, seed: int, days: int = WEEK_DAYS) -> Result:
    """Run one of `POLICIES` through one of the workload's shapes."""
    chosen, demands = POLICIES[policy], demand_of(shape, seed, days)
    fewest = [bridges_for(full_bridges, 1.0) for full_bridges in demands]
    ours = ScalingPolicy(max_bridges=MAXIMUM)
    by_rule = accepting_by_rule(demands, ours.scale_out_pressure, ours.scale_in_pressure)
    machines = (Prestarted(),) * (max(fewest) if chosen.for_the_peak else FIRST_MACHINES)
    world = World(_config(shape, seed, machines, starts_drained=chosen.starts_drained))
    fleet = Fleet(world, world.config.scale_sets[0].scale_set_id)
    observer = _play(fleet, chosen, MONDAY + timedelta(days=days))
    truth = world.truth()
    return Result(
        policy,
        shape,
        seed,
        bridge_hours=truth["bridge_hours"],
        bound_hours=sum(fewest) / 60,
        overload_minutes=truth["overload_minutes"],
        user_minutes=truth["overload_user_minutes"],
        calls_cut=truth["calls_cut"],
        people_cut=truth["participants_cut"],
        drain_hours=observer.drain_minutes / 60,
        reversals=observer.reversals,
        rule_hours=sum(by_rule) / 60,
        held_hours=observer.held_minutes / 60,
        behind_hours=observer.behind_minutes / 60,
    )


def _play(fleet: Fleet, policy: Policy, end: datetime) -> Observer:
    observer = Observer(fleet)
    with closing(policy.build(fleet)) as rule:
        while fleet.now < end:
            fleet.world.advance(rule.period_s)
            rule.step()
            if fleet.now.second == 0:
                observer.look()
    return observer


def _config(shape: str, seed: int, machines: tuple[Prestarted, ...], *, starts_drained: bool) -> WorldConfig:
    spec = ScaleSetSpec(scale_set_id("jvb-a"), capacity=len(machines), prestarted=machines)
    return WorldConfig(
        seed=seed,
        start=MONDAY,
        scale_sets=(spec,),
        workload=Workload.named(shape, seed),
        bridge=BridgeConfig(initial_drain=starts_drained, graceful_max_s=FOR_EVER_S),
    )
