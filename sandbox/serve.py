"""
`make serve`: the function app over the sandbox, kept up, for the command line and the status page.

The world's night passes as fast as it goes; then time runs on, `speed` seconds of it in each real one,
with a tick at the end of every minute, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console

from sandbox.boot_calls import BootCalls
from sandbox.day import START
from sandbox.stage import SHARD, Stage, point_the_app_at, stage

LOOK, ACT = "look", "act"
"""Keys that everybody knows: good for nothing but this sandbox."""


async def serve(given: argparse.Namespace, console: Console) -> None:
    """Serve until cancelled."""
    import function_app
    import wiring

    async with stage(given.seed, START) as set_up:
        point_the_app_at(set_up)
        # Only now: aiohttp reads its authorities when it is imported.
        from sandbox.host import Keys, host

        try:
            async with host(function_app.app, Keys(LOOK, {"commands": ACT}), given.port) as url:
                _tell(console, url)
                ready = START + timedelta(hours=given.hours)
                boots = BootCalls(url, SHARD)
                await _live(set_up, ready, 0, boots)
                console.print(
                    f"It is {ready:%a %H:%M} UTC there, {given.speed:g} times as fast as here. Ctrl-C ends."
                )
                await _live(set_up, None, 60 / given.speed, boots)
        finally:
            await (await wiring.application()).close()


async def _live(set_up: Stage, until: datetime | None, seconds_a_minute: float, boots: BootCalls) -> None:
    """Let minutes pass, each with its tick."""
    import azure.functions.timer as timers

    import function_app

    while until is None or set_up.clock.now() < until:
        begun = asyncio.get_running_loop().time()
        now, timer = set_up.clock.now(), timers.TimerRequest(past_due=False)
        if now.minute % 15 == 0:
            await set_up.advance(now + timedelta(seconds=30))
            await function_app.nightly_recycle(timer)
        world = await set_up.advance(now + timedelta(minutes=1))
        await function_app.tick(timer)
        await boots.send(world["vms"])
        spent = asyncio.get_running_loop().time() - begun
        await asyncio.sleep(max(0.0, seconds_a_minute - spent))


def _tell(console: Console, url: str) -> None:
    lines = (
        f"The app answers at {url}/api/status",
        f"  export JVB_AUTOSCALER_URL={url} JVB_AUTOSCALER_KEY={LOOK} JVB_AUTOSCALER_COMMAND_KEY={ACT}",
        "  .venv/bin/jvb-autoscaler status",
        f"Its page: {url}/api/dashboard with the key `{LOOK}`",
        "The night passes first ...",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make serve",
        description="The function app over a simulated day, kept up for the command line and the page.",
        epilog="With make: make serve SEED=7 HOURS=10 SPEED=60 PORT=7071.",
    )
    parser.add_argument("--seed", type=int, default=1, help="which day (default: 1)")
    parser.add_argument("--hours", type=float, default=8.0, help="how much of it passes at once (default: 8)")
    parser.add_argument(
        "--speed", type=float, default=30.0, help="seconds there in one second here (default: 30)"
    )
    parser.add_argument("--port", type=int, default=7071, help="0: any free one (default: 7071)")
    return parser.parse_args(argv)


def main() -> None:
    """Run from the command line."""
    given, console = arguments(sys.argv[1:]), Console()
    logging.getLogger("jvb_autoscaler").setLevel(logging.ERROR)
    try:
        asyncio.run(serve(given, console))
    except OSError as error:
        console.print(f"port {given.port}: {error.strerror}; try another one: PORT=0 takes any", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("stopped", style="dim")
        sys.exit(130)


if __name__ == "__main__":
    main()
