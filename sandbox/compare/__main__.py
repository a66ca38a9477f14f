"""
`make compare`: the same seeded weeks under this product's policy and under others.

Prints a table for each shape, and writes docs/comparison.md and docs/comparison.svg.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import TextIO

from rich.console import Console

from sandbox.compare.fleet import MAXIMUM, MINIMUM
from sandbox.compare.judge import Comparison
from sandbox.compare.plot import svg
from sandbox.compare.policies import OURS, POLICIES
from sandbox.compare.report import SHAPE_WORDS, markdown, ordered, show
from sandbox.compare.week import WEEK_DAYS, Result, simulate
from sandbox.workload import SHAPES

Run = tuple[str, str, int]
"""Policy, shape, seed."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make compare",
        description="The same seeded weeks under this product's policy and under others.",
        epilog="With make: make compare SEEDS=2. The same seeds give the same figures.",
    )
    parser.add_argument("--seeds", type=_positive, default=2, help="weeks of each shape (default: 2)")
    parser.add_argument("--first-seed", type=int, default=1, help="seed of the first week (default: 1)")
    parser.add_argument("--days", type=_positive, default=WEEK_DAYS, help="days from Monday on (default: 7)")
    parser.add_argument(
        "--shapes", type=_names(SHAPES), default=[*SHAPE_WORDS], help="some of: " + ",".join(SHAPES)
    )
    parser.add_argument(
        "--policies", type=_names(POLICIES), default=[*POLICIES], help="some of: " + ",".join(POLICIES)
    )
    parser.add_argument(
        "--jobs", type=_positive, default=os.cpu_count() or 1, help="processes (default: cores)"
    )
    parser.add_argument(
        "--docs", type=Path, help="folder for comparison.md and comparison.svg; default: print only"
    )
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {text}, allowed: 1 or more")
    return number


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    allowed = list(known)

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of: {', '.join(allowed)}")
        return names

    return read


def results_of(runs: Sequence[Run], days: int, jobs: int) -> Iterator[Result]:
    """Simulate all of these, in whichever order they end."""
    if jobs == 1:
        yield from (simulate(*run, days) for run in runs)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(simulate, *run, days) for run in runs]):
            yield future.result()


def compare(given: argparse.Namespace, progress: TextIO) -> Comparison:
    """Run everything that was asked for, and say how far it is."""
    policies = list(dict.fromkeys([OURS, *given.policies]))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    # The engine takes longest, so it begins.
    runs = sorted(product(policies, given.shapes, seeds), key=lambda run: [*POLICIES].index(run[0]))
    results = []
    for result in results_of(runs, given.days, given.jobs):
        results.append(result)
        last = f"{result.policy} {result.shape} {result.seed}"
        progress.write(f"\r{len(results)} of {len(runs)} weeks, last: {last:<28}")
        progress.flush()
    progress.write("\n")
    return Comparison(ordered(results, given.shapes))


def write(comparison: Comparison, given: argparse.Namespace) -> None:
    """Write the page and its picture."""
    command = f"python -m sandbox.compare --seeds {given.seeds} --first-seed {given.first_seed}"
    command += f" --days {given.days} --shapes {','.join(comparison.shapes)}"
    page = markdown(comparison, command, given.days, MINIMUM, MAXIMUM)
    (given.docs / "comparison.md").write_text(page, encoding="utf-8")
    (given.docs / "comparison.svg").write_text(svg(comparison), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 when the product cut a call."""
    given = arguments(sys.argv[1:] if argv is None else argv)
    comparison = compare(given, sys.stderr)
    show(Console(width=None if sys.stdout.isatty() else 120), comparison)
    if given.docs is not None:
        write(comparison, given)
    return int(any(result.calls_cut for result in comparison.results if result.policy == OURS))


if __name__ == "__main__":
    sys.exit(main())
