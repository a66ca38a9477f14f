"""The figures as a table: each beside its floor and its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.timing import SHARE, Figures

Measured = Mapping[str, Figures]
"""Figures by case."""


@dataclass(frozen=True, slots=True)
class Line:
    """One promise: what was found, what it is held against, and the most (or least) that is allowed."""

    what: str
    found: str
    floor: str
    value: float
    target: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value keeps to its target."""
        return self.value >= self.target if self.at_least else self.value <= self.target


def lines(measured: Measured) -> list[Line]:
    """Every promise that can be judged by what was measured."""
    return [line for needs, make in _LINES if all(n in measured for n in needs) for line in make(measured)]


def _poll(m: Measured) -> list[Line]:
    poll = m["poll"]
    return [
        Line(
            f"poll 1,000 bridges, {name} connections",
            f"{poll[f'{name}_s']:.3f} CPU s",
            f"raw sockets and JSON: {poll[f'floor_{name}_s']:.3f} s",
            poll[f"{name}_s"] / poll[f"floor_{name}_s"],
            4.0,
            "times",
        )
        for name in ("new", "open")
    ]


def _silent(m: Measured) -> list[Line]:
    poll = m["poll_with_silent"]
    late = poll["seconds"] - poll["deadline_s"]
    floor = f"deadline: {poll['deadline_s']:g} s"
    return [
        Line("poll with 10 % silent: after its deadline", f"{poll['seconds']:.2f} s", floor, late, 0.5, "s"),
        Line(
            "poll with 10 % silent: others that were heard",
            f"{poll['heard']:.0f}",
            f"{poll['talking']:.0f} talk",
            poll["heard"] / poll["talking"],
            1.0,
            "",
            at_least=True,
        ),
    ]


def _tick(m: Measured) -> list[Line]:
    tick = m["tick_1000"]
    floor = sum(tick[f"floor_{part}_s"] for part in ("poll", "json", "rows"))
    told = f"our poll, ARM's JSON, bare rows: {floor:.3f} s"
    spent = tick["tick_s"]
    return [Line("whole tick, 1,000 bridges", f"{spent:.3f} CPU s", told, spent / floor, 2.5, "times")]


def _steady(m: Measured) -> list[Line]:
    tick = m["tick_10"]
    more = tick["calls_tables_all"] - tick["calls_tables"]
    calls = (
        f"{tick['calls_tables']:.0f} tables, {tick['calls_arm']:.0f} ARM, {tick['calls_monitor']:.0f} Monitor"
        f" (once in five: {more:.0f} more)"
    )
    asked = tick["calls_tables"] + tick["calls_arm"] + tick["calls_monitor"]
    return [
        Line("steady tick, 10 bridges", f"{tick['tick_s']:.3f} CPU s", "-", tick["tick_s"], 0.25, "s"),
        Line("steady tick, 10 bridges: calls", calls, "-", asked, 10, "calls"),
    ]


def _memory(m: Measured) -> list[Line]:
    floor = f"bare imports: {m['cold_start']['imports_mb']:.0f} MB"
    peak = m["tick_1000"]["peak_mb"]
    return [Line("memory, 1,000 bridges", f"{peak:.0f} MB", floor, peak, 220, "MB")]


def _cold(m: Measured) -> list[Line]:
    cold = m["cold_start"]
    floor = f"bare imports: {cold['imports_s']:.2f} s"
    return [
        Line(
            "cold start to the first decision, 3 bridges",
            f"{cold['cold_s']:.2f} CPU s",
            floor,
            cold["cold_s"] / cold["imports_s"],
            1.5,
            "times",
        )
    ]


def _decide(m: Measured) -> list[Line]:
    small, middle, large = (m[f"decide_{n}"]["decide_s"] for n in (10, 1000, 10_000))
    figures = ", ".join(f"{seconds * 1000:.2f}" for seconds in (small, middle, large))
    return [
        Line("decide, 1,000 bridges", f"{middle * 1000:.1f} CPU ms", "-", middle * 1000, 20, "ms"),
        Line(
            "decide, a bridge at 10,000 over one at 1,000",
            f"{figures} ms for 10, 1,000, 10,000",
            "linear: 1",
            large / middle / 10,
            1.5,
            "times",
        ),
    ]


def _simulate(m: Measured) -> list[Line]:
    found = m["simulate"]["ticks_per_s"]
    bridges = f"{m['simulate']['bridges']:.0f} bridges"
    return [Line("simulated ticks a CPU second", bridges, "-", found, 500, "a second", at_least=True)]


def _linear(m: Measured) -> list[Line]:
    each = {n: m[f"tick_{n}"]["tick_s"] / n * 1000 for n in (10, 100, 1000)}
    figures = ", ".join(f"{value:.2f}" for value in each.values())
    return [
        Line(
            "tick, a bridge at 1,000 over one at 100",
            f"{figures} CPU ms a bridge for 10, 100, 1,000",
            "linear: 1",
            each[1000] / each[100],
            1.1,
            "times",
        )
    ]


