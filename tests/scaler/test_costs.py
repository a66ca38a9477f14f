"""What a day cost: seconds by size, bytes by volume, and nothing made up where a price is missing."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from compute.prices import LIST_PRICES
from compute.sizes import _SIZES
from scaler.costs import Prices, cost_of, faults_in_prices, prices_over
from scaler.days import day_row

PRICES = Prices("EUR", "2026-11", {"standard_f8s_v2": 0.4, "standard_f4s_v2": 0.2}, 0.08)
DAY: dict[str, Any] = {"egress_gb": 100.0, "bridges_peak": 3, "hours": 24, "conference_hours": 50.0}


def hour(seconds: float, vm_size: str | None = "Standard_F8s_v2") -> dict[str, Any]:
    """A row of a machine, as far as money needs it."""
    return {"seconds": seconds, "vm_size": vm_size}


def test_a_day_costs_its_machines_by_the_second_and_its_egress():
    """Each size has its price; the fixed fleet is the day's peak of the dearest of them, all day."""
    told = cost_of(DAY, [hour(36_000), hour(9_000, "Standard_F4s_v2")], PRICES)
    assert told == {
        "currency": "EUR",
        "prices_as_of": "2026-11",
        "compute_cost": 10 * 0.4 + 2.5 * 0.2,
        "egress_cost": 8.0,
        "cost": 12.5,
        "cost_per_conference_hour": 0.25,
        "fixed_fleet_cost": 28.8,
        "saving": 24.3,
    }


@pytest.mark.parametrize(
    ("rows", "day", "prices", "unknown"),
    [
        ([hour(9, "Standard_X"), hour(9)], DAY, PRICES, {"compute_cost", "cost", "saving"}),
        ([hour(9, None)], DAY, PRICES, {"compute_cost", "cost", "fixed_fleet_cost", "saving"}),
        ([hour(9)], {**DAY, "egress_gb": None}, PRICES, {"egress_cost", "cost"}),
        ([hour(9)], DAY, Prices("EUR", "2026", PRICES.vm_hour, None), {"egress_cost", "cost"}),
        ([hour(9)], {**DAY, "conference_hours": 0.0}, PRICES, set()),
        ([], DAY, PRICES, {"compute_cost", "cost", "fixed_fleet_cost", "saving"}),
    ],
)
def test_what_has_no_price_has_no_cost(
    rows: list[dict[str, Any]], day: dict[str, Any], prices: Prices, unknown: set[str]
):
    """Nor has what is made of it; a day without a conference has no cost of an hour of one."""
    told = cost_of(day, rows, prices)
    perhaps = {"cost_per_conference_hour"} if "cost" in unknown or not day["conference_hours"] else set()
    assert {name for name, value in told.items() if value is None} == unknown | perhaps


def test_an_operators_prices_stand_over_those_of_the_list():
    """In the list's currency what he does not give is the list's; in another one only his own count."""
    assert prices_over(PRICES, {}) is PRICES
    own = {"as_of": "2027-01", "vm_hour": {"Standard_F8s_v2": 1}}
    same = prices_over(PRICES, own)
    assert (same.currency, same.as_of, same.egress_gb) == ("EUR", "2027-01", 0.08)
    assert (same.hour("STANDARD_F8S_V2"), same.hour("Standard_F4s_v2")) == (1, 0.2)
    other = prices_over(PRICES, {**own, "currency": "USD"})
    assert (other.currency, other.hour("Standard_F4s_v2"), other.egress_gb) == ("USD", None, None)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, []),
        ({"as_of": "2026-11-30", "currency": "EUR", "vm_hour": {}, "egress_gb": 0}, []),
        ({"egress_gb": 0.1}, ["as_of"]),
        (
            {"as_of": "lately", "currency": 7, "vm_hour": [], "egress_gb": -1},
            ["currency", "as_of", "vm_hour", "egress_gb"],
        ),
        (
            {"as_of": 2026, "vm_hour": {"x": "1"}, "egress_gb": float("nan"), "vat": 1},
            ["vat", "as_of", "vm_hour", "egress_gb"],
        ),
    ],
)
def test_each_fault_in_prices_is_named(given: dict[str, Any], names: list[str]):
    """With the field and what is allowed."""
    faults = faults_in_prices(given)
    assert [fault.partition(":")[0] for fault in faults] == names
    assert all("allowed: " in fault for fault in faults)


def test_every_size_that_is_known_has_a_list_price():
    """Or a deployment on it would show no money; the list is dated."""
    assert all(LIST_PRICES.hour(size) for size in _SIZES)
    assert faults_in_prices({"as_of": LIST_PRICES.as_of, "currency": LIST_PRICES.currency}) == []


def test_a_day_has_its_money_where_there_are_prices():
    """And no such column where there are none."""
    figures = {
        "listed": 2,
        "accepting": 1,
        "conferences": 3,
        "participants": 9,
        "out_mbps": 0.0,
        "maximum": 4,
    }
    minute = {"at": "2026-03-04T12:00:00Z", **figures}
    with_prices = day_row("a", date(2026, 3, 4), "UTC", [minute], [], (), PRICES)
    without = day_row("a", date(2026, 3, 4), "UTC", [minute], [])
    assert with_prices is not None
    assert without is not None
    assert set(with_prices) - set(without) == set(cost_of(DAY, [], PRICES))
