"""How long the state machines play: seconds in `make test`, as long as you like with EXAMPLES=10000."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def bounded(examples: int, steps: int) -> settings:
    """The same examples in every run; with EXAMPLES in the environment that many, drawn anew each time."""
    asked = os.environ.get("EXAMPLES")
    return settings(
        max_examples=int(asked) if asked else examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=asked is None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
