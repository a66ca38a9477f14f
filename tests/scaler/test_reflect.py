"""What the world did since the last tick, and what is proved by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from scaler.decision import EventKind
from scaler.health import why_unhealthy
from scaler.model import BridgeStats, Instance, Phase, PlatformLoad, Poll, Power, Purpose, Reach
from scaler.passive import is_proved_empty
from scaler.reflect import Heard, reflect
from tests.scaler.builders import (
    HOUR,
    MINUTE,
    NOW,
    OWNER,
    SECOND,
    Shard,
    busy,
    draining,
    instance,
    intent,
    memory,
    policy,
    poll,
    scale_set,
    shard_memory,
    silent,
    stats,
    verbs,
)

A = instance("a")


def kinds(shard: Shard) -> list[EventKind]:
    """What happened in the last tick, alerts and refusals left out."""
    left_out = (EventKind.ALERT, EventKind.ALERT_CLOSED, EventKind.REFUSED)
    return [event.kind for event in shard.events if event.kind not in left_out]


def one(poll_: Poll | None = None, machine: Instance = A, after: timedelta = MINUTE, **known: Any) -> Shard:
    """A shard of one machine behind one tick."""
    shard = Shard().remember(memory(machine.name[0], **known))
    shard.tick({machine: poll_ or poll()}, after=after)
    return shard


# Appearing, and leaving


def test_with_an_empty_table_every_machine_is_adopted_as_one_that_was_ready() -> None:
    """Also a young one: 'never ready' would be what we saw, not what it did."""
    shard = Shard().forget()
    shard.tick([A, instance("b", MINUTE)])
    assert {m.name: (m.phase, m.ever_ready, m.asked_by) for m in shard.memories.values()} == {
        "a": (Phase.READY, True, None),
        "b": (Phase.READY, True, None),
    }
    assert kinds(shard) == [EventKind.ADOPTED, EventKind.ADOPTED]


@pytest.mark.parametrize(
    ("age", "phase"), [(MINUTE, Phase.BOOTING), (9 * MINUTE, Phase.READY), (None, Phase.READY)]
)
def test_a_machine_added_by_hand_boots_if_it_is_young(age: timedelta | None, phase: Phase) -> None:
    """An old or ageless one was ready, as far as we know."""
    shard = Shard()
    shard.tick({instance("a", age): silent()})
    assert (shard["a"].phase, shard["a"].asked_by) == (phase, None)


def test_new_machines_are_given_to_intents_in_order_of_time() -> None:
    """The oldest intent gets the oldest machine; one created long before it was asked for is nobody's."""
    shard = Shard()
    shard.intents = (intent(2, asked_at=NOW), intent(1, asked_at=NOW - MINUTE))
    machines = [
        instance("a", -10 * SECOND, provisioning="Creating"),
        instance("b", -20 * SECOND, provisioning="Creating"),
        instance("c", HOUR, provisioning="Creating"),
    ]
    shard.tick(dict.fromkeys(machines, silent()))
    assert [shard[name].asked_by for name in "abc"] == ["i1", "i2", None]
    assert shard["a"].asked_at == NOW - MINUTE
    assert [(i.vm_id, i.ended_at) for i in shard.intents] == [("vm-b", shard.now), ("vm-a", shard.now)]
    assert kinds(shard).count(EventKind.APPEARED) == 2
    ended = shard.intents
    shard.tick(dict.fromkeys(machines, silent()))
    assert shard.intents == ended


def test_a_machine_without_a_time_is_matched_last() -> None:
    """It may be the one that was asked for."""
    shard = Shard()
    shard.intents = (intent(1),)
    shard.tick({instance("a", None): silent()})
    assert shard["a"].asked_by == "i1"


@pytest.mark.parametrize(
    ("known", "kind"), [({"phase": Phase.DELETING}, EventKind.GONE), ({}, EventKind.VANISHED)]
)
def test_a_machine_that_is_listed_no_more_is_forgotten(known: dict[str, Any], kind: EventKind) -> None:
    """Ours is gone at once; another's has vanished when every list of five minutes lacked it."""
    shard = Shard().remember(memory("a", **known))
    shard.tick({})
    if kind is EventKind.VANISHED:
        first = shard.now
        for step in (HOUR / 120, 5 * MINUTE - HOUR / 120 - SECOND, SECOND):
            assert (kinds(shard), shard["a"].unlisted_since) == ([], first)
            shard.tick({}, after=step)
    assert shard.memories == {}
    assert kinds(shard) == [kind]


@pytest.mark.parametrize(("owner", "other"), [(None, None), (OWNER, None), ("them", "them")])
def test_another_owner_is_told(owner: str | None, other: str | None) -> None:
    """No tag, or ours, is nobody else's."""
    heard = Heard(scale_set(0, owner=owner), (), {}, {})
    snapshot, _, _ = reflect("s", heard, shard_memory(), {}, (), policy(), NOW, 1, OWNER)
    assert snapshot.other_owner == other


# Intents that end


def test_an_intent_ends_with_the_error_of_its_operation() -> None:
    """ARM's words are kept, the failure is counted, and the bridge that it was to answer asks again."""
    shard = Shard().remember(memory("a", hot_answered=True), memory("b", hot_answered=True))
    shard.intents = (intent(1, error="AllocationFailed: no room", answers=("vm-a",)),)
    shard.tick({A: poll(**busy(5, 190)), instance("b"): poll(**busy(5, 190))})
    assert shard["b"].hot_answered
    assert shard.intents[0].ended_at == shard.now
    assert kinds(shard) == [EventKind.CREATE_FAILED]
    assert shard.state is not None
    assert (shard.state.boot_failures, shard.state.backoff_until) == (1, shard.now + 2 * MINUTE)
    assert not shard["a"].hot_answered


