"""Who is what in a shard, who is the oldest, and why a bridge may not go. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scaler import demand
from scaler.decision import Reason, Refusal
from scaler.model import (
    OURS_TO_UNDRAIN,
    Bridge,
    BridgeMemory,
    Command,
    CommandKind,
    CommandState,
    Phase,
    Power,
    Purpose,
    Reach,
    Snapshot,
)
from scaler.policy import ScalingPolicy
from scaler.process import process_began

SICK_AFTER = timedelta(minutes=5)
_LEAVING = frozenset({Phase.FENCED, Phase.DELETING})
_NEVER_SICK = frozenset({Phase.BOOTING, Phase.FAILED, *_LEAVING})
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_CLOCKS_DIFFER_BY = timedelta(minutes=1)
_JUST_ASKED = timedelta(minutes=2)
DELETE_IS_LATE_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One shard's bridges by what they are in this tick."""

    snapshot: Snapshot
    policy: ScalingPolicy
    healthy: tuple[Bridge, ...]
    accepting: tuple[Bridge, ...]
    sick: tuple[Bridge, ...]
    live: tuple[Bridge, ...]
    """All that count for 'oldest', oldest first."""
    our_drains: tuple[Bridge, ...]
    """Drains that we may take back, youngest first; not those of a blocked image."""
    fenced: tuple[Bridge, ...]
    deleting: tuple[Bridge, ...]
    """Ours to delete, or ARM deletes them."""
    going: tuple[Bridge, ...]
    """Those of them that ARM works on, and so counts in its capacity no more."""
    failed: tuple[Bridge, ...]
    """Those whose clean-up was never tried, or longest ago, first: none that cannot go holds up the rest."""
    pending: int
    """Machines on their way: booting, or asked for and not listed yet."""
    open_intents: int
    demand_in: float
    demand_out: float
    protected: frozenset[str] = frozenset()
    """Machines that an operator protects."""

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """Every machine that ARM lists."""
        return self.snapshot.bridges

    @property
    def now(self) -> datetime:
        """The tick's one present moment."""
        return self.snapshot.now

    @property
    def listed(self) -> int:
        """Machines that ARM lists, without those it is deleting."""
        return len(self.bridges) - len(self.deleting)

    @property
    def working(self) -> int:
        """Machines that are, or may soon be, of use: one of a blocked image that drains never is again."""
        unusable = {b.vm_id for b in (*self.sick, *self.failed, *self.fenced)}
        bad = {b.vm_id for b in self.condemned}
        return self.listed - len(unusable | bad - {b.vm_id for b in self.deleting})

    @property
    def condemned(self) -> tuple[Bridge, ...]:
        """Drained bridges of a blocked image: of no use to anybody, until they are the oldest and leave."""
        return tuple(b for b in self.bridges if is_our_drain(b) and is_condemned(b, self.snapshot))

    @property
    def of_bad_images(self) -> tuple[Bridge, ...]:
        """Every machine of a blocked image that nobody deletes yet: drained, sick, or still serving."""
        going = {b.vm_id for b in self.deleting}
        return tuple(b for b in self.bridges if is_condemned(b, self.snapshot) and b.vm_id not in going)

    def accepting_others(self, bridge: Bridge) -> int:
        """Accepting bridges that remain without this one."""
        return sum(1 for each in self.accepting if each.vm_id != bridge.vm_id)


