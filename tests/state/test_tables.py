"""What becomes of each failure of the service: a small server that only fails, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from scaler.errors import Refused, ScalerError, StateChanged, Throttled, TryNextTick
from scaler.model import BridgeMemory, Phase, ShardMemory
from scaler.ports import Stored
from state import tables as edge
from state.store import TableStore, table_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def store_on(handler: Handler) -> AsyncIterator[TableStore]:
    server = web.Server(handler)  # type: ignore[arg-type]
    runner = web.ServerRunner(server, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    store = table_store(
        connection_string=f"AccountName=x;AccountKey=eA==;TableEndpoint=http://127.0.0.1:{port}/x;"
        "DefaultEndpointsProtocol=http"
    )
    try:
        yield store
    finally:
        await store.close()
        await runner.cleanup()


def failing(status: int, code: str, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        body = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": "no"}}}
        return web.json_response(body, status=status, headers={"x-ms-error-code": code, **headers})

    return answer


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "PropertyValueTooLarge", Refused),
        (403, "AuthorizationPermissionMismatch", Refused),
        (404, "EntityNotFound", StateChanged),
        (404, "TableNotFound", TryNextTick),
        (408, "RequestTimeout", TryNextTick),
        (409, "EntityAlreadyExists", StateChanged),
        (409, "TableBeingDeleted", TryNextTick),
        (412, "UpdateConditionNotSatisfied", StateChanged),
        (413, "RequestBodyTooLarge", Refused),
        (429, "TooManyRequests", Throttled),
        (500, "InternalError", TryNextTick),
        (500, "OperationTimedOut", TryNextTick),
        (503, "ServerBusy", Throttled),
    ],
)
async def test_each_answer_has_its_error(status: int, code: str, error: type[ScalerError]):
    """Try again, read again, or call a person: the service's code decides which."""
    async with store_on(failing(status, code)) as store:
        with pytest.raises(error) as raised:
            await store.put_state("a", Stored(ShardMemory(NOW), "etag"))
        assert type(raised.value) is error


async def test_a_refusal_carries_the_services_code():
    """The person who must look learns the service's own code."""
    async with store_on(failing(403, "AuthorizationFailure")) as store:
        with pytest.raises(Refused) as refused:
            await store.load("a")
    assert refused.value.code == "AuthorizationFailure"


async def test_a_busy_service_says_when_to_come_back():
    """Retry-After is handed on."""
    async with store_on(failing(503, "ServerBusy", **{"Retry-After": "1"})) as store:
        with pytest.raises(Throttled) as throttled:
            await store.load("a")
    assert throttled.value.retry_after_seconds == 1


async def test_no_answer_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch):
    """A service that never answers costs its deadline, not the tick."""
    monkeypatch.setattr(edge, "CALL_SECONDS", 0.05)

    over = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with store_on(silent) as store:
        with pytest.raises(TryNextTick, match="no answer within"):
            await store.load("a")
        over.set()


async def test_a_body_that_is_none_is_tried_next_tick():
    """A cell that no client can read stops its shard with a word, not with a fault of ours."""

    async def odd(_: web.Request) -> web.Response:
        row = {"PartitionKey": "a", "RowKey": "state", "odata.etag": "1", "known_since": "1-01-01T00:00:00Z"}
        return web.json_response({"value": [{**row, "known_since@odata.type": "Edm.DateTime"}]})

    async with store_on(odd) as store:
        with pytest.raises(TryNextTick, match="read "):
            await store.load("a")


async def test_a_transaction_that_breaks_off_is_tried_next_tick():
    """An answer that is none proves nothing about what was written."""

    async def garbage(_: web.Request) -> web.Response:
        body = b"--b\r\nContent-Type: application/http\r\n\r\n???\r\n--b--\r\n"
        return web.Response(status=202, body=body, headers={"Content-Type": "multipart/mixed; boundary=b"})

    rows = [Stored(BridgeMemory(f"vm-{n}", "jvb", Phase.READY, NOW, NOW), None) for n in range(2)]
    async with store_on(garbage) as store:
        with pytest.raises(TryNextTick):
            await store.put_bridges("a", rows)


async def test_records_for_which_no_key_is_free_are_refused():
    """A service that calls every key taken does not hold the tick for ever."""
    async with store_on(failing(409, "EntityAlreadyExists")) as store:
        with pytest.raises(StateChanged, match="no free key"):
            await store.append_decision("a", NOW, {"n": 1})
