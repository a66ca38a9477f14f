"""A small world behind its real protocols, and the real SDK in front of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from azure.mgmt.compute.aio import ComputeManagementClient

from compute.flexible import FlexibleScaleSet
from compute.monitor import MonitorMetrics
from compute.pipeline import Transport
from sandbox.certificates import trusting_context
from sandbox.faces.identity import EXPIRES_ON, Tokens
from sandbox.faces.server import Faces
from sandbox.world import BootModel, ScaleSetSpec, World, WorldConfig

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
SCALE_SET_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-Calls"
    "/providers/Microsoft.Compute/virtualMachineScaleSets/Bridges"
)
START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


class SandboxCredential:
    """Tokens straight from the sandbox, for tests in which the identity endpoint plays no part."""

    def __init__(self, tokens: Tokens) -> None:
        """`tokens`: those of the faces."""
        self._tokens = tokens

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        """A token for the resource of the scope."""
        return AccessToken(self._tokens.issue(scopes[0].removesuffix("/.default")), EXPIRES_ON)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> SandboxCredential:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class Azure:
    """The world, what it serves, and our adapters."""

    world: World
    faces: Faces
    client: ComputeManagementClient
    cloud: FlexibleScaleSet
    metrics: MonitorMetrics

    @property
    def actions(self) -> list[str]:
        """What ARM and Monitor were asked, in order, with the status of each answer."""
        return [f"{call.operation} {call.status}" for call in self.faces.journal]


def new_world(capacity: int = 2, **overrides: object) -> World:
    """A world with one scale set, in which nobody meets and machines boot quickly."""
    spec = ScaleSetSpec(SCALE_SET_ID, capacity=capacity, owner="tests", quota=200)
    boot = BootModel(median_s=60, p95_s=60)
    return World(WorldConfig(seed=7, start=START, scale_sets=(spec,), boot=boot, **overrides))  # type: ignore[arg-type]


def trusting_transport(served: Faces) -> Transport:
    """A transport that trusts the sandbox's authority in a process that runs already."""
    connector = aiohttp.TCPConnector(ssl=trusting_context(served.ca_file))
    transport: Transport = AioHttpTransport(session=aiohttp.ClientSession(connector=connector))
    return transport
