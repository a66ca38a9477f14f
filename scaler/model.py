"""
What is known of a shard at one moment. All plain, frozen data.

`None` means unknown, and unknown is never zero: a bridge that we cannot hear may still
carry calls, so nothing may stop it on a number that is not there.
Every time is an aware UTC datetime; units stand last in names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any


class Phase(StrEnum):
    """Our view of a machine's life; the moves between phases stand in `lifecycle`."""

    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    FENCED = "fenced"
    DELETING = "deleting"
    FAILED = "failed"
    GONE = "gone"


class Purpose(StrEnum):
    """Why a bridge drains. Written before the drain, so that a crash cannot lose it."""

    TEAR_DOWN = "tear_down"
    SURPLUS = "surplus"
    RECYCLE = "recycle"
    OPERATOR = "operator"
    FOREIGN = "foreign"
    """A drain that no row explains: an operator is debugging. Not ours to touch."""


OURS_TO_UNDRAIN = frozenset({Purpose.TEAR_DOWN, Purpose.SURPLUS, Purpose.RECYCLE})


class Power(StrEnum):
    """ARM's power state, as far as a decision needs it."""

    RUNNING = "running"
    STOPPED = "stopped"
    """Stopped, deallocated, or on the way there: no process can be serving on it."""
    UNKNOWN = "unknown"
    """Starting, or not told."""


class Reach(StrEnum):
    """How a bridge's private port took our question."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """TCP connection refused by a host that is up: the process is not listening."""
    TIMED_OUT = "timed_out"
    """No answer in time. Proves nothing: the bridge may be serving others."""
    BROKEN = "broken"
    """Something answered that is not a bridge we understand (reset, TLS, redirect, garbage)."""
    NOT_ASKED = "not_asked"


_NO_ROOM = frozenset(
    {
        "AllocationFailed",
        "ZonalAllocationFailed",
        "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest",
        "SkuNotAvailable",
    }
)
"""Errors of a machine for which Azure found no place at all."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One VM of a scale set, as ARM tells it."""

    vm_id: str
    """GUID, lower case: the identity of the machine. Names and addresses repeat, this does not."""
    name: str
    instance_id: str
    """What ARM's delete takes: the VM name (Flexible) or the number (Uniform)."""
    resource_id: str
    """Full ARM id of the VM, lower case: what Azure Monitor is asked with."""
    time_created: datetime | None
    power: Power
    provisioning: str
    """ARM's provisioningState: Creating, Updating, Succeeded, Failed, Deleting."""
    address: str | None
    """Private IPv4 address of the primary NIC; None while ARM does not tell one."""
    image: str | None
    """Resource id of its exact image version, lower case; the bare version where no gallery is told."""
    error: str | None = None
    """Code and message of a failed provisioning."""
    config: str | None = None
    """Value of the tag `jvb-autoscaler-config`, which a machine takes from the model at its creation."""

    @property
    def is_deleting(self) -> bool:
        """ARM has begun to remove it."""
        return self.provisioning == "Deleting"

    @property
    def is_broken(self) -> bool:
        """Its provisioning failed (no room, say), and ARM does not say that it runs."""
        return self.provisioning == "Failed" and self.power is not Power.RUNNING

    @property
    def has_no_host(self) -> bool:
        """ARM says that it found no room for it, or that it is switched off: nothing can run on it."""
        code = (self.error or "").partition(":")[0]
        return self.power is Power.STOPPED or (self.is_broken and code in _NO_ROOM)


@dataclass(frozen=True, slots=True)
class ScaleSet:
    """The scale set's own record in ARM."""

    capacity: int
    etag: str
    vm_size: str
    owner: str | None
    """Value of the tag `jvb-autoscaler-owner`; None where the tag is absent."""
    provisioning: str
    sku_tier: str | None = None
    location: str | None = None
    image: str | None = None
    """What new machines are made of, lower case: an exact version, or a definition whose newest counts."""
    config: str | None = None
    """Value of the tag `jvb-autoscaler-config`: which boot configuration new machines get."""


@lru_cache(maxsize=256)  # a fleet has few versions, and each bridge is asked for its own
def version_order(image: str) -> tuple[int, ...]:
    """Numbers of a version, to compare: 1.10.0 is newer than 1.9.0. Empty where it has none."""
    parts = image.rpartition("/")[2].split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


