"""The comparison as a table in a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sandbox.compare.judge import FEWER_THAN_LITERAL, Comparison, losses, saved_on_literal, verdicts
from sandbox.compare.policies import OURS, OURS_IDLE, POLICIES
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

WHERE_HOURS_GO = """\
## Where this product's hours go

- **accepting by the limits**: the fewest accepting bridges that the default limits allow, with machines there
  at once and conferences poured evenly: more where the load is over `scale_out_pressure` on each, one a
  minute fewer where the rest stand at or under `scale_in_pressure`. Computed from the people, like the bound.
- **held by calls**: drained bridges on which calls still ran. A call is neither moved nor ended, so a drained
  bridge stands until its last one is over. Only one call in fifty is longer than four hours (night owls: one
  in ten), but that is one in eight of those that run at any moment, and Jicofo spreads them over all bridges.
- **behind an older one**: idle bridges, drained or not, with a busy older one: *oldest* in the literal rule
  keeps them. With `oldest_among: idle` they stay for other reasons: too young, or wanted as room.
- **the rest**: bridges that one hot bridge asks for while others have room, the ten minutes that a surplus
  must last, boots, the steps of a tear-down.
- **least**: the first two together, as if nothing else took an hour. It is an estimate for these rules, no
  proof for every policy: how long calls hold a bridge also depends on which one is drained, and when."""

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
    return "\n".join([*parts, _hours(comparison), _behaviours(comparison)])


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


def _hours(comparison: Comparison) -> str:
    """Where the hours of this product go, and how few its rules and the people's calls allow."""
    head = [
        *("shape", "policy", "bridge-hours", "accepting by the limits", "held by calls"),
        *("behind an older one", "the rest", "least, x bound", "least, against literal"),
    ]
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += [
        f"| {shape} | {POLICIES[result.policy].title} | {_spent(comparison, result)} |"
        for shape in comparison.shapes
        for result in comparison.row(shape)
        if result.policy in (OURS, OURS_IDLE)
    ]
    return "\n".join([WHERE_HOURS_GO, "", *lines, "", *_explained(comparison), ""])


def _spent(comparison: Comparison, result: Result) -> str:
    rest = result.bridge_hours - result.least_hours - result.behind_hours
    saved = saved_on_literal(comparison, result.shape, result.least_hours)
    return " | ".join(
        [
            f"{result.bridge_hours:.1f}",
            f"{result.rule_hours:.1f}",
            f"{result.held_hours:.1f}",
            f"{result.behind_hours:.1f}",
            f"{rest:.1f}",
            f"{result.least_hours / result.bound_hours:.2f}",
            "-" if saved is None else f"{saved:.0%} fewer",
        ]
    )


def _explained(comparison: Comparison) -> Iterator[str]:
    """One sentence for each shape that misses the promise against the literal rule."""
    for shape in comparison.shapes:
        ours = comparison.mean(shape, OURS)
        saved = saved_on_literal(comparison, shape, ours.bridge_hours)
        possible = saved_on_literal(comparison, shape, ours.least_hours)
        if saved is None or possible is None or saved >= FEWER_THAN_LITERAL:
            continue
        if possible < FEWER_THAN_LITERAL:
            yield (
                f"- {shape}: {saved:.0%} fewer than the literal rule. The limits and the calls alone "
                f"leave {possible:.0%}: more would need looser limits, or calls that end sooner."
            )
        else:
            rest = ours.bridge_hours - ours.least_hours - ours.behind_hours
            yield (
                f"- {shape}: {saved:.0%} fewer than the literal rule. The limits and the calls alone "
                f"would leave {possible:.0%}; {ours.behind_hours:.0f} hours are idle bridges behind a busy "
                f"older one, which the literal rule keeps, and {rest:.0f} are the rest."
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
