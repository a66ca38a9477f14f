"""What the faces share: a plain HTTP server, faults that break its answers, a journal of what was asked."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from aiohttp import web

LOOPBACK = "127.0.0.1"
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `body` may be empty."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, orjson.dumps(content), headers or {})


@dataclass(frozen=True, slots=True)
class FaultAnswer:
    """What happens to one request instead of, or on top of, its answer."""

    status: int | None = None
    """None: the true answer, late where `delay_seconds` says so."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    """Real seconds, not those of the world."""
    drop_connection: bool = False
    """Nothing is done and the connection is closed."""
    apply_then_drop: bool = False
    """The work is done and the connection is closed: the answer is lost."""


Faults = Callable[[str, str, Mapping[str, Any]], FaultAnswer | None]
"""Called as `faults(face, operation, details)` before a request is served; None: no fault."""


class Call(NamedTuple):
    """One request that a face has served."""

    at: datetime
    face: str
    method: str
    operation: str
    """For ARM and Monitor the RBAC action that Azure would demand; elsewhere the path."""
    status: int
    """0: the connection was dropped."""


@dataclass(slots=True)
class Stage:
    """What all faces of one world share."""

    faults: Faults | None = None
    journal: list[Call] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    """Actions that Azure's access control refuses to the app's identity."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a face needs it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Face(ABC):
    """One server. Each request is served at one moment of the world: no other runs in between."""

    name: str

    def __init__(self, stage: Stage, now: Callable[[], datetime]) -> None:
        """`now`: the world's time, for the journal."""
        self._stage = stage
        self._now = now

    @abstractmethod
    def operation(self, asked: Asked) -> tuple[str, Mapping[str, Any]]:
        """Name of what is asked, for journal and faults, and details for faults."""

    @abstractmethod
    def answer(self, asked: Asked) -> Answer:
        """Do what is asked."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request, with whatever fault is planned for it."""
        asked = await _read(request)
        operation, details = self.operation(asked)
        fault = self._stage.faults(self.name, operation, details) if self._stage.faults else None
        answer = await self._faulty(asked, fault) if fault else self.answer(asked)
        status = 0 if answer is None else answer.status
        self._stage.journal.append(Call(self._now(), self.name, asked.method, operation, status))
        if answer is None:
            return _hang_up(request)
        return web.Response(
            status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
        )

    async def _faulty(self, asked: Asked, fault: FaultAnswer) -> Answer | None:
        """The answer with a fault in it; None: hang up."""
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault.drop_connection:
            return None
        if fault.apply_then_drop:
            self.answer(asked)
            return None
        if fault.status is None:
            return self.answer(asked)
        return Answer(fault.status, fault.body, fault.headers)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """One address on which a handler serves."""

    def __init__(self, handler: Handler) -> None:
        """`handler`: `Face.handle`, or the like."""
        self._http = web.Server(handler, access_log=None)
        self._socket: asyncio.Server | None = None

    async def open(self, host: str = LOOPBACK, port: int = 0, tls: ssl.SSLContext | None = None) -> int:
        """Begin to listen; return the port."""
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(self._http, host, port, ssl=tls)
        return int(self._socket.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Refuse new connections and cut the open ones, as the end of a process does."""
        if self._socket is not None:
            self._socket.close()
        await self._http.shutdown(timeout=0.001)  # 0 would mean: wait for ever


async def _read(request: web.BaseRequest) -> Asked:
    body = await request.read() if request.can_read_body else b""
    url = request.rel_url
    return Asked(request.method, url.path, url.query, request.headers, body)


def _hang_up(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
