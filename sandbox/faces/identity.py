"""The identity endpoint that the platform gives a function app, and the tokens that it hands out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any, Final

from sandbox.faces.http import Answer, Asked, Face, Stage, json_answer

PATH: Final = "/msi/token"
API_VERSION: Final = "2019-08-01"
EXPIRES_ON: Final = 4_102_444_800
"""The year 2100. The app's SDK judges by the machine's clock, which is not the world's."""


class Tokens:
    """Bearer tokens by the resource that they are good for."""

    def __init__(self, rng: Random) -> None:
        """`rng`: tokens are different in each world and the same in each run."""
        self._rng = rng
        self._by_resource: dict[str, str] = {}

    def issue(self, resource: str) -> str:
        """A token for a resource such as `https://management.azure.com`."""
        key = resource.rstrip("/")
        if key not in self._by_resource:
            self._by_resource[key] = f"sandbox-{self._rng.getrandbits(128):032x}"
        return self._by_resource[key]

    def accepts(self, headers: Mapping[str, str], resource: str) -> bool:
        """Whether a request carries the token of this resource."""
        token = self._by_resource.get(resource.rstrip("/"))
        return token is not None and headers.get("Authorization") == f"Bearer {token}"


class IdentityFace(Face):
    """`GET /msi/token`, in plain http as on the platform; a secret header keeps others out."""

    name = "identity"

    def __init__(self, stage: Stage, now: Callable[[], datetime], tokens: Tokens, secret: str) -> None:
        """`secret`: what `X-IDENTITY-HEADER` must say."""
        super().__init__(stage, now)
        self._tokens = tokens
        self._secret = secret

    def operation(self, asked: Asked) -> tuple[str, Mapping[str, Any]]:
        """The path, with the resource that is asked for."""
        return asked.path, {"resource": asked.query.get("resource", "")}

    def answer(self, asked: Asked) -> Answer:
        """Hand out a token, or say why not as the platform does."""
        if asked.path != PATH or asked.method != "GET":
            return Answer(404)
        if asked.headers.get("X-IDENTITY-HEADER") != self._secret:
            return json_answer({"statusCode": 401, "message": "Unauthorized"}, 401)
        resource = asked.query.get("resource", "")
        if asked.query.get("api-version") != API_VERSION or not resource:
            return json_answer({"statusCode": 400, "message": "Bad request"}, 400)
        return json_answer(
            {
                "access_token": self._tokens.issue(resource),
                "expires_on": str(EXPIRES_ON),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": asked.query.get("client_id", ""),
            }
        )
