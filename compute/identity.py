"""Who we are to Azure: the managed identity that the platform gives the function app."""

from __future__ import annotations

from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import ManagedIdentityCredential


def managed_identity(client_id: str | None = None) -> AsyncTokenCredential:
    """
    Build the credential; the caller closes it.

    `client_id`: of a user-assigned identity; None means the system-assigned one. The platform
    tells in `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, read here, where tokens are to be had.
    """
    return ManagedIdentityCredential(client_id=client_id, retry_total=1)
