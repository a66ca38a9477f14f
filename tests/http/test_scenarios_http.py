"""The starred scenarios over HTTP: ordinary steps, strange bridges, dry runs."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.workload import meeting
from sandbox.world import BootModel
from scaler.decision import Reason
from scaler.model import Phase, Purpose
from tests.http.conftest import Install
from tests.http.installation import Installation, full_from
from tests.http.strange import SwappedAddresses, swap_addresses
from tests.scaler.worlds import START, world_of

ROUND = 30
"""Minutes in which a quiet shard of two has torn one down under the default policy, with time to spare."""
BRISK: dict[str, Any] = {"scale_in_window_minutes": 1}
"""Drains begin after a minute instead of ten, which shortens a round to `BRISK_ROUND`."""
BRISK_ROUND = 14


async def test_s01_of_two_idle_old_bridges_the_older_leaves(install: Install) -> None:
    """The older is drained, fenced, seen to exit and deleted, in this order; the younger is untouched."""
    it = await install()
    first, second = it.names()
    await it.minutes(ROUND)
    assert it.journal == [("drain", first), ("fence", first), ("delete", first)]
    assert it.names() == it.accepting() == [second]
    kinds = [event["kind"] for event in await it.events()]
    assert kinds.index("exited") < kinds.index("gone")
    await it.minutes(ROUND)
    assert len(it.journal) == 3
    assert it.names() == [second]


async def test_s09_a_conference_between_drain_and_fence_becomes_a_surplus_drain(install: Install) -> None:
    """While the others carry the load: no fence before the call has ended by itself."""
    it = await install(**BRISK)
    first, second = it.names()
    await it.until("drain")
    it.slip_in_a_call(first, minutes=10, people=4, name="late")
    await it.minutes(9)
    assert it.journal == [("drain", first)]
    assert (await it.memories())[first].purpose is Purpose.SURPLUS
    await it.minutes(BRISK_ROUND)
    assert it.verbs == ["drain", "fence", "delete"]
    assert it.names() == [second]
    assert it.cuts() == 0


async def test_s09_a_conference_that_the_others_could_not_carry_takes_the_drain_back(
    install: Install,
) -> None:
    """Above 0.8 of what the rest can bear the bridge accepts again, and nothing is fenced or bought."""
    it = await install(**BRISK)
    first, _ = it.names()
    await it.until("drain")
    for number in range(14):
        it.slip_in_a_call(first, minutes=60, people=12, name=f"room-{number}")
    await it.minutes(10)
    assert it.journal == [("drain", first), ("undrain", first)]
    assert len(it.accepting()) == 2
    assert it.cuts() == 0


@pytest.mark.parametrize(
    "fault",
    [{"statuses": {"drain": 404}}, {"statuses": {"drain": 500}}, {"ignores_drain": True}],
    ids=["404", "500", "lying"],
)
async def test_s10_a_drain_that_does_not_happen_leads_no_further(
    install: Install, fault: dict[str, Any]
) -> None:
    """No fence and no delete, a person is told within two ticks, and the bridge goes on serving."""
    it = await install(**BRISK)
    first, second = it.names()
    for name, value in fault.items():
        setattr(it.bridge(first).faults, name, value)
    await it.until("drain")
    await it.minutes(2)
    assert await it.alerts() & {"drain_refused", "drain_not_seen"}
    await it.minutes(10)
    assert set(it.journal) == {("drain", first)}
    assert it.accepting() == [first, second]


async def test_s36_an_empty_table_over_a_fleet_without_statistics_touches_nothing(install: Install) -> None:
    """Five bridges with calls, statistics answer 404: nothing is drained, fenced or deleted; one alert."""
    calls = [meeting(START, 300, 5, f"call-{number}") for number in range(8)]
    it = await install(world_of([6, 5, 4, 3, 2], calls))
    fleet = it.names()
    for name in fleet:
        it.bridge(name).faults.statuses = {"stats": 404}
    await it.minutes(4)
    assert it.journal == []
    await it.minutes(26)
    # Silence may buy one machine in all, and open it; a bridge with calls is never asked for anything.
    assert it.verbs == ["scale_out", "undrain"]
    assert not {step.subject for step in it.journal} & set(fleet)
    assert len(await it.events("alert")) == 1
    assert await it.alerts() == {"blind"}
    assert it.cuts() == 0


async def test_s37_a_machine_that_joins_a_second_after_its_deadline_is_kept(install: Install) -> None:
    """Late is only what we saw: it becomes ready, is opened, and no call is cut."""
    late = BootModel(median_s=3 * 60 + 1, p95_s=3 * 60 + 1)
    it = await install(world_of([2], full_from(1), boot=late), boot_timeout_minutes=3)
    await it.until("scale_out")
    await it.minutes(3)
    late_one = it.names()[1]
    assert (await it.memories())[late_one].phase is Phase.FAILED
    await it.minutes(10)
    assert (await it.memories())[late_one].phase is Phase.READY
    assert late_one in it.accepting()
    assert {step.subject for step in it.journal if step.verb != "scale_out"} <= set(it.names())
    assert set(it.verbs) == {"scale_out", "undrain"}
    assert it.cuts() == 0


async def test_s38_a_bridge_that_comes_back_from_its_fence_is_ready(install: Install) -> None:
    """A new process answers: nothing is deleted, it is opened, and every term is proved anew."""
    it = await install(**BRISK)
    first, second = it.names()
    await it.until("fence")
    it.bridge(first).crash(back_after_s=20)
    await it.faces.sync()
    await it.minutes(5)
    assert (await it.memories())[first].phase is Phase.READY
    assert it.accepting() == [first, second]
    assert await it.events("restarted")
    await it.minutes(10)
    assert it.journal == [("drain", first), ("fence", first), ("undrain", first)]


async def test_s41_where_a_delete_leaves_the_capacity_nothing_is_written_on_the_wrong_base(
    install: Install,
) -> None:
    """No machine is bought or picked by Azure; a person is told that the two disagree."""
    it = await install(world_of([3, 2], full_from(20), capacity_falls_on_delete=False), **BRISK)
    await it.minutes(ROUND)
    assert it.verbs == ["drain", "fence", "delete"]
    assert len(it.names()) == 1
    assert "capacity_disagrees" in await it.alerts()
    refusals = [refusal["reason"] for refusal in (await it.decisions())[-1]["refusals"]]
    assert Reason.CAPACITY_DISAGREES in refusals
    assert it.cuts() == 0


async def test_s41_with_repair_capacity_the_fleet_can_grow_again(install: Install) -> None:
    """The listed number is written once nothing is in flight; then the load buys one machine."""
    config = world_of([3, 2], full_from(20), capacity_falls_on_delete=False)
    it = await install(config, **BRISK, repair_capacity=True)
    await it.minutes(ROUND)
    writes = [step.subject for step in it.journal if step.verb == "scale_out"]
    assert writes == ["1", "2"]
    assert len(it.accepting()) == 2
    assert it.cuts() == 0


async def test_s42_a_dry_run_of_a_scale_in_changes_nothing_and_goes_live_from_what_is_seen(
    install: Install,
) -> None:
    """No mutating call, phases unchanged, 'would drain' said once; then live, the older one leaves."""
    it = await install(**BRISK, dry_run=True)
    first, second = it.names()
    await it.minutes(10)
    assert it.journal == []
    assert {memory.phase for memory in (await it.memories()).values()} == {Phase.READY}
    (would,) = await it.events("would")
    assert would["text"].startswith(f"would drain {first}")
    assert all(decision["dry_run"] for decision in await it.decisions())
    await it.restart(SCALER_DRY_RUN="false")
    await it.minutes(BRISK_ROUND)
    assert it.verbs == ["drain", "fence", "delete"]
    assert it.names() == [second]


async def test_s43_an_address_that_passed_to_another_machine_is_refused(install: Install) -> None:
    """Between the list and the POST another process answers there: nothing is drained, now or by mistake."""
    it = await install(world_of([4, 3, 2]), **BRISK, uptime_minutes=5)
    first, second, third = it.names()
    swapped = SwappedAddresses.ahead_of_a_report(it, first, second)
    while not swapped.done:
        await it.minutes(1)
    (action,) = (await it.decisions())[-1]["actions"]
    assert action["refused"] == Reason.NOT_THE_SAME_BRIDGE
    assert it.journal == []
    await leave_in_order(it, first, second, third)


async def test_s43_an_address_that_passed_between_two_ticks_is_asked_for_again(install: Install) -> None:
    """The stranger's lower counters look like a restart: it is not taken for the machine that was there."""
    it = await install(world_of([4, 3, 2]), uptime_minutes=5)
    first, second, third = it.names()
    it.slip_in_a_call(first, minutes=1, people=9, name="counted")
    await it.minutes(3)
    await swap_addresses(it, first, second)
    await it.minutes(2)
    assert [event["subject"] for event in await it.events("restarted")] == [first]
    await leave_in_order(it, first, second, third)


async def leave_in_order(it: Installation, first: str, second: str, third: str) -> None:
    """Let the two oldest of three idle bridges leave; each step has its own machine, in its own order."""
    await it.minutes(2 * BRISK_ROUND)
    assert it.names() == [third]
    for name in (first, second):
        assert [step.verb for step in it.journal if step.subject == name] == ["drain", "fence", "delete"]
    deleted = [step.subject for step in it.journal if step.verb == "delete"]
    assert deleted == [first, second]
    assert it.cuts() == 0
