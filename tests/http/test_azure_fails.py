"""S22 over HTTP: Azure says no in each of its ways; never a wrong buy, never an empty fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sandbox.faces.http import FaultAnswer
from sandbox.faces.server import Options
from scaler.model import Phase
from tests.http.conftest import Install
from tests.http.faults import LOST, SCALE_SET_READ, VMS_READ, on_read, on_step, refusing
from tests.http.installation import Installation, full_from
from tests.scaler.worlds import SCALE_SET, world_of

FULL = world_of([2], full_from(1))
BRISK: dict[str, Any] = {"scale_in_window_minutes": 1}


async def has_recovered(it: Installation, machines: int = 2) -> None:
    """So many bridges stand and accept, all known as ready; no machine is waited for, no call was cut."""
    assert len(it.names()) == len(it.accepting()) == machines
    assert {memory.phase for memory in (await it.memories()).values()} == {Phase.READY}
    assert not any(intent.is_open for intent in await it.intents())
    assert it.cuts() == 0


def writes(it: Installation) -> list[str]:
    """Capacities that ARM was asked for."""
    return [step.subject for step in it.journal if step.verb == "scale_out"]


async def test_an_allocation_that_fails_later_is_found_in_its_operation(install: Install) -> None:
    """Accepted, then AllocationFailed: told, backed off from, and made good once there is room again."""
    it = await install(FULL)
    scale_set = it.world.scale_set(SCALE_SET)
    scale_set.allocation_error = ("AllocationFailed", "no room in the region")
    await it.minutes(20)
    (error, *_) = [event["text"] for event in await it.events() if "AllocationFailed" in event["text"]]
    assert "no room in the region" in error
    assert writes(it) == ["2", "3", "4"]
    assert len(it.accepting()) == 1
    scale_set.allocation_error = None
    await it.minutes(25)
    # One try more; the three that never came are removed, at most one in ten minutes.
    assert writes(it)[3:] == ["3"]
    assert it.verbs.count("delete") == 3
    await has_recovered(it)


async def test_a_quota_is_backed_off_from_until_it_is_lifted(install: Install) -> None:
    """409 for good: no machine is waited for, ARM is not asked every minute, and a person is told."""
    it = await install(world_of([2], full_from(1), quota=1))
    await it.minutes(12)
    assert writes(it) == ["2", "2", "2"]
    assert not any(intent.is_open for intent in await it.intents())
    assert "boot_failures" in await it.alerts()
    scale_set = it.world.scale_set(SCALE_SET)
    scale_set.spec = replace(scale_set.spec, quota=None)
    await it.minutes(20)
    assert writes(it) == ["2", "2", "2", "2"]
    await has_recovered(it)


async def test_a_429_is_waited_for_as_long_as_it_asks(install: Install) -> None:
    """Not one write earlier than `Retry-After`; then exactly one machine."""
    it = await install(FULL)
    it.faults = on_step("scale_out", refusing(429, "TooManyRequests", Retry_After="240"))
    await it.until("scale_out")
    assert await it.minutes(3) == []
    assert (await it.minutes(1)) == ["scale_out"]
    await it.minutes(6)
    assert writes(it) == ["2", "2"]
    await has_recovered(it)


@pytest.mark.parametrize("status", [500, 503])
async def test_a_write_that_failed_at_azure_is_tried_again(install: Install, status: int) -> None:
    """5xx before the change: the capacity shows that nothing happened, and one machine is bought."""
    it = await install(FULL)
    it.faults = on_step("scale_out", refusing(status, "InternalServerError"))
    await it.minutes(12)
    assert writes(it) == ["2", "2"]
    await has_recovered(it)


async def test_an_answer_lost_after_the_change_buys_no_second_machine(install: Install) -> None:
    """The next tick reads the capacity, waits for the machine, and knows it for its own."""
    it = await install(FULL)
    it.faults = on_step("scale_out", LOST)
    await it.minutes(12)
    assert writes(it) == ["2"]
    await has_recovered(it)
    assert [memory.asked_by is not None for memory in (await it.memories()).values()].count(True) == 1


@pytest.mark.parametrize("answer", [LOST, refusing(500, "InternalServerError")], ids=["lost", "500"])
async def test_a_delete_without_an_answer_removes_that_machine_and_no_other(
    install: Install, answer: FaultAnswer
) -> None:
    """Asked again if need be, it ends with the younger bridge alone."""
    it = await install(**BRISK)
    first, second = it.names()
    it.faults = on_step("delete", answer)
    await it.minutes(16)
    assert {step.subject for step in it.journal} == {first}
    assert it.names() == [second]
    await has_recovered(it, 1)


@pytest.mark.parametrize(
    ("operation", "query"),
    [(SCALE_SET_READ, ""), (VMS_READ, ""), (VMS_READ, "$skiptoken")],
    ids=["no record", "no list", "half a list"],
)
async def test_what_azure_does_not_tell_completely_is_unknown(
    install: Install, operation: str, query: str
) -> None:
    """While reads fail nothing is done and nothing is forgotten; afterwards it goes on."""
    it = await install(options=Options(page_size=1), **BRISK)
    _, second = it.names()
    await it.minutes(1)
    before = await it.memories()
    it.faults = on_read(operation, refusing(503, "ServerBusy", Retry_After="30"), query)
    assert await it.minutes(4) == []
    assert await it.alerts() == {"arm_unknown"}
    assert await it.memories() == before
    it.faults = None
    await it.minutes(14)
    assert it.verbs == ["drain", "fence", "delete"]
    assert it.names() == [second]
    assert await it.alerts() == set()


async def test_s42_a_dry_run_of_a_refused_scale_out_writes_no_intent(install: Install) -> None:
    """Neither ARM nor the intents are touched, and it is said once; then live, the quota answers."""
    it = await install(world_of([2], full_from(1), quota=1), dry_run=True)
    await it.minutes(8)
    assert it.journal == []
    assert await it.intents() == []
    (would,) = await it.events("would")
    assert would["text"].startswith("would add 1 bridge")
    assert (await it.state()).boot_failures == 0
    await it.restart(SCALER_DRY_RUN="false")
    await it.minutes(1)
    assert writes(it) == ["2"]
    assert (await it.state()).boot_failures == 1
