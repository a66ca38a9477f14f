"""
Operators' commands in a tick: which are over, which hold, and what the others ask for. Pure.

`heed` comes before the decision: it ends what has expired, and takes what only changes how the shard
is judged (pause, protect, floor). `obey` comes with it: each command against a machine becomes an
action, or waits under a named refusal. A command is done when the world shows it, not when it was
asked for, so a crash between two steps loses none and does none twice in vain.
No command weakens a term of a tear-down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from scaler.decision import Action, Cause, Delete, Drain, Event, EventKind, Reason, Refusal, Undrain
from scaler.health import shows_traffic
from scaler.model import (
    Bridge,
    Command,
    CommandKind,
    CommandState,
    Phase,
    Power,
    Purpose,
    Reach,
    ShardMemory,
    Snapshot,
)
from scaler.scale_in import delete_in_flight, may_send
from scaler.selection import Fleet, is_our_drain, is_sick, not_open, oldest, refuse
from scaler.watch import SHUTTING_DOWN_TOO_LONG

_ON_A_MACHINE = frozenset({CommandKind.DRAIN, CommandKind.UNDRAIN, CommandKind.REPLACE})
_ON_ITS_WAY_OUT = frozenset({Phase.FENCED, Phase.DELETING})


@dataclass(slots=True)
class _Desk:
    """The commands of one tick while they are worked on, and what the shard remembers."""

    now: datetime
    memory: ShardMemory
    listed: Mapping[str, Bridge]
    commands: dict[str, Command] = field(default_factory=dict)

    def end(self, command: Command, state: CommandState, outcome: str) -> None:
        self.commands[command.command_id] = replace(command, state=state, outcome=outcome, ended_at=self.now)

    def hold(self, command: Command, outcome: str) -> None:
        self.commands[command.command_id] = replace(command, state=CommandState.IN_FORCE, outcome=outcome)

    def open_ones(self) -> list[Command]:
        return [each for each in self.commands.values() if each.is_open]


# Before the decision


def heed(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with every command judged that needs no call; `paused` follows them."""
    if not snapshot.commands:
        return snapshot
    desk = _Desk(
        snapshot.now,
        snapshot.memory,
        {bridge.vm_id: bridge for bridge in snapshot.bridges},
        {each.command_id: each for each in sorted(snapshot.commands, key=_order)},
    )
    for command_id in list(desk.commands):
        command = desk.commands[command_id]
        if not command.is_open:
            continue
        if _is_over(command, desk):
            _expire(command, desk)
        elif command.vm_id in snapshot.unlisted:
            continue  # the list may be stale; the next one tells
        elif command.vm_id is not None and command.vm_id not in desk.listed:
            desk.end(command, *_without_machine(command))
        elif command.state is CommandState.OPEN:
            _replace_older(command, desk)
            _TAKE.get(command.kind, _leave)(command, desk)
    return replace(snapshot, memory=desk.memory, commands=tuple(desk.commands.values()))


def _order(command: Command) -> tuple[datetime, str]:
    return command.asked_at, command.command_id


def _is_over(command: Command, desk: _Desk) -> bool:
    """Past its time, and not begun: a delete that was asked for is gone on with until the machine is gone."""
    if command.expires_at is None or desk.now < command.expires_at:
        return False
    bridge = desk.listed.get(command.vm_id or "")
    begun = bridge is not None and bridge.phase is Phase.DELETING
    return not (begun and command.kind is CommandKind.REPLACE)


def _expire(command: Command, desk: _Desk) -> None:
    if command.state is CommandState.IN_FORCE:
        outcome = "was in force until it expired"
        if command.kind is CommandKind.PAUSE:
            desk.memory = _resumed(desk.memory)
    else:
        outcome = f"not carried out in time: {command.outcome or 'no tick took it up'}{_left(command, desk)}"
    desk.end(command, CommandState.EXPIRED, outcome)


def _left(command: Command, desk: _Desk) -> str:
    """Say what a drain that is given up leaves behind: it was asked for, and only an `undrain` ends it."""
    bridge = desk.listed.get(command.vm_id or "")
    if command.kind is not CommandKind.DRAIN or bridge is None:
        return ""
    memory = bridge.memory
    begun = memory.phase is Phase.DRAINING and memory.purpose is Purpose.OPERATOR and memory.wanted_drain
    return "; it was told to drain already, and does until an undrain" if begun else ""


def _without_machine(command: Command) -> tuple[CommandState, str]:
    if command.kind is CommandKind.REPLACE:
        return CommandState.DONE, "ARM no longer lists the machine"
    return CommandState.FAILED, "ARM does not list the machine"


