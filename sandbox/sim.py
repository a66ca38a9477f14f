"""
Run many seeds: `python -m sandbox.sim --seeds 1000 --first 1 --hours 4 --jobs 2`.

`--with address_reused` runs those of the seeds that draw this kind of fault: what is enough after a
change that nothing else can touch.

Ends with status 1 when a promise was broken, a fleet did not come to rest, or a kind of fault was
never exercised. A failing seed is told with its smallest story.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from sandbox.fault_kinds import KINDS, ONCE_PER_RUN
from sandbox.faults import Fault, draw
from sandbox.shrink import shrink
from sandbox.simulation import Verdict, live_through

ACTS = ("set_drain", "shut_down", "delete", "scale_out", "set_image")
LINES_TOLD = 20
STORIES_TOLD = 3
PROGRESS_EVERY_S = 5.0


@dataclass(slots=True)
class Summary:
    """What all runs so far came to."""

    runs: int = 0
    ticks: int = 0
    exercised: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    failed: list[Verdict] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count one run."""
        self.runs += 1
        self.ticks += verdict.ticks
        self.exercised += verdict.exercised
        self.acts += verdict.acts
        self.digests.append(verdict.digest)
        if verdict.failed:
            self.failed.append(verdict)

    @property
    def digest(self) -> str:
        """Of every journal: the same seeds on the same code have the same one."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()[:16]

    @property
    def never_exercised(self) -> list[str]:
        """Kinds of faults that had no effect in any run, and acts that the engine never asked for."""
        kinds = [kind for kind in (*KINDS, *ONCE_PER_RUN) if not self.exercised[kind]]
        return kinds + [verb for verb in ACTS if not self.acts[verb]]


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    asked = _arguments()
    began = time.perf_counter()
    summary = Summary()
    last_told = began
    seeds = _seeds(asked)
    for verdict in _runs(seeds, asked.hours, asked.jobs):
        summary.add(verdict)
        if verdict.failed:
            print(f"seed {verdict.seed}: {_reason(verdict)}", flush=True)
        if time.perf_counter() - last_told > PROGRESS_EVERY_S:
            last_told = time.perf_counter()
            print(f"  {summary.runs} of {len(seeds)} seeds", file=sys.stderr, flush=True)
    for verdict in summary.failed[:STORIES_TOLD]:
        _tell_story(verdict, asked.hours)
    _tell(summary, time.perf_counter() - began, asked.hours)
    return int(bool(summary.failed or summary.never_exercised))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The engine under faults, judged by independent checkers.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--hours", type=float, default=4.0, help="with faults, before the hours of peace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--with", dest="kind", choices=sorted(KINDS), help="only seeds that draw this fault")
    return parser.parse_args()


def _seeds(asked: argparse.Namespace) -> Sequence[int]:
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.kind is None:
        return seeds
    plans = ((seed, draw(seed, asked.hours, KINDS.values())) for seed in seeds)
    return [seed for seed, plan in plans if any(fault.kind == asked.kind for fault in plan)]


def _runs(seeds: Iterable[int], hours: float, jobs: int) -> Iterator[Verdict]:
    """Run the seeds, in their order whatever the number of processes."""
    if jobs == 1:
        _hush()
        yield from (live_through(seed, hours) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, initializer=_hush) as pool:
        yield from pool.map(partial(live_through, hours=hours), seeds, chunksize=4)


def _hush() -> None:
    """Keep the engine's log out of the terminal: the journal of the run says more."""
    logging.disable(logging.CRITICAL)


def _reason(verdict: Verdict) -> str:
    if verdict.violations:
        return str(verdict.violations[0])
    return "did not come to rest: " + "; ".join(verdict.restless)


def _tell_story(verdict: Verdict, hours: float) -> None:
    """Print the smallest plan that still fails in the same way, and how it ended."""
    _hush()
    plan = draw(verdict.seed, hours, KINDS.values())

    def fails(shorter: Sequence[Fault]) -> bool:
        return live_through(verdict.seed, hours, shorter).complaint == verdict.complaint

    smallest = shrink(plan, fails)
    told = live_through(verdict.seed, hours, smallest)
    print(f"\nseed {verdict.seed}: {_reason(told)}")
    print(f"  {len(smallest)} of {len(plan)} faults are enough:")
    for fault in smallest:
        print(f"    {fault}")
    print(f"  the last {LINES_TOLD} lines of its journal:")
    for line in told.lines[-LINES_TOLD:]:
        print(f"    {line}")


def _tell(summary: Summary, seconds: float, hours: float) -> None:
    print(f"\n{'fault':<28}exercised")
    for kind in sorted((*KINDS, *ONCE_PER_RUN)):
        print(f"{kind:<28}{summary.exercised[kind]:>9}")
    done = ", ".join(f"{count} {verb}" for verb, count in sorted(summary.acts.items()))
    print(f"\n{summary.runs} seeds of {hours:g} faulty hours in {seconds:.0f} s, {summary.ticks} ticks")
    print(f"({summary.ticks / seconds:.0f} a second). The engine asked for: {done}.")
    print(f"Digest of the journals: {summary.digest}")
    print(f"{len(summary.failed)} seeds failed{': ' if summary.failed else ''}", end="")
    print(", ".join(str(verdict.seed) for verdict in summary.failed))
    if summary.never_exercised:
        print(f"never exercised: {', '.join(summary.never_exercised)}")


if __name__ == "__main__":
    sys.exit(main())
