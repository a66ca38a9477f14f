"""A page of one of ARM's lists. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from compute.messages import Json
from scaler.errors import TryNextTick


def values(page: object) -> list[Json]:
    """Entries of a page. Raises `TryNextTick` where there is no list: that is not an empty one."""
    found = page.get("value") if isinstance(page, Mapping) else None
    if not isinstance(found, list):
        raise TryNextTick("ARM's answer is not a list")
    return found
