"""What happened: the record from which a run is judged. Written by the world, read by checkers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class CutReason(StrEnum):
    """Why people in a conference lost their bridge."""

    VM_DELETED = "vm deleted"
    MOVED = "moved"
    """The bridge announced its shut-down while it had calls, and Jicofo moved them."""
    EXITED = "exited"
    """The process ended by a shut-down that was asked for, with calls still on it."""
    CRASHED = "crashed"
    RESTARTED = "restarted"
    UNHEALTHY = "unhealthy"
    MUC_LOST = "muc lost"

    @property
    def ours(self) -> bool:
        """A scaler did this; the others are faults of the world."""
        return self in {CutReason.VM_DELETED, CutReason.MOVED, CutReason.EXITED}


@dataclass(frozen=True, slots=True)
class CutCall:
    """One conference that lost its bridge while people were in it."""

    at: datetime
    scale_set_id: str
    vm_id: str
    vm_name: str
    conference: str
    participants: int
    reason: CutReason


@dataclass(slots=True)
class VmLife:
    """One VM from its first appearance in ARM to its last. None: has not happened."""

    scale_set_id: str
    vm_id: str
    name: str
    created_at: datetime
    image: str
    joined_at: datetime | None = None
    """First time its bridge was in the MUC."""
    delete_asked_at: datetime | None = None
    gone_at: datetime | None = None
    error: str | None = None

    def hours(self, since: datetime, now: datetime) -> float:
        """How long it was paid for between two moments."""
        return ((self.gone_at or now) - max(self.created_at, since)).total_seconds() / 3600


@dataclass(slots=True)
class History:
    """Every VM life and every cut call, in the order in which they happened."""

    lives: list[VmLife] = field(default_factory=list)
    cuts: list[CutCall] = field(default_factory=list)
    calls_served: int = 0
    """Conferences that ever had a bridge."""
    calls_waited_s: float = 0.0
    """Seconds that conferences had to wait for a bridge, summed over conferences that got one."""
    overload_minutes: int = 0
    """Of the machines that are gone; the living carry their own."""
    overload_user_seconds: float = 0.0

    def cut_by_us(self) -> list[CutCall]:
        """Cuts that a scaler caused."""
        return [cut for cut in self.cuts if cut.reason.ours]
