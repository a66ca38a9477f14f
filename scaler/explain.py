"""Decisions in words: a sentence for people, a record for the table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from scaler.commands import in_words
from scaler.decision import (
    Action,
    Decision,
    Drain,
    Fence,
    PruneImage,
    Reason,
    Refusal,
    RepairCapacity,
    Repurpose,
    ScaleOut,
    SetImage,
    StartBuild,
    Undrain,
)
from scaler.model import Bridge, BridgeMemory, Command, Snapshot, fields_of

SENTENCES: dict[Reason, str] = {
    Reason.ARM_UNKNOWN: "Azure did not answer completely, so it is not known which machines exist",
    Reason.CONFIGURATION_INCOMPLETE: "a setting is missing, so load cannot be judged",
    Reason.OTHER_OWNER: "the scale set belongs to another installation; this one only reads",
    Reason.PAUSED: "the shard is paused by an operator",
    Reason.BLIND: "too many bridges cannot be heard at once, so it may be us; nothing is taken away",
    Reason.AT_MAXIMUM: "more bridges are wanted, but `max_bridges` is reached",
    Reason.BACKING_OFF: "creating machines failed lately; the next try has to wait",
    Reason.CAPACITY_DISAGREES: "the capacity is not what is listed; writing it could buy or delete machines",
    Reason.STEP_LIMIT: "more bridges are wanted than one tick may add",
    Reason.PENDING_COVERS: "machines are already on their way for it",
    Reason.NEW_BRIDGE_CANNOT_HELP: "it is full of calls that do not move; another bridge cannot help it",
    Reason.LOAD_UNKNOWN: "neither the bridge nor Azure Monitor tells its load",
    Reason.ONLY_HEALTHY: "it is the only healthy bridge",
    Reason.AT_MINIMUM: "the shard is at its minimum",
    Reason.LAST_ACCEPTING: "too few other bridges accept new calls",
    Reason.OLDEST_BUSY: "the oldest bridge still has a conference",
    Reason.IDLE_UNKNOWN: "it is not known whether it has conferences, and unknown is not zero",
    Reason.TOO_YOUNG: "it has not been up long enough",
    Reason.AGE_UNKNOWN: "its age is not known",
    Reason.NOT_HEALTHY: "it is not healthy now, so it cannot be judged",
    Reason.NOT_OPEN: "it does not say that it takes calls, so it is not drained either",
    Reason.DRAIN_REFUSED: "its drain API refuses, so it cannot be taken away",
    Reason.ALREADY_LEAVING: "the oldest bridge is already on its way out; one leaves after the other",
    Reason.FOREIGN_DRAIN: "somebody else drained it; it is left alone",
    Reason.OPERATOR_DRAIN: "it drains by an operator's command",
    Reason.PROTECTED: "an operator protects it for a time, so it is neither drained nor removed",
    Reason.CREATION_IN_FLIGHT: "a machine is being created; nothing is drained meanwhile",
    Reason.SCALED_OUT: "this very tick adds bridges",
    Reason.HOT: "a bridge is over its threshold; an idle one is head-room",
    Reason.NO_HEADROOM: "the bridges that remain would be too full",
    Reason.JUST_UNDRAINED: "a drain was taken back a short while ago",
    Reason.NO_MEMORY: "we have not watched this shard long enough",
    Reason.SURPLUS_TOO_SHORT: "there is a bridge to spare, but not for long enough yet",
    Reason.TOO_MANY_DRAINING: "as many bridges drain as may at once",
    Reason.DRAIN_NOT_SEEN: "its own report does not show the drain",
    Reason.SETTLING: "it was drained a moment ago; a call could still be on its way to it",
    Reason.NOT_EMPTY: "it was not found empty often enough in a row",
    Reason.NOT_OLDEST: "an older bridge goes first",
    Reason.ONE_PER_TICK: "another bridge took this step in this tick",
    Reason.NO_FENCE: "its shutdown API is off, so it cannot be fenced",
    Reason.AWAITING_EXIT: "it was told to shut down; its process was not yet seen to be gone",
    Reason.RETRY_LATER: "its delete failed; the next try has to wait",
    Reason.DELETE_IN_FLIGHT: "another machine is being deleted",
    Reason.NOT_OURS: "it never joined, but we did not ask for it, so we do not remove it",
    Reason.CANNOT_REACH: "it never joined, but something may be serving on it",
    Reason.NO_WITNESS: "no other bridge answers, so it may be us who cannot hear it",
    Reason.CLEAN_UP_PACE: "a machine was cleaned up a short while ago",
    Reason.DEAD_NOT_PROVEN: "it looks dead, but it is not proven that no media flows through it",
    Reason.STILL_SERVING: "an operator wants it replaced, but something still answers on it",
    Reason.CANARY_ON_TRIAL: "the first new machine of the night is on trial; nothing is taken away meanwhile",
    Reason.CANARY_TURN: "one shard after another tries the night's image, and another one is first",
    Reason.IMAGE_NOT_SET: "the scale set's model does not name the night's image yet",
    Reason.BLOCKED_MODEL: "the scale set's model names a blocked image version, of which nothing is made",
    Reason.CONFIGURATION_CHANGED: "new machines get another boot configuration than the canary proved",
    Reason.NIGHT_TOO_SHORT: "too little of the night is left to prove a new machine",
    Reason.SURGE_IN_USE: "as many bridges are being replaced as the night may at once",
    Reason.GALLERY_UNKNOWN: "the night is due, but the gallery does not tell which image it would be for",
    Reason.NOT_THE_SAME_BRIDGE: "another process answered at its address; nothing was done to it",
    Reason.FACTS_CHANGED: "a fresh report no longer showed what the step needs",
    Reason.LEASE_TOO_SHORT: "our lease would not have outlived the call",
    Reason.CALL_FAILED: "the call for it failed",
    Reason.STOPPED_EARLIER: "an earlier step of this tick failed for good",
}
"""What each refusal means, for somebody who has not read the rules."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action."""

    action: Action
    done: bool
    refusal: Refusal | None = None