def survey(snapshot: Snapshot, policy: ScalingPolicy) -> Fleet:
    """Sort the snapshot's bridges into what the rules speak of."""
    bridges = snapshot.bridges
    deleting = _in_phase(bridges, Phase.DELETING)
    known_deleting = {b.vm_id for b in deleting}
    deleting += tuple(
        b for b in bridges if b.instance and b.instance.is_deleting and b.vm_id not in known_deleting
    )
    removed = {b.vm_id for b in deleting}
    staying = tuple(b for b in bridges if b.vm_id not in removed)
    open_intents = sum(1 for intent in snapshot.intents if intent.is_open)
    drains = [b for b in bridges if is_our_drain(b) and not is_condemned(b, snapshot)]
    return Fleet(
        snapshot=snapshot,
        policy=policy,
        healthy=tuple(b for b in bridges if b.healthy),
        accepting=tuple(b for b in bridges if is_accepting(b)),
        sick=tuple(b for b in staying if is_sick(b.memory, policy, snapshot.now)),
        live=tuple(sorted((b for b in bridges if is_live(b.memory, policy)), key=age_order)),
        our_drains=tuple(sorted(drains, key=age_order, reverse=True)),
        fenced=_in_phase(staying, Phase.FENCED),
        deleting=deleting,
        going=tuple(b for b in deleting if _is_going(b, snapshot.now)),
        failed=tuple(sorted(_in_phase(staying, Phase.FAILED), key=_failed_order)),
        pending=len(_in_phase(bridges, Phase.BOOTING)) + open_intents,
        open_intents=open_intents,
        demand_in=demand.demand_for_scale_in(bridges),
        demand_out=demand.demand_for_scale_out(bridges),
        protected=frozenset(each.vm_id for each in snapshot.commands if _protects(each) and each.vm_id),
    )


def _is_going(bridge: Bridge, now: datetime) -> bool:
    """
    ARM deletes it, or was asked to a moment ago. A delete that failed leaves it in the capacity.

    So does one that ARM never ends: by its list it stands there, and growth must not wait for it.
    """
    if bridge.instance is not None and bridge.instance.is_deleting:
        return True
    asked = bridge.memory.delete_asked_at
    begun = bridge.memory.operation is not None or (asked is not None and now - asked < _JUST_ASKED)
    return begun and not is_late(bridge, now)


def is_late(bridge: Bridge, now: datetime) -> bool:
    """Its delete takes too long: an alert, and nothing waits for it any more."""
    return bridge.phase is Phase.DELETING and now - bridge.memory.phase_since > DELETE_IS_LATE_AFTER


def _protects(command: Command) -> bool:
    return command.kind is CommandKind.PROTECT and command.state is CommandState.IN_FORCE


def _in_phase(bridges: Iterable[Bridge], phase: Phase) -> tuple[Bridge, ...]:
    return tuple(b for b in bridges if b.phase is phase)


def is_accepting(bridge: Bridge) -> bool:
    """Healthy, ready, and it says itself that it is not drained."""
    return bridge.healthy and bridge.phase is Phase.READY and bridge.observed_drain is False


def is_our_drain(bridge: Bridge) -> bool:
    """We drain it for a purpose that we may give up."""
    return is_our_drain_row(bridge.memory)


def is_our_drain_row(memory: BridgeMemory) -> bool:
    """Its row alone says so."""
    return memory.phase is Phase.DRAINING and memory.wanted_drain and memory.purpose in OURS_TO_UNDRAIN


def is_condemned(bridge: Bridge, snapshot: Snapshot) -> bool:
    """It is made of an image version that is blocked."""
    return bridge.instance is not None and bridge.instance.image in snapshot.memory.blocked_images


def bad_polls(memory: BridgeMemory) -> int:
    """How many of the remembered polls were bad."""
    return memory.polls.count("0")


def is_sick(memory: BridgeMemory, policy: ScalingPolicy, now: datetime) -> bool:
    """A bridge that was ready, and is bad in most of the last polls and for minutes."""
    if not memory.ever_ready or memory.phase in _NEVER_SICK or memory.unsupported:
        return False
    since = memory.bad_since
    return bad_polls(memory) >= policy.unhealthy_polls and since is not None and now - since >= SICK_AFTER


def is_live(memory: BridgeMemory, policy: ScalingPolicy) -> bool:
    """
    Counts for 'oldest': was ready once, and is not given up.

    One lost poll must not let the second oldest go; a corpse must not block for ever. What is
    fenced or being deleted counts until ARM lists it no more: one leaves after the other.
    """
    if not memory.ever_ready or memory.unsupported or memory.phase in (Phase.BOOTING, Phase.FAILED):
        return False
    return memory.phase in _LEAVING or bad_polls(memory) < policy.unhealthy_polls


def age_order(bridge: Bridge) -> tuple[datetime, str]:
    """Oldest first; an unknown age may be the oldest; equal ones by name, so that the choice is stable."""
    return (bridge.memory.time_created or _BEGINNING, bridge.name)


