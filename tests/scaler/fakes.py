"""Ports that answer from a script, for what a whole world would only hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sandbox.memory_store import MemoryStore
from scaler.act import Hands, perform
from scaler.decision import Action
from scaler.explain import Outcome
from scaler.ledger import Ledger
from scaler.model import Bridge, BridgeMemory, Instance, PlatformLoad, Poll, Reach, ScaleSet
from scaler.policy import ScalingPolicy
from scaler.ports import Lease, Operation, ShardRows, Stored, Target
from tests.scaler.builders import NOW, policy, poll, scale_set, silent, snapshot


@dataclass
class FakeClock:
    """A clock that is set by hand."""

    at: datetime = NOW

    def now(self) -> datetime:
        """Return what it was set to."""
        return self.at


@dataclass
class FakeBridges:
    """Answers of bridges by vm_id, in turn; the last one stays."""

    reads: dict[str, list[Poll]] = field(default_factory=dict)
    polls: dict[str, Poll] = field(default_factory=dict)
    error: Exception | None = None
    calls: list[str] = field(default_factory=list)
    asked: list[Target] = field(default_factory=list)
    read_takes: timedelta = timedelta(0)
    started: datetime | None = NOW - timedelta(hours=2)
    """Start of the process in every answer that does not name another."""
    clock: FakeClock = field(default_factory=FakeClock)

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        """Answer all."""
        self.asked += targets
        return {target.vm_id: self.polls.get(target.vm_id, silent()) for target in targets}

    async def read(self, target: Target) -> Poll:
        """Answer one; may take its time."""
        self.clock.at += self.read_takes
        answers = self.reads.get(target.vm_id, [poll()])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        untold = answer.reach is Reach.ANSWERED and answer.process_started_at is None
        return replace(answer, process_started_at=self.started) if untold else answer

    async def set_drain(self, target: Target, *, on: bool) -> None:
        """Note the command."""
        self._note(f"{'drain' if on else 'undrain'} {target.vm_id}")

    async def shut_down(self, target: Target) -> None:
        """Note the command."""
        self._note(f"fence {target.vm_id}")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


@dataclass
class FakeCloud:
    """One scale set."""

    machines: tuple[Instance, ...] = ()
    record: ScaleSet = field(default_factory=scale_set)
    error: Exception | None = None
    calls: list[str] = field(default_factory=list)
    operations: dict[str, Operation | Exception] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)

    async def scale_set(self) -> ScaleSet:
        """Answer."""
        return self.record

    async def instances(self, known_addresses: Mapping[str, str]) -> tuple[Instance, ...]:
        """Answer."""
        self.known = dict(known_addresses)
        return self.machines

    async def scale_out(self, scale_set: ScaleSet, capacity: int) -> str | None:
        """Note the command."""
        self._note(f"capacity {capacity}")
        return "op-out"

    async def set_image(self, scale_set: ScaleSet, image: str) -> None:
        """Note the command."""
        self._note(f"image {image}")

    async def delete(self, instance: Instance) -> str | None:
        """Note the command."""
        self._note(f"delete {instance.vm_id}")
        return "op-delete"

    async def operation(self, url: str) -> Operation:
        """Answer, or fail."""
        answer = self.operations[url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


@dataclass
class FakeMetrics:
    """Azure Monitor."""

    loads: dict[str, PlatformLoad] = field(default_factory=dict)
    error: Exception | None = None

    async def read(self, instances: Sequence[Instance], now: datetime) -> Mapping[str, PlatformLoad]:
        """Answer, or fail."""
        if self.error is not None:
            raise self.error
        return self.loads


class Stage:
    """A snapshot, ports and tables for the performing of a few actions."""

    def __init__(self, *bridges: Bridge, policy_: ScalingPolicy | None = None, **changes: Any) -> None:
        """`changes`: as of `builders.snapshot`."""
        self.clock = FakeClock()
        self.bridges = FakeBridges(clock=self.clock)
        self.cloud = FakeCloud()
        self.store = MemoryStore()
        self.snapshot = snapshot(*bridges, **changes)
        self.lease = Lease("s", "me", 9, NOW + timedelta(seconds=150), "1")
        memories = {b.vm_id: b.memory for b in bridges}
        rows = ShardRows(None, {}, {})
        self.ledger = Ledger(self.store, "s", rows, self.snapshot.memory, memories, self.snapshot.intents)
        self.policy = policy_ or policy()

    def hears(self, name: str, *answers: Poll) -> Stage:
        """Let a bridge answer this when it is read."""
        self.bridges.reads[f"vm-{name}"] = list(answers)
        return self

    async def does(self, *actions: Action) -> tuple[Outcome, ...]:
        """Perform."""
        hands = Hands(self.cloud, self.bridges, self.clock, self.lease, self.policy, self.snapshot)
        return await perform(actions, hands, self.ledger)

    @property
    def calls(self) -> list[str]:
        """Every command that bridges and ARM got."""
        return self.bridges.calls + self.cloud.calls

    def __getitem__(self, name: str) -> BridgeMemory:
        """What is remembered of a bridge."""
        return self.ledger.bridge(f"vm-{name}")

    async def written(self, name: str) -> BridgeMemory | None:
        """What stands in the table, before anything is saved."""
        row: Stored[BridgeMemory] | None = (await self.store.load("s")).bridges.get(f"vm-{name}")
        return row.value if row else None
