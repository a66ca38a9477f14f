"""
The bridges' private ports: one listener for each bridge, at its own address.

A bridge whose process is gone has no listener, so that a connection is really refused. One that
the network does not reach takes connections and stays silent.

Linux answers for all of 127.0.0.0/8, so every simulated machine has an address of its own there
and all share one port, as in a real network. macOS has only 127.0.0.1: either add the addresses
(`ifconfig lo0 alias`), or give `place` a function that moves each to a port of its own, and the
asking side the same function.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import orjson

from sandbox.bridge import SimBridge
from sandbox.cloud import SimVm
from sandbox.faces.http import Answer, Asked, Face, Listener, Stage, json_answer
from sandbox.world import World

Place = Callable[[str, int], tuple[str, int]]
"""Private address and common port -> where to listen."""

_SWITCHES: Final = {
    "/about/health": "health",
    "/about/version": "version",
    "/colibri/stats": "stats",
    "/metrics": "metrics",
    "/colibri/shutdown": "shutdown",
    "/colibri/drain": "drain",
    "/colibri/drain/enable": "drain",
    "/colibri/drain/disable": "drain",
}
"""Key in `BridgeFaults.statuses` that decides for a path: also how an API is switched off (404)."""

_OPEN_METRICS: Final = "application/openmetrics-text"
_ERROR_PAGE: Final = b"<html><body><h2>HTTP ERROR</h2></body></html>"


class BridgeFace(Face):
    """The private HTTP port of one bridge process."""

    name = "bridge"

    def __init__(self, stage: Stage, world: World, vm: SimVm, bridge: SimBridge) -> None:
        """`vm`: the machine on which `bridge` runs."""
        super().__init__(stage, lambda: world.now)
        self._world = world
        self._vm = vm
        self._bridge = bridge
        self._calls: dict[str, dict[str, Callable[[Asked], Answer]]] = {
            "/about/health": {"GET": self._health},
            "/about/version": {"GET": lambda _: json_answer(bridge.version())},
            "/colibri/stats": {"GET": lambda _: json_answer(bridge.stats(world.now))},
            "/stats": {"GET": lambda _: json_answer({"conferences": {}})},
            "/metrics": {"GET": self._metrics},
            "/colibri/shutdown": {"POST": self._shut_down},
            "/colibri/drain": {"GET": lambda _: json_answer({"drain": bridge.drain})},
            "/colibri/drain/enable": {"POST": lambda _: self._set_drain(True)},
            "/colibri/drain/disable": {"POST": lambda _: self._set_drain(False)},
            "/colibri/v2/conferences": {"GET": lambda _: _error(501)},
            "/debug": {"GET": self._debug},
        }

    def operation(self, asked: Asked) -> tuple[str, Mapping[str, Any]]:
        """Method and path; the machine is in the details."""
        vm = self._vm
        return f"{asked.method} {asked.path}", {"vm_id": vm.vm_id, "name": vm.name, "address": vm.address}

    def answer(self, asked: Asked) -> Answer:
        """Answer as Jetty and Jersey do: path, then method, then content type, then the API's switch."""
        methods = self._calls.get(asked.path)
        if methods is None:
            return _error(404)
        call = methods.get(asked.method)
        if call is None:
            return _error(405)
        if asked.path == "/colibri/shutdown" and not _is_json(asked.headers.get("Content-Type", "")):
            return _error(415)
        endpoint, faults = _SWITCHES.get(asked.path, ""), self._bridge.faults
        status = faults.statuses.get(endpoint, 200)
        if status != 200:
            return _error(status)
        strange = faults.bodies.get(endpoint) if asked.method == "GET" else None
        return call(asked) if strange is None else Answer(200, strange)

    def _health(self, asked: Asked) -> Answer:
        """The text is plain, whatever its content type says."""
        status, text = self._bridge.health(self._world.now)
        return Answer(status, text.encode())

    def _set_drain(self, on: bool) -> Answer:
        self._bridge.set_drain(on)
        return Answer(200)

    def _shut_down(self, asked: Asked) -> Answer:
        try:
            body = orjson.loads(asked.body)
        except orjson.JSONDecodeError:
            return _error(400 if asked.body else 500)
        if not isinstance(body, dict) or "graceful-shutdown" not in body:
            return _error(500 if body is None else 400)
        graceful = body["graceful-shutdown"]
        if graceful is None:
            return _error(500)
        if graceful not in (True, False, "true", "false"):
            return _error(400)
        self._bridge.shutdown(graceful=graceful in (True, "true"))
        return Answer(200)

    def _metrics(self, asked: Asked) -> Answer:
        """The format follows `Accept`; without one a real bridge fails over its own null."""
        accepted = asked.headers.get("Accept")
        metrics = self._bridge.metrics_json(self._world.now)
        if accepted is None:
            return _error(500)
        if "application/json" in accepted:
            return json_answer(metrics)
        if "text/plain" in accepted:
            return Answer(200, _exposition(metrics), content_type="text/plain")
        if _OPEN_METRICS in accepted or "*/*" in accepted:
            return Answer(200, _exposition(metrics) + b"# EOF\n", content_type=_OPEN_METRICS)
        return _error(500)

    def _debug(self, asked: Asked) -> Answer:
        bridge = self._bridge
        state = "GRACEFUL_SHUTDOWN" if bridge.graceful_shutdown else "RUNNING"
        conferences = {name: {"id": name, "endpoints": {}, "relays": {}} for name in bridge.conferences}
        return json_answer(
            {
                "shutdown_state": "SHUTTING_DOWN" if bridge.shutting_down else state,
                "drain": bridge.drain,
                "time": round(self._world.now.timestamp() * 1000),
                "conferences": conferences,
            }
        )


