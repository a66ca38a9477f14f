"""Each step is written before it is done, and proved again from a fresh report."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaler.decision import (
    Action,
    Cause,
    Delete,
    Drain,
    EventKind,
    Fence,
    Reason,
    RepairCapacity,
    Repurpose,
    ScaleOut,
    SetImage,
    Undrain,
)
from scaler.errors import Refused, ScalerError, StateChanged, Throttled, TryNextTick
from scaler.model import Phase, Poll, Power, ProcessTotals, Purpose, Reach
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    bridge,
    busy,
    draining,
    found_empty,
    poll,
    silent,
    unheard,
)
from tests.scaler.fakes import Stage

DRAIN = Drain("vm-a", Purpose.TEAR_DOWN, "")
SURPLUS = Drain("vm-a", Purpose.SURPLUS, "")
UNDRAIN = Undrain("vm-a", "")
FENCE = Fence("vm-a", "")
DELETE = Delete("vm-a", Cause.TEAR_DOWN, "")
BUY = ScaleOut(3, 2, "demand", answers=("vm-a",))
EMPTY = draining(**found_empty())
EXITED = {"phase": Phase.FENCED, "exited_at": NOW - MINUTE, "fenced_at": NOW - 3 * MINUTE}
BROKEN = {"provisioning": "Failed", "power": Power.UNKNOWN}
NO_ROOM = {**BROKEN, "error": "AllocationFailed: no room"}
UNTOLD = {"remembered": {**EXITED, "address": "127.0.1.1"}}
"""Where the list has no address for it: ARM gave one earlier."""
MOVED = {"remembered": {**EXITED, "address": "127.0.1.2"}}
"""The same, and another machine has it now."""
REFUSED = silent(reach=Reach.REFUSED)


def ready(**changes: Any) -> Stage:
    """A ready bridge that answers as it is."""
    return Stage(bridge("a", **changes)).hears("a", poll(process_started_at=NOW - 2 * HOUR), poll(drain=True))


def drained(remembered: dict[str, Any] = EMPTY) -> Stage:
    """A drained, empty bridge."""
    return Stage(bridge("a", remembered=remembered)).hears("a", poll(drain=True))


def exited(**changes: Any) -> Stage:
    """A fenced bridge whose process is gone."""
    gone = unheard("a", reach=Reach.REFUSED, **{"remembered": EXITED, **changes})
    return Stage(gone, bridge("b")).hears("a", REFUSED)


async def refusal_of(stage: Stage, action: Action) -> Reason:
    """Why it was not done."""
    (outcome,) = await stage.does(action)
    assert outcome.refusal is not None
    assert not outcome.done
    return outcome.refusal.reason


# Drain and un-drain


async def test_a_drain_is_written_done_and_confirmed() -> None:
    """With its purpose, its epoch and the start of the process it was meant for."""
    stage = ready(remembered={"process_started_at": None})
    (outcome,) = await stage.does(DRAIN)
    assert outcome.done
    assert stage.calls == ["drain vm-a"]
    written = await stage.written("a")
    assert written is not None
    assert (written.phase, written.purpose, written.wanted_drain) == (Phase.DRAINING, Purpose.TEAR_DOWN, True)
    assert (written.epoch, written.drained_at, written.process_started_at) == (9, None, NOW - 2 * HOUR)
    assert stage["a"].drained_at == NOW
    assert [event.kind for event in stage.ledger.events] == [EventKind.ACTED]


@pytest.mark.parametrize(
    "confirmation",
    [poll(drain=False), poll(drain=None), silent(), poll(drain=True, process_started_at=NOW)],
    ids=["no", "unknown", "silent", "another process"],
)
async def test_a_drain_that_is_not_confirmed_is_not_settling(confirmation: Poll) -> None:
    """The settle time does not begin."""
    stage = ready().hears("a", poll(), confirmation)
    await stage.does(DRAIN)
    assert (stage["a"].phase, stage["a"].drained_at) == (Phase.DRAINING, None)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (silent(), Reason.FACTS_CHANGED),
        (poll(process_started_at=NOW - 2 * HOUR + 2 * SECOND), Reason.NOT_THE_SAME_BRIDGE),
        (poll(process_started_at=NOW - 2 * HOUR + SECOND), None),
        (poll(health_ok=False), Reason.FACTS_CHANGED),
        (poll(stats=None), Reason.FACTS_CHANGED),
        (poll(mucs_joined=0), Reason.FACTS_CHANGED),
        (poll(graceful_shutdown=True), Reason.FACTS_CHANGED),
        (poll(shutting_down=True), Reason.FACTS_CHANGED),
        (poll(**busy()), Reason.FACTS_CHANGED),
        (poll(local_endpoints=1), Reason.FACTS_CHANGED),
        (poll(conferences=None), Reason.FACTS_CHANGED),
    ],
)
async def test_a_drain_is_proved_again(report: Poll, reason: Reason | None) -> None:
    """The same process, serving and empty; whatever else is found, nothing is written or called."""
    stage = ready().hears("a", report)
    (outcome,) = await stage.does(DRAIN)
    assert (outcome.refusal.reason if outcome.refusal else None) is reason
    assert stage.calls == ([] if reason else ["drain vm-a"])
    assert (await stage.written("a") is None) is (reason is not None)


async def test_counters_that_fell_are_another_process() -> None:
    """Where no start time is told."""
    known = {"process_started_at": None}
    stage = Stage(bridge("a", remembered={**known, "totals": ProcessTotals(conferences_created=6)}))
    assert await refusal_of(stage, DRAIN) is Reason.NOT_THE_SAME_BRIDGE


async def test_a_process_that_is_found_young_is_not_drained_for_tear_down() -> None:
    """Its start was not known before; a drain for surplus costs no call and needs no age."""
    young = poll(process_started_at=NOW - 55 * MINUTE)
    unknown = {"remembered": {"process_started_at": None}}
    assert await refusal_of(ready(**unknown).hears("a", young), DRAIN) is Reason.FACTS_CHANGED
    assert (await ready(**unknown).hears("a", young).does(SURPLUS))[0].done
    assert (await ready().hears("a", poll(**busy())).does(SURPLUS))[0].done


async def test_another_process_is_asked_for_its_start_in_the_next_tick() -> None:
    """A ready bridge is not asked each time: without forgetting it would be refused for ever."""
    stage = ready().hears("a", poll(process_started_at=NOW - HOUR))
    assert await refusal_of(stage, DRAIN) is Reason.NOT_THE_SAME_BRIDGE
    assert (stage["a"].process_started_at, stage["a"].restart_seen_at) == (None, NOW)
    assert stage["a"].restarts == 1
    stage = drained().hears("a", poll(drain=True, process_started_at=NOW - HOUR))
    assert await refusal_of(stage, FENCE) is Reason.NOT_THE_SAME_BRIDGE
    assert stage["a"].process_started_at is not None


@pytest.mark.parametrize(
    ("error", "failure"), [(Refused("404", "no such path"), "404: no such path"), (TryNextTick("503"), None)]
)
async def test_a_bridge_that_refuses_to_be_opened_says_so(error: ScalerError, failure: str | None) -> None:
    """A person must know why it takes no calls; what may pass is only tried again, and success ends it."""
    stage = ready(remembered={"starts_drained": True}, drain=True).hears("a", poll(drain=True))
    stage.bridges.error = error
    assert await refusal_of(stage, Undrain("vm-a", "")) is Reason.CALL_FAILED
    assert stage["a"].failure == failure
    stage.bridges.error = None
    (outcome,) = await stage.does(Undrain("vm-a", ""))
    assert outcome.done
    assert stage["a"].failure is None


async def test_an_undrain_is_written_done_and_counts() -> None:
    """It answers its hot bridge, and holds new drains back; opening a new bridge does not."""
    stage = drained()
    await stage.does(replace(UNDRAIN, answers=("vm-a",)))
    assert stage.calls == ["undrain vm-a"]
    written = await stage.written("a")
    assert written is not None
    assert (written.wanted_drain, written.drained_at) == (False, None)
    assert stage.ledger.state.last_undrain_at == NOW
    assert stage["a"].hot_answered
    stage = Stage(bridge("a", remembered={"phase": Phase.BOOTING})).hears("a", poll(drain=True))
    await stage.does(replace(UNDRAIN, initial=True))
    assert stage.calls == ["undrain vm-a"]
    assert stage.ledger.state.last_undrain_at is None
    restarted = Stage(bridge("a", remembered={"starts_drained": True})).hears("a", poll(drain=True))
    await restarted.does(UNDRAIN)
    assert restarted.ledger.state.last_undrain_at is None


async def test_a_step_is_dated_behind_its_last_look() -> None:
    """The look may take its time; a step dated ahead of it would let the next one come too soon."""
    later = NOW + 5 * SECOND
    for stage, action in ((drained(), UNDRAIN), (ready(), DRAIN), (drained(), FENCE), (exited(), DELETE)):
        stage.bridges.read_takes = 5 * SECOND
        await stage.does(action)
        written = await stage.written("a")
        assert written is not None
        asked_at = {UNDRAIN: written.drain_asked_at, DELETE: written.delete_asked_at}
        assert asked_at.get(action, written.phase_since) == later, action


async def test_a_repurpose_calls_nobody() -> None:
    """Only the row says another reason."""
    stage = drained()
    await stage.does(Repurpose("vm-a", Purpose.SURPLUS, ""))
    assert stage.calls == []
    written = await stage.written("a")
    assert written is not None
    assert written.purpose is Purpose.SURPLUS


# Fence


async def test_a_fence_is_written_and_done() -> None:
    """The row says fenced before the bridge is told."""
    stage = drained().hears("a", poll(drain=True, process_started_at=NOW - 2 * HOUR))
    await stage.does(FENCE)
    assert stage.calls == ["fence vm-a"]
    written = await stage.written("a")
    assert written is not None
    assert (written.phase, written.fenced_at, written.epoch) == (Phase.FENCED, None, 9)
    assert stage["a"].fenced_at == NOW


@pytest.mark.parametrize(
    "report",
    [
        poll(drain=False),
        poll(drain=None),
        poll(drain=True, **busy()),
        poll(drain=True, conferences=None),
        poll(drain=True, total_conferences_created=6, total_conferences_completed=6),
        poll(drain=True, total_conferences_created=None),
        poll(drain=True, mucs_joined=0),
        poll(drain=True, health_ok=False),
        silent(),
    ],
    ids=[
        "undrained",
        "unknown drain",
        "busy",
        "unknown",
        "came and went",
        "no counter",
        "no MUC",
        "unhealthy",
        "silent",
    ],
)
async def test_a_fence_is_proved_again(report: Poll) -> None:
    """Drained, empty, nothing created since, serving: else nothing is written or called."""
    stage = drained().hears("a", report)
    assert await refusal_of(stage, FENCE) is Reason.FACTS_CHANGED
    assert stage.calls == []
    assert await stage.written("a") is None


async def test_a_machine_that_never_joined_is_fenced_without_having_served() -> None:
    """It need not be in a MUC, nor old; the clean-up is counted."""
    outside = {"phase": Phase.FAILED, "process_started_at": None, **found_empty()}
    stage = Stage(bridge("a", MINUTE, remembered=outside)).hears("a", poll(drain=True, mucs_joined=0))
    await stage.does(Fence("vm-a", "", never_ready=True))
    assert stage.calls == ["fence vm-a"]
    assert stage.ledger.state.last_clean_up_at == NOW


@pytest.mark.parametrize("error", [Refused("404", "no shutdown API"), TryNextTick("500")])
async def test_a_fence_that_is_refused_leaves_the_bridge_drained(error: ScalerError) -> None:
    """It is one bridge's matter: the rest of the tick goes on. After a lost answer it counts as fenced."""
    stage = drained()
    stage.bridges.error = error
    first, second = await stage.does(FENCE, Repurpose("vm-a", Purpose.SURPLUS, ""))
    assert first.refusal is not None
    assert (first.refusal.reason, second.done) == (Reason.CALL_FAILED, True)
    if isinstance(error, Refused):
        assert (stage["a"].phase, stage["a"].fence_failure) == (Phase.DRAINING, "404: no shutdown API")
    else:
        assert (stage["a"].phase, stage["a"].fenced_at) == (Phase.FENCED, None)


