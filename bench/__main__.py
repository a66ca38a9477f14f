"""
`make bench`: measure what the app costs, and write `bench/results.md` and `docs/cost.md`.

Ends with status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import orjson
from rich.console import Console
from rich.table import Table

from bench.bill import cost_page
from bench.cases import CASES
from bench.report import HEADS, Line, lines, markdown, rows, whose
from bench.timing import Figures
from sandbox.stage import ROOT


def main() -> int:
    """Measure what the command line asks for; return the exit status."""
    asked = _arguments()
    console = Console()
    measured = _medians(
        [
            {name: _measure(name, console, number + 1) for name in asked.cases or CASES}
            for number in range(asked.runs)
        ]
    )
    found = lines(measured)
    _show(found, console)
    for line in whose(measured):
        console.print(line, highlight=False)
    if not asked.cases:
        Path(ROOT, "bench", "results.md").write_text(markdown(found, asked.runs, whose(measured)))
        Path(ROOT, "docs", "cost.md").write_text(cost_page(measured))
    return int(not all(line.is_met for line in found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the app costs, against floors of the same run.")
    parser.add_argument("--runs", type=int, default=1, help="medians of so many")
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="only these; nothing is then written")
    return parser.parse_args()


def _measure(name: str, console: Console, number: int) -> Figures:
    """Run one case in a process of its own."""
    console.print(f"run {number}: {name}", style="dim", highlight=False)
    command = [sys.executable, "-m", "bench.cases", name]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    figures: Figures = orjson.loads(done.stdout)
    return figures


def _medians(runs: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    return {
        # A share of CPU time that one run never saw is none there.
        case: {name: median(run[case].get(name, 0.0) for run in runs) for name in figures}
        for case, figures in runs[0].items()
    }


def _show(found: Sequence[Line], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, overflow="fold")
    for cells in rows(found):
        table.add_row(*cells, style="red" if cells[-1] == "MISSED" else "")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
