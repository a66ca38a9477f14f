"""
One process, or one `async with`, that serves a whole world over its real protocols.

`python -m sandbox.faces.server --config world.json` prints one line of JSON when it is ready:
the addresses, and the environment that makes the unchanged app talk to this world. Time moves
only by `POST /advance {"to": "<ISO time>"}` at the control address.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson

from sandbox.certificates import make_certificates
from sandbox.cloud import SimVm
from sandbox.faces.arm import ArmFace
from sandbox.faces.bridges import BridgePorts, Place
from sandbox.faces.control import ControlFace
from sandbox.faces.http import LOOPBACK, Call, Faults, Listener, Stage
from sandbox.faces.identity import PATH, IdentityFace, Tokens
from sandbox.faces.monitor import MonitorFace
from sandbox.world import World
