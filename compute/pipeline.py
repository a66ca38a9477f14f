"""
How requests leave for Azure: one host, short retries, no sleeping, no log line each.

The SDK's own pipeline retries up to ten times, sleeps as long as any `Retry-After` says, follows
a link to whichever host it names with our token, and answers 'provider not registered' by
registering it. A scaler that lives for a minute and only does what it decided wants none of it.
"""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRetryPolicy,
    CustomHookPolicy,
    HeadersPolicy,
    RequestIdPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.monitor.querymetrics.aio import MetricsClient

from compute.failures import retry_after_seconds
from scaler.errors import Refused

RETRIES: Final = 2
LONGEST_PAUSE_SECONDS: Final = 2.0
_PUBLIC_METRICS_AUDIENCE: Final = "https://metrics.monitor.azure.com"

Transport = AsyncHttpTransport[Any, Any]


class ShortRetries(AsyncRetryPolicy[Any, Any]):
    """
    Retries reads that failed for a moment, and nothing else.

    A write is never repeated: its answer may be lost with the work done. Nor is a 429: it
    must reach the caller with its `Retry-After`, and the next tick is the retry.
    """

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Whether this answer is worth asking again within this tick."""
        answer = response.http_response
        pause = retry_after_seconds(answer.headers)
        if response.http_request.method != "GET" or answer.status_code == 429:
            return False
        if pause is not None and pause > LONGEST_PAUSE_SECONDS:
            return False
        return super().is_retry(settings, response)


class OneHost(SansIOHTTPPolicy[Any, Any]):
    """Refuses to send a request, and the token with it, anywhere but to the endpoint."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: URL whose scheme, host and port every request must have."""
        self._origin = _origin(endpoint)

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Raise `Refused` for a link (next page, operation) that leads elsewhere."""
        origin = _origin(request.http_request.url)
        if origin != self._origin:
            raise Refused("ForeignHost", f"a link leads to {origin[1]}, not to {self._origin[1]}")


def arm_client(
    credential: AsyncTokenCredential,
    subscription_id: str,
    arm_endpoint: str = "https://management.azure.com",
    transport: Transport | None = None,
) -> ComputeManagementClient:
    """
    Build the client of one subscription; the caller closes it.

    `arm_endpoint` also names the audience of the token, which is how sovereign clouds have it.
    `transport`: None makes one that trusts the system's authorities, or `SSL_CERT_FILE`.
    """
    endpoint = arm_endpoint.rstrip("/")
    scope = f"{endpoint}/.default"
    authentication = AsyncARMChallengeAuthenticationPolicy(credential, scope)
    return ComputeManagementClient(
        credential,
        subscription_id,
        base_url=endpoint,
        credential_scopes=[scope],
        policies=_policies(endpoint, authentication),
        **_given(transport),
    )


def metrics_client(
    credential: AsyncTokenCredential, metrics_endpoint: str, transport: Transport | None = None
) -> MetricsClient:
    """Build the client of one region's metrics data plane; the caller closes it."""
    endpoint = metrics_endpoint.rstrip("/")
    scope = f"{_metrics_audience(endpoint)}/.default"
    authentication = AsyncBearerTokenCredentialPolicy(credential, scope)
    return MetricsClient(
        endpoint, credential, policies=_policies(endpoint, authentication), **_given(transport)
    )


def quiet_sdk_logging() -> None:
    """Keep the SDKs' chatter out of the function's log; warnings stay."""
    for name in ("azure.core.pipeline", "azure.identity", "azure.monitor", "azure.mgmt"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _policies(endpoint: str, authentication: object) -> list[object]:
    return [
        OneHost(endpoint),
        RequestIdPolicy(),
        HeadersPolicy(),
        UserAgentPolicy("jvb-autoscaler"),
        ShortRetries(retry_total=RETRIES, retry_backoff_factor=0.2),
        authentication,
        CustomHookPolicy(),
    ]


def _metrics_audience(endpoint: str) -> str:
    """`https://<region>.metrics.monitor.<cloud>` without its region; else that of the public cloud."""
    _, _, rest = (urlsplit(endpoint).hostname or "").partition(".")
    return f"https://{rest}" if rest.startswith("metrics.monitor.") else _PUBLIC_METRICS_AUDIENCE


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, f"{(parts.hostname or '').lower()}:{port}"


def _given(transport: Transport | None) -> dict[str, Any]:
    return {} if transport is None else {"transport": transport}
