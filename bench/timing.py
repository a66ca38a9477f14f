"""CPU time of this process, and the median of a few tries: machines are shared and noisy."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from statistics import median

Figures = dict[str, float]
SHARE = "share of "
"""Begins the name of a figure that tells whose code took the CPU time, 0 to 1."""


async def cpu_of(work: Callable[[], Awaitable[object]]) -> float:
    """CPU seconds of this process (not of its children) for one call."""
    gc.collect()
    before = time.process_time()
    await work()
    return time.process_time() - before


def cpu_of_call(work: Callable[[], object], repeat: int) -> float:
    """Median CPU seconds of one call out of so many."""
    spent = []
    for _ in range(repeat):
        gc.collect()
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return median(spent)
