"""A decision: what shall be done in one tick, every rule's vote, and every refusal by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from scaler.model import BridgeMemory, Command, Purpose, ShardMemory


class Reason(StrEnum):
    """Why something was not done. `explain` has a sentence for each."""

    # The whole shard
    ARM_UNKNOWN = "arm_unknown"
    CONFIGURATION_INCOMPLETE = "configuration_incomplete"
    OTHER_OWNER = "other_owner"
    PAUSED = "paused"
    BLIND = "blind"
    # Scale-out
    AT_MAXIMUM = "at_maximum"
    BACKING_OFF = "backing_off"
    CAPACITY_DISAGREES = "capacity_disagrees"
    STEP_LIMIT = "step_limit"
    PENDING_COVERS = "pending_covers"
    NEW_BRIDGE_CANNOT_HELP = "new_bridge_cannot_help"
    LOAD_UNKNOWN = "load_unknown"
    # A new drain
    ONLY_HEALTHY = "only_healthy"
    AT_MINIMUM = "at_minimum"
    LAST_ACCEPTING = "last_accepting"
    OLDEST_BUSY = "oldest_busy"
    IDLE_UNKNOWN = "idle_unknown"
    TOO_YOUNG = "too_young"
    AGE_UNKNOWN = "age_unknown"
    NOT_HEALTHY = "not_healthy"
    NOT_OPEN = "not_open"
    DRAIN_REFUSED = "drain_refused"
    ALREADY_LEAVING = "already_leaving"
    FOREIGN_DRAIN = "foreign_drain"
    OPERATOR_DRAIN = "operator_drain"
    PROTECTED = "protected"
    CREATION_IN_FLIGHT = "creation_in_flight"
    SCALED_OUT = "scaled_out"
    HOT = "hot"
    NO_HEADROOM = "no_headroom"
    JUST_UNDRAINED = "just_undrained"
    NO_MEMORY = "no_memory"
    SURPLUS_TOO_SHORT = "surplus_too_short"
    TOO_MANY_DRAINING = "too_many_draining"
    # A drain in force
    DRAIN_NOT_SEEN = "drain_not_seen"
    SETTLING = "settling"
    NOT_EMPTY = "not_empty"
    NOT_OLDEST = "not_oldest"
    ONE_PER_TICK = "one_per_tick"
    NO_FENCE = "no_fence"
    AWAITING_EXIT = "awaiting_exit"
    RETRY_LATER = "retry_later"
    DELETE_IN_FLIGHT = "delete_in_flight"
    # A machine that never became a bridge
    NOT_OURS = "not_ours"
    CANNOT_REACH = "cannot_reach"
    NO_WITNESS = "no_witness"
    CLEAN_UP_PACE = "clean_up_pace"
    # A bridge that died
    DEAD_NOT_PROVEN = "dead_not_proven"
    STILL_SERVING = "still_serving"
    # The night
    CANARY_ON_TRIAL = "canary_on_trial"
    CANARY_TURN = "canary_turn"
    IMAGE_NOT_SET = "image_not_set"
    BLOCKED_MODEL = "blocked_model"
    CONFIGURATION_CHANGED = "configuration_changed"
    NIGHT_TOO_SHORT = "night_too_short"
    SURGE_IN_USE = "surge_in_use"
    GALLERY_UNKNOWN = "gallery_unknown"
    # Found while acting
    NOT_THE_SAME_BRIDGE = "not_the_same_bridge"
    FACTS_CHANGED = "facts_changed"
    LEASE_TOO_SHORT = "lease_too_short"
    CALL_FAILED = "call_failed"
    STOPPED_EARLIER = "stopped_earlier"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One 'no', for the shard (`vm_id` None) or for one bridge."""

    reason: Reason
    detail: str
    """Figures that make it concrete, e.g. '1 healthy, more than 1 needed'."""
    vm_id: str | None = None
    name: str | None = None
    since: datetime | None = None

    @property
    def key(self) -> str:
        """What is the same 'no' from tick to tick."""
        return f"{self.reason}:{self.vm_id or ''}"


@dataclass(frozen=True, slots=True)
class Vote:
    """What one rule asked for, before the others were heard."""

    rule: str
    wants: str
    because: str


class Cause(StrEnum):
    """Why a machine is deleted."""

    TEAR_DOWN = "tear_down"
    RECYCLE = "recycle"
    """The same road, for the night."""
    NEVER_READY = "never_ready"
    DEAD = "dead"
    REPLACED = "replaced"
    """An operator gave his word that it may go."""


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """Raise the capacity to `capacity`, which is `count` machines more."""

    capacity: int
    count: int
    because: str
    answers: tuple[str, ...] = ()
    """Hot bridges (vm_id) for which this is the one answer."""
    verb = "scale_out"


