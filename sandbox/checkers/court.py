"""Where checkers bring what they find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    checker: str
    at: datetime
    text: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.checker}: {self.text}"


@dataclass(slots=True)
class Court:
    """Takes the accusations of a run; the first one ends it."""

    now: Callable[[], datetime]
    log: Callable[[str], None]
    violations: list[Violation] = field(default_factory=list)

    def accuse(self, checker: str, text: str) -> None:
        """Bring an accusation."""
        self.violations.append(Violation(checker, self.now(), text))
        self.log(f"VIOLATION {checker}: {text}")