def action_in_words(action: Action, name: str) -> str:
    """Say an action in a few words; `name` is the bridge's."""
    match action:
        case ScaleOut(capacity=capacity, count=count):
            return f"add {count} {'bridge' if count == 1 else 'bridges'} (capacity {capacity})"
        case RepairCapacity(capacity=capacity):
            return f"set the capacity to the {capacity} machines that exist"
        case Drain(purpose=purpose):
            return f"drain {name} ({purpose})"
        case Undrain(initial=initial):
            return f"open {name}" if initial else f"un-drain {name}"
        case Repurpose(purpose=purpose):
            return f"keep {name} draining ({purpose})"
        case Fence():
            return f"fence {name}"
        case SetImage() | StartBuild() | PruneImage():
            return _image_step_in_words(action)
    return f"delete {name} ({action.cause})"


def _image_step_in_words(action: SetImage | StartBuild | PruneImage) -> str:
    if isinstance(action, StartBuild):
        return f"start the image build for the night of {action.date}"
    version = action.image.rpartition("/")[2]
    if isinstance(action, PruneImage):
        return f"delete image version {version}"
    return f"set the model to image version {version}"


def sentence(decision: Decision, outcomes: Sequence[Outcome], *, dry_run: bool = False) -> str:
    """Say the whole tick in one sentence."""
    names = {vm_id: memory.name for vm_id, memory in decision.bridges.items()}
    if decision.actions:
        said = [_action_sentence(a, names, outcomes, dry_run=dry_run) for a in decision.actions]
        return "; ".join(said)
    if decision.refusals:
        return f"nothing to do: {refusal_in_words(chief(decision.refusals))}"
    return "nothing to do: the bridges carry their load and none is to spare"


def _action_sentence(
    action: Action, names: dict[str, str], outcomes: Sequence[Outcome], *, dry_run: bool
) -> str:
    vm_id = getattr(action, "vm_id", "")
    words = action_in_words(action, names.get(vm_id, vm_id))
    outcome = next((o for o in outcomes if o.action is action), None)
    if dry_run:
        return f"would {words}: {action.because}"
    if outcome is not None and not outcome.done and outcome.refusal is not None:
        return f"did not {words}: {outcome.refusal.detail or SENTENCES[outcome.refusal.reason]}"
    return f"{words}: {action.because}"


_CHIEF_FIRST = (
    Reason.ARM_UNKNOWN,
    Reason.CONFIGURATION_INCOMPLETE,
    Reason.OTHER_OWNER,
    Reason.PAUSED,
    Reason.BLIND,
    Reason.AT_MAXIMUM,
    Reason.BACKING_OFF,
    Reason.CAPACITY_DISAGREES,
    Reason.DRAIN_NOT_SEEN,
    Reason.NO_FENCE,
    Reason.FOREIGN_DRAIN,
    Reason.SETTLING,
    Reason.NOT_EMPTY,
    Reason.AWAITING_EXIT,
    Reason.ONLY_HEALTHY,
    Reason.AT_MINIMUM,
)


