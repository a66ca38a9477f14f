"""
Jicofo of one shard: which bridge carries which conference, and what it does when one goes.

It knows a bridge only by its presence, which comes every five seconds, and a request that it
has sent may be under way for seconds more. Between a drain and its effect lies that window.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random

from sandbox.agenda import Agenda
from sandbox.bridge import SimBridge
from sandbox.conference import LiveConference
from sandbox.history import CutCall, CutReason, History
from sandbox.workload import PlannedConference, Workload

PRESENCE_PERIOD_S = 5.0
DELIVERY_S = 0.2
RETRY_S = 10.0
SINGLE_PARTICIPANT_S = 20.0
HEALTH_PERIOD_S = 10.0
FAILURE_RESET_S = 60.0
NOTICE_S = {CutReason.VM_DELETED: 15.0, CutReason.CRASHED: 15.0, CutReason.RESTARTED: 5.0}
"""Until Jicofo takes the calls of a bridge that vanished elsewhere; 0 where it said good-bye."""
SLOW_REQUEST_SHARE = 0.05
AVERAGE_PARTICIPANT_STRESS = 0.01
RAMP_UP_S = 20.0
FEED_AHEAD = timedelta(minutes=10)


@dataclass(slots=True)
class Occupant:
    """A bridge in the MUC, as Jicofo last heard of it."""

    bridge: SimBridge
    operational: bool = True
    drain: bool = True
    """A bridge that has not yet said otherwise counts as draining."""
    graceful: bool = False
    shutting_down: bool = False

    recent: deque[tuple[float, int]] = field(default_factory=deque)
    """(Epoch second, people) sent to it in the last seconds, whose load no stress shows yet."""

    def note_sent(self, at_s: float, people: int) -> None:
        """People are on their way to this bridge."""
        if people:
            self.recent.append((at_s, people))

    def load(self, now_s: float) -> float:
        """Stress, and what was added too recently to show in it."""
        while self.recent and self.recent[0][0] < now_s - RAMP_UP_S:
            self.recent.popleft()
        return self.bridge.stress + AVERAGE_PARTICIPANT_STRESS * sum(people for _, people in self.recent)


class Jicofo:
    """Places the conferences of one shard, with a single bridge for each."""

    def __init__(
        self, scale_set_id: str, agenda: Agenda, history: History, rng: Random, vm_ids: dict[str, str]
    ) -> None:
        """`vm_ids`: name of a bridge -> vmId, for the history; filled by the cloud."""
        self._scale_set_id = scale_set_id
        self._agenda = agenda
        self._history = history
        self._rng = rng
        self._vm_ids = vm_ids
        self._searches = 0
        self.occupants: dict[str, Occupant] = {}
        self.conferences: dict[str, LiveConference] = {}
        """Conferences with people in them, or more to come."""
        self.users_online = 0

    # People

    def follow(self, workload: Workload) -> None:
        """Let the conferences of a workload happen from now on, with those that run already."""
        today = self._agenda.now.date()
        self._begin_day(workload, today - timedelta(days=1))
        self._feed(workload, today)

    def _feed(self, workload: Workload, day: date) -> None:
        self._begin_day(workload, day)
        tomorrow = day + timedelta(days=1)
        midnight = datetime.combine(tomorrow, time(), UTC)
        self._agenda.at((midnight - FEED_AHEAD).timestamp(), self._feed, workload, tomorrow)

    def _begin_day(self, workload: Workload, day: date) -> None:
        for planned in workload.day(day):
            if planned.end > self._agenda.now:
                self._agenda.at(planned.first_join.timestamp(), self.begin, planned)

    def begin(self, planned: PlannedConference) -> None:
        """The first people of a conference arrive."""
        conference = LiveConference(planned)
        if conference.name in self.conferences:
            conference.name = f"{conference.name}+{self._agenda.now_s:.3f}+{len(self.conferences)}"
        self.conferences[conference.name] = conference
        self._step(conference)

    def _step(self, conference: LiveConference) -> None:
        """People come and go: tell the bridge, or look for one."""
        came, left = conference.take_changes(self._agenda.now_s)
        self.users_online += came - left
        if conference.bridge is not None:
            self._resize(conference, conference.bridge, came)
        elif not conference.placing and conference.people >= 2:
            self._place(conference)
        next_change_s = conference.next_change_s
        if next_change_s is not None:
            self._agenda.at(next_change_s, self._step, conference)
        elif conference.people == 0:
            del self.conferences[conference.name]

    def _resize(self, conference: LiveConference, bridge: SimBridge, came: int) -> None:
        if conference.people == 0:
            bridge.remove(conference)
            return
        bridge.resize(conference, came)
        if (occupant := self.occupants.get(bridge.name)) is not None:
            occupant.note_sent(self._agenda.now_s, came)
        if conference.people == 1:
            self._agenda.after(SINGLE_PARTICIPANT_S, self._end_if_single, conference)

    def _end_if_single(self, conference: LiveConference) -> None:
        if conference.people < 2 and conference.bridge is not None:
            conference.bridge.remove(conference)

    # Placement

    def select(self) -> Occupant | None:
        """The bridge for a new conference: hard filters, then soft ones, then the least load."""
        candidates = [o for o in self.occupants.values() if o.operational and not o.shutting_down]
        candidates = [o for o in candidates if not o.drain] or candidates
        candidates = [o for o in candidates if not o.graceful] or candidates
        return min(candidates, key=lambda o: o.load(self._agenda.now_s), default=None)

    def _place(self, conference: LiveConference, refused_by: Occupant | None = None) -> None:
        """Ask the best bridge, or wait when there is none but the one that just refused."""
        search = self._new_search(conference)
        chosen = self.select()
        if chosen is None or chosen is refused_by:
            if conference.waiting_since_s is None:
                conference.waiting_since_s = self._agenda.now_s
            self._agenda.after(RETRY_S, self._retry, conference, search)
        else:
            chosen.note_sent(self._agenda.now_s, conference.people)
            self._agenda.after(self._flight_seconds(), self._arrive, conference, search, chosen)

    def _new_search(self, conference: LiveConference) -> int:
        self._searches += 1
        conference.placing = self._searches
        return self._searches

    def _flight_seconds(self) -> float:
        """A request takes a moment; now and then almost until Jicofo's time-out of 15 s."""
        if self._rng.random() < SLOW_REQUEST_SHARE:
            return self._rng.uniform(0.5, 15.0)
        return self._rng.uniform(0.05, 0.5)

    def _retry(self, conference: LiveConference, search: int) -> None:
        if conference.placing != search:
            return
        if conference.people < 2:
            self._end_search(conference)
        else:
            self._place(conference)

    def _arrive(self, conference: LiveConference, search: int, chosen: Occupant) -> None:
        """The request reaches the bridge, which may have changed since it was sent."""
        if conference.placing != search:
            return
        if conference.people < 2:
            self._end_search(conference)
        elif self.occupants.get(chosen.bridge.name) is not chosen:
            self._place(conference)
        elif not chosen.bridge.accepts:
            chosen.graceful = True
            self._place(conference, refused_by=chosen)
        else:
            self._carry(conference, chosen)

    def _carry(self, conference: LiveConference, chosen: Occupant) -> None:
        self._end_search(conference)
        chosen.bridge.add(conference)
        if not conference.served:
            conference.served = True
            self._history.calls_served += 1
        if chosen.shutting_down or not chosen.operational:
            self._move(chosen.bridge, CutReason.MOVED if chosen.shutting_down else CutReason.UNHEALTHY)

    def _end_search(self, conference: LiveConference) -> None:
        conference.placing = 0
        if conference.waiting_since_s is not None:
            self._history.calls_waited_s += self._agenda.now_s - conference.waiting_since_s
            conference.waiting_since_s = None

    def arrive_now(self, planned: PlannedConference, bridge: SimBridge) -> None:
        """A request that was under way since before the bridge drained reaches it in this moment."""
        occupant = self.occupants.get(bridge.name)
        if occupant is None:
            return
        conference = LiveConference(planned)
        self.conferences[conference.name] = conference
        came, left = conference.take_changes(self._agenda.now_s)
        self.users_online += came - left
        self._carry(conference, occupant)
        if conference.people == 0:
            del self.conferences[conference.name]
            if conference.bridge is bridge:
                bridge.remove(conference)
        elif conference.next_change_s is not None:
            self._agenda.at(conference.next_change_s, self._step, conference)

    # Bridges

    def bridge_joined(self, bridge: SimBridge) -> None:
        """It is in the MUC and repeats what it advertised last; what is new comes with its next presence."""
        self.occupants[bridge.name] = Occupant(bridge)
        self._hear(bridge)
        self.bridge_changed(bridge)

    def welcome(self, bridge: SimBridge) -> None:
        """Know a bridge as if it had been here for long."""
        self.occupants[bridge.name] = Occupant(bridge, drain=bridge.drain)

    def bridge_changed(self, bridge: SimBridge) -> None:
        """Something new will stand in the next presence."""
        since_last_s = (self._agenda.now_s - bridge.started_s) % PRESENCE_PERIOD_S
        wait_s = PRESENCE_PERIOD_S - since_last_s + DELIVERY_S
        self._agenda.after(wait_s, self._publish, bridge, bridge.process)

    def _publish(self, bridge: SimBridge, process: int) -> None:
        if process == bridge.process:
            bridge.publish()
            self._hear(bridge)

    def _hear(self, bridge: SimBridge) -> None:
        occupant, presence = self.occupants.get(bridge.name), bridge.presence
        if occupant is None or presence is None or not bridge.muc_joined:
            return
        occupant.drain = presence.drain
        occupant.graceful = occupant.graceful or presence.graceful_shutdown
        if presence.shutting_down and not occupant.shutting_down:
            occupant.shutting_down = True
            self._move(bridge, CutReason.MOVED)

    def bridge_unhealthy(self, bridge: SimBridge) -> None:
        """The next health check tells the change; a recovered bridge must stay so for a minute."""
        wait_s = HEALTH_PERIOD_S if bridge.health_problem else FAILURE_RESET_S
        self._agenda.after(wait_s, self._check, bridge, bridge.process)

    def _check(self, bridge: SimBridge, process: int) -> None:
        occupant = self.occupants.get(bridge.name)
        if occupant is None or process != bridge.process:
            return
        occupant.operational = bridge.health_problem is None
        if not occupant.operational:
            self._move(bridge, CutReason.UNHEALTHY)

    def _move(self, bridge: SimBridge, reason: CutReason) -> None:
        self._strand(bridge, bridge.take_all(), reason)

    def bridge_left(self, bridge: SimBridge, stranded: list[LiveConference], reason: CutReason) -> None:
        """It is no longer in the MUC: its conferences need another."""
        self.occupants.pop(bridge.name, None)
        self._strand(bridge, stranded, reason)

    def _strand(self, bridge: SimBridge, conferences: list[LiveConference], reason: CutReason) -> None:
        for conference in conferences:
            if conference.people:
                self._record_cut(bridge, conference, reason)
                search = self._new_search(conference)
                self._agenda.after(NOTICE_S.get(reason, 0.0), self._retry, conference, search)

    def _record_cut(self, bridge: SimBridge, conference: LiveConference, reason: CutReason) -> None:
        self._history.cuts.append(
            CutCall(
                self._agenda.now,
                self._scale_set_id,
                self._vm_ids[bridge.name],
                bridge.name,
                conference.name,
                conference.people,
                reason,
            )
        )