async def test_a_machine_that_refused_the_fence_is_not_asked_again_each_ten_minutes() -> None:
    """It failed as before, and its refusal is known: others are cleaned up, and a person is told."""
    never = {"phase": Phase.FAILED, "ever_ready": False, "asked_by": "i", **found_empty()}
    stage = Stage(bridge("a", remembered=never, drain=True)).hears("a", poll(drain=True, mucs_joined=0))
    stage.bridges.error = Refused("404", "no shutdown API")
    (outcome,) = await stage.does(Fence("vm-a", "", never_ready=True))
    assert not outcome.done
    assert (stage["a"].phase, stage["a"].fence_failure) == (Phase.FAILED, "404: no shutdown API")


# Delete


async def test_a_delete_is_written_done_and_followed() -> None:
    """With the time of its next try, and ARM's operation once it is known."""
    stage = exited()
    await stage.does(DELETE)
    assert stage.calls == ["delete vm-a"]
    written = await stage.written("a")
    assert written is not None
    assert (written.phase, written.delete_attempts, written.delete_not_before) == (
        Phase.DELETING,
        1,
        NOW + 2 * MINUTE,
    )
    assert (written.operation, stage["a"].operation) == (None, "op-delete")
    assert stage.ledger.state.last_clean_up_at is None


