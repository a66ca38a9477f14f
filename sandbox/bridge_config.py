"""What surrounds a bridge: its settings, its listener, its faults, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sandbox.history import CutReason

if TYPE_CHECKING:
    from sandbox.bridge import SimBridge
    from sandbox.conference import LiveConference


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The settings in jvb.conf that matter here."""

    version: str = "2.3.307-g4bb0aead1"
    region: str | None = None
    relay: bool = False
    initial_drain: bool = True
    """Start drained, so that a new bridge gets calls only once somebody has looked at it."""
    shutting_down_delay_s: float = 30.0
    graceful_max_s: float = 24 * 3600.0
    join_seconds: tuple[float, float] = (2.0, 5.0)
    """From process start to the MUC: shortest and longest."""


@dataclass(slots=True)
class Totals:
    """Counters that grow as long as the process lives."""

    conferences_created: int = 0
    conferences_completed: int = 0
    conference_seconds: float = 0.0
    participants: int = 0
    bytes_received_before: int = 0
    """What the machine had received when the process started."""
    bytes_sent_before: int = 0


@dataclass(slots=True)
class BridgeFaults:
    """Ways in which a bridge can misbehave, all off. Set by tests and fault plans."""

    statuses: dict[str, int] = field(default_factory=dict)
    """HTTP status that an endpoint answers instead: health, stats, drain, shutdown, metrics, version."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """Body that an endpoint answers instead, with status 200: stats, drain, metrics."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Values that replace those of the statistics; `MISSING` removes the key."""
    no_media: bool = False
    """Health does not see it: nobody's ICE succeeds."""
    ignores_drain: bool = False
    """Answers 200 to a drain and does nothing."""
    clock_skew_s: float = 0.0
    frozen_at: datetime | None = None
    """The statistics stand still at this moment."""
    never_joins: bool = False
    """Its processes never get into the MUC."""
    sick_from_start: str | None = None
    """What its health says from the first check of every process on."""
    crashes_after_s: float | None = None
    """Every process lives so long, and the service manager starts another."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What a bridge advertises in its MUC, anew every five seconds."""

    drain: bool
    graceful_shutdown: bool
    shutting_down: bool


class Conductor(Protocol):
    """What a bridge tells Jicofo, which hears each of these in its own time."""

    def bridge_joined(self, bridge: SimBridge) -> None:
        """It entered the MUC."""

    def bridge_left(self, bridge: SimBridge, stranded: list[LiveConference], reason: CutReason) -> None:
        """It left the MUC; these conferences lost their bridge."""

    def bridge_changed(self, bridge: SimBridge) -> None:
        """Its next presence says something new."""

    def bridge_unhealthy(self, bridge: SimBridge) -> None:
        """Its next health check will tell a failure, or the end of one."""
