"""
The road out of service against an adversary: calls, restarts, lies, failures and kills in any order.

The engine is the real one, over the in-process world. What must never happen is judged here at the
very calls, from the world's truth and the stored rows, apart from the checkers of the simulation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import scaler.act
from sandbox.bridge import SimBridge
from sandbox.cloud import SimVm
from sandbox.history import CutReason
from sandbox.inprocess import InProcess
from sandbox.memory_store import MemoryStore
from sandbox.settling import unrest
from scaler.errors import Refused, StateChanged, Throttled, TryNextTick
from scaler.ledger import Ledger
from scaler.model import BridgeMemory, Phase
from scaler.policy import ScalingPolicy
from tests.scaler.worlds import SCALE_SET, SHARD, install, slip_in_a_call, world_of
from tests.simulation.bounds import bounded

POLICY: dict[str, Any] = {
    "max_bridges": 6,
    "participants_per_bridge": 15,
    "uptime_minutes": 5.0,
    "scale_in_window_minutes": 2.0,
    "recycle": "off",
}
EFFECTS = ("set_drain", "shut_down", "delete", "scale_out", "put_bridges", "put_intents", "put_state")
ARM_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: TryNextTick("503"),
    lambda: Throttled("429", 60.0),
    lambda: StateChanged("412"),
    lambda: Refused("OperationNotAllowed", "409"),
)
SETTLES_S = 30.0
REST_MINUTES = 240

machines = st.integers(min_value=0, max_value=7)


class Killed(BaseException):
    """The process ended here: no handler may see it."""


class ProtocolMachine(RuleBasedStateMachine):
    """One shard, and everything that may befall it while bridges leave."""

    def __init__(self) -> None:
        """Nothing is broken yet."""
        super().__init__()
        self.loop = asyncio.Runner()
        self.arm_error: Exception | None = None
        self.arm_error_behind = False
        self.kill_in: int | None = None
        self.kill_behind = False
        self.dead = False
        self.processes = 0
        self.broken: list[str] = []
        self.drained_s: dict[tuple[str, int], float] = {}
        """When a process (machine, number) was first told to drain since it last was open."""
        self.fenced: set[tuple[str, int]] = set()
        self.mending: list[Callable[[], None]] = []
        self.meanwhile: Callable[[SimVm | None], None] | None = None
        """Happens to the next machine that is read again before a step against it."""
        self.store = MemoryStore(self.before, self.after)
        self.it: InProcess = self.start_process(None)

    def start_process(self, running: InProcess | None) -> InProcess:
        """Another process over the same tables and the same world."""
        self.processes += 1
        self.dead, self.kill_in = False, None
        return install(
            world_of([3, 2.5, 2]),
            store=self.store,
            world=running.world if running else None,
            before=self.before,
            after=self.after,
            run_id=f"run-{self.processes}",
            **POLICY,
        )

    @initialize()
    def begin(self) -> None:
        """It is watched for long enough that drains may begin."""
        self.minutes(3)

    # What the engine does, judged as it does it

    def before(self, name: str, **details: Any) -> None:
        """See a call that is about to begin."""
        if self.dead:
            raise Killed
        if name == "read" and self.meanwhile is not None and "vm_id" in details:
            happens, self.meanwhile = self.meanwhile, None
            happens(next((vm for vm in self.vms() if vm.vm_id == details["vm_id"]), None))
        if name in ("set_drain", "shut_down", "delete"):
            self.judge(name, details)
        if name in EFFECTS and self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in == 0 and not self.kill_behind:
                self.die()
        if name in ("scale_out", "delete") and self.arm_error is not None and not self.arm_error_behind:
            raise self.take_arm_error()

    def after(self, name: str, **_details: Any) -> None:
        """See a call that had its effect."""
        if self.dead:
            return
        if name in EFFECTS and self.kill_in == 0:
            self.die()
        if name in ("scale_out", "delete") and self.arm_error is not None:
            self.take_arm_error()
            raise TryNextTick("no answer in time, though it was done")

    def take_arm_error(self) -> Exception:
        error, self.arm_error = self.arm_error, None
        assert error is not None
        return error

    def die(self) -> None:
        self.dead = True
        raise Killed

    def judge(self, name: str, details: dict[str, Any]) -> None:
        """Hold what is about to be done against the truth and against what was written first."""
        vm = next((each for each in self.vms() if each.vm_id == details["vm_id"]), None)
        stored = self.store.table(SHARD).bridges.get(details["vm_id"])
        row = stored.value if stored is not None else None
        if vm is None or row is None:
            self.broken.append(f"{name} of a machine that is not there, or has no row")
        elif name == "set_drain":
            self.judge_drain(vm, row, on=details["on"])
        elif name == "shut_down":
            self.judge_fence(vm, row)
        else:
            self.judge_delete(vm, row)

    def judge_drain(self, vm: SimVm, row: BridgeMemory, *, on: bool) -> None:
        if on and not (row.phase is Phase.DRAINING and row.wanted_drain and row.purpose is not None):
            self.broken.append(f"the drain of {vm.name} has no purpose written first")
        if not on and row.wanted_drain:
            self.broken.append(f"the drain of {vm.name} ends, and its row still wants it")
        if vm.bridge is not None and on:
            self.drained_s.setdefault((vm.vm_id, vm.bridge.process), self.now_s)

    def judge_fence(self, vm: SimVm, row: BridgeMemory) -> None:
        bridge = vm.bridge
        if row.phase is not Phase.FENCED:
            self.broken.append(f"the fence of {vm.name} is not written first")
        if bridge is None or not bridge.listening:
            return  # nobody takes it
        self.fenced.add((vm.vm_id, bridge.process))
        if bridge.faults.overrides:
            return  # a liar may be fenced: its people keep their call, and it goes when they have left
        if bridge.conferences:
            self.broken.append(f"the fence of {vm.name} meets a call")
        drained_s = self.drained_s.get((vm.vm_id, bridge.process))
        settled = drained_s is not None and self.now_s - drained_s >= SETTLES_S
        if row.ever_ready and not settled:
            self.broken.append(f"the fence of {vm.name} comes before its drain has settled")
        if not bridge.drain:
            self.broken.append(f"the fence of {vm.name} meets a bridge that is not drained")

    def judge_delete(self, vm: SimVm, row: BridgeMemory) -> None:
        bridge = vm.bridge
        if row.phase is not Phase.DELETING:
            self.broken.append(f"the delete of {vm.name} is not written first")
        if vm.provisioning != "Deleting" and bridge is not None and bridge.listening:
            self.broken.append(f"the delete of {vm.name} meets a running JVB")
        if vm.provisioning != "Deleting" and bridge is not None and bridge.conferences:
            self.broken.append(f"the delete of {vm.name} meets a call")
        if row.ever_ready and not any(vm_id == vm.vm_id for vm_id, _ in self.fenced):
            self.broken.append(f"the delete of {vm.name}, which was never fenced")

    # Looking

    @property
    def policy(self) -> ScalingPolicy:
        return self.it.engine.shards[SHARD].policy

    @property
    def now_s(self) -> float:
        return self.it.world.now.timestamp()

    def vms(self) -> list[SimVm]:
        return list(self.it.world.scale_set(SCALE_SET).vms.values())

    def victim(self, number: int) -> SimVm | None:
        """A machine whose bridge runs."""
        serving = [vm for vm in self.vms() if vm.running and vm.bridge is not None and vm.bridge.listening]
        return serving[number % len(serving)] if serving else None

    def bridge(self, number: int) -> SimBridge | None:
        vm = self.victim(number)
        return vm.bridge if vm is not None else None

    # Time

    def minutes(self, count: int, seconds: float = 60) -> None:
        for _ in range(count):
            self.it.world.advance(seconds)
            for vm in self.vms():
                if vm.bridge is not None and not vm.bridge.drain:
                    self.drained_s.pop((vm.vm_id, vm.bridge.process), None)
            try:
                self.loop.run(self.it.tick())
            except Killed:
                self.it = self.start_process(self.it)

    @rule(seconds=st.sampled_from([7, 20, 30, 60, 180]))
    def tick(self, seconds: float) -> None:
        """Ticks come late, early, and by alerts."""
        self.minutes(1, seconds)

    @rule(count=st.integers(min_value=2, max_value=12))
    def some_minutes(self, count: int) -> None:
        """The engine gets on with it."""
        self.minutes(count)

    @rule(number=st.integers(min_value=1, max_value=14), behind=st.booleans())
    def kill(self, number: int, *, behind: bool) -> None:
        """The process ends at one of its next side effects."""
        self.kill_in, self.kill_behind = number, behind

    # Calls

    @rule(number=machines, length=st.integers(min_value=3, max_value=25))
    def a_call_slips_in(self, number: int, length: int) -> None:
        """Jicofo had not heard of the drain yet. One that is fenced refuses by itself."""
        self.slip_in(self.victim(number), length)

    def slip_in(self, vm: SimVm | None, length: int = 10) -> None:
        bridge = vm.bridge if vm is not None else None
        if vm is None or bridge is None or not bridge.muc_joined or not bridge.listening:
            return
        if not bridge.graceful_shutdown and not bridge.shutting_down:
            slip_in_a_call(self.it, vm, minutes=length)
            self.it.world.advance(1)

    @rule(what=st.sampled_from(["call", "restart", "drain lost", "start"]))
    def meanwhile_something_happens(self, what: str) -> None:
        """Between the poll of all and the fresh report before a step: nothing that was decided on holds."""

        def happens(vm: SimVm | None) -> None:
            bridge = vm.bridge if vm is not None else None
            if bridge is None:
                return
            if what == "call":
                self.slip_in(vm)
            elif what == "start" and not bridge.listening and vm is not None and vm.running:
                bridge.start()
            elif what == "restart" and bridge.listening:
                bridge.stop(CutReason.RESTARTED)
                bridge.start(joins_after_s=0.5)
                self.it.world.advance(1)
            elif what == "drain lost":
                bridge.set_drain(False)

        self.meanwhile = happens

    # Bridges

    @rule(number=machines)
    def a_jvb_restarts(self, number: int) -> None:
        """Its drain, its fence and its totals are gone."""
        if (bridge := self.bridge(number)) is not None:
            bridge.restart()

    @rule(number=machines, seconds=st.sampled_from([5, 40, 200]))
    def a_jvb_crashes(self, number: int, seconds: float) -> None:
        """Its port is refused for a while: that is no exit."""
        if (bridge := self.bridge(number)) is not None:
            bridge.crash(back_after_s=seconds)

    @rule(number=machines)
    def a_drain_is_lost(self, number: int) -> None:
        """Somebody, or a bug, opens it again."""
        if (bridge := self.bridge(number)) is not None:
            bridge.set_drain(False)

    @rule(number=machines)
    def somebody_drains(self, number: int) -> None:
        """For a while: a drain that no row explains."""
        bridge = self.bridge(number)
        if bridge is not None and not bridge.drain:
            bridge.set_drain(True)
            self.mending.append(partial(bridge.set_drain, False))

    @rule(number=machines)
    def statistics_freeze(self, number: int) -> None:
        """The same report again and again, whatever happens on the bridge."""
        if (bridge := self.bridge(number)) is not None:
            bridge.faults.overrides = dict(bridge.stats(self.it.world.now))

    @rule(number=machines)
    def a_bridge_is_silent(self, number: int) -> None:
        """For the app alone: its calls go on."""
        if (vm := self.victim(number)) is not None:
            vm.unreachable = True

    @rule(number=machines)
    def a_bridge_leaves_its_muc(self, number: int) -> None:
        """Prosody is away, and media flows on."""
        if (bridge := self.bridge(number)) is not None:
            bridge.leave_muc(strands_calls=False)

    @rule(number=machines)
    def a_machine_is_halted(self, number: int) -> None:
        """Power off, and on again when all is mended."""
        if (vm := self.victim(number)) is not None:
            self.it.world.halt(vm)

    @rule()
    def all_is_mended(self) -> None:
        """Whatever was broken works again."""
        for mend in self.mending:
            mend()
        self.mending.clear()
        for vm in self.vms():
            vm.unreachable = False
            if vm.bridge is not None:
                vm.bridge.faults.overrides = {}
                vm.bridge.rejoin_muc()
            self.it.world.power_on(vm)
        self.it.world.scale_set(SCALE_SET).delete_error = None
        self.arm_error = self.meanwhile = None

    # ARM

    @rule(error=st.sampled_from(ARM_ERRORS), behind=st.booleans())
    def arm_fails(self, error: Callable[[], Exception], *, behind: bool) -> None:
        """The next write fails, or is done and its answer is lost."""
        self.arm_error, self.arm_error_behind = error(), behind

    @rule()
    def deletes_fail(self) -> None:
        """Accepted, and they come to nothing."""
        self.it.world.scale_set(SCALE_SET).delete_error = ("InternalOperationError", "not completed")

    @precondition(lambda self: len(self.vms()) < 6)
    @rule()
    def a_machine_appears(self) -> None:
        """Made by hand."""
        scale_set = self.it.world.scale_set(SCALE_SET)
        self.it.world.set_capacity(SCALE_SET, scale_set.capacity + 1)

    # What must always hold

    @invariant()
    def nothing_was_done_against_the_protocol(self) -> None:
        """No delete of a running JVB, no fence before the drain has settled, nothing unwritten."""
        assert self.broken == []

    @invariant()
    def no_call_was_cut_by_us(self) -> None:
        """Whatever happened, it was not scaling that ended a call."""
        assert self.it.world.history.cut_by_us() == []

    def teardown(self) -> None:
        """When nothing goes wrong any more the fleet comes to rest, and no drain of ours is left."""
        self.all_is_mended()
        restless: list[str] = ["not looked at yet"]
        for _ in range(REST_MINUTES // 10):
            if not restless or self.broken:
                break
            self.minutes(10)
            restless = unrest(self.it.world.scale_set(SCALE_SET), self.store.table(SHARD), self.policy)
        self.loop.close()
        assert self.broken == []
        assert self.it.world.history.cut_by_us() == []
        assert restless == []


ProtocolMachine.TestCase.settings = bounded(examples=15, steps=25)
TestProtocol = ProtocolMachine.TestCase


# A machine that finds nothing in a broken engine would prove nothing


def believe_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is proved again from the fresh report."""
    monkeypatch.setattr(scaler.act, "_prove", lambda _holds, _otherwise: None)
    monkeypatch.setattr(scaler.act, "is_another", lambda _memory, _report: False)


def write_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are only remembered for the end of the tick."""

    async def only_remember(ledger: Ledger, memory: BridgeMemory) -> None:
        ledger.remember(memory)

    monkeypatch.setattr(Ledger, "intend", only_remember)


@pytest.mark.parametrize("broken", [believe_anything, write_behind])
def test_the_machine_finds_what_is_broken(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine without its fresh proofs, or without its intents, does not get through."""
    broken(monkeypatch)
    quickly = settings(bounded(examples=60, steps=25), max_examples=60, phases=[Stage.generate])
    with pytest.raises(BaseException, match=r"the (fence|delete|drain) of") as found:
        run_state_machine_as_test(ProtocolMachine, settings=quickly)
    assert found.type is not Killed
