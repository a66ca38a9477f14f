"""What `ColibriClient` makes of bridges that answer, lie, flood, hang and are gone."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest

from colibri.client import ColibriClient, colibri_http_client, url_of
from colibri.messages import MAX_BODY_BYTES
from scaler.errors import Refused, TryNextTick
from scaler.model import Poll, Reach
from scaler.ports import Bridges, Target
from tests.colibri.bodies import GENERATIONS, stats_body
from tests.colibri.servers import (
    NOW,
    STARTED_MS,
    BridgeServer,
    FixedClock,
    Fleet,
    Handler,
    answer,
    flood,
    reset_amid,
    silence,
)

STARTED = datetime.fromtimestamp(STARTED_MS / 1000, UTC)
QUICK_SECONDS = 0.4
AMPLE_SECONDS = 20.0


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """Local bridges."""
    fleet = Fleet()
    yield fleet
    await fleet.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Give the client of the deployed product."""
    async with colibri_http_client() as http:
        yield http


def client_of(
    http: aiohttp.ClientSession, fleet: Fleet, seconds: float = AMPLE_SECONDS, parallel: int = 256
) -> ColibriClient:
    """Build a client whose every time-out is this long."""
    return ColibriClient(http, FixedClock(), fleet.port, seconds, seconds, parallel)


async def poll_one(
    http: aiohttp.ClientSession, fleet: Fleet, target: Target, seconds: float = AMPLE_SECONDS
) -> Poll:
    """Poll a single target."""
    bridges: Bridges = client_of(http, fleet, seconds)
    return (await bridges.poll([target]))[target.vm_id]


def report_of(generation: str) -> bytes:
    """Encode the report of a generation."""
    return orjson.dumps(GENERATIONS[generation])


