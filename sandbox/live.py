"""What `make run` shows: a live picture for a terminal, and lines for a pipe."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_STYLES = {
    "ready": "green",
    "booting": "cyan",
    "draining": "yellow",
    "fenced": "magenta",
    "deleting": "red",
    "failed": "bold red",
}
_BAR = "▏▎▍▌▋▊▉█"
_BAR_CELLS = 12
_LINES_KEPT = 9


@dataclass(frozen=True, slots=True)
class Frame:
    """One tick as it is shown."""

    now: datetime
    started: datetime
    hours: float
    seed: int
    sentence: str
    acted: bool
    totals: Mapping[str, Any]
    bridges: Sequence[Mapping[str, Any]]
    """Rows of the app's own status, joined with the simulated truth: name, phase, purpose, image, created,
    pressure, conferences, people, in_words."""
    truth: Mapping[str, Any]

    @property
    def elapsed_share(self) -> float:
        """How much of the run is over, 0 to 1."""
        return min(1.0, (self.now - self.started).total_seconds() / (self.hours * 3600))


def bar(pressure: float | None) -> str:
    """Draw a pressure from 0 to 1.2 in eighths of a cell; unknown is a question mark, not nothing."""
    if pressure is None:
        return "?"
    eighths = round(min(pressure, 1.2) / 1.2 * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_BAR[rest - 1] if rest else "")


def age(created: str | None, now: datetime) -> str:
    """Age of a machine as hours and minutes."""
    if created is None:
        return "?"
    minutes = int((now - datetime.fromisoformat(created)).total_seconds() // 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


@dataclass
class Screen:
    """Shows frames, live on a terminal and as plain lines elsewhere."""

    console: Console
    plain: bool
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    _live: Live | None = None
    _last_hour: int = -1

    def __enter__(self) -> Screen:
        """Take over the terminal, where there is one."""
        if not self.plain:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, frame: Frame) -> None:
        """Show one tick."""
        if self.plain:
            self._print(frame)
            return
        if frame.acted:
            self.lines.append(f"{frame.now:%H:%M}  {frame.sentence}")
        if self._live is not None:
            self._live.update(picture(frame, self.lines), refresh=True)

    def _print(self, frame: Frame) -> None:
        """One line for each tick that did something, and one each hour to show that it goes on."""
        totals = frame.totals
        figures = (
            f"{totals.get('accepting', '?')}/{totals.get('listed', '?')} bridges  "
            f"{frame.truth.get('users_online', '?'):>4} people  demand {totals.get('demand', 0):5.2f}"
        )
        stamp = frame.now.strftime("%Y-%m-%dT%H:%MZ")
        if frame.acted:
            self._say(f"{stamp}  {figures}  {frame.sentence}")
        elif frame.now.hour != self._last_hour:
            self._say(f"{stamp}  {figures}  [{frame.elapsed_share:4.0%}] {frame.sentence}")
        self._last_hour = frame.now.hour

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def picture(frame: Frame, lines: Sequence[str]) -> RenderableType:
    """Draw the whole screen."""
    head = Text.assemble(
        (f" {frame.now:%a %H:%M} UTC ", "bold reverse"),
        f"  {frame.truth.get('users_online', 0)} people in {frame.truth.get('ongoing_conferences', 0)} calls",
        f"   demand {frame.totals.get('demand', 0):.2f}, wanted {frame.totals.get('wanted', 0)}",
        ("   calls cut: ", ""),
        (
            str(frame.truth.get("calls_cut", 0)),
            "bold green" if not frame.truth.get("calls_cut") else "bold red",
        ),
        (f"   seed {frame.seed}", "dim"),
        (_night(frame.totals), "bold magenta"),
    )
    return Group(
        head,
        Padding(ProgressBar(total=1.0, completed=frame.elapsed_share), 0),
        _bridges(frame),
        Panel(Text(frame.sentence), title="this tick", title_align="left", border_style="dim"),
        Text("\n".join(lines), style="dim", no_wrap=True, overflow="ellipsis"),
    )


def _night(totals: Mapping[str, Any]) -> str:
    left = totals.get("outdated", 0)
    return f"   night: {left} to replace" if left else ""


def _bridges(frame: Frame) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column("bridge", min_width=14, no_wrap=True)
    table.add_column("phase", min_width=18, no_wrap=True)
    table.add_column("image", min_width=6, no_wrap=True)
    for column, width in (("age", 5), ("calls", 5), ("people", 6)):
        table.add_column(column, justify="right", min_width=width, no_wrap=True)
    table.add_column("boot s", justify="right", min_width=6, no_wrap=True)
    table.add_column("pressure", width=_BAR_CELLS + 6, no_wrap=True)
    table.add_column("why it stays", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in frame.bridges:
        phase, purpose = row["phase"], row.get("purpose")
        shown = f"{phase} ({purpose})" if purpose and phase == "draining" else phase
        pressure = row.get("pressure")
        figure = "" if pressure is None else f" {pressure:.2f}"
        table.add_row(
            row["name"],
            Text(shown, style=_STYLES.get(phase, "")),
            (row.get("image") or "?").rpartition("/")[2],
            age(row.get("created"), frame.now),
            _number(row.get("conferences")),
            _number(row.get("people")),
            _seconds(row.get("ready_after_seconds")),
            Text(bar(pressure) + figure, style="red" if (pressure or 0) > 1 else "blue"),
            Text(_why(row.get("in_words", "")), style="dim"),
        )
    return table


def _why(in_words: str) -> str:
    """Leave out the phase, which has its own column."""
    _, colon, why = in_words.partition(": ")
    return why.partition(", since")[0] if colon else ""


def _seconds(value: float | None) -> str:
    """How long its boot took; nothing for a bridge that was there before."""
    return "" if value is None else f"{value:.0f}"


def _number(value: object) -> str:
    return "?" if value is None else str(value)


def _boots(figures: Mapping[str, Any]) -> list[str]:
    if figures.get("boot_p50_s") is None:
        return []
    median, slow = figures["boot_p50_s"], figures["boot_p95_s"]
    return [f"  a new bridge accepted calls {median} s after it was asked for (median), {slow} s (95 %)"]


def summary(figures: Mapping[str, Any], truth: Mapping[str, Any], peak: int) -> str:
    """Say how the day went, for people."""
    fixed = peak * figures["simulated_hours"]
    saved = 1 - figures["bridge_hours"] / fixed if fixed else 0.0
    cut = figures["calls_cut"]
    return "\n".join(
        [
            "",
            f"{figures['simulated_hours']:g} hours, {figures['ticks']} ticks, seed {figures['seed']}",
            f"  {figures['calls_served']} calls served, "
            + ("not one cut" if cut == 0 else f"{cut} CUT")
            + f"; {truth.get('overload_user_minutes', 0):.0f} user-minutes on a bridge over its threshold"
            f" ({figures['overload_minutes']} bridge-minutes)",
            f"  {figures['scaled_out']} bridges added, {figures['drained']} drains begun, "
            f"{figures['undrained']} taken back, {figures['torn_down']} torn down, "
            f"{figures['recycled']} recycled at night",
            *_boots(figures),
            f"  {figures['bridge_hours']:.1f} bridge-hours; the {peak} bridges of the peak all day long: "
            f"{fixed:.0f} ({saved:.0%} saved)",
            "",
        ]
    )