def chief(refusals: Sequence[Refusal]) -> Refusal:
    """Return the refusal that explains most: what stops everything, then what is waited for."""

    def rank(refusal: Refusal) -> tuple[int, str]:
        place = _CHIEF_FIRST.index(refusal.reason) if refusal.reason in _CHIEF_FIRST else len(_CHIEF_FIRST)
        return place, refusal.key

    return min(refusals, key=rank)


def refusal_in_words(refusal: Refusal) -> str:
    """Say why not, of whom, with the figures, and since when."""
    whom = f"{refusal.name}: " if refusal.name else ""
    figures = f" ({refusal.detail})" if refusal.detail else ""
    since = f", since {refusal.since:%Y-%m-%dT%H:%M:%SZ}" if refusal.since else ""
    return f"{whom}{SENTENCES[refusal.reason]}{figures}{since}"


def record(
    decision: Decision, outcomes: Sequence[Outcome], snapshot: Snapshot | None, *, dry_run: bool
) -> dict[str, Any]:
    """
    Make the decision record: plain JSON values.

    Holds the totals, every vote, every refusal, every action with its outcome, and those bridges
    that one of them is about; all others stand in the table `bridges`.
    """
    spoken_of = _spoken_of(decision)
    bridges = snapshot.bridges if snapshot else ()
    return {
        "shard": decision.shard,
        "at": iso(decision.at),
        "epoch": decision.epoch,
        "dry_run": dry_run,
        "sentence": sentence(decision, outcomes, dry_run=dry_run),
        "totals": fields_of(decision.totals),
        "votes": [fields_of(vote) for vote in decision.votes],
        "actions": [_action_record(action, outcomes) for action in decision.actions],
        "refusals": [_refusal_record(refusal) for refusal in decision.refusals],
        "alerts": [asdict(alert) for alert in decision.alerts],
        "bridges": [_bridge_record(b) for b in bridges if b.vm_id in spoken_of],
    }


def _spoken_of(decision: Decision) -> set[str]:
    by_action = {getattr(action, "vm_id", "") for action in decision.actions}
    answered = {vm for a in decision.actions if isinstance(a, (ScaleOut, Undrain)) for vm in a.answers}
    return by_action | answered | {r.vm_id for r in decision.refusals if r.vm_id}


def _action_record(action: Action, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    outcome = next((o for o in outcomes if o.action is action), None)
    refusal = outcome.refusal if outcome else None
    return {
        "do": action.verb,
        **{key: value for key, value in asdict(action).items() if value not in (None, ())},
        "done": outcome.done if outcome else False,
        **({"refused": str(refusal.reason), "detail": refusal.detail} if refusal else {}),
    }


def _refusal_record(refusal: Refusal) -> dict[str, Any]:
    return {
        "reason": str(refusal.reason),
        "detail": refusal.detail,
        **({"vm_id": refusal.vm_id, "name": refusal.name} if refusal.vm_id else {}),
        "since": iso(refusal.since),
    }


def _bridge_record(bridge: Bridge) -> dict[str, Any]:
    stats, memory = bridge.stats, bridge.memory
    return {
        "vm_id": bridge.vm_id,
        "name": bridge.name,
        "phase": str(bridge.phase),
        "purpose": str(memory.purpose) if memory.purpose else None,
        "healthy": bridge.healthy,
        "unhealthy_because": bridge.unhealthy_because,
        "created": iso(memory.time_created),
        "process_started": iso(memory.process_started_at),
        "conferences": stats.conferences if stats else None,
        "local_endpoints": stats.local_endpoints if stats else None,
        "pressure": None if bridge.pressure is None else round(bridge.pressure, 3),
        "polls": memory.polls,
    }


def bridge_in_words(memory: BridgeMemory) -> str:
    """Say where a bridge stands and why it stays, from its row alone."""
    phase = f"{memory.phase} since {iso(memory.phase_since)}"
    purpose = f" ({memory.purpose})" if memory.purpose else ""
    if memory.refusal is None:
        return phase + purpose
    why = SENTENCES[Reason(memory.refusal)]
    since = f", since {iso(memory.refusal_since)}" if memory.refusal_since else ""
    return f"{phase}{purpose}: {why}{since}"


def command_record(command: Command) -> dict[str, Any]:
    """Write a command for people and programs: plain JSON values, times as ISO 8601."""
    times = {name: iso(getattr(command, name)) for name in ("asked_at", "expires_at", "ended_at")}
    row = {**asdict(command), **times, "kind": str(command.kind), "state": str(command.state)}
    return {
        **{key: value for key, value in row.items() if value not in (None, ())},
        "in_words": in_words(command),
    }


def iso(moment: datetime | None) -> str | None:
    """Write a moment as UTC ISO 8601 with milliseconds."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
