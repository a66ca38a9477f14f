"""Programs of the system that tests drive: without one a test is left out, but not on a build machine."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Leave a test out where a program is missing; one that JVB_AUTOSCALER_TOOLS names must be there."""
    missing = [name for name in programs if shutil.which(name) is None]
    promised = set(os.environ.get("JVB_AUTOSCALER_TOOLS", "").split())
    return pytest.mark.skipif(
        bool(missing) and not promised.issuperset(missing),
        reason=f"not installed here: {', '.join(missing)} (apt-get install)",
    )
