"""
A stand-in for the Functions host, as far as HTTP goes: the app's own routes on a loopback port.

Routes, methods and whether a key is asked for are read from the app's own decorators. As with the
real host a wrong key is 401, and each function may have a key of its own.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import azure.functions as func
from aiohttp import web

from sandbox.faces.http import LOOPBACK, Listener

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?(\??)\}")


@dataclass(frozen=True, slots=True)
class Keys:
    """Who may call what. `named` goes before `all_others`."""

    all_others: str
    named: Mapping[str, str]

    def opens(self, function: str, key: str | None) -> bool:
        """Whether this key opens this function."""
        return key == self.named.get(function, self.all_others)


@dataclass(frozen=True, slots=True)
class _Route:
    name: str
    methods: frozenset[str]
    path: re.Pattern[str]
    open_to_all: bool
    call: Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


@cache  # the library reads its decorators only once
def _routes(app: Any) -> list[_Route]:
    found = []
    for function in app.get_functions():
        trigger = function.get_trigger()
        if trigger.type == "httpTrigger":
            path = _PARAMETER.sub(r"(?P<\1>[^/]+)\2", trigger.route or function.get_function_name())
            found.append(
                _Route(
                    function.get_function_name(),
                    frozenset(method.value for method in trigger.methods),
                    re.compile(f"/api/{path}"),
                    trigger.auth_level is func.AuthLevel.ANONYMOUS,
                    function.get_user_function(),
                )
            )
    return found


@asynccontextmanager
async def host(app: Any, keys: Keys, port: int = 0) -> AsyncIterator[str]:
    """Serve the HTTP functions of an app until the block ends; give the address."""
    routes = _routes(app)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        fitting = [(r, m) for r in routes if (m := r.path.fullmatch(request.rel_url.path))]
        if not fitting:
            return web.Response(status=404)
        allowed = [(r, m) for r, m in fitting if request.method in r.methods]
        if not allowed:
            return web.Response(status=405)
        route, match = allowed[0]
        key = request.headers.get("x-functions-key") or request.rel_url.query.get("code")
        if not route.open_to_all and not keys.opens(route.name, key):
            return web.Response(status=401)
        return await _called(route, match, request)

    listener = Listener(handle)
    try:
        opened = await listener.open(port=port)
        yield f"http://{LOOPBACK}:{opened}"
    finally:
        await listener.close()


async def _called(route: _Route, match: re.Match[str], request: web.BaseRequest) -> web.StreamResponse:
    # As the platform's front end does: who called stands last, whatever the caller wrote before.
    claimed = request.headers.get("x-forwarded-for")
    forwarded_for = ", ".join(each for each in (claimed, f"{request.remote}:0") if each)
    asked = func.HttpRequest(
        method=request.method,
        url=str(request.url),
        headers={**request.headers, "x-forwarded-for": forwarded_for},
        params=dict(request.rel_url.query),
        route_params={name: value for name, value in match.groupdict().items() if value is not None},
        body=await request.read() if request.can_read_body else b"",
    )
    answer = await route.call(asked)
    headers = {"Content-Type": answer.mimetype, **dict(answer.headers)}
    return web.Response(status=answer.status_code, body=answer.get_body(), headers=headers)
