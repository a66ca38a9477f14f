"""The fixtures of this room."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from compute.flexible import FlexibleScaleSet
from compute.monitor import MonitorMetrics
from compute.pipeline import arm_client, metrics_client
from sandbox.faces.server import Options, faces
from tests.compute.azure_faces import (
    SCALE_SET_ID,
    SUBSCRIPTION,
    Azure,
    SandboxCredential,
    new_world,
    trusting_transport,
)


@pytest.fixture
def machines() -> int:
    """How many machines stand at the beginning; tests parametrize it."""
    return 2


@pytest.fixture
async def azure(machines: int) -> AsyncIterator[Azure]:
    """Two pages at most hold five machines, so that more of them are paged."""
    world = new_world(machines)
    async with faces(world, Options(page_size=5 if machines < 50 else 100)) as served:
        credential = SandboxCredential(served.tokens)
        client = arm_client(credential, SUBSCRIPTION, served.arm_url, trusting_transport(served))
        monitor = metrics_client(credential, served.monitor_url, trusting_transport(served))
        async with client, monitor:
            cloud = FlexibleScaleSet(client, SCALE_SET_ID)
            yield Azure(world, served, client, cloud, MonitorMetrics(monitor))
