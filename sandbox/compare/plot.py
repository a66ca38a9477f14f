"""The comparison as a picture: one panel a shape, bridge-hours to the right, overload upwards."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from xml.sax.saxutils import escape

from sandbox.compare.judge import Comparison
from sandbox.compare.policies import POLICIES
from sandbox.compare.week import Result

WIDTH, PANEL, HEIGHT = 960, 320, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 40
RADIUS = 8
COLOURS = ("#0b6e4f", "#5aa786", "#b23a48", "#2f6fb0", "#c77c11", "#7a4fa3", "#5f6670")
STEPS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
MOST_TICKS = 7


def svg(comparison: Comparison) -> str:
    """Draw all shapes and a legend."""
    panels = [*comparison.shapes, None]
    height = ceil(len(panels) / 3) * HEIGHT + 10
    body = [f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']
    for number, shape in enumerate(panels):
        x, y = number % 3 * PANEL, number // 3 * HEIGHT
        drawn = _legend(comparison) if shape is None else _panel(comparison, shape)
        body += [f'<g transform="translate({x},{y})">', *drawn, "</g>"]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#222222">'
    )
    title = "<title>Overload minutes and bridge-hours of each policy</title>"
    return "\n".join([head, title, *body, "</svg>", ""])


class _Scale:
    """Places figures in a panel: to the right over the bound, upwards from no overload."""

    def __init__(self, results: list[Result]) -> None:
        self.low = min(0.9, *(result.ratio for result in results)) - 0.1
        self.high = max(result.ratio for result in results) + 0.2
        self.top = max(50.0, *(result.overload_minutes for result in results)) * 1.08
        self.step = next((step for step in STEPS if self.top / step <= MOST_TICKS), STEPS[-1])

    def x(self, ratio: float) -> float:
        share = (ratio - self.low) / (self.high - self.low)
        return round(LEFT + share * (PANEL - LEFT - RIGHT), 1)

    def y(self, minutes: float) -> float:
        return round(HEIGHT - BOTTOM - minutes / self.top * (HEIGHT - TOP - BOTTOM), 1)

    def of(self, result: Result) -> tuple[float, float]:
        return self.x(result.ratio), self.y(result.overload_minutes)


def _panel(comparison: Comparison, shape: str) -> Iterator[str]:
    results = comparison.row(shape)
    scale = _Scale(results)
    yield f'<text x="{LEFT}" y="20" font-size="13" font-weight="bold">{escape(shape)}</text>'
    yield from _grid(scale)
    for result in reversed(results):
        yield _mark(*scale.of(result), [*POLICIES].index(result.policy), cuts=result.calls_cut > 0)


def _grid(scale: _Scale) -> Iterator[str]:
    right, bottom = PANEL - RIGHT, HEIGHT - BOTTOM
    for minutes in range(0, int(scale.top) + 1, scale.step):
        y = scale.y(minutes)
        yield f'<line x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#dddddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{minutes:,}</text>'
    step = 0.5 if scale.high - scale.low <= 4 else 1.0
    for number in range(ceil(scale.low / step), int(scale.high / step) + 1):
        x = scale.x(number * step)
        yield f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{number * step:g}</text>'
    x = scale.x(1)
    yield f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}" stroke="#222222" stroke-dasharray="3 3"/>'
    middle = (LEFT + right) / 2
    yield f'<text x="{middle}" y="{bottom + 30}" text-anchor="middle">bridge-hours, bound = 1</text>'
    yield (
        f'<text transform="translate(12,{(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        "overload minutes a week</text>"
    )


def _mark(x: float, y: float, policy: int, *, cuts: bool) -> str:
    colour = COLOURS[policy % len(COLOURS)]
    fill, ink = ("#ffffff", colour) if cuts else (colour, "#ffffff")
    return (
        f'<circle cx="{x}" cy="{y}" r="{RADIUS}" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
        f'<text x="{x}" y="{y + 3.5}" text-anchor="middle" font-size="10" fill="{ink}">{policy + 1}</text>'
    )


def _legend(comparison: Comparison) -> Iterator[str]:
    present = {result.policy for result in comparison.results}
    y = TOP
    for number, (name, policy) in enumerate(POLICIES.items()):
        if name in present:
            yield _mark(LEFT, y, number, cuts=False)
            yield f'<text x="{LEFT + 16}" y="{y + 4}">{escape(policy.title.replace("`", ""))}</text>'
            y += 24
    yield _mark(LEFT, y, len(POLICIES) - 1, cuts=True).replace(f">{len(POLICIES)}<", "> <")
    yield f'<text x="{LEFT + 16}" y="{y + 4}">hollow: it cuts calls</text>'
