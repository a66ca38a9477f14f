"""What an operator sends: read whole, with every fault at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scaler.model import CommandKind, CommandState
from scaler.orders import ONCE, read_order
from tests.scaler.builders import NOW

WHO = {"by": "ann", "why": "town hall"}


def faults(**body: Any) -> list[str]:
    return read_order({**WHO, **body}, NOW, "new-id")[1]


def read(**body: Any):
    order, found = read_order({**WHO, **body}, NOW, "new-id")
    assert found == []
    assert order is not None
    return order


def test_a_command_is_read_with_who_and_why():
    """What was sent stands in the command; what is to be done once is given up after an hour."""
    order = read(kind="drain", bridge="jvb_1", shard="main")
    assert (order.shard, order.bridge) == ("main", "jvb_1")
    made = order.command
    assert (made.command_id, made.kind, made.by, made.why) == (
        "new-id",
        CommandKind.DRAIN,
        "ann",
        "town hall",
    )
    assert (made.asked_at, made.expires_at, made.state) == (NOW, NOW + ONCE, CommandState.OPEN)


def test_the_sign_in_of_the_platform_goes_before_the_body():
    """Nobody signs for another where the platform knows who calls."""
    order, found = read_order({**WHO, "kind": "resume"}, NOW, "i", "bob@example.com")
    assert found == []
    assert order is not None
    assert order.command.by == "bob@example.com"
    assert read_order({"kind": "resume", "why": "over"}, NOW, "i", "bob")[1] == []


def test_a_floor_has_a_schedule_or_an_end():
    """With a window it stays until it is cleared; the days stand in their order, once."""
    made = read(
        kind="floor",
        minimum=4,
        days=["fri", "mon"],
        time_zone="Europe/Berlin",
        **{"from": "08:30", "until": "18:00"},
    ).command
    assert (made.minimum, made.from_time, made.until_time) == (4, "08:30", "18:00")
    assert (made.days, made.expires_at) == (("mon", "fri"), None)
    brief = read(kind="floor", minimum=4, for_minutes=90).command
    assert brief.expires_at == NOW + timedelta(minutes=90)


def test_what_lasts_has_no_end_of_its_own():
    """A pause without `for_minutes` lasts until somebody resumes."""
    assert read(kind="pause").command.expires_at is None
    assert read(kind="cancel", cancel="x", command_id="mine").command.command_id == "mine"
    assert read(kind="unblock_image", image_version="1.2.3").command.image_version == "1.2.3"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, "kind: is missing, allowed: drain, undrain, protect"),
        ({"kind": "explode"}, "kind: is 'explode', allowed: drain"),
        ({"kind": 3}, "kind: is 3, allowed: one line"),
        ({"kind": "drain"}, "bridge: is missing"),
        ({"kind": "drain", "bridge": "a", "colour": "red"}, "colour: no such field"),
        ({"kind": "drain", "bridge": "a\nb"}, "bridge: is 'a\\nb', allowed: one line"),
        ({"kind": "drain", "bridge": "a", "why": " "}, "why: is ' '"),
        ({"kind": "drain", "bridge": "a", "why": None}, "why: is missing"),
        ({"kind": "drain", "bridge": "a", "by": None}, "by: is missing"),
        ({"kind": "drain", "bridge": "a", "command_id": "a/b"}, "command_id: is 'a/b'"),
        ({"kind": "protect", "bridge": "a"}, "for_minutes: is missing"),
        ({"kind": "protect", "bridge": "a", "for_minutes": 0}, "for_minutes: is 0, allowed: a whole number"),
        ({"kind": "protect", "bridge": "a", "for_minutes": True}, "for_minutes: is True"),
        ({"kind": "protect", "bridge": "a", "for_minutes": "x" * 100}, "...,"),
        ({"kind": "floor"}, "minimum: is missing"),
        ({"kind": "floor", "minimum": 4}, "for_minutes: is missing"),
        ({"kind": "floor", "minimum": 4, "from": "08:30"}, "until: is missing"),
        ({"kind": "floor", "minimum": 4, "from": "8:30"}, "from: is '8:30', allowed: HH:MM"),
        ({"kind": "floor", "minimum": 4, "days": ["monday"]}, "days: is ['monday']"),
        ({"kind": "floor", "minimum": 4, "time_zone": "Mars/Base"}, "time_zone: is 'Mars/Base'"),
        ({"kind": "floor", "minimum": 4, "time_zone": "../etc"}, "time_zone: is '../etc'"),
        ({"kind": "pause", "from": "08:30"}, "from: only a floor has a schedule"),
        (
            {"kind": "floor", "minimum": 1, "from": "08:30", "until": "08:30", "time_zone": "UTC"},
            "until: is the same as `from`",
        ),
    ],
)
def test_a_fault_names_its_field_and_what_is_allowed(body: dict[str, Any], fault: str):
    """Nothing is guessed: each mistake is told with its field, its value and the way out."""
    assert any(fault in each for each in faults(**body)), faults(**body)


def test_every_fault_is_told_at_once():
    """One answer is enough to mend an order."""
    assert len(read_order({"kind": "protect", "for_minutes": -1, "x": 1}, NOW, "i")[1]) == 5


@pytest.mark.parametrize("body", [None, [], "drain", 3])
def test_a_body_that_is_no_object_is_a_fault(body: Any):
    """JSON that is no object says so."""
    assert read_order(body, NOW, "i") == (None, ["the body is not a JSON object"])