def _replace_older(command: Command, desk: _Desk) -> None:
    """The latest word on a machine, or on a pause, is the one that counts."""
    for other in desk.open_ones():
        if _order(other) < _order(command) and _is_about_the_same(other, command):
            desk.end(other, CommandState.CANCELLED, f"replaced by {command.kind} {command.command_id}")


def _is_about_the_same(one: Command, other: Command) -> bool:
    if one.kind in _ON_A_MACHINE and other.kind in _ON_A_MACHINE:
        return one.vm_id == other.vm_id
    if one.kind is other.kind is CommandKind.PROTECT:
        return one.vm_id == other.vm_id
    return one.kind is other.kind is CommandKind.PAUSE


def _leave(_command: Command, _desk: _Desk) -> None:
    """Nothing yet: it needs a call, which the decision asks for."""


def _pause(command: Command, desk: _Desk) -> None:
    reason = f"paused by {command.by}: {command.why}"
    desk.memory = replace(desk.memory, paused=True, pause_reason=reason)
    desk.hold(command, "the shard is paused: its drains are taken back, nothing new is started")


def _resume(command: Command, desk: _Desk) -> None:
    was_paused = desk.memory.paused
    for other in desk.open_ones():
        # Of the same moment: nobody resumes what was not paused before.
        if other.kind is CommandKind.PAUSE and other.asked_at <= command.asked_at:
            desk.end(other, CommandState.CANCELLED, f"resumed by {command.by}: {command.why}")
    if any(other.kind is CommandKind.PAUSE for other in desk.open_ones()):
        desk.end(command, CommandState.DONE, "a later pause holds")
        return
    desk.memory = _resumed(desk.memory)
    desk.end(command, CommandState.DONE, "runs again" if was_paused else "was not paused")


def _resumed(memory: ShardMemory) -> ShardMemory:
    return replace(memory, paused=False, pause_reason=None)


def _protect(command: Command, desk: _Desk) -> None:
    bridge = desk.listed[command.vm_id or ""]
    if bridge.phase in _ON_ITS_WAY_OUT:
        desk.end(command, CommandState.FAILED, f"it is {bridge.phase}: its process was told to end already")
        return
    desk.hold(command, "it is neither drained nor removed")


def _floor(command: Command, desk: _Desk) -> None:
    desk.hold(command, f"the minimum is at least {command.minimum} while it holds")


def _unblock_image(command: Command, desk: _Desk) -> None:
    version, blocked = command.image_version or "", desk.memory.blocked_images
    left = {key: since for key, since in blocked.items() if version not in (key, key.rpartition("/")[2])}
    if left == blocked:
        names = ", ".join(sorted(blocked)) or "none"
        desk.end(command, CommandState.FAILED, f"version {version} is not blocked; blocked: {names}")
        return
    freed = blocked.keys() - left.keys()
    made = [b for b in desk.listed.values() if b.instance and b.instance.image in freed]
    if drained := [b.name for b in made if is_our_drain(b)]:
        text = f"{drained[0]} is made of it, and would take calls: once empty, stop its VM and replace it"
        desk.end(command, CommandState.FAILED, text)
        return
    desk.memory = replace(desk.memory, blocked_images=left)
    desk.end(command, CommandState.DONE, f"version {version} may be used again, from the next night on")


def _cancel(command: Command, desk: _Desk) -> None:
    target = desk.commands.get(command.target or "")
    if target is None or not target.is_open or target is command:
        desk.end(command, CommandState.FAILED, f"no open command {command.target}")
        return
    if target.kind is CommandKind.PAUSE and target.state is CommandState.IN_FORCE:
        desk.memory = _resumed(desk.memory)
    left = _left(target, desk)
    desk.end(target, CommandState.CANCELLED, f"cancelled by {command.by}: {command.why}{left}")
    desk.end(command, CommandState.DONE, f"{target.kind} {target.command_id} is cancelled")


_TAKE: dict[CommandKind, Callable[[Command, _Desk], None]] = {
    CommandKind.PAUSE: _pause,
    CommandKind.RESUME: _resume,
    CommandKind.PROTECT: _protect,
    CommandKind.FLOOR: _floor,
    CommandKind.UNBLOCK_IMAGE: _unblock_image,
    CommandKind.CANCEL: _cancel,
}


# With the decision


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What commands against machines ask for in this tick."""

    actions: tuple[Action, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    commands: tuple[Command, ...] = ()

    def __add__(self, other: Obeyed) -> Obeyed:
        """Put two together."""
        return Obeyed(
            self.actions + other.actions, self.refusals + other.refusals, self.commands + other.commands
        )

    @property
    def machines(self) -> frozenset[str]:
        """Machines that an operator's action is about: no rule acts on them in the same tick."""
        return frozenset(getattr(action, "vm_id", "") for action in self.actions)

    @property
    def undrains(self) -> tuple[Undrain, ...]:
        """Drains that are taken back, behind which nothing else is drained in this tick."""
        return tuple(action for action in self.actions if isinstance(action, Undrain))

    @property
    def drains(self) -> bool:
        """One bridge fewer accepts after this tick, which no other rule has counted."""
        return any(isinstance(action, Drain) for action in self.actions)


