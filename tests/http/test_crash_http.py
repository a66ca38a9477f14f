"""S11 and S12 over HTTP: the process is killed in each of its steps in turn, or runs twice at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from scaler.model import Phase
from tests.http.conftest import Install
from tests.http.faults import dying
from tests.http.installation import Installation, full_from
from tests.scaler.worlds import world_of

LEASE_MINUTES = 3
"""A dead process's lease lasts this long, and nobody acts meanwhile."""


@dataclass(frozen=True)
class End:
    """How an installation stands when all is done."""

    machines: int
    first_is_left: bool
    phases: tuple[Phase, ...]
    accepting: int
    cuts: int
    open_intents: int


async def end_of(it: Installation) -> End:
    memories = await it.memories()
    return End(
        machines=len(it.names()),
        first_is_left=it.world.history.lives[0].name in it.names(),
        phases=tuple(memory.phase for memory in memories.values()),
        accepting=len(it.accepting()),
        cuts=it.cuts(),
        open_intents=sum(intent.is_open for intent in await it.intents()),
    )


@dataclass(frozen=True)
class Story:
    """Something that the engine does from beginning to end, in so many minutes."""

    ages_hours: tuple[int, ...]
    conferences: tuple[Any, ...]
    steps: tuple[str, ...]
    minutes: int
    end: End

    async def set_up(self, install: Install) -> Installation:
        # A process that comes back from a fence counts as new: five minutes later it is old enough.
        config = world_of(self.ages_hours, self.conferences)
        return await install(config, scale_in_window_minutes=1, uptime_minutes=5)


SCALE_IN = Story((3, 2), (), ("drain", "fence", "delete"), 14, End(1, False, (Phase.READY,), 1, 0, 0))
SCALE_OUT = Story((2,), full_from(1), ("scale_out", "undrain"), 12, End(2, True, (Phase.READY,) * 2, 2, 0, 0))
STORIES = pytest.mark.parametrize("story", [SCALE_IN, SCALE_OUT], ids=["scale-in", "scale-out"])


@STORIES
async def test_s11_undisturbed_both_stories_end_well(install: Install, story: Story) -> None:
    """The steps are these and no others, so that killing at each of them leaves none out."""
    it = await story.set_up(install)
    await it.minutes(story.minutes)
    assert tuple(it.verbs) == story.steps
    assert await end_of(it) == story.end


@pytest.mark.parametrize("behind", [False, True], ids=["ahead of", "behind"])
@pytest.mark.parametrize(
    ("story", "number"),
    [(story, number + 1) for story in (SCALE_IN, SCALE_OUT) for number in range(len(story.steps))],
    ids=[*SCALE_IN.steps, *SCALE_OUT.steps],
)
async def test_s11_a_process_killed_in_a_call_is_followed_by_one_that_converges(
    install: Install, story: Story, number: int, *, behind: bool
) -> None:
    """Whichever step it was, before or after its effect: the end is that of the undisturbed story."""
    it = await story.set_up(install)
    it.faults = dying(it, number, behind=behind)
    await it.minutes(story.minutes + LEASE_MINUTES + 8)
    assert it.deaths == 1
    assert await end_of(it) == story.end


@STORIES
async def test_s12_of_two_processes_at_once_one_acts(install: Install, story: Story) -> None:
    """Every step is taken once; the other leaves with 'lease held', and neither raises."""
    it = await story.set_up(install)
    other = await it.another()
    await it.tick()
    for minute in range(story.minutes):
        await it.advance(60)
        pair = (it.app, other) if minute % 2 else (other, it.app)
        reports = await asyncio.gather(*(it.tick_of(app) for app in pair))
        assert sorted(report.result for report in reports) == ["done", "lease held"]
    await other.close()
    assert tuple(it.verbs) == story.steps
    assert await end_of(it) == story.end
