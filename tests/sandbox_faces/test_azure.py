"""ARM, Monitor and the identity endpoint where they refuse; what they serve, tests/compute asks."""

from __future__ import annotations

import httpx
import pytest

from sandbox.faces.server import Faces
from tests.sandbox_faces.served import GROUP, SCALE_SET_ID, SUBSCRIPTION

COMPUTE, NETWORK = "2026-04-01", "2025-05-01"


def bearer(served: Faces, resource: str | None = None) -> dict[str, str]:
    """The header of somebody with a token."""
    return {"Authorization": f"Bearer {served.tokens.issue(resource or served.arm_url)}"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{SCALE_SET_ID}?api-version={COMPUTE}", 200, None),
        ("GET", f"{SCALE_SET_ID.upper()}?api-version={COMPUTE}", 200, None),
        ("GET", SCALE_SET_ID, 400, "MissingApiVersionParameter"),
        ("GET", f"{SCALE_SET_ID}?api-version=2020-01-01", 400, "InvalidApiVersionParameter"),
        ("GET", f"{SCALE_SET_ID}x?api-version={COMPUTE}", 404, "ResourceNotFound"),
        ("PUT", f"{SCALE_SET_ID}?api-version={COMPUTE}", 404, "NotFound"),
        ("DELETE", f"{SCALE_SET_ID}?api-version={COMPUTE}", 404, "NotFound"),
        ("GET", f"{SCALE_SET_ID}/instanceView?api-version={COMPUTE}", 404, "NotFound"),
        ("POST", f"{SCALE_SET_ID}/delete?api-version={COMPUTE}", 400, "InvalidRequestContent"),
        (
            "GET",
            f"{GROUP}/providers/Microsoft.Compute/virtualMachines?api-version={COMPUTE}",
            400,
            "InvalidParameter",
        ),
        ("GET", f"{GROUP}/providers/Microsoft.Network/networkInterfaces?api-version={NETWORK}", 200, None),
    ],
)
async def test_arm_serves_its_calls_and_no_others(
    served: Faces, http: httpx.AsyncClient, method: str, path: str, status: int, code: str | None
) -> None:
    """Whatever the scaler does not need is refused, in ARM's own words."""
    answer = await http.request(method, served.arm_url + path, headers=bearer(served))
    assert answer.status_code == status
    assert code is None or answer.json()["error"]["code"] == code


async def test_arm_wants_a_token_of_its_own(served: Faces, http: httpx.AsyncClient) -> None:
    """No token, and a token for something else, are 401."""
    url = f"{served.arm_url}{SCALE_SET_ID}?api-version={COMPUTE}"
    assert (await http.get(url)).status_code == 401
    stranger = bearer(served, "https://metrics.monitor.azure.com")
    assert (await http.get(url, headers=stranger)).status_code == 401


async def test_a_model_can_be_given_another_image(served: Faces, http: httpx.AsyncClient) -> None:
    """A PATCH of the image changes the model, creates nothing and keeps the capacity."""
    profile = {"storageProfile": {"imageReference": {"id": "/galleries/g/images/jvb/versions/2.0.0"}}}
    url = f"{served.arm_url}{SCALE_SET_ID}?api-version={COMPUTE}"
    body = {"properties": {"virtualMachineProfile": profile}}
    assert (await http.patch(url, json=body, headers=bearer(served))).status_code == 200
    scale_set = served.world.scale_set(SCALE_SET_ID)
    assert (scale_set.image, scale_set.capacity) == ("/galleries/g/images/jvb/versions/2.0.0", 2)


async def test_the_journal_names_what_access_control_would_ask_for(
    served: Faces, http: httpx.AsyncClient
) -> None:
    """Each call stands in the journal with its action and status."""
    await http.get(f"{served.arm_url}{SCALE_SET_ID}?api-version={COMPUTE}", headers=bearer(served))
    await http.get(f"{served.arm_url}/subscriptions/x", headers=bearer(served))
    assert [call[1:] for call in served.journal] == [
        ("arm", "GET", "Microsoft.Compute/virtualMachineScaleSets/read", 200),
        ("arm", "GET", "/subscriptions/x", 404),
    ]


async def test_monitor_limits_a_batch(served: Faces, http: httpx.AsyncClient) -> None:
    """More than fifty machines in a call are refused as by the real service."""
    url = f"{served.monitor_url}/subscriptions/{SUBSCRIPTION}/metrics:getBatch"
    params = {
        "api-version": "2024-02-01",
        "interval": "PT1M",
        "metricnamespace": "Microsoft.Compute/virtualMachines",
    }
    token = bearer(served, "https://metrics.monitor.azure.com")
    body = {"resourceids": ["/x"] * 51}
    assert (await http.post(url, params=params, json=body, headers=token)).status_code == 400
    assert (await http.post(url, params=params, json=body)).status_code == 401


async def test_the_identity_endpoint_knows_its_app(served: Faces, http: httpx.AsyncClient) -> None:
    """Tokens are given only to those who know the header, and for a resource."""
    secret = {"X-IDENTITY-HEADER": served.identity_header}
    ask = {"api-version": "2019-08-01", "resource": served.arm_url}
    assert (await http.get(served.identity_url, params=ask)).status_code == 401
    assert (await http.get(served.identity_url, params={}, headers=secret)).status_code == 400
    token = (await http.get(served.identity_url, params=ask, headers=secret)).json()
    assert token["access_token"] == served.tokens.issue(served.arm_url)