@pytest.mark.parametrize(
    ("changes", "report", "cause", "allowed"),
    [
        ({}, REFUSED, Cause.TEAR_DOWN, True),
        ({}, silent(), Cause.TEAR_DOWN, False),
        ({}, poll(shutting_down=True), Cause.TEAR_DOWN, False),
        ({}, silent(reach=Reach.BROKEN), Cause.TEAR_DOWN, False),
        ({"arm": {"power": Power.STOPPED}}, silent(), Cause.NEVER_READY, True),
        ({"arm": {"power": Power.STOPPED}}, poll(drain=True), Cause.NEVER_READY, False),
        ({"arm": {"power": Power.STOPPED}}, silent(reach=Reach.BROKEN), Cause.REPLACED, False),
        ({"arm": {"power": Power.UNKNOWN}}, silent(), Cause.NEVER_READY, False),
        ({"arm": {"address": None}}, silent(), Cause.NEVER_READY, False),
        ({"arm": {"address": None, "power": Power.STOPPED}}, silent(), Cause.NEVER_READY, True),
        ({**UNTOLD, "arm": {"address": None, "power": Power.STOPPED}}, poll(), Cause.TEAR_DOWN, False),
        ({**UNTOLD, "arm": {"address": None, "power": Power.STOPPED}}, silent(), Cause.TEAR_DOWN, True),
        ({**MOVED, "arm": {"address": None, "power": Power.STOPPED}}, poll(), Cause.TEAR_DOWN, True),
        ({"arm": NO_ROOM}, silent(), Cause.NEVER_READY, True),
        ({"arm": BROKEN}, silent(), Cause.NEVER_READY, False),
        ({"arm": BROKEN}, REFUSED, Cause.NEVER_READY, True),
        ({"arm": BROKEN}, poll(), Cause.NEVER_READY, False),
        ({"arm": BROKEN}, silent(), Cause.TEAR_DOWN, False),
        ({"arm": {**NO_ROOM, "address": None}}, silent(), Cause.NEVER_READY, True),
        ({"arm": {**BROKEN, "address": None}}, silent(), Cause.NEVER_READY, False),
        ({}, silent(), Cause.DEAD, True),
        ({}, poll(), Cause.DEAD, False),
        ({}, silent(), Cause.REPLACED, True),
        ({}, poll(), Cause.REPLACED, False),
        ({}, silent(reach=Reach.BROKEN), Cause.REPLACED, False),
        ({"remembered": EMPTY}, silent(), Cause.REPLACED, True),
        ({"remembered": EMPTY}, poll(drain=True), Cause.REPLACED, False),
        ({"instance": None}, REFUSED, Cause.TEAR_DOWN, False),
        ({"instance": None, "remembered": EMPTY}, REFUSED, Cause.TEAR_DOWN, False),
    ],
)
async def test_a_delete_is_proved_again(
    changes: dict[str, Any], report: Poll, cause: Cause, *, allowed: bool
) -> None:
    """Nothing answers; and a time-out proves nothing of a machine that runs, unless the platform did."""
    stage = exited(**changes).hears("a", report)
    (outcome,) = await stage.does(Delete("vm-a", cause, ""))
    assert outcome.done is allowed
    assert stage.calls == (["delete vm-a"] if allowed else [])
    assert (stage.ledger.state.last_clean_up_at is not None) is (allowed and cause is not Cause.TEAR_DOWN)


