"""
`make run`: a simulated day of a Jitsi shard, driven through the function app's own triggers.

Azurite and the simulated Azure run beside this process. What is deployed runs in it, unchanged:
its settings point at the sandbox, and its clock is the world's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from rich.console import Console

from sandbox.boot_calls import BootCalls
from sandbox.live import Frame, Screen, summary
from sandbox.stage import SHARD, Stage, point_the_app_at, stage
from sandbox.tally import count

START = datetime(2026, 3, 4, tzinfo=UTC)
"""A Wednesday: the busiest day of an office week."""
NIGHTLY_EVERY_MINUTES = 15


class TickLog(logging.Handler):
    """Keeps the app's own structured line of each tick, which is all that the view needs."""

    def __init__(self) -> None:
        """Start with no line."""
        super().__init__(logging.INFO)
        self.ticks: list[logging.LogRecord] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of a tick, and what went wrong."""
        if hasattr(record, "sentence"):
            self.ticks.append(record)
        elif record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())

    def take(self) -> list[logging.LogRecord]:
        """Return the lines since the last call."""
        taken, self.ticks = self.ticks, []
        return taken


async def run(seed: int, hours: float, screen: Screen) -> int:
    """Run the day; return the exit code."""
    async with stage(seed, START) as set_up:
        point_the_app_at(set_up)
        # Only now: aiohttp reads its authorities when it is imported.
        import function_app
        from sandbox.host import Keys, host

        async with host(function_app.app, Keys("", {})) as url:
            return await _play(set_up, seed, hours, screen, BootCalls(url, SHARD))


async def _play(set_up: Stage, seed: int, hours: float, screen: Screen, boots: BootCalls) -> int:
    import azure.functions.timer as timers

    import function_app
    import wiring

    lines, counts, peak = TickLog(), Counter[str](), 1
    log = logging.getLogger("jvb_autoscaler")
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False
    minutes = round(hours * 60)
    try:
        with screen:
            for minute in range(1, minutes + 1):
                now = START + timedelta(minutes=minute)
                world = await set_up.advance(now)
                await function_app.tick(timers.TimerRequest(past_due=False))
                if minute % NIGHTLY_EVERY_MINUTES == 0:
                    await set_up.advance(now + timedelta(seconds=30))
                    await function_app.nightly_recycle(timers.TimerRequest(past_due=False))
                await boots.send(world["vms"])
                for line in lines.take():
                    totals = line.__dict__
                    count(totals["actions"], counts)
                    acted = bool(totals["actions"])
                    peak = max(peak, totals["listed"])
                    rows = await _rows(function_app, world)
                    boots.note(rows)
                    screen.show(
                        Frame(
                            now, START, hours, seed, totals["sentence"], acted, totals, rows, world["truth"]
                        )
                    )
    finally:
        await (await wiring.application()).close()
    return _finish(
        screen.console, counts, await set_up.truth(), lines.errors, (seed, hours, peak), boots.seconds()
    )


async def _rows(function_app: Any, world: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The app's own status, joined with what is true of each machine."""
    import azure.functions as func

    request = func.HttpRequest(method="GET", url="/api/status", params={}, body=b"")
    status = orjson.loads((await function_app.status(request)).get_body())
    true = {vm["vm_id"]: vm for vm in world["vms"]}
    return [
        {**row, **{key: true.get(row["vm_id"], {}).get(key) for key in ("conferences", "people")}}
        for shard in status["shards"]
        for row in shard.get("bridges", ())
    ]


def _finish(
    console: Console,
    counts: Counter[str],
    truth: Mapping[str, Any],
    errors: Sequence[str],
    run_of: tuple[int, float, int],
    boot_seconds: Mapping[str, float | None],
) -> int:
    seed, hours, peak = run_of
    figures = {
        "simulated_hours": hours,
        "ticks": counts["ticks"],
        "scaled_out": counts["scaled_out"],
        "drained": counts["drained"],
        "undrained": counts["undrained"],
        "torn_down": counts["torn_down"],
        "recycled": counts["recycled"],
        "calls_served": truth["calls_served"],
        "calls_cut": truth["calls_cut"],
        "overload_minutes": truth["overload_minutes"],
        "bridge_hours": round(truth["bridge_hours"], 2),
        **boot_seconds,
        "seed": seed,
    }
    for error in errors[:10]:
        console.print(f"error: {error}", style="red", markup=False)
    console.print(summary(figures, truth, peak), markup=False, highlight=False, soft_wrap=True)
    print(orjson.dumps(figures).decode(), flush=True)
    return 1 if errors or figures["calls_cut"] else 0


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make run",
        description="A simulated day of a Jitsi shard: the real function app on a simulated Azure. "
        "The last line printed is one JSON object with the day's figures.",
        epilog="With make: make run SEED=7 HOURS=6. A seed reproduces its day; without a terminal, "
        "or with --plain, every tick that does something is one line.",
    )
    parser.add_argument("--seed", type=int, default=1, help="which day (default: 1)")
    parser.add_argument("--hours", type=_hours, default=24.0, help="how much of it (default: 24)")
    parser.add_argument("--plain", action="store_true", help="lines instead of the live picture")
    return parser.parse_args(argv)


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 < hours <= 24 * 31:
        raise argparse.ArgumentTypeError(f"is {text}, allowed: more than 0 and at most 744 hours")
    return hours


def main() -> None:
    """Run from the command line."""
    given = arguments(sys.argv[1:])
    console = Console()
    screen = Screen(console, plain=given.plain or not console.is_terminal)
    try:
        sys.exit(asyncio.run(run(given.seed, given.hours, screen)))
    except KeyboardInterrupt:
        console.print("stopped", style="dim")
        sys.exit(130)


if __name__ == "__main__":
    main()
