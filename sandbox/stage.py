"""Sets the stage for `make run`: Azurite and the simulated Azure as processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson

from sandbox.azurite import azurite
from sandbox.inprocess import scale_set_id
from sandbox.loopback import moving, only_one_loopback

SHARD = "main"
_GROUP = scale_set_id("jvb-a").partition("/providers/")[0]
DEFINITION = f"{_GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
TEMPLATE = f"{_GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/jvb"
MAX_BRIDGES = 15
"""What one public IP prefix of sixteen addresses leaves when one is kept for a nightly surge."""
ROOT = Path(__file__).parent.parent


@dataclass(slots=True)
class StageClock:
    """The world's time, as it was last set."""

    moment: datetime

    def now(self) -> datetime:
        """Return the present moment of the world."""
        return self.moment


@dataclass(frozen=True, slots=True)
class Stage:
    """A running sandbox, seen from the process of the app."""

    env: Mapping[str, str]
    """The app's settings, which are all that points it here."""
    clock: StageClock
    http: httpx.AsyncClient
    """Not aiohttp: that reads its authorities when it is imported, before `env` can name ours."""
    control_url: str

    async def advance(self, moment: datetime) -> dict[str, Any]:
        """Let the world's time pass; return what is true then: `truth` and `vms`."""
        answer = await self.http.post(f"{self.control_url}/advance", json={"to": moment.isoformat()})
        self.clock.moment = moment
        return {"truth": orjson.loads(answer.content), "vms": await self.vms()}

    async def vms(self) -> list[dict[str, Any]]:
        """Every machine as the world sees it."""
        machines: list[dict[str, Any]] = await self._get("/vms")
        return machines

    async def calls(self, since: int = 0) -> tuple[int, list[list[Any]]]:
        """Requests that Azure and the bridges served: the place to go on from, and each as a `Call`."""
        told = await self._get(f"/journal?since={since}")
        return told["next"], told["calls"]

    async def truth(self) -> dict[str, Any]:
        """What happened in the world so far."""
        truth: dict[str, Any] = await self._get("/truth")
        return truth

    async def _get(self, path: str) -> Any:
        answer = await self.http.get(self.control_url + path)
        return orjson.loads(answer.content)


def point_the_app_at(set_up: Stage) -> None:
    """Make this process's app talk to the sandbox: its settings, and the world's clock."""
    import wiring

    os.environ.update(set_up.env)
    if only_one_loopback():
        import colibri.client

        colibri.client.url_of = moving(colibri.client.url_of)  # type: ignore[assignment]  # no cache here
    wiring.factory = partial(wiring.engine, clock=set_up.clock)


@asynccontextmanager
async def stage(
    seed: int,
    start: datetime,
    scale_set: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
) -> AsyncIterator[Stage]:
    """
    Start everything, and end every process again, whatever happens in between.

    `scale_set`: fields of `ScaleSetSpec` for a fleet without people in place of the office day;
    `policy`: policy fields of the one shard.
    """
    async with AsyncExitStack() as cleanup:
        tables = cleanup.enter_context(azurite())
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="sandbox-")))
        ready = await cleanup.enter_async_context(_world(folder, _day(seed, start, scale_set)))
        http = await cleanup.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=60))
        shard = {
            "name": SHARD,
            "scale_set_id": scale_set_id("jvb-a"),
            "max_bridges": MAX_BRIDGES,
            "image_definition_id": DEFINITION,
            "image_template_id": TEMPLATE,
            **(policy or {}),
        }
        env = {
            **ready["env"],
            "SCALER_TABLES_CONNECTION_STRING": tables,
            "SCALER_SHARDS": orjson.dumps([shard]).decode(),
        }
        yield Stage(env, StageClock(start), http, ready["control_url"])


def _day(seed: int, start: datetime, scale_set: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    An office day from midnight on, with two bridges left of the day before, and their image's template.

    With `scale_set` that fleet instead, and nobody in it.
    """
    fleet = scale_set or {"capacity": 2, "prestarted": [540, 480]}
    return {
        "seed": seed,
        "start": start.isoformat(),
        "workload": None if scale_set else {"name": "office"},
        "options": {"one_loopback": only_one_loopback()},
        "templates": {TEMPLATE: DEFINITION},
        "scale_sets": [{"scale_set_id": scale_set_id("jvb-a"), **fleet}],
    }


@asynccontextmanager
async def _world(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Run the simulated Azure as a process; yield what it says when it is ready."""
    file = folder / "world.json"
    file.write_bytes(orjson.dumps(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox.faces.server",
        "--config",
        str(file),
        "--leashed",
        stdin=asyncio.subprocess.PIPE,  # it ends when this pipe does, even if we are killed
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,  # Ctrl-C reaches us, and we end it in order
    )
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the simulated Azure did not start; its error stands above")
        ready: dict[str, Any] = orjson.loads(line)
        yield ready
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
