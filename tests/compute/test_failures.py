"""Every way in which ARM can fail, as the port tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import orjson
import pytest

from compute.failures import retry_after_seconds
from compute.flexible import FlexibleScaleSet
from compute.pipeline import arm_client
from sandbox.faces.http import FaultAnswer
from sandbox.faces.identity import Tokens
from scaler.errors import Refused, StateChanged, Throttled, TryNextTick
from tests.compute.azure_faces import SCALE_SET_ID, SUBSCRIPTION, Azure, SandboxCredential, trusting_transport

GET = "Microsoft.Compute/virtualMachineScaleSets/read"
PATCH = "Microsoft.Compute/virtualMachineScaleSets/write"
DELETE = "Microsoft.Compute/virtualMachineScaleSets/delete/action"
LIST = "Microsoft.Compute/virtualMachines/read"
NICS = "Microsoft.Network/networkInterfaces/read"


def answering(status: int, code: str = "", **headers: str) -> FaultAnswer:
    """An answer with ARM's error body."""
    body = orjson.dumps({"error": {"code": code, "message": "because"}}) if code else b""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FaultAnswer(status, named, body)


def when(operation: str, fault: FaultAnswer, nth: int = 0) -> Callable[..., FaultAnswer | None]:
    """A fault for one operation; with `nth`, only for that occurrence of it (1 is the first)."""
    seen = 0

    def faults(_: str, asked: str, __: Mapping[str, Any]) -> FaultAnswer | None:
        nonlocal seen
        seen += asked == operation
        return fault if asked == operation and nth in (0, seen) else None

    return faults


@pytest.mark.parametrize(
    ("fault", "expected", "code"),
    [
        (answering(401, "ExpiredAuthenticationToken"), Refused, "ExpiredAuthenticationToken"),
        (answering(403, "AuthorizationFailed"), Refused, "AuthorizationFailed"),
        (answering(404, "ResourceNotFound"), Refused, "ResourceNotFound"),
        (answering(400, "InvalidParameter"), Refused, "InvalidParameter"),
        (answering(403), Refused, "403"),
        (answering(409, "OperationNotAllowed"), Refused, "OperationNotAllowed"),
        (answering(409, "MissingSubscriptionRegistration"), Refused, "MissingSubscriptionRegistration"),
        (answering(409, "OperationPreempted"), TryNextTick, None),
        (answering(409, "Conflict"), TryNextTick, None),
        (answering(409, "AnotherOperationInProgress"), TryNextTick, None),
        (answering(412, "ConditionNotMet"), StateChanged, None),
        (answering(429, "TooManyRequests"), Throttled, None),
        (answering(500, "InternalServerError"), TryNextTick, None),
        (answering(503, "ServerTimeout", Retry_After="600"), TryNextTick, None),
        (answering(302, Location="https://elsewhere.invalid/"), TryNextTick, None),
        (FaultAnswer(200, body=b"<html>proxy</html>"), TryNextTick, None),
        (FaultAnswer(drop_connection=True), TryNextTick, None),
    ],
)
async def test_each_answer_to_a_write_says_what_to_do(
    azure: Azure, fault: FaultAnswer, expected: type[Exception], code: str | None
) -> None:
    """A failed write raises what the caller must do, was asked exactly once, and changed nothing."""
    record = await azure.cloud.scale_set()
    azure.faces.journal.clear()
    azure.faces.break_with(when(PATCH, fault))
    if fault.status == 200:
        assert await azure.cloud.scale_out(record, 3) is None
    else:
        with pytest.raises(expected) as caught:
            await azure.cloud.scale_out(record, 3)
        assert type(caught.value) is expected
        assert code is None or getattr(caught.value, "code", None) == code
    assert len(azure.actions) == 1
    assert azure.world.scale_set(SCALE_SET_ID).capacity == 2


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"value": null}', b'{"value": [{}]}', b'{"value": ["x"]}', b"null", b"\xff"],
)
async def test_an_answer_that_is_not_a_list_is_never_an_empty_fleet(azure: Azure, body: bytes) -> None:
    """Garbage, and a page without its list, make the machines unknown."""
    azure.faces.break_with(when(LIST, FaultAnswer(200, body=body)))
    with pytest.raises(TryNextTick):
        await azure.cloud.instances({})


@pytest.mark.parametrize("machines", [12])
@pytest.mark.parametrize("listing", [LIST, NICS])
async def test_a_partial_list_is_never_returned(azure: Azure, listing: str) -> None:
    """When the second page fails for good, the whole list is unknown."""
    azure.faces.break_with(when(listing, answering(403, "AuthorizationFailed"), nth=2))
    with pytest.raises(Refused):
        await azure.cloud.instances({})


@pytest.mark.parametrize("machines", [12])
async def test_a_page_that_fails_for_a_moment_is_asked_again(azure: Azure) -> None:
    """One 500 on the second page costs a retry and nothing else."""
    azure.faces.break_with(when(LIST, answering(500, "InternalServerError"), nth=2))
    assert len(await azure.cloud.instances({})) == 12


@pytest.mark.parametrize("machines", [12])
async def test_a_page_that_goes_on_failing_fails_the_list(azure: Azure) -> None:
    """Retries end, and then the whole list is unknown."""

    def faults(_: str, asked: str, details: Mapping[str, Any]) -> FaultAnswer | None:
        return answering(500) if asked == LIST and "$skiptoken" in details["query"] else None

    azure.faces.break_with(faults)
    with pytest.raises(TryNextTick):
        await azure.cloud.instances({})