@dataclass(frozen=True, slots=True)
class ImageVersion:
    """One version of a gallery image."""

    id: str
    """Resource id, lower case; its last part is the version: three numbers."""
    usable: bool
    """Made, replicated to the scale set's region, and not excluded from latest."""
    end_of_life: datetime | None = None
    problem: str | None = None
    """Why it is not usable, in words."""

    @property
    def version(self) -> str:
        """The three numbers."""
        return self.id.rpartition("/")[2]

    @property
    def order(self) -> tuple[int, ...]:
        """What sorts versions by age."""
        return version_order(self.id)


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """The last run of an image template."""

    state: str
    """As the service says: Running, Succeeded, PartiallySucceeded, Failed, Canceled, Canceling."""
    started_at: datetime | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class BridgeStats:
    """
    The statistics of one bridge, from `/colibri/stats` of JVB stable 7210 or newer.

    Every count is a non-negative integer or None. Rates are kbit/s as the bridge gives them.
    """

    timestamp: datetime
    conferences: int | None
    local_endpoints: int | None
    endpoints: int | None
    octo_endpoints: int | None
    largest_conference: int | None
    stress_level: float | None
    download_kbps: float | None
    upload_kbps: float | None
    drain: bool | None
    graceful_shutdown: bool
    shutting_down: bool
    healthy: bool | None
    muc_clients_connected: int | None
    mucs_joined: int | None
    total_conferences_created: int | None
    total_conferences_completed: int | None
    total_participants: int | None
    total_bytes_sent: int | None
    total_bytes_received: int | None
    total_ice_failed: int | None = None
    dtls_failed_endpoints: int | None = None
    relay_id: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """What one bridge answered in one tick."""

    at: datetime
    reach: Reach
    health_ok: bool | None = None
    """`/about/health` answered 200 (True) or another status (False)."""
    stats: BridgeStats | None = None
    drain: bool | None = None
    """From the stats, else from `GET /colibri/drain`."""
    process_started_at: datetime | None = None
    """`startup_time` of `/metrics`, where it was asked and the JVB has it (2024-05 and newer)."""
    supported: bool = True
    """False: a JVB without drain (older than stable 7210): left alone."""
    problem: str | None = None
    """Why stats or health are missing, in words: a status, a field, a limit that was passed."""


@dataclass(frozen=True, slots=True)
class PlatformLoad:
    """The newest complete minute that Azure Monitor has of one VM."""

    at: datetime
    in_mbps: float | None
    out_mbps: float | None
    cpu_fraction: float | None


@dataclass(frozen=True, slots=True)
class ProcessTotals:
    """Counters that only ever grow while one JVB process lives; a fall proves a restart."""

    conferences_created: int | None = None
    conferences_completed: int | None = None
    participants: int | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None


@dataclass(frozen=True, slots=True)
class BootRemark:
    """What a machine itself said of its boot. A remark: no decision reads it, only texts for people do."""

    reports: int = 0
    """Call-backs taken so far."""
    reported_at: datetime | None = None
    outcome: str | None = None
    """`ready` or `failed`, as the machine sees it."""
    phase: str | None = None
    """
    How far it came: settings, address, secrets, configuration, start, membership, health, accepting, ready.
    """
    seconds: dict[str, float] = field(default_factory=dict, hash=False)
    """How long each phase took, in their order."""
    reason: str | None = None
    log: str | None = None
    """The last lines of the bridge's log, of a boot that failed."""

    @property
    def failure(self) -> str | None:
        """Why it failed, in a line; None where it did not say that it did."""
        if self.outcome != "failed":
            return None
        return f"its boot failed in {self.phase}: {self.reason or 'no reason told'}"


