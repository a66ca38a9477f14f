"""
Azure Resource Manager, as far as the scaler asks it: the calls below and no other.

An unknown path is 404 and a wrong api-version 400, so that whoever calls something new must
come here and say what Azure would answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

import orjson

from sandbox.cloud import SimOperation, SimScaleSet
from sandbox.faces.arm_bodies import (
    nic_body,
    operation_body,
    scale_set_body,
    template_body,
    version_body,
    vm_body,
)
from sandbox.faces.arm_premises import permissions_body, prefix_body, skus_body, usages_body
from sandbox.faces.http import Answer, Asked, Face, Stage, json_answer
from sandbox.faces.identity import Tokens
from sandbox.gallery import SimTemplate, SimVersion
from sandbox.world import World, WorldError

T = TypeVar("T")

COMPUTE_API: Final = "2026-04-01"
GALLERY_API: Final = "2025-03-03"
TEMPLATE_API: Final = "2024-02-01"
NETWORK_API: Final = "2025-05-01"
PERMISSIONS_API: Final = "2022-04-01"
SKUS_API: Final = "2021-07-01"

_GROUP: Final = r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/"
_SCALE_SET: Final = _GROUP + r"Microsoft\.Compute/virtualMachineScaleSets/(?P<name>[^/]+)"
_VERSIONS: Final = _GROUP + r"Microsoft\.Compute/galleries/[^/]+/images/[^/]+/versions"
_TEMPLATE: Final = _GROUP + r"Microsoft\.VirtualMachineImages/imageTemplates/[^/]+"
_FILTER: Final = re.compile(r"'virtualMachineScaleSet/id' eq '([^']+)'", re.IGNORECASE)
_SUBSCRIPTION_ONLY: Final = r"/subscriptions/(?P<subscription>[^/]+)/providers/"


class ArmError(Exception):
    """An answer with ARM's error body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """As ARM says it."""
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


