"""
Faults: what goes wrong, when, and for how long; a whole run's worth is drawn from one seed.

Each fault carries all the chance that it needs, so that leaving one out of a plan changes no other:
that is what lets a failing run be shrunk to its smallest story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random

from sandbox.bridge import SimBridge
from sandbox.cloud import SimScaleSet, SimVm
from sandbox.workload import PlannedConference
from sandbox.world import World
from scaler.model import Command

INTENSITIES = (0.1, 0.3, 1.0)
"""A run is calm, uneasy or a disaster: a fleet that is never left alone would never scale in."""
LONGEST_CLOCK_JUMP_S = 20.0
"""Of the function's hosts; bridges' clocks jump by minutes."""
SHARE_OF_KINDS = 0.6
"""Each run leaves some kinds out, since one fault can hide another."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: str
    at_s: float
    """Seconds after the start of the run."""
    lasts_s: float
    pick: int
    """Chooses a victim among those there are, and seeds whatever else the fault draws."""

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.kind} at {self.at_s:.0f} s for {self.lasts_s:.0f} s (pick {self.pick})"


Undo = Callable[[], None]
Begin = Callable[["Site", Fault], "Undo | None"]
"""Makes a fault true and returns what ends it; None: it finds no victim now, and is tried again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault and its own rate."""

    name: str
    per_hour: float
    lasts_s: tuple[float, float]
    begin: Begin


def _nobody_takes_it(command: Command) -> None:
    raise LookupError(f"no tables for {command}")


def _nothing_remembered() -> None:
    raise LookupError("no tables to empty")


@dataclass(slots=True)
class Site:
    """Where faults happen: one scale set, and the ports that lead to it."""

    world: World
    scale_set: SimScaleSet
    log: Callable[[str], None]
    in_force: dict[str, list[Fault]] = field(default_factory=dict)
    marked: dict[str, set[str]] = field(default_factory=dict)
    """Names of the machines that a kind of fault of the ports has hit."""
    exercised: Counter[str] = field(default_factory=Counter)
    """How often each kind had an effect."""
    vouched: set[str] = field(default_factory=set)
    """vm_ids of machines of which an operator says, rightly or not, that they serve nobody."""
    removed_by_others: set[str] = field(default_factory=set)
    """vm_ids of machines that an operator, or a fault, removed."""
    undrained_by_hand: dict[str, datetime] = field(default_factory=dict)
    """When an operator last lifted a bridge's drain, by its name."""
    host_clocks: Fault | None = None
    """The clocks of the function's hosts differ: each process has its own."""
    chances: dict[Fault, Random] = field(default_factory=dict)
    over: bool = False
    order: Callable[[Command], None] = _nobody_takes_it
    """Takes an operator's command, as the app's HTTP route would write it."""
    forget: Callable[[], None] = _nothing_remembered
    """Empties the tables of the shard."""

    # Victims

    def machines(self) -> list[SimVm]:
        """Machines that run."""
        return [vm for vm in self.scale_set.vms.values() if vm.running and vm.provisioning == "Succeeded"]

    def serving(self) -> list[SimVm]:
        """Machines whose bridge process runs."""
        return [vm for vm in self.machines() if vm.bridge is not None and vm.bridge.listening]

    def leaving(self) -> list[SimVm]:
        """Machines whose bridge drains, was told to end, or has ended: where a step is never far."""
        return [
            vm
            for vm in self.machines()
            if vm.bridge and (vm.bridge.drain or vm.bridge.graceful_shutdown or not vm.bridge.listening)
        ]

    def takes_late_calls(self, address: str) -> bool:
        """A drained bridge is there, which a call that was under way may still reach."""
        return self._drained_at(address) is not None

    def slip_in(self, fault: Fault, address: str) -> None:
        """Let such a call come: one that goes on, or one that is over at once."""
        bridge, now = self._drained_at(address), self.world.now
        if bridge is None:
            return
        seconds = 0.0 if fault.pick % 2 else 60.0 + fault.pick % 540
        people = 2 + fault.pick % 4
        call = PlannedConference(f"late-{fault.pick}", now, (0.0,) * people, (seconds,) * people)
        self.scale_set.jicofo.arrive_now(call, bridge)

    def _drained_at(self, address: str) -> SimBridge | None:
        found = [vm.bridge for vm in self.serving() if vm.address == address]
        return next((b for b in found if b and b.drain and b.muc_joined and not b.graceful_shutdown), None)

    def remove_by_hand(self, remove: Callable[[], None]) -> None:
        """Let somebody else remove machines, and remember which they were."""
        before = {vm.vm_id for vm in self.scale_set.live_vms()}
        remove()
        self.removed_by_others |= before - {vm.vm_id for vm in self.scale_set.live_vms()}

    def undrain_by_hand(self, bridge: SimBridge) -> None:
        """Let an operator lift a drain, whoever's it is."""
        bridge.set_drain(False)
        self.undrained_by_hand[bridge.name] = self.world.now

    def ahead_s(self, host: int) -> float:
        """How far the clock of one of the function's hosts is ahead."""
        if self.host_clocks is None:
            return 0.0
        return Random(f"{self.host_clocks.pick}/{host}").uniform(-LONGEST_CLOCK_JUMP_S, LONGEST_CLOCK_JUMP_S)

    # Faults of the ports

    def mark(self, kind: str, name: str) -> Undo:
        """Mark a machine for the ports; return what takes the mark away."""
        self.marked.setdefault(kind, set()).add(name)
        return partial(self.marked[kind].discard, name)

    def strikes(self, kind: str, chance: float = 1.0) -> Fault | None:
        """Whether a fault of this kind hits the present call; counts it if so."""
        for fault in self.in_force.get(kind, ()):
            rng = self.chances.setdefault(fault, Random(fault.pick))
            if chance >= 1.0 or rng.random() < chance:
                self.exercised[kind] += 1
                return fault
        return None

    def hits(self, kind: str, name: str) -> bool:
        """Whether this machine is marked by a kind; counts it if so."""
        if name not in self.marked.get(kind, ()):
            return False
        self.exercised[kind] += 1
        return True

    def spend(self, fault: Fault) -> None:
        """End a fault of the ports that strikes only once."""
        faults = self.in_force.get(fault.kind, [])
        if fault in faults:
            faults.remove(fault)