PEER_CPU_S = {10: 0.50, 100: 1.37, 1000: 8.5}
"""Of jitsi-autoscaler (controller and Redis): CPU seconds a minute by number of bridges. Not of this run."""
PEER_MB = 320


def _peer(m: Measured) -> list[Line]:
    found = [
        Line(
            f"beside jitsi-autoscaler, {bridges:,} bridges",
            f"{m[f'tick_{bridges}']['tick_s']:.3f} CPU s",
            f"measured apart: {peer_s:.2f} s",
            m[f"tick_{bridges}"]["tick_s"] / peer_s,
            0.5,
            "times",
        )
        for bridges, peer_s in PEER_CPU_S.items()
    ]
    peak = m["tick_1000"]["peak_mb"]
    what, floor = "beside jitsi-autoscaler, memory", f"measured apart: {PEER_MB} MB"
    return [*found, Line(what, f"{peak:.0f} MB", floor, peak / PEER_MB, 0.5, "times")]


_LINES = (
    (("poll",), _poll),
    (("poll_with_silent",), _silent),
    (("tick_1000",), _tick),
    (("decide_10", "decide_1000", "decide_10000"), _decide),
    (("tick_10",), _steady),
    (("tick_1000", "cold_start"), _memory),
    (("cold_start",), _cold),
    (("simulate",), _simulate),
    (("tick_10", "tick_100", "tick_1000"), _linear),
    (("tick_10", "tick_100", "tick_1000"), _peer),
)


def rows(found: Sequence[Line]) -> list[tuple[str, ...]]:
    """Each line as cells: what, found, floor, ratio or value, target, verdict."""
    return [
        (
            line.what,
            line.found,
            line.floor,
            f"{line.value:.3g} {line.unit}".strip(),
            f"{'at least' if line.at_least else 'at most'} {line.target:g}",
            "met" if line.is_met else "MISSED",
        )
        for line in found
    ]


HEADS = ("what", "found", "floor, same run", "value", "target", "verdict")


SMALLEST_SHARE = 0.02


def whose(m: Measured) -> list[str]:
    """Whose code the CPU time of a poll and of a tick went to, one line each; ticks by the bridge."""
    told = []
    if "poll" in m:
        told.append(_whose("poll, open connections", m["poll"], 100, "%"))
    for case in ("tick_100", "tick_1000"):
        if case in m:
            bridges = int(case.removeprefix("tick_"))
            ms = m[case]["tick_s"] * 1000 / bridges
            told.append(_whose(f"tick, {bridges:,} bridges, CPU ms a bridge", m[case], ms, ""))
    return told


def _whose(what: str, figures: Figures, times: float, unit: str) -> str:
    shares = {name.removeprefix(SHARE): of for name, of in figures.items() if name.startswith(SHARE)}
    large = sorted(((of, name) for name, of in shares.items() if of >= SMALLEST_SHARE), reverse=True)
    rest = sum(shares.values()) - sum(of for of, _ in large)
    cells = [f"{name} {of * times:.3g}" for of, name in (*large, (rest, "others"))]
    return f"{what}: " + ", ".join(cells) + f" {unit}".rstrip()


def markdown(found: Sequence[Line], runs: int, whose_code: Sequence[str] = ()) -> str:
    """The table as a page."""
    table = [HEADS, tuple("---" for _ in HEADS), *rows(found)]
    told = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    shares = "\n".join(f"- {line}" for line in whose_code)
    return _PAGE.format(runs=f"{runs} runs" if runs > 1 else "one run", table=told, whose=shares)


_PAGE = """# What the app costs

Written by `make bench`: medians of {runs}, each case in a process of its own, with Azure, the bridges and
the tables in others. CPU is that of the app's process alone. Floors are the same work with nothing around it
(`bench/floors.py`), measured in the same run.

{table}

A steady tick asks the tables for: the lease (2: taken, given back), commands, the rows of the bridges in one
transaction, the state, the record, the usage of the minute. What the last tick of the same process wrote is
read again only where another held the lease since, and every five minutes, so that a row mended by hand
counts.

jitsi-autoscaler was measured at another time and place: its figures are CPU seconds a minute and the memory
of its controller with Redis. Nearly all of our memory are the bare imports, most of all the models of
azure-mgmt-compute, which the list of machines needs.

## Whose code takes the CPU time

Looked up a thousand times a CPU second while the app polls and ticks (`bench/sampling.py`); what C code takes
stands with the Python code that called it.

{whose}

The product's own folders are `colibri`, `compute`, `scaler` and `state`. In a poll, the HTTP client and the
event loop take four fifths. A client of our own could save some of that, and would have to stand up to every
hostile answer by itself, so theirs stays. In a tick it is the SDK of the tables, which writes each
transaction as a mail of many parts.

Times are those of the machine: the floors tell how fast it was. Where raw sockets asked 1,000 bridges in
0.147 s (new connections), 602 ticks a second were simulated, and a decision took 0.59, 9.9 and 121 ms for 10,
1,000 and 10,000 bridges. On a machine half as fast ten thousand bridges no longer fit its caches, and a
bridge costs more there; up to a thousand, the work grows no faster than the fleet.
"""
