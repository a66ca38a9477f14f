"""Programs of the system that tests drive: without one a test is left out, but not on a build machine."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Leave a test out where a program is missing; where JVB_AUTOSCALER_ALL_TOOLS is set, it fails."""
    missing = [name for name in programs if shutil.which(name) is None]
    asked_for = bool(os.environ.get("JVB_AUTOSCALER_ALL_TOOLS"))
    return pytest.mark.skipif(
        bool(missing) and not asked_for, reason=f"not installed here: {', '.join(missing)} (apt-get install)"
    )