@pytest.mark.parametrize(
    ("report", "allowed"), [(poll(drain=True), True), (poll(drain=True, **busy()), False)]
)
async def test_without_a_fence_all_terms_are_proved_at_the_delete(report: Poll, *, allowed: bool) -> None:
    """Where `require_fence` is false."""
    stage = drained().hears("a", report)
    (outcome,) = await stage.does(DELETE)
    assert outcome.done is allowed


@pytest.mark.parametrize("action", [DRAIN, UNDRAIN, FENCE])
async def test_without_an_address_nobody_is_called(action: Action) -> None:
    """Only what ARM gave in this very tick is ever called."""
    stage = Stage(bridge("a", arm={"address": None}))
    assert await refusal_of(stage, action) is Reason.FACTS_CHANGED
    assert stage.calls == []


# ARM's capacity


async def test_machines_are_written_down_before_they_are_asked_for() -> None:
    """One intent each, with ARM's operation once it is known; the hot bridge has its answer."""
    stage = Stage(bridge("a"))
    await stage.does(BUY)
    assert stage.calls == ["capacity 3"]
    written = [row.value for row in (await stage.store.load("s")).intents.values()]
    assert [(i.capacity, i.operation, i.epoch) for i in written] == [(3, None, 9)] * 2
    assert stage["a"].hot_answered
    assert (stage.ledger.state.last_scale_out_at, stage.ledger.state.blind_bought) == (NOW, False)
    await stage.ledger.save()
    assert {row.value.operation for row in (await stage.store.load("s")).intents.values()} == {"op-out"}
    blind = Stage(bridge("a"), blind_since=NOW)
    await blind.does(BUY)
    assert blind.ledger.state.blind_bought


