"""
Drives the function app through the real worker library, with stand-ins for the host's messages.

Run by the Python that is deployed: `python drive.py <app folder> <function>[?query][@HTTP body] ...`.
Prints one JSON object: the functions that were indexed, and each invocation's outcome.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any


class Message:
    """A protobuf message as far as the library looks: fields by name, and which of a oneof is set."""

    def __init__(self, **fields: Any) -> None:
        """Set every field that is given."""
        self.__dict__.update(fields)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Whatever was set."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802  # protobuf's name
        """Name of the one field that is set."""
        return next(iter(self.__dict__), None)


class StatusResult(Message):
    """Outcome of a request."""

    Success, Failure = "success", "failure"


class BindingInfo(Message):
    """A binding's type and direction."""

    undefined, out, inout = 0, 1, 2


class Protos:
    """Every other message type is made when it is first asked for."""

    StatusResult = StatusResult
    BindingInfo = BindingInfo

    def __getattr__(self, name: str) -> type[Message]:
        """Make a message type of this name."""
        return type(name, (Message,), {})


def _request(**content: Any) -> SimpleNamespace:
    return SimpleNamespace(
        request=SimpleNamespace(**content), properties={"host": "127.0.0.1", "protos": Protos()}
    )


def _timer() -> Message:
    return Message(data=Message(json='{"IsPastDue": false, "ScheduleStatus": null, "Schedule": {}}'))


def _http(body: str | None, query: dict[str, str]) -> Message:
    sent = Message(bytes=(body or "").encode())
    method = "GET" if body is None else "POST"
    http = Message(method=method, url="https://app/api", headers={}, body=sent, params={}, query=query)
    return Message(data=Message(http=http))


async def main(folder: str, wanted: list[str]) -> dict[str, Any]:
    """Index the app in `folder`, load and invoke what is wanted."""
    from azure_functions_runtime import handle_event as worker
    from azure_functions_runtime.utils.threadpool import start_threadpool_executor

    os.chdir(folder)
    sys.path.insert(0, folder)
    start_threadpool_executor()
    init = SimpleNamespace(capabilities={}, function_app_directory=folder)
    answer = await worker.worker_init_request(_request(worker_init_request=init))
    if answer.result.status != StatusResult.Success:
        return {"indexed": None, "error": answer.result.exception.message}
    listed = await worker.functions_metadata_request(_request())
    by_name = {each.name: each for each in listed.function_metadata_results}
    calls = [await _invoke(worker, by_name, each) for each in wanted]
    indexed = {name: [json.loads(raw) for raw in each.raw_bindings] for name, each in by_name.items()}
    return {"indexed": indexed, "calls": calls}


async def _invoke(worker: Any, by_name: dict[str, Any], wanted: str) -> dict[str, Any]:
    name, has_body, body = wanted.partition("@")
    name, _, query = name.partition("?")
    function = by_name[name]
    trigger = next(json.loads(raw) for raw in function.raw_bindings if "trigger" in raw.lower())
    data = _timer() if trigger["type"] == "timerTrigger" else _http(body if has_body else None, _query(query))
    await worker.function_load_request(
        _request(function_load_request=SimpleNamespace(function_id=function.function_id))
    )
    # protobuf's oneof: the parameter's name is not part of it
    parameter = SimpleNamespace(name=trigger["name"], data=data.data, WhichOneof=lambda _group: "data")
    invocation = SimpleNamespace(
        invocation_id="1",
        function_id=function.function_id,
        input_data=[parameter],
        trigger_metadata={},
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    answer = await worker.invocation_request(_request(invocation_request=invocation))
    if answer.result.status != StatusResult.Success:
        return {"function": name, "error": answer.result.exception.message}
    http = getattr(answer.return_value, "http", None) if answer.return_value else None
    if http is None:
        return {"function": name, "ok": True}
    return {"function": name, "ok": True, "status": int(http.status_code), "body": _text(http.body)}


def _query(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split("&") if pair)


def _text(body: Message) -> str:
    value = body.bytes if hasattr(body, "bytes") else body.string
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2:]))))  # noqa: T201  # its one output