class _Port(Protocol):
    """Something that listens."""

    async def close(self) -> None: ...


class _SilentPort:
    """Takes connections and never says a word: what a cut network feels like."""

    def __init__(self) -> None:
        self._transports: list[asyncio.BaseTransport] = []
        self._socket: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(lambda: _Silence(self._transports), host, port)

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        for transport in self._transports:
            transport.close()


class _Silence(asyncio.Protocol):
    def __init__(self, transports: list[asyncio.BaseTransport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transports.append(transport)


_Key = tuple[str, int]
"""Machine and number of the process on it, -1 for silence: another process gets other connections."""


class BridgePorts:
    """All listeners of a world's bridges, kept in step with it by `sync`."""

    def __init__(
        self,
        stage: Stage,
        world: World,
        port: int,
        place: Place = lambda address, port: (address, port),
        stopped_machines_are_silent: bool = False,
    ) -> None:
        """
        `port`: the common private port.

        `stopped_machines_are_silent`: a machine that does not run takes connections and says
        nothing. In a real network it does not answer at all, which costs every poll its whole
        deadline; refusing, the default, keeps long runs short.
        """
        self.port = port
        self._stage = stage
        self._world = world
        self._place = place
        self._stopped_are_silent = stopped_machines_are_silent
        self._open: dict[str, tuple[_Key, _Port]] = {}

    async def sync(self) -> None:
        """Open and close listeners so that they are those of the present moment."""
        wanted = self._wanted()
        for address, (key, port) in list(self._open.items()):
            if address not in wanted or wanted[address][0] != key:
                del self._open[address]
                await port.close()
        for address, (key, vm) in wanted.items():
            if address not in self._open:
                self._open[address] = (key, await self._listen(address, key, vm))

    async def close(self) -> None:
        """Close every listener."""
        for _, port in self._open.values():
            await port.close()
        self._open.clear()

    def _wanted(self) -> dict[str, tuple[_Key, SimVm]]:
        """What must listen, by address. Of two machines with one address the newer has it."""
        wanted: dict[str, tuple[_Key, SimVm]] = {}
        for vm in self._world.vms():
            bridge = vm.bridge
            if vm.unreachable or (self._stopped_are_silent and not vm.running):
                wanted[vm.address] = ((vm.vm_id, -1), vm)
            elif vm.running and bridge is not None and bridge.listening:
                wanted[vm.address] = ((vm.vm_id, bridge.process), vm)
        return wanted

    async def _listen(self, address: str, key: _Key, vm: SimVm) -> _Port:
        host, port = self._place(address, self.port)
        if key[1] < 0 or vm.bridge is None:
            silent = _SilentPort()
            await silent.open(host, port)
            return silent
        listener = Listener(BridgeFace(self._stage, self._world, vm, vm.bridge).handle)
        await listener.open(host, port)
        return listener


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _error(status: int) -> Answer:
    """Jetty's error page: nobody may parse it."""
    return Answer(status, _ERROR_PAGE, content_type="text/html")


def _exposition(metrics: Mapping[str, Any]) -> bytes:
    """Prometheus text; a true is a 1."""
    lines: list[str] = []
    for name, value in metrics.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        family = name.removesuffix("_total")
        lines += [f"# TYPE jitsi_jvb_{family} {kind}", f"jitsi_jvb_{name} {float(value)}"]
    return "\n".join(lines).encode() + b"\n"