def test_failures_in_a_row_wait_longer() -> None:
    """2, 5, 15, 15 minutes; a bridge that joins ends the row."""
    shard, waits = Shard(), []
    for number in range(4):
        shard.intents = (intent(number, error="AllocationFailed"),)
        shard.tick({})
        assert shard.state is not None
        assert shard.state.backoff_until is not None
        waits.append((shard.state.backoff_until - shard.now) / MINUTE)
    assert waits == [2, 5, 15, 15]
    shard.remember(memory("a", MINUTE, phase=Phase.BOOTING))
    shard.tick([A])
    assert shard.state is not None
    assert (shard.state.boot_failures, shard.state.backoff_until) == (0, None)


def test_an_intent_without_a_machine_ends_at_its_deadline() -> None:
    """Ten minutes after it was asked for."""
    shard = Shard()
    shard.intents = (intent(1, asked_at=NOW, capacity=1),)
    shard.tick({}, after=10 * MINUTE - SECOND)
    assert shard.intents[0].is_open
    shard.tick({}, after=SECOND)
    assert shard.intents[0].error == "no machine appeared within 10 min"


def test_a_write_that_arm_never_took_is_not_waited_for() -> None:
    """Its answer was lost, and the capacity is still lower: no machine will come of it, and nobody failed."""
    shard = Shard()
    shard.intents = (intent(1, operation=None, capacity=2),)
    shard.tick({}, capacity=1)
    assert shard.intents[0].error == "ARM did not take the write"
    assert (shard.intents[0].ended_at, shard.intents[0].is_open) == (shard.now, False)
    assert [e.subject for e in shard.events if e.kind is EventKind.CREATE_FAILED] == ["i1"]
    assert shard.state is not None
    assert shard.state.boot_failures == 0


def test_a_write_that_arm_was_seen_to_have_taken_stays_taken() -> None:
    """A delete by id lowers the capacity again, and its machine still comes."""
    shard = Shard()
    shard.intents = (intent(1, asked_at=NOW, operation=None, capacity=2),)
    shard.tick({}, after=MINUTE, capacity=2)
    shard.tick({}, after=MINUTE, capacity=1)
    assert (shard.intents[0].is_open, shard.intents[0].taken) == (True, True)
    shard.tick({}, after=8 * MINUTE, capacity=1)
    assert shard.intents[0].error == "no machine appeared within 10 min"


@pytest.mark.parametrize(
    ("asked", "bought"), [(MINUTE, False), (3 * MINUTE, True)], ids=["while blind", "before it"]
)
def test_a_write_that_arm_never_took_was_not_the_one_purchase_of_a_blind_shard(
    asked: timedelta, *, bought: bool
) -> None:
    """At most one new machine in the whole incident: none was made."""
    shard = Shard()
    shard.state = shard_memory(blind_since=NOW - 2 * MINUTE, blind_bought=True)
    shard.intents = (intent(1, asked_at=NOW - asked, operation=None, capacity=2),)
    shard.tick({}, capacity=1)
    assert shard.state is not None
    assert shard.state.blind_bought is bought


def test_a_machine_that_may_be_a_persons_is_told_from_ours_by_nobody() -> None:
    """What he added is listed first and has our intent; ours comes behind it, and has none."""
    shard = Shard().remember(memory("a"))
    shard.intents = (intent(1, asked_at=NOW),)
    by_hand, ours = instance("b", -MINUTE), instance("c", -MINUTE)
    shard.tick({A: poll(), by_hand: silent()}, after=2 * MINUTE)
    assert (shard.memories["vm-b"].asked_by, shard.memories["vm-b"].may_be_anothers) == ("i1", False)
    shard.tick({A: poll(), by_hand: silent(), ours: silent()}, after=MINUTE)
    doubts = {vm_id: m.may_be_anothers for vm_id, m in shard.memories.items()}
    assert doubts == {"vm-a": False, "vm-b": True, "vm-c": False}
    assert shard.memories["vm-c"].asked_by is None


@pytest.mark.parametrize(("operation", "doubted"), [("https://arm/op/1", False), (None, True)])
def test_what_comes_behind_a_write_with_no_answer_may_be_a_persons(
    operation: str | None, doubted: bool
) -> None:
    """The process may have died before the call, and somebody have raised the capacity by hand."""
    shard = Shard().remember(memory("a"))
    shard.intents = (intent(1, asked_at=NOW, operation=operation, capacity=2),)
    shard.tick({A: poll(), instance("b", -MINUTE): silent()}, after=2 * MINUTE, capacity=2)
    found = shard.memories["vm-b"]
    assert (found.asked_by, found.may_be_anothers) == ("i1", doubted)


@pytest.mark.parametrize(("made_after", "doubted"), [(3 * MINUTE, False), (3 * MINUTE + SECOND, True)])
def test_what_was_made_long_after_our_write_may_be_a_persons(made_after: timedelta, *, doubted: bool) -> None:
    """What our write made may have vanished before anybody saw it."""
    shard = Shard().remember(memory("a"))
    shard.intents = (intent(1, asked_at=NOW, operation="https://arm/op/1", capacity=2),)
    shard.tick({A: poll(), instance("b", -made_after): silent()}, after=5 * MINUTE, capacity=2)
    found = shard.memories["vm-b"]
    assert (found.asked_by, found.may_be_anothers) == ("i1", doubted)


def test_what_was_made_nobody_knows_when_may_be_a_persons() -> None:
    """Unknown is not "at once"."""
    shard = Shard().remember(memory("a"))
    shard.intents = (intent(1, asked_at=NOW, operation="https://arm/op/1", capacity=2),)
    shard.tick({A: poll(), instance("b", time_created=None): silent()}, after=MINUTE, capacity=2)
    found = shard.memories["vm-b"]
    assert (found.asked_by, found.may_be_anothers) == ("i1", True)


def test_a_machine_that_came_before_ours_was_asked_for_raises_no_doubt() -> None:
    """Nor does one raise it of a bridge that was ready."""
    shard = Shard().remember(memory("a", asked_by="i0", asked_at=NOW))
    shard.intents = (intent(1, asked_at=NOW),)
    ours, older = instance("b", -MINUTE), instance("c", 3 * MINUTE)
    shard.tick({A: poll(), ours: silent(), older: silent()}, after=2 * MINUTE)
    assert not any(m.may_be_anothers for m in shard.memories.values())
    later = instance("d", -30 * MINUTE)
    shard.tick({A: poll(), ours: silent(), older: silent(), later: silent()}, after=30 * MINUTE)
    assert not any(m.may_be_anothers for m in shard.memories.values())


