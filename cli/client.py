"""HTTP to the app, and its failures in words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import IO, Any

import click
import httpx

TIMEOUT_S = 60.0
"""A cold start, plus a whole tick where a command runs one."""


class Exit(IntEnum):
    """What the exit code says to a script."""

    OK = 0
    TROUBLE = 1
    """The answer is bad news: a broken link, an invalid configuration, a failed command."""
    USAGE = 2
    NOT_PERMITTED = 3
    UNREACHABLE = 4
    REFUSED = 5
    """The app says that the request makes no sense: a name that it does not know, a wrong value."""
    WAITING = 6
    """The command is written, and not carried out yet."""


class Failed(click.ClickException):
    """The question was not answered."""

    def __init__(self, code: Exit, message: str, hint: str = "") -> None:
        """`hint`: what to do about it."""
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance too
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Say what failed, and what to do about it, on standard error."""
        click.echo(f"jvb-autoscaler: {self.message}", file=file, err=file is None)
        if self.hint:
            click.echo(f"  {self.hint}", file=file, err=file is None)


class App:
    """One deployed app."""

    def __init__(
        self,
        url: str,
        key: str | None,
        command_key: str | None,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        `url`: with or without `/api`; `command_key`: None where one key opens everything.

        `token`: what the app's own sign-in takes besides, where it is on.
        """
        self.url = url.rstrip("/").removesuffix("/api")
        self._key, self._command_key = key, command_key or key
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            timeout=TIMEOUT_S, transport=transport, headers=headers, follow_redirects=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, name: str, **params: str | None) -> Any:
        """Ask a function; return its JSON. Raises `Failed`."""
        return self._json(self._ask("GET", name, self._key, _given(params)))

    def text(self, name: str, **params: str | None) -> str:
        """Ask a function for something other than JSON. Raises `Failed`."""
        return self._ask("GET", name, self._key, _given(params)).text

    def command(self, body: Mapping[str, Any]) -> Any:
        """Send an operator's command. Raises `Failed`."""
        return self._json(self._ask("POST", "commands", self._command_key, {}, body))

    def _ask(
        self,
        method: str,
        name: str,
        key: str | None,
        params: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        url, headers = f"{self.url}/api/{name}", {"x-functions-key": key} if key else {}
        try:
            answer = self._http.request(method, url, params=params, headers=headers, json=body)
        except httpx.TimeoutException as error:
            hint = "an app that was idle takes a while to start: try again"
            raise Failed(Exit.UNREACHABLE, f"{url} did not answer within {TIMEOUT_S:g} s", hint) from error
        except httpx.HTTPError as error:
            hint = "is the URL right, and does the app allow this network?"
            raise Failed(Exit.UNREACHABLE, f"{url} cannot be reached: {error}", hint) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Failed(Exit.USAGE, f"{url!r} is no URL: {error}", "it begins with https://") from error
        if answer.is_success:
            return answer
        raise _failure(answer, url, name)

    @staticmethod
    def _json(answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            hint = "does the URL lead to the function app itself, and not to a sign-in page?"
            raise Failed(Exit.UNREACHABLE, f"{answer.url} did not answer with JSON", hint) from error


def _given(params: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value is not None}


def _failure(answer: httpx.Response, url: str, name: str) -> Failed:
    said = _said(answer)
    match answer.status_code:
        case 401:
            which = (
                "JVB_AUTOSCALER_COMMAND_KEY or --command-key" if name == "commands" else "JVB_AUTOSCALER_KEY"
            )
            hint = f"give the key of the function `{name}`, or the host's, in {which}"
            return Failed(Exit.NOT_PERMITTED, f"{url} wants a key, or another one (401)", hint)
        case 403:
            hint = "the app's access restrictions or its sign-in keep you out: ask who runs it"
            return Failed(Exit.NOT_PERMITTED, f"{url} forbids it (403)", hint)
        case 404 if not said:
            hint = "is the URL right, and is the app of this version?"
            return Failed(Exit.UNREACHABLE, f"{url} does not exist (404)", hint)
        case status if 300 <= status < 400:
            hint = "its sign-in is on: give a token in JVB_AUTOSCALER_TOKEN, see docs/dashboard.md"
            return Failed(Exit.NOT_PERMITTED, f"{url} leads elsewhere ({status})", hint)
        case status if 400 <= status < 500:
            return Failed(Exit.REFUSED, said or f"{url} refuses it ({status})")
    return Failed(Exit.UNREACHABLE, said or f"{url} fails ({answer.status_code})", "see the app's log")


def _said(answer: httpx.Response) -> str:
    """What the app itself says, every fault on a line."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    if not isinstance(body, dict) or "error" not in body:
        return ""
    faults = body.get("faults")
    return "\n".join(map(str, faults)) if faults else str(body["error"])
