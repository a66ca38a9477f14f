"""Pressure of a bridge, and what a fleet's load asks for."""

from __future__ import annotations

import pytest

from scaler import demand
from scaler.model import BridgeStats, PlatformLoad
from tests.scaler.builders import NOW, bridge, busy, hot, memory, policy, stats, unheard


def platform(**figures: float | None) -> PlatformLoad:
    """A minute of Azure Monitor."""
    return PlatformLoad(NOW, **{"in_mbps": None, "out_mbps": None, "cpu_fraction": None, **figures})


def test_the_higher_of_two_sources_counts() -> None:
    """Colibri's and Monitor's figures of the same thing: whichever is more."""
    told = stats(upload_kbps=2_000_000.0, stress_level=0.5)
    known = memory(cpu_fractions=(0.9,) * 4)
    load = demand.measure(known, told, platform(out_mbps=4200, cpu_fraction=0.9), policy())
    assert load.nic_mbps == 4200
    assert load.cpu_fraction == pytest.approx(0.9)
    assert load.pressure == pytest.approx(0.9 / 0.8)


def test_nic_is_the_mean_of_two_polls_and_a_gap_starts_it_over() -> None:
    """One burst is halved; after a poll without figures nothing old is averaged in."""
    load = demand.measure(memory(nic_mbps=(1000.0, 2000.0)), stats(upload_kbps=4_000_000.0), None, policy())
    assert (load.nic_samples, load.nic_mbps) == ((2000.0, 4000.0), 3000.0)
    nothing = demand.measure(memory(nic_mbps=(1000.0, 2000.0)), None, platform(), policy())
    assert (nothing.nic_samples, nothing.nic_mbps, nothing.pressure) == ((), None, None)


@pytest.mark.parametrize(("before", "steady"), [((), None), ((0.6,), None), ((0.6, None, 0.6), 0.6)])
def test_cpu_and_stress_need_three_samples_of_five(
    before: tuple[float | None, ...], steady: float | None
) -> None:
    """CPU jumps by the second: fewer samples are unknown, not zero."""
    load = demand.measure(memory(stress_levels=before), stats(stress_level=0.6), None, policy())
    assert load.stress_level == (None if steady is None else pytest.approx(steady))


def test_endpoints_count_at_once_and_the_worst_term_wins() -> None:
    """150 of 200 endpoints are a pressure of 0.75, whatever idle CPU and NIC say."""
    load = demand.measure(memory(), stats(local_endpoints=150), None, policy())
    assert load.pressure == pytest.approx(0.75)


def test_unknown_pressure_is_full_for_scale_in_and_the_last_known_for_scale_out() -> None:
    """Unknown is never zero; and silence buys no bridges that were not needed before."""
    unknown = bridge("a", pressure=None, remembered={"pressure": 0.5})
    never_known = bridge("b", pressure=None)
    assert demand.demand_for_scale_in([unknown, never_known]) == 2
    assert demand.demand_for_scale_out([unknown, never_known]) == 0.5
    assert demand.demand_for_scale_in([unheard("c")]) == 0


@pytest.mark.parametrize(
    ("figures", "giant"),
    [
        ({"endpoints": 100, "largest_conference": 80}, True),
        ({"endpoints": 100, "largest_conference": 79}, False),
        ({"endpoints": 0, "largest_conference": 0}, False),
        ({"endpoints": None, "largest_conference": 10}, False),
        ({"endpoints": 100, "largest_conference": None}, False),
    ],
)
def test_a_giant_counts_at_most_one(figures: dict[str, int | None], giant: bool) -> None:
    """A new bridge cannot take a conference off it; other overload counts in full."""
    full = hot("a", 1.5, **busy(3, 100) | figures)
    assert demand.has_one_giant(full) is giant
    assert demand.helpable_pressure(full) == (1.0 if giant else 1.5)
    assert not demand.has_one_giant(unheard("b"))


@pytest.mark.parametrize(
    ("pressure", "is_hot"), [(None, False), (1.0, False), (1.0 + 1e-12, False), (1.001, True)]
)
def test_hot_is_strictly_over(pressure: float | None, *, is_hot: bool) -> None:
    """Exactly at the threshold is not over it, whatever binary fractions say."""
    assert demand.is_hot(bridge(pressure=pressure)) is is_hot


@pytest.mark.parametrize(("load", "bridges"), [(0, 0), (0.8, 1), (0.81, 2), (2.4, 3), (2.5, 4)])
def test_bridges_for_a_load(load: float, bridges: int) -> None:
    """Rounded up, but 2.4 / 0.8 is 3."""
    assert demand.bridges_for(load, 0.8) == bridges


@pytest.mark.parametrize(("accepting", "aim"), [(1, 3), (2, 4), (3, 6), (10, 14)])
def test_a_saturated_fleet_doubles_within_a_step(accepting: int, aim: int) -> None:
    """At least two more, at most the step of four."""
    assert demand.doubled(accepting, 4) == aim


def test_without_anything_known_pressure_is_unknown() -> None:
    """No statistics and no Monitor: None, not zero."""
    nothing: BridgeStats | None = None
    assert demand.measure(memory(), nothing, None, policy()).pressure is None
    unknown_limits = policy(nic_mbps=None, participants_per_bridge=None)
    bare = stats(stress_level=None)
    assert demand.measure(memory(), bare, None, unknown_limits).pressure is None
