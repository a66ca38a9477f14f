"""S11 and S12: the engine is killed at every side effect in turn, or runs twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from sandbox.inprocess import InProcess
from sandbox.memory_store import MemoryStore
from sandbox.workload import meeting
from sandbox.world import WorldConfig
from scaler.model import Phase
from tests.scaler import nights
from tests.scaler.worlds import (
    SOON,
    START,
    cuts,
    install,
    intents,
    is_accepting,
    memories,
    mutations,
    names,
    phases,
    run,
    state,
    world_of,
)

ROOMS = tuple(meeting(START + timedelta(minutes=2), 600, 12, f"room-{n}") for n in range(15))
IDLE = world_of([3, 2])
FULL = world_of([2], ROOMS)
SIDE_EFFECTS = frozenset(
    {
        *("set_drain", "shut_down", "scale_out", "delete", "set_image"),
        *("acquire", "release", "put_state", "put_bridges", "put_intents"),
        *("append_decision", "append_events", "append_usage"),
    }
)


class Killed(BaseException):
    """The process ended here: no handler may see it."""


@dataclass
class Killer:
    """Ends the process ahead of its n-th side effect, or right behind it. A dead process does nothing."""

    number: int | None = None
    behind: bool = False
    made: list[str] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)
    """How many side effects were made before each minute."""
    dead: bool = False

    def before(self, name: str, **_details: Any) -> None:
        """See a call that is about to begin."""
        if self.dead:
            raise Killed
        if name in SIDE_EFFECTS:
            self.made.append(name)
            if len(self.made) == self.number and not self.behind:
                self._die()

    def after(self, name: str, **_details: Any) -> None:
        """See a call that had its effect."""
        if name in SIDE_EFFECTS and len(self.made) == self.number and not self.dead:
            self._die()

    def _die(self) -> None:
        self.dead = True
        raise Killed

    def rest(self) -> None:
        """Kill no more: what runs from now on is another process."""
        self.dead, self.number = False, None


@dataclass(frozen=True)
class End:
    """How an installation stands when all is done."""

    machines: int
    oldest_left: bool
    phases: tuple[Phase, ...]
    accepting: int
    cuts: int


async def lived_through(
    config: WorldConfig, killer: Killer, minutes: int, expected: End | None = None
) -> InProcess:
    """
    Run, and after the kill go on as another process over the same tables and the same world.

    `expected`: after so many minutes go on for at most two hours until this is reached: where a
    fence was written but not sent, the bridge counts as a new process and has its 55 minutes again.
    """
    store = MemoryStore(killer.before, killer.after)
    it = install(config, store=store, before=killer.before, after=killer.after)
    for minute in range(minutes + 120):
        if minute >= minutes and (expected is None or await end_of(it) == expected):
            break
        it.world.advance(60)
        try:
            await it.tick()
        except Killed:
            killer.rest()
            it = install(config, store=store, world=it.world, run_id="run-2")
    return it


async def end_of(it: InProcess) -> End:
    """Judge the installation."""
    first = it.world.history.lives[0].name
    return End(
        machines=len(names(it)),
        oldest_left=first not in names(it),
        phases=tuple(await phases(it)),
        accepting=sum(is_accepting(vm) for vm in it.world.vms()),
        cuts=cuts(it),
    )


async def kill_points(config: WorldConfig, first: str, minutes: int, *, until: str) -> Sequence[int]:
    """Side effects of an undisturbed run by number, from a tick ahead of `first` to one behind `until`."""
    killer = Killer()
    await lived_through(config, killer, minutes)
    last = len(killer.made) - 1 - killer.made[::-1].index(until)
    return range(max(killer.made.index(first) - 8, 1), killer.made.index("release", last) + 9)


@pytest.mark.parametrize("behind", [False, True], ids=["ahead of", "behind"])
async def test_s11_a_scale_in_killed_at_any_side_effect_converges(*, behind: bool) -> None:
    """The same machine leaves, nothing stays drained by us, and no call is cut."""
    undisturbed = await end_of(await lived_through(IDLE, Killer(), 60))
    assert undisturbed == End(1, True, (Phase.READY,), 1, 0)
    points = await kill_points(IDLE, "set_drain", 25, until="delete")
    assert len(points) > 25
    for number in points:
        killer = Killer(number, behind)
        it = await lived_through(IDLE, killer, 60, undisturbed)
        assert not killer.number, "it was killed"
        assert await end_of(it) == undisturbed, f"killed at {killer.made[number - 1]}, number {number}"


@pytest.mark.parametrize("behind", [False, True], ids=["ahead of", "behind"])
async def test_s11_a_scale_out_killed_at_any_side_effect_converges(*, behind: bool) -> None:
    """Exactly one machine is bought, it is opened, and no call is cut."""
    undisturbed = await end_of(await lived_through(FULL, Killer(), 25))
    assert undisturbed == End(2, False, (Phase.READY, Phase.READY), 2, 0)
    points = await kill_points(FULL, "put_intents", 12, until="set_drain")
    assert len(points) > 15
    for number in points:
        killer = Killer(number, behind)
        it = await lived_through(FULL, killer, 25, undisturbed)
        assert not killer.number, "it was killed"
        assert await end_of(it) == undisturbed, f"killed at {killer.made[number - 1]}, number {number}"


NIGHT: dict[str, Any] = {"uptime_minutes": 5, "scale_in_window_minutes": 1, "canary_bake_minutes": 1}
STEPS = frozenset({"set_image", "scale_out", "set_drain", "shut_down", "delete", "put_intents"})


async def a_night(killer: Killer, minutes: int, expected: NightEnd | None = None) -> InProcess:
    """One bridge, and a new version: from ten to four on; after `minutes` until this is reached."""
    store = MemoryStore(killer.before, killer.after)
    config = nights.fleet_of(1, start=nights.EVENING + timedelta(minutes=20), boot=SOON)
    it = nights.install(config, store=store, before=killer.before, after=killer.after, **NIGHT)
    nights.publish(it, "1.0.1")
    for minute in range(minutes + 75):
        if minute >= minutes and (expected is None or await night_end_of(it) == expected):
            break
        killer.ticks.append(len(killer.made))
        try:
            await it.minute()
        except Killed:
            killer.rest()
            it = nights.install(config, store=store, world=it.world, run_id="run-2", **NIGHT)
    return it


@dataclass(frozen=True)
class NightEnd:
    """How an installation stands when its night is over."""

    versions: tuple[str, ...]
    model: str
    outcome: str | None
    open_intents: int
    end: End


async def night_end_of(it: InProcess) -> NightEnd:
    """Judge the installation; the bridge that was there at first is the oldest that may be left."""
    night, asked = (await state(it)).night, await intents(it)
    opened = sum(intent.is_open for intent in asked)
    return NightEnd(tuple(nights.versions(it)), nights.model(it), night.outcome, opened, await end_of(it))


def around_steps(killer: Killer) -> list[int]:
    """Side effects of the minutes in which a step was taken, and of the minute behind each, by number."""
    bounds = [*killer.ticks, len(killer.made)]
    minutes = [range(start, end) for start, end in pairwise(bounds)]
    taken = [bool(STEPS & set(killer.made[minute.start : minute.stop])) for minute in minutes]
    near = [minute for n, minute in enumerate(minutes) if taken[n] or (n and taken[n - 1])]
    return [number + 1 for minute in near for number in minute]


@pytest.mark.parametrize("behind", [False, True], ids=["ahead of", "behind"])
async def test_s11_a_night_killed_at_any_side_effect_converges(*, behind: bool) -> None:
    """The one bridge is replaced by one of the new version, the night is done, and no call is cut."""
    recorded = Killer()
    undisturbed = await night_end_of(await a_night(recorded, 45))
    assert undisturbed == NightEnd(("1.0.1",), "1.0.1", "done", 0, End(1, True, (Phase.READY,), 1, 0))
    points = around_steps(recorded)
    assert set(recorded.made) >= STEPS
    assert len(points) > 40
    for number in points:
        killer = Killer(number, behind)
        it = await a_night(killer, 45, undisturbed)
        assert not killer.number, "it was killed"
        assert await night_end_of(it) == undisturbed, f"killed at {killer.made[number - 1]}, number {number}"


@pytest.mark.parametrize("config", [IDLE, FULL], ids=["scale-in", "scale-out"])
async def test_s12_of_two_loops_at_once_one_acts(config: WorldConfig) -> None:
    """Every step is done once, as with one loop; the other leaves with 'lease held'."""
    alone = install(config)
    await run(alone, 40)
    one = install(config, run_id="run-1")
    two = install(config, run_id="run-2", store=one.store, world=one.world)
    for minute in range(40):
        one.world.advance(60)
        pair = (one, two) if minute % 2 else (two, one)
        reports = await asyncio.gather(*(each.tick() for each in pair))
        assert sorted(report.result for (report,) in reports) == ["done", "lease held"]
    assert sorted(mutations(one) + mutations(two)) == sorted(mutations(alone))
    assert await end_of(one) == await end_of(alone)


async def test_s12_two_loops_in_turn_do_the_work_of_one() -> None:
    """Half a minute apart, each sees what the other did and goes on from there."""
    one = install(IDLE, run_id="run-1")
    two = install(IDLE, run_id="run-2", store=one.store, world=one.world)
    for tick in range(80):
        one.world.advance(30)
        await (one, two)[tick % 2].tick()
    assert await end_of(one) == End(1, True, (Phase.READY,), 1, 0)
    assert sorted(mutations(one) + mutations(two)) == ["delete", "set_drain", "shut_down"]


async def test_s11_a_tick_that_died_before_its_lease_ran_out_holds_the_next_process_off() -> None:
    """Until the lease of the dead one ends, nobody acts; nothing is remembered of the half-done tick."""
    killer = Killer(2)
    store = MemoryStore(killer.before, killer.after)
    it = install(IDLE, store=store, before=killer.before, after=killer.after)
    it.world.advance(60)
    with pytest.raises(Killed):
        await it.tick()
    killer.rest()
    heir = install(IDLE, store=store, world=it.world, run_id="run-2")
    results = []
    for _ in range(4):
        heir.world.advance(60)
        results += [report.result for report in await heir.tick()]
    assert results == ["lease held", "lease held", "done", "done"]
    assert len(await memories(heir)) == 2
