"""Where CPU time goes: by whose code runs, looked up a thousand times a CPU second."""

from __future__ import annotations

import signal
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

from sandbox.stage import ROOT

EVERY_S = 0.001
"""Of this process's CPU time. A profiler that counts calls would make small functions look dear."""
_LIBRARY = Path(sysconfig.get_path("stdlib"))


@contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Count meanwhile in whose code each sample fell; C code counts for the Python code that called it."""
    seen: Counter[str] = Counter()

    def look(_signal: int, frame: FrameType | None) -> None:
        if frame is not None:
            seen[owner(frame.f_code.co_filename)] += 1

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@cache
def owner(filename: str) -> str:
    """Whose code a file is: a folder of the product, an installed package, or a module of Python's own."""
    path = Path(filename)
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1].removesuffix(".py")
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).parts[0].removesuffix(".py")
    if path.is_relative_to(_LIBRARY):
        return path.relative_to(_LIBRARY).parts[0].removesuffix(".py")
    return "Python"