@dataclass(frozen=True)  # no slots: `changed` copies its fields all at once
class BridgeMemory:
    """
    What we remember of one machine between ticks: one row of `bridges`, keyed by vmId.

    The cloud is the truth for what exists; this remembers only since when and why.
    The row is also the intent of every step against the bridge: `phase`, `wanted_drain` and
    `purpose` are written before the call that makes them true.
    """

    vm_id: str
    name: str
    phase: Phase
    phase_since: datetime
    first_seen: datetime
    unlisted_since: datetime | None = None
    """First complete list of ARM without it; one such list may be stale, minutes of them are believed."""
    asked_by: str | None = None
    """Our intent that asked for this VM; None: adopted, so never removed as 'never ready'."""
    asked_at: datetime | None = None
    may_be_anothers: bool = False
    """Our write had no answer, it was made late, or one came that nobody asked for: it may not be ours."""
    ever_ready: bool = False
    ready_after_seconds: float | None = None
    """From its request (an adopted one: its creation) to its first accepting poll, by our own clock."""
    boot: BootRemark = field(default_factory=BootRemark)
    address: str | None = None
    time_created: datetime | None = None
    image: str | None = None
    """Image version that it was made of."""
    epoch: int = 0
    """Lease epoch under which the last step was written."""

    process_started_at: datetime | None = None
    restart_seen_at: datetime | None = None
    """When a fall of its totals proved a restart; its age counts from here where no start time is told."""
    restarts: int = 0
    """Restarts in a row, each seen within an hour of the one before."""
    starts_drained: bool = False
    """This process was drained when first seen: the image starts so, it is nobody's drain."""
    totals: ProcessTotals = ProcessTotals()

    stats_timestamp: datetime | None = None
    polled_at: datetime | None = None
    skew_seconds: float | None = None
    """Our clock less the bridge's, learnt from its freshest answer."""

    polls: str = ""
    """The last five polls, newest last: `1` good, `0` bad."""
    bad_since: datetime | None = None
    silent_since: datetime | None = None
    """Since when nothing answers on it, or it is switched off; a poll that did not ask it changes nothing."""

    wanted_drain: bool = False
    purpose: Purpose | None = None
    drain_asked_at: datetime | None = None
    drained_at: datetime | None = None
    """When `GET /colibri/drain` confirmed it; the settle time counts from here."""
    drain_unseen_polls: int = 0
    empty_since: datetime | None = None
    """First settled poll that found it empty, with `created_at_empty` unchanged since."""
    empty_seen_at: datetime | None = None
    created_at_empty: int | None = None

    fenced_at: datetime | None = None
    """When it took the graceful shutdown, or first said so; None: asked for, with no answer yet."""
    fences_ignored: int = 0
    """How often this process was told to shut down, and answered as if nothing were."""
    refused_since: datetime | None = None
    refused_seen_at: datetime | None = None
    """First and latest refused connection with nothing answering between."""
    exited_at: datetime | None = None

    delete_asked_at: datetime | None = None
    delete_attempts: int = 0
    delete_not_before: datetime | None = None
    operation: str | None = None
    """Operation URL of the last delete, read once a tick until it ends."""

    nic_mbps: tuple[float, ...] = ()
    cpu_fractions: tuple[float | None, ...] = ()
    stress_levels: tuple[float | None, ...] = ()
    """Samples of the last polls, newest last (2, 5 and 5 of them)."""
    pressure: float | None = None
    """Last known pressure, kept while the bridge is silent."""
    hot_answered: bool = False
    """A +1 was already given for it being hot; cleared when its pressure falls under 0.7."""
    relayed_since: datetime | None = None
    """Since when relayed endpoints are counted without a conference (a stuck counter)."""
    platform_quiet_since: datetime | None = None
    """Since when Azure Monitor sees next to nothing leave this VM, with no gap of `OUTAGE` between."""
    platform_quiet_seen_at: datetime | None = None
    """When it last did."""

    unsupported: bool = False
    failure: str | None = None
    """Why it did not become a bridge, or how its drain API refused."""
    fence_failure: str | None = None
    """How its shutdown API refused: not asked again until another process runs, or it serves again."""
    refusal: str | None = None
    refusal_since: datetime | None = None


