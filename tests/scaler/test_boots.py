"""The call-back of a booting machine: what is read, from whom it is taken, and that it decides nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scaler.boots import (
    MOST_BYTES,
    BootReport,
    NotTaken,
    Refusal,
    boots_told,
    caller,
    check,
    noted,
    plain,
    read_report,
)
from scaler.model import BootRemark, Phase
from tests.scaler.builders import MINUTE, NOW, SECOND, bridge, fleet, memory, policy

SENT = {
    "shard": "s",
    "vm_id": "VM-A",
    "outcome": "failed",
    "phase": "secrets",
    "seconds": {"address": 1.5, "secrets": 90},
    "reason": "Key Vault answers 403",
    "log": "one\ntwo",
}
ADDRESS = "10.0.0.5"
BOOTING: dict[str, Any] = {
    "phase": Phase.BOOTING,
    "asked_at": NOW - 2 * MINUTE,
    "address": ADDRESS,
    "ever_ready": False,
}


def sent(**changes: Any) -> bytes:
    return json.dumps({**SENT, **changes}).encode()


def test_a_report_is_read() -> None:
    """Every field arrives, the vmId in lower case as ARM's is kept."""
    assert read_report(sent()) == BootReport(
        "s",
        "vm-a",
        "failed",
        "secrets",
        {"address": 1.5, "secrets": 90.0},
        "Key Vault answers 403",
        "one\ntwo",
    )
    bare = read_report(
        json.dumps({key: SENT[key] for key in ("shard", "vm_id", "outcome", "phase")}).encode()
    )
    assert (bare.seconds, bare.reason, bare.log) == ({}, None, None)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b" " * (MOST_BYTES + 1), Refusal.TOO_LARGE),
        (b"{", Refusal.NOT_UNDERSTOOD),
        (b"\xff\xfe", Refusal.NOT_UNDERSTOOD),
        (b"[" * 5000, Refusal.NOT_UNDERSTOOD),
        (b"[]", Refusal.NOT_UNDERSTOOD),
        (sent(outcome="perfect"), Refusal.NOT_UNDERSTOOD),
        (sent(outcome=None), Refusal.NOT_UNDERSTOOD),
        (sent(vm_id=""), Refusal.NOT_UNDERSTOOD),
        (sent(phase=7), Refusal.NOT_UNDERSTOOD),
        (sent(reason=["x"]), Refusal.NOT_UNDERSTOOD),
        (sent(seconds=[1]), Refusal.NOT_UNDERSTOOD),
        (sent(seconds={"address": "1"}), Refusal.NOT_UNDERSTOOD),
        (sent(seconds={"address": True}), Refusal.NOT_UNDERSTOOD),
        (sent(seconds={"address": -1}), Refusal.NOT_UNDERSTOOD),
        (sent(seconds={"address": float("nan")}), Refusal.NOT_UNDERSTOOD),
        (sent(seconds={"address": 1e9}), Refusal.NOT_UNDERSTOOD),
        (sent(seconds={str(number): 1 for number in range(13)}), Refusal.NOT_UNDERSTOOD),
    ],
)
def test_a_body_that_is_no_report_is_refused(body: bytes, refusal: Refusal) -> None:
    """Too large, no JSON, or a field of another type: nothing of it is kept."""
    with pytest.raises(NotTaken) as raised:
        read_report(body)
    assert raised.value.refusal is refusal


def test_control_characters_end_at_the_edge() -> None:
    """What could move a terminal's cursor, hide, or turn a line around is dropped; line ends stay."""
    report = read_report(
        sent(reason="a\x1b[2Jb\u202ec\x00\u200b\ud800d", log="x\r\ny\x07", phase="se\ncrets")
    )
    assert (report.reason, report.log) == ("a[2Jbcd", "x\ny")
    assert all(char == "\n" or char.isprintable() for char in report.phase)


@given(some.text())
def test_plain_text_is_printable(text: str) -> None:
    """Whatever is sent, only what can be printed and line ends are left."""
    assert all(char == "\n" or char.isprintable() or char.isspace() for char in plain(text))


def test_long_text_is_cut() -> None:
    """A reason fits a line of an alert, a log fits its cell."""
    report = read_report(sent(reason="r" * 3000, log="l" * 4500))
    assert (len(report.reason or ""), len(report.log or "")) == (1000, 4000)


@pytest.mark.parametrize("phase", [Phase.BOOTING, Phase.FAILED, Phase.READY])
def test_a_machine_that_boots_is_heard_from_its_own_address(phase: Phase) -> None:
    """Also when our own poll was faster than its call-back."""
    known = memory(**{**BOOTING, "phase": phase})
    assert check(known, ADDRESS, policy(), NOW) is known


