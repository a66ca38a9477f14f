"""A served world and a plain HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.certificates import trusting_context
from sandbox.faces.server import Faces, faces
from tests.sandbox_faces.served import new_world


@pytest.fixture
async def served() -> AsyncIterator[Faces]:
    """Two machines with idle bridges."""
    async with faces(new_world()) as served:
        yield served


@pytest.fixture
async def http(served: Faces) -> AsyncIterator[httpx.AsyncClient]:
    """A client that trusts the sandbox and sends no header that a test did not ask for."""
    async with httpx.AsyncClient(verify=trusting_context(served.ca_file), trust_env=False) as client:
        del client.headers["Accept"]
        yield client
