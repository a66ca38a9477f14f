"""The sandbox's own endpoint: moves the world's time, and shows what is true in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from sandbox.cloud import SimVm
from sandbox.faces.http import Answer, Stage, json_answer
from sandbox.world import World

Advance = Callable[[datetime], Awaitable[None]]


class Control:
    """
    Plain http for whoever runs the sandbox; the app under test never sees it.

    `POST /advance {"to": ISO time}` -> truth, `GET /truth`, `GET /vms`, and
    `GET /journal?since=N` -> `{"next": M, "calls": [[at, face, method, operation, status], ...]}`.
    """

    def __init__(self, stage: Stage, world: World, advance: Advance) -> None:
        """`advance`: moves the world to a moment, listeners and all."""
        self._stage = stage
        self._world = world
        self._advance = advance

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        answer = await self._answer(request)
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

    async def _answer(self, request: web.BaseRequest) -> Answer:
        match request.method, request.rel_url.path:
            case "POST", "/advance":
                return await self._move(await request.read())
            case "GET", "/truth":
                return json_answer(self._truth())
            case "GET", "/vms":
                return json_answer([vm_view(vm, self._world.now) for vm in self._world.vms()])
            case "GET", "/journal":
                since = int(request.rel_url.query.get("since", "0"))
                calls = self._stage.journal[since:]
                return json_answer({"next": since + len(calls), "calls": [tuple(call) for call in calls]})
        return Answer(404)

    async def _move(self, body: bytes) -> Answer:
        try:
            moment = datetime.fromisoformat(orjson.loads(body)["to"])
        except (ValueError, LookupError, TypeError) as error:
            return json_answer({"error": f'expected {{"to": ISO time}}: {error}'}, 400)
        await self._advance(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        return json_answer(self._truth())

    def _truth(self) -> dict[str, Any]:
        return {"now": self._world.now, **self._world.truth()}


def _boot(vm: SimVm) -> dict[str, float] | None:
    """Seconds of the phases that a machine's own boot has come through; None until it is a bridge."""
    joined = vm.life.joined_at
    if vm.bridge is None or joined is None:
        return None
    started = min(vm.bridge.started_at, joined)
    return {
        "start": round((started - vm.time_created).total_seconds(), 1),
        "membership": round((joined - started).total_seconds(), 1),
    }


def vm_view(vm: SimVm, now: datetime) -> dict[str, Any]:
    """One machine for a live display: what ARM knows, and what only the world knows."""
    view: dict[str, Any] = {
        "scale_set": vm.scale_set.name,
        "name": vm.name,
        "vm_id": vm.vm_id,
        "address": vm.address,
        "provisioning": vm.provisioning,
        "power": vm.power,
        "image": vm.image.rpartition("/")[2],
        "age_minutes": round((now - vm.time_created).total_seconds() / 60, 1),
        "error": vm.error,
        "boot": _boot(vm),
    }
    if (bridge := vm.bridge) is not None:
        view |= {
            "listening": bridge.listening,
            "muc_joined": bridge.muc_joined,
            "drain": bridge.drain,
            "graceful_shutdown": bridge.graceful_shutdown,
            "shutting_down": bridge.shutting_down,
            "conferences": len(bridge.conferences),
            "people": bridge.people,
            "stress": bridge.stress,
        }
    return view