def _failed_order(bridge: Bridge) -> tuple[datetime, str]:
    """A clean-up that came to nothing begins the phase anew."""
    return (bridge.memory.phase_since, bridge.name)


def oldest(fleet: Fleet) -> Bridge | None:
    """Return the one bridge that may be torn down next, if all else allows it."""
    if fleet.policy.oldest_among == "idle":
        return next((b for b in fleet.live if b.phase in _LEAVING or b.idle), None)
    return next(iter(fleet.live), None)


def uptime(memory: BridgeMemory, now: datetime) -> timedelta | None:
    """
    Age for the uptime rule: the smaller of the machine's and the process's; None where unknown.

    A JVB that crashed five minutes ago is idle because it dropped its users: they are coming back.
    A process older than its machine can be belongs to a machine that was made anew.
    """
    created, process = memory.time_created, process_began(memory)
    if created is None:
        return None
    if process is not None and process < created - _CLOCKS_DIFFER_BY:
        process = memory.first_seen
    age = now - max(created, process or created)
    return age if age >= timedelta(0) else None


def refuse(reason: Reason, detail: str, bridge: Bridge | None = None) -> Refusal:
    """Build a refusal for a bridge, or for the shard."""
    return Refusal(reason, detail, bridge.vm_id if bridge else None, bridge.name if bridge else None)


Term = Callable[[Fleet, Bridge], Refusal | None]


def only_healthy(fleet: Fleet, _bridge: Bridge) -> Refusal | None:
    """Term 1 of the owner's rule: more than one healthy bridge."""
    count = len(fleet.healthy)
    return None if count > 1 else refuse(Reason.ONLY_HEALTHY, f"{count} healthy, more than 1 needed")


