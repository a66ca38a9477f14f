"""
The edge to the service: the few table calls we need, each with a deadline and our own errors.

`TryNextTick`: not reachable, or not now. `StateChanged`: somebody wrote first.
`Refused`: repeating cannot help, a person must look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError
from azure.data.tables import TableEntity, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from scaler.errors import Refused, ScalerError, StateChanged, Throttled, TryNextTick
from state.rows import Entity

CALL_SECONDS = 10.0
"""Deadline of one call with its retries. A tick that waits longer has lost its minute."""

TRANSACTION_ROWS = 100

SDK_OPTIONS: Mapping[str, Any] = {
    # One quick second try bridges a dropped connection; the next tick is the real retry. More would
    # raise the odds that an answer lost after the write comes back as 412 for our own write.
    "retry_total": 1,
    "retry_backoff_factor": 0.2,
    "connection_timeout": 5,
    "read_timeout": 5,
}

_OF_A_BODY = (ValueError, TypeError, LookupError, AttributeError)
"""What the SDK raises on a body that is not as it expects."""
_GOES_BY_ITSELF = frozenset({"TableBeingDeleted", "AccountBeingCreated", "OperationTimedOut"})


@dataclass(frozen=True, slots=True)
class Write:
    """One conditional write. etag None creates the row, else it must be unchanged since that etag."""

    row: Entity
    etag: str | None
    delete: bool = False


class Tables:
    """The tables of one account whose names start with a prefix."""

    def __init__(self, service: TableServiceClient, prefix: str = "") -> None:
        """`service` is closed with this object; it belongs to one event loop."""
        self._service = service
        self._prefix = prefix
        self._clients: dict[str, TableClient] = {}
        self._complete = False

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    async def create_missing(self, names: Sequence[str]) -> None:
        """Create the tables that do not exist yet; asks for nothing until one of them is missed."""
        if not self._complete:
            await asyncio.gather(*(self._create(name) for name in names))
            self._complete = True

    async def get(self, table: str, partition: str, row_key: str) -> TableEntity | None:
        """Return one row, or None where there is none."""
        where = "PartitionKey eq @partition and RowKey eq @row"
        rows = await self.query(table, where, {"partition": partition, "row": row_key})
        return rows[0] if rows else None

    async def query(
        self,
        table: str,
        where: str,
        parameters: Mapping[str, Any],
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[TableEntity]:
        """Return the rows of an OData filter in key order, at most `limit`, of these columns only."""
        rows: list[TableEntity] = []
        async with self._asking(f"read {table}"):
            pages = self._client(table).query_entities(
                where,
                parameters=dict(parameters),
                results_per_page=limit,
                **({"select": list(columns)} if columns else {}),
            )
            async for row in pages:
                rows.append(row)
                if len(rows) == limit:
                    break
        return rows

    async def write(self, table: str, writes: Sequence[Write]) -> list[str | None]:
        """
        Write rows of one partition in transactions of at most 100, in order.

        Returns the new etags, None for a deleted row. Raises `StateChanged` where a row is not as its
        etag says; nothing of that transaction is then written.
        """
        etags: list[str | None] = []
        for start in range(0, len(writes), TRANSACTION_ROWS):
            chunk = writes[start : start + TRANSACTION_ROWS]
            async with self._asking(f"write {table}"):
                # A transaction of one costs twice the plain call.
                etags += await (self._one(table, chunk[0]) if len(chunk) == 1 else self._many(table, chunk))
        return etags

    async def put(self, table: str, row: Entity) -> None:
        """Write a row whatever is there."""
        async with self._asking(f"write {table}"):
            await self._client(table).upsert_entity(row, mode=UpdateMode.REPLACE)

    async def put_all(self, table: str, rows: Sequence[Entity]) -> None:
        """Write rows of one partition whatever is there, in transactions of at most 100."""
        for start in range(0, len(rows), TRANSACTION_ROWS):
            chunk = rows[start : start + TRANSACTION_ROWS]
            async with self._asking(f"write {table}"):
                await self._client(table).submit_transaction(
                    [("upsert", row, {"mode": UpdateMode.REPLACE}) for row in chunk]
                )

    async def delete_all(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Delete at most 100 rows of one partition. Raises `StateChanged` where one is gone already."""
        async with self._asking(f"delete from {table}"):
            keys = [{name: row[name] for name in ("PartitionKey", "RowKey")} for row in rows]
            await self._client(table).submit_transaction([("delete", each) for each in keys])

    async def _create(self, name: str) -> None:
        async with self._asking(f"create table {name}"):
            await self._service.create_table_if_not_exists(self._prefix + name)

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[None]:
        """Give one call its deadline, and its failure our name."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                yield
        except TimeoutError as error:
            raise TryNextTick(f"{what}: no answer within {CALL_SECONDS:g} s") from error
        except HttpResponseError as error:
            self._complete = self._complete and _code_of(error) != "TableNotFound"
            raise _answered(what, error) from error
        except (AzureError, HTTPException, OSError, *_OF_A_BODY) as error:
            raise TryNextTick(f"{what}: {_first_line(error)}") from error

    def _client(self, table: str) -> TableClient:
        if table not in self._clients:
            self._clients[table] = self._service.get_table_client(self._prefix + table)
        return self._clients[table]

    async def _one(self, table: str, write: Write) -> list[str | None]:
        client = self._client(table)
        if write.delete:
            await client.delete_entity(
                write.row["PartitionKey"], write.row["RowKey"], **_unless_changed(write.etag)
            )
            return [None]
        if write.etag is None:
            answer = await client.create_entity(write.row)
        else:
            answer = await client.update_entity(
                write.row, mode=UpdateMode.REPLACE, **_unless_changed(write.etag)
            )
        return [answer["etag"]]

    async def _many(self, table: str, writes: Sequence[Write]) -> list[str | None]:
        answers = await self._client(table).submit_transaction([_operation(write) for write in writes])
        return [
            None if write.delete else answer["etag"] for write, answer in zip(writes, answers, strict=True)
        ]


def _operation(write: Write) -> tuple[str, Entity] | tuple[str, Entity, dict[str, Any]]:
    if write.delete:
        return "delete", write.row, _unless_changed(write.etag)
    if write.etag is None:
        return "create", write.row
    return "update", write.row, {"mode": UpdateMode.REPLACE, **_unless_changed(write.etag)}


def _unless_changed(etag: str | None) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _answered(what: str, error: HttpResponseError) -> ScalerError:
    """Return our error for the service's answer."""
    status, code, said = error.status_code, _code_of(error), f"{what}: {_first_line(error)}"
    if status == 412 or (status == 409 and code not in _GOES_BY_ITSELF):
        return StateChanged(said)
    if status == 404:
        # A missing table knows nothing, which is not the same as an empty one.
        return TryNextTick(said) if code == "TableNotFound" else StateChanged(said)
    if status in (429, 503):
        return Throttled(said, _retry_after(error))
    if status is None or status == 408 or status >= 500 or code in _GOES_BY_ITSELF:
        return TryNextTick(said)
    return Refused(code or str(status), said)


def _code_of(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or _header(error, "x-ms-error-code"))


def _retry_after(error: HttpResponseError) -> float | None:
    value = _header(error, "Retry-After")
    return float(value) if value.isdecimal() else None


def _header(error: HttpResponseError, name: str) -> str:
    return str(getattr(error.response, "headers", {}).get(name, ""))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