@pytest.mark.parametrize(
    ("error", "open_", "failures", "wait"),
    [
        (Throttled("429", 90), 0, 0, timedelta(seconds=90)),
        (Throttled("429"), 0, 0, timedelta(seconds=60)),
        (Refused("OperationNotAllowed", "quota"), 0, 1, timedelta(minutes=2)),
        (StateChanged("412"), 0, 0, None),
        (TryNextTick("503"), 2, 0, None),
    ],
)
async def test_a_write_that_failed_is_not_waited_for_unless_its_answer_was_lost(
    error: ScalerError, open_: int, failures: int, wait: timedelta | None
) -> None:
    """And the next try waits as ARM said, or as failures in a row ask for."""
    stage = Stage(bridge("a"))
    stage.cloud.error = error
    assert await refusal_of(stage, BUY) is Reason.CALL_FAILED
    await stage.ledger.save()
    written = [row.value for row in (await stage.store.load("s")).intents.values()]
    assert sum(intent.is_open for intent in written) == open_
    assert stage.ledger.state.boot_failures == failures
    assert stage.ledger.state.backoff_until == (None if wait is None else NOW + wait)
    assert stage["a"].hot_answered is (open_ > 0)


@pytest.mark.parametrize(
    ("error", "bought"),
    [(Throttled("429", 90), False), (Refused("AllocationFailed", "none"), False), (TryNextTick("503"), True)],
)
async def test_only_a_machine_that_may_come_uses_up_the_one_of_a_blind_shard(
    error: ScalerError, bought: bool
) -> None:
    """A refused purchase is none; after a lost answer it may have been one."""
    stage = Stage(bridge("a"), blind_since=NOW)
    stage.cloud.error = error
    await refusal_of(stage, BUY)
    assert stage.ledger.state.blind_bought is bought
    before = Stage(bridge("a"), blind_since=NOW, blind_bought=True)
    before.cloud.error = error
    await refusal_of(before, BUY)
    assert before.ledger.state.blind_bought