def not_idle(_fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Term 2: no conference and no endpoint, both known."""
    if bridge.idle is None:
        return refuse(Reason.IDLE_UNKNOWN, "its conferences or endpoints are not known", bridge)
    if bridge.idle:
        return None
    stats = bridge.stats
    figures = f"{stats.conferences} conferences, {stats.local_endpoints} endpoints" if stats else ""
    return refuse(Reason.OLDEST_BUSY, figures, bridge)


def too_young(fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Term 3: strictly over `uptime_minutes`, to the microsecond."""
    age = uptime(bridge.memory, fleet.now)
    if age is None:
        return refuse(Reason.AGE_UNKNOWN, "ARM does not tell when it was created, or it lies ahead", bridge)
    if age > timedelta(minutes=fleet.policy.uptime_minutes):
        return None
    minutes = age.total_seconds() / 60
    return refuse(
        Reason.TOO_YOUNG,
        f"up for {minutes:.1f} min, more than {fleet.policy.uptime_minutes:g} needed",
        bridge,
    )


def not_oldest(fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Term 4: no other bridge counts as older."""
    first = oldest(fleet)
    if first is not None and first.vm_id == bridge.vm_id:
        return None
    return refuse(Reason.NOT_OLDEST, f"{first.name if first else 'no bridge'} is the oldest", bridge)


def at_minimum(fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Keep the operator's minimum, in healthy bridges and in machines, or it would be bought back."""
    minimum = fleet.policy.minimum
    if len(fleet.healthy) <= minimum:
        return refuse(Reason.AT_MINIMUM, f"{len(fleet.healthy)} healthy, minimum {minimum}")
    leaving = sum(1 for b in fleet.fenced if b.vm_id != bridge.vm_id)
    remaining = fleet.listed - leaving - 1
    if remaining < fleet.policy.min_bridges:
        return refuse(Reason.AT_MINIMUM, f"{remaining} machines would remain, minimum {minimum}")
    return None


def last_accepting(fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Enough others accept calls. Jicofo uses a draining bridge when there is no other."""
    others, needed = fleet.accepting_others(bridge), fleet.policy.minimum
    if others >= needed:
        return None
    return refuse(Reason.LAST_ACCEPTING, f"{others} others accept calls, {needed} needed", bridge)


def not_healthy(_fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """What is not healthy cannot be judged."""
    return refuse(Reason.NOT_HEALTHY, bridge.unhealthy_because or "", bridge) if not bridge.healthy else None


LITERAL_TERMS: tuple[Term, ...] = (only_healthy, not_idle, too_young, not_oldest)
"""The owner's rule. Nothing is torn down that one of these would keep."""


def protected(fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Leave what an operator protects."""
    if bridge.vm_id not in fleet.protected:
        return None
    return refuse(Reason.PROTECTED, "by an operator's command", bridge)


SAFETY_TERMS: tuple[Term, ...] = (at_minimum, last_accepting, not_healthy, protected)
"""What must hold besides, at the drain and at the fence."""


def not_open(_fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """A bridge that does not say that it accepts may be drained by somebody, or is about to be opened."""
    if bridge.observed_drain is False:
        return None
    return refuse(Reason.NOT_OPEN, "it does not report that it accepts calls", bridge)


def drain_refused(_fleet: Fleet, bridge: Bridge) -> Refusal | None:
    """Its drain API said no, which only another process can change."""
    failure = bridge.memory.failure
    return refuse(Reason.DRAIN_REFUSED, failure, bridge) if failure is not None else None


DRAIN_TERMS: tuple[Term, ...] = (not_open, drain_refused)
"""What must hold besides for a new drain."""


def objections(fleet: Fleet, bridge: Bridge, terms: Iterable[Term]) -> tuple[Refusal, ...]:
    """Every term that says no."""
    return tuple(refusal for term in terms if (refusal := term(fleet, bridge)) is not None)


@dataclass(frozen=True, slots=True)
class Silence:
    """How many of a shard's bridges cannot be heard, or are cut off from their MUC."""

    silent: int
    asked: int
    common: str

    @property
    def is_blinding(self) -> bool:
        """At least two, and over a third: then it is more likely us, the network or Prosody."""
        return self.silent >= 2 and self.silent * 3 > self.asked


def silence(fleet: Fleet) -> Silence:
    """Count the silent ones among the bridges that were ready, are not leaving, and are switched on."""
    asked = [
        b
        for b in fleet.bridges
        if b.memory.ever_ready
        and b.phase not in _NEVER_SICK
        and not b.memory.unsupported
        and not (b.instance is not None and b.instance.power is Power.STOPPED)
    ]
    whys = [why for b in asked if (why := _silent_because(b)) is not None]
    common = ", ".join(f"{whys.count(why)} x {why}" for why in sorted(set(whys)))
    return Silence(len(whys), len(asked), common)


def _silent_because(bridge: Bridge) -> str | None:
    poll = bridge.poll
    if poll.reach is not Reach.ANSWERED:
        return str(poll.reach)
    if poll.stats is None:
        return poll.problem or "no statistics"
    if not poll.stats.mucs_joined or not poll.stats.muc_clients_connected:
        return "not in its MUC"
    return None


def cannot_be_fenced(fleet: Fleet, bridge: Bridge) -> bool:
    """It refused the fence, or its drain once more: only another process or a person changes that."""
    memory = bridge.memory
    lost = memory.failure is not None and bridge.observed_drain is not True
    return lost or (memory.fence_failure is not None and fleet.policy.require_fence)


def next_to_drain(fleet: Fleet) -> tuple[Bridge | None, Refusal | None]:
    """
    Return the oldest live bridge that does not drain yet, or who stands in the way.

    Strictly oldest first: draining a younger one behind somebody else's drain frees nothing.
    """
    for bridge in fleet.live:
        if bridge.phase is Phase.READY:
            return bridge, None
        if bridge.memory.purpose is Purpose.FOREIGN:
            return None, refuse(Reason.FOREIGN_DRAIN, "an operator drained it, not we", bridge)
        if bridge.phase is Phase.DRAINING and cannot_be_fenced(fleet, bridge):
            return None, refuse(
                Reason.NO_FENCE, bridge.memory.fence_failure or bridge.memory.failure or "", bridge
            )
        if bridge.memory.purpose is Purpose.OPERATOR:
            return None, refuse(Reason.OPERATOR_DRAIN, "it drains by an operator's command", bridge)
    return None, None