@pytest.mark.parametrize(("gap", "kept"), [(30 * MINUTE, True), (30 * MINUTE + SECOND, False)])
def test_a_silence_from_before_nobody_looked_counts_no_more(gap: timedelta, *, kept: bool) -> None:
    """It may have served for all that time."""
    shard = Shard().remember(memory("a", silent_since=NOW - HOUR))
    shard.state = shard_memory(last_tick_at=NOW, heard_at=NOW - gap)
    shard.tick({A: silent()}, after=timedelta(0))
    assert shard["a"].silent_since == (NOW - HOUR if kept else shard.now)


def test_what_was_counted_before_nobody_looked_counts_no_more() -> None:
    """Friday's load buys no machine on Monday, and a poll of Friday calls no bridge sick."""
    known: dict[str, Any] = {"polls": "11000", "bad_since": NOW - HOUR, "cpu_fractions": (0.9,) * 4}
    rest = 30 * MINUTE
    gaps = ((5 * MINUTE, True, True), (5 * MINUTE + SECOND, True, False), (rest, True, False))
    for gap, kept, loads in (*gaps, (rest + SECOND, False, False)):
        shard = Shard().remember(memory("a", **known))
        shard.state = shard_memory(last_tick_at=NOW, heard_at=NOW - gap)
        shard.tick({A: poll(health_ok=False)}, after=timedelta(0))
        assert (shard["a"].polls, shard["a"].bad_since) == (
            ("10000", NOW - HOUR) if kept else ("0", shard.now)
        )
        assert (0.9 in shard["a"].cpu_fractions) is loads


# Which process answers


@pytest.mark.parametrize(
    ("changes", "restarted"),
    [
        ({"process_started_at": NOW - MINUTE}, True),
        ({"process_started_at": NOW - 2 * HOUR + SECOND}, False),
        ({"total_conferences_created": 4}, True),
        ({"total_conferences_completed": 4}, True),
        ({"total_participants": 0}, True),
        ({"total_bytes_sent": 0}, True),
        ({"total_bytes_received": 0}, True),
        ({"total_bytes_received": None}, False),
        ({}, False),
    ],
)
def test_another_start_or_a_total_that_fell_is_another_process(
    changes: dict[str, Any], *, restarted: bool
) -> None:
    """Then its history, its clock and its age begin anew."""
    shard = Shard().remember(memory("a"))
    shard.tick([A])
    shard.tick({A: poll(**changes)})
    assert (EventKind.RESTARTED in kinds(shard)) is restarted
    assert (shard["a"].restart_seen_at == shard.now) is restarted
    assert shard["a"].polls == ("1" if restarted else "11111")


def test_the_start_of_a_process_is_remembered_once_told() -> None:
    """Learning it for the first time is no restart."""
    shard = one(poll(process_started_at=NOW - HOUR), process_started_at=None)
    assert shard["a"].process_started_at == NOW - HOUR
    assert kinds(shard) == []


def test_a_restarted_bridge_that_starts_drained_was_drained_by_nobody() -> None:
    """Its image starts so: it is opened after two good polls, and not taken for an operator's drain."""
    shard = Shard().remember(memory("a"))
    fresh = {A: poll(process_started_at=NOW, drain=True)}
    shard.tick(fresh)
    assert (shard["a"].phase, shard["a"].starts_drained) == (Phase.READY, True)
    assert [a.verb for a in shard.tick(fresh).actions] == ["undrain"]
    shard.tick([A])
    assert not shard["a"].starts_drained


def test_an_adopted_bridge_that_drains_was_drained_by_somebody() -> None:
    """We did not see its process begin."""
    shard = Shard().forget()
    shard.tick({A: poll(drain=True)})
    assert (shard["a"].phase, shard["a"].purpose) == (Phase.DRAINING, Purpose.FOREIGN)
    assert EventKind.FOREIGN_DRAIN in kinds(shard)


def test_a_new_machine_that_drains_was_drained_by_its_image() -> None:
    """While it boots."""
    shard = Shard()
    shard.tick({instance("a", MINUTE): poll(drain=True)})
    assert (shard["a"].phase, shard["a"].starts_drained) == (Phase.BOOTING, True)


# Whether its statistics are of now


def at(second: float, **changes: Any) -> BridgeStats:
    """Statistics by the bridge's clock."""
    return stats(timestamp=NOW + timedelta(seconds=second), **changes)


@pytest.mark.parametrize(
    ("before", "now", "fresh"),
    [
        (-60, 60, True),  # just now
        (-60, 30, True),  # 30 s behind
        (-60, 29, False),  # 31 s behind
        (-60, -60, False),  # stands still
        (-60, -90, False),  # goes backwards
        (-60, 55, True),
        (540, 660, True),  # ten minutes ahead, as always
        (-60, -30, False),  # 90 s behind, and slower than time
    ],
)
def test_statistics_are_fresh_by_the_bridges_own_clock(before: float, now: float, *, fresh: bool) -> None:
    """They advance, and are at most 30 s behind once its skew is known."""
    known: dict[str, Any] = {
        "stats_timestamp": NOW + timedelta(seconds=before),
        "polled_at": NOW - MINUTE,
        "skew_seconds": -60.0 - before,
    }
    shard = Shard().remember(memory("a", **known))
    heard = Heard(scale_set(1), (A,), {"vm-a": poll(NOW + MINUTE, stats=at(now))}, {})
    snapshot, _, _ = reflect("s", heard, shard.state, shard.memories, (), policy(), NOW + MINUTE, 1, OWNER)
    assert snapshot.bridges[0].fresh is fresh


