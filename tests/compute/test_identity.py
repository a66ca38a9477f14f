"""Who we are: tokens from the platform's endpoint, and trust from the environment."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from compute.failures import asking
from compute.flexible import FlexibleScaleSet
from compute.identity import managed_identity
from compute.pipeline import arm_client
from sandbox.faces.http import FaultAnswer
from scaler.errors import Refused, ScalerError, TryNextTick
from tests.compute.azure_faces import SCALE_SET_ID, SUBSCRIPTION, Azure, trusting_transport

ASK_ONCE = f"""
import asyncio, os
from compute.flexible import FlexibleScaleSet
from compute.identity import managed_identity
from compute.pipeline import arm_client

async def main():
    async with managed_identity() as identity:
        async with arm_client(identity, "{SUBSCRIPTION}", os.environ["SCALER_ARM_ENDPOINT"]) as client:
            print((await FlexibleScaleSet(client, "{SCALE_SET_ID}").scale_set()).capacity)

asyncio.run(main())
"""


async def ask_as_managed_identity(azure: Azure, client_id: str | None = None) -> int:
    """Read the capacity with a token of the managed identity."""
    transport = trusting_transport(azure.faces)
    identity = managed_identity(client_id)
    async with identity, arm_client(identity, SUBSCRIPTION, azure.faces.arm_url, transport) as client:
        return (await FlexibleScaleSet(client, SCALE_SET_ID).scale_set()).capacity


@pytest.fixture
def platform(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the identity endpoint in the environment, as the platform does."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", azure.faces.identity_url)
    monkeypatch.setenv("IDENTITY_HEADER", azure.faces.identity_header)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("client_id", [None, "77777777-0000-0000-0000-000000000000"])
async def test_the_platforms_token_opens_arm(azure: Azure, client_id: str | None) -> None:
    """A token from the identity endpoint, system- or user-assigned, is good for ARM."""
    assert await ask_as_managed_identity(azure, client_id) == 2
    assert [call.face for call in azure.faces.journal] == ["identity", "arm"]


@pytest.mark.usefixtures("platform")
async def test_a_wrong_identity_header_is_a_refusal(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint gives nothing to those who do not know its secret, and ARM is not asked."""
    monkeypatch.setenv("IDENTITY_HEADER", "guessed")
    with pytest.raises(ScalerError):
        await ask_as_managed_identity(azure)
    assert {call.face for call in azure.faces.journal} == {"identity"}


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (FaultAnswer(500), TryNextTick),
        (FaultAnswer(drop_connection=True), TryNextTick),
        (FaultAnswer(400, body=b'{"statusCode":400,"message":"No such identity"}'), Refused),
    ],
)
async def test_without_a_token_arm_is_not_asked(
    azure: Azure, fault: FaultAnswer, expected: type[Exception]
) -> None:
    """An endpoint that is down is asked again next tick; one that knows no identity is not."""
    azure.faces.break_with(lambda face, *_: fault if face == "identity" else None)
    with pytest.raises(expected):
        await ask_as_managed_identity(azure)
    assert {call.face for call in azure.faces.journal} == {"identity"}


async def test_ssl_cert_file_alone_makes_the_app_trust_the_sandbox(azure: Azure) -> None:
    """A fresh process with nothing but the environment of the faces reads the scale set."""
    environment = {**os.environ, **azure.faces.env}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK_ONCE, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"2\n")


async def test_a_call_that_hangs_is_given_up() -> None:
    """Every call has an end, whatever the other side does."""
    with pytest.raises(TryNextTick, match=r"no answer within 0\.01 s"):
        async with asking("wait for ever", 0.01):
            await asyncio.Event().wait()
