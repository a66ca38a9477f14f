"""
One loopback address for all bridges, for systems such as macOS that have no other than 127.0.0.1.

Each private address is moved to a port of its own on 127.0.0.1: by `place` where the sandbox listens,
and by the same function in the transport of the client that asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import httpx

LOOPBACK = "127.0.0.1"
SWITCH = "SANDBOX_ONE_LOOPBACK"
"""Set to 1 to do it anywhere, e.g. to try it on Linux."""
_FIRST_PORT, _PORTS = 20_000, 40_000


def only_one_loopback() -> bool:
    """Whether bridges cannot have addresses of their own here."""
    return sys.platform == "darwin" or os.environ.get(SWITCH) == "1"


def place(address: str, port: int) -> tuple[str, int]:
    """Where the bridge with this private address really listens."""
    del port  # the common port of the bridges says nothing here
    number = int(IPv4Address(address))
    return LOOPBACK, _FIRST_PORT + (number >> 16) % 8 * 5_000 % _PORTS + (number & 0xFFFF) % 5_000


class _Moved(httpx.AsyncBaseTransport):
    """Sends each request where `place` says."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = place(request.url.host, request.url.port or 80)
        # A copy: the client sends the same request object again, which must not be moved twice.
        moved = httpx.Request(
            request.method,
            request.url.copy_with(host=host, port=port),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(moved)

    async def aclose(self) -> None:
        await self._inner.aclose()


def moving(build: Callable[..., httpx.AsyncClient]) -> Callable[..., httpx.AsyncClient]:
    """Wrap the factory of the bridges' HTTP client, so that its requests go where `place` says."""

    def moved(*args: Any) -> httpx.AsyncClient:
        client = build(*args)
        client._transport = _Moved(client._transport)  # noqa: SLF001  # httpx has no public way
        return client

    return moved
