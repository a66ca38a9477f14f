"""The fixtures of this room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from sandbox.faces.server import Options
from sandbox.world import WorldConfig
from tests.http.installation import Installation, installed
from tests.scaler.worlds import world_of


class Install(Protocol):
    """Makes installations that last as long as the test."""

    async def __call__(
        self,
        config: WorldConfig | None = None,
        options: Options | None = None,
        *,
        dry_run: bool = False,
        **policy: Any,
    ) -> Installation:
        """A world of two old idle bridges, or another; keywords are fields of the policy."""
        ...


@pytest.fixture
async def install(
    tables_connection: str, tables_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Install]:
    """Give a function that makes installations, each on tables of its own."""
    async with AsyncExitStack() as cleanup:
        made: list[Installation] = []

        async def make(
            config: WorldConfig | None = None,
            options: Options | None = None,
            *,
            dry_run: bool = False,
            **policy: Any,
        ) -> Installation:
            prefix = f"{tables_prefix}n{len(made)}"
            opening = installed(
                config or world_of(),
                tables_connection,
                prefix,
                monkeypatch,
                options,
                dry_run=dry_run,
                **policy,
            )
            made.append(await cleanup.enter_async_context(opening))
            return made[-1]

        yield make