def obey(fleet: Fleet, *, blind: bool) -> Obeyed:
    """Turn the open commands into actions, or into named refusals; at most one drain and one delete."""
    obeyed = Obeyed()
    bridges = {bridge.vm_id: bridge for bridge in fleet.bridges}
    for command in fleet.snapshot.commands:
        if command.vm_id in fleet.snapshot.unlisted:
            obeyed += Obeyed(commands=(command,))
        elif command.state is CommandState.OPEN and command.kind in _ON_A_MACHINE:
            step = _STEPS[command.kind](command, bridges[command.vm_id or ""], fleet)
            obeyed += _taken(command, _paced(step, obeyed, blind=blind))
        elif command.state is CommandState.IN_FORCE and command.kind is CommandKind.PROTECT:
            obeyed += _guard(command, bridges[command.vm_id or ""], fleet)
        else:
            obeyed += Obeyed(commands=(command,))
    return obeyed


Step = Command | Action | Refusal
"""The command at its end, what is to be done for it, or why it waits."""


def _paced(step: Step, so_far: Obeyed, *, blind: bool) -> Step:
    """Every count is stale once a bridge was drained or deleted, and silence takes nothing away."""
    if not isinstance(step, (Drain, Delete)):
        return step
    if blind:
        return refuse(Reason.BLIND, "most bridges cannot be heard: nothing is taken away")
    if any(action.verb == step.verb for action in so_far.actions):
        return refuse(Reason.ONE_PER_TICK, "another machine takes this step in this tick")
    return step


def _taken(command: Command, step: Step) -> Obeyed:
    if isinstance(step, Command):
        return Obeyed(commands=(step,))
    if isinstance(step, Refusal):
        return Obeyed(refusals=(step,), commands=(replace(command, outcome=f"waits: {step.detail}"),))
    return Obeyed(actions=(step,), commands=(replace(command, outcome="asked for: see the events"),))


def _ended(command: Command, fleet: Fleet, state: CommandState, outcome: str) -> Command:
    return replace(command, state=state, outcome=outcome, ended_at=fleet.now)


def _because(command: Command) -> str:
    return f"commanded by {command.by}: {command.why}"


def _drain(command: Command, bridge: Bridge, fleet: Fleet) -> Step:
    memory = bridge.memory
    if memory.phase is Phase.DRAINING and memory.purpose is Purpose.OPERATOR and memory.wanted_drain:
        if bridge.observed_drain is not True:
            return refuse(Reason.DRAIN_NOT_SEEN, "its report does not show the drain yet", bridge)
        return _ended(command, fleet, CommandState.DONE, "it drains, until an undrain")
    if memory.phase in _ON_ITS_WAY_OUT:
        return _ended(
            command, fleet, CommandState.FAILED, f"it is {memory.phase}, which goes further already"
        )
    if memory.phase not in (Phase.READY, Phase.DRAINING):
        return refuse(Reason.NOT_OPEN, f"it is {memory.phase}: it does not take calls yet", bridge)
    if memory.failure is not None and memory.phase is Phase.READY:
        return _ended(command, fleet, CommandState.FAILED, f"its drain API refuses: {memory.failure}")
    if fleet.accepting_others(bridge) < 1:
        return refuse(Reason.LAST_ACCEPTING, "no other bridge accepts calls", bridge)
    closed = not_open(fleet, bridge) if memory.phase is Phase.READY else None
    return _unheard(bridge) or closed or Drain(bridge.vm_id, Purpose.OPERATOR, _because(command))


def _unheard(bridge: Bridge) -> Refusal | None:
    """What does not answer can be told nothing: to try in each tick would only hold up the others."""
    if bridge.poll.reach is Reach.ANSWERED:
        return None
    return refuse(Reason.NOT_HEALTHY, f"its port {bridge.poll.reach}, so it can be told nothing", bridge)


def _undrain(command: Command, bridge: Bridge, fleet: Fleet) -> Step:
    if bridge.phase in _ON_ITS_WAY_OUT:
        return _ended(command, fleet, CommandState.FAILED, f"it is {bridge.phase}: there is no way back")
    if bridge.phase is Phase.DRAINING:
        return _unheard(bridge) or Undrain(bridge.vm_id, _because(command))
    if bridge.observed_drain is False:
        return _ended(command, fleet, CommandState.DONE, "it accepts new calls")
    return refuse(Reason.NOT_OPEN, "it does not say that it accepts new calls yet", bridge)


