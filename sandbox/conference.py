"""One conference while it runs: who is in it, and which bridge carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.traffic import Work, work_of
from sandbox.workload import PlannedConference

if TYPE_CHECKING:
    from sandbox.bridge import SimBridge


class LiveConference:
    """
    People of one planned conference, moved along by Jicofo.

    `bridge` is the bridge that holds its session. While Jicofo looks for one, or its request
    is in flight, there is none and the people wait.
    """

    __slots__ = (
        "bridge",
        "changes",
        "joined",
        "name",
        "next_change",
        "on_bridge_since_s",
        "people",
        "placing",
        "served",
        "waiting_since_s",
        "work",
    )

    def __init__(self, planned: PlannedConference) -> None:
        """Nobody is there yet."""
        self.name = planned.name
        self.changes = planned.changes()
        self.next_change = 0
        self.people = 0
        self.joined = 0
        """People who ever came."""
        self.work: Work = work_of(0)
        self.bridge: SimBridge | None = None
        self.placing = 0
        """Number of the search for a bridge that is under way; a later one replaces it."""
        self.waiting_since_s: float | None = None
        self.on_bridge_since_s = 0.0
        self.served = False

    def take_changes(self, until_s: float) -> tuple[int, int]:
        """People who came and who left since the last call, up to this epoch second."""
        came = left = 0
        changes, number = self.changes, self.next_change
        while number < len(changes) and changes[number][0] <= until_s:
            if changes[number][1] > 0:
                came += 1
            else:
                left += 1
            number += 1
        self.next_change = number
        self.people += came - left
        self.joined += came
        return came, left

    @property
    def next_change_s(self) -> float | None:
        """Epoch second of the next arrival or departure; None when all have come and gone."""
        if self.next_change < len(self.changes):
            return self.changes[self.next_change][0]
        return None

    def measure(self) -> Work:
        """Work of the present number of people, remembered until the next call."""
        self.work = work_of(self.people)
        return self.work
