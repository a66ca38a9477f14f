"""
A Compute Gallery and an Image Builder template, as the engine's `Images` port.

Asked through the ARM client of the scale set, as REST: the gallery's own models would only be read
field by field again, and the Image Builder package is one more to import for two calls.
"""

from __future__ import annotations

from typing import Any, Final

from azure.core.rest import HttpRequest
from azure.mgmt.compute.aio import ComputeManagementClient

from compute.failures import WRITE_SECONDS, asking
from compute.messages import Json, image_build_of, image_version_of, is_replicated
from compute.pages import values
from scaler.model import ImageBuild, ImageVersion

GALLERY_API_VERSION: Final = "2025-03-03"
TEMPLATE_API_VERSION: Final = "2024-02-01"
_NEWEST_LOOKED_AT: Final = 5
"""Replication is told only version by version; an older one than these is no news."""


class GalleryImages:
    """The galleries and templates that one ARM client may see, in any of its subscriptions."""

    def __init__(self, client: ComputeManagementClient) -> None:
        """`client`: whose endpoint and identity are used."""
        self._client = client

    async def versions(self, definition_id: str, location: str) -> tuple[ImageVersion, ...]:
        """List every version; the newest of them are usable only where they are replicated to `location`."""
        url: str | None = f"{definition_id}/versions"
        params: dict[str, str] | None = {"api-version": GALLERY_API_VERSION}
        found: list[ImageVersion] = []
        async with asking("list the image versions"):
            while url is not None:
                page = await self._json(HttpRequest("GET", url, params=params))
                params = None
                found += [image_version_of(each) for each in values(page)]
                url = page.get("nextLink") or None
        return tuple([await self._replicated(each, place, location) for place, each in _ranked(found)])

    async def _replicated(self, version: ImageVersion, place: int, location: str) -> ImageVersion:
        if not version.usable or place >= _NEWEST_LOOKED_AT:
            return version
        params = {"api-version": GALLERY_API_VERSION, "$expand": "ReplicationStatus"}
        async with asking(f"read image version {version.version}"):
            return is_replicated(
                version, await self._json(HttpRequest("GET", version.id, params=params)), location
            )

    async def delete_version(self, image: str) -> None:
        """Ask for the delete of one version, and do not wait for it."""
        await self._send("DELETE", image, GALLERY_API_VERSION, f"delete image version {image}")

    async def build(self, template_id: str) -> ImageBuild | None:
        """Read how the template's last run went."""
        params = {"api-version": TEMPLATE_API_VERSION}
        async with asking("read the image template"):
            return image_build_of(await self._json(HttpRequest("GET", template_id, params=params)))

    async def start_build(self, template_id: str) -> None:
        """Start a run, and do not wait for it."""
        await self._send("POST", f"{template_id}/run", TEMPLATE_API_VERSION, "start the image build")

    async def _send(self, method: str, path: str, api_version: str, what: str) -> None:
        async with asking(what, WRITE_SECONDS):
            request = HttpRequest(method, path, params={"api-version": api_version})
            (await self._client.send_request(request)).raise_for_status()

    async def _json(self, request: HttpRequest) -> Json:
        response = await self._client.send_request(request)
        response.raise_for_status()
        body: Any = response.json()
        return body if isinstance(body, dict) else {}


def _ranked(versions: list[ImageVersion]) -> list[tuple[int, ImageVersion]]:
    """Newest first, each with its place among the usable ones."""
    newest_first = sorted(versions, key=lambda v: v.order, reverse=True)
    place, ranked = 0, []
    for version in newest_first:
        ranked.append((place, version))
        place += version.usable
    return ranked