def fields_of(record: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name, as they are: `dataclasses.asdict` copies each value deeply."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def changed(memory: BridgeMemory, **changes: Any) -> BridgeMemory:
    """
    Return the memory with these fields changed. Raises `TypeError` for a field that it does not have.

    Does what `dataclasses.replace` does, without setting each of some sixty fields again: that took a
    fifth of a tick.
    """
    if unknown := changes.keys() - vars(memory).keys():
        raise TypeError(f"BridgeMemory has no field {', '.join(sorted(unknown))}")
    copy = object.__new__(BridgeMemory)
    vars(copy).update(vars(memory), **changes)
    return copy


@dataclass(frozen=True, slots=True)
class CreateIntent:
    """One machine that we asked ARM for: one row of `intents`, written before the call."""

    intent_id: str
    asked_at: datetime
    epoch: int
    capacity: int
    """The absolute capacity that the write asked for."""
    why: str
    image: str | None = None
    """What the model was when it was asked for."""
    answers: tuple[str, ...] = ()
    """Hot bridges (vm_id) that this machine is the one answer for; freed when it never comes."""
    operation: str | None = None
    """Operation URL, read once a tick until it ends; None before ARM answered."""
    operation_done: bool = False
    taken: bool = False
    """Its answer was lost, and the capacity showed that ARM took it: a later delete lowers that again."""
    vm_id: str | None = None
    ended_at: datetime | None = None
    error: str | None = None

    @property
    def is_open(self) -> bool:
        """Asked for, and neither seen as a machine nor failed."""
        return self.ended_at is None and self.vm_id is None


class CommandKind(StrEnum):
    """What an operator may ask for."""

    DRAIN = "drain"
    UNDRAIN = "undrain"
    PROTECT = "protect"
    PAUSE = "pause"
    RESUME = "resume"
    FLOOR = "floor"
    REPLACE = "replace"
    UNBLOCK_IMAGE = "unblock_image"
    CANCEL = "cancel"


class CommandState(StrEnum):
    """How far a command came."""

    OPEN = "open"
    """Not carried out yet: new, or waiting for what its `outcome` names."""
    IN_FORCE = "in_force"
    """Holds until it expires, is cancelled, or is replaced: protect, pause, floor."""
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Command:
    """One operator's command: one row of `commands`. Written once by the operator, then only by ticks."""

    command_id: str
    kind: CommandKind
    by: str
    why: str
    asked_at: datetime
    expires_at: datetime | None = None
    """Not carried out, or no longer in force, from here on; None: until cancelled or resumed."""
    state: CommandState = CommandState.OPEN
    ended_at: datetime | None = None
    outcome: str | None = None
    """What came of it, or what it waits for, in words."""
    vm_id: str | None = None
    bridge: str | None = None
    """Name of the machine when the command was given."""
    minimum: int | None = None
    from_time: str | None = None
    """Local time `HH:MM` at which a floor begins each day; None: it holds all the time."""
    until_time: str | None = None
    days: tuple[str, ...] = ()
    """Days on which the window begins: mon, tue, wed, thu, fri, sat, sun."""
    time_zone: str | None = None
    image_version: str | None = None
    target: str | None = None
    """Of a `cancel`: the command that it ends."""

    @property
    def is_open(self) -> bool:
        """Waiting, or in force."""
        return self.state in (CommandState.OPEN, CommandState.IN_FORCE)


@dataclass(frozen=True, slots=True)
class Night:
    """One night of a shard: what it is for, how far it is, and how it ended. Kept until the next one."""

    date: str | None = None
    """Local date on which its window opened, ISO: a date has one night."""
    opened_at: datetime | None = None
    until: datetime | None = None
    """End of the window: no new machine and no new drain from here on."""
    take_back_at: datetime | None = None
    """The noon after it: what still drains for the night is then taken back."""
    ended_at: datetime | None = None
    outcome: str | None = None
    """`done`, `unfinished`, `bad image`, or `nothing to do`."""
    base: int = 0
    """Bridges that must accept at every moment: how many there were, less the surplus that left."""
    target: str | None = None
    """The image version that every bridge shall have, chosen once; None: images are not judged."""
    config: str | None = None
    """Boot configuration that new machines got when the canary was asked for: it proves no other."""
    oldest: str | None = None
    """vm_id of the oldest bridge when it opened, which goes in any case with `recycle: always`."""
    canary: str | None = None
    """vm_id of the first machine of the night."""
    judged_at: datetime | None = None
    """Last tick in which it could be judged: the old bridges were healthy."""
    waited_seconds: float = 0.0
    """How long it could be seen not to accept."""
    accepted_at: datetime | None = None
    baked_seconds: float = 0.0
    """How long it was seen to be healthy since."""
    bad_polls: int = 0
    """Polls since in which it was not, and the old bridges were."""
    passed_at: datetime | None = None
    failed: str | None = None
    """Why the image is bad, in words."""
    outdated: int = 0
    """Bridges that are still to be replaced."""
    of: int = 0
    """Bridges that were to be replaced when it opened."""
    relays: bool = False
    """Its bridges carry relay ids: those of two versions cannot share a conference."""
    beside: int = 0
    """Outdated ones that cannot be drained now: sick, unsupported, or drained by others."""
    waits_for: str | None = None
    waits_since: datetime | None = None

    @property
    def is_open(self) -> bool:
        """In its window, with work left."""
        return self.opened_at is not None and self.ended_at is None


@dataclass(frozen=True, slots=True)
class Build:
    """The build of an image before a night. Kept until the next one."""

    date: str | None = None
    """Local date of the night that it is for, ISO."""
    asked_at: datetime | None = None
    outcome: str | None = None
    """What the service said in the end; None: not ended."""


@dataclass(frozen=True, slots=True)
class ShardMemory:
    """What we remember of a shard between ticks: row `state` of `shards`."""

    known_since: datetime
    """First tick with this row. Without memory nothing is drained for a whole window."""
    last_tick_at: datetime | None = None
    heard_at: datetime | None = None
    """Last tick in which ARM told which machines there are."""
    epoch: int = 0
    surplus_since: datetime | None = None
    last_undrain_at: datetime | None = None
    last_scale_out_at: datetime | None = None
    lower_bound_polls: int = 0
    """Polls in a row in which demand was at the point where bridges can no longer say how full."""
    blind_since: datetime | None = None
    blind_clear_ticks: int = 0
    blind_bought: bool = False
    blind_ended_at: datetime | None = None
    """When it ended last: silence that comes back soon is the same incident, and buys nothing more."""
    disagree_ticks: int = 0
    """Ticks in a row in which the capacity did not equal the machines listed."""
    capacity_gap: int = 0
    """Capacity less the machines listed and asked for, in the latest tick that saw both."""
    gap_since: datetime | None = None
    """Since when the gap is the same, seen without a break; None: there is none, or nobody looked."""
    gap_etag: str | None = None
    """Etag of the scale set that the gap was seen in: whoever writes to it begins anew."""
    boot_failures: int = 0
    backoff_until: datetime | None = None
    last_clean_up_at: datetime | None = None
    paused: bool = False
    pause_reason: str | None = None
    alerts: dict[str, datetime] = field(default_factory=dict)
    """Open alerts by key, with since when."""
    standing: dict[str, datetime] = field(default_factory=dict)
    """Refusals (and, in dry run, would-be actions) in force by key, with since when: said only once."""
    left_drained: tuple[str, ...] = ()
    """Dry run: names of the bridges that an earlier live run left drained."""
    night: Night = Night()
    build: Build = Build()
    good_image: str | None = None
    """The last image version that is known to make good bridges: new machines are made of it."""
    outdated_since: datetime | None = None
    """Since when a bridge that serves is made of an older version than that."""
    blocked_images: dict[str, datetime] = field(default_factory=dict)
    """Image versions that made a bad canary, with since when: not used until unblocked or superseded."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """One machine in a snapshot: what ARM says, what the bridge says, what we remember."""

    instance: Instance | None
    """None: ARM no longer lists it (only while `deleting`)."""
    memory: BridgeMemory
    poll: Poll
    platform: PlatformLoad | None = None
    unhealthy_because: str | None = None
    """None: healthy in this tick. Else the first condition that failed, in words."""
    fresh: bool = False
    """The statistics are of this tick and their clock advances."""
    pressure: float | None = None
    """Load over threshold: 1 is a full bridge. None: nothing known in this tick."""
    nic_mbps: float | None = None
    cpu_fraction: float | None = None

    @property
    def vm_id(self) -> str:
        """Identity of the machine."""
        return self.memory.vm_id

    @property
    def name(self) -> str:
        """Name for people."""
        return self.memory.name

    @property
    def phase(self) -> Phase:
        """Phase after this tick's passive moves."""
        return self.memory.phase

    @property
    def healthy(self) -> bool:
        """Every sign of health was seen in this tick."""
        return self.unhealthy_because is None

    @property
    def stats(self) -> BridgeStats | None:
        """Statistics of this tick, only if fresh."""
        return self.poll.stats if self.fresh else None

    @property
    def observed_drain(self) -> bool | None:
        """What the bridge itself says of its drain."""
        return self.poll.drain

    @property
    def idle(self) -> bool | None:
        """No conference and no endpoint; None where either is unknown."""
        stats = self.stats
        if stats is None or stats.conferences is None or stats.local_endpoints is None:
            return None
        return stats.conferences == 0 and stats.local_endpoints == 0


@dataclass(frozen=True, slots=True)
class Nightly:
    """What is heard besides when the timer of the night runs. None: not asked, or no answer."""

    versions: tuple[ImageVersion, ...] | None = None
    build: ImageBuild | None = None
    problem: str | None = None
    """Why the gallery or the template did not answer."""
    needed_elsewhere: frozenset[str] | None = frozenset()
    """Image versions that other shards still need; None: one of them does not tell."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one decision may know."""

    shard: str
    now: datetime
    epoch: int
    scale_set: ScaleSet | None
    """None: ARM did not answer completely. The machines are then unknown, not absent."""
    bridges: tuple[Bridge, ...]
    intents: tuple[CreateIntent, ...]
    memory: ShardMemory
    other_owner: str | None = None
    """The scale set's owner tag, where it names another installation than this one."""
    commands: tuple[Command, ...] = ()
    """Operators' commands that are open, oldest first."""
    unlisted: frozenset[str] = frozenset()
    """vm_ids of machines that this list of ARM's lacks, and that are kept: it may be stale."""
    measures: bool = False
    """Azure Monitor is there to be asked: a machine of which it tells nothing is then unknown, not quiet."""
    nightly: Nightly | None = None
    """Only in the ticks that may open a night or start a build."""
    turn_of: str | None = None
    """Another shard whose canary goes before this one's."""