@dataclass(frozen=True, slots=True)
class RepairCapacity:
    """Set the capacity to the number of machines that are listed (only with `repair_capacity`)."""

    capacity: int
    because: str
    verb = "repair_capacity"


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask a bridge to take no new conferences, and say why first."""

    vm_id: str
    purpose: Purpose
    because: str
    verb = "drain"


@dataclass(frozen=True, slots=True)
class Undrain:
    """Let a bridge take conferences (again)."""

    vm_id: str
    because: str
    initial: bool = False
    """It never had calls: the image starts drained, this opens it for the first time."""
    answers: tuple[str, ...] = ()
    verb = "undrain"


@dataclass(frozen=True, slots=True)
class Repurpose:
    """Change why a bridge drains; nothing is called."""

    vm_id: str
    purpose: Purpose
    because: str
    verb = "repurpose"


@dataclass(frozen=True, slots=True)
class Fence:
    """Graceful shutdown of an empty, drained bridge: from here on it refuses calls itself."""

    vm_id: str
    because: str
    never_ready: bool = False
    verb = "fence"


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly this machine."""

    vm_id: str
    cause: Cause
    because: str
    verb = "delete"


@dataclass(frozen=True, slots=True)
class SetImage:
    """Make new machines of this image version; nothing happens to those that are there."""

    image: str
    because: str
    goes_back: bool = False
    """From a bad or unproved version to the last good one."""
    verb = "set_image"


@dataclass(frozen=True, slots=True)
class StartBuild:
    """Start a run of the image template."""

    date: str
    """Local date of the night that it is for."""
    because: str
    verb = "start_build"


@dataclass(frozen=True, slots=True)
class PruneImage:
    """Delete one old version of the gallery image."""

    image: str
    because: str
    verb = "prune_image"


Action = (
    ScaleOut
    | RepairCapacity
    | Drain
    | Undrain
    | Repurpose
    | Fence
    | Delete
    | SetImage
    | StartBuild
    | PruneImage
)


class EventKind(StrEnum):
    """What is worth a row in `events`."""

    ALERT = "alert"
    ALERT_CLOSED = "alert_closed"
    REFUSED = "refused"
    WOULD = "would"
    ACTED = "acted"
    ACT_FAILED = "act_failed"
    APPEARED = "appeared"
    ADOPTED = "adopted"
    READY = "ready"
    READY_LATE = "ready_late"
    BOOT_FAILED = "boot_failed"
    CREATE_FAILED = "create_failed"
    RESTARTED = "restarted"
    FOREIGN_DRAIN = "foreign_drain"
    DRAIN_ENDED = "drain_ended"
    DRAIN_LOST = "drain_lost"
    EXITED = "exited"
    GONE = "gone"
    VANISHED = "vanished"
    UNSUPPORTED = "unsupported"
    CLOCK_SKEW = "clock_skew"
    RELAY_COUNTER_STUCK = "relay_counter_stuck"
    DELETE_FAILED = "delete_failed"
    COMMAND = "command"
    NIGHT = "night"
    IMAGE_BUILD = "image_build"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, once."""

    kind: EventKind
    subject: str
    """Name of the bridge or shard."""
    text: str
    vm_id: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A state that a person should know of while it lasts."""

    kind: str
    subject: str
    text: str

    @property
    def key(self) -> str:
        """What is the same alert from tick to tick."""
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of one tick."""

    listed: int = 0
    healthy: int = 0
    accepting: int = 0
    draining: int = 0
    fenced: int = 0
    deleting: int = 0
    booting: int = 0
    failed: int = 0
    sick: int = 0
    unknown: int = 0
    pending: int = 0
    """Machines on their way: booting within their deadline, or asked for and not yet listed."""
    minimum: int = 0
    maximum: int = 0
    capacity: int | None = None
    demand: float = 0.0
    """Sum of the pressures of the healthy bridges; 1 is what one bridge carries at its threshold."""
    wanted: int = 0
    """Accepting bridges that the load asks for."""
    desired: int = 0
    """Accepting and pending bridges after this tick's actions."""
    conferences: int = 0
    participants: int = 0
    out_mbps: float = 0.0
    outdated: int = 0
    """Bridges that the night has still to replace; 0 by day."""
    boots: str = ""
    """JSON: seconds to ready, and by phase where the machine told, of each that came in the last minutes."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one `decide`. Nothing in it has been done yet."""

    shard: str
    at: datetime
    epoch: int
    totals: Totals
    memory: ShardMemory
    """The shard's memory as observed, before any action."""
    bridges: Mapping[str, BridgeMemory] = field(default_factory=dict)
    """Bridge memories with the refusal in force, before any action."""
    actions: tuple[Action, ...] = ()
    votes: tuple[Vote, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    events: tuple[Event, ...] = ()
    alerts: tuple[Alert, ...] = ()
    commands: tuple[Command, ...] = ()
    """Operators' commands as they shall be remembered."""