def test_a_clock_that_was_set_keeps_its_pace_and_is_learnt() -> None:
    """Five minutes back at once, then on as before: a new skew, not an old report."""
    shard = Shard().remember(memory("a"))
    shard.tick([A])
    behind = poll(stats=at(-400))
    shard.tick({A: behind})
    shard.tick({A: behind})
    shard.tick({A: behind})
    assert (shard["a"].polls, shard["a"].skew_seconds) == ("11011", 400)


def test_a_skew_of_more_than_five_minutes_is_said_once() -> None:
    """With its direction."""
    shard = Shard().remember(memory("a"))
    shard.tick({A: poll(stats=at(301))})
    assert [e.text for e in shard.events if e.kind is EventKind.CLOCK_SKEW] == [
        "its clock differs from ours by 301 s"
    ]
    shard.tick({A: poll(stats=at(301))})
    assert EventKind.CLOCK_SKEW not in kinds(shard)
    assert shard["a"].bad_since is None


# Whether it is healthy


@pytest.mark.parametrize(
    ("machine", "answer", "because"),
    [
        ({}, {}, None),
        ({"provisioning": "Failed"}, {}, None),
        ({"provisioning": "Updating"}, {}, None),
        ({"provisioning": "Creating"}, {}, "ARM is Creating it"),
        ({"provisioning": "Deleting"}, {}, "ARM is Deleting it"),
        ({"power": Power.STOPPED}, {}, "ARM says its power is stopped"),
        ({"power": Power.UNKNOWN}, {}, "ARM says its power is unknown"),
        ({}, {"reach": Reach.BROKEN}, "port broken"),
        ({}, {"health_ok": False, "problem": "status 500"}, "health: status 500"),
        ({}, {"health_ok": None}, "health: no answer"),
        ({}, {"stats": None}, "stats: no answer"),
        ({}, {"conferences": None}, "its conferences are not a count"),
        ({}, {"local_endpoints": None}, "its local endpoints are not a count"),
        ({}, {"healthy": False}, "it says that it is not healthy"),
        ({}, {"healthy": None}, None),
        ({}, {"muc_clients_connected": 0}, "no XMPP connection"),
        ({}, {"muc_clients_connected": None}, "no XMPP connection"),
        ({}, {"mucs_joined": 0}, "not in its MUC"),
        ({}, {"mucs_joined": None}, "not in its MUC"),
        ({}, {"graceful_shutdown": True}, "it is in graceful shutdown"),
        ({}, {"shutting_down": True}, "it is shutting down"),
    ],
)
def test_every_sign_of_health_alone_can_lie(
    machine: dict[str, Any], answer: dict[str, Any], because: str | None
) -> None:
    """The first one that is missing is named."""
    assert why_unhealthy(memory("a"), instance("a", **machine), poll(**answer), fresh=True) == because


def test_stale_statistics_and_an_old_jvb_are_not_healthy() -> None:
    """Neither can be judged."""
    assert why_unhealthy(memory("a"), A, poll(), fresh=False) == "its statistics do not advance"
    assert why_unhealthy(memory("a", unsupported=True), A, poll(), fresh=True) == "its JVB is too old"


def test_a_machine_whose_row_names_its_intent_ends_it() -> None:
    """A process killed between the two writes leaves it open: no other machine may be taken for its own."""
    shard = Shard().remember(memory("a"), memory("b", phase=Phase.BOOTING, asked_by="i1", asked_at=NOW))
    shard.intents = (intent(1, asked_at=NOW),)
    young, new = instance("b", 0 * MINUTE), instance("c", 0 * MINUTE)
    shard.tick({A: poll(), young: silent(), new: silent()}, capacity=3)
    (followed,) = shard.intents
    assert (followed.vm_id, followed.error, followed.is_open) == ("vm-b", None, False)
    assert shard["c"].asked_by is None


def test_restarts_are_counted_while_each_follows_the_last_within_an_hour() -> None:
    """One a day is no crash loop."""
    shard = Shard().remember(memory("a"))
    counts = []
    for after in (MINUTE, HOUR - SECOND, HOUR):
        started = shard.now + after
        shard.tick({A: poll(process_started_at=started)}, after)
        counts.append(shard["a"].restarts)
    assert counts == [1, 2, 1]


def test_an_old_jvb_is_left_alone_and_said_once_and_known_again_after_its_upgrade() -> None:
    """A time-out says nothing of its version."""
    shard = one(poll(supported=False))
    assert shard["a"].unsupported
    assert kinds(shard) == [EventKind.UNSUPPORTED]
    shard.tick({A: silent()})
    shard.tick({A: poll(supported=False)})
    assert kinds(shard) == []
    shard.tick([A])
    assert not shard["a"].unsupported


def test_five_polls_are_remembered_and_since_when_they_are_bad() -> None:
    """Newest last."""
    shard = Shard().remember(memory("a"))
    for answer in (silent(), silent(), poll(), silent()):
        shard.tick({A: answer})
    assert shard["a"].polls == "10010"
    assert shard["a"].bad_since == shard.now
    assert shard["a"].pressure is not None


@pytest.mark.parametrize(
    ("answer", "power", "since"),
    [
        (silent(), Power.RUNNING, NOW - HOUR),
        (silent(reach=Reach.REFUSED), Power.RUNNING, NOW - HOUR),
        (silent(reach=Reach.BROKEN), Power.RUNNING, None),
        (poll(health_ok=False), Power.RUNNING, None),
        (silent(reach=Reach.NOT_ASKED), Power.UNKNOWN, NOW - HOUR),
        (silent(reach=Reach.NOT_ASKED), Power.STOPPED, NOW - HOUR),
    ],
)
def test_it_is_remembered_since_when_nothing_answers(
    answer: Poll, power: Power, since: datetime | None
) -> None:
    """A sick bridge that answers is not silent; of one that was not asked nothing new is known."""
    shard = Shard().remember(memory("a", silent_since=NOW - HOUR))
    shard.tick({instance(power=power): answer})
    assert shard["a"].silent_since == since


