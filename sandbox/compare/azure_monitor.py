"""Azure Monitor autoscale: averages over all instances, some minutes late, one machine at a time."""

from __future__ import annotations

from datetime import datetime, timedelta

from sandbox.compare.fleet import Fleet, Rule
from sandbox.meter import MetricMinute

OUT_ABOVE, IN_BELOW = 0.70, 0.30
WINDOW_MINUTES = 5
COOLDOWN = timedelta(minutes=5)
NOTICE = timedelta(minutes=15)
OLDEST_MINUTE = 3 + WINDOW_MINUTES


class AzureMonitorAutoscale(Rule):
    """
    Out when CPU or Network Out is high on average, in when both are low.

    The machine that goes gets the longest terminate notification there is, and nothing on it
    listens: it takes calls until it is gone with them.
    """

    period_s = 60

    def __init__(self, fleet: Fleet) -> None:
        """Begin without a cooldown."""
        self._fleet = fleet
        self._cool_until: datetime | None = None

    def step(self) -> None:
        """One evaluation."""
        fleet, now = self._fleet, self._fleet.now
        averages = self._averages()
        if averages is None or (self._cool_until is not None and now < self._cool_until):
            return
        cpu, network = averages
        if max(cpu, network) > OUT_ABOVE:
            changed = fleet.add(1) > 0
        elif max(cpu, network) < IN_BELOW:
            changed = self._scale_in(max(cpu, network))
        else:
            changed = False
        if changed:
            self._cool_until = now + COOLDOWN

    def _scale_in(self, average: float) -> bool:
        staying = self._fleet.staying()
        count = self._fleet.count
        if count <= self._fleet.minimum or not staying:
            return False
        if average * count / (count - 1) >= OUT_ABOVE:
            return False
        self._fleet.terminate_after(max(staying, key=lambda vm: vm.number), NOTICE)
        return True

    def _averages(self) -> tuple[float, float] | None:
        """CPU and Network Out as fractions, over the newest five minutes that Monitor has."""
        found = [minute for vm in self._fleet.staying() for minute in self._minutes(vm.resource_id)]
        if not found:
            return None
        nic_bytes = self._fleet.scale_set.spec.nic_mbps * 1_000_000 / 8 * 60
        cpu = sum(minute.cpu_percent for minute in found) / 100 / len(found)
        return cpu, sum(minute.out_bytes for minute in found) / nic_bytes / len(found)

    def _minutes(self, resource_id: str) -> list[MetricMinute]:
        this_minute = self._fleet.now.replace(second=0, microsecond=0)
        ages = range(1, OLDEST_MINUTE + 1)
        minutes = (
            self._fleet.world.metric_minute(resource_id, this_minute - timedelta(minutes=n)) for n in ages
        )
        return [minute for minute in minutes if minute is not None][:WINDOW_MINUTES]
