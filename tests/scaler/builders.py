"""Small parts with sane defaults, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scaler.decide import decide
from scaler.decision import Action, Decision, Event, Reason
from scaler.model import (
    Bridge,
    BridgeMemory,
    BridgeStats,
    Command,
    CommandKind,
    CreateIntent,
    Instance,
    Phase,
    PlatformLoad,
    Poll,
    Power,
    Purpose,
    Reach,
    ScaleSet,
    ShardMemory,
    Snapshot,
)
from scaler.policy import ScalingPolicy
from scaler.reflect import Heard, reflect
from scaler.selection import Fleet, survey

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
OWNER = "us"


def policy(**changes: Any) -> ScalingPolicy:
    """A policy of an 8-vCPU bridge with a NIC of 12,000 Mbit/s."""
    return ScalingPolicy(**{"max_bridges": 15, "nic_mbps": 12_000, "participants_per_bridge": 200, **changes})


def stats(**changes: Any) -> BridgeStats:
    """Statistics of an idle bridge that is in its MUC and accepts."""
    return BridgeStats(
        **{
            "timestamp": NOW,
            "conferences": 0,
            "local_endpoints": 0,
            "endpoints": changes.get("local_endpoints", 0),
            "octo_endpoints": 0,
            "largest_conference": 0,
            "stress_level": 0.0,
            "download_kbps": 0.0,
            "upload_kbps": 0.0,
            "drain": False,
            "graceful_shutdown": False,
            "shutting_down": False,
            "healthy": True,
            "muc_clients_connected": 1,
            "mucs_joined": 1,
            "total_conferences_created": 5,
            "total_conferences_completed": 5,
            "total_participants": 20,
            "total_bytes_sent": 1000,
            "total_bytes_received": 1000,
            **changes,
        }
    )


def poll(at: datetime = NOW, **changes: Any) -> Poll:
    """An answer; whatever is no field of a poll is one of its statistics. `stats=None` leaves them out."""
    own = {key: changes.pop(key) for key in list(changes) if key in Poll.__dataclass_fields__}
    told = own.pop("stats", stats(timestamp=at, **changes))
    drain = own.pop("drain", told.drain if told else None)
    if told is not None:
        told = replace(told, drain=drain)
    return Poll(at=at, stats=told, drain=drain, **{"reach": Reach.ANSWERED, "health_ok": True, **own})


def busy(conferences: int = 1, people: int = 4, **changes: Any) -> dict[str, Any]:
    """Statistics of a bridge with calls."""
    return {"conferences": conferences, "local_endpoints": people, "endpoints": people, **changes}


def silent(at: datetime = NOW, reach: Reach = Reach.TIMED_OUT) -> Poll:
    """No answer."""
    return Poll(at=at, reach=reach, problem="no answer in time")


def instance(
    name: str = "a", age: timedelta | None = 2 * HOUR, now: datetime = NOW, **changes: Any
) -> Instance:
    """A running machine."""
    return Instance(
        **{
            "vm_id": f"vm-{name}",
            "name": name,
            "instance_id": name,
            "resource_id": f"/vm/{name}",
            "time_created": None if age is None else now - age,
            "power": Power.RUNNING,
            "provisioning": "Succeeded",
            "address": f"127.0.1.{ord(name[0]) - 96}",
            "image": "1.0.0",
            **changes,
        }
    )


def memory(
    name: str = "a", age: timedelta | None = 2 * HOUR, now: datetime = NOW, **changes: Any
) -> BridgeMemory:
    """A bridge that was ready and good in every poll."""
    since = now - (age or HOUR)
    phase = changes.get("phase", Phase.READY)
    return BridgeMemory(
        **{
            "vm_id": f"vm-{name}",
            "name": name,
            "phase": phase,
            "phase_since": since,
            "first_seen": since,
            "ever_ready": phase not in (Phase.BOOTING, Phase.FAILED),
            "time_created": None if age is None else now - age,
            "process_started_at": None if age is None else now - age,
            "polls": "11111",
            **changes,
        }
    )


def draining(
    purpose: Purpose = Purpose.TEAR_DOWN, since: timedelta = 5 * MINUTE, now: datetime = NOW, **changes: Any
) -> dict[str, Any]:
    """Memory of a bridge that we drained and whose drain was confirmed; ours only for our purposes."""
    return {
        "phase": Phase.DRAINING,
        "phase_since": now - since,
        "wanted_drain": purpose is not Purpose.FOREIGN,
        "purpose": purpose,
        "drain_asked_at": now - since,
        "drained_at": now - since,
        **changes,
    }


def found_empty(now: datetime = NOW, created: int = 5) -> dict[str, Any]:
    """Memory of two empty polls a minute apart."""
    return {"empty_since": now - MINUTE, "empty_seen_at": now, "created_at_empty": created}


def bridge(
    name: str = "a",
    age: timedelta | None = 2 * HOUR,
    *,
    remembered: Mapping[str, Any] | None = None,
    arm: Mapping[str, Any] | None = None,
    poll_: Poll | None = None,
    **changes: Any,
) -> Bridge:
    """A healthy, idle, accepting bridge; other keywords are fields of `Bridge`, or of its statistics."""
    own = {key: changes.pop(key) for key in list(changes) if key in Bridge.__dataclass_fields__}
    known = memory(name, age, **(remembered or {}))
    if known.phase in (Phase.DRAINING, Phase.FENCED, Phase.BOOTING):
        changes.setdefault("drain", known.wanted_drain or known.phase is not Phase.DRAINING or None)
    return Bridge(
        **{
            "instance": instance(name, age, **(arm or {})),
            "memory": known,
            "poll": poll_ or poll(**changes),
            "fresh": True,
            "pressure": 0.0,
            **own,
        }
    )


def unheard(name: str = "a", age: timedelta | None = 2 * HOUR, **changes: Any) -> Bridge:
    """A bridge that does not answer in this tick."""
    reach = changes.pop("reach", Reach.TIMED_OUT)
    return bridge(
        name,
        age,
        **{
            "poll_": silent(reach=reach),
            "unhealthy_because": f"port {reach}",
            "fresh": False,
            "pressure": None,
            **changes,
        },
    )


def hot(name: str = "a", pressure: float = 1.1, **changes: Any) -> Bridge:
    """A bridge over its threshold, with calls."""
    return bridge(name, **{"pressure": pressure, **busy(20, 150), **changes})


def shard_memory(**changes: Any) -> ShardMemory:
    """A shard that is watched since yesterday."""
    return ShardMemory(**{"known_since": NOW - 24 * HOUR, **changes})


def scale_set(capacity: int = 1, **changes: Any) -> ScaleSet:
    """The scale set's record."""
    return ScaleSet(
        **{
            "capacity": capacity,
            "etag": "1",
            "vm_size": "Standard_F8s_v2",
            "owner": None,
            "provisioning": "Succeeded",
            **changes,
        }
    )


