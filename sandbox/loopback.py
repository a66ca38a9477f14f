"""
One loopback address for all bridges, for systems such as macOS that have no other than 127.0.0.1.

Each private address is moved to a port of its own on 127.0.0.1: by `place` where the sandbox listens,
and by the same function in the client that asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from ipaddress import IPv4Address

from yarl import URL

LOOPBACK = "127.0.0.1"
SWITCH = "SANDBOX_ONE_LOOPBACK"
"""Set to 1 to do it anywhere, e.g. to try it on Linux."""
_FIRST_PORT, _PORTS = 20_000, 40_000


def only_one_loopback() -> bool:
    """Whether bridges cannot have addresses of their own here."""
    return sys.platform == "darwin" or os.environ.get(SWITCH) == "1"


def place(address: str, port: int) -> tuple[str, int]:
    """Where the bridge with this private address really listens."""
    del port  # the common port of the bridges says nothing here
    number = int(IPv4Address(address))
    return LOOPBACK, _FIRST_PORT + (number >> 16) % 8 * 5_000 % _PORTS + (number & 0xFFFF) % 5_000


def moving(url_of: Callable[[str, int, str], URL]) -> Callable[[str, int, str], URL]:
    """Wrap the function that says where a bridge is asked, so that it names where `place` says."""

    def moved(address: str, port: int, path: str) -> URL:
        return url_of(*place(address, port), path)

    return moved
