"""The comparison as a table in a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sandbox.compare.judge import Comparison, losses, verdicts
from sandbox.compare.policies import OURS, POLICIES
from sandbox.compare.week import Result

COLUMNS = (
    *("policy", "bridge-hours", "x bound", "overload min", "user-min in it"),
    *("calls cut (people)", "drain-hours", "reversals"),
)

SHAPE_WORDS = {
    "office": "Office: two humps around lunch, five days; 600 to 800 people at the peak",
    "school": "School: the bell at 08:00, about 1,500 people before noon, an empty weekend",
    "owls": "Night owls: about 300 people around midnight, one conference in ten longer than four hours",
    "webinar": "Webinar: a small office, and on Wednesday one conference of 300 people for six hours",
    "growth": "Growth: an office without a weekend, three times as much on Sunday as on Monday",
}

INTRODUCTION = """\
# Comparison with other policies

Written by `make compare`, which runs

    {command}

It simulates weeks of {days} days from a Monday, {seeds} of each shape, with seeds {first} to {last},
under each policy: the same people, the same model of booting machines, the same Jicofo. One shard of
8-vCPU bridges, at least {minimum} and at most {maximum}, begins with two. Figures are means per week.

![Overload minutes over bridge-hours, for each shape](comparison.svg)

- **x bound**: bridge-hours over those of the clairvoyant bound. The bound is computed, not simulated: for
  each minute the fewest bridges that carry that minute's demand, with conferences poured over them like water
  and machines there to the second. No policy that keeps its bridges under their thresholds can reach it; one
  that overloads them can go below it.
- **overload min**: minutes in which a bridge was over what it carries, summed over bridges;
  **user-min in it**: minutes that people spent on such a bridge.
- **calls cut (people)**: conferences that lost their bridge because a policy took it away.
- **drain-hours**: hours of bridges that were given up and still stood.
- **reversals**: out, in, and out again within an hour.
"""

CAVEATS = """\
No machine fails to boot and nothing else goes wrong here. The others see loads without delay (Azure Monitor
excepted). Jicofo is the same for all: it sends
each new conference to the bridge with the least stress, so that a fleet which is large enough can still have
one bridge over its threshold. A conference does not move, and one that is larger than a bridge overloads it
under every policy.
"""


def show(console: Console, comparison: Comparison) -> None:
    """Print a table for each shape, then the verdicts."""
    for shape in comparison.shapes:
        table = Table(title=SHAPE_WORDS.get(shape, shape), title_justify="left", box=SIMPLE)
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=name == "policy")
        for title, *figures in _rows(comparison, shape):
            table.add_row(title.replace("`", ""), *figures)
        console.print(table)
    for verdict in verdicts(comparison):
        mark = "holds" if verdict.holds else "does not hold"
        console.print(f"{mark}: {verdict.promise} {verdict.because}", markup=False, highlight=False)


def markdown(comparison: Comparison, command: str, days: int, minimum: int, maximum: int) -> str:
    """Write docs/comparison.md."""
    seeds = comparison.seeds
    text = INTRODUCTION.format(
        command=command,
        days=days,
        seeds=len(seeds),
        first=seeds[0],
        last=seeds[-1],
        minimum=minimum,
        maximum=maximum,
    )
    parts = [text, _verdicts(comparison)]
    parts += [_section(comparison, shape) for shape in comparison.shapes]
    return "\n".join([*parts, _behaviours(comparison)])


def _verdicts(comparison: Comparison) -> str:
    lines = [
        f"| {verdict.promise} | {'yes' if verdict.holds else '**no**'} | {verdict.because} |"
        for verdict in verdicts(comparison)
    ]
    return "\n".join(
        [
            "## What is promised of the default",
            "",
            "| promise | holds | figures |",
            "|---|---|---|",
            *lines,
            "",
        ]
    )


def _behaviours(comparison: Comparison) -> str:
    present = {result.policy for result in comparison.results}
    rows = [f"| {p.title} | {p.behaviour} |" for name, p in POLICIES.items() if name in present]
    return "\n".join(
        ["## How each behaves", "", "| policy | as simulated |", "|---|---|", *rows, "", CAVEATS]
    )


def _section(comparison: Comparison, shape: str) -> str:
    head = [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    rows = [f"| {' | '.join(cells)} |" for cells in _rows(comparison, shape)]
    lost = [f"- {sentence}" for sentence in losses(comparison, shape)] or ["- Nowhere."]
    return "\n".join(
        [
            f"## {SHAPE_WORDS.get(shape, shape)}",
            "",
            *head,
            *rows,
            "",
            "Where the default loses:",
            "",
            *lost,
            "",
        ]
    )


def _rows(comparison: Comparison, shape: str) -> Iterator[tuple[str, ...]]:
    for result in comparison.row(shape):
        yield _cells(result)
    bound = comparison.mean(shape, OURS).bound_hours
    yield ("clairvoyant bound", f"{bound:.1f}", "1.00", *("-",) * 5)


def _cells(result: Result) -> tuple[str, ...]:
    cut = f"{_short(result.calls_cut)} ({_short(result.people_cut)})" if result.calls_cut else "0"
    return (
        POLICIES[result.policy].title,
        f"{result.bridge_hours:.1f}",
        f"{result.ratio:.2f}",
        _short(result.overload_minutes),
        _short(result.user_minutes),
        cut,
        f"{result.drain_hours:.1f}",
        _short(result.reversals),
    )


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 10 or figure == int(figure) else f"{figure:.1f}"


def ordered(results: Iterable[Result], shapes: Iterable[str]) -> tuple[Result, ...]:
    """Order results by shape as asked for, policy as listed, and seed."""
    places, columns = {shape: n for n, shape in enumerate(shapes)}, [*POLICIES]
    return tuple(sorted(results, key=lambda r: (places[r.shape], columns.index(r.policy), r.seed)))
