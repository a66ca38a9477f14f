"""Bridges to ask: real local servers that behave as told, well or badly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from scaler.ports import Target
from tests.colibri.bodies import stats_body

NOW = datetime(2026, 3, 4, 5, 6, 8, tzinfo=UTC)
STARTED_MS = 1_772_590_000_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Return the one moment."""
        return NOW


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Handler:
    """Make a handler that always gives this answer; `_` in header names stands for `-`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, status=status, headers=names)

    return handle


async def silence(request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def flood(request: web.Request) -> web.StreamResponse:
    """Send without end and without saying how much."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65_536)


async def reset_amid(request: web.Request) -> web.StreamResponse:
    """Announce more than is sent, then break the connection."""
    response = web.StreamResponse(headers={"Content-Length": "5000"})
    await response.prepare(request)
    await response.write(b'{"conferences": 0,')
    assert request.transport is not None
    request.transport.abort()
    return response


@dataclass
class BridgeServer:
    """One bridge. `routes` may be changed at any time; `asked` and `posted` record what came."""

    address: str
    routes: dict[str, Handler] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    posted: list[tuple[str, bytes, str | None]] = field(default_factory=list)
    accepts: set[tuple[str | None, str | None]] = field(default_factory=set)
    sources: set[int] = field(default_factory=set)

    def target(self, *, ask_process: bool = False) -> Target:
        """Where a client finds it."""
        return Target(f"vm-{self.address}", self.address, ask_process)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record, then answer as the route says; 404 without one."""
        self.asked.append(request.path)
        self.accepts.add((request.headers.get("Accept"), request.headers.get("Accept-Encoding")))
        assert request.transport is not None
        self.sources.add(request.transport.get_extra_info("peername")[1])
        if request.method == "POST":
            self.posted.append((request.path, await request.read(), request.headers.get("Content-Type")))
        return await self.routes.get(request.path, answer(b"<html>404</html>", 404))(request)


def healthy_routes(stats: bytes | None = None) -> dict[str, Handler]:
    """All that a current bridge answers."""
    return {
        "/about/health": answer(),
        "/colibri/stats": answer(stats_body() if stats is None else stats),
        "/colibri/drain": answer(b'{"drain":false}'),
        "/metrics": answer(b'{"conferences":2,"startup_time":%d}' % STARTED_MS),
        "/colibri/drain/enable": answer(),
        "/colibri/drain/disable": answer(),
        "/colibri/shutdown": answer(),
    }


class Fleet:
    """Local bridges on their own loopback addresses, all on one port."""

    def __init__(self) -> None:
        """Start empty; `close` when done."""
        self.port = 0
        self._count = 0
        self._runners: list[web.AppRunner] = []
        self._raw: list[asyncio.Server] = []

    def address(self) -> str:
        """Hand out the next loopback address; nothing listens there yet."""
        self._count += 1
        return f"127.0.{40 + self._count // 200}.{1 + self._count % 200}"

    async def bridge(self, **routes: Handler) -> BridgeServer:
        """Start a healthy bridge; a keyword such as `colibri_stats` replaces that endpoint."""
        replaced = {f"/{name.replace('_', '/')}": handler for name, handler in routes.items()}
        server = BridgeServer(self.address(), {**healthy_routes(), **replaced})
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, server.address, self.port)
        await site.start()
        self._runners.append(runner)
        self.port = self.port or int(runner.addresses[0][1])
        return server

    async def raw(self, said: bytes) -> Target:
        """Start something that says these bytes to whoever connects, then hangs up."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if said:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(said)
                await writer.drain()
            else:
                writer.transport.abort()
            writer.close()

        address = self.address()
        server = await asyncio.start_server(serve, address, self.port)
        self._raw.append(server)
        self.port = self.port or int(server.sockets[0].getsockname()[1])
        return Target(f"vm-{address}", address, ask_process=False)

    async def close(self) -> None:
        """Stop everything."""
        for server in self._raw:
            server.close()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
