"""
How much work a conference is: bandwidth and CPU as a function of its size.

Calibrated on published measurements of SFUs: everyone receives audio, one large picture and a
thumbnail of each other person in view; the CPU cost of each person grows with the cameras in the
room. Integers throughout, so that a sum over conferences that is kept by adding and subtracting
never drifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log2

SEND_KBPS = 600
"""What one person sends: seven of ten have a camera on, all have a microphone."""
AUDIO_KBPS = 40
STAGE_KBPS = 500
THUMBNAIL_KBPS = 82
MOST_THUMBNAILS = 10

IDLE_MICROCORES = 100_000
AWAKE_MICROCORES = 570_000
"""Fixed cost of serving anybody at all, reached at `AWAKE_PEOPLE`."""
AWAKE_PEOPLE = 20
SMALL_ROOM_MICROCORES = 8_200
LARGE_ROOM_MICROCORES = 37_000
SMALL_ROOM, LARGE_ROOM = 5, 30


@dataclass(frozen=True, slots=True)
class Work:
    """What one conference of a given size asks of its bridge."""

    people: int
    sends_kbps: int
    """From the people to the bridge: the bridge's download."""
    receives_kbps: int
    """From the bridge to the people: the bridge's upload."""
    microcores: int


@lru_cache(maxsize=1024)
def work_of(people: int) -> Work:
    """Work of a conference with so many people on the bridge."""
    if people < 2:
        return Work(people, SEND_KBPS * people, 0, SMALL_ROOM_MICROCORES * people)
    thumbnails = min(people - 2, MOST_THUMBNAILS)
    received = AUDIO_KBPS + STAGE_KBPS + thumbnails * THUMBNAIL_KBPS
    large = min(max(people - SMALL_ROOM, 0) / (LARGE_ROOM - SMALL_ROOM), 1.0)
    microcores = SMALL_ROOM_MICROCORES + round(large * (LARGE_ROOM_MICROCORES - SMALL_ROOM_MICROCORES))
    return Work(people, SEND_KBPS * people, received * people, microcores * people)


@lru_cache(maxsize=32)
def effective_microcores(vcpus: int) -> int:
    """
    Microcores of measured work that a machine has.

    Work was measured on 4 vCPU, and doubling the cores gave 1.8 times as much: 8 vCPU count as 7.2.
    """
    return round(4_000_000 * exp(log(1.8) * log2(vcpus / 4)))


def cpu_fraction(people: int, conference_microcores: int, vcpus: int) -> float:
    """CPU use of a bridge, 0 to 1: saturated when the work is more than the machine."""
    awake = AWAKE_MICROCORES * min(people, AWAKE_PEOPLE) // AWAKE_PEOPLE
    return min((IDLE_MICROCORES + awake + conference_microcores) / effective_microcores(vcpus), 1.0)
