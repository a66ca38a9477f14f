"""
BOOKS: every act stands in the tables before it is done, and is explained there afterwards.

Judged on the rows as they are stored at the moment of the act.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sandbox.checkers.court import Court
from sandbox.memory_store import MemoryStore, Shard
from sandbox.witness import Act, Told
from scaler.errors import TryNextTick
from scaler.model import BridgeMemory, Phase
from scaler.tick import Report
from state.columns import TEXT_LIMIT
from state.rows import BRIDGES, COMMANDS, INTENTS, STATES, RowFormat

T = TypeVar("T")

NAME = "books"
LEASE_MUST_OUTLIVE = timedelta(seconds=30)
VERBS = {
    "set_drain": ("drain", "undrain"),
    "shut_down": ("fence",),
    "delete": ("delete",),
    "scale_out": ("scale_out", "repair_capacity"),
    "set_image": ("set_image",),
    "start_build": ("start_build",),
    "prune_image": ("prune_image",),
}


class BooksChecker:
    """Leases, intents, records, and rows that can be read again."""

    def __init__(self, store: MemoryStore, shard: str, court: Court) -> None:
        """`store`: looked into past every fault."""
        self._store, self._shard, self._court = store, shard, court
        self._parsed: dict[tuple[str, str], object] = {}

    def before(self, act: Act, told: Told) -> None:
        """Find the lease and the intent of what is about to be done."""
        table = self._store.table(self._shard)
        self._check_lease(act, told, table)
        missing = _INTENT[act.verb](act, told, table)
        if missing is not None:
            self._accuse(act, missing)

    def _check_lease(self, act: Act, told: Told, table: Shard) -> None:
        lease, newest = told.lease, table.lease
        if lease is None or newest is None or lease.epoch != newest.epoch:
            self._accuse(act, "is not under the newest lease")
        elif lease.until - act.host_now <= LEASE_MUST_OUTLIVE:
            self._accuse(
                act, f"begins {(lease.until - act.host_now).total_seconds():.0f} s before its lease ends"
            )

    def after_tick(self, told: Told, report: Report | None) -> None:
        """Compare what was done with the record of it; read every row again."""
        self._read_rows()
        if report is None or report.result in ("lease held", "too soon"):
            return
        if "a fault of the autoscaler itself" in report.sentence:
            self._court.accuse(NAME, report.sentence)
        if report.result == "done":
            self._compare(told, report)

    def _compare(self, told: Told, report: Report) -> None:
        newest = self._store.table(self._shard).decisions
        if not newest or newest[0][1] != report.record:
            self._court.accuse(NAME, "a tick that is done has no decision record")
        actions = list((report.record or {}).get("actions", ()))
        for act in told.acts:
            of_it = [a for a in actions if a["do"] in VERBS[act.verb] and a.get("vm_id", "") == act.vm_id]
            if not of_it:
                self._accuse(act, "stands in no decision record")
        done = [a for a in actions if a["done"] and a["do"] != "repurpose"]
        if len(done) > len(told.acts):
            self._court.accuse(NAME, f"the record tells of {len(done)} acts, {len(told.acts)} were seen")

    def _read_rows(self) -> None:
        table = self._store.table(self._shard)
        for key, bridge in table.bridges.items():
            self._read_again(BRIDGES, key, bridge.value)
        for key, intent in table.intents.items():
            self._read_again(INTENTS, key, intent.value)
        for key, command in table.commands.items():
            self._read_again(COMMANDS, key, command.value)
        for key, state in table.states.items():
            self._read_again(STATES, key, state.value)

    def _read_again(self, format_: RowFormat[T], key: str, value: T) -> None:
        place = (format_.name, key)
        before = self._parsed.get(place)
        if before is value:
            return
        self._parsed[place] = value
        try:
            same = _reads_back(format_, value) if before is None else _cells_read_back(format_, value, before)
        except (TryNextTick, ValueError, TypeError, KeyError, ArithmeticError) as error:
            self._court.accuse(NAME, f"row {key} of {format_.name} cannot be read: {error}")
            return
        if not same:
            self._court.accuse(NAME, f"row {key} of {format_.name} reads back as something else")

    def _accuse(self, act: Act, text: str) -> None:
        self._court.accuse(NAME, f"{act.verb} {act.name or act.capacity} {text}")


def _reads_back(format_: RowFormat[T], value: T) -> bool:
    return format_.read(format_.write("partition", value)) == value


def _cells_read_back(format_: RowFormat[T], value: T, before: object) -> bool:
    """The same for the cells that changed: all of them took a third of a simulated tick."""
    for column in format_.columns:
        held = column.get(value)
        if held is column.get(before):
            continue
        cell = None if held is None else column.kind.write(held)
        if cell is None or (isinstance(cell, str) and len(cell) > TEXT_LIMIT):
            return _reads_back(format_, value)
        if column.kind.read(cell) != held:
            return False
    return True


def _row(act: Act, table: Shard) -> BridgeMemory | None:
    stored = table.bridges.get(act.vm_id)
    return stored.value if stored is not None else None


def _drain_intent(act: Act, _told: Told, table: Shard) -> str | None:
    row = _row(act, table)
    if row is None:
        return "has no row"
    if act.on and not (row.phase is Phase.DRAINING and row.wanted_drain and row.purpose is not None):
        return f"is not written down first: the row is {row.phase}, wanted_drain {row.wanted_drain}"
    if not act.on and row.wanted_drain:
        return "is not written down first: the row wants the drain"
    return None


def _in_phase(phase: Phase) -> Callable[[Act, Told, Shard], str | None]:
    def check(act: Act, told: Told, table: Shard) -> str | None:
        row = _row(act, table)
        if row is None or row.phase is not phase:
            return f"is not written down first: the row is {row.phase if row else 'missing'}"
        lease = told.lease
        return None if lease is None or row.epoch == lease.epoch else "is an intent of another epoch"

    return check


def _creations(act: Act, told: Told, table: Shard) -> str | None:
    epoch = told.lease.epoch if told.lease else None
    written = [row.value for row in table.intents.values()]
    asked = [i for i in written if i.is_open and i.epoch == epoch and i.capacity == act.capacity]
    if asked:
        return None
    listed = sum(not each.is_deleting for each in told.instances)
    return None if act.capacity == listed else "has no intent, and is no repair"


def _image_intent(act: Act, _told: Told, table: Shard) -> str | None:
    stored = table.states.get("state")
    state = stored.value if stored is not None else None
    if state is None or act.image not in (state.night.target, state.good_image):
        return "is not written down first: the state row names another image"
    return None


def _build_intent(_act: Act, told: Told, table: Shard) -> str | None:
    stored = table.states.get("state")
    asked = stored.value.build.asked_at if stored is not None else None
    return None if asked is not None and asked >= told.now else "is not written down first"


def _needs_none(_act: Act, _told: Told, _table: Shard) -> str | None:
    """A version that is deleted twice is gone all the same."""
    return None


_INTENT: dict[str, Callable[[Act, Told, Shard], str | None]] = {
    "set_drain": _drain_intent,
    "shut_down": _in_phase(Phase.FENCED),
    "delete": _in_phase(Phase.DELETING),
    "scale_out": _creations,
    "set_image": _image_intent,
    "start_build": _build_intent,
    "prune_image": _needs_none,
}
