"""Every knob, and every way in which an operator can get it wrong."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from scaler.errors import ConfigurationInvalid
from scaler.policy import FIELD_NAMES, KNOBS, ScalingPolicy, fault_in, read_policy


def test_every_field_has_a_knob_and_every_knob_a_field() -> None:
    """The table behind validation and documentation is complete, and its defaults are the real ones."""
    assert set(KNOBS) == FIELD_NAMES
    for field in fields(ScalingPolicy):
        if field.name != "max_bridges":
            assert KNOBS[field.name].default == field.default, field.name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_bridges", 2),
        ("min_bridges", 2.0),
        ("nic_mbps", None),
        ("nic_mbps", 12_500),
        ("require_fence", False),
        ("oldest_among", "idle"),
        ("uptime_minutes", 0),
    ],
)
def test_what_is_allowed_has_no_fault(name: str, value: object) -> None:
    """Whole numbers may be written as floats; what is optional may be null."""
    assert fault_in(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("min_brigdes", 1, "no such policy field"),
        ("min_bridges", None, "is null, allowed: a whole number from 1 to 1000"),
        ("min_bridges", 0, "is 0"),
        ("min_bridges", 1001, "is 1001"),
        ("min_bridges", 1.5, "is 1.5"),
        ("min_bridges", True, "is True"),
        ("min_bridges", "2", "is '2'"),
        ("nic_threshold", float("nan"), "is nan"),
        ("nic_threshold", float("inf"), "is inf"),
        ("nic_threshold", 70, "a number from 0.05 to 1"),
        ("nic_mbps", "fast", "from 1 to 200000, or null"),
        ("require_fence", 1, "is 1, allowed: true or false"),
        ("oldest_among", "some", "`all` or `idle`"),
        ("oldest_among", 3, "is 3"),
        ("oldest_among", "x" * 100, "..."),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(name: str, value: object, says: str) -> None:
    """The value, shortened, and the range."""
    fault = fault_in(name, value)
    assert fault is not None
    assert says in fault
    assert len(fault) < 150


def test_a_policy_is_read_with_its_types() -> None:
    """JSON's numbers become the field's kind; null stays off."""
    policy, faults = read_policy({"max_bridges": 4.0, "uptime_minutes": 60, "nic_mbps": None}, "shards.a")
    assert faults == []
    assert policy is not None
    assert (policy.max_bridges, policy.uptime_minutes, policy.nic_mbps) == (4, 60.0, None)
    assert isinstance(policy.max_bridges, int)
    assert isinstance(policy.uptime_minutes, float)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, ["shards.a.max_bridges: is missing"]),
        ({"max_bridges": 0, "min_bridges": -1}, ["max_bridges: is 0", "min_bridges: is -1"]),
        ({"max_bridges": 2, "min_bridges": 3}, ["min_bridges: is 3, allowed: at most max_bridges (2)"]),
        (
            {"max_bridges": 2, "scale_in_pressure": 0.8, "scale_out_pressure": 0.8},
            ["scale_in_pressure: is 0.8, allowed: less than scale_out_pressure (0.8)"],
        ),
    ],
)
def test_all_faults_are_told_at_once(values: dict[str, Any], says: list[str]) -> None:
    """Each field's own first; contradictions between fields once the fields are right."""
    policy, faults = read_policy(values, "shards.a")
    assert policy is None
    assert len(faults) == len(says)
    for fault, part in zip(faults, says, strict=True):
        assert fault.startswith("shards.a.")
        assert part in fault


def test_faults_travel_as_one_error() -> None:
    """The error carries every sentence."""
    error = ConfigurationInvalid(["one", "two"])
    assert (str(error), error.faults) == ("one; two", ["one", "two"])


def test_the_vm_size_fills_what_the_operator_left_open() -> None:
    """25 participants a vCPU, the NIC of the size; without a size both are missing and nothing is judged."""
    open_, sized = ScalingPolicy(max_bridges=3), ScalingPolicy(max_bridges=3).for_size(8, 12_500)
    assert open_.missing == ("nic_mbps", "participants_per_bridge")
    assert (sized.nic_mbps, sized.participants_per_bridge, sized.missing) == (12_500, 200, ())
    said = ScalingPolicy(max_bridges=3, nic_mbps=1000, participants_per_bridge=50)
    assert said.for_size(8, 12_500) == said
    assert open_.for_size(None, None) == open_


@pytest.mark.parametrize(("fleet", "limit", "may_drain"), [(3, None, 3), (45, None, 4), (45, 1, 1)])
def test_how_many_may_drain_at_once(fleet: int, limit: int | None, may_drain: int) -> None:
    """Three, or a tenth of a large fleet, or what the operator says."""
    assert ScalingPolicy(max_bridges=50, max_draining=limit).draining_limit(fleet) == may_drain


def test_minutes_become_durations_and_the_minimum_is_never_zero() -> None:
    """A minimum of zero still keeps one accepting bridge."""
    policy = ScalingPolicy(max_bridges=3, min_bridges=0, boot_timeout_minutes=7, scale_in_window_minutes=2.5)
    assert policy.minimum == 1
    assert policy.boot_timeout == timedelta(minutes=7)
    assert policy.scale_in_window == timedelta(seconds=150)
