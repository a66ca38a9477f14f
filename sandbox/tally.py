"""Counts what the app did, from its own records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def count(actions: Sequence[Mapping[str, Any]], tally: Counter[str]) -> None:
    """Add one tick and the actions that were done in it; a first opening is no un-drain."""
    tally["ticks"] += 1
    for action in actions:
        if not action["done"]:
            continue
        match action["do"]:
            case "scale_out":
                tally["scaled_out"] += action["count"]
            case "drain":
                tally["drained"] += 1
            case "undrain" if not action.get("initial"):
                tally["undrained"] += 1
            case "delete" if action["cause"] == "tear_down":
                tally["torn_down"] += 1
            case "delete" if action["cause"] == "recycle":
                tally["recycled"] += 1