@pytest.mark.parametrize(("power", "begins"), [(Power.UNKNOWN, False), (Power.STOPPED, True)])
def test_silence_begins_where_it_was_asked_in_vain_or_is_off(power: Power, *, begins: bool) -> None:
    """What was not asked may serve; what is switched off does not."""
    shard = Shard().remember(memory("a"))
    shard.tick({instance(power=power): silent(reach=Reach.NOT_ASKED)})
    assert shard["a"].silent_since == (shard.now if begins else None)
    shard.tick({A: silent()})
    assert shard["a"].silent_since is not None


def test_quiet_machines_and_stuck_relay_counters_are_remembered_since_when() -> None:
    """A minute without Monitor's figure, or one conference, starts over."""
    shard = Shard().remember(memory("a"))
    quiet = {"vm-a": PlatformLoad(NOW, 0.1, 0.04, 0.01)}
    shard.tick({A: silent()}, platform=quiet)
    since = shard.now
    shard.tick({A: silent()}, platform=quiet)
    sinces = [shard["a"].platform_quiet_since]
    shard.tick({A: silent()}, platform={"vm-a": PlatformLoad(NOW, 0.1, 0.05, 0.01)})
    assert [*sinces, shard["a"].platform_quiet_since] == [since, None]

    stuck, said = poll(octo_endpoints=2), []
    for _ in range(13):
        shard.tick({A: stuck})
        said += kinds(shard)
    assert said == [EventKind.RELAY_COUNTER_STUCK]
    shard.tick({A: silent()})
    sinces = [shard["a"].relayed_since]
    shard.tick({A: poll(octo_endpoints=2, **busy())})
    assert [each is None for each in (*sinces, shard["a"].relayed_since)] == [False, True]


@pytest.mark.parametrize(("people", "answered"), [(139, False), (140, True), (180, True)])
def test_a_hot_bridge_may_ask_again_once_it_has_been_cool(people: int, *, answered: bool) -> None:
    """Under 0.7 of its threshold; unknown pressure changes nothing."""
    assert one(poll(**busy(9, people)), hot_answered=True)["a"].hot_answered is answered
    assert one(silent(), hot_answered=True)["a"].hot_answered


# Passive moves


def test_a_booting_machine_is_ready_when_it_accepts() -> None:
    """Healthy is not enough: while it drains it is still booting."""
    shard = Shard().remember(memory("a", MINUTE, phase=Phase.BOOTING, asked_at=NOW))
    shard.tick({A: poll(drain=True)})
    assert shard["a"].phase is Phase.BOOTING
    shard.tick([A])
    assert (shard["a"].phase, shard["a"].ever_ready) == (Phase.READY, True)
    assert [e.text for e in shard.events if e.kind is EventKind.READY] == [
        "accepts calls 120 s after it was asked for"
    ]


@pytest.mark.parametrize(
    ("machine", "answer", "failure"),
    [
        (A, silent(), "no answer in time"),
        (A, Poll(NOW, Reach.REFUSED), "port refused"),
        (A, poll(drain=True), "healthy, but still drained"),
        (replace(A, error="OSProvisioningTimedOut: x"), silent(), "OSProvisioningTimedOut: x"),
    ],
)
@pytest.mark.parametrize("asked_by", ["i1", None])
def test_a_machine_that_does_not_accept_in_time_has_failed(
    machine: Instance, answer: Poll, failure: str, asked_by: str | None
) -> None:
    """With the best reason there is; only what we asked for counts as a failed creation."""
    shard = Shard().remember(memory("a", MINUTE, phase=Phase.BOOTING, asked_at=NOW, asked_by=asked_by))
    shard.tick({machine: answer}, after=10 * MINUTE - SECOND)
    assert shard["a"].phase is Phase.BOOTING
    shard.tick({machine: answer}, after=SECOND)
    assert (shard["a"].phase, shard["a"].failure) == (Phase.FAILED, failure)
    assert shard.state is not None
    assert shard.state.boot_failures == (1 if asked_by else 0)


def test_a_late_machine_is_ready_after_all() -> None:
    """Failed was only what we saw."""
    shard = one(phase=Phase.FAILED, failure="port refused")
    assert (shard["a"].phase, shard["a"].ever_ready, shard["a"].failure) == (Phase.READY, True, None)
    assert kinds(shard) == [EventKind.READY_LATE]


def test_a_failed_machine_is_proved_gone_or_empty() -> None:
    """Refused twice 30 s apart; or drained, empty, and never in a MUC."""
    shard = one(silent(reach=Reach.REFUSED), phase=Phase.FAILED)
    assert shard["a"].exited_at is None
    shard.tick({A: silent(reach=Reach.REFUSED)}, after=30 * SECOND)
    assert shard["a"].exited_at == shard.now
    outside = {A: poll(drain=True, mucs_joined=0)}
    shard = Shard().remember(memory("a", phase=Phase.FAILED))
    shard.tick(outside)
    shard.tick(outside)
    assert is_proved_empty(shard["a"])


@pytest.mark.parametrize(
    ("answers", "exited"),
    [
        ("RR", True),
        ("RTR", True),
        ("TT", False),
        ("RAR", False),
        ("RBR", False),
        ("R", False),
        ("RRT", True),
        ("RRA", False),
        ("RSR", True),
        ("SS", True),
    ],
)
def test_an_exit_is_two_refusals_with_nothing_answering_between(answers: str, *, exited: bool) -> None:
    """Refused by a machine that runs, or ARM says that it does not run. A time-out proves nothing."""
    heard = {
        "R": silent(reach=Reach.REFUSED),
        "T": silent(),
        "A": poll(shutting_down=True, drain=True),
        "B": silent(reach=Reach.BROKEN),
        "S": silent(reach=Reach.REFUSED),
    }
    shard = Shard().remember(memory("a", phase=Phase.FENCED, fenced_at=NOW))
    for answer in answers:
        machine = replace(A, power=Power.STOPPED) if answer == "S" else A
        shard.tick({machine: heard[answer]}, after=30 * SECOND)
    assert (shard["a"].exited_at is not None) is exited


