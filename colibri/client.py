"""
The bridges as they answer on their private port: the `Bridges` port over HTTP.

Whatever a bridge does (silence, floods, redirects, garbage) ends as a value in its own `Poll`;
it can neither raise out of a poll nor take time from the other bridges.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final

import aiohttp
from yarl import URL

from colibri.messages import (
    DRAIN,
    HEALTH,
    MAX_BODY_BYTES,
    METRICS,
    SETTING_BEHIND_404,
    SHUTDOWN,
    STATS,
    Answer,
    Findings,
    one_line,
)
from scaler.errors import Refused, TryNextTick
from scaler.model import Poll, Reach
from scaler.ports import Clock, Target

_HEADERS: Final = {
    # /metrics chooses its format by Accept, and fails with 500 without one.
    "Accept": "application/json",
    # Nothing to unpack means that nothing small can unpack to something huge.
    "Accept-Encoding": "identity",
    "User-Agent": "jvb-autoscaler",
}

_JSON: Final = {"Content-Type": "application/json"}

_KEEPALIVE_SECONDS: Final = 75.0
"""Longer than the minute between two ticks, so that the next poll finds its connections open."""


CONNECT_SECONDS: Final = 1.25
"""
A first packet that is lost goes out again after 1 s (RFC 6298), and within a network the answer takes
milliseconds. So a machine that is off costs a poll less than half of its deadline. Where more bridges are
asked than `parallel`, their turns are shorter than this and end first.
"""


def colibri_http_client(max_connections: int = 1024) -> aiohttp.ClientSession:
    """Build the HTTP client to hand to `ColibriClient`, in the loop that uses it; the caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=_KEEPALIVE_SECONDS),
        headers=_HEADERS,
        # What a thousand strangers set each minute would grow for ever.
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        # No other of its own: ours bound the whole exchange, and cost less.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )


class _NoAnswer(Exception):
    """One request that ended without an answer we can use."""

    def __init__(self, reach: Reach, problem: str) -> None:
        super().__init__(problem)
        self.reach = reach
        self.problem = problem


class _NoConnection(_NoAnswer):
    """Nobody took the connection in time: nothing else is worth asking in this poll."""


