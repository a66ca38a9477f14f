"""Simulated time: a heap of things that will happen, and the moment that is now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any


class Agenda:
    """
    What happens when. Time only moves forward, and only through `run_until`.

    Moments are epoch seconds rounded to the millisecond, so that the order of events does
    not depend on the last bits of a float. Events of the same moment run in the order in
    which they were scheduled.
    """

    def __init__(self, start: datetime) -> None:
        """`start`: aware moment at which the simulation begins."""
        self.now_s = round(start.timestamp(), 3)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    @property
    def now(self) -> datetime:
        """The present moment, UTC."""
        return moment(self.now_s)

    def at(self, at_s: float, action: Callable[..., None], *args: Any) -> None:
        """Run `action(*args)` at an epoch second; one that has passed runs next."""
        self._sequence += 1
        heappush(self._events, (max(round(at_s, 3), self.now_s), self._sequence, action, args))

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        """Run `action(*args)` so many seconds from now."""
        self.at(self.now_s + seconds, action, *args)

    def run_until(self, until_s: float) -> None:
        """Let everything happen that is due up to this moment, then stand at it."""
        events = self._events
        while events and events[0][0] <= until_s:
            at_s, _, action, args = heappop(events)
            self.now_s = at_s
            action(*args)
        self.now_s = max(self.now_s, round(until_s, 3))


def moment(at_s: float) -> datetime:
    """Epoch seconds as an aware UTC datetime, exact to the millisecond."""
    return datetime.fromtimestamp(at_s, UTC)
