"""
How full bridges are, and how many the load asks for. Pure.

Pressure of a bridge is its worst figure over that figure's threshold: 1 means full. A bridge that
sends 8,400 of its 12,000 Mbit/s stands at 8400 / 12000 / 0.70 = 1.0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaler.model import Bridge, BridgeMemory, BridgeStats, PlatformLoad
from scaler.policy import ScalingPolicy

CPU_AT_STRESS_ONE = 0.9
"""JVB's stress is CPU over 0.9, so stress 1.0 is a CPU at 90 %."""

ANSWERED_AGAIN_BELOW = 0.7
"""A hot bridge may ask for another bridge only after it has been this cool."""

LOWER_BOUND_FROM = 1.2
"""From this demand a bridge on, stress is saturated: the demand is then only a lower bound."""

ROUNDING = 1e-9
"""Exactly at a threshold is not over it, whatever binary fractions say."""

_NIC_SAMPLES = 2
_CPU_SAMPLES = 5
_CPU_SAMPLES_NEEDED = 3
_GIANT_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Load:
    """Load figures of one bridge after one poll, with the samples to remember."""

    nic_samples: tuple[float, ...]
    cpu_samples: tuple[float | None, ...]
    stress_samples: tuple[float | None, ...]
    nic_mbps: float | None
    cpu_fraction: float | None
    stress_level: float | None
    pressure: float | None


def measure(
    memory: BridgeMemory, stats: BridgeStats | None, platform: PlatformLoad | None, policy: ScalingPolicy
) -> Load:
    """Add this poll's figures to the remembered samples and weigh them against the thresholds."""
    nic_now = _nic_now(stats, platform)
    nic_samples = (*memory.nic_mbps, nic_now)[-_NIC_SAMPLES:] if nic_now is not None else ()
    cpu_samples = (*memory.cpu_fractions, _cpu_now(stats, platform))[-_CPU_SAMPLES:]
    stress_samples = (*memory.stress_levels, stats.stress_level if stats else None)[-_CPU_SAMPLES:]
    nic = sum(nic_samples) / len(nic_samples) if nic_samples else None
    cpu, stress = _steady(cpu_samples), _steady(stress_samples)
    terms = [
        _over(nic, policy.nic_mbps, policy.nic_threshold),
        _over(cpu, 1, policy.cpu_threshold),
        _over(stress, 1, policy.stress_threshold),
        _over(stats.local_endpoints if stats else None, policy.participants_per_bridge, 1),
    ]
    known = [term for term in terms if term is not None]
    return Load(nic_samples, cpu_samples, stress_samples, nic, cpu, stress, max(known, default=None))


def _nic_now(stats: BridgeStats | None, platform: PlatformLoad | None) -> float | None:
    """Higher direction of the higher source, in Mbit/s. Azure limits what leaves, but both count."""
    figures = (
        [*(kbps / 1000 for kbps in (stats.download_kbps, stats.upload_kbps) if kbps is not None)]
        if stats
        else []
    )
    if platform:
        figures += [mbps for mbps in (platform.in_mbps, platform.out_mbps) if mbps is not None]
    return max(figures, default=None)


def _cpu_now(stats: BridgeStats | None, platform: PlatformLoad | None) -> float | None:
    figures = []
    if stats and stats.stress_level is not None:
        figures.append(stats.stress_level * CPU_AT_STRESS_ONE)
    if platform and platform.cpu_fraction is not None:
        figures.append(platform.cpu_fraction)
    return max(figures, default=None)


def _steady(samples: Sequence[float | None]) -> float | None:
    """Mean of what is there; unknown with fewer than three samples, since CPU jumps by the second."""
    known = [sample for sample in samples if sample is not None]
    return sum(known) / len(known) if len(known) >= _CPU_SAMPLES_NEEDED else None


def _over(figure: float | None, limit: float | None, threshold: float) -> float | None:
    return None if figure is None or limit is None else figure / limit / threshold


def demand_for_scale_in(bridges: Sequence[Bridge]) -> float:
    """Sum of pressures of the healthy bridges; an unknown one counts as full."""
    return sum(1.0 if b.pressure is None else b.pressure for b in bridges if b.healthy)


def demand_for_scale_out(bridges: Sequence[Bridge]) -> float:
    """
    Sum of pressures of the healthy bridges as far as a new bridge could help.

    An unknown one counts with what it last showed; a bridge that is full of one conference counts
    at most 1, since conferences do not move.
    """
    return sum(helpable_pressure(b) for b in bridges if b.healthy)


def helpable_pressure(bridge: Bridge) -> float:
    """Pressure of one bridge that more bridges could have spared it."""
    known = bridge.pressure if bridge.pressure is not None else bridge.memory.pressure
    pressure = known or 0.0
    return min(pressure, 1.0) if has_one_giant(bridge) else pressure


def has_one_giant(bridge: Bridge) -> bool:
    """Nearly all its endpoints sit in one conference."""
    stats = bridge.stats
    if stats is None or not stats.endpoints or stats.largest_conference is None:
        return False
    return stats.largest_conference >= _GIANT_SHARE * stats.endpoints


def is_hot(bridge: Bridge) -> bool:
    """Strictly over a threshold."""
    return bridge.pressure is not None and bridge.pressure > 1 + ROUNDING


def bridges_for(demand: float, pressure: float) -> int:
    """
    How many bridges carry `demand` when each is filled to `pressure`: 2.5 at 0.8 needs 4.

    Rounded at nine digits first, so that 2.4 / 0.8 is 3 and not 4.
    """
    return math.ceil(round(demand / pressure, 9))


def doubled(accepting: int, step_limit: int) -> int:
    """Fleet to aim at when full bridges cannot say how full: twice, by at least 2, at most a step."""
    return accepting + min(max(accepting, 2), step_limit)


def has_surplus(demand: float, accepting_after: int, pressure: float) -> bool:
    """The bridges that remain would stand at or under `pressure` on average."""
    return demand <= pressure * accepting_after
