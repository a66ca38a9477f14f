"""What was noticed in one reflection: events in their order, and how boots went."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from scaler.decision import Event, EventKind
from scaler.model import BridgeMemory


@dataclass(slots=True)
class Log:
    """Events of one reflection, in the order in which they were noticed."""

    events: list[Event] = field(default_factory=list)
    failed_intents: set[str] = field(default_factory=set)
    not_taken: list[datetime] = field(default_factory=list)
    """When machines were asked for that ARM never heard of."""
    boots_failed: int = 0
    boots_done: int = 0

    def say(self, kind: EventKind, memory: BridgeMemory, text: str) -> None:
        """Note an event of one bridge."""
        self.events.append(Event(kind, memory.name, text, memory.vm_id))
