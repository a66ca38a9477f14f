"""Tiny scripted worlds to try a rule on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.bridge_config import BridgeConfig
from sandbox.cloud import BootModel, Prestarted, ScaleSetSpec, SimVm
from sandbox.compare.fleet import Fleet, Rule
from sandbox.inprocess import scale_set_id
from sandbox.workload import PlannedConference, Workload, meeting
from sandbox.world import World, WorldConfig

START = datetime(2026, 3, 4, 9, tzinfo=UTC)
BOOT_S = 120.0


def fleet_of(
    ages_minutes: Sequence[float], conferences: Sequence[PlannedConference] = (), start: datetime = START
) -> Fleet:
    """Machines of these ages, and exactly these conferences; every machine boots in two minutes."""
    machines = tuple(Prestarted(timedelta(minutes=age)) for age in ages_minutes)
    spec = ScaleSetSpec(scale_set_id("jvb-a"), capacity=len(machines), prestarted=machines)
    config = WorldConfig(
        1,
        start,
        (spec,),
        Workload.of(conferences),
        boot=BootModel(median_s=BOOT_S, p95_s=BOOT_S),
        bridge=BridgeConfig(initial_drain=False, graceful_max_s=1e9),
    )
    return Fleet(World(config), spec.scale_set_id)


def call(people: int, minutes: float = 600, name: str = "", after_minutes: float = 0) -> PlannedConference:
    """One conference from the start of the world on, or later."""
    return meeting(START + timedelta(minutes=after_minutes), minutes, people, name or f"call-{people}")


def calls(number: int, people: int, minutes: float = 600) -> list[PlannedConference]:
    """So many conferences that come half a minute apart, so that Jicofo spreads them."""
    return [call(people, minutes, f"call-{n}", after_minutes=n / 2) for n in range(number)]


@dataclass(slots=True)
class Show:
    """A rule on its fleet, and the machines that were there at each minute."""

    fleet: Fleet
    rule: Rule

    def play(self, minutes: float) -> list[int]:
        """Let time pass; machines that stay at the end of each minute."""
        counts = []
        for step in range(1, round(minutes * 60 / self.rule.period_s) + 1):
            self.fleet.world.advance(self.rule.period_s)
            self.rule.step()
            if step * self.rule.period_s % 60 == 0:
                counts.append(self.fleet.count)
        return counts


def play(fleet: Fleet, build: Callable[[Fleet], Rule]) -> Show:
    """Put a rule on a fleet."""
    return Show(fleet, build(fleet))


def machines(fleet: Fleet) -> list[SimVm]:
    """Every machine that ARM lists, oldest number first."""
    return sorted(fleet.scale_set.vms.values(), key=lambda vm: vm.number)


def cuts(fleet: Fleet) -> int:
    """Conferences that a rule cut."""
    return len(fleet.world.history.cut_by_us())
