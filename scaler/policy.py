"""
Every knob of the scaling rules: unit, default, range and the reason for the default.

`KNOBS` is the one table behind validation, the documentation and the error texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Knob:
    """One policy field as an operator sees it. `default` None: off, or derived as `why` says."""

    kind: type
    unit: str
    default: Any
    why: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.kind is bool:
            words = "true or false"
        elif self.choices:
            words = " or ".join(f"`{choice}`" for choice in self.choices)
        else:
            number = "a whole number" if self.kind is int else "a number"
            words = f"{number} from {self.low:g} to {self.high:g}"
        return f"{words}, or null" if self.optional else words


def _count(
    default: int | None, low: int, high: int, why: str, unit: str = "bridges", *, off: bool = False
) -> Knob:
    return Knob(int, unit, default, why, low, high, optional=off)


def _number(
    default: float | None, low: float, high: float, unit: str, why: str, *, off: bool = False
) -> Knob:
    return Knob(float, unit, default, why, low, high, optional=off)


KNOBS: dict[str, Knob] = {
    "min_bridges": _count(1, 1, 1000, "A shard without a bridge cannot start a call."),
    "max_bridges": _count(
        None, 1, 1000, "Required: only the operator knows the addresses, the quota and the budget."
    ),
    "nic_mbps": _number(
        None,
        1,
        200_000,
        "Mbit/s",
        "By the VM size where it is known. An unknown size needs it here: a guessed NIC is a guessed load.",
        off=True,
    ),
    "participants_per_bridge": _count(
        None,
        1,
        10_000,
        "25 a vCPU: what measured rooms leave free on every core for the loudest of them.",
        "endpoints",
        off=True,
    ),
    "nic_threshold": _number(
        0.70, 0.05, 1, "fraction of nic_mbps", "Above it, bursts of key frames begin to queue."
    ),
    "cpu_threshold": _number(0.80, 0.05, 1, "fraction", "Above it an SFU begins to delay packets."),
    "stress_threshold": _number(
        0.80, 0.05, 1.5, "stress_level", "Jicofo itself calls a bridge overloaded from here on."
    ),
    "scale_out_pressure": _number(
        0.8, 0.3, 1, "pressure", "Leaves a fifth of every bridge as head-room for the time that a VM boots."
    ),
    "max_scale_out_step": _count(4, 1, 50, "One wrong reading cannot buy more than this in one tick."),
    "boot_timeout_minutes": _number(
        10, 3, 60, "minutes", "Twice the slowest boot seen (p95 is 5 minutes): later is a failure."
    ),
    "uptime_minutes": _number(
        55, 0, 10_080, "minutes", "A VM is worth keeping while its first hour runs; it also damps flapping."
    ),
    "oldest_among": Knob(
        str,
        "",
        "all",
        "`all` is the literal rule; `idle` saves more: an idle bridge need not wait for a busy older one.",
        choices=("all", "idle"),
    ),
    "scale_in_pressure": _number(
        0.6,
        0.05,
        0.95,
        "pressure",
        "The rest must stay under this, or the drained bridge is soon needed again.",
    ),
    "scale_in_window_minutes": _number(
        10,
        1,
        240,
        "minutes",
        "Longer than a VM takes to boot and join, so that one decision is seen before the next.",
    ),
    "max_draining": _count(
        None, 1, 100, "3, or a tenth of the fleet where that is more: what may be missing at once.", off=True
    ),
    "settle_seconds": _number(
        30, 20, 600, "seconds", "Presence goes out every 5 s and a request in flight lives up to 15 s."
    ),
    "require_fence": Knob(
        bool, "", True, "Without the fence nothing but politeness keeps a call off a bridge that is going."
    ),
    "unhealthy_polls": _count(
        3, 2, 5, "One lost poll is noise; three of five are not.", "polls of the last 5"
    ),
    "stats_max_age_seconds": _number(
        30, 10, 300, "seconds", "Old JVBs cache for 5 s; half a tick is the most that is still the present."
    ),
    "drain_alert_hours": _number(
        24, 1, 720, "hours", "A day is longer than any meeting that ends by itself."
    ),
    "replace_dead_after_minutes": _number(
        None,
        30,
        10_080,
        "minutes",
        "Off: a bridge may be dead for us alone while media flows. A person decides, unless told otherwise.",
        off=True,
    ),
    "repair_capacity": Knob(
        bool,
        "",
        False,
        "Another writer's capacity is somebody's intention until you say it is not. Lowering waits 15 min.",
    ),
}


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """The rules' numbers for one shard. See `KNOBS` for the meaning of each."""

    max_bridges: int
    min_bridges: int = 1
    nic_mbps: float | None = None
    participants_per_bridge: int | None = None
    nic_threshold: float = 0.70
    cpu_threshold: float = 0.80
    stress_threshold: float = 0.80
    scale_out_pressure: float = 0.8
    max_scale_out_step: int = 4
    boot_timeout_minutes: float = 10
    uptime_minutes: float = 55
    oldest_among: str = "all"
    scale_in_pressure: float = 0.6
    scale_in_window_minutes: float = 10
    max_draining: int | None = None
    settle_seconds: float = 30
    require_fence: bool = True
    unhealthy_polls: int = 3
    stats_max_age_seconds: float = 30
    drain_alert_hours: float = 24
    replace_dead_after_minutes: float | None = None
    repair_capacity: bool = False

    @property
    def minimum(self) -> int:
        """Accepting bridges that must always remain: the operator's minimum, and at least one."""
        return max(1, self.min_bridges)

    @property
    def boot_timeout(self) -> timedelta:
        """From asking for a machine to calling it failed."""
        return timedelta(minutes=self.boot_timeout_minutes)

    @property
    def scale_in_window(self) -> timedelta:
        """How long a surplus must last, and how long nothing is drained after an un-drain."""
        return timedelta(minutes=self.scale_in_window_minutes)

    def draining_limit(self, fleet: int) -> int:
        """How many bridges of a fleet of this size may drain at once."""
        return self.max_draining if self.max_draining is not None else max(3, fleet // 10)

    def for_size(self, vcpus: int | None, nic_mbps: float | None) -> ScalingPolicy:
        """Fill what depends on the VM size, where the operator said nothing."""
        participants = self.participants_per_bridge or (25 * vcpus if vcpus else None)
        return replace(self, nic_mbps=self.nic_mbps or nic_mbps, participants_per_bridge=participants)

    @property
    def missing(self) -> tuple[str, ...]:
        """Fields that neither the operator nor the VM size gave: nothing can be judged without them."""
        return tuple(name for name in ("nic_mbps", "participants_per_bridge") if getattr(self, name) is None)


def fault_in(name: str, value: object) -> str | None:
    """Say what is wrong with one field's value, or None. Bools are not numbers, NaN is nothing."""
    knob = KNOBS.get(name)
    if knob is None:
        return "no such policy field; see docs/policy.md for the list"
    if value is None:
        return None if knob.optional else f"is null, allowed: {knob.allowed}"
    return None if _fits(knob, value) else f"is {_shown(value)}, allowed: {knob.allowed}"


def _fits(knob: Knob, value: object) -> bool:
    if knob.kind is bool:
        return isinstance(value, bool)
    if knob.choices:
        return value in knob.choices if isinstance(value, str) else False
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    if knob.kind is int and value != int(value):
        return False
    return (knob.low or 0) <= value <= (knob.high or math.inf)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_policy(values: Mapping[str, object], where: str) -> tuple[ScalingPolicy | None, list[str]]:
    """
    Make a policy of JSON values; `where` names their place in error texts.

    Returns the policy, or None with one sentence for each fault found, cross-field faults included.
    """
    faults = [
        f"{where}.{name}: {fault}"
        for name, value in values.items()
        if (fault := fault_in(name, value)) is not None
    ]
    if "max_bridges" not in values:
        faults.append(f"{where}.max_bridges: is missing, allowed: {KNOBS['max_bridges'].allowed}")
    sound = {
        name: _typed(KNOBS[name], value) for name, value in values.items() if fault_in(name, value) is None
    }
    policy = ScalingPolicy(**{"max_bridges": KNOBS["max_bridges"].high, **sound})
    faults += [f"{where}.{fault}" for fault in _contradictions(policy)]
    return (None, faults) if faults else (policy, [])


def _typed(knob: Knob, value: Any) -> Any:
    return value if value is None or isinstance(value, str) else knob.kind(value)


def _contradictions(policy: ScalingPolicy) -> list[str]:
    faults = []
    if policy.min_bridges > policy.max_bridges:
        faults.append(
            f"min_bridges: is {policy.min_bridges}, allowed: at most max_bridges ({policy.max_bridges})"
        )
    if policy.scale_in_pressure >= policy.scale_out_pressure:
        faults.append(
            f"scale_in_pressure: is {policy.scale_in_pressure:g}, allowed: less than scale_out_pressure "
            f"({policy.scale_out_pressure:g}), or bridges would be drained and taken back for ever"
        )
    return faults


FIELD_NAMES = frozenset(field.name for field in fields(ScalingPolicy))
