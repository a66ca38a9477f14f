"""
Every knob of the scaling rules: unit, default, range and the reason for the default.

`KNOBS` is the one table behind validation, the documentation and the error texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Form:
    """What a text must look like, in words and for the check."""

    words: str
    fits: Callable[[str], bool]


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or the name of a folder of zones
        return False
    return True


def _gallery_form(kind: str, words: str, provider: str) -> Form:
    pattern = re.compile(
        rf"/subscriptions/[0-9a-f-]{{36}}/resourceGroups/[\w.()-]{{1,90}}/providers/{provider}",
        re.IGNORECASE,
    )
    return Form(
        f"full ARM id of {words}: `/subscriptions/.../{kind}`", lambda text: bool(pattern.fullmatch(text))
    )


_CLOCK_TIME = Form(
    "a time of day, `00:00` to `23:59`",
    lambda text: re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) is not None,
)
_ZONE = Form("a name of the IANA time zone list, such as `Europe/Berlin`", _is_zone)
_DEFINITION = _gallery_form(
    "galleries/<gallery>/images/<definition>",
    "a gallery image definition, without a version",
    r"Microsoft\.Compute/galleries/[\w.]{1,80}/images/[\w.-]{1,80}",
)
_TEMPLATE = _gallery_form(
    "imageTemplates/<name>",
    "an Image Builder template",
    r"Microsoft\.VirtualMachineImages/imageTemplates/[\w.-]{1,64}",
)


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
    form: Form | None = None
    """What a text must look like."""

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.form is not None:
            words = self.form.words
        elif self.kind is bool:
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
        "Another writer's capacity is somebody's intention until you say it is not. "
        "It waits for 15 min of a scale set at rest.",
    ),
    "recycle": Knob(
        str,
        "",
        "always",
        "`always`: at least the oldest machine each night, so that a patch never waits for load to fall; "
        "`on_new_image`: only outdated ones.",
        choices=("always", "on_new_image", "off"),
    ),
    "recycle_at": Knob(str, "local time", "04:00", "When the fewest people meet.", form=_CLOCK_TIME),
    "recycle_until": Knob(
        str,
        "local time",
        "06:00",
        "No new machine and no new drain for the night from here on: the morning must not meet "
        "a half-drained fleet. Before `recycle_at`: on the next day.",
        form=_CLOCK_TIME,
    ),
    "time_zone": Knob(
        str, "", "UTC", "The night is where the users are; timers of the platform are in UTC.", form=_ZONE
    ),
    "recycle_surge": _count(
        None,
        1,
        50,
        "1, or a tenth of the fleet where that is more: machines above the count of the evening.",
        off=True,
    ),
    "canary_timeout_minutes": _number(
        20, 5, 120, "minutes", "Twice `boot_timeout_minutes`: a slow boot must not condemn an image."
    ),
    "canary_bake_minutes": _number(
        30, 1, 240, "minutes", "Long enough for calls to reach the first machine of a new image."
    ),
    "image_definition_id": Knob(
        str,
        "",
        None,
        "Which gallery image the bridges are made of. Without it no machine is outdated by its image.",
        optional=True,
        form=_DEFINITION,
    ),
    "image_template_id": Knob(
        str,
        "",
        None,
        "Which template builds a new version before the night, and prunes the old ones to ten.",
        optional=True,
        form=_TEMPLATE,
    ),
    "image_build_lead_minutes": _count(
        120, 15, 1200, "A build with its replication takes half an hour to an hour.", "minutes"
    ),
    "retention_days": _count(
        30,
        2,
        3650,
        "A month to look back on, minute by minute. Rows of whole days are kept for ever.",
        "days",
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
    recycle: str = "always"
    recycle_at: str = "04:00"
    recycle_until: str = "06:00"
    time_zone: str = "UTC"
    recycle_surge: int | None = None
    canary_timeout_minutes: float = 20
    canary_bake_minutes: float = 30
    image_definition_id: str | None = None
    image_template_id: str | None = None
    image_build_lead_minutes: int = 120
    retention_days: int = 30

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

    @property
    def night_minutes(self) -> int:
        """Nominal length of the recycling window; over midnight where it ends before it begins."""
        return (_minutes_of(self.recycle_until) - _minutes_of(self.recycle_at) - 1) % (24 * 60) + 1

    def surge_of(self, fleet: int) -> int:
        """How many machines above its count of the evening a fleet of this size may have at night."""
        return self.recycle_surge if self.recycle_surge is not None else max(1, fleet // 10)

    def for_size(self, vcpus: int | None, nic_mbps: float | None) -> ScalingPolicy:
        """Fill what depends on the VM size, where the operator said nothing."""
        participants = self.participants_per_bridge or (25 * vcpus if vcpus else None)
        return replace(self, nic_mbps=self.nic_mbps or nic_mbps, participants_per_bridge=participants)

    @property
    def missing(self) -> tuple[str, ...]:
        """Fields that neither the operator nor the VM size gave: nothing can be judged without them."""
        return tuple(name for name in ("nic_mbps", "participants_per_bridge") if getattr(self, name) is None)


SHORTEST_NIGHT_MINUTES = 20
"""The timer that opens it runs every 15."""
CANARY_NEEDS_BESIDES_MINUTES = 10
"""What a canary needs besides its bake time: to boot, join, and be opened."""


def _minutes_of(clock_time: str) -> int:
    hours, _, minutes = clock_time.partition(":")
    return 60 * int(hours) + int(minutes)


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
    if knob.kind is str:
        return isinstance(value, str) and (knob.form.fits(value) if knob.form else value in knob.choices)
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
    night = policy.night_minutes
    needed = max(policy.canary_bake_minutes + CANARY_NEEDS_BESIDES_MINUTES, SHORTEST_NIGHT_MINUTES)
    if policy.recycle != "off" and night < needed:
        faults.append(
            f"recycle_until: is {policy.recycle_until}, {night} min after recycle_at, allowed: at least "
            f"{needed:g} min after it, or no canary could pass (canary_bake_minutes and "
            f"{CANARY_NEEDS_BESIDES_MINUTES} min to boot)"
        )
    if policy.image_template_id is not None and policy.image_definition_id is None:
        faults.append("image_template_id: is set, allowed: null where image_definition_id is null")
    return faults


FIELD_NAMES = frozenset(field.name for field in fields(ScalingPolicy))