def intent(number: int = 1, **changes: Any) -> CreateIntent:
    """A machine asked for a minute ago."""
    return CreateIntent(
        **{
            "intent_id": f"i{number}",
            "asked_at": NOW - MINUTE,
            "epoch": 1,
            "capacity": 3,
            "why": "demand",
            "operation": f"op{number}",
            **changes,
        }
    )


def command(kind: str = "drain", name: str | None = None, **changes: Any) -> Command:
    """An operator's command of a minute ago, against a machine where one is named."""
    return Command(
        **{
            "command_id": f"{kind}-1",
            "kind": CommandKind(kind),
            "by": "ann",
            "why": "she said so",
            "asked_at": NOW - MINUTE,
            "vm_id": f"vm-{name}" if name else None,
            "bridge": name,
            **changes,
        }
    )


def snapshot(*bridges: Bridge, now: datetime = NOW, **changes: Any) -> Snapshot:
    """A shard; other keywords are fields of `Snapshot`, `capacity`, or fields of the shard's memory."""
    own = {key: changes.pop(key) for key in list(changes) if key in Snapshot.__dataclass_fields__}
    intents = tuple(own.pop("intents", ()))
    listed = sum(b.phase is not Phase.DELETING for b in bridges)
    capacity = changes.pop("capacity", listed + sum(i.is_open for i in intents))
    return Snapshot(
        **{
            "shard": "s",
            "now": now,
            "epoch": 7,
            "scale_set": scale_set(capacity),
            "bridges": bridges,
            "intents": intents,
            "memory": shard_memory(**changes),
            **own,
        }
    )