def test_what_a_tick_hears_is_dated_by_the_answers_and_not_by_its_beginning() -> None:
    """One that stood still for two minutes before it asked has not asked two minutes ago."""
    gone = {A: silent(reach=Reach.REFUSED)}
    shard = Shard().remember(memory("a", phase=Phase.FENCED, fenced_at=NOW))
    shard.tick(gone, stood_still=2 * MINUTE)
    shard.tick(gone, after=2 * MINUTE)
    assert shard["a"].exited_at is None
    shard.tick(gone, after=30 * SECOND)
    assert shard["a"].exited_at == shard.now
    empty = {A: poll(drain=True)}
    shard = Shard().remember(memory("a", **draining(drained_at=NOW)))
    shard.tick(empty, stood_still=2 * MINUTE)
    shard.tick(empty, after=2 * MINUTE + 9 * SECOND)
    assert not is_proved_empty(shard["a"])
    shard.tick(empty, after=SECOND)
    assert is_proved_empty(shard["a"])
    shard = Shard().remember(memory("a", **draining(drained_at=None)))
    shard.tick(empty, stood_still=2 * MINUTE)
    shard.tick(empty, after=2 * MINUTE + 9 * SECOND)
    assert shard["a"].empty_since is None  # the settle time began with the answer, too


def test_a_tick_without_azure_monitor_deletes_nothing_that_may_serve() -> None:
    """Its REST may be bound elsewhere: what Monitor does not tell is not quiet, where there is one."""
    lost = memory("a", phase=Phase.FAILED, asked_by="i", asked_at=NOW - HOUR)
    shard = Shard().remember(lost, memory("b"))
    heard = {A: silent(reach=Reach.REFUSED), instance("b"): poll()}
    shard.tick(heard, measures=True)
    assert verbs(shard.tick(heard, measures=True)) == []
    quiet = {"vm-a": PlatformLoad(NOW, 0.1, 0.01, 0.01)}
    assert verbs(shard.tick(heard, platform=quiet, measures=True)) == ["delete a"]


def test_two_refusals_must_lie_30_seconds_apart() -> None:
    """And the exit is said once."""
    shard = one(silent(reach=Reach.REFUSED), phase=Phase.FENCED, fenced_at=NOW)
    shard.tick({A: silent(reach=Reach.REFUSED)}, after=29 * SECOND)
    assert shard["a"].exited_at is None
    shard.tick({A: silent(reach=Reach.REFUSED)}, after=SECOND)
    assert kinds(shard) == [EventKind.EXITED]
    shard.tick({A: silent(reach=Reach.REFUSED)})
    assert kinds(shard) == []


def test_without_a_word_that_it_took_the_fence_its_exit_takes_five_minutes() -> None:
    """It may have crashed before it was told, and be started again within the next moments."""
    shard = one(silent(reach=Reach.REFUSED), phase=Phase.FENCED)
    shard.tick({A: silent(reach=Reach.REFUSED)}, after=5 * MINUTE - SECOND)
    assert shard["a"].exited_at is None
    shard.tick({A: silent(reach=Reach.REFUSED)}, after=SECOND)
    assert shard["a"].exited_at == shard.now
    told = one(poll(drain=True, graceful_shutdown=True), phase=Phase.FENCED)
    assert told["a"].fenced_at == told.now
    for _ in range(2):
        told.tick({A: silent(reach=Reach.REFUSED)})
    assert told["a"].exited_at == told.now
    never = one(silent(reach=Reach.REFUSED), phase=Phase.FAILED, ever_ready=False, asked_by="i1")
    never.tick({A: silent(reach=Reach.REFUSED)})
    assert never["a"].exited_at == never.now


def test_two_refusals_with_nobody_looking_between_are_no_exit() -> None:
    """It may have been started, and have served, while the app was away."""
    shard = one(silent(reach=Reach.REFUSED), phase=Phase.FENCED, fenced_at=NOW)
    shard.tick({A: silent(reach=Reach.REFUSED)}, after=HOUR)
    assert shard["a"].exited_at is None
    shard.tick({A: silent(reach=Reach.REFUSED)})
    assert shard["a"].exited_at == shard.now


def test_quiet_that_nobody_watched_did_not_last() -> None:
    """Two quiet readings an hour apart are two quiet minutes: calls may have come and gone between."""
    quiet = {"vm-a": PlatformLoad(NOW, 0.1, 0.04, 0.01)}
    shard = Shard().remember(memory("a"))
    shard.tick({A: silent()}, platform=quiet)
    shard.tick({A: silent()}, platform=quiet)
    since = shard.now - MINUTE
    assert shard["a"].platform_quiet_since == since
    shard.tick({A: silent()}, platform=quiet, after=HOUR)
    assert shard["a"].platform_quiet_since == shard.now


def test_refusals_at_two_addresses_are_no_exit() -> None:
    """One of them may have been another machine's."""
    shard = one(silent(reach=Reach.REFUSED), phase=Phase.FENCED, fenced_at=NOW)
    moved = replace(A, address="127.0.1.99")
    shard.tick({moved: silent(reach=Reach.REFUSED)})
    assert shard["a"].exited_at is None
    shard.tick({moved: silent(reach=Reach.REFUSED)})
    assert shard["a"].exited_at == shard.now
    shard.tick({A: silent()})
    assert shard["a"].exited_at is None


@pytest.mark.parametrize(
    "answer",
    [poll(drain=True), poll(drain=True, shutting_down=True, process_started_at=NOW)],
    ids=["took no fence", "restarted"],
)
def test_a_fenced_bridge_that_comes_back_is_a_new_process(answer: Poll) -> None:
    """Ready, with every term anew; its drain is nobody's."""
    shard = one(answer, phase=Phase.FENCED, fenced_at=NOW, wanted_drain=True)
    assert (shard["a"].phase, shard["a"].wanted_drain, shard["a"].starts_drained) == (
        Phase.READY,
        False,
        True,
    )
    assert shard["a"].restart_seen_at == shard.now
    assert EventKind.RESTARTED in kinds(shard)


