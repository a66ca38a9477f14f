"""Azure's failures, translated into what the caller must do about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.rest import AsyncHttpResponse

from compute.messages import error_text, one_line
from scaler.errors import Refused, ScalerError, StateChanged, Throttled, TryNextTick

READ_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 15.0

_PASSING_CONFLICTS: Final = frozenset(
    {"OperationPreempted", "Conflict", "AnotherOperationInProgress", "RetryableError"}
)
"""409 codes that say 'not just now'. Any other 409, quota above all, needs a person."""


@asynccontextmanager
async def asking(what: str, seconds: float = READ_SECONDS) -> AsyncIterator[None]:
    """
    Give a call to Azure `seconds`, and turn every way it can fail into an error of the ports.

    `what` names the call in the message. An answer that cannot be understood is no answer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except ScalerError:
        raise
    except TimeoutError as error:
        raise TryNextTick(f"{what}: no answer within {seconds:g} s") from error
    except HttpResponseError as error:
        raise _as_port_error(what, error) from error
    except AzureError as error:
        raise TryNextTick(f"{what}: {one_line(str(error))}") from error
    # The SDK's own parsing raises whatever it stumbles over in an unexpected body.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TryNextTick(f"{what}: answer not understood ({one_line(repr(error))})") from error


def _as_port_error(what: str, error: HttpResponseError) -> ScalerError:
    # A credential that got no token raises without any response: who we are is unknown, not refused.
    status = error.status_code or 0
    code, message = _code_and_message(error)
    said = f"{what}: {status or 'no answer'}, {code}: {message}"
    if status == 412:
        return StateChanged(said)
    if status == 429:
        return Throttled(said, retry_after_seconds(_response(error).headers))
    passing = status == 408 or (status == 409 and code in _PASSING_CONFLICTS)
    if status < 400 or status >= 500 or passing:
        return TryNextTick(said)
    return Refused(code, f"{what}: {message}")


def _code_and_message(error: HttpResponseError) -> tuple[str, str]:
    """ARM's own code and message; else the status and the reason."""
    code, message = error_text(_error_object(error))
    status = str(error.status_code or type(error).__name__)
    return code or status, message or one_line(error.reason or str(error))


def _error_object(error: HttpResponseError) -> object:
    if error.response is None:
        return None
    try:
        body: Any = _response(error).json()
    # Whatever is wrong with an error's body (not read, no JSON), the status still tells.
    except Exception:
        return None
    return body.get("error") if isinstance(body, Mapping) else None


def _response(error: HttpResponseError) -> AsyncHttpResponse:
    """The response in full; the SDK declares only what old and new responses share."""
    return cast(AsyncHttpResponse, error.response)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` asks for; a date counts from the answer's own `Date`."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        return _seconds_between(headers.get("Date"), value)


def _seconds_between(sent: str | None, again: str) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(again) - parsedate_to_datetime(sent or "")).total_seconds())
    except (ValueError, TypeError):
        return None
