"""The command line against a whole installation: real HTTP to the function app, Azurite behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import azure.functions.timer as timers
import pytest
from click.testing import CliRunner

import function_app
import wiring
from cli.app import cli
from sandbox.host import Keys, host
from sandbox.ports import WorldClock
from tests.http.conftest import install
from tests.http.installation import Installation

__all__ = ["install"]


@dataclass
class Terminal:
    """A terminal on an installation whose app answers at `url`."""

    it: Installation
    url: str

    async def run(self, *words: str, key: str = "look", command_key: str = "act", **env: str) -> Ran:
        """Run `jvb-autoscaler` with these words, as an operator's shell would."""
        settings = {
            "JVB_AUTOSCALER_URL": self.url,
            "JVB_AUTOSCALER_KEY": key,
            "JVB_AUTOSCALER_COMMAND_KEY": command_key,
            "JVB_AUTOSCALER_BY": "ann",
            "COLUMNS": "200",
            **env,
        }
        found = await asyncio.to_thread(CliRunner().invoke, cli, list(words), env=settings)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Ran(found.exit_code, found.stdout, found.stderr)

    async def asks(self, *words: str) -> Any:
        """Run with `--json`; return what was printed."""
        return json.loads((await self.run(*words, "--json")).out)

    async def ticks(self, count: int = 1) -> None:
        """Let minutes pass with the timer's trigger at the end of each, and half of the next one."""
        for _ in range(count):
            await self.it.advance(60)
            await function_app.tick(timers.TimerRequest(past_due=False))
        await self.it.advance(30)


@dataclass
class Ran:
    """What a run came to."""

    code: int
    out: str
    err: str


@pytest.fixture
async def terminal(install: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Terminal]:
    """Give a terminal on two old idle bridges, which a first tick has seen."""
    it = await install()
    for name, value in it.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wiring, "factory", partial(wiring.engine, clock=WorldClock(it.world)))
    async with host(function_app.app, Keys("look", {"commands": "act"})) as url:
        found = Terminal(it, url)
        await found.ticks()
        yield found
        await (await wiring.application()).close()
        wiring._applications.clear()
