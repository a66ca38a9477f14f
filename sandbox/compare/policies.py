"""Who is compared: how each policy begins, and what runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sandbox.compare.azure_monitor import AzureMonitorAutoscale
from sandbox.compare.fleet import Fleet, Rule
from sandbox.compare.hpa import HorizontalPodAutoscaler
from sandbox.compare.jitsi_autoscaler import JitsiAutoscaler
from sandbox.compare.literal import LiteralRule
from sandbox.inprocess import in_process
from scaler.policy import ScalingPolicy


class Product(Rule):
    """The production engine with its default policy, or with the knobs that are given."""

    period_s = 60

    def __init__(self, fleet: Fleet, **knobs: object) -> None:
        """Install the engine over the world of this fleet."""
        values = {"min_bridges": fleet.minimum, "max_bridges": fleet.maximum, **knobs}
        policy = ScalingPolicy(**values)  # type: ignore[arg-type]
        self._installed = in_process(fleet.world.config, policy, world=fleet.world)
        self._runner = asyncio.Runner()

    def step(self) -> None:
        """One tick."""
        self._runner.run(self._tick())

    def close(self) -> None:
        """End the event loop."""
        self._runner.close()

    async def _tick(self) -> None:
        for report in await self._installed.tick():
            if report.result != "done":
                raise RuntimeError(f"{report.result}: {report.sentence}")


class FixedFleet(Rule):
    """Nothing ever happens."""

    period_s = 60

    def __init__(self, fleet: Fleet) -> None:
        """What stands stays."""

    def step(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One row of the comparison."""

    title: str
    behaviour: str
    """What is simulated, in words."""
    build: Callable[[Fleet], Rule]
    starts_drained: bool = False
    """Its bridges start drained, since it opens them itself."""
    for_the_peak: bool = False
    """It begins with as many bridges as the bound needs at its highest."""


OURS, OURS_IDLE = "default", "idle"

POLICIES = {
    OURS: Policy(
        "this product",
        "The production engine with every default, over the in-process ports.",
        Product,
        starts_drained=True,
    ),
    OURS_IDLE: Policy(
        "this product, `oldest_among: idle`",
        "The same with that one knob.",
        partial(Product, oldest_among="idle"),
        starts_drained=True,
    ),
    "literal": Policy(
        "literal rule",
        "+1 when a bridge is over 70 % of its NIC or 80 % CPU, then 10 min nothing; the oldest, when idle "
        "and up for more than 55 min, is deleted at once; one more than the minimum at 04:00 for 5 min.",
        LiteralRule,
    ),
    "azure": Policy(
        "Azure Monitor autoscale",
        "Average CPU or Network Out of 5 min, 2 min late: above 70 % +1, both below 30 % -1, 5 min "
        "cooldown, no scale-in that would raise the average to 70 %; the newest goes after 15 min of "
        "notice, with its calls.",
        AzureMonitorAutoscale,
    ),
    "jitsi": Policy(
        "jitsi-autoscaler",
        "Mean stress a minute: +1 from 0.65 twice, -1 below 0.40 for 20 min, then 8 min nothing, nor while "
        "the count is not the wanted one; graceful shutdown of the bridge with the fewest people, none in "
        "its first 10 min.",
        JitsiAutoscaler,
    ),
    "hpa": Policy(
        "HPA",
        "Count times mean use over 0.7, use being the higher of NIC and CPU over their thresholds; out at "
        "once, in after 5 min; the newest shuts down gracefully, with all the time it needs.",
        HorizontalPodAutoscaler,
    ),
    "fixed": Policy(
        "fixed fleet for the peak",
        "As many bridges as the bound needs at its highest, always.",
        FixedFleet,
        for_the_peak=True,
    ),
}
