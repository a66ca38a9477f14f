"""
One process, or one `async with`, that serves a whole world over its real protocols.

`python -m sandbox.faces.server --config world.json` prints one line of JSON when it is ready:
the addresses, and the environment that makes the unchanged app talk to this world. Time moves
only by `POST /advance {"to": "<ISO time>"}` at the control address.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from ssl import SSLContext
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from sandbox.certificates import make_certificates
from sandbox.faces.arm import ArmFace
from sandbox.faces.bridges import BridgePorts, Place
from sandbox.faces.control import Control
from sandbox.faces.http import LOOPBACK, Call, Faults, Handler, Listener, Stage
from sandbox.faces.identity import PATH, IdentityFace, Tokens
from sandbox.faces.monitor import MonitorFace
from sandbox.faces.world_file import world_of
from sandbox.loopback import place
from sandbox.world import World


@dataclass(frozen=True, slots=True)
class Options:
    """How a world is served."""

    bridge_port: int = 0
    """0: any free one."""
    page_size: int = 50
    place: Place = lambda address, port: (address, port)
    stopped_machines_are_silent: bool = False
    """See `BridgePorts`."""


@dataclass(frozen=True, slots=True)
class Faces:
    """A world that is being served."""

    world: World
    stage: Stage
    tokens: Tokens
    bridges: BridgePorts
    arm_url: str
    monitor_url: str
    identity_url: str
    identity_header: str
    control_url: str
    ca_file: Path

    @property
    def bridge_port(self) -> int:
        """The common private port of the bridges."""
        return self.bridges.port

    @property
    def journal(self) -> list[Call]:
        """Every request that was served, oldest first."""
        return self.stage.journal

    @property
    def env(self) -> dict[str, str]:
        """What must stand in the environment of the app so that it talks to this world."""
        return {
            "SCALER_ARM_ENDPOINT": self.arm_url,
            "SCALER_METRICS_ENDPOINT": self.monitor_url,
            "SCALER_BRIDGE_PORT": str(self.bridge_port),
            "IDENTITY_ENDPOINT": self.identity_url,
            "IDENTITY_HEADER": self.identity_header,
            "SSL_CERT_FILE": str(self.ca_file),
        }

    async def advance_to(self, moment: datetime) -> None:
        """Let the world's time pass, and open and close the bridges' ports accordingly."""
        self.world.advance_to(moment)
        await self.bridges.sync()

    async def sync(self) -> None:
        """Open and close the bridges' ports after something else changed the world."""
        await self.bridges.sync()

    def break_with(self, faults: Faults | None) -> None:
        """Ask `faults` before each request from now on; None: no faults."""
        self.stage.faults = faults


@asynccontextmanager
async def faces(
    world: World, options: Options = Options(), faults: Faults | None = None
) -> AsyncIterator[Faces]:
    """Serve a world on loopback addresses until the block ends."""
    async with AsyncExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="sandbox-")))
        served = await _open(world, options, Stage(faults), folder, cleanup)
        await served.sync()
        yield served


async def _open(world: World, options: Options, stage: Stage, folder: Path, cleanup: AsyncExitStack) -> Faces:
    async def listen(handler: Handler, tls: SSLContext | None = None) -> str:
        listener = Listener(handler)
        port = await listener.open(tls=tls)
        cleanup.push_async_callback(listener.close)
        return f"{'https' if tls else 'http'}://{LOOPBACK}:{port}"

    async def advance(moment: datetime) -> None:
        world.advance_to(moment)
        await ports.sync()

    certificates = make_certificates(folder)
    tls = certificates.server_context()
    rng = Random(world.config.seed)
    tokens, secret = Tokens(rng), f"{rng.getrandbits(128):032x}"
    arm = ArmFace(stage, world, tokens, options.page_size)
    arm.url = await listen(arm.handle, tls)
    ports = BridgePorts(
        stage,
        world,
        options.bridge_port or _free_port(),
        options.place,
        options.stopped_machines_are_silent,
    )
    cleanup.push_async_callback(ports.close)
    return Faces(
        world=world,
        stage=stage,
        tokens=tokens,
        bridges=ports,
        arm_url=arm.url,
        monitor_url=await listen(MonitorFace(stage, world, tokens).handle, tls),
        identity_url=await listen(IdentityFace(stage, lambda: world.now, tokens, secret).handle) + PATH,
        identity_header=secret,
        control_url=await listen(Control(stage, world, advance).handle),
        ca_file=certificates.ca_file,
    )


def _free_port() -> int:
    """A port that nobody has on 127.0.0.1, and so hardly anybody on the other loopback addresses."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _when_parent_ends(stop: Callable[[], object]) -> None:
    """Call `stop` once standard input closes: a parent that is killed cannot say so in another way."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


async def _serve(config: dict[str, Any], *, leashed: bool) -> None:
    given = config.pop("options", {})
    if given.pop("one_loopback", False):
        given["place"] = place
    options = Options(**given)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if leashed:
        _when_parent_ends(lambda: loop.call_soon_threadsafe(stop.set))
    async with faces(world_of(config), options) as served:
        ready = {"control_url": served.control_url, "env": served.env}
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Serve the world of a configuration file until a signal ends it."""
    parser = argparse.ArgumentParser(description="Serve a simulated world over its real protocols.")
    parser.add_argument("--config", type=Path, required=True, help="JSON, see sandbox.faces.world_file")
    parser.add_argument("--leashed", action="store_true", help="also end when standard input closes")
    given = parser.parse_args()
    config: Path = given.config
    asyncio.run(_serve(orjson.loads(config.read_bytes()), leashed=given.leashed))


if __name__ == "__main__":
    main()
