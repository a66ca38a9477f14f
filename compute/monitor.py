"""Azure Monitor's platform metrics of VMs, as the engine's `Metrics` port."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from azure.core.rest import HttpRequest
from azure.monitor.querymetrics.aio import MetricsClient

from compute.failures import asking
from scaler.errors import TryNextTick
from scaler.model import Instance, PlatformLoad

API_VERSION: Final = "2024-02-01"
MOST_IDS_PER_CALL: Final = 50
WINDOW: Final = timedelta(minutes=8)
OLDEST: Final = timedelta(minutes=6)
NAMESPACE: Final = "Microsoft.Compute/virtualMachines"
NETWORK_IN, NETWORK_OUT, CPU = "Network In Total", "Network Out Total", "Percentage CPU"

_AGGREGATIONS: Final = {NETWORK_IN: "total", NETWORK_OUT: "total", CPU: "average"}

Point = tuple[datetime, float]
"""A minute and its value."""


class MonitorMetrics:
    """
    The machines of one subscription and region, as the metrics data plane sees them.

    Its newest one to three minutes are usually still empty, so these are a second opinion.
    """

    def __init__(self, client: MetricsClient) -> None:
        """`client`: of the region in which the machines run."""
        self._client = client

    async def read(self, instances: Sequence[Instance], now: datetime) -> Mapping[str, PlatformLoad]:
        """Newest minute of each machine, at most 6 minutes old; one without any is absent."""
        ids = [instance.resource_id for instance in instances]
        chunks = [ids[start : start + MOST_IDS_PER_CALL] for start in range(0, len(ids), MOST_IDS_PER_CALL)]
        answers = await asyncio.gather(*(self._ask(chunk, now) for chunk in chunks), return_exceptions=True)
        loads: dict[str, PlatformLoad] = {}
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            loads |= loads_of(answer, now)
        by_id = {instance.resource_id: instance.vm_id for instance in instances}
        return {by_id[resource_id]: load for resource_id, load in loads.items() if resource_id in by_id}

    async def _ask(self, resource_ids: list[str], now: datetime) -> object:
        """Not with `query_resources`: its results no longer tell which machine they are of."""
        end = now.astimezone(UTC).replace(second=0, microsecond=0)
        params = {
            "api-version": API_VERSION,
            "starttime": _iso(end - WINDOW),
            "endtime": _iso(end),
            "interval": "PT1M",
            "metricnamespace": NAMESPACE,
            "metricnames": ",".join(_AGGREGATIONS),
            "aggregation": "total,average",
        }
        url = f"/subscriptions/{resource_ids[0].split('/')[2]}/metrics:getBatch"
        request = HttpRequest("POST", url, params=params, json={"resourceids": resource_ids})
        async with asking("read platform metrics"):
            response = await self._client.send_request(request)
            response.raise_for_status()
            return response.json()


def loads_of(body: object, now: datetime) -> dict[str, PlatformLoad]:
    """Read the answer of a batch: newest known minute by resource id in lower case."""
    try:
        if not isinstance(body, Mapping):
            raise TypeError("no object")
        results = {str(result["resourceid"]).lower(): _points(result) for result in body["values"]}
        loads = {resource_id: _load(points, now) for resource_id, points in results.items()}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TryNextTick(f"platform metrics: answer not understood ({error!r})") from error
    return {resource_id: load for resource_id, load in loads.items() if load is not None}


def _load(points: Mapping[str, Sequence[Point]], now: datetime) -> PlatformLoad | None:
    newest = {name: _newest(points.get(name, ()), now) for name in _AGGREGATIONS}
    known = [point[0] for point in newest.values() if point is not None]
    if not known:
        return None
    # Metrics come in at different paces; the oldest minute used is the honest age of them all.
    return PlatformLoad(
        at=min(known),
        in_mbps=_mbps(newest[NETWORK_IN]),
        out_mbps=_mbps(newest[NETWORK_OUT]),
        cpu_fraction=_fraction(newest[CPU]),
    )


LARGEST = 1e15
"""Bytes of a minute or per cent: a thousand times what any machine moves, and sums of it stay numbers."""


def _newest(points: Sequence[Point], now: datetime) -> Point | None:
    fresh = [point for point in points if now - OLDEST <= point[0] <= now]
    return max(fresh, default=None)


def _points(result: Mapping[str, Any]) -> dict[str, list[Point]]:
    """Points that have a value, by metric. A minute without one is unknown, never zero."""
    found: dict[str, list[Point]] = {}
    for metric in result["value"]:
        name = metric["name"]["value"]
        field = _AGGREGATIONS.get(name, "total")
        found[name] = [
            (datetime.fromisoformat(point["timeStamp"]), float(point[field]))
            for series in metric["timeseries"]
            for point in series["data"]
            if _is_value(point.get(field))
        ]
    return found


def _is_value(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value <= LARGEST


def _mbps(point: Point | None) -> float | None:
    """Megabit per second of a minute's bytes: 63 GB in a minute are 8400 Mbps."""
    return None if point is None else point[1] * 8 / 60 / 1e6


def _fraction(point: Point | None) -> float | None:
    return None if point is None else point[1] / 100


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