async def test_healthy_bridge(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A healthy bridge is asked two questions over one connection, and is known completely."""
    bridge = await fleet.bridge()
    poll = await poll_one(http, fleet, bridge.target())
    assert (poll.at, poll.reach, poll.health_ok, poll.drain) == (NOW, Reach.ANSWERED, True, False)
    assert (poll.supported, poll.problem, poll.process_started_at) == (True, None, None)
    assert poll.stats is not None
    assert poll.stats.conferences == 2
    assert bridge.asked == ["/about/health", "/colibri/stats"]
    assert bridge.accepts == {("application/json", "identity")}
    assert len(bridge.sources) == 1


async def test_nobody_to_ask(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A poll of nobody is empty."""
    assert await client_of(http, fleet).poll([]) == {}


async def test_connection_lives_on(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """The next poll goes over the connection of the last one."""
    bridge = await fleet.bridge()
    await poll_one(http, fleet, bridge.target())
    await poll_one(http, fleet, bridge.target())
    assert len(bridge.asked) == 4
    assert len(bridge.sources) == 1


async def test_cookies_are_not_kept(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A bridge that sets cookies leaves no trace."""
    bridge = await fleet.bridge(about_health=answer(Set_Cookie="a=b"))
    assert (await poll_one(http, fleet, bridge.target())).health_ok is True
    assert not list(http.cookie_jar)


async def test_process_start_on_request(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """The start of the process is asked for only where it is wanted."""
    bridge = await fleet.bridge()
    assert (await poll_one(http, fleet, bridge.target(ask_process=True))).process_started_at == STARTED
    assert bridge.asked[-1] == "/metrics"


@pytest.mark.parametrize("metrics", [answer(b"# HELP", 200), answer(b"oops", 500), answer(b"", 404), silence])
async def test_process_start_unknown(http: aiohttp.ClientSession, fleet: Fleet, metrics: Handler) -> None:
    """Metrics that cannot be read leave the start unknown and the rest as it is."""
    bridge = await fleet.bridge(metrics=metrics)
    poll = await poll_one(http, fleet, bridge.target(ask_process=True), 1.0)
    assert (poll.process_started_at, poll.health_ok, poll.stats is None) == (None, True, False)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (500, b"Sticky failure.\x1b[0m\n", "health 500: Sticky failure. [0m"),
        (503, b"", "health 503"),
        (500, b"x" * 900, "health 500: " + "x" * 200),
        (404, b"", "health 404: videobridge.rest.health.enabled is false"),
        (204, b"", "health 204"),
    ],
)
async def test_unhealthy(
    http: aiohttp.ClientSession, fleet: Fleet, status: int, body: bytes, problem: str
) -> None:
    """Any status but 200 is unhealthy, in the bridge's own words, and the stats are read still."""
    bridge = await fleet.bridge(about_health=answer(body, status))
    poll = await poll_one(http, fleet, bridge.target())
    assert (poll.reach, poll.health_ok, poll.problem) == (Reach.ANSWERED, False, problem)
    assert poll.stats is not None


async def test_hanging_health_does_not_cost_the_stats(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A health check without end is unknown, not unhealthy, and the stats are there."""
    bridge = await fleet.bridge(about_health=silence)
    poll = await poll_one(http, fleet, bridge.target(), 2.0)
    assert (poll.reach, poll.health_ok) == (Reach.ANSWERED, None)
    assert poll.stats is not None
    assert poll.problem == "health: no answer in time"


@pytest.mark.parametrize(
    ("stats", "problem"),
    [
        (answer(b"", 404), "stats 404: videobridge.apis.rest.enabled is false"),
        (answer(b'{"conferences": 0}', 500), "stats 500"),
        (answer(b"<html>hello</html>", 200, Content_Type="text/html"), "stats: body: not JSON"),
        (answer(b"[1, 2]"), "stats: body: not a JSON object but list"),
        (answer(b"{}"), "stats: body: empty object, statistics are off"),
        (answer(b""), "stats: body: not JSON"),
        (answer(stats_body(shutting_down="no")), "stats: shutting_down: not a boolean"),
        (answer(b" " * (MAX_BODY_BYTES + 1)), "stats: body over 1048576 bytes"),
        (flood, "stats: body over 1048576 bytes"),
        (reset_amid, "stats: "),
        (answer(b"", 302, Location="http://127.0.0.1/"), "stats: redirect 302 refused"),
        (answer(b"", 304), "stats: redirect 304 refused"),
        (
            answer(gzip.compress(stats_body()), 200, Content_Encoding="gzip"),
            "stats: content-encoding gzip refused",
        ),
        (silence, "stats: no answer in time"),
    ],
)
async def test_bad_stats(http: aiohttp.ClientSession, fleet: Fleet, stats: Handler, problem: str) -> None:
    """Stats that cannot be relied on are unknown, with the reason, while health is known still."""
    bridge = await fleet.bridge(colibri_stats=stats)
    poll = await poll_one(http, fleet, bridge.target(), 2.0 if stats is silence else AMPLE_SECONDS)
    assert (poll.reach, poll.health_ok, poll.stats, poll.drain) == (Reach.ANSWERED, True, None, None)
    assert poll.supported
    assert poll.problem is not None
    assert poll.problem.startswith(problem)
    assert set(bridge.asked) == {"/about/health", "/colibri/stats"}


@pytest.mark.parametrize(
    ("everywhere", "reach"),
    [
        (answer(b"", 301, Location="/"), Reach.BROKEN),
        (flood, Reach.BROKEN),
        (reset_amid, Reach.BROKEN),
        (silence, Reach.TIMED_OUT),
    ],
)
async def test_bad_everywhere(
    http: aiohttp.ClientSession, fleet: Fleet, everywhere: Handler, reach: Reach
) -> None:
    """A bridge without one good answer is broken or silent, never refused, and not asked on."""
    bridge = await fleet.bridge(about_health=everywhere, colibri_stats=everywhere)
    poll = await poll_one(
        http,
        fleet,
        bridge.target(ask_process=True),
        QUICK_SECONDS if everywhere is silence else AMPLE_SECONDS,
    )
    assert (poll.reach, poll.health_ok, poll.stats) == (reach, None, None)
    assert set(bridge.asked) == {"/about/health", "/colibri/stats"}


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x03\x00\x02\x02F",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 9 \r\n\r\n",
    ],
)
async def test_not_a_bridge(http: aiohttp.ClientSession, fleet: Fleet, said: bytes) -> None:
    """Resets and other protocols are broken: neither an exception, nor a refused connection."""
    poll = await poll_one(http, fleet, await fleet.raw(said))
    assert (poll.reach, poll.health_ok, poll.stats) == (Reach.BROKEN, None, None)
    assert poll.problem


async def test_refused(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A host that is up with nothing listening refuses, on every question."""
    await fleet.bridge()
    target = Target("gone", fleet.address(), ask_process=True)
    poll = await poll_one(http, fleet, target)
    assert (poll.reach, poll.health_ok, poll.stats) == (Reach.REFUSED, None, None)
    assert poll.problem == "health: connection refused; stats: connection refused"
    assert poll.at == NOW


def scripted(**errors: Exception | None) -> aiohttp.ClientSession:
    """Make the client of the product, in which a path raises its own error; by the last part of the path."""
    http = colibri_http_client()

    async def fail(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        error = errors.get(request.url.path.rpartition("/")[2])
        if error is not None:
            raise error
        return await send(request)

    http._middlewares = (fail,)
    return http


def caused(error: Exception, cause: Exception) -> Exception:
    """Chain two errors as a library does."""
    error.__cause__ = cause
    return error


REFUSAL = caused(aiohttp.ClientConnectionError("wrapped"), OSError(errno.ECONNREFUSED, "refused"))
RESET = caused(aiohttp.ClientConnectionError("wrapped"), ConnectionResetError(errno.ECONNRESET, "reset"))
UNROUTED = caused(aiohttp.ClientConnectionError("wrapped"), OSError(errno.EHOSTUNREACH, "no route"))
WORDS_ONLY = aiohttp.ClientConnectionError("connection refused")
SLOW = aiohttp.ServerTimeoutError("slow")
SYN_LOST = caused(aiohttp.ClientConnectionError("wrapped"), TimeoutError(errno.ETIMEDOUT, "timed out"))


@pytest.mark.parametrize(
    ("health", "stats", "reach"),
    [
        (REFUSAL, REFUSAL, Reach.REFUSED),
        (REFUSAL, SLOW, Reach.TIMED_OUT),
        (SYN_LOST, REFUSAL, Reach.TIMED_OUT),
        (REFUSAL, RESET, Reach.BROKEN),
        (UNROUTED, REFUSAL, Reach.BROKEN),
        (REFUSAL, None, Reach.ANSWERED),
        (None, REFUSAL, Reach.ANSWERED),
        (SLOW, SYN_LOST, Reach.TIMED_OUT),
        (
            aiohttp.ClientConnectionError("connection refused"),
            aiohttp.ClientConnectionError("refused"),
            Reach.BROKEN,
        ),
    ],
)
async def test_refused_is_never_guessed(
    fleet: Fleet, health: Exception | None, stats: Exception | None, reach: Reach
) -> None:
    """Only a kernel's refusal of every question counts as refused; every doubt is something else."""
    bridge = await fleet.bridge()
    async with scripted(health=health, stats=stats) as http:
        poll = await poll_one(http, fleet, bridge.target())
    assert poll.reach is reach


async def test_error_in_passing_counts(fleet: Fleet) -> None:
    """A refusal that a library wraps without naming its cause is recognised; a hidden one is not."""
    open_error, hidden_error = (
        aiohttp.ClientConnectionError("wrapped"),
        aiohttp.ClientConnectionError("wrapped"),
    )
    open_error.__context__ = hidden_error.__context__ = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    hidden_error.__suppress_context__ = True
    for error, reach in ((open_error, Reach.REFUSED), (hidden_error, Reach.BROKEN)):
        async with scripted(health=error, stats=error) as http:
            assert (await poll_one(http, fleet, Target("vm", "127.0.0.1", ask_process=False))).reach is reach


@pytest.mark.parametrize(
    "address", ["localhost", "", "127.1", "10.0.0.4:22", "fe80::1%lo", "10.0.0.4/x", "0x7f.0.0.1"]
)
async def test_only_addresses_are_asked(http: aiohttp.ClientSession, fleet: Fleet, address: str) -> None:
    """A name is never resolved: the wrong host must not be told to shut down."""
    target = Target("vm", address, ask_process=False)
    poll = await poll_one(http, fleet, target)
    assert poll.reach is Reach.BROKEN
    assert "not an address" in (poll.problem or "")
    with pytest.raises(TryNextTick, match="not an address"):
        await client_of(http, fleet).shut_down(target)


def test_ipv6_address() -> None:
    """IPv6 literals are put into brackets."""
    assert str(url_of("fd00::7", 81, "/colibri/drain")) == "http://[fd00::7]:81/colibri/drain"


async def test_silent_bridges_hold_up_nobody(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """However many hang, also at the head of the queue, the others are known when the poll ends."""
    hanging = [await fleet.bridge(about_health=silence, colibri_stats=silence) for _ in range(6)]
    good = [await fleet.bridge() for _ in range(6)]
    targets = [bridge.target() for bridge in [*hanging, *good]]
    polls = await asyncio.wait_for(client_of(http, fleet, 3.0, parallel=3).poll(targets), AMPLE_SECONDS)
    assert [polls[target.vm_id].reach for target in targets] == [Reach.TIMED_OUT] * 6 + [Reach.ANSWERED] * 6
    assert all(polls[bridge.target().vm_id].stats for bridge in good)


async def test_a_machine_that_takes_no_connection_is_given_up_early() -> None:
    """A poll does not wait for its deadline where nobody is there: its one question has gone unheard."""
    with ExitStack() as stack:
        # A listener whose queue is full: the kernel drops what comes, as a machine does that is off.
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with colibri_http_client() as http:
            client = ColibriClient(http, FixedClock(), full.getsockname()[1], 600.0, 600.0)
            target = Target("vm", "127.0.0.1", ask_process=True)
            polls = await asyncio.wait_for(client.poll([target]), AMPLE_SECONDS)
            # On this somebody acts: a second question, with a connection of its own.
            fresh = await asyncio.wait_for(client.read(target), AMPLE_SECONDS)
    assert (polls["vm"].reach, polls["vm"].problem) == (Reach.TIMED_OUT, "health: no connection in 1.25 s")
    assert fresh.problem == "health: no connection in 1.25 s; stats: no connection in 1.25 s"


async def test_no_time_left(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A bridge whose turn comes after the deadline is unknown, not an error."""
    bridge = await fleet.bridge()
    poll = await poll_one(http, fleet, bridge.target(), 0.0)
    assert (poll.reach, poll.stats) == (Reach.TIMED_OUT, None)


async def test_one_poll_for_each(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """Every target gets its own answer, keyed by its vm_id, whatever the others do."""
    good, sick = await fleet.bridge(), await fleet.bridge(about_health=answer(b"", 500))
    gone = Target("gone", fleet.address(), ask_process=False)
    polls = await client_of(http, fleet).poll([good.target(), gone, sick.target()])
    assert polls[good.target().vm_id].health_ok is True
    assert polls[sick.target().vm_id].health_ok is False
    assert polls["gone"].reach is Reach.REFUSED


@pytest.mark.parametrize(
    ("drain", "expected", "supported", "problem"),
    [
        (answer(b'{"drain":true}'), True, True, None),
        (answer(b'{"drain":"yes"}'), None, True, "drain: drain: not a boolean but str"),
        (answer(b"", 500), None, True, "drain 500"),
        (
            answer(b"", 404),
            None,
            False,
            "drain 404: videobridge.rest.drain.enabled is false, or the JVB is older than 2022-01",
        ),
        (reset_amid, None, True, None),
    ],
)
async def test_drain_is_asked_where_stats_lack_it(
    http: aiohttp.ClientSession,
    fleet: Fleet,
    drain: Handler,
    expected: bool | None,
    supported: bool,
    problem: str | None,
) -> None:
    """Without `drain` in the stats its endpoint is asked; where that is missing, so is support."""
    bridge = await fleet.bridge(colibri_stats=answer(stats_body(("drain",))), colibri_drain=drain)
    poll = await poll_one(http, fleet, bridge.target())
    assert (poll.reach, poll.drain, poll.supported) == (Reach.ANSWERED, expected, supported)
    assert poll.stats is not None
    assert poll.problem == problem or drain is reset_amid


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_support_by_generation(http: aiohttp.ClientSession, fleet: Fleet, generation: str) -> None:
    """Bridges older than stable 7210 are unsupported, and say so."""
    old = generation in ("v2.1 of 2019", "2020-12")
    bridge = await fleet.bridge(colibri_stats=answer(report_of(generation)))
    if old:
        del bridge.routes["/colibri/drain"]
    poll = await poll_one(http, fleet, bridge.target())
    assert (poll.supported, poll.drain) == (not old, None if old else False)
    assert ("older than stable 7210" in (poll.problem or "")) is old


async def test_read_tells_everything(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A fresh report has health, stats, process start and the drain of its own endpoint."""
    bridge = await fleet.bridge()
    poll = await client_of(http, fleet).read(bridge.target())
    assert (poll.reach, poll.health_ok, poll.drain, poll.problem) == (Reach.ANSWERED, True, False, None)
    assert poll.process_started_at == STARTED
    assert poll.stats is not None
    assert bridge.asked == ["/about/health", "/colibri/stats", "/metrics", "/colibri/drain"]


@pytest.mark.parametrize(
    ("drain", "problem"),
    [
        (answer(b'{"drain":true}'), "drain: the stats say False, /colibri/drain says True"),
        (answer(b"", 500), "drain 500"),
        (answer(b"nothing"), "drain: body: not JSON"),
        (silence, "drain: no answer in time"),
    ],
)
async def test_read_doubts_the_drain(
    http: aiohttp.ClientSession, fleet: Fleet, drain: Handler, problem: str
) -> None:
    """Where endpoint and stats do not agree, the drain is unknown; the bridge stays supported."""
    bridge = await fleet.bridge(colibri_drain=drain)
    poll = await client_of(http, fleet, 1.0 if drain is silence else AMPLE_SECONDS).read(bridge.target())
    assert (poll.drain, poll.supported) == (None, True)
    assert (poll.problem or "").startswith(problem)
    assert poll.stats is not None


@pytest.mark.parametrize("generation", [g for g in GENERATIONS if g not in ("v2.1 of 2019", "2020-12")])
async def test_read_takes_the_drain_of_the_stats_where_no_endpoint_tells(
    http: aiohttp.ClientSession, fleet: Fleet, generation: str
) -> None:
    """A read says what a poll said: else a fence that a poll asks for would fail in every tick."""
    bridge = await fleet.bridge(colibri_stats=answer(report_of(generation)), colibri_drain=answer(b"", 404))
    polled, read = (
        await poll_one(http, fleet, bridge.target()),
        await client_of(http, fleet).read(bridge.target()),
    )
    told = polled.stats.drain if polled.stats is not None else None
    assert (polled.drain, read.drain) == (told, told)
    assert (read.problem or "").startswith("drain 404: videobridge.rest.drain.enabled is false")


async def test_read_without_stats(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A drain without stats is still told."""
    bridge = await fleet.bridge(colibri_stats=answer(b"", 404), colibri_drain=answer(b'{"drain":true}'))
    poll = await client_of(http, fleet).read(bridge.target())
    assert (poll.stats, poll.drain) == (None, True)


async def test_read_of_a_gone_bridge(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A fresh report of nobody is a value too."""
    await fleet.bridge()
    poll = await client_of(http, fleet).read(Target("gone", fleet.address(), ask_process=False))
    assert poll.reach is Reach.REFUSED


@pytest.mark.parametrize(("on", "path"), [(True, "/colibri/drain/enable"), (False, "/colibri/drain/disable")])
async def test_set_drain(http: aiohttp.ClientSession, fleet: Fleet, on: bool, path: str) -> None:
    """Drain is switched by one POST without a body."""
    bridge = await fleet.bridge()
    await client_of(http, fleet).set_drain(bridge.target(), on=on)
    assert [(posted[0], posted[1]) for posted in bridge.posted] == [(path, b"")]


async def test_shut_down(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """The fence asks for the graceful way, in JSON."""
    bridge = await fleet.bridge()
    await client_of(http, fleet).shut_down(bridge.target())
    assert bridge.posted == [("/colibri/shutdown", b'{"graceful-shutdown": true}', "application/json")]


async def command(client: ColibriClient, bridge: BridgeServer, path: str) -> None:
    """Send the command that posts to this path."""
    if path == "/colibri/shutdown":
        await client.shut_down(bridge.target())
    else:
        await client.set_drain(bridge.target(), on=path.endswith("enable"))


COMMANDS = {
    "/colibri/shutdown": "videobridge.rest.shutdown.enabled",
    "/colibri/drain/enable": "videobridge.rest.drain.enabled",
    "/colibri/drain/disable": "videobridge.rest.drain.enabled",
}


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("status", [400, 404, 405, 415])
async def test_command_refused(http: aiohttp.ClientSession, fleet: Fleet, path: str, status: int) -> None:
    """A 4xx is for a person: the error names the setting of jvb.conf."""
    bridge = await fleet.bridge()
    bridge.routes[path] = answer(b"<html/>", status)
    with pytest.raises(Refused, match=COMMANDS[path]) as caught:
        await command(client_of(http, fleet), bridge, path)
    assert caught.value.code == str(status)


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize(
    "handler",
    [answer(b"", 500), answer(b"", 503), answer(b"", 302), answer(b"", 202), reset_amid, flood, silence],
)
async def test_command_without_answer(
    http: aiohttp.ClientSession, fleet: Fleet, path: str, handler: Handler
) -> None:
    """5xx, time-outs and broken connections leave it open whether the command arrived: next tick."""
    bridge = await fleet.bridge()
    bridge.routes[path] = handler
    with pytest.raises(TryNextTick, match=path):
        await command(
            client_of(http, fleet, QUICK_SECONDS if handler is silence else AMPLE_SECONDS), bridge, path
        )
    assert len(bridge.posted) == 1


async def test_command_to_a_gone_bridge(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    """A refused connection is no refusal of the command."""
    await fleet.bridge()
    with pytest.raises(TryNextTick, match="connection refused"):
        await client_of(http, fleet).shut_down(Target("gone", fleet.address(), ask_process=False))