async def test_a_machine_without_identity_makes_the_list_unknown(azure: Azure) -> None:
    """An entry without vmId is not skipped: a machine left out would look deleted."""
    next(iter(azure.world.vms())).vm_id = ""
    with pytest.raises(TryNextTick, match="vmId"):
        await azure.cloud.instances({})


async def test_a_machine_of_another_scale_set_makes_the_list_unknown(azure: Azure) -> None:
    """If ARM ever ignored the filter, other people's machines would not become bridges."""
    azure.faces.break_with(when(LIST, FaultAnswer(200, body=orjson.dumps({"value": [STRANGER]}))))
    with pytest.raises(TryNextTick, match="database"):
        await azure.cloud.instances({})


STRANGER = {
    "id": "/x/database",
    "name": "database",
    "properties": {"vmId": "1", "provisioningState": "Succeeded", "virtualMachineScaleSet": {"id": "/y"}},
}


@pytest.mark.parametrize("operation", [GET, PATCH, LIST])
async def test_a_long_retry_after_is_passed_on_at_once(azure: Azure, operation: str) -> None:
    """A 429 raises with its seconds instead of sleeping them."""
    record = await azure.cloud.scale_set()
    azure.faces.break_with(when(operation, answering(429, "TooManyRequests", Retry_After="600")))
    calls = {
        GET: azure.cloud.scale_set,
        LIST: lambda: azure.cloud.instances({}),
        PATCH: lambda: azure.cloud.scale_out(record, 3),
    }
    with pytest.raises(Throttled) as caught:
        await calls[operation]()
    assert caught.value.retry_after_seconds == 600


async def test_a_lost_answer_is_unknown_and_the_work_is_done_once(azure: Azure) -> None:
    """When the answer to a write is lost the caller is told so, and nothing is repeated."""
    record = await azure.cloud.scale_set()
    azure.faces.break_with(when(PATCH, FaultAnswer(apply_then_drop=True)))
    with pytest.raises(TryNextTick):
        await azure.cloud.scale_out(record, 3)
    assert azure.world.scale_set(SCALE_SET_ID).capacity == 3
    assert azure.actions.count(f"{PATCH} 0") == 1


async def test_a_lost_answer_to_a_delete_is_unknown(azure: Azure) -> None:
    """The machine goes, the answer does not come, and no second delete is sent."""
    leaving, _ = await azure.cloud.instances({})
    azure.faces.break_with(when(DELETE, FaultAnswer(apply_then_drop=True)))
    with pytest.raises(TryNextTick):
        await azure.cloud.delete(leaving)
    vm = azure.world.vm(leaving.resource_id)
    assert vm is not None
    assert vm.provisioning == "Deleting"
    assert azure.actions.count(f"{DELETE} 0") == 1


async def test_a_quota_refusal_keeps_arms_code(azure: Azure) -> None:
    """A write over the quota is refused with the code that the operator can look up."""
    with pytest.raises(Refused) as caught:
        await azure.cloud.scale_out(await azure.cloud.scale_set(), 201)
    assert caught.value.code == "OperationNotAllowed"


async def test_a_uniform_scale_set_is_refused_by_name(azure: Azure) -> None:
    """A scale set of the other orchestration mode is an error that says so."""
    body = {"name": "old", "sku": {}, "properties": {"orchestrationMode": "Uniform"}}
    azure.faces.break_with(when(GET, FaultAnswer(200, body=orjson.dumps(body))))
    with pytest.raises(Refused) as caught:
        await azure.cloud.scale_set()
    assert caught.value.code == "UniformNotSupported"


async def test_the_token_goes_to_no_other_host(azure: Azure) -> None:
    """A link to another host is refused before anything is sent there."""
    with pytest.raises(Refused) as caught:
        await azure.cloud.operation("https://127.0.0.1:9/steal?api-version=2026-04-01")
    assert caught.value.code == "ForeignHost"


async def test_a_next_page_at_another_host_is_refused(azure: Azure) -> None:
    """Paging does not leave ARM's host either, so the list is not returned."""
    page = orjson.dumps({"value": [], "nextLink": "https://127.0.0.1:9/more"})
    azure.faces.break_with(when(LIST, FaultAnswer(200, body=page)))
    with pytest.raises(Refused):
        await azure.cloud.instances({})


async def test_a_wrong_token_is_refused(azure: Azure) -> None:
    """ARM's 401 names its code."""
    credential = SandboxCredential(Tokens(Random(99)))
    transport = trusting_transport(azure.faces)
    async with arm_client(credential, SUBSCRIPTION, azure.faces.arm_url, transport) as client:
        with pytest.raises(Refused) as caught:
            await FlexibleScaleSet(client, SCALE_SET_ID).scale_set()
    assert caught.value.code == "InvalidAuthenticationToken"


async def test_an_untrusted_certificate_is_no_answer(azure: Azure) -> None:
    """Without the sandbox's authority nothing is sent, not even a token."""
    azure.faces.journal.clear()
    credential = SandboxCredential(azure.faces.tokens)
    async with arm_client(credential, SUBSCRIPTION, azure.faces.arm_url) as client:
        with pytest.raises(TryNextTick):
            await FlexibleScaleSet(client, SCALE_SET_ID).scale_set()
    assert azure.actions == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Fri, 20 Nov 2026 09:01:00 GMT"}, None),
        (
            {"Retry-After": "Fri, 20 Nov 2026 09:01:00 GMT", "Date": "Fri, 20 Nov 2026 09:00:00 GMT"},
            60,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    """A date counts from the answer's own clock; what cannot be read is unknown."""
    assert retry_after_seconds(headers) == seconds
