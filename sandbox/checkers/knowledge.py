"""
KNOWLEDGE: what the engine did, judged on what it had been told.

A second reading of the rules, written apart from the engine: from the answers of the tick, the rows
that were loaded in it, and the fresh report before the act. Where the engine is allowed to refuse
more than the rules, nothing is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.checkers import night
from sandbox.checkers.court import Court
from sandbox.checkers.told import View, is_empty, judges_age, says_open
from sandbox.memory_store import MemoryStore
from sandbox.witness import Act, Told
from scaler.model import BridgeMemory, CommandKind, CommandState, Phase, Poll, Power, Purpose, Reach
from scaler.policy import ScalingPolicy
from scaler.tick import Report

NAME = "knowledge"
AS_FRESH_AS = timedelta(seconds=10)
CLEAN_UP_PACE = timedelta(minutes=10)
TWO_POLLS_APART = timedelta(seconds=10)
TWO_REFUSALS_APART = timedelta(seconds=30)
DOWN_FOR_GOOD = timedelta(minutes=5)
QUIET_FOR = timedelta(minutes=30)
QUIET_MBPS = 0.05
LONGEST_GAP = timedelta(minutes=5)
_LEAVING = (Phase.FENCED, Phase.DELETING)


@dataclass(slots=True)
class _Seen:
    """What this checker itself remembers of one machine between ticks."""

    polled_at: datetime | None = None
    """When its newest answer came, or did not come."""
    stats_at: datetime | None = None
    """Newest timestamp of its statistics before this tick."""
    drained_at: datetime | None = None
    """When it was first drained by us, or first said so, since it last said that it is not drained."""
    empty_since: datetime | None = None
    created: int | None = None
    down_since: datetime | None = None
    """Since when its port was refused, or ARM said that it does not run, with nothing answering between."""
    silent_since: datetime | None = None
    """Since when nothing answers on it, or it is switched off."""
    quiet_since: datetime | None = None
    quiet_at: datetime | None = None
    """Since when, and when last, Azure Monitor told that next to nothing leaves it, with no long gap."""
    drained_by_us: bool = False
    """It was asked to drain, and not since to accept."""
    was_fenced: bool = False
    """It was told to shut down at some time."""
    replaced: bool = False
    """An operator had it deleted, and nothing answered since: what Azure kept is asked for again."""
    let_go: bool = False
    """Fenced, or given up by an operator, and nothing answered since as if it were not."""


@dataclass(slots=True)
class _Pace:
    drained: set[str] = field(default_factory=set)
    """Machines that were newly drained in this tick."""
    deletes: int = 0
    scaled_out: bool = False


@dataclass(slots=True)
class KnowledgeChecker:
    """No drain, fence, clean-up, delete or purchase against the rules' terms."""

    store: MemoryStore
    shard: str
    policy: ScalingPolicy
    court: Court
    slack: Callable[[], timedelta] = timedelta
    """How much two clocks may differ: what lasted 30 s by one may have lasted less by another."""
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _pace: _Pace = field(default_factory=_Pace)
    _heard: Told | None = None
    """The tick whose answers stand in the memory."""
    _stats_before: dict[str, datetime | None] = field(default_factory=dict)
    _last_clean_up: datetime | None = None
    _proved: set[str] = field(default_factory=set)
    """Image versions of which a bridge was ever told to accept."""
    _cleaned: set[str] = field(default_factory=set)
    """Machines whose clean-up has begun: going on with it is no second one."""

    # The checker's own part

    def before(self, act: Act, told: Told) -> None:
        """Judge one act."""
        self._hear(told)
        view = View(told, self.policy, self._stats_before)
        for objection in self._objections(act, view):
            self.court.accuse(NAME, f"{act.verb} {act.name or act.capacity}: {objection}")
        self._note(act, view)

    def _objections(self, act: Act, view: View) -> list[str]:
        if act.verb == "scale_out":
            return self._against_purchase(act, view)
        if act.verb in ("start_build", "prune_image"):
            return []
        if act.verb == "set_image":
            state = self.store.table(self.shard).states.get("state")
            return night.against_image(
                act, view, state.value.night if state else None, self.policy, self._proved
            )
        row = self._row(act.vm_id)
        if row is None:
            return ["there is no row of it"]
        if act.verb == "delete":
            return self._against_delete(act, view, row)
        if act.verb == "shut_down":
            return self._against_fence(act, view, row)
        return self._against_drain(act, view, row) if act.on else self._against_undrain(act, view, row)

    def _row(self, vm_id: str) -> BridgeMemory | None:
        stored = self.store.table(self.shard).bridges.get(vm_id)
        return stored.value if stored is not None else None

    def _note(self, act: Act, view: View) -> None:
        """Remember what later acts are judged by."""
        if act.verb == "scale_out":
            self._pace.scaled_out = bool(view.new_intents(self.store.table(self.shard)))
            return
        if not act.vm_id:
            return
        seen = self._seen.setdefault(act.vm_id, _Seen())
        if act.verb == "set_drain":
            seen.drained_by_us = act.on
            if act.on:
                self._note_drain(seen, act, view)
        elif act.verb == "shut_down":
            seen.let_go = seen.was_fenced = True
        elif act.verb == "delete":
            self._pace.deletes += 1
            seen.replaced = seen.replaced or self._commanded(act, CommandKind.REPLACE)
            seen.let_go = seen.let_go or seen.replaced
        row = self._row(act.vm_id)
        cleans_up = act.verb in ("delete", "shut_down") and not seen.replaced
        if cleans_up and row is not None and not row.ever_ready:
            if act.vm_id not in self._cleaned:
                self._last_clean_up = act.host_now
            self._cleaned.add(act.vm_id)

    def _note_drain(self, seen: _Seen, act: Act, view: View) -> None:
        if not view.was_our_drain(act.vm_id):
            self._pace.drained.add(act.vm_id)
        seen.drained_at = seen.drained_at or act.at

    def after_tick(self, told: Told, report: Report | None) -> None:
        """Take the answers of a tick without acts into the memory."""
        self._hear(told)
        if report is not None and self._heard is told:
            self._learn_life(told)

    def _hear(self, told: Told) -> None:
        """
        Take the answers of the tick into the memory, once: they come before its first act.

        Of a tick that stood still while another went on only those are new that came later and were
        written: nobody knows the others.
        """
        if self._heard is told or told.lease is None:
            return
        if self._heard is not None and told.began < self._heard.began:
            self._learn_polls(told, late=True)
            return
        self._heard, self._pace = told, _Pace()
        self._stats_before = {vm_id: seen.stats_at for vm_id, seen in self._seen.items()}
        self._learn_polls(told, late=False)
        for instance in told.instances:
            if instance.power is Power.STOPPED:
                seen = self._seen.setdefault(instance.vm_id, _Seen())
                seen.down_since = seen.down_since or told.now
        view = View(told, self.policy, self._stats_before)
        self._learn_death(view)
        if self.policy.image_definition_id is not None:
            self._proved |= {image for vm_id in view.accepting() if (image := view.listed[vm_id].image)}
        if told.instances:
            # A machine that one list lacks and a stale one shows again is the same, while its row stands.
            known = {each.vm_id for each in told.instances} | self.store.table(self.shard).bridges.keys()
            self._seen = {vm_id: seen for vm_id, seen in self._seen.items() if vm_id in known}

    def _learn_death(self, view: View) -> None:
        told = view.told
        for vm_id, instance in view.listed.items():
            seen, poll = self._seen.setdefault(vm_id, _Seen()), told.polls.get(vm_id)
            asked_in_vain = poll is not None and poll.reach in (Reach.REFUSED, Reach.TIMED_OUT)
            if asked_in_vain or instance.power is Power.STOPPED:
                seen.silent_since = seen.silent_since or told.now
            load = told.platform.get(vm_id)
            if load is not None and load.out_mbps is not None and load.out_mbps < QUIET_MBPS:
                watched = seen.quiet_at is not None and told.now - seen.quiet_at <= LONGEST_GAP + self.slack()
                seen.quiet_since = seen.quiet_since if watched else None
                seen.quiet_since, seen.quiet_at = seen.quiet_since or told.now, told.now

    def _learn_life(self, told: Told) -> None:
        """What showed in a tick that was killed may be known to nobody: only one that ended tells of life."""
        for vm_id in told.polls.keys() & self._seen.keys():
            seen, load = self._seen[vm_id], told.platform.get(vm_id)
            if told.polls[vm_id].reach in (Reach.ANSWERED, Reach.BROKEN):
                seen.silent_since = None
            if load is not None and load.out_mbps is not None and load.out_mbps >= QUIET_MBPS:
                seen.quiet_since = seen.quiet_at = None

    def _learn_polls(self, told: Told, *, late: bool) -> None:
        for vm_id, poll in told.polls.items():
            seen = self._seen.setdefault(vm_id, _Seen())
            newer = seen.polled_at is None or poll.at > seen.polled_at
            if not late or (newer and self._row(vm_id) == told.rows_put.get(vm_id)):
                seen.polled_at = poll.at
                self._learn(seen, poll)

    def _learn(self, seen: _Seen, poll: Poll) -> None:
        if poll.reach is Reach.REFUSED:
            seen.down_since = seen.down_since or poll.at
        elif poll.reach in (Reach.ANSWERED, Reach.BROKEN):
            seen.down_since = None
        if poll.stats is None:
            return
        seen.stats_at = poll.stats.timestamp
        if not poll.stats.graceful_shutdown and not poll.stats.shutting_down:
            seen.let_go = seen.replaced = False
        if poll.drain is not None:
            seen.drained_at = (seen.drained_at or poll.at) if poll.drain else None
        if poll.drain is not True or not is_empty(poll):
            seen.empty_since = None
        elif seen.empty_since is None or seen.created != poll.stats.total_conferences_created:
            seen.empty_since = poll.at
        seen.created = poll.stats.total_conferences_created

    # The terms

    def _against_scale_in(self, act: Act, view: View) -> list[str]:
        """What holds for drain and fence alike."""
        minimum, vm_id = max(1, self.policy.min_bridges), act.vm_id
        healthy, others = len(view.healthy()), view.accepting_without(vm_id)
        return _failed(
            (vm_id in view.listed, "ARM did not list it"),
            (vm_id in view.healthy(), "it was not told healthy"),
            (healthy > minimum, f"{healthy} healthy, minimum {minimum}"),
            (others >= minimum, f"{others} others accept, {minimum} needed"),
            (len(view.staying()) - 1 >= self.policy.min_bridges, "too few machines would remain"),
            (not view.is_blind(), "blind"),
        )

    def _against_drain(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        if view.was_our_drain(act.vm_id):
            return []  # asked again: nothing new is taken away
        report = view.fresh_report(act, AS_FRESH_AS)
        if row.purpose is Purpose.OPERATOR:
            return self._against_commanded_drain(act, view, report)
        found = self._against_scale_in(act, view) + night.against_trial(view)
        found += _failed(
            (not view.lacking(), "the list lacks a machine"),
            (report is not None and says_open(report), "no fresh report of a bridge that is open"),
            (not view.is_hot(), "a new drain while a bridge is over its people"),
        )
        if row.purpose is Purpose.RECYCLE:
            drained = self._pace.drained
            return found + night.against_drain(act, view, self.policy, drained, self.slack())
        found += _failed(
            (not self._pace.drained, "a second new drain in one tick"),
            (not self._pace.scaled_out, "a new drain in a tick that scales out"),
            (not view.creations_in_flight(), "a new drain while a machine boots"),
        )
        return found + self._against_purpose(act, view, row, report)

    def _commanded(self, act: Act, kind: CommandKind) -> bool:
        rows = self.store.table(self.shard).commands.values()
        return any(
            row.value.vm_id == act.vm_id and row.value.kind is kind and row.value.state is CommandState.OPEN
            for row in rows
        )

    def _against_commanded_drain(self, act: Act, view: View, report: Poll | None) -> list[str]:
        """An operator may drain any bridge while another accepts: that ends no call."""
        loaded = view.rows.get(act.vm_id)
        drains = loaded is not None and loaded.phase is Phase.DRAINING
        return _failed(
            # One that somebody else has just drained may be made the operator's own.
            (drains or (report is not None and report.reach is Reach.ANSWERED), "no fresh report"),
            (drains or self._commanded(act, CommandKind.DRAIN), "nobody commanded it"),
            (drains or view.accepting_without(act.vm_id) >= 1, "no other bridge accepts"),
            (not self._pace.drained, "a second new drain in one tick"),
            (not view.is_blind(), "blind"),
        )

    def _against_purpose(self, act: Act, view: View, row: BridgeMemory, report: Poll | None) -> list[str]:
        if row.purpose is Purpose.TEAR_DOWN:
            return self._against_literal(act, view, row, report)
        older = [name for name in view.older_live(act.vm_id) if not view.leaves(name)]
        limit = self.policy.draining_limit(len(view.staying()))
        return _failed(
            (row.purpose is Purpose.SURPLUS, f"purpose {row.purpose}"),
            (not older, f"{len(older)} older ones do not drain"),
            (view.our_drains() < limit, f"{view.our_drains()} drain already, at most {limit}"),
        )

    def _against_literal(self, act: Act, view: View, row: BridgeMemory, report: Poll | None) -> list[str]:
        """The owner's rule: idle, old enough, the oldest (more than one healthy is judged before)."""
        slack = self.slack()
        return _failed(
            (report is not None and is_empty(report), "no fresh report that it is empty"),
            (judges_age(view, act.vm_id, row, report, self.policy, slack), "it is not old enough"),
            (not view.older_in_the_way(act.vm_id), "it is not the oldest"),
        )

    def _against_undrain(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        loaded = view.rows.get(act.vm_id)
        foreign = loaded is not None and (
            loaded.purpose is Purpose.FOREIGN or (loaded.purpose is Purpose.OPERATOR and loaded.wanted_drain)
        )
        opened = loaded is not None and loaded.phase is Phase.DRAINING and foreign
        leaving = loaded is not None and loaded.phase in (Phase.FENCED, Phase.DELETING)
        # One that never was ready and whose fence did not reach it goes back to failed, and may join late.
        back = row.phase is Phase.READY or (row.phase is Phase.FAILED and not row.ever_ready)
        return _failed(
            (not opened or back or self._commanded(act, CommandKind.UNDRAIN), "it is not our drain"),
            (not leaving or back, "it is fenced"),
        )

    def _against_fence(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        report = view.fresh_report(act, AS_FRESH_AS)
        seen = self._seen.get(act.vm_id, _Seen())
        empty_for = act.host_now - seen.empty_since if seen.empty_since else timedelta(0)
        stats = report.stats if report is not None else None
        found = _failed(
            (not view.lacking(), "the list lacks a machine"),
            (report is not None and report.drain is True, "no fresh report that it is drained"),
            (report is not None and is_empty(report), "no fresh report that it is empty"),
            (empty_for >= TWO_POLLS_APART - self.slack(), "not found empty in two polls"),
            (
                stats is not None and stats.total_conferences_created == seen.created,
                "a conference came and went",
            ),
            (not view.is_blind(), "blind"),
        )
        if not row.ever_ready:
            return found + self._against_clean_up(act, view, row)
        settled = (
            seen.drained_at is not None
            and act.at - seen.drained_at >= timedelta(seconds=self.policy.settle_seconds) - self.slack()
        )
        found += _failed(
            (settled, "not settled"),
            (seen.drained_by_us, "the drain is not ours"),
            (bool(stats and stats.mucs_joined), "it is not in its MUC"),
        )
        found += self._against_scale_in(act, view) + night.against_trial(view)
        return found + self._against_literal(act, view, row, report)

    def _against_delete(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        report = view.fresh_report(act, AS_FRESH_AS)
        if self._commanded(act, CommandKind.REPLACE):
            return self._against_replacing(act, view, report)
        if not self._is_dead(act, row):
            return self._against_exit(act, view, row, report)
        against = self._against_replacing_dead(act, view, report)
        # It may also have been seen to end.
        return against if against and self._against_exit(act, view, row, report) else []

    def _against_exit(self, act: Act, view: View, row: BridgeMemory, report: Poll | None) -> list[str]:
        instance = view.listed.get(act.vm_id)
        refused = report is not None and report.reach is Reach.REFUSED
        stopped = instance is not None and _has_no_host(view, act.vm_id)
        found = _failed(
            (instance is not None, "ARM did not list it"),
            (refused or stopped, "nothing proves that its process is gone"),
            (self._pace.deletes == 0, "a second delete in one tick"),
            (not view.is_blind(), "blind"),
        )
        seen = self._seen.get(act.vm_id, _Seen())
        down_for = act.host_now - seen.down_since if seen.down_since else timedelta(0)
        twice = down_for >= TWO_REFUSALS_APART - self.slack()
        found += _failed((stopped or twice, f"refused for {down_for.total_seconds():.0f} s only"))
        if not row.ever_ready:
            return found + ([] if seen.replaced else self._against_clean_up(act, view, row))
        # What answered to a tick that died before it wrote a line is known to nobody.
        told_by_rows = seen.was_fenced and row.fenced_at is not None
        # A fence that may not have been sent: nothing started it again for minutes.
        enough = TWO_REFUSALS_APART if told_by_rows else DOWN_FOR_GOOD
        given_up = row.phase in _LEAVING and down_for >= enough - self.slack()
        return found + _failed(
            (seen.let_go or given_up, "it was never fenced"),
            (view.accepting_without(act.vm_id) >= 1, "no other bridge accepts"),
        )

    def _is_dead(self, act: Act, row: BridgeMemory) -> bool:
        """Silent, and quiet for Azure Monitor, for as long as the operator demands."""
        seen, minutes = self._seen.get(act.vm_id, _Seen()), self.policy.replace_dead_after_minutes
        if minutes is None or not row.ever_ready:
            return False
        if seen.silent_since is None or seen.quiet_since is None or seen.quiet_at is None:
            return False
        silent_for, quiet_for = act.host_now - seen.silent_since, act.host_now - seen.quiet_since
        is_quiet = act.host_now - seen.quiet_at <= LONGEST_GAP + self.slack()
        long_enough = timedelta(minutes=minutes) - self.slack()
        return is_quiet and silent_for >= long_enough and quiet_for >= QUIET_FOR - self.slack()

    def _against_replacing_dead(self, act: Act, view: View, report: Poll | None) -> list[str]:
        others = view.accepting_without(act.vm_id)
        return self._against_replacing(act, view, report) + _failed((others >= 2, f"{others} others accept"))

    def _against_replacing(self, act: Act, view: View, report: Poll | None) -> list[str]:
        """The operator's word stands for the exit, unless something answers."""
        instance = view.listed.get(act.vm_id)
        stopped = instance is not None and instance.power is Power.STOPPED
        silent = report is not None and report.reach in (Reach.REFUSED, Reach.TIMED_OUT)
        return _failed(
            (instance is not None, "ARM did not list it"),
            (silent or stopped, "something answers on it"),
            (self._pace.deletes == 0, "a second delete in one tick"),
            (not view.is_blind(), "blind"),
        )

    def _against_clean_up(self, act: Act, view: View, row: BridgeMemory) -> list[str]:
        last, asked = self._last_clean_up, row.asked_at or row.first_seen
        begun = last is None or act.vm_id in self._cleaned
        paced = begun or (last is not None and act.host_now - last >= CLEAN_UP_PACE - self.slack())
        overdue = act.host_now - asked >= self.policy.boot_timeout - self.slack()
        loaded = view.rows.get(act.vm_id)
        goes_on = loaded is not None and loaded.phase in _LEAVING
        return _failed(
            (row.asked_by is not None, "a machine that we did not ask for"),
            (not row.may_be_anothers, "a machine that may be another's"),
            (goes_on or not view.lacking(), "the list lacks a machine"),
            (overdue, "its boot deadline has not passed"),
            (paced, "a second clean-up in 10 min"),
            (view.has_witness(act.vm_id) or _has_no_host(view, act.vm_id), "no other bridge answered"),
        )

    def _against_purchase(self, act: Act, view: View) -> list[str]:
        table = self.store.table(self.shard)
        intents = [row.value for row in table.intents.values() if row.value.is_open]
        new = view.new_intents(table)
        scale_set = view.told.scale_set
        if scale_set is None:
            return ["the scale set was not told"]
        if not new:
            return _failed(
                (self.policy.repair_capacity, "a repair that is not allowed"),
                (not any(map(view.may_come_of, intents)), "a repair with machines on the way"),
                (not view.lacking(), "a repair while the list lacks a machine"),
            )
        of_no_use = any(view.is_bad(vm_id) or view.is_retired(vm_id) for vm_id in view.listed)
        fewest, most = len(view.staying()), len(view.listed)
        found = night.against_purchase(view, new)
        most_bridges = self.policy.max_bridges + of_no_use + night.surge_allowed(view, self.policy)
        return found + _failed(
            (act.capacity == scale_set.capacity + len(new), f"{len(new)} intents on {scale_set.capacity}"),
            # An intent may have ended in this very tick, which its row does not show yet.
            (fewest + len(new) <= act.capacity <= most + len(intents), "on a wrong base"),
            (act.capacity <= most_bridges, f"over the maximum {self.policy.max_bridges}"),
            (len(new) <= self.policy.max_scale_out_step, "more than a step"),
            (not view.is_blind() or len(new) == 1, "blind, and more than one"),
        )


def _has_no_host(view: View, vm_id: str) -> bool:
    """ARM's own word that nothing can run there."""
    instance = view.listed.get(vm_id)
    if instance is None or instance.power is Power.RUNNING:
        return False
    return instance.power is Power.STOPPED or (instance.error or "").startswith("AllocationFailed")


def _failed(*terms: tuple[bool, str]) -> list[str]:
    return [text for holds, text in terms if not holds]
