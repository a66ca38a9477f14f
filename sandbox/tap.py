"""Sees every call of an in-process port: keeps a journal, and lets tests break a call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

Hook = Callable[..., None]
"""Called as `hook(call_name, **details)`. What it raises, the caller of the port gets."""


class Call(NamedTuple):
    """One call of a port."""

    name: str
    details: dict[str, Any]
    at: datetime | None
    """None: the port was given no clock and the call tells no time."""


class Tap:
    """
    Journal and hooks of one port.

    `before` runs ahead of the effect, so raising there means that nothing was done; `after`
    runs behind it, so raising there is an answer that got lost, or a crash with the work done.
    """

    def __init__(
        self, before: Hook | None = None, after: Hook | None = None, *, journal_reads: bool = True
    ) -> None:
        """`journal_reads`: False leaves calls that change nothing out of the journal, for long runs."""
        self.before = before
        self.after = after
        self.journal_reads = journal_reads
        self.journal: list[Call] = []

    def reading(self, name: str, at: datetime | None, **details: Any) -> None:
        """A call that changes nothing is about to begin."""
        if self.journal_reads:
            self.journal.append(Call(name, details, at))
        if self.before is not None:
            self.before(name, **details)

    def changing(self, name: str, at: datetime | None, **details: Any) -> None:
        """A call that changes something is about to begin."""
        self.journal.append(Call(name, details, at))
        if self.before is not None:
            self.before(name, **details)

    def done(self, name: str, **details: Any) -> None:
        """The call has had its effect, and is about to return."""
        if self.after is not None:
            self.after(name, **details)
