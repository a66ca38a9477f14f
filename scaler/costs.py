"""
What a day cost: machines by their seconds, egress by its bytes. Pure.

A price that is not known is no zero: what depends on it is not known either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prices:
    """What the operator pays, without tax."""

    currency: str
    as_of: str
    """When they were looked up: ISO month or date."""
    vm_hour: Mapping[str, float]
    """By VM size, lower case."""
    egress_gb: float | None
    """A GB (10^9 bytes) that leaves for the internet; None: not known."""

    def hour(self, vm_size: str | None) -> float | None:
        """Price of one hour of a VM size, in any case."""
        return None if vm_size is None else self.vm_hour.get(vm_size.lower())


def faults_in_prices(given: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with an operator's prices: one line for each field, with what is allowed."""
    faults = [
        f"{name}: no such field, allowed: {', '.join(_FIELDS)}" for name in sorted(given.keys() - _FIELDS)
    ]
    for name, (fits, allowed) in _FIELDS.items():
        if name in given and not fits(given[name]):
            faults.append(f"{name}: is {given[name]!r}, allowed: {allowed}")
    if given and "as_of" not in given:
        faults.append(f"as_of: is missing, allowed: {_FIELDS['as_of'][1]}")
    return faults


def prices_over(list_prices: Prices, given: Mapping[str, Any]) -> Prices:
    """Return the operator's prices over the list's; of another currency than the list's, only his own."""
    if not given:
        return list_prices
    currency = given.get("currency", list_prices.currency)
    listed = list_prices if currency == list_prices.currency else Prices(currency, "", {}, None)
    own = {size.lower(): float(price) for size, price in given.get("vm_hour", {}).items()}
    return Prices(
        currency, given["as_of"], {**listed.vm_hour, **own}, given.get("egress_gb", listed.egress_gb)
    )


def _is_price(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST


def _are_prices(value: object) -> bool:
    return isinstance(value, dict) and all(_is_price(price) for price in value.values())


_MOST = 1_000_000
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "currency": (lambda v: isinstance(v, str) and bool(re.fullmatch("[A-Z]{3}", v)), "three letters, as EUR"),
    "as_of": (
        lambda v: isinstance(v, str) and bool(re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", v)),
        "when they were looked up, as 2026-11",
    ),
    "vm_hour": (_are_prices, "an object with the price of an hour by VM size"),
    "egress_gb": (_is_price, f"a number from 0 to {_MOST}"),
}


def cost_of(day: Mapping[str, Any], hours: Iterable[Mapping[str, Any]], prices: Prices) -> dict[str, Any]:
    """Return the columns of money for a day of `days.day_row`, made of the same rows of machines."""
    rows = list(hours)
    compute = _total(_times(row["seconds"] / 3600, prices.hour(row["vm_size"])) for row in rows)
    egress = _times(day["egress_gb"], prices.egress_gb)
    cost = None if compute is None or egress is None else compute + egress
    dearest = max((row["vm_size"] or "" for row in rows), key=lambda size: prices.hour(size) or 0, default="")
    fixed = _times(day["bridges_peak"] * day["hours"], prices.hour(dearest))
    per_hour = cost / day["conference_hours"] if cost is not None and day["conference_hours"] else None
    return {
        "currency": prices.currency,
        "prices_as_of": prices.as_of,
        "compute_cost": _money(compute),
        "egress_cost": _money(egress),
        "cost": _money(cost),
        "cost_per_conference_hour": _money(per_hour),
        "fixed_fleet_cost": _money(fixed),
        "saving": _money(None if fixed is None or compute is None else fixed - compute),
    }


def _times(amount: float | None, price: float | None) -> float | None:
    return None if amount is None or price is None else amount * price


def _total(costs: Iterable[float | None]) -> float | None:
    """Sum of all; None where there is none, or one is not known."""
    found = list(costs)
    known = [cost for cost in found if cost is not None]
    return sum(known) if known and len(known) == len(found) else None


def _money(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
