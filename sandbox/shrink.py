"""A failing run's smallest story: faults are left out, one after the other, while it still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandbox.faults import Fault

MOST_TRIES = 120


def shrink(
    plan: Sequence[Fault], fails: Callable[[Sequence[Fault]], bool], most_tries: int = MOST_TRIES
) -> tuple[Fault, ...]:
    """
    Leave out halves, quarters, and in the end single faults, as long as `fails` says that it still fails.

    Stops after `most_tries` runs: a story that is small enough is worth more than the smallest one.
    """
    kept, tries = tuple(plan), 0
    size = max(len(kept) // 2, 1)
    while size and kept:
        start, left_out = 0, False
        while start < len(kept) and tries < most_tries:
            shorter = kept[:start] + kept[start + size :]
            tries += 1
            if fails(shorter):
                kept, left_out = shorter, True
            else:
                start += size
        if tries >= most_tries or (size == 1 and not left_out):
            return kept
        size = max(size // 2, 1) if size > 1 or left_out else 0
    return kept
