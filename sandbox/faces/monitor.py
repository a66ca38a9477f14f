"""The metrics data plane of Azure Monitor: one call, a batch of machines and minutes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from sandbox.faces.arm import ArmError, arm_error, forbidden
from sandbox.faces.http import Answer, Asked, Face, Stage, json_answer
from sandbox.faces.identity import Tokens
from sandbox.meter import MetricMinute
from sandbox.world import World

API_VERSION: Final = "2024-02-01"
AUDIENCE: Final = "https://metrics.monitor.azure.com"
MOST_IDS: Final = 50
NAMESPACE: Final = "microsoft.compute/virtualmachines"

_PATH: Final = re.compile(r"/subscriptions/[^/]+/metrics:getBatch", re.IGNORECASE)
_ACTION: Final = "Microsoft.Insights/metrics/read"
_METRICS: Final[Mapping[str, tuple[str, str, str]]] = {
    "Network In Total": ("in_bytes", "total", "Bytes"),
    "Network Out Total": ("out_bytes", "total", "Bytes"),
    "Percentage CPU": ("cpu_percent", "average", "Percent"),
}
"""Attribute of `MetricMinute`, aggregation and unit, by Azure's name."""


class MonitorFace(Face):
    """`POST /subscriptions/<id>/metrics:getBatch`."""

    name = "monitor"

    def __init__(self, stage: Stage, world: World, tokens: Tokens) -> None:
        """`tokens`: those of Monitor's own audience are accepted."""
        super().__init__(stage, lambda: world.now)
        self._world = world
        self._tokens = tokens

    def operation(self, asked: Asked) -> tuple[str, Mapping[str, Any]]:
        """The RBAC action, or the path where no call is known."""
        known = _PATH.fullmatch(asked.path) is not None
        return (_ACTION if known else asked.path), {"query": asked.query, "body": asked.body}

    def answer(self, asked: Asked) -> Answer:
        """Serve a batch, or refuse it."""
        try:
            return self._serve(asked)
        except ArmError as error:
            return arm_error(error.status, error.code, error.message)

    def _serve(self, asked: Asked) -> Answer:
        if not self._tokens.accepts(asked.headers, AUDIENCE):
            raise ArmError(401, "Unauthorized", "The access token is missing or invalid.")
        if asked.method != "POST" or _PATH.fullmatch(asked.path) is None:
            raise ArmError(404, "NotFound", f"{asked.method} {asked.path} is not served here.")
        if _ACTION in self._stage.denied:
            raise forbidden(_ACTION, asked.path)
        query = asked.query
        if query.get("api-version") != API_VERSION or query.get("interval") != "PT1M":
            raise ArmError(400, "BadRequest", "Only one api-version and one interval are served here.")
        if query.get("metricnamespace", "").lower() != NAMESPACE:
            raise ArmError(400, "BadRequest", "Only machines have metrics here.")
        ids = orjson.loads(asked.body).get("resourceids", [])
        if not 1 <= len(ids) <= MOST_IDS:
            raise ArmError(400, "BadRequest", f"A batch has 1 to {MOST_IDS} resources, not {len(ids)}.")
        return json_answer({"values": [self._result(resource_id, query) for resource_id in ids]})

    def _result(self, resource_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        start, end = (datetime.fromisoformat(query[name]) for name in ("starttime", "endtime"))
        count = max(0, int((end - start) / timedelta(minutes=1)))
        minutes = [start + timedelta(minutes=number) for number in range(count)]
        measured = [(minute, self._world.metric_minute(resource_id, minute)) for minute in minutes]
        names = [name for name in query.get("metricnames", "").split(",") if name in _METRICS]
        return {
            "starttime": query["starttime"],
            "endtime": query["endtime"],
            "interval": "PT1M",
            "namespace": NAMESPACE,
            "resourceregion": "westeurope",
            "resourceid": resource_id,
            "value": [_metric(name, measured) for name in names],
        }


def _metric(name: str, measured: list[tuple[datetime, MetricMinute | None]]) -> dict[str, Any]:
    attribute, aggregation, unit = _METRICS[name]
    # A minute that Monitor does not have yet is an entry without a value, as Azure shows it.
    data = [
        {"timeStamp": f"{minute:%Y-%m-%dT%H:%M:%SZ}"}
        | ({aggregation: getattr(value, attribute)} if value is not None else {})
        for minute, value in measured
    ]
    return {
        "id": f"metrics/{name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": name, "localizedValue": name},
        "unit": unit,
        "timeseries": [{"metadatavalues": [], "data": data}],
        "errorCode": "Success",
    }