Serve = Callable[[re.Match[str], Asked], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """One call: how it is recognised, what Azure's access control names it, who serves it."""

    method: str
    path: re.Pattern[str]
    action: str
    api_version: str
    serve: Serve


class ArmFace(Face):
    """The management endpoint, for bearers of a token of its own audience."""

    name = "arm"

    def __init__(self, stage: Stage, world: World, tokens: Tokens, page_size: int = 50) -> None:
        """`page_size`: most entries of one page of a list."""
        super().__init__(stage, lambda: world.now)
        self.url = ""
        """Own address, for links; known once it listens."""
        self.page_size = page_size
        self._world = world
        self._tokens = tokens
        self._routes = self._all_routes()

    def _all_routes(self) -> list[Route]:
        def route(method: str, path: str, action: str, serve: Serve, api: str = COMPUTE_API) -> Route:
            return Route(method, re.compile(path, re.IGNORECASE), action, api, serve)

        scale_set, vms = "Microsoft.Compute/virtualMachineScaleSets", "Microsoft.Compute/virtualMachines"
        nics = "Microsoft.Network/networkInterfaces"
        versions = "Microsoft.Compute/galleries/images/versions"
        templates = "Microsoft.VirtualMachineImages/imageTemplates"
        operations = _SUBSCRIPTION_ONLY + r"Microsoft\.Compute/locations/[^/]+/operations/(?P<id>[^/]+)"
        return [
            route("GET", _SCALE_SET, f"{scale_set}/read", self._get),
            route("PATCH", _SCALE_SET, f"{scale_set}/write", self._patch),
            route("POST", _SCALE_SET + "/delete", f"{scale_set}/delete/action", self._delete),
            route("GET", _GROUP + re.escape(vms), f"{vms}/read", self._list_vms),
            route("GET", _GROUP + re.escape(nics), f"{nics}/read", self._list_nics, NETWORK_API),
            route("GET", _VERSIONS, f"{versions}/read", self._list_versions, GALLERY_API),
            route("GET", _VERSIONS + "/[^/]+", f"{versions}/read", self._get_version, GALLERY_API),
            route("DELETE", _VERSIONS + "/[^/]+", f"{versions}/delete", self._delete_version, GALLERY_API),
            route("GET", _TEMPLATE, f"{templates}/read", self._get_template, TEMPLATE_API),
            route("POST", _TEMPLATE + "/run", f"{templates}/run/action", self._run_template, TEMPLATE_API),
            route("GET", operations, "Microsoft.Compute/locations/operations/read", self._operation),
            *self._premises(route),
        ]

    def _premises(self, route: Callable[..., Route]) -> list[Route]:
        """What preflight asks besides."""
        compute, prefixes = r"Microsoft\.Compute/", "Microsoft.Network/publicIPPrefixes"
        rights = r"(?P<scope>/subscriptions/.+?)/providers/Microsoft\.Authorization/permissions"
        usages = _SUBSCRIPTION_ONLY + compute + r"locations/(?P<location>[^/]+)/usages"

        def told(body: Callable[[re.Match[str]], dict[str, Any]]) -> Serve:
            return lambda match, _asked: json_answer(body(match))

        def sets(match: re.Match[str]) -> list[SimScaleSet]:
            return [s for s in self._world.scale_sets.values() if s.subscription == match["subscription"]]

        return [
            route(
                "GET",
                rights,
                "Microsoft.Authorization/permissions/read",
                told(lambda _match: permissions_body(self._stage.denied)),
                PERMISSIONS_API,
            ),
            route(
                "GET", usages, "Microsoft.Compute/locations/usages/read", told(lambda m: usages_body(sets(m)))
            ),
            route(
                "GET",
                _SUBSCRIPTION_ONLY + compute + "skus",
                "Microsoft.Compute/skus/read",
                told(lambda m: skus_body(sets(m))),
                SKUS_API,
            ),
            route(
                "GET",
                _GROUP + re.escape(prefixes) + "/(?P<name>[^/]+)",
                f"{prefixes}/read",
                told(lambda match: prefix_body(match[0])),
                NETWORK_API,
            ),
        ]

    # Requests in general

    def operation(self, asked: Asked) -> tuple[str, Mapping[str, Any]]:
        """The RBAC action, or the path where no call is known."""
        found = self._find(asked)
        details = {"method": asked.method, "path": asked.path, "query": asked.query, "body": asked.body}
        return (found[0].action if found else asked.path), details

    def answer(self, asked: Asked) -> Answer:
        """Serve a call, or refuse it in ARM's words."""
        try:
            return self._serve(asked)
        except (ArmError, WorldError) as error:
            return arm_error(error.status, error.code, error.message)

    def _find(self, asked: Asked) -> tuple[Route, re.Match[str]] | None:
        for route in self._routes:
            if route.method == asked.method and (match := route.path.fullmatch(asked.path)):
                return route, match
        return None

    def _serve(self, asked: Asked) -> Answer:
        if not self._tokens.accepts(asked.headers, self.url):
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is missing or invalid.")
        found = self._find(asked)
        if found is None:
            raise ArmError(404, "NotFound", f"{asked.method} {asked.path} is not served here.")
        route, match = found
        version = asked.query.get("api-version")
        if version != route.api_version:
            code = "InvalidApiVersionParameter" if version else "MissingApiVersionParameter"
            raise ArmError(400, code, f"The api-version '{version}' is not '{route.api_version}'.")
        if route.action in self._stage.denied:
            raise forbidden(route.action, asked.path)
        return route.serve(match, asked)

    # Scale sets

    def _scale_set(self, match: re.Match[str]) -> SimScaleSet:
        return self._world.scale_set(match[0])

    def _get(self, match: re.Match[str], asked: Asked) -> Answer:
        return json_answer(scale_set_body(self._scale_set(match)))

    def _patch(self, match: re.Match[str], asked: Asked) -> Answer:
        body, etag = _json(asked), asked.headers.get("If-Match")
        scale_set = self._scale_set(match)
        if not body.keys() <= {"sku", "tags", "properties"}:
            raise ArmError(400, "InvalidRequestContent", f"Cannot change {sorted(body)}.")
        if (image := _image_in(body)) is not None:
            self._world.set_image(scale_set.id, image, etag)
            etag = None
        if "tags" in body:
            self._world.set_tags(scale_set.id, body["tags"], etag)
            etag = None
        if "sku" not in body:
            return json_answer(scale_set_body(scale_set))
        operation = self._world.set_capacity(scale_set.id, _capacity_in(body, scale_set), etag)
        return json_answer(scale_set_body(scale_set), 200, self._links(scale_set, operation))

    def _delete(self, match: re.Match[str], asked: Asked) -> Answer:
        scale_set = self._world.scale_set(match[0].removesuffix("/delete"))
        ids = _json(asked).get("instanceIds")
        if not isinstance(ids, list) or not ids:
            raise ArmError(400, "InvalidParameter", "The value of parameter instanceIds is invalid.")
        operation = self._world.delete_instances(scale_set.id, ids)
        return Answer(202, headers=self._links(scale_set, operation))

    def _links(self, scale_set: SimScaleSet, operation: SimOperation) -> dict[str, str]:
        path = f"/subscriptions/{scale_set.subscription}/providers/Microsoft.Compute"
        base = f"{self.url}{path}/locations/{scale_set.location}/operations/{operation.id}"
        url = f"{base}?p=sandbox&api-version={COMPUTE_API}"
        return {"Azure-AsyncOperation": url, "Location": f"{url}&monitor=true"}

    def _operation(self, match: re.Match[str], asked: Asked) -> Answer:
        operation = self._world.operations.get(match["id"])
        if operation is None:
            raise ArmError(404, "NotFound", f"The operation {match['id']} was not found.")
        if "monitor" in asked.query:
            return Answer(202 if operation.status == "InProgress" else 200)
        return json_answer(operation_body(operation))

    # Galleries and templates

    def _list_versions(self, match: re.Match[str], asked: Asked) -> Answer:
        found = self._world.galleries.of(match[0].removesuffix("/versions"))
        return self._page(found, version_body, asked)

    def _version(self, match: re.Match[str]) -> SimVersion:
        version = self._world.galleries.versions.get(match[0].lower())
        if version is None:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{match[0]}' was not found.")
        return version

    def _get_version(self, match: re.Match[str], asked: Asked) -> Answer:
        version = self._version(match)
        told = asked.query.get("$expand") == "ReplicationStatus"
        return json_answer(version_body(version, self._world.now if told else None))

    def _delete_version(self, match: re.Match[str], asked: Asked) -> Answer:
        self._world.galleries.remove(self._version(match).id)
        return Answer(202)

    def _template(self, path: str) -> SimTemplate:
        template = self._world.galleries.templates.get(path.lower())
        if template is None:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{path}' was not found.")
        return template

    def _get_template(self, match: re.Match[str], asked: Asked) -> Answer:
        return json_answer(template_body(self._template(match[0])))

    def _run_template(self, match: re.Match[str], asked: Asked) -> Answer:
        template = self._template(match[0].removesuffix("/run"))
        if template.state == "Running":
            raise ArmError(409, "Conflict", "The template is already running.")
        self._world.galleries.run(template.id)
        return Answer(202)

    # Lists

    def _list_vms(self, match: re.Match[str], asked: Asked) -> Answer:
        wanted = _FILTER.fullmatch(asked.query.get("$filter", ""))
        if wanted is None or asked.query.get("$expand") != "instanceView":
            raise ArmError(
                400, "InvalidParameter", "Only one filter, with the instance view, is served here."
            )
        scale_set = self._world.scale_sets.get(wanted[1].lower())
        vms = list(scale_set.vms.values()) if scale_set else []
        return self._page(vms, vm_body, asked)

    def _list_nics(self, match: re.Match[str], asked: Asked) -> Answer:
        group = match["group"].lower()
        sets = [s for s in self._world.scale_sets.values() if s.resource_group.lower() == group]
        return self._page([vm for s in sets for vm in s.vms.values()], nic_body, asked)

    def _page(self, vms: list[T], body: Callable[[T], dict[str, Any]], asked: Asked) -> Answer:
        start = int(asked.query.get("$skiptoken", "0"))
        end = start + self.page_size
        page: dict[str, Any] = {"value": [body(vm) for vm in vms[start:end]]}
        if end < len(vms):
            query = {**asked.query, "$skiptoken": str(end)}
            text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
            page["nextLink"] = f"{self.url}{asked.path}?{text}"
        return json_answer(page)


def forbidden(action: str, path: str) -> ArmError:
    """The refusal of Azure's access control."""
    words = f"The client does not have authorization to perform action '{action}' over scope '{path}'."
    return ArmError(403, "AuthorizationFailed", words)


def arm_error(status: int, code: str, message: str) -> Answer:
    """ARM's error body."""
    return json_answer({"error": {"code": code, "message": message}}, status)


def _json(asked: Asked) -> dict[str, Any]:
    try:
        body = orjson.loads(asked.body)
    except orjson.JSONDecodeError as error:
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid.") from error
    if not isinstance(body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid.")
    return body


def _image_in(body: Mapping[str, Any]) -> str | None:
    profile = body.get("properties", {}).get("virtualMachineProfile", {})
    image = profile.get("storageProfile", {}).get("imageReference", {}).get("id")
    return image if isinstance(image, str) else None


def _capacity_in(body: Mapping[str, Any], scale_set: SimScaleSet) -> int:
    sku = body["sku"]
    if sku.get("name", scale_set.vm_size) != scale_set.vm_size:
        raise ArmError(400, "InvalidParameter", "The size of a scale set is not changed here.")
    capacity = sku.get("capacity")
    if not isinstance(capacity, int) or isinstance(capacity, bool):
        raise ArmError(400, "InvalidParameter", "The value of sku.capacity is not valid.")
    return capacity
