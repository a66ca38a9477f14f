"""
The life of a bridge, as one table.

A machine that we asked for is `booting` until it has joined its MUC and accepts calls; then it is
`ready`. If that takes too long it is `failed`, which is only what we saw, not what the VM did: a
late one still becomes `ready`.

A bridge leaves by one road. `draining`: it advertises that it wants no new conferences, and keeps
the ones it has; this can be taken back. `fenced`: found empty long enough, it was told to shut down
gracefully, and from here on it refuses new conferences itself. `deleting`: its process was seen to
be gone and ARM was asked to remove exactly this machine. `gone`: ARM no longer lists it.

A process that comes back from a fence, or restarts while it drains, is a new process: `ready`, and
every term is proved anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from scaler.errors import ScalerError
from scaler.model import BridgeMemory, Phase, changed


class Move(StrEnum):
    """What makes a bridge change its phase."""

    JOINED = "joined"
    """Healthy, in its MUC, accepting."""
    BOOT_TIMED_OUT = "boot_timed_out"
    DRAIN = "drain"
    """We drain it, or somebody did."""
    DRAIN_ENDED = "drain_ended"
    """Seen accepting again."""
    FENCE = "fence"
    FENCE_FAILED = "fence_failed"
    """The bridge answered that it did not take the shutdown."""
    STILL_FAILED = "still_failed"
    """The same, or a process that is back, of a machine that never was a bridge."""
    NEW_PROCESS = "new_process"
    DELETE = "delete"
    NOT_LISTED = "not_listed"


TABLE: dict[tuple[Phase, Move], Phase] = {
    (Phase.BOOTING, Move.JOINED): Phase.READY,
    (Phase.BOOTING, Move.BOOT_TIMED_OUT): Phase.FAILED,
    (Phase.FAILED, Move.JOINED): Phase.READY,
    (Phase.FAILED, Move.FENCE): Phase.FENCED,
    (Phase.FAILED, Move.DELETE): Phase.DELETING,
    (Phase.READY, Move.DRAIN): Phase.DRAINING,
    (Phase.READY, Move.DELETE): Phase.DELETING,  # dead, by `replace_dead_after_minutes` or an operator
    (Phase.DRAINING, Move.DRAIN): Phase.DRAINING,
    (Phase.DRAINING, Move.DRAIN_ENDED): Phase.READY,
    (Phase.DRAINING, Move.NEW_PROCESS): Phase.READY,
    (Phase.DRAINING, Move.FENCE): Phase.FENCED,
    (Phase.DRAINING, Move.DELETE): Phase.DELETING,  # without a fence, where `require_fence` is false
    (Phase.FENCED, Move.FENCE_FAILED): Phase.DRAINING,
    (Phase.FENCED, Move.NEW_PROCESS): Phase.READY,
    (Phase.FENCED, Move.STILL_FAILED): Phase.FAILED,
    (Phase.DELETING, Move.NEW_PROCESS): Phase.READY,  # the delete failed, and something serves again
    (Phase.DELETING, Move.STILL_FAILED): Phase.FAILED,  # the same, of one that never was a bridge
    (Phase.FENCED, Move.DELETE): Phase.DELETING,
    (Phase.DELETING, Move.DELETE): Phase.DELETING,
    **{(phase, Move.NOT_LISTED): Phase.GONE for phase in Phase if phase is not Phase.GONE},
}


class IllegalMove(ScalerError):
    """A move that the life of a bridge does not have: a fault of ours, nothing may be done on it."""


def after(phase: Phase, move: Move) -> Phase:
    """Return the phase that a move leads to; raises `IllegalMove` where the table has none."""
    try:
        return TABLE[phase, move]
    except KeyError:
        raise IllegalMove(f"a bridge that is {phase} cannot {move}") from None


def moved(memory: BridgeMemory, move: Move, now: datetime, **changes: Any) -> BridgeMemory:
    """
    Return the memory after a move, `phase_since` kept where the phase stays.

    What belongs to the phase left behind is forgotten, so that no proof outlives the state it proved.
    """
    phase = after(memory.phase, move)
    since = memory.phase_since if phase is memory.phase else now
    forgotten = _FORGET.get(phase, {}) if phase is not memory.phase else {}
    return changed(memory, **{**forgotten, "phase": phase, "phase_since": since, **changes})


NO_EMPTY_PROOF: dict[str, Any] = {
    "empty_since": None,
    "empty_seen_at": None,
    "created_at_empty": None,
}
NO_EXIT_PROOF: dict[str, Any] = {
    "refused_since": None,
    "refused_seen_at": None,
    "exited_at": None,
}
_NO_FENCE: dict[str, Any] = {"fenced_at": None, **NO_EXIT_PROOF}
_NO_DRAIN: dict[str, Any] = {
    "wanted_drain": False,
    "purpose": None,
    "drain_asked_at": None,
    "drained_at": None,
    "drain_unseen_polls": 0,
}

_FORGET: dict[Phase, dict[str, Any]] = {
    Phase.READY: {**_NO_DRAIN, **NO_EMPTY_PROOF, **_NO_FENCE, "failure": None, "fence_failure": None},
    Phase.DRAINING: {**NO_EMPTY_PROOF, **_NO_FENCE},
    Phase.FENCED: _NO_FENCE,
    Phase.FAILED: {**NO_EMPTY_PROOF, **_NO_FENCE},
}


_DELETE_RETRY = (timedelta(minutes=2), timedelta(minutes=5), timedelta(minutes=15))


def delete_retry(attempts: int) -> timedelta:
    """How long to wait for a delete, after so many attempts, before it is asked for again."""
    return _DELETE_RETRY[min(max(attempts, 1), len(_DELETE_RETRY)) - 1]
