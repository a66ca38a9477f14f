"""What many tests share: one real table service for the whole run, a fresh set of tables for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from sandbox.azurite import azurite
from state.store import TableStore, table_store


@pytest.fixture(scope="session")
def tables_connection() -> Iterator[str]:
    """Give the connection string of an Azurite that runs as long as the tests do; no Azurite is an error."""
    with azurite() as connection_string:
        yield connection_string


@pytest.fixture
def tables_prefix() -> str:
    """Give a prefix that no other test's tables have."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def tables(tables_connection: str, tables_prefix: str) -> AsyncIterator[TableStore]:
    """Give a store on fresh, empty tables."""
    store = table_store(connection_string=tables_connection, prefix=tables_prefix)
    await store.ensure_tables()
    yield store
    await store.close()
