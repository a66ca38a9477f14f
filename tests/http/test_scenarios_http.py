"""The starred scenarios over HTTP: the wired application, real tables, and faces that misbehave."""

from __future__ import annotations

from tests.http.conftest import Install

ROUND = 30
"""Minutes in which a quiet shard of two has torn one down under the default policy, with time to spare."""


async def test_s01_of_two_idle_old_bridges_the_older_leaves(install: Install) -> None:
    """The older is drained, fenced, seen to exit and deleted, in this order; the younger is untouched."""
    it = await install()
    first, second = it.names()
    await it.minutes(ROUND)
    assert it.journal == [("drain", first), ("fence", first), ("delete", first)]
    assert it.names() == it.accepting() == [second]
    kinds = [event["kind"] for event in await it.events()]
    assert kinds.index("exited") < kinds.index("gone")
    await it.minutes(ROUND)
    assert len(it.journal) == 3
    assert it.names() == [second]
