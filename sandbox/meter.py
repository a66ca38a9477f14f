"""The load of one machine over time: bytes, CPU, and how long it was beyond what it can carry."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.traffic import cpu_fraction

MINUTES_KEPT = 40
BYTES_PER_KBIT = 125


@dataclass(frozen=True, slots=True)
class MetricMinute:
    """What Azure Monitor has of one VM for one minute."""

    in_bytes: int
    out_bytes: int
    cpu_percent: float


class LoadMeter:
    """
    Integrates a load that is constant between events.

    Nothing is sampled in advance: `settle` adds up what passed since the last event, so an
    idle machine costs nothing to simulate and reading it never changes the history.
    """

    __slots__ = (
        "_cpu_seconds",
        "_in_kbit",
        "_minute_in",
        "_minute_out",
        "_minutes",
        "_most_microcores",
        "_most_out_kbps",
        "_most_people",
        "_out_kbit",
        "_overloaded",
        "_settled_s",
        "_vcpus",
        "cpu",
        "in_kbps",
        "out_kbps",
        "overload_minutes",
        "overload_user_seconds",
        "people",
        "pressure",
    )

    def __init__(
        self, at_s: float, vcpus: int, nic_mbps: int, people_per_vcpu: int, nic_share: float, cpu_share: float
    ) -> None:
        """Start idle at an epoch second. The shares say which use of NIC and CPU is a full machine."""
        self._settled_s = at_s
        self._vcpus = vcpus
        self._most_people = people_per_vcpu * vcpus
        self._most_out_kbps = nic_mbps * 1000 * nic_share
        self._most_microcores = cpu_share
        self._in_kbit = self._out_kbit = 0.0
        self._minute_in = self._minute_out = self._cpu_seconds = 0.0
        self._minutes: dict[int, MetricMinute] = {}
        self._overloaded = False
        self.overload_minutes = 0
        self.overload_user_seconds = 0.0
        self.set_load(0, 0, 0, 0)

    def set_load(self, people: int, in_kbps: int, out_kbps: int, microcores: int) -> None:
        """Load from now on; `settle` must have been called for the present moment."""
        self.people = people
        self.in_kbps = in_kbps
        self.out_kbps = out_kbps
        self.cpu = cpu_fraction(people, microcores, self._vcpus)
        self.pressure = max(
            people / self._most_people,
            max(in_kbps, out_kbps) / self._most_out_kbps,
            self.cpu / self._most_microcores,
        )

    def settle(self, at_s: float) -> None:
        """Account for the time up to this epoch second, minute by minute."""
        since_s = self._settled_s
        if at_s <= since_s:
            return
        minute = int(since_s // 60)
        while at_s >= (minute + 1) * 60:
            self._add((minute + 1) * 60 - since_s)
            self._close_minute(minute)
            minute += 1
            since_s = minute * 60
        if at_s > since_s:
            self._add(at_s - since_s)
        self._settled_s = at_s

    def _add(self, seconds: float) -> None:
        self._minute_in += self.in_kbps * seconds
        self._minute_out += self.out_kbps * seconds
        self._cpu_seconds += self.cpu * seconds
        if self.pressure > 1 and self.people:
            self._overloaded = True
            self.overload_user_seconds += self.people * seconds

    def _close_minute(self, minute: int) -> None:
        self._minutes[minute] = MetricMinute(
            round(self._minute_in * BYTES_PER_KBIT),
            round(self._minute_out * BYTES_PER_KBIT),
            round(self._cpu_seconds / 0.6, 3),
        )
        self._minutes.pop(minute - MINUTES_KEPT, None)
        self._in_kbit += self._minute_in
        self._out_kbit += self._minute_out
        self._minute_in = self._minute_out = self._cpu_seconds = 0.0
        self.overload_minutes += self._overloaded
        self._overloaded = False

    @property
    def in_bytes(self) -> int:
        """Bytes received since the start, as of the last `settle`."""
        return int((self._in_kbit + self._minute_in) * BYTES_PER_KBIT)

    @property
    def out_bytes(self) -> int:
        """Bytes sent since the start, as of the last `settle`."""
        return int((self._out_kbit + self._minute_out) * BYTES_PER_KBIT)

    @property
    def overload_minutes_so_far(self) -> int:
        """Clock minutes in which the load was ever beyond the machine, with the present one."""
        return self.overload_minutes + self._overloaded

    def minute(self, minute: int) -> MetricMinute | None:
        """One complete minute by its number since the epoch; None outside what is kept."""
        return self._minutes.get(minute)
