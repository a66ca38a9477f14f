"""Faults of the faces, for the requests that a test names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.faces.http import FaultAnswer, Faults
from tests.http.installation import Installation, step_of

SCALE_SET_READ = "Microsoft.Compute/virtualMachineScaleSets/read"
VMS_READ = "Microsoft.Compute/virtualMachines/read"

LOST = FaultAnswer(apply_then_drop=True)
"""The work is done, and the answer never arrives."""
DROPPED = FaultAnswer(drop_connection=True)
"""Nothing is done."""


def refusing(status: int, code: str, **headers: str) -> FaultAnswer:
    """ARM's error answer."""
    body = f'{{"error": {{"code": "{code}", "message": "planned by a test"}}}}'.encode()
    return FaultAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def on_step(verb: str, answer: FaultAnswer, times: int = 1) -> Faults:
    """Answer so the next few calls that would take a step of this kind."""
    left = [times]

    def faults(face: str, operation: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        step = step_of(face, operation, details)
        if step is None or step.verb != verb or not left[0]:
            return None
        left[0] -= 1
        return answer

    return faults


def on_read(operation: str, answer: FaultAnswer, query: str = "") -> Faults:
    """Answer so every ARM read of this kind; with `query` only where that parameter is given."""

    def faults(face: str, asked: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        wanted = face == "arm" and asked == operation and (not query or query in details["query"])
        return answer if wanted else None

    return faults


def dying(it: Installation, number: int, *, behind: bool) -> Faults:
    """The process ends ahead of its n-th step, or right behind it, in the middle of that call."""

    def faults(face: str, operation: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        if it.deaths or step_of(face, operation, details) is None or len(it.journal) != number:
            return None
        it.die()
        return LOST if behind else DROPPED

    return faults