@pytest.mark.parametrize(
    ("changes", "source", "refusal"),
    [
        ({}, "10.0.0.6", Refusal.NOT_OURS),
        ({}, None, Refusal.NOT_OURS),
        ({"address": None}, None, Refusal.NOT_OURS),
        ({"unlisted_since": NOW}, ADDRESS, Refusal.NOT_OURS),
        ({"boot": BootRemark(reports=3)}, ADDRESS, Refusal.TOO_MANY),
        ({"phase": Phase.DRAINING}, ADDRESS, Refusal.NOT_BOOTING),
        ({"phase": Phase.DELETING}, ADDRESS, Refusal.NOT_BOOTING),
        ({"asked_at": NOW - 15 * MINUTE - SECOND}, ADDRESS, Refusal.NOT_BOOTING),
    ],
)
def test_any_other_call_is_refused(changes: dict[str, Any], source: str | None, refusal: Refusal) -> None:
    """Another address, no longer listed, too many, long up or on its way out: each by its name."""
    with pytest.raises(NotTaken) as raised:
        check(memory(**{**BOOTING, **changes}), source, policy(), NOW)
    assert raised.value.refusal is refusal


def test_an_unknown_machine_is_refused_like_a_wrong_address() -> None:
    """Nobody learns by asking which machines there are."""
    answers = []
    for known in (None, memory(**BOOTING)):
        with pytest.raises(NotTaken) as raised:
            check(known, "10.0.0.6", policy(), NOW)
        answers.append(str(raised.value))
    assert len(set(answers)) == 1


def test_the_last_moment_counts() -> None:
    """Five minutes after its deadline a machine may still say why it failed."""
    known = memory(**{**BOOTING, "asked_at": NOW - 15 * MINUTE})
    assert check(known, ADDRESS, policy(), NOW) is known


@pytest.mark.parametrize("outcome", ["ready", "failed"])
def test_a_remark_changes_nothing_but_itself(outcome: str) -> None:
    """The phase of its life comes from our own polls: 'ready' opens nothing, 'failed' ends nothing."""
    known = memory(**BOOTING)
    after = noted(known, read_report(sent(outcome=outcome)), NOW)
    assert (after.boot.reports, after.boot.reported_at, after.boot.outcome) == (1, NOW, outcome)
    assert after.boot.seconds == {"address": 1.5, "secrets": 90.0}
    assert {k: v for k, v in vars(after).items() if k != "boot"} == {
        k: v for k, v in vars(known).items() if k != "boot"
    }


def test_a_late_reason_replaces_our_guess() -> None:
    """A machine that we gave up as 'refused' says what truly was; one that claims to be ready does not."""
    failed = memory(**{**BOOTING, "phase": Phase.FAILED, "failure": "port refused"})
    told = "its boot failed in secrets: Key Vault answers 403"
    assert noted(failed, read_report(sent()), NOW).failure == told
    assert (
        noted(failed, read_report(sent(reason="")), NOW).failure
        == "its boot failed in secrets: no reason told"
    )
    assert noted(failed, read_report(sent(outcome="ready")), NOW).failure == "port refused"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("10.0.0.5:51234", "10.0.0.5"),
        ("10.0.0.5", "10.0.0.5"),
        ("10.9.9.9, 10.0.0.5:51234", "10.0.0.5"),
        ("10.0.0.5,203.0.113.1:1", "203.0.113.1"),
        ("[::ffff:10.0.0.5]:51234", "10.0.0.5"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_the_caller_is_who_the_platform_saw(header: str | None, address: str | None) -> None:
    """Only the last entry is the platform's own; what a caller writes before it proves nothing."""
    assert caller(header) == address


def test_a_boot_that_is_not_heard_of_takes_as_long_as_it_takes() -> None:
    """The window is the policy's own: a longer boot is heard for longer."""
    known = memory(**{**BOOTING, "asked_at": NOW - 20 * MINUTE})
    assert check(known, ADDRESS, policy(boot_timeout_minutes=15), NOW + timedelta(0)) is known


def test_usage_is_told_of_the_machines_that_have_just_come():
    """By our own clock since each was asked for, and by its own word for the phases; for ten minutes."""
    asked = {"asked_at": NOW - 5 * MINUTE, "ready_after_seconds": 140.04}
    told = BootRemark(seconds={"secrets": 2.0})
    them = fleet(
        bridge("a", remembered={**asked, "boot": told}),
        bridge("b"),
        bridge("c", remembered={**asked, "asked_at": NOW - 13 * MINUTE}),
    )
    assert json.loads(boots_told(them)) == {"vm-a": {"ready_after": 140.0, "secrets": 2.0}}
    assert boots_told(fleet(bridge("b"))) == ""


def test_a_machine_cannot_say_when_it_was_ready() -> None:
    """`ready_after` is by our own clock, also where a machine names one of its phases so."""
    told = BootRemark(reports=1, seconds={"ready_after": 9.0})
    asked = {"asked_at": NOW - 3 * MINUTE, "ready_after_seconds": 140.0, "boot": told}
    them = fleet(bridge("a", remembered=asked))
    assert json.loads(boots_told(them)) == {"vm-a": {"ready_after": 140.0}}
