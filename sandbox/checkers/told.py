"""One tick as the engine was told it: who was healthy, who accepted, who was the oldest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sandbox.memory_store import Shard
from sandbox.witness import Act, Told
from scaler.model import (
    BridgeMemory,
    BridgeStats,
    CreateIntent,
    Instance,
    Night,
    Phase,
    Poll,
    Power,
    Purpose,
    Reach,
    ShardMemory,
)
from scaler.policy import ScalingPolicy

BLIND_FROM = 2
JUST_NOW = timedelta(seconds=10)
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_OURS = (Purpose.TEAR_DOWN, Purpose.SURPLUS, Purpose.RECYCLE)


def is_empty(poll: Poll) -> bool:
    """It said that it carries nothing."""
    stats = poll.stats
    return stats is not None and stats.conferences == 0 and stats.local_endpoints == 0


def says_open(poll: Poll) -> bool:
    """It said that it is not drained, in its statistics where its drain endpoint fails."""
    said = poll.stats.drain if poll.drain is None and poll.stats is not None else poll.drain
    return said is False


def judges_age(
    view: View, vm_id: str, row: BridgeMemory, report: Poll | None, policy: ScalingPolicy, slack: timedelta
) -> bool:
    """Machine and process are both older than the rule asks."""
    instance = view.listed.get(vm_id)
    created = instance.time_created if instance is not None else None
    started = report.process_started_at if report is not None else row.process_started_at
    if created is None:
        return False
    youngest = max(created, started or created)
    return view.told.now - youngest > timedelta(minutes=policy.uptime_minutes) - slack


class View:
    """Reads one tick's answers by the rules' words."""

    def __init__(
        self, told: Told, policy: ScalingPolicy, stats_before: Mapping[str, datetime | None]
    ) -> None:
        """`stats_before`: newest timestamp of each machine's statistics before this tick."""
        self.told = told
        self.listed: dict[str, Instance] = {each.vm_id: each for each in told.instances}
        rows = told.rows.bridges if told.rows is not None else {}
        self.rows: dict[str, BridgeMemory] = {vm_id: row.value for vm_id, row in rows.items()}
        self._policy, self._before = policy, stats_before

    def poll(self, vm_id: str) -> Poll | None:
        """What it answered to the poll of all."""
        return self.told.polls.get(vm_id)

    def fresh_report(self, act: Act, within: timedelta) -> Poll | None:
        """The report of one bridge that came last, if it is young enough for an act."""
        found = self.told.reads.get(act.vm_id)
        return found[1] if found is not None and act.at - found[0] <= within else None

    def lacking(self) -> set[str]:
        """Machines that the list before had, and that nobody deletes: this one may be stale."""
        stood = {
            vm_id
            for vm_id, row in self.rows.items()
            if row.phase is not Phase.DELETING and row.unlisted_since is None
        }
        return stood - self.listed.keys()

    def healthy(self) -> set[str]:
        """Machines with every sign of health."""
        return {vm_id for vm_id in self.listed if self._is_healthy(vm_id)}

    def _is_healthy(self, vm_id: str) -> bool:
        instance, poll = self.listed[vm_id], self.poll(vm_id)
        if poll is None or poll.stats is None or poll.reach is not Reach.ANSWERED:
            return False
        stats, before = poll.stats, self._before.get(vm_id)
        row = self.rows.get(vm_id)
        same = row is not None and row.stats_timestamp == before
        return (
            instance.provisioning not in ("Creating", "Deleting")
            and instance.power is Power.RUNNING
            and poll.health_ok is True
            and poll.supported
            and (before is None or not same or stats.timestamp > before or _is_another(row, poll))
            and stats.conferences is not None
            and stats.local_endpoints is not None
            and stats.healthy is not False
            and bool(stats.muc_clients_connected)
            and bool(stats.mucs_joined)
            and not stats.graceful_shutdown
            and not stats.shutting_down
        )

    def accepting(self) -> set[str]:
        """Healthy ones that say that they are open, and that we do not take away."""
        return {vm_id for vm_id in self.healthy() if self._is_open(vm_id)}

    def _is_open(self, vm_id: str) -> bool:
        poll, row = self.poll(vm_id), self.rows.get(vm_id)
        if poll is None or poll.drain is not False:
            return False
        fenced = row is not None and row.phase in (Phase.FENCED, Phase.DELETING)
        leaving = fenced and not self._came_back(vm_id)
        drained = self.was_our_drain(vm_id) and not _is_another(row, poll)
        return not leaving and not drained

    def accepting_without(self, vm_id: str) -> int:
        """How many others accept."""
        return len(self.accepting() - {vm_id})

    def was_our_drain(self, vm_id: str) -> bool:
        """The row that was loaded wants it drained."""
        row = self.rows.get(vm_id)
        return row is not None and row.phase is Phase.DRAINING and row.wanted_drain

    def our_drains(self) -> int:
        """How many drains of ours are in force: one that is lost by a restart no longer is."""
        return sum(self.is_our_drain(vm_id) for vm_id in self.listed if not self.is_condemned(vm_id))

    def is_our_drain(self, vm_id: str) -> bool:
        """A drain of ours is in force, as far as its row and its answer tell."""
        row, poll = self.rows.get(vm_id), self.poll(vm_id)
        ours = row is not None and self.was_our_drain(vm_id) and row.purpose in _OURS
        return (
            ours
            and not self._is_unsupported(vm_id)
            and (poll is None or (poll.drain is not False and not _is_another(row, poll)))
        )

    def staying(self) -> set[str]:
        """Machines that nobody deletes."""
        leaving = {vm_id for vm_id, row in self.rows.items() if row.phase is Phase.DELETING}
        return {vm_id for vm_id, each in self.listed.items() if not each.is_deleting} - leaving

    def leaves(self, vm_id: str) -> bool:
        """It drains, for whatever purpose, or is further on its way out."""
        row, poll = self.rows.get(vm_id), self.poll(vm_id)
        drained = poll is not None and poll.drain is True
        return drained or (row is not None and row.phase in (Phase.DRAINING, Phase.FENCED, Phase.DELETING))

    def is_bad(self, vm_id: str) -> bool:
        """Bad in as many of the last polls as make it unhealthy; statistics of doubtful age may be bad."""
        row = self.rows.get(vm_id)
        good = self._is_healthy(vm_id) and self._is_news(vm_id)
        polls = ((row.polls if row is not None else "") + ("1" if good else "0"))[-5:]
        return polls.count("0") >= self._policy.unhealthy_polls

    def older_in_the_way(self, vm_id: str) -> list[str]:
        """Older ones that must go first: all, or with `oldest_among: idle` those that are empty or leave."""
        older = self.older_live(vm_id)
        if self._policy.oldest_among == "all":
            return older
        return [each for each in older if self._is_idle_or_going(each)]

    def _is_idle_or_going(self, vm_id: str) -> bool:
        poll, row = self.poll(vm_id), self.rows.get(vm_id)
        fenced = row is not None and row.phase in (Phase.FENCED, Phase.DELETING)
        going = fenced and not self._came_back(vm_id)
        idle = poll is not None and vm_id in self.healthy() and is_empty(poll)
        return going or (idle and self._is_news(vm_id))

    def _came_back(self, vm_id: str) -> bool:
        """It was fenced, and what answers at its address is another process, or does not end."""
        row, poll = self.rows.get(vm_id), self.poll(vm_id)
        if row is None or poll is None or row.phase not in (Phase.FENCED, Phase.DELETING):
            return False
        stats = poll.stats
        goes_on = stats is not None and not stats.graceful_shutdown and not stats.shutting_down
        return goes_on or _is_another(row, poll)

    def older_live(self, vm_id: str) -> list[str]:
        """Bridges that count for 'oldest' and are older than this one."""
        mine = self.age(vm_id)
        return [
            each for each in self.listed if each != vm_id and self.age(each) < mine and self._is_live(each)
        ]

    def age(self, vm_id: str) -> tuple[datetime, str]:
        """What sorts machines oldest first."""
        instance = self.listed.get(vm_id)
        if instance is None:
            return (_BEGINNING, "")
        return (instance.time_created or _BEGINNING, instance.name)

    def _is_live(self, vm_id: str) -> bool:
        row = self.rows.get(vm_id)
        if row is None or not row.ever_ready or self._is_unsupported(vm_id):
            return False
        if row.phase in (Phase.BOOTING, Phase.FAILED):
            return False
        fenced = row.phase in (Phase.FENCED, Phase.DELETING)
        return (fenced and not self._came_back(vm_id)) or not self.is_bad(vm_id)

    def _is_unsupported(self, vm_id: str) -> bool:
        """Too old a JVB to be drained, by what it answered in this tick, else by its row."""
        row, poll = self.rows.get(vm_id), self.poll(vm_id)
        if poll is not None and poll.reach is Reach.ANSWERED:
            return not poll.supported
        return row is not None and row.unsupported

    def state(self) -> ShardMemory | None:
        """What was remembered of the shard when the tick began."""
        stored = self.told.rows.state if self.told.rows is not None else None
        return stored.value if stored is not None else None

    def night(self) -> Night | None:
        """The night that was open when the tick began."""
        state = self.state()
        return state.night if state is not None and state.night.is_open else None

    def is_on_trial(self) -> bool:
        """A machine was asked for as the canary of the night, and its verdict is not written yet."""
        night = self.night()
        if night is None or night.passed_at is not None or night.opened_at is None or self.told.rows is None:
            return False
        opened_at, target = night.opened_at, night.target
        asked = [row.value for row in self.told.rows.intents.values()]
        return any(
            intent.asked_at >= opened_at
            and (target is None or intent.image == target)
            and self.may_come_of(intent)
            for intent in asked
        )

    def was_not_taken(self, intent: CreateIntent) -> bool:
        """No answer came to its write, and the capacity shows none of it."""
        known = self.told.scale_set
        unseen = intent.operation is None and not intent.taken
        return unseen and known is not None and known.capacity < intent.capacity

    def may_come_of(self, intent: CreateIntent) -> bool:
        """It waits for its machine, also by what was told in this tick."""
        came = [vm_id for vm_id, row in self.rows.items() if row.asked_by == intent.intent_id]
        if intent.vm_id is None and came and not self.listed.keys() & came:
            return False  # it came, and is gone again
        if intent.vm_id is None:
            operation = self.told.operations.get(intent.operation or "")
            failed = operation is not None and operation.error is not None
            # A machine that ARM could not make, and that no row knows yet, may be what came of it.
            refused = any(_broken(each) for vm_id, each in self.listed.items() if vm_id not in self.rows)
            not_taken = self.was_not_taken(intent)
            late = self.told.now - intent.asked_at >= self._policy.boot_timeout
            return intent.is_open and intent.error is None and not (failed or refused or not_taken or late)
        instance = self.listed.get(intent.vm_id)
        return instance is not None and not _broken(instance)

    def is_condemned(self, vm_id: str) -> bool:
        """It is made of an image that is blocked."""
        state, instance = self.state(), self.listed.get(vm_id)
        return state is not None and instance is not None and instance.image in state.blocked_images

    def is_retired(self, vm_id: str) -> bool:
        """It is, and we drained it: nobody opens it again."""
        return self.is_condemned(vm_id) and self.was_our_drain(vm_id)

    def recycled(self) -> set[str]:
        """Machines that are on their way out for the night, and that ARM does not delete yet."""
        ways = (Phase.DRAINING, Phase.FENCED, Phase.DELETING)
        return {
            vm_id
            for vm_id in self.staying()
            if (row := self.rows.get(vm_id)) is not None
            and row.purpose is Purpose.RECYCLE
            and row.phase in ways
            and not self.is_condemned(vm_id)
            and not self.is_bad(vm_id)  # one that died waits for a person, and the others not for it
            and not self._drain_was_lost(vm_id)
            and not self._came_back(vm_id)
        }

    def _drain_was_lost(self, vm_id: str) -> bool:
        row, poll = self.rows.get(vm_id), self.poll(vm_id)
        if row is None or poll is None or row.phase is not Phase.DRAINING:
            return False
        return poll.drain is False or _is_another(row, poll)

    def is_due(self, vm_id: str) -> bool:
        """The night is to replace it, or one that must not go before it."""
        night = self.night()
        if night is None:
            return False
        mine = self.age(vm_id)
        return any(
            self.age(each) >= mine and (each == night.oldest or self._is_outdated(instance, night.target))
            for each, instance in self.listed.items()
        )

    def _is_outdated(self, instance: Instance, target: str | None) -> bool:
        model = self.told.scale_set
        reconfigured = model is not None and model.config is not None and instance.config != model.config
        return reconfigured or (target is not None and instance.image != target)

    def new_intents(self, table: Shard) -> list[CreateIntent]:
        """Machines that were asked for under the lease of this tick."""
        epoch = self.told.lease.epoch if self.told.lease is not None else None
        written = (row.value for row in table.intents.values())
        return [intent for intent in written if intent.is_open and intent.epoch == epoch]

    def creations_in_flight(self) -> bool:
        """A machine that we asked for boots, within its deadline."""
        deadline = self._policy.boot_timeout
        for vm_id, row in self.rows.items():
            instance = self.listed.get(vm_id)
            if instance is None or row.phase is not Phase.BOOTING or row.asked_at is None:
                continue
            if (
                vm_id not in self.accepting()
                and self.told.now - row.asked_at < deadline
                and not _broken(instance)
            ):
                return True
        return False

    def is_hot(self) -> bool:
        """An accepting bridge has more people than the policy gives it."""
        most = self._policy.participants_per_bridge
        polls = (self.poll(vm_id) for vm_id in self.accepting() if self._is_news(vm_id))
        people = (poll.stats.local_endpoints for poll in polls if poll is not None and poll.stats is not None)
        return most is not None and any(count is not None and count > most for count in people)

    def news_of(self, vm_id: str) -> BridgeStats | None:
        """Its statistics, where they are of this tick beyond doubt."""
        poll = self.poll(vm_id)
        return poll.stats if poll is not None and self._is_news(vm_id) else None

    def _is_news(self, vm_id: str) -> bool:
        """Beyond doubt its statistics are of this tick: newer than its row's, and of just now."""
        row, poll = self.rows.get(vm_id), self.poll(vm_id)
        if poll is None or poll.stats is None or abs(poll.at - poll.stats.timestamp) > JUST_NOW:
            return False
        if row is None or row.stats_timestamp is None or row.polled_at is None:
            return True
        theirs, ours = poll.stats.timestamp - row.stats_timestamp, poll.at - row.polled_at
        return theirs > timedelta(0) and abs(theirs - ours) <= JUST_NOW  # else a clock was set

    def is_blind(self) -> bool:
        """At least two, and over a third, of the bridges are silent or without their MUC now."""
        joined = self.accepting()  # one that joined a moment ago counts, whatever its row says yet
        asked = [
            vm_id
            for vm_id in self.listed
            if not self._is_unsupported(vm_id) and (vm_id in joined or self._was_in_service(vm_id))
        ]
        asked = [vm_id for vm_id in asked if self.listed[vm_id].power is not Power.STOPPED]
        silent = sum(self._is_silent(vm_id) for vm_id in asked)
        return silent >= BLIND_FROM and silent * 3 > len(asked)

    def _was_in_service(self, vm_id: str) -> bool:
        row = self.rows.get(vm_id)
        if row is None or not row.ever_ready:
            return False
        return row.phase in (Phase.READY, Phase.DRAINING) or self._came_back(vm_id)

    def _is_silent(self, vm_id: str) -> bool:
        poll = self.poll(vm_id)
        if poll is None or poll.reach is not Reach.ANSWERED or poll.stats is None:
            return True
        return not poll.stats.mucs_joined or not poll.stats.muc_clients_connected

    def has_witness(self, vm_id: str) -> bool:
        """Another bridge answered in this tick, or all others are off, or were fenced and ended."""
        running = {each for each, instance in self.listed.items() if instance.power is not Power.STOPPED}
        known = {each for each, row in self.rows.items() if row.ever_ready and each in running}
        ended = {each for each in known if self._has_ended(each)}
        others = (known - ended | self.accepting()) - {vm_id}
        answers = (self.poll(each) for each in others)
        return not others or any(poll is not None and poll.reach is Reach.ANSWERED for poll in answers)

    def _has_ended(self, vm_id: str) -> bool:
        """It was fenced, and refused before and now."""
        row, poll = self.rows[vm_id], self.poll(vm_id)
        refuses = poll is not None and poll.reach is Reach.REFUSED
        return row.phase is Phase.FENCED and row.refused_since is not None and refuses


def _is_another(row: BridgeMemory | None, poll: Poll) -> bool:
    """Another process than the row's: it started at another moment, or counts less than before."""
    if row is None:
        return False
    known, told = row.process_started_at, poll.process_started_at
    if known is not None and told is not None and abs(told - known) > timedelta(seconds=1):
        return True
    return poll.stats is not None and _fell(row, poll.stats)


def _fell(row: BridgeMemory, stats: BridgeStats) -> bool:
    known = (row.totals.conferences_created, row.totals.participants, row.totals.bytes_sent)
    told = (stats.total_conferences_created, stats.total_participants, stats.total_bytes_sent)
    return any(
        was is not None and now is not None and now < was for was, now in zip(known, told, strict=True)
    )


def _broken(instance: Instance) -> bool:
    return instance.provisioning == "Failed" and instance.power is not Power.RUNNING