class ColibriClient:
    """Asks and steers bridges over plain HTTP. Implements `scaler.ports.Bridges`."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        clock: Clock,
        port: int = 8080,
        poll_deadline_seconds: float = 3.0,
        call_timeout_seconds: float = 3.0,
        parallel: int = 256,
    ) -> None:
        """
        `http`: see `colibri_http_client`. `port`: the private port of every bridge.

        `poll_deadline_seconds`: for one whole poll; `call_timeout_seconds`: for each other call;
        `parallel`: how many bridges are asked at the same moment, which bounds memory.
        """
        self._http = http
        self._clock = clock
        self._port = port
        self._poll_deadline_seconds = poll_deadline_seconds
        self._call_timeout_seconds = call_timeout_seconds
        self._parallel = parallel

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        """
        Ask all bridges; see `Bridges.poll`.

        More bridges than `parallel` wait for their turn, and each turn is an equal share of the
        deadline: however many hang, the last in the queue is still asked in time.
        """
        rounds = max(1, math.ceil(len(targets) / self._parallel))
        turn_seconds = self._poll_deadline_seconds / rounds
        deadline = _loop_seconds() + self._poll_deadline_seconds
        gate = asyncio.Semaphore(self._parallel)

        async def take_turn(target: Target) -> Poll:
            async with gate:
                return await self._ask(target, min(turn_seconds, deadline - _loop_seconds()))

        async with asyncio.TaskGroup() as group:
            turns = {target.vm_id: group.create_task(take_turn(target)) for target in targets}
        return {vm_id: turn.result() for vm_id, turn in turns.items()}

    async def read(self, target: Target) -> Poll:
        """
        Read one fresh report with everything; see `Bridges.read`.

        `Poll.drain` is what `GET /colibri/drain` says, None where the stats contradict it, and what the stats
        say where jvb.conf has no such endpoint.
        """
        return await self._ask(target, self._call_timeout_seconds, fully=True)

    async def set_drain(self, target: Target, *, on: bool) -> None:
        """POST drain enable or disable; idempotent. Raises as `Bridges.set_drain`."""
        path = f"{DRAIN}/enable" if on else f"{DRAIN}/disable"
        await self._command(target, path, None, SETTING_BEHIND_404[DRAIN])

    async def shut_down(self, target: Target) -> None:
        """POST graceful shutdown, never the forced one. Raises as `Bridges.shut_down`."""
        await self._command(target, SHUTDOWN, b'{"graceful-shutdown": true}', SETTING_BEHIND_404[SHUTDOWN])

    async def _ask(self, target: Target, seconds: float, *, fully: bool = False) -> Poll:
        """
        Put the questions one after the other, over one connection.

        Health may take half of the time, so that a hanging check cannot cost us the stats. Where not even
        a connection came about, a poll asks no further: all the others would wait for it. A report on which
        something will be done is asked for to the end.
        """
        found = Findings()
        ask = partial(self._get, target, found)
        until = _loop_seconds() + seconds
        if not await ask(HEALTH, until - seconds / 2, found.take_health) and not fully:
            return found.as_poll(self._clock.now())
        await ask(STATS, until, lambda answer: found.take_stats(answer, self._clock.now()))
        if found.answered and (fully or target.ask_process):
            await ask(METRICS, until, found.take_process)
        if found.answered and (fully or found.lacks_drain):
            # From here on the endpoint is the source; where it fails, the drain is unknown.
            found.drain = None
            await ask(DRAIN, until, found.take_drain)
        return found.as_poll(self._clock.now())

    async def _get(
        self, target: Target, found: Findings, path: str, until: float, take: Callable[[Answer], None]
    ) -> bool:
        """Ask one question until a moment of the loop's clock; note how it was taken. Whether to ask on."""
        try:
            async with asyncio.timeout_at(until):
                answer = await self._exchange("GET", target, path)
        except TimeoutError:
            found.take_failure(path, Reach.TIMED_OUT, "no answer in time")
        except _NoAnswer as error:
            found.take_failure(path, error.reach, error.problem)
            return not isinstance(error, _NoConnection)
        else:
            found.reaches.add(Reach.ANSWERED)
            take(answer)
        return True

    async def _command(self, target: Target, path: str, body: bytes | None, setting: str) -> None:
        try:
            async with asyncio.timeout(self._call_timeout_seconds):
                answer = await self._exchange("POST", target, path, body)
        except TimeoutError as error:
            raise TryNextTick(f"POST {path}: no answer in {self._call_timeout_seconds:g} s") from error
        except _NoAnswer as error:
            raise TryNextTick(f"POST {path}: {error.problem}") from error
        if answer.ok:
            return
        if 400 <= answer.status < 500:
            raise Refused(str(answer.status), f"POST {path} was refused; check jvb.conf: {setting}")
        raise TryNextTick(f"POST {path}: status {answer.status}")

    async def _exchange(self, method: str, target: Target, path: str, body: bytes | None = None) -> Answer:
        """Send one request and read its whole answer; raises only `_NoAnswer` (and `TimeoutError`)."""
        url = url_of(target.address, self._port, path)
        headers = None if body is None else _JSON
        try:
            async with self._http.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                _refuse_detours(response)
                return Answer(response.status, await _read_body(response))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error


def _loop_seconds() -> float:
    """Read the loop's own clock: for time-outs only, it tells no time of day."""
    return asyncio.get_running_loop().time()


@lru_cache(maxsize=8192)
def url_of(address: str, port: int, path: str) -> URL:
    """Where to ask, kept from tick to tick: building it costs as much as sending."""
    return URL(f"http://{_host(address)}:{port}{path}", encoded=True)


def _host(address: str) -> str:
    """Only literals: a name would ask a resolver who it is that we are about to shut down."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError as error:
        raise _NoAnswer(Reach.BROKEN, f"not an address: {one_line(address)!r}") from error
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.scope_id is not None:
        raise _NoAnswer(Reach.BROKEN, f"not an address: {one_line(address)!r}")
    return f"[{ip}]"


def _refuse_detours(response: aiohttp.ClientResponse) -> None:
    if 300 <= response.status < 400:
        raise _NoAnswer(Reach.BROKEN, f"redirect {response.status} refused")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise _NoAnswer(Reach.BROKEN, f"content-encoding {one_line(encoding)} refused")


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """Count what really arrives: the announced length may lie."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _NoAnswer(Reach.BROKEN, f"body over {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _failure(error: Exception) -> _NoAnswer:
    """
    Judge by the causes, not by the library's own names for them.

    REFUSED lets a machine be deleted, so nothing but the kernel's own ECONNREFUSED counts.
    """
    causes = list(_causes(error))
    first = causes[-1]
    if any(isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED for cause in causes):
        return _NoAnswer(Reach.REFUSED, "connection refused")
    if any(isinstance(cause, aiohttp.ConnectionTimeoutError) for cause in causes):
        return _NoConnection(Reach.TIMED_OUT, f"no connection in {CONNECT_SECONDS:g} s")
    if isinstance(first, TimeoutError):
        return _NoAnswer(Reach.TIMED_OUT, "no answer in time")
    return _NoAnswer(Reach.BROKEN, one_line(f"{type(first).__name__}: {first}"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