def test_a_report_right_behind_the_fence_may_be_older_than_it() -> None:
    """Until 2024 a bridge told what stood in a snapshot of up to five seconds."""
    shard = one(poll(drain=True), after=9 * SECOND, phase=Phase.FENCED, phase_since=NOW)
    assert (shard["a"].phase, shard["a"].fenced_at) == (Phase.FENCED, None)
    shard.tick({A: poll(drain=True, graceful_shutdown=True)}, after=SECOND)
    assert (shard["a"].phase, shard["a"].fenced_at) == (Phase.FENCED, shard.now)


def test_a_bridge_that_ignores_its_fence_more_than_once_is_told() -> None:
    """It would be drained and opened again for ever; another process is another matter."""
    shard = one(poll(drain=True), phase=Phase.FENCED, fences_ignored=1)
    assert (shard["a"].phase, shard["a"].fences_ignored) == (Phase.READY, 2)
    shard.tick({A: poll(process_started_at=shard.now)})
    assert shard["a"].fences_ignored == 0
    crashed = one(poll(drain=True, process_started_at=NOW), phase=Phase.FENCED, fences_ignored=1)
    assert (crashed["a"].phase, crashed["a"].fences_ignored) == (Phase.READY, 0)


def test_a_fenced_machine_that_never_was_a_bridge_is_still_failed() -> None:
    """It comes back as what it was, and that it ignored the fence is counted as of a bridge."""
    shard = one(poll(drain=True, mucs_joined=0), phase=Phase.FENCED, ever_ready=False, fences_ignored=1)
    assert (shard["a"].phase, shard["a"].fences_ignored) == (Phase.FAILED, 2)


@pytest.mark.parametrize(
    ("known", "machine", "phase"),
    [
        ({}, A, Phase.READY),
        ({"delete_not_before": NOW + HOUR}, A, Phase.READY),  # the next try is not for this process
        ({"operation": "op"}, A, Phase.DELETING),
        ({}, replace(A, provisioning="Deleting"), Phase.DELETING),
        ({"ever_ready": False}, A, Phase.FAILED),
        ({"ever_ready": False, "operation": "op"}, A, Phase.DELETING),
    ],
)
def test_a_machine_that_arm_kept_and_that_answers_again_is_what_it_was(
    known: dict[str, Any], machine: Instance, phase: Phase
) -> None:
    """Once the delete is over and its next try is due; every term is proved anew."""
    shard = one(poll(drain=True), machine, phase=Phase.DELETING, **known)
    assert shard["a"].phase is phase
    assert (EventKind.RESTARTED in kinds(shard)) is (phase is Phase.READY)


def test_a_fenced_bridge_that_waits_stays_fenced() -> None:
    """Graceful shutdown, with a call or without; and a machine in deletion is only watched."""
    assert one(poll(drain=True, graceful_shutdown=True), phase=Phase.FENCED)["a"].phase is Phase.FENCED
    assert one(silent(), phase=Phase.DELETING)["a"].phase is Phase.DELETING


@pytest.mark.parametrize("purpose", [Purpose.SURPLUS, Purpose.FOREIGN])
def test_a_restart_ends_a_drain(purpose: Purpose) -> None:
    """The drain was of the process that is gone; an operator's command outlives it."""
    new = poll(drain=True, process_started_at=NOW)
    assert one(new, **draining(purpose))["a"].phase is Phase.READY
    kept = one(new, **draining(Purpose.OPERATOR))
    assert (kept["a"].phase, kept["a"].purpose) == (Phase.DRAINING, Purpose.OPERATOR)


def test_a_drain_that_ended_is_ready() -> None:
    """Ours once taken back, or an operator's."""
    for known in (draining(wanted_drain=False), draining(Purpose.FOREIGN)):
        shard = one(poll(), **known)
        assert shard["a"].phase is Phase.READY
        assert kinds(shard) == [EventKind.DRAIN_ENDED]
        assert one(poll(drain=True), **known)["a"].phase is Phase.DRAINING


def test_a_drain_that_is_seen_ends_what_an_earlier_one_refused() -> None:
    """Else one refused answer would count as the refusal of a fence that nobody asked for."""
    assert one(poll(drain=False), **draining(failure="404"))["a"].failure == "404"
    assert one(poll(drain=True), **draining(failure="404"))["a"].failure is None


def test_a_drain_of_ours_that_is_not_shown_is_counted() -> None:
    """Unknown counts nothing; the loss of one that was confirmed is said."""
    shard = one(poll(), **draining())
    assert (shard["a"].drained_at, shard["a"].drain_unseen_polls) == (None, 1)
    assert kinds(shard) == [EventKind.DRAIN_LOST]
    shard.tick({A: silent()})
    assert shard["a"].drain_unseen_polls == 1
    shard.tick([A])
    assert shard["a"].drain_unseen_polls == 2
    assert kinds(shard) == []
    shard.tick({A: poll(drain=True)})
    assert (shard["a"].drained_at, shard["a"].drain_unseen_polls) == (shard.now, 0)


# The proof of being empty

SETTLED = draining(since=29 * SECOND)


def emptied(*answers: Poll, **known: Any) -> Shard:
    """A drained bridge, and what it answers every ten seconds from its settle time on."""
    shard = Shard().remember(memory("a", **{**SETTLED, **known}))
    for number, answer in enumerate(answers):
        shard.tick({A: answer}, after=10 * SECOND if number else SECOND)
    return shard


EMPTY = poll(drain=True)


def test_empty_is_proved_by_two_settled_polls_ten_seconds_apart() -> None:
    """Nine are not enough, nor is one poll."""
    assert is_proved_empty(emptied(EMPTY, EMPTY)["a"])
    assert not is_proved_empty(emptied(EMPTY)["a"])
    shard = emptied(EMPTY)
    shard.tick({A: EMPTY}, after=9 * SECOND)
    assert not is_proved_empty(shard["a"])
    assert not is_proved_empty(memory())