def _replace(command: Command, bridge: Bridge, fleet: Fleet) -> Step:
    """The operator's word that a machine serves nobody; what can be seen to the contrary is believed."""
    stopped = bridge.instance is not None and bridge.instance.power is Power.STOPPED
    if bridge.phase is Phase.DELETING and not _delete_failed(bridge, fleet.now):
        return refuse(Reason.DELETE_IN_FLIGHT, "ARM was asked to delete it", bridge)
    hangs = bridge.phase is Phase.FENCED and fleet.now - bridge.memory.phase_since > SHUTTING_DOWN_TOO_LONG
    if bridge.phase in (Phase.BOOTING, Phase.FENCED) and not hangs:
        return refuse(Reason.NOT_HEALTHY, f"it is {bridge.phase}, which ends by itself", bridge)
    sick = is_sick(bridge.memory, fleet.policy, fleet.now)
    # One that is too old is never sick: a lost poll of it proves nothing, a refusal that it was stopped.
    given_up = sick or stopped or (bridge.memory.unsupported and bridge.poll.reach is Reach.REFUSED)
    if bridge.phase in (Phase.READY, Phase.DRAINING) and not given_up:
        text = (
            f"it is {bridge.phase} and not sick: drain it, and once it is empty, stop its VM and say it again"
        )
        return _ended(command, fleet, CommandState.FAILED, text)
    if not stopped and bridge.poll.reach in (Reach.ANSWERED, Reach.BROKEN):
        text = "something answers on it, which may carry calls: stop its JVB or the VM first"
        return refuse(Reason.STILL_SERVING, text, bridge)
    if not stopped and shows_traffic(bridge.platform):
        text = "Azure Monitor sees traffic leave it, which may be calls: stop its JVB or the VM first"
        return refuse(Reason.STILL_SERVING, text, bridge)
    if not stopped and _has_not_ended(bridge) and (sends := may_send(fleet, bridge)) is not None:
        return refuse(Reason.STILL_SERVING, f"{sends}, which may be calls: stop the VM first", bridge)
    if bridge.phase is not Phase.DELETING and delete_in_flight(fleet):
        return refuse(Reason.DELETE_IN_FLIGHT, "one machine is deleted at a time", bridge)
    return Delete(bridge.vm_id, Cause.REPLACED, _because(command))


def _has_not_ended(bridge: Bridge) -> bool:
    """Told to shut down in vain, often for a call that slipped in: what is not measured is not quiet."""
    memory = bridge.memory
    fenced = memory.phase is Phase.FENCED or (memory.phase is Phase.DELETING and memory.fenced_at is not None)
    return fenced and memory.exited_at is None


def _delete_failed(bridge: Bridge, now: datetime) -> bool:
    """ARM was asked, keeps it without deleting it, and may be asked again."""
    memory, due = bridge.memory, bridge.memory.delete_not_before
    waits = memory.operation is not None or (due is not None and now < due)
    return bridge.instance is not None and not bridge.instance.is_deleting and not waits


_STEPS: dict[CommandKind, Callable[[Command, Bridge, Fleet], Step]] = {
    CommandKind.DRAIN: _drain,
    CommandKind.UNDRAIN: _undrain,
    CommandKind.REPLACE: _replace,
}


def _guard(command: Command, bridge: Bridge, fleet: Fleet) -> Obeyed:
    """Keep a protected bridge: take our drain of it back, and say what that means for the others."""
    if bridge.phase in _ON_ITS_WAY_OUT:
        text = f"it is {bridge.phase}: its process was told to end before"
        return Obeyed(commands=(_ended(command, fleet, CommandState.FAILED, text),))
    first = oldest(fleet)
    outcome = "it is neither drained nor removed"
    if first is not None and first.vm_id == bridge.vm_id:
        outcome += "; it is the oldest, so nothing else is removed from this shard either"
    drained = bridge in fleet.our_drains and _unheard(bridge) is None
    undrain = (Undrain(bridge.vm_id, "protected by an operator"),) if drained else ()
    return Obeyed(undrain, (), (replace(command, outcome=outcome),))


# What is told


def told(before: tuple[Command, ...], after: tuple[Command, ...], shard: str) -> tuple[Event, ...]:
    """One event for each command whose state changed, with what came of it."""
    states = {each.command_id: each.state for each in before}
    return tuple(
        Event(EventKind.COMMAND, each.bridge or shard, in_words(each), each.vm_id)
        for each in after
        if each.state is not states[each.command_id]
    )


def in_words(command: Command) -> str:
    """Say a command, whose it is, and what came of it, in one sentence."""
    return (
        f"{command.kind} {command.command_id}, by {command.by} ({command.why}): {command.state}: "
        f"{command.outcome or 'not taken up yet'}"
    )