@dataclass(slots=True)
class Disaster:
    """Lets the faults of a plan come and go as the world's time passes."""

    site: Site
    kinds: Mapping[str, Kind]
    _waiting: list[tuple[Fault, datetime]] = field(default_factory=list)
    _undos: list[Undo] = field(default_factory=list)

    def announce(self, plan: Iterable[Fault]) -> None:
        """Write every fault into the world's agenda."""
        start = self.site.world.now
        for fault in plan:
            self.site.world.schedule(start + timedelta(seconds=fault.at_s), self._due, fault)

    def _due(self, fault: Fault) -> None:
        until = self.site.world.now + timedelta(seconds=max(fault.lasts_s, 600))
        if not self.site.over and not self._try(fault):
            self._waiting.append((fault, until))

    def _try(self, fault: Fault) -> bool:
        undo = self.kinds[fault.kind].begin(self.site, fault)
        if undo is None:
            return False
        self.site.log(f"fault begins: {fault}")
        self._undos.append(undo)
        ends = self.site.world.now + timedelta(seconds=fault.lasts_s)
        self.site.world.schedule(ends, self._end, undo, fault)
        return True

    def _end(self, undo: Undo, fault: Fault) -> None:
        if undo in self._undos:
            self._undos.remove(undo)
            undo()
            self.site.log(f"fault ends: {fault.kind}")

    def look_again(self) -> None:
        """Try the faults that found no victim so far; give those up whose time has passed."""
        now, waiting = self.site.world.now, self._waiting
        self._waiting = []
        for fault, until in waiting:
            if now < until and not self._try(fault):
                self._waiting.append((fault, until))

    def end_all(self) -> None:
        """Mend everything: from now on nothing goes wrong any more."""
        self.site.over = True
        self._waiting.clear()
        for undo in self._undos:
            undo()
        self._undos.clear()
        self.site.in_force.clear()
        self.site.marked.clear()


def draw(seed: int, hours: float, kinds: Iterable[Kind]) -> tuple[Fault, ...]:
    """Draw the faults of one run, in the order in which they begin."""
    rng = Random(f"{seed}/faults")
    intensity = rng.choice(INTENSITIES)
    found: list[Fault] = []
    for kind in kinds:
        stream = Random(f"{seed}/faults/{kind.name}")
        if stream.random() < SHARE_OF_KINDS:
            found += _of_kind(stream, kind, hours * 3600, kind.per_hour * intensity)
    return tuple(sorted(found, key=lambda fault: (fault.at_s, fault.kind)))


def _of_kind(rng: Random, kind: Kind, end_s: float, per_hour: float) -> list[Fault]:
    found: list[Fault] = []
    at_s = rng.expovariate(per_hour / 3600)
    while at_s < end_s:
        found.append(
            Fault(kind.name, round(at_s, 3), round(rng.uniform(*kind.lasts_s), 3), rng.getrandbits(24))
        )
        at_s += rng.expovariate(per_hour / 3600)
    return found


def forced(kind: str) -> Begin:
    """Begin a fault that the ports, or the loop, look for by its kind."""

    def begin(site: Site, fault: Fault) -> Undo:
        site.in_force.setdefault(kind, []).append(fault)
        return partial(site.spend, fault)

    return begin