def fleet(*bridges: Bridge, policy_: ScalingPolicy | None = None, **changes: Any) -> Fleet:
    """What the rules are asked about."""
    return survey(snapshot(*bridges, **changes), policy_ or policy())


def decided(*bridges: Bridge, policy_: ScalingPolicy | None = None, **changes: Any) -> Decision:
    """The decision on a shard."""
    return decide(snapshot(*bridges, **changes), policy_ or policy())


def verbs(decision: Decision) -> list[str]:
    """What shall be done, and to whom."""
    return [_words(action, decision) for action in decision.actions]


def _words(action: Action, decision: Decision) -> str:
    vm_id = getattr(action, "vm_id", None)
    return f"{action.verb} {decision.bridges[vm_id].name}" if vm_id else f"{action.verb} {action.capacity}"  # type: ignore[union-attr]


def reasons(decision: Decision, name: str | None = None) -> set[Reason]:
    """Why something is not done: of the whole shard, or of one bridge."""
    return {refusal.reason for refusal in decision.refusals if refusal.name == name}


def all_reasons(decision: Decision) -> set[Reason]:
    """Every reason that was given for anything."""
    return {refusal.reason for refusal in decision.refusals}


def alert_kinds(decision: Decision) -> list[str]:
    """What a person is told."""
    return [alert.kind for alert in decision.alerts]


class Shard:
    """
    Scripted ticks of reflect and decide, with nothing performed.

    What was decided is remembered as the engine would, without its actions.
    """

    def __init__(self, policy_: ScalingPolicy | None = None, now: datetime = NOW, **state: Any) -> None:
        """`state`: fields of the shard's memory."""
        self.policy, self.now = policy_ or policy(), now
        self.state: ShardMemory | None = replace(shard_memory(), known_since=now - 24 * HOUR, **state)
        self.memories: dict[str, BridgeMemory] = {}
        self.intents: tuple[CreateIntent, ...] = ()
        self.events: list[Event] = []
        self.snapshot: Snapshot | None = None

    def remember(self, *memories: BridgeMemory) -> Shard:
        """Know these machines."""
        self.memories.update({each.vm_id: each for each in memories})
        return self

    def forget(self) -> Shard:
        """Lose the tables."""
        self.state, self.memories, self.intents = None, {}, ()
        return self

    def tick(
        self,
        heard: Mapping[Instance, Poll] | Sequence[Instance],
        after: timedelta = MINUTE,
        platform: Mapping[str, PlatformLoad] | None = None,
        capacity: int | None = None,
        stood_still: timedelta = timedelta(0),
        *,
        measures: bool = False,
    ) -> Decision:
        """One tick, so long after the last one. Its polls are answered when it has stood still so long."""
        self.now += after
        polls = dict(heard) if isinstance(heard, Mapping) else {each: poll() for each in heard}
        said = {each.vm_id: at_time(answer, self.now + stood_still) for each, answer in polls.items()}
        open_intents = sum(i.is_open for i in self.intents)
        size = len(polls) + open_intents if capacity is None else capacity
        heard_now = Heard(scale_set(size), tuple(polls), said, platform or {}, measures)
        self.snapshot, absent, events = reflect(
            "s", heard_now, self.state, self.memories, self.intents, self.policy, self.now, 1, OWNER
        )
        decision = decide(self.snapshot, self.policy)
        unlisted = {each.vm_id: each for each in absent if each.phase is not Phase.GONE}
        self.memories = {**decision.bridges, **unlisted}
        self.state, self.intents = decision.memory, self.snapshot.intents
        self.events = [*events, *decision.events]
        return decision

    def __getitem__(self, name: str) -> BridgeMemory:
        """Memory of a machine by name."""
        return self.memories[f"vm-{name}"]


def at_time(answer: Poll, now: datetime) -> Poll:
    """The same answer, given at another moment; a clock that was wrong stays as wrong as it was."""
    if answer.stats is None:
        return replace(answer, at=now)
    moved = answer.stats.timestamp + (now - answer.at)
    return replace(answer, at=now, stats=replace(answer.stats, timestamp=moved))