def test_polls_within_the_settle_time_prove_nothing() -> None:
    """A call could still be on its way: 30 s count from the confirmed drain."""
    shard = Shard().remember(memory("a", **draining(since=9 * SECOND)))
    for _ in range(2):
        shard.tick({A: EMPTY}, after=10 * SECOND)
    assert shard["a"].empty_since is None
    shard.tick({A: EMPTY}, after=SECOND)
    assert shard["a"].empty_since == shard.now


@pytest.mark.parametrize(
    "between",
    [
        poll(drain=True, total_conferences_created=6, total_conferences_completed=6),
        poll(drain=True, **busy()),
        poll(drain=True, local_endpoints=1),
        poll(drain=True, conferences=None),
        poll(drain=True, total_conferences_created=None),
        poll(drain=True, mucs_joined=0),
        poll(drain=True, mucs_joined=None),
        poll(),
    ],
    ids=[
        "came and went",
        "conference",
        "endpoint",
        "unknown",
        "no counter",
        "cut off",
        "MUC unknown",
        "undrained",
    ],
)
def test_anything_between_starts_the_proof_over(between: Poll) -> None:
    """A conference that came and went shows only in the counter."""
    shard = emptied(EMPTY, EMPTY, between)
    assert not is_proved_empty(shard["a"])
    if between.drain and between.stats and between.stats.total_conferences_created == 6:
        shard.tick({A: between}, after=9 * SECOND)
        assert not is_proved_empty(shard["a"])


def test_silence_waits_and_changes_nothing() -> None:
    """The counter, unchanged when it is heard again, proves the time between."""
    assert is_proved_empty(emptied(EMPTY, silent(), EMPTY)["a"])
    assert not is_proved_empty(emptied(EMPTY, silent())["a"])


def test_a_machine_that_was_not_asked_is_only_looked_at_through_arm() -> None:
    """No address, no question: unknown."""
    heard = Heard(scale_set(1), (A,), {}, {})
    snapshot, _, _ = reflect("s", heard, None, {"vm-a": memory("a")}, (), policy(), NOW, 1, OWNER)
    assert snapshot.bridges[0].poll.reach is Reach.NOT_ASKED
    assert snapshot.memory.known_since == NOW


# Found by changing the rules line by line: what no test noticed before


def test_a_failed_machine_that_is_open_and_not_healthy_has_not_joined() -> None:
    """Both are needed: an open JVB that is cut off from its MUC serves nobody."""
    shard = Shard().remember(memory("a", phase=Phase.FAILED, polls="00000"))
    shard.tick({A: poll(mucs_joined=0)})
    assert shard["a"].phase is Phase.FAILED


def test_a_process_back_from_a_fence_or_a_failed_delete_is_new_and_starts_drained() -> None:
    """Its age counts from now, and its drain is nobody's: it is opened again."""
    fenced: dict[str, Any] = {"phase": Phase.FENCED, "fenced_at": NOW - HOUR}
    deleting: dict[str, Any] = {"phase": Phase.DELETING, "delete_asked_at": NOW - HOUR, "delete_attempts": 1}
    for leaving in (fenced, deleting):
        shard = Shard().remember(memory("a", **leaving))
        shard.tick({A: poll(drain=True)})
        back = shard["a"]
        assert (back.phase, back.starts_drained, back.restart_seen_at) == (Phase.READY, True, shard.now)


def test_a_report_without_its_number_of_conferences_proves_no_emptiness() -> None:
    """Else a call that came and went between two polls would not show."""
    shard = Shard().remember(memory("a", **draining()))
    shard.tick({A: poll(drain=True, total_conferences_created=None)})
    assert (shard["a"].empty_since, shard["a"].created_at_empty) == (None, None)


def test_every_failed_creation_of_a_tick_is_one_failure_in_a_row() -> None:
    """Two machines that never came back off by one step, and free both whom they were to answer."""
    shard = Shard().remember(memory("a", hot_answered=True), memory("b", hot_answered=True))
    shard.intents = (
        intent(1, asked_at=NOW - HOUR, answers=("vm-a",)),
        intent(2, asked_at=NOW - HOUR, answers=("vm-b",)),
    )
    full = poll(**busy(20, 190))
    shard.tick({A: full, instance("b"): full})
    assert shard.state is not None
    assert shard.state.boot_failures == 1
    assert [each.error is not None for each in shard.intents] == [True, True]
    assert [e.subject for e in shard.events if e.kind is EventKind.CREATE_FAILED] == ["i1", "i2"]


def test_a_machine_that_timed_out_was_no_answer_to_a_hot_bridge() -> None:
    """The bridge that it was bought for may ask again."""
    asked: dict[str, Any] = {"phase": Phase.BOOTING, "asked_by": "i1", "asked_at": NOW - 10 * MINUTE}
    shard = Shard().remember(memory("a", hot_answered=True), memory("b", 10 * MINUTE, **asked))
    shard.intents = (intent(1, asked_at=NOW - 10 * MINUTE, ended_at=NOW, vm_id="vm-b", answers=("vm-a",)),)
    shard.tick({A: poll(**busy(5, 190)), instance("b", 10 * MINUTE): silent()})
    assert shard["b"].phase is Phase.FAILED
    assert not shard["a"].hot_answered
    assert [event.subject for event in shard.events if event.kind is EventKind.BOOT_FAILED] == ["b"]


def test_what_is_known_of_a_machine_from_its_first_sight() -> None:
    """Its name, address and age as ARM tells them, and since when we know it."""
    shard = Shard().forget()
    shard.tick([A])
    seen = shard["a"]
    assert (seen.name, seen.address, seen.time_created) == (A.name, A.address, A.time_created)
    assert (seen.first_seen, seen.phase_since) == (shard.now, shard.now)


def test_a_drain_that_was_not_ours_is_known_since_it_was_seen() -> None:
    """The alert of it counts from there."""
    shard = Shard().remember(memory("a"))
    shard.tick([A])
    shard.tick({A: poll(drain=True)})
    assert (shard["a"].purpose, shard["a"].drained_at) == (Purpose.FOREIGN, shard.now)
