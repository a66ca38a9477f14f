"""The memory of this process; imports next to nothing, so that it can be used beside a floor."""

from __future__ import annotations

import resource
import sys


def peak_rss_mb() -> float:
    """The most memory that this process ever had, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