async def test_a_capacity_is_repaired_and_an_unknown_scale_set_is_not_written() -> None:
    """The listed number, as decided."""
    stage = Stage(bridge("a"))
    await stage.does(RepairCapacity(1, ""))
    assert stage.calls == ["capacity 1"]
    assert await refusal_of(Stage(bridge("a"), scale_set=None), RepairCapacity(1, "")) is Reason.FACTS_CHANGED


async def test_a_repair_forgets_the_gap_before_it_writes() -> None:
    """A crash behind it must not leave a gap that counts as old when the next list lacks a machine."""
    stage = Stage(bridge("a"), gap_since=NOW - HOUR)
    stage.cloud.error = TryNextTick("no answer in time")
    await stage.does(RepairCapacity(1, ""))
    assert stage.ledger.state.gap_since is None


# The lease, and what stops the rest


async def test_no_call_starts_that_the_lease_would_not_outlive() -> None:
    """Until minus now must be more than the call's time-out and thirty seconds."""
    stage = ready()
    stage.lease = replace(stage.lease, until=NOW + timedelta(seconds=45))
    first, second = await stage.does(DRAIN, SURPLUS)
    assert first.refusal is not None
    assert second.refusal is not None
    assert (first.refusal.reason, second.refusal.reason) == (Reason.LEASE_TOO_SHORT, Reason.STOPPED_EARLIER)
    assert stage.calls == []
    stage.lease = replace(stage.lease, until=NOW + timedelta(seconds=45, milliseconds=1))
    assert (await stage.does(DRAIN))[0].done


@pytest.mark.parametrize(
    ("stage", "action"),
    [(ready(), DRAIN), (drained(), UNDRAIN), (drained(), FENCE), (exited(), DELETE)],
    ids=["drain", "un-drain", "fence", "delete"],
)
async def test_a_slow_proof_can_use_the_lease_up(stage: Stage, action: Action) -> None:
    """Every mutating call starts only if the lease outlives it, also after a slow report."""
    stage.lease = replace(stage.lease, until=NOW + timedelta(seconds=50))
    stage.bridges.read_takes = timedelta(seconds=10)
    assert await refusal_of(stage, action) is Reason.LEASE_TOO_SHORT
    assert stage.calls == []


@pytest.mark.parametrize("error", [Refused("404", "no drain API"), TryNextTick("500")])
async def test_what_one_bridge_refuses_stops_no_other_step(error: ScalerError) -> None:
    """It is said; a refused drain leaves the bridge as it was, a lost answer leaves the intent."""
    stage = ready()
    stage.bridges.error = error
    first, second = await stage.does(SURPLUS, RepairCapacity(1, ""))
    assert (first.done, second.done) == (False, True)
    failed = [event for event in stage.ledger.events if event.kind is EventKind.ACT_FAILED]
    assert failed[0].text.startswith("did not drain a (surplus): call_failed: ")
    if isinstance(error, Refused):
        assert (stage["a"].phase, stage["a"].failure) == (Phase.READY, "404: no drain API")
    else:
        assert (stage["a"].phase, stage["a"].wanted_drain) == (Phase.DRAINING, True)


@pytest.mark.parametrize(
    "error", [Refused("AuthorizationFailed", "x"), TryNextTick("503"), StateChanged("412")]
)
async def test_the_first_error_of_arm_stops_the_rest(error: ScalerError) -> None:
    """What it did not take, or may have taken, must be read again before anything else is changed."""
    stage = ready()
    stage.cloud.error = error
    _, second = await stage.does(RepairCapacity(1, ""), SURPLUS)
    assert second.refusal is not None
    assert second.refusal.reason is Reason.STOPPED_EARLIER
    assert stage.bridges.calls == []


