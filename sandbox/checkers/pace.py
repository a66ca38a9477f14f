"""
PACE: what has to last, or to be waited for, before a step; and what an operator's word forbids.

A second reading of the rules over time, from what the engine was told tick after tick. Each figure is
taken so that it speaks for the engine where there is doubt: a load is only the people that a bridge
itself just told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.checkers.court import Court
from sandbox.checkers.told import View
from sandbox.memory_store import MemoryStore
from sandbox.witness import Act, Told
from scaler.model import (
    OURS_TO_UNDRAIN,
    BridgeMemory,
    BridgeStats,
    Command,
    CommandKind,
    CommandState,
    Phase,
    Purpose,
    Reach,
)
from scaler.policy import ScalingPolicy
from scaler.tick import Report
from scaler.window import window_at

NAME = "pace"
NOBODY_LOOKED_FOR = timedelta(minutes=5)
CLEAR_TICKS = 3
OVERLOADED_TICKS = 6
"""So many in a row with more people than the bridges are for, and something was asked for."""
TOO_FULL = 0.9
"""Bridges are asked for from 0.8 on."""
GIANT = 0.8
ROUNDING = 1e-9
BAD_ONES_AT_MOST = 2
_GOING = (Phase.FENCED, Phase.DELETING)


@dataclass(slots=True)
class _Lately:
    """What was heard over the ticks, by the clocks of the hosts that heard it."""

    began_at: datetime | None = None
    """First tick without a long gap behind it, in true time."""
    heard_at: datetime | None = None
    """Newest tick, in true time."""
    forgot_at: datetime | None = None
    """Newest tick that found no memory of the shard."""
    crowded_at: datetime | None = None
    """Newest tick that came to its end and in which no bridge was to spare, by its people alone."""
    undrained_at: datetime | None = None
    """Newest time that a drain of ours was taken back."""
    clear_ticks: int = CLEAR_TICKS
    """Ticks in a row since a blind one that came to its end; one that was killed may have counted itself."""
    calm_ticks: int = 0
    """Ticks in a row that came to their end, since any was blind."""
    bought_blind: set[str] = field(default_factory=set)
    """Machines that were asked for since the shard is blind."""
    overloaded_ticks: int = 0
    accepting_since: dict[str, datetime] = field(default_factory=dict)
    """When each machine was first heard to accept, also of those that are gone."""


@dataclass(slots=True)
class PaceChecker:
    """No step too soon, none against an operator's word, and none left out while people wait."""

    store: MemoryStore
    shard: str
    policy: ScalingPolicy
    court: Court
    slack: Callable[[], timedelta] = timedelta
    """How much two clocks may differ now."""
    _lately: _Lately = field(default_factory=_Lately)
    _heard: Told | None = None
    _stats: dict[str, datetime | None] = field(default_factory=dict)
    _stats_before: dict[str, datetime | None] = field(default_factory=dict)

    def before(self, act: Act, told: Told) -> None:
        """Judge one act."""
        self._hear(told)
        view = View(told, self.policy, self._stats_before)
        for objection in self._objections(act, view):
            self.court.accuse(NAME, f"{act.verb} {act.name or act.capacity}: {objection}")
        if act.verb == "set_drain" and not act.on and self._takes_back(act, view):
            looked_at, _ = told.reads.get(act.vm_id, (act.at, None))
            # It may have stood still between its last look and the act: its intent is dated between.
            self._lately.undrained_at = act.host_now - (act.at - looked_at)

    def after_tick(self, told: Told, report: Report | None) -> None:
        """Take in a tick without acts, and ask whether people were left waiting."""
        self._hear(told)
        if report is None or report.result != "done" or self._heard is not told or not told.polls:
            return
        view = View(told, self.policy, self._stats_before)
        self._against_sleep(view)
        self._against_opening(view)
        self._against_sparing(view)
        self._against_order(view)
        self._against_waiting(view)
        self._remember_end(view)

    # What was heard

    def _hear(self, told: Told) -> None:
        """Take in the answers of a tick, once; one that stood still while others went on is no news."""
        if self._heard is told or told.lease is None or told.rows is None:
            return
        lately, now = self._lately, told.now
        if self._heard is not None and told.began < self._heard.began:
            lately.heard_at = self.court.now()
            return
        self._heard = told
        self._stats_before = dict(self._stats)
        self._stats |= {vm_id: p.stats.timestamp for vm_id, p in told.polls.items() if p.stats is not None}
        gap = told.began - lately.heard_at if lately.heard_at is not None else timedelta.max
        if gap > NOBODY_LOOKED_FOR - self.slack():
            lately.calm_ticks = 0  # what was clear before counts no more
        if lately.heard_at is None or gap > NOBODY_LOOKED_FOR + self.slack():
            lately.began_at = told.began
        lately.heard_at = self.court.now()
        if told.rows.state is None:
            lately.forgot_at = now
        if not told.polls:
            lately.calm_ticks = 0
        else:
            self._look(View(told, self.policy, self._stats_before), now)

    def _look(self, view: View, now: datetime) -> None:
        lately = self._lately
        if view.is_blind():
            lately.calm_ticks = 0
        else:
            lately.clear_ticks += 1
            lately.bought_blind = set()
        for vm_id in view.accepting():
            lately.accepting_since.setdefault(vm_id, now)

    def _remember_end(self, view: View) -> None:
        """Take in what the engine has written down now, since the tick came to its end."""
        lately = self._lately
        lately.calm_ticks += 1
        if view.is_blind():
            lately.clear_ticks = 0
        answered = sum(poll.reach is Reach.ANSWERED for poll in view.told.polls.values())
        if _people(view, self.policy) > self.policy.scale_in_pressure * (answered - 1) + ROUNDING:
            lately.crowded_at = view.told.now

    def _takes_back(self, act: Act, view: View) -> bool:
        row = view.rows.get(act.vm_id)
        ours = row is not None and row.ever_ready and row.purpose in OURS_TO_UNDRAIN
        return ours and view.was_our_drain(act.vm_id)

    # What speaks against an act

    def _objections(self, act: Act, view: View) -> list[str]:
        row = self._row(act.vm_id)
        if act.verb == "scale_out":
            return self._against_purchase(act, view)
        if act.verb in ("set_image", "start_build", "prune_image"):
            return _failed((not _is_paused(view), "the shard is paused"))
        if row is None or self._is_commanded(act, row):
            return []
        if act.verb == "set_drain" and act.on and not view.was_our_drain(act.vm_id):
            return self._against_taking(act, view, row) + self._against_drain(act, view, row)
        if act.verb == "shut_down":
            return self._against_taking(act, view, row)
        if act.verb == "delete" and row.ever_ready:
            loaded = view.rows.get(act.vm_id)
            going = loaded is not None and loaded.phase in _GOING
            return _failed(
                (going or not _is_paused(view), "the shard is paused"),
                (going or not self._is_protected(act, view), "it is protected"),
                (self._is_clear, "silence ended less than three ticks ago"),
            )
        return []

    @property
    def _is_clear(self) -> bool:
        """Silence ended three ticks ago, this one counted."""
        return self._lately.clear_ticks >= CLEAR_TICKS

    def _row(self, vm_id: str) -> BridgeMemory | None:
        stored = self.store.table(self.shard).bridges.get(vm_id)
        return stored.value if stored is not None else None

    def _is_commanded(self, act: Act, row: BridgeMemory) -> bool:
        kinds = {CommandKind.DRAIN, CommandKind.REPLACE}
        found = (stored.value for stored in self.store.table(self.shard).commands.values())
        told_to = any(c.vm_id == act.vm_id and c.kind in kinds and c.is_open for c in found)
        return told_to or (act.verb == "set_drain" and row.purpose is Purpose.OPERATOR)

    def _is_protected(self, act: Act, view: View) -> bool:
        return any(
            c.kind is CommandKind.PROTECT and c.state is CommandState.IN_FORCE and c.vm_id == act.vm_id
            for c in _in_force(view)
        )

    def _against_taking(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        """What holds for drain and fence alike."""
        floor = _floor(view)
        healthy, others = len(view.healthy()), view.accepting_without(act.vm_id)
        leaves = row.ever_ready
        return _failed(
            (not _is_paused(view), "the shard is paused"),
            (not self._is_protected(act, view), "it is protected"),
            (self._is_clear, "silence ended less than three ticks ago"),
            (not leaves or healthy > floor, f"{healthy} healthy, and a floor of {floor}"),
            (not leaves or others >= floor, f"{others} others accept, and a floor of {floor}"),
        )

    def _against_drain(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        lately, window = self._lately, self.policy.scale_in_window
        people, others = _people(view, self.policy), view.accepting_without(act.vm_id)
        by_night = row.purpose is Purpose.RECYCLE
        most = self.policy.scale_out_pressure if by_night else self.policy.scale_in_pressure
        found = _failed(
            (self._lasted(act, lately.undrained_at, window), "a drain was taken back just now"),
            (self._lasted(act, lately.forgot_at, window), "the shard is not known for long enough"),
            (people <= most * others + ROUNDING, f"people for {people:.2f} bridges on {others} others"),
        )
        if row.purpose is Purpose.SURPLUS:
            found += _failed(
                (self._lasted(act, lately.crowded_at, window), "no bridge was to spare just now"),
                (self._looked_for(act, window), "nobody looked for long enough"),
            )
        if by_night and not view.is_condemned(act.vm_id):
            found += self._against_verdict(view)
        return found

    def _against_verdict(self, view: View) -> list[str]:
        """A night drains after its canary accepted calls for the time that it bakes."""
        night = view.night()
        if night is None or night.canary is None or night.passed_at is None:
            return []
        since, bake = self._lately.accepting_since.get(night.canary), self.policy.canary_bake_minutes
        baked = since is not None and (night.passed_at - since + self.slack() >= timedelta(minutes=bake))
        return _failed((baked, f"its canary accepts since {since}, and has to for {bake:g} min"))

    def _lasted(self, act: Act, since: datetime | None, window: timedelta) -> bool:
        return since is None or act.host_now - since + self.slack() >= window

    def _looked_for(self, act: Act, window: timedelta) -> bool:
        began = self._lately.began_at
        return began is not None and act.at - began + self.slack() >= window

    def _against_purchase(self, act: Act, view: View) -> list[str]:
        new = view.new_intents(self.store.table(self.shard))
        state, blind = view.state(), view.is_blind()
        if not new:
            return _failed((not _is_paused(view), "the shard is paused"))
        known = {vm_id for vm_id, row in view.rows.items() if row.ever_ready}
        joined = view.accepting() - known  # a machine that joins in this very tick ends it
        backoff = state.backoff_until if state is not None and not joined else None
        enough = max(self.policy.minimum, _highest_floor(view))
        found = _failed(
            (not _is_paused(view), "the shard is paused"),
            (backoff is None or act.host_now + self.slack() >= backoff, f"backing off until {backoff}"),
            (not blind or self._surely_accepting(view) < enough, "blind, and enough accept"),
            (not self._may_come_of_blind(view), "blind, and the second one"),
        )
        if blind:
            self._lately.bought_blind |= {intent.intent_id for intent in new}
        return found

    def _surely_accepting(self, view: View) -> int:
        """Without those whose report may be too old, or whose rows do not call them ready."""
        sure = [vm_id for vm_id in view.accepting() if view.news_of(vm_id) is not None]
        rows = (view.rows.get(vm_id) for vm_id in sure)  # not ready: what answers may be another machine
        return sum(row is not None and row.phase is Phase.READY for row in rows)

    def _may_come_of_blind(self, view: View) -> bool:
        """Something was bought while blind, and nothing tells that it did not come."""
        intents = self.store.table(self.shard).intents
        bought = [intents[each].value for each in self._lately.bought_blind if each in intents]
        return any(intent.error is None and not view.was_not_taken(intent) for intent in bought)

    # What must not be left out

    def _against_sleep(self, view: View) -> None:
        """The timer of the night ran inside the window, knew the images, and nothing stood against it."""
        window = window_at(self.policy, view.told.now)
        stored = self.store.table(self.shard).states.get("state")
        blind = self._lately.calm_ticks < CLEAR_TICKS
        # One that no row knows may be taken for a bridge that was ready, and its silence blind the shard.
        strangers = view.listed.keys() - view.rows.keys()
        if view.told.versions is None or window is None or stored is None or blind or strangers:
            return
        if _may_be_paused(view):
            return
        if (stored.value.night.date or "") < window.date:
            self.court.accuse(NAME, f"the night of {window.date} does not open")

    def _against_opening(self, view: View) -> None:
        """One night for each date, and for the newest version that may be used."""
        before, stored = view.state(), self.store.table(self.shard).states.get("state")
        if before is None or stored is None or stored.value.night.opened_at in (None, before.night.opened_at):
            return
        night = stored.value.night
        if night.date == before.night.date:
            self.court.accuse(NAME, f"the night of {night.date} opens once more")
        if view.told.versions is None:
            return
        usable = {v.id for v in view.told.versions if v.usable}
        # Within the tick a block may end, by a word or with a newer version.
        blocks = (before.blocked_images, stored.value.blocked_images)
        newest = {max(usable - blocked.keys(), key=_in_numbers, default=None) for blocked in blocks}
        if sum(map(view.is_retired, view.listed)) >= BAD_ONES_AT_MOST:
            newest.add(before.good_image)  # bridges of bad images leave before another one is tried
        if night.target not in newest:
            self.court.accuse(NAME, f"the night opens for {night.target}, and the newest is {newest}")

    def _against_sparing(self, view: View) -> None:
        """A night goes without a canary only where a bridge stands for as long as one bakes."""
        before, stored = view.state(), self.store.table(self.shard).states.get("state")
        night = stored.value.night if stored is not None else None
        if before is None or night is None or night.canary is not None or night.passed_at != view.told.now:
            return
        if before.night.passed_at == night.passed_at:
            return  # the tick before, of the same moment, spared it
        known, bake = view.told.scale_set, timedelta(minutes=self.policy.canary_bake_minutes)
        made_of = night.target or (known.image if known is not None else None)
        if night.target not in (None, before.good_image):
            self.court.accuse(NAME, f"no canary, and {made_of} is not what was proved")
        config = known.config if known is not None else None
        found = (view.listed[vm_id] for vm_id in view.accepting())
        of_it = [each for each in found if each.image == made_of and config in (None, each.config)]
        since = [each.time_created for each in of_it]
        if not any(each is not None and view.told.now - each + self.slack() >= bake for each in since):
            self.court.accuse(NAME, f"no canary, and no bridge of {made_of} has stood for {bake}")

    def _against_order(self, view: View) -> None:
        """Drains are taken back youngest first; what was asked for in vain is passed over."""
        taken = [a.vm_id for a in view.told.acts if a.verb == "set_drain" and not a.on]
        ours = {vm_id for vm_id in view.healthy() if self._is_ours_to_lift(view, vm_id)}
        lifted = [vm_id for vm_id in taken if vm_id in ours]
        left = ours - set(taken) - view.told.reads.keys()
        for vm_id in lifted:
            if younger := [each for each in left if view.age(each) > view.age(vm_id)]:
                self.court.accuse(NAME, f"an older drain is lifted ahead of {len(younger)} younger ones")

    def _is_ours_to_lift(self, view: View, vm_id: str) -> bool:
        """For load: not what an operator says, nor what a night that is over leaves behind."""
        row, poll = view.rows.get(vm_id), view.poll(vm_id)
        if row is None or poll is None or poll.drain is not True or not view.is_our_drain(vm_id):
            return False
        if view.news_of(vm_id) is None:
            return False
        commanded = any(c.vm_id == vm_id and c.is_open for c in _commands(view))
        by_day = row.purpose in (Purpose.TEAR_DOWN, Purpose.SURPLUS)
        return by_day and not commanded and not view.is_condemned(vm_id) and not _is_paused(view)

    def _against_waiting(self, view: View) -> None:
        """People do not stand on full bridges for minutes while nothing is asked for."""
        acts, lately = view.told.acts, self._lately
        helped = any(act.verb == "scale_out" or (act.verb == "set_drain" and not act.on) for act in acts)
        overloaded = not helped and self._is_overloaded(view)
        lately.overloaded_ticks = lately.overloaded_ticks + 1 if overloaded else 0
        if lately.overloaded_ticks >= OVERLOADED_TICKS:
            self.court.accuse(NAME, f"{OVERLOADED_TICKS} ticks with too many people, and nothing asked for")

    def _is_overloaded(self, view: View) -> bool:
        """More people than all bridges are for, and nothing that could be waited for."""
        state = view.state()
        calm = self._lately.calm_ticks >= CLEAR_TICKS
        if state is None or _may_be_paused(view) or not calm:
            return False
        rows, listed = view.rows, view.listed
        table = self.store.table(self.shard)
        waits = any(stored.value.is_open for stored in table.intents.values())
        waits = waits or any(row.phase is not Phase.READY for row in rows.values())
        waits = waits or rows.keys() != listed.keys()
        waits = waits or (state.backoff_until is not None and view.told.now < state.backoff_until)
        known = view.told.scale_set
        waits = waits or known is None or known.capacity != len(listed)
        room = len(listed) < self.policy.max_bridges
        helpable = sum(_helpable(stats, self.policy) for stats in _told_of(view))
        return room and not waits and helpable > TOO_FULL * len(view.accepting())


def _in_numbers(image: str) -> tuple[int, ...]:
    return tuple(int(part) for part in image.rpartition("/")[2].split("."))


def _told_of(view: View) -> list[BridgeStats]:
    """What healthy bridges told in this tick."""
    return [stats for vm_id in view.healthy() if (stats := view.news_of(vm_id)) is not None]


def _people(view: View, policy: ScalingPolicy) -> float:
    """How many full bridges the people are that healthy bridges told of in this tick."""
    return sum(_fullness(stats, policy) for stats in _told_of(view))


def _fullness(stats: BridgeStats, policy: ScalingPolicy) -> float:
    full = policy.participants_per_bridge
    return (stats.local_endpoints or 0) / full if full else 0.0


def _helpable(stats: BridgeStats, policy: ScalingPolicy) -> float:
    """The same; a conference that fills its bridge alone is no reason for another one."""
    one = (stats.largest_conference or 0) >= GIANT * (stats.local_endpoints or 0)
    return min(_fullness(stats, policy), 1.0 if one else math.inf)


def _commands(view: View) -> list[Command]:
    rows = view.told.rows
    return [stored.value for stored in rows.commands.values()] if rows is not None else []


def _in_force(view: View) -> list[Command]:
    """Commands in force, unless another one of this tick may end them."""
    commands = _commands(view)
    ending = {CommandKind.CANCEL, CommandKind.RESUME, CommandKind.PROTECT, CommandKind.FLOOR}
    if any(c.state is CommandState.OPEN and c.kind in ending for c in commands):
        return []
    now = view.told.now
    return [
        c
        for c in commands
        if c.state is CommandState.IN_FORCE and (c.expires_at is None or now < c.expires_at)
    ]


def _may_be_paused(view: View) -> bool:
    """A word of this tick may have paused it."""
    return any(c.kind is CommandKind.PAUSE and c.is_open for c in _commands(view))


def _is_paused(view: View) -> bool:
    """It was paused when the tick began, and nothing ends that in it."""
    return any(c.kind is CommandKind.PAUSE for c in _in_force(view))


def _floor(view: View) -> int:
    """The highest floor that holds all the time."""
    floors = (c.minimum or 0 for c in _in_force(view) if c.kind is CommandKind.FLOOR and c.from_time is None)
    return max(floors, default=0)


def _highest_floor(view: View) -> int:
    """No minimum is higher, whichever of the floors hold now."""
    floors = (c for c in _commands(view) if c.kind is CommandKind.FLOOR and c.is_open)
    return max((c.minimum or 0 for c in floors), default=0)


def _failed(*terms: tuple[bool, str]) -> list[str]:
    return [text for holds, text in terms if not holds]
