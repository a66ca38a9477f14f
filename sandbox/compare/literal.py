"""The owner's rule word for word: no drain, no look at demand."""

from __future__ import annotations

from datetime import datetime, timedelta

from sandbox.compare.fleet import Fleet, Rule, cpu_use

NIC_LIMIT, CPU_LIMIT = 0.70, 0.80
COOLDOWN = timedelta(minutes=10)
UPTIME = timedelta(minutes=55)
NIGHT_HOUR, NIGHT_MINUTES = 4, 5


class LiteralRule(Rule):
    """One machine more when any bridge is hot; the oldest is deleted at once when it is idle."""

    period_s = 60

    def __init__(self, fleet: Fleet) -> None:
        """Begin without a cooldown."""
        self._fleet = fleet
        self._cool_until: datetime | None = None

    def step(self) -> None:
        """One minute."""
        self._scale_out()
        self._raise_minimum_at_night()
        self._scale_in()

    def _scale_out(self) -> None:
        fleet, now = self._fleet, self._fleet.now
        if self._cool_until is not None and now < self._cool_until:
            return
        if any(fleet.nic_use(vm) > NIC_LIMIT or cpu_use(vm) > CPU_LIMIT for vm in fleet.serving()):
            fleet.add(1)
            self._cool_until = now + COOLDOWN

    def _raise_minimum_at_night(self) -> None:
        now = self._fleet.now
        if now.hour == NIGHT_HOUR and now.minute < NIGHT_MINUTES:
            self._fleet.add(self._fleet.minimum + 1 - self._fleet.count)

    def _scale_in(self) -> None:
        healthy = self._fleet.serving()
        if len(healthy) < 2:
            return
        oldest = min(healthy, key=lambda vm: vm.time_created)
        idle = oldest.bridge is not None and not oldest.bridge.conferences
        if idle and self._fleet.now - oldest.time_created > UPTIME:
            self._fleet.terminate(oldest)