async def test_another_process_counts_as_one_that_nobody_has_heard_yet() -> None:
    """Its image may start it drained, which is nobody's drain."""
    stage = ready(remembered={"process_started_at": NOW - HOUR, "stats_timestamp": NOW - MINUTE})
    assert await refusal_of(stage, DRAIN) is Reason.NOT_THE_SAME_BRIDGE
    assert (stage["a"].process_started_at, stage["a"].stats_timestamp) == (None, None)


@pytest.mark.parametrize(("purpose", "done"), [(Purpose.OPERATOR, True), (Purpose.SURPLUS, False)])
async def test_a_person_may_empty_a_bridge_that_is_ill(purpose: Purpose, *, done: bool) -> None:
    """It ends no call, and is often why he asks; a rule judges only what is well."""
    stage = Stage(bridge("a")).hears("a", poll(health_ok=False), poll(drain=True))
    (outcome,) = await stage.does(Drain("vm-a", purpose, ""))
    assert outcome.done is done


BACK = SetImage("/versions/1.0.0", "back to the last good one", goes_back=True)


@pytest.mark.parametrize(
    ("error", "calls", "reason"),
    [
        (None, ["image /versions/1.0.0"], Reason.FACTS_CHANGED),
        (Refused("Forbidden", "x"), ["image /versions/1.0.0", "capacity 3"], Reason.CALL_FAILED),
        (TryNextTick("503"), ["image /versions/1.0.0"], Reason.STOPPED_EARLIER),
        (StateChanged("412"), ["image /versions/1.0.0"], Reason.STOPPED_EARLIER),
    ],
)
async def test_no_machine_is_made_of_a_model_that_is_being_set_back(
    error: ScalerError | None, calls: list[str], reason: Reason
) -> None:
    """It is asked for in the next tick; only a model that may never be set again does not hold growth up."""
    stage = Stage(bridge("a"))
    stage.cloud.error = error
    _, bought = await stage.does(BACK, BUY)
    assert bought.refusal is not None
    assert (stage.calls, bought.refusal.reason) == (calls, reason)
    intents = (await stage.store.load("s")).intents
    assert len(intents) == (BUY.count if "capacity 3" in calls else 0)


async def test_a_start_time_that_is_not_told_now_is_waited_for() -> None:
    """Unknown is not the same; only taking a drain back, which harms nobody, does without."""
    for stage, action in ((ready(), DRAIN), (drained(), FENCE)):
        stage.bridges.started = None
        stage.hears("a", poll(drain=stage["a"].phase is Phase.DRAINING))
        assert await refusal_of(stage, action) is Reason.FACTS_CHANGED
        assert stage.calls == []
    back = drained()
    back.bridges.started = None
    assert (await back.does(UNDRAIN))[0].done


@pytest.mark.parametrize(
    ("endpoint", "statistics", "done"),
    [
        (False, False, True),
        (True, False, False),
        (None, False, True),
        (None, True, False),
        (None, None, False),
    ],
)
async def test_what_somebody_else_drained_meanwhile_is_left_alone(
    *, endpoint: bool | None, statistics: bool | None, done: bool
) -> None:
    """Its drain endpoint tells, or the statistics where that fails; unknown is not undrained."""
    report = poll(drain=statistics)
    (outcome,) = await ready().hears("a", replace(report, drain=endpoint), poll(drain=True)).does(DRAIN)
    assert outcome.done is done


async def test_a_table_that_does_not_take_the_intent_ends_the_tick() -> None:
    """Nothing may be called that was not written."""
    stage = ready()

    def deny(name: str, **_details: object) -> None:
        if name == "put_bridges":
            raise StateChanged("written by another")

    stage.store.tap.before = deny
    with pytest.raises(StateChanged):
        await stage.does(DRAIN)
    assert stage.calls == []
