"""
What an operator sends, read into a command; every fault at once, with the field and what is allowed. Pure.

Names of shards and bridges are looked up by the caller, which knows the tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from scaler.floors import DAYS
from scaler.model import Command, CommandKind

ONCE = timedelta(hours=1)
"""A command that is to be carried out once is given up after this, unless it says otherwise."""
LONGEST = timedelta(days=31)
"""A longer protection or floor is a policy, and belongs into the settings."""

_FIELDS = frozenset(
    {
        "kind",
        "shard",
        "bridge",
        "by",
        "why",
        "for_minutes",
        "minimum",
        "from",
        "until",
        "days",
        "time_zone",
        "image_version",
        "cancel",
        "command_id",
    }
)
_NEEDS: dict[CommandKind, tuple[str, ...]] = {
    CommandKind.DRAIN: ("bridge",),
    CommandKind.UNDRAIN: ("bridge",),
    CommandKind.PROTECT: ("bridge", "for_minutes"),
    CommandKind.REPLACE: ("bridge",),
    CommandKind.FLOOR: ("minimum",),
    CommandKind.UNBLOCK_IMAGE: ("image_version",),
    CommandKind.CANCEL: ("cancel",),
}
_LASTING = frozenset({CommandKind.PROTECT, CommandKind.PAUSE, CommandKind.FLOOR})
_COMMAND_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it was sent, with what it names still as names."""

    command: Command
    shard: str | None
    bridge: str | None
    """Name or vmId; None where the command is about the whole shard."""


@dataclass(slots=True)
class _Reader:
    """Takes fields from a body and keeps what is wrong with each."""

    body: Mapping[str, Any]
    faults: list[str] = field(default_factory=list)

    def text(self, name: str, most: int = 200) -> str | None:
        value = self.body.get(name)
        if value is None:
            return None
        if isinstance(value, str) and 0 < len(value.strip()) <= most and value.strip().isprintable():
            return value.strip()
        self.wrong(name, f"one line of 1 to {most} characters")
        return None

    def number(self, name: str, low: int, high: int) -> int | None:
        value = self.body.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.wrong(name, f"a whole number from {low} to {high}")
        return None

    def checked(self, name: str, allowed: str, good: Callable[[str], bool]) -> str | None:
        value = self.text(name)
        if value is None or good(value):
            return value
        self.wrong(name, allowed)
        return None

    def days(self) -> tuple[str, ...]:
        value = self.body.get("days")
        if value is None:
            return ()
        if isinstance(value, list) and value and all(day in DAYS for day in value):
            return tuple(day for day in DAYS if day in value)
        self.wrong("days", f"a list of {', '.join(DAYS)}")
        return ()

    def wrong(self, name: str, allowed: str) -> None:
        shown = repr(self.body.get(name))
        self.faults.append(
            f"{name}: is {shown if len(shown) <= 60 else shown[:57] + '...'}, allowed: {allowed}"
        )

    def missing(self, name: str, allowed: str) -> None:
        if self.body.get(name) is None:
            self.faults.append(f"{name}: is missing, allowed: {allowed}")


def read_order(
    body: Any, now: datetime, new_id: str, signed_in_as: str | None = None
) -> tuple[Order | None, list[str]]:
    """
    Read a JSON body. Returns the order, or None with one sentence for each fault.

    `new_id` is taken where the body names no `command_id`; `signed_in_as`, where the platform tells who
    calls, goes before the body's `by`.
    """
    if not isinstance(body, Mapping):
        return None, ["the body is not a JSON object"]
    read = _Reader(body)
    kinds = [str(kind) for kind in CommandKind]
    read.missing("kind", ", ".join(kinds))
    name = read.checked("kind", ", ".join(kinds), lambda value: value in kinds)
    read.faults += [f"{key}: no such field" for key in sorted(body.keys() - _FIELDS, key=str)]
    if name is None:
        return None, read.faults
    kind = CommandKind(name)
    for needed in _NEEDS.get(kind, ()):
        read.missing(needed, _ALLOWED[needed])
    read.missing("why", "the reason, in one line: whoever is on call after you will read it")
    if signed_in_as is None:
        read.missing("by", "who you are, in one line")
    command = Command(
        command_id=read.checked("command_id", "a-z, A-Z, 0-9 and -", _is_id) or new_id,
        kind=kind,
        by=signed_in_as or read.text("by", 100) or "",
        why=read.text("why") or "",
        asked_at=now,
        expires_at=_expiry(kind, read, now),
        minimum=read.number("minimum", 1, 1000),
        from_time=read.checked("from", "HH:MM", _is_clock),
        until_time=read.checked("until", "HH:MM", _is_clock),
        days=read.days(),
        time_zone=read.checked("time_zone", "a name of the IANA list, as Europe/Berlin", _is_zone),
        image_version=read.text("image_version", 400),
        target=read.text("cancel", 64),
    )
    _check_schedule(command, read)
    order = Order(command, read.text("shard", 40), read.text("bridge", 100))
    return (None, read.faults) if read.faults else (order, [])


_ALLOWED = {
    "bridge": "the name or the vmId of a machine",
    "for_minutes": "how long it shall hold, in minutes",
    "minimum": "how many bridges at least, a whole number",
    "image_version": "the blocked version, as status shows it",
    "cancel": "the id of an open command",
}


def _expiry(kind: CommandKind, read: _Reader, now: datetime) -> datetime | None:
    minutes = read.number("for_minutes", 1, int(LONGEST.total_seconds() // 60))
    if minutes is not None:
        return now + timedelta(minutes=minutes)
    return None if kind in _LASTING else now + ONCE


def _check_schedule(command: Command, read: _Reader) -> None:
    """A floor has both ends of its window or none, and an end in time where it has none."""
    scheduled = [name for name in ("from", "until", "days", "time_zone") if read.body.get(name) is not None]
    if command.kind is not CommandKind.FLOOR:
        read.faults += [f"{name}: only a floor has a schedule" for name in scheduled]
        return
    if not scheduled:
        read.missing("for_minutes", "how long it shall hold, or a schedule: `from`, `until`, `time_zone`")
        return
    for name in ("from", "until", "time_zone"):
        read.missing(name, "part of a schedule: `from`, `until` and `time_zone` go together")
    if command.from_time is not None and command.from_time == command.until_time:
        read.faults.append("until: is the same as `from`, which leaves no time between them")


def _is_id(value: str) -> bool:
    return _COMMAND_ID.fullmatch(value) is not None


def _is_clock(value: str) -> bool:
    return _CLOCK.fullmatch(value) is not None


def _is_zone(value: str) -> bool:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        return False
    return True
