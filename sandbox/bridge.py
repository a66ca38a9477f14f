"""
One Jitsi Videobridge process on one machine, as far as a scaler can see and touch it.

Its life is `running -> graceful shutdown -> shutting down -> exit`, with no way back. The drain
is a flag beside that life: the bridge only advertises it, and goes on accepting whatever Jicofo
sends. Only a graceful shutdown refuses new conferences, and only Jicofo keeps them away from a
bridge that is shutting down.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

from sandbox.agenda import Agenda
from sandbox.bridge_config import BridgeConfig, BridgeFaults, Conductor, Presence, Totals
from sandbox.bridge_report import metrics_of, stats_of
from sandbox.conference import LiveConference
from sandbox.history import CutReason
from sandbox.meter import LoadMeter

STRESS_PERIOD_S = 10
CPU_PER_STRESS = 0.9
"""A stress of 1 is a CPU use of 90 %."""
FIRST_HEALTH_CHECK_S = 60
RESTART_S = 8.0


class SimBridge:
    """A bridge process and its successors on the same machine."""

    def __init__(
        self,
        name: str,
        config: BridgeConfig,
        meter: LoadMeter,
        agenda: Agenda,
        jicofo: Conductor,
        rng: Random,
    ) -> None:
        """Not running until `start`. `meter` belongs to the machine and outlives the process."""
        self.name = name
        self.config = config
        self.meter = meter
        self.faults = BridgeFaults()
        self.on_join: Callable[[], None] = lambda: None
        self._agenda = agenda
        self._jicofo = jicofo
        self._rng = rng
        self._noise = rng.getrandbits(32)
        self.process = 0
        """Number of the process; what was scheduled for an earlier one is void."""
        self.refused_in: int | None = None
        """Process that last refused a command, as its configuration told it."""
        self.listening = False
        self.muc_joined = False
        self.started_s = agenda.now_s
        self._reset()

    def _reset(self) -> None:
        self.drain = self.config.initial_drain
        self.graceful_shutdown = False
        self.shutting_down = False
        self.presence: Presence | None = None
        """What this process advertised last, sent again when it joins again; None until its first."""
        self.conferences: dict[str, LiveConference] = {}
        self.people = 0
        self._in_kbps = self._out_kbps = self._microcores = 0
        self.health_problem: str | None = None
        self._pending_problem: str | None = None
        self.totals = Totals()
        self._sample_number = 0
        self._sample = self._last_sample = 0.0

    # Life of the process

    def start(self, joins_after_s: float | None = None) -> None:
        """Begin a new process: it listens now and enters the MUC some seconds later."""
        self._begin_process()
        if joins_after_s is None:
            joins_after_s = self._rng.uniform(*self.config.join_seconds)
        self._agenda.after(joins_after_s, self._join, self.process)
        if self.faults.sick_from_start is not None:
            self.fail_health(self.faults.sick_from_start)
        if self.faults.crashes_after_s is not None:
            self._agenda.after(self.faults.crashes_after_s, self._crash_again, self.process)

    def run_since(self, started_s: float) -> None:
        """Stand as a bridge that started long ago and accepts."""
        self._begin_process()
        self.started_s = started_s
        self.drain = False
        self._join(self.process)

    def _begin_process(self) -> None:
        self.process += 1
        self._reset()
        self.started_s = self._agenda.now_s
        self.listening = True
        self.settle()
        self.totals.bytes_received_before = self.meter.in_bytes
        self.totals.bytes_sent_before = self.meter.out_bytes
        self._load_changed()

    def stop(self, reason: CutReason) -> None:
        """The process is gone: nothing listens, whatever it carried is lost, and no restart is pending."""
        if not self.listening:
            self.process += 1
            return
        self.settle()
        stranded = list(self.conferences.values())
        for conference in stranded:
            conference.bridge = None
        self.process += 1
        self.listening = False
        self._reset()
        self._load_changed()
        self.muc_joined = False
        self._jicofo.bridge_left(self, stranded, reason)

    def crash(self, back_after_s: float | None = None) -> None:
        """End without warning; with `back_after_s` the service manager starts it again."""
        self.stop(CutReason.CRASHED)
        if back_after_s is not None:
            self._agenda.after(back_after_s, self._start_again, self.process)

    def restart(self, seconds: float = RESTART_S) -> None:
        """Stop and start the process: drain, shutdown and all counters begin anew."""
        self.stop(CutReason.RESTARTED)
        self._agenda.after(seconds, self._start_again, self.process)

    def _crash_again(self, process: int) -> None:
        if process == self.process:
            self.crash(back_after_s=RESTART_S)

    def _start_again(self, process: int) -> None:
        if process == self.process and not self.listening:
            self.start()

    def _join(self, process: int) -> None:
        if process == self.process and not self.muc_joined and not self.faults.never_joins:
            self.muc_joined = True
            self._jicofo.bridge_joined(self)
            self.on_join()

    def leave_muc(self, *, strands_calls: bool = True) -> None:
        """
        Lose the XMPP connection, and with it the calls, which Jicofo takes elsewhere.

        `strands_calls=False`: Prosody itself is gone, so nobody moves anything and media flows on.
        """
        if self.muc_joined:
            self.muc_joined = False
            stranded = self.take_all() if strands_calls else []
            self._jicofo.bridge_left(self, stranded, CutReason.MUC_LOST)

    def rejoin_muc(self) -> None:
        """Get the XMPP connection back."""
        if self.listening:
            self._join(self.process)

    # What the private port can ask for

    @property
    def started_at(self) -> datetime:
        """Start of the present, or of the last, process."""
        return datetime.fromtimestamp(self.started_s, self._agenda.now.tzinfo)

    def set_drain(self, on: bool) -> None:
        """Advertise, or no longer advertise, that new conferences should go elsewhere."""
        if self.drain != on and not self.faults.ignores_drain:
            self.drain = on
            self._jicofo.bridge_changed(self)

    def publish(self) -> None:
        """Put what it is now into its presence, in the MUC or not."""
        self.presence = Presence(self.drain, self.graceful_shutdown, self.shutting_down)

    def shutdown(self, graceful: bool) -> None:
        """Begin to end: graceful waits for the people on the bridge, else it does not."""
        if self.shutting_down:
            return
        if not graceful or self.people == 0:
            self.graceful_shutdown = graceful or self.graceful_shutdown
            self._shut_down()
        elif not self.graceful_shutdown:
            self.graceful_shutdown = True
            self._jicofo.bridge_changed(self)
            self._agenda.after(self.config.graceful_max_s, self._give_up_waiting, self.process)

    def _give_up_waiting(self, process: int) -> None:
        if process == self.process and not self.shutting_down:
            self._shut_down()

    def _shut_down(self) -> None:
        self.shutting_down = True
        self._jicofo.bridge_changed(self)
        self._agenda.after(self.config.shutting_down_delay_s, self._exit, self.process)

    def _exit(self, process: int) -> None:
        if process == self.process:
            self.stop(CutReason.EXITED)

    def fail_health(self, problem: str | None) -> None:
        """Have a fault (None: have it no longer) that the next check each minute will find."""
        self._pending_problem = problem
        since_start = self._agenda.now_s - self.started_s
        next_check = max(FIRST_HEALTH_CHECK_S, (since_start // 60 + 1) * 60)
        self._agenda.at(self.started_s + next_check, self._check_health, self.process)

    def _check_health(self, process: int) -> None:
        if process == self.process and self.health_problem != self._pending_problem:
            self.health_problem = self._pending_problem
            self._jicofo.bridge_unhealthy(self)

    # Conferences

    @property
    def accepts(self) -> bool:
        """A request for a new conference would be granted. A drain does not refuse, a fence does."""
        return self.listening and not (self.graceful_shutdown and not self.shutting_down)

    def add(self, conference: LiveConference) -> None:
        """Begin to carry a conference with all who are in it."""
        self.settle()
        conference.bridge = self
        conference.on_bridge_since_s = self._agenda.now_s
        self.conferences[conference.name] = conference
        self.totals.conferences_created += 1
        self.totals.participants += conference.people
        self._count(conference, 1)
        self._load_changed()

    def resize(self, conference: LiveConference, came: int) -> None:
        """Take note that people came to, or left, a conference that is here."""
        self.settle()
        self._count(conference, -1)
        self.totals.participants += came
        self._count(conference, 1)
        self._load_changed()
        self._end_if_empty()

    def remove(self, conference: LiveConference) -> None:
        """Stop carrying a conference that ended or goes elsewhere."""
        self.settle()
        self._count(conference, -1)
        del self.conferences[conference.name]
        conference.bridge = None
        self.totals.conferences_completed += 1
        self.totals.conference_seconds += self._agenda.now_s - conference.on_bridge_since_s
        self._load_changed()
        self._end_if_empty()

    def take_all(self) -> list[LiveConference]:
        """Remove every conference and return them."""
        taken = list(self.conferences.values())
        for conference in taken:
            self.remove(conference)
        return taken

    def _end_if_empty(self) -> None:
        if self.graceful_shutdown and not self.shutting_down and self.people == 0:
            self._shut_down()

    def _count(self, conference: LiveConference, sign: int) -> None:
        work = conference.measure() if sign > 0 else conference.work
        self.people += sign * work.people
        self._in_kbps += sign * work.sends_kbps
        self._out_kbps += sign * work.receives_kbps
        self._microcores += sign * work.microcores

    def _load_changed(self) -> None:
        self.meter.set_load(self.people, self._in_kbps, self._out_kbps, self._microcores)

    # Load as it reports it

    def settle(self) -> None:
        """Bring bytes and stress samples up to the present."""
        now_s = self._agenda.now_s
        self.meter.settle(now_s)
        number = int((now_s - self.started_s) // STRESS_PERIOD_S)
        if number > self._sample_number:
            cpu = self.meter.cpu
            self._last_sample = self._sample if number == self._sample_number + 1 else cpu
            self._sample = cpu
            self._sample_number = number

    @property
    def stress(self) -> float:
        """CPU use of one sample ago over 0.9, with a jitter that depends on nothing but the sample."""
        self.settle()
        mixed = (self._sample_number * 2654435761 + self._noise) & 0xFFFFFFFF
        jitter = 0.97 + 0.06 * (mixed >> 16) / 65536
        return round(min(self._last_sample * jitter, 1.0) / CPU_PER_STRESS, 4)

    # Answers of the private port

    def stats(self, now: datetime) -> dict[str, Any]:
        """Body of `/colibri/stats`: every key of a current bridge."""
        return stats_of(self, now)

    def metrics_json(self, now: datetime) -> dict[str, Any]:
        """Body of `/metrics` as JSON, with `startup_time` in epoch milliseconds."""
        return metrics_of(self)

    def health(self, now: datetime) -> tuple[int, str]:
        """Status and text of `/about/health`. For the first minute it is 200, whatever is wrong."""
        if self.health_problem is None or now.timestamp() - self.started_s < FIRST_HEALTH_CHECK_S:
            return 200, ""
        return 500, self.health_problem

    def version(self) -> dict[str, str]:
        """Body of `/about/version`."""
        return {"name": "JVB", "version": self.config.version, "os": "Linux"}
