"""The floors: the same work with nothing around it. No product code here, or a floor would move with it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

PATHS = ("/about/health", "/colibri/stats")
PARALLEL = 256
"""As many bridges at once as the app asks."""


class RawSockets:
    """Asks every bridge the two questions of a poll over plain sockets and parses the JSON."""

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        """`addresses`: one of each bridge."""
        self._addresses, self._port = addresses, port
        self._open: dict[str, socket.socket] = {}
        self._requests = [f"GET {path} HTTP/1.1\r\nHost: bridge\r\n\r\n".encode() for path in PATHS]

    async def poll(self) -> int:
        """Ask all; return how many statistics had a time in them. Connections stay open."""
        gate = asyncio.Semaphore(PARALLEL)

        async def turn(address: str) -> bool:
            async with gate:
                return await self._ask(address)

        return sum(await asyncio.gather(*(turn(address) for address in self._addresses)))

    def close(self) -> None:
        """Close every connection."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    async def _ask(self, address: str) -> bool:
        loop = asyncio.get_running_loop()
        connection = self._open.get(address)
        if connection is None:
            connection = self._open[address] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            await loop.sock_connect(connection, (address, self._port))
        body = b""
        for request in self._requests:
            await loop.sock_sendall(connection, request)
            body = await _body(loop, connection)
        return "current_timestamp" in orjson.loads(body)


async def _body(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """Read one answer that announces its length, as those of the sandbox do."""
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += await _more(loop, connection)
    begin = answer.lower().index(b"content-length:", 0, end) + len(b"content-length:")
    whole = end + 4 + int(answer[begin : answer.index(b"\r", begin)])
    while len(answer) < whole:
        answer += await _more(loop, connection)
    return answer[end + 4 : whole]


async def _more(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    part = await loop.sock_recv(connection, 65536)
    if not part:
        raise ConnectionError("a bridge hung up on the floor")
    return part


class BareTables:
    """Writes given rows in transactions of 100 with the SDK, and nothing else."""

    def __init__(self, connection_string: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """`rows`: of one partition, as the app wrote them."""
        from azure.data.tables.aio import TableServiceClient

        self._service = TableServiceClient.from_connection_string(connection_string)
        self._rows = [dict(row) for row in rows]

    async def prepare(self) -> None:
        """Make the table; not part of the floor."""
        await self._service.create_table_if_not_exists("floor")

    async def write(self) -> None:
        """Write every row."""
        table = self._service.get_table_client("floor")
        for start in range(0, len(self._rows), 100):
            chunk = self._rows[start : start + 100]
            await table.submit_transaction([("upsert", row, {"mode": "replace"}) for row in chunk])

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()
