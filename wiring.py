"""The one place that builds things: settings -> clients -> ports -> engine. Nothing at import."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson

from scaler import answers, desk
from scaler.boots import NotTaken, Refusal
from scaler.callbacks import BootCalls
from scaler.costs import prices_over
from scaler.errors import ConfigurationInvalid, LeaseHeld, Refused, StateChanged, TryNextTick
from scaler.exposition import CONTENT_TYPE
from scaler.inspection import Inspector, Surroundings
from scaler.minutes import DAY, STEPS
from scaler.ports import Clock, Metrics
from scaler.reckon import Books, reckon
from scaler.tick import ALERT_PACE, Engine, Shard
from settings import Settings, ShardSettings, from_env

EVENTS_TOLD = 100
LONGEST_USAGE = timedelta(days=31)

_BOOT_REFUSED = {
    Refusal.TOO_LARGE: 413,
    Refusal.NOT_UNDERSTOOD: 400,
    Refusal.NOT_OURS: 403,
    Refusal.NOT_BOOTING: 409,
    Refusal.TOO_MANY: 429,
}
_BOOT_LATER = {"error": "not now: try again in some seconds"}

log = logging.getLogger("jvb_autoscaler")


class SystemClock:
    """The machine's clock: the only place that reads it."""

    def now(self) -> datetime:
        """Return the present moment, UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    mimetype: str = "application/json"


def _json(status: int, value: Any) -> Answer:
    return Answer(status, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    # A plus sign that was not escaped arrives as a blank.
    moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return moment.astimezone(UTC)


def _asked_usage(asked: Mapping[str, str], now: datetime) -> tuple[datetime, datetime, int, str]:
    """Read `from`, `to`, `step` and `format`; raises `ValueError` with what is allowed."""
    try:
        until = _day_or_moment(asked.get("to"), after=1) or now
        since = _day_or_moment(asked.get("from")) or until - timedelta(days=1)
        if not timedelta(0) < until - since <= LONGEST_USAGE:
            raise ValueError(f"{since} to {until}")
    except (ValueError, OverflowError) as error:
        days = LONGEST_USAGE.days
        raise ValueError(
            f"from, to: days (2026-03-04) or ISO times with their zone, at most {days} days apart ({error})"
        ) from error
    step, form = asked.get("step") or "1", asked.get("format") or "json"
    if step not in (*map(str, STEPS), "day"):
        raise ValueError(f"step: is {step!r}, allowed: {', '.join(map(str, STEPS))} minutes, or day")
    if form not in ("json", "csv"):
        raise ValueError(f"format: is {form!r}, allowed: json or csv")
    return since, until, DAY if step == "day" else int(step), form


def _day_or_moment(text: str | None, after: int = 0) -> datetime | None:
    """Read a moment, or the beginning of a UTC day; `after`: of the day so many days later."""
    if text and len(text) == len("2026-03-04"):
        return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=after)
    return _moment(text)


def _between(low: int, value: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"limit is {value}")
    return value


class Application(Protocol):
    """What the triggers call."""

    async def tick(self) -> None:
        """One tick of every shard."""
        ...

    async def nightly(self) -> None:
        """One tick of every shard, which may open its night."""
        ...

    async def alert(self, body: bytes) -> Answer:
        """One tick of the shard that an alert names."""
        ...

    async def status(self, form: str | None = None) -> Answer:
        """Every shard as its last tick left it; `csv`: its bridges."""
        ...

    async def explain(self, shard: str | None, bridge: str | None) -> Answer:
        """Why it is as it is."""
        ...

    async def plan(self, shard: str | None) -> Answer:
        """One dry tick."""
        ...

    async def doctor(self, shard: str | None) -> Answer:
        """Name the first broken link of each bridge."""
        ...

    async def preflight(self, shard: str | None) -> Answer:
        """What is missing before the app can do its work."""
        ...

    async def events(self, asked: Mapping[str, str]) -> Answer:
        """What happened."""
        ...

    async def usage(self, asked: Mapping[str, str]) -> Answer:
        """Figures of each minute."""
        ...

    async def metrics(self) -> Answer:
        """Every shard for Prometheus."""
        ...

    async def command(self, body: bytes, signed_in_as: str | None) -> Answer:
        """Take an operator's command."""
        ...

    async def boot(self, body: bytes, forwarded_for: str | None) -> Answer:
        """Take a machine's call-back about its own boot."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Running:
    """The application with a valid configuration."""

    def __init__(
        self,
        engine: Engine,
        make_tables: Callable[[], Awaitable[None]],
        resources: AsyncExitStack,
        inspector: Inspector,
        books: Books,
    ) -> None:
        """`make_tables` is called before each question; `resources` are closed with it."""
        self.books = books
        self.engine, self._make_tables, self._resources = engine, make_tables, resources
        self._inspector = inspector
        self.boots = BootCalls(engine, uuid.uuid4().hex[:8])

    async def tick(self) -> None:
        """One tick of every shard; what failed is logged and does not raise."""
        if await self._has_its_tables():
            await self.engine.tick_all()

    async def nightly(self) -> None:
        """One tick of every shard, which may open its night or start its image build; then its usage."""
        if await self._has_its_tables():
            await self.engine.nightly()
            # Behind the ticks, so that nothing that scales waits for a report.
            now, shards = self.engine.clock.now(), self.engine.shards.items()
            await asyncio.gather(*(reckon(self.books, name, shard.policy, now) for name, shard in shards))

    async def _has_its_tables(self) -> bool:
        try:
            await self._make_tables()
        except (TryNextTick, Refused) as error:
            log.error("tables unavailable, nothing is done: %s", error)
            return False
        return True

    async def alert(self, body: bytes) -> Answer:
        """202 once the named shard had its tick, or needed none; 4xx for a body that is no alert."""
        from compute.alerts import AlertMalformed, targets

        try:
            ids = targets(body)
        except AlertMalformed as error:
            return _json(400, {"error": str(error)})
        names = sorted({name for each in ids if (name := self.engine.shard_of(each)) is not None})
        if not names:
            return _json(404, {"error": f"alertTargetIDs: none is a scale set of this app: {', '.join(ids)}"})
        return await self._answered(202, lambda: self._tick_now(names))

    async def _tick_now(self, names: list[str]) -> dict[str, Any]:
        reports = await asyncio.gather(*(self.engine.tick(name, pace=ALERT_PACE) for name in names))
        return {"shards": [{"shard": r.shard, "result": r.result, "sentence": r.sentence} for r in reports]}

    async def status(self, form: str | None = None) -> Answer:
        """Every shard as its last tick left it; `csv`: its bridges."""
        if form not in (None, "json", "csv"):
            return _json(400, {"error": f"format: is {form!r}, allowed: json or csv"})
        if form == "csv":
            return await self._sheet(lambda: answers.status_sheet(self.engine))
        return await self._answered(200, self._status)

    async def _status(self) -> dict[str, Any]:
        return {**await answers.status(self.engine), "boot_calls": self.boots.counts()}

    async def _sheet(self, question: Callable[[], Awaitable[str]]) -> Answer:
        try:
            await self._make_tables()
            return Answer(200, (await question()).encode(), "text/csv")
        except KeyError as error:
            return _json(404, {"error": error.args[0]})
        except (TryNextTick, Refused) as error:
            return _json(503, {"error": f"the tables do not answer: {error}"})

    async def explain(self, shard: str | None, bridge: str | None) -> Answer:
        """Why it is as it is."""
        return await self._answered(200, lambda: answers.explain(self.engine, shard, bridge))

    async def plan(self, shard: str | None) -> Answer:
        """One dry tick."""
        return await self._answered(200, lambda: answers.plan(self.engine, shard))

    async def doctor(self, shard: str | None) -> Answer:
        """The first broken link of each bridge."""
        return await self._answered(200, lambda: answers.doctor(self.engine, shard))

    async def preflight(self, shard: str | None) -> Answer:
        """Rights, quota, addresses, settings and endpoints that are missing, each with its fix."""
        try:
            return _json(200, await self._inspector.inspect(shard))
        except KeyError as error:
            return _json(404, {"error": error.args[0]})

    async def events(self, asked: Mapping[str, str]) -> Answer:
        """What happened after `since`; 400 where `since` or `limit` cannot be read."""
        try:
            since = _moment(asked.get("since"))
            limit = _between(1, int(asked.get("limit") or EVENTS_TOLD), 1000)
        except (ValueError, OverflowError) as error:
            fault = f"since: an ISO time with its zone, as 2026-03-04T12:00:00Z; limit: 1 to 1000 ({error})"
            return _json(400, {"error": fault})
        return await self._answered(
            200, lambda: answers.events(self.engine, asked.get("shard"), since, limit)
        )

    async def usage(self, asked: Mapping[str, str]) -> Answer:
        """Figures of each minute, or of each `step`; 400 where a field cannot be read."""
        try:
            since, until, step, form = _asked_usage(asked, self.engine.clock.now())
        except ValueError as error:
            return _json(400, {"error": str(error)})
        shard, engine, books = asked.get("shard"), self.engine, self.books
        if form == "csv":
            return await self._sheet(lambda: answers.usage_sheet(engine, books, shard, since, until, step))
        return await self._answered(200, lambda: answers.usage(engine, books, shard, since, until, step))

    async def metrics(self) -> Answer:
        """Every shard in the Prometheus text format; 503 where there are no tables at all."""
        try:
            await self._make_tables()
        except (TryNextTick, Refused) as error:
            return _json(503, {"error": f"the tables do not answer: {error}"})
        return Answer(200, (await answers.metrics(self.engine)).encode(), CONTENT_TYPE)

    async def command(self, body: bytes, signed_in_as: str | None) -> Answer:
        """
        202 with the command as the tick left it; 400 with every fault, 404 for what is not known, 409.

        `signed_in_as`: whom the platform's own sign-in names; without it the body's `by` counts.
        """
        try:
            sent = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return _json(400, {"error": "the body is not JSON", "faults": [str(error)]})
        new_id = f"{self.engine.clock.now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        try:
            return await self._answered(202, lambda: desk.take(self.engine, sent, new_id, signed_in_as))
        except desk.NotUnderstood as error:
            return _json(400, {"error": str(error), "faults": error.faults})
        except desk.IdTaken as error:
            return _json(409, {"error": str(error)})

    async def boot(self, body: bytes, forwarded_for: str | None) -> Answer:
        """202 once the remark stands in the machine's row; 4xx for what is not taken; 503: again later."""
        try:
            await self._make_tables()
            await self.boots.take(body, forwarded_for)
        except NotTaken as error:
            return _json(_BOOT_REFUSED[error.refusal], {"error": str(error), "refusal": error.refusal})
        except (LeaseHeld, StateChanged, TryNextTick, Refused):
            return _json(503, _BOOT_LATER)
        return _json(202, {"taken": True})

    async def _answered(self, status: int, question: Callable[[], Awaitable[dict[str, Any]]]) -> Answer:
        try:
            await self._make_tables()
            return _json(status, await question())
        except KeyError as error:
            return _json(404, {"error": error.args[0]})
        except (TryNextTick, Refused) as error:
            return _json(503, {"error": f"the tables do not answer: {error}"})

    async def close(self) -> None:
        """Close every connection."""
        await self._resources.aclose()


class Misconfigured:
    """The application with an invalid configuration: it says so, and touches nothing."""

    def __init__(self, faults: list[str], clock: Clock) -> None:
        """`faults`: one sentence each."""
        self._faults, self._clock = faults, clock

    async def tick(self) -> None:
        """Log every fault; nothing else."""
        log.error("configuration invalid, nothing is done: %s", "; ".join(self._faults))

    async def nightly(self) -> None:
        """Nothing: the tick says why."""

    async def alert(self, body: bytes) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def status(self, form: str | None = None) -> Answer:
        """The faults."""
        return _json(200, answers.status_of_invalid(self._faults, self._clock.now()))

    async def explain(self, shard: str | None, bridge: str | None) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def plan(self, shard: str | None) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def doctor(self, shard: str | None) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def preflight(self, shard: str | None) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def events(self, asked: Mapping[str, str]) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def usage(self, asked: Mapping[str, str]) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def metrics(self) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def command(self, body: bytes, signed_in_as: str | None) -> Answer:
        """503 with the faults."""
        return self._unavailable()

    async def boot(self, body: bytes, forwarded_for: str | None) -> Answer:
        """503 without the faults: anybody may ask."""
        return _json(503, _BOOT_LATER)

    async def close(self) -> None:
        """Nothing was opened."""

    def _unavailable(self) -> Answer:
        return _json(503, {"error": "the configuration is invalid", "faults": self._faults})


async def engine(env: Mapping[str, str], clock: Clock | None = None) -> Application:
    """
    Build the application from its settings. An invalid configuration gives one that says so.

    Makes no call: tables and tokens are asked for when they are first needed.
    """
    clock = clock or SystemClock()
    try:
        settings = from_env(env)
    except ConfigurationInvalid as error:
        return Misconfigured(error.faults, clock)
    return _build(settings, clock)


def _build(settings: Settings, clock: Clock) -> Running:
    # The SDKs are imported here, so that a cold start of status pays only for what it needs.
    from colibri.client import colibri_http_client
    from compute.identity import managed_identity
    from compute.pipeline import quiet_sdk_logging
    from compute.prices import LIST_PRICES
    from compute.sizes import size_of
    from state.store import table_store

    quiet_sdk_logging()
    resources = AsyncExitStack()
    credential = managed_identity(settings.client_id)
    resources.push_async_callback(credential.close)
    store = table_store(
        connection_string=settings.tables_connection_string,
        endpoint=settings.tables_endpoint,
        credential=credential,
        prefix=settings.tables_prefix,
    )
    resources.push_async_callback(store.close)
    http = colibri_http_client()
    resources.push_async_callback(http.close)
    build = _ShardBuilder(settings, clock, credential, http, resources)
    scaler = Engine(
        [build.shard(shard) for shard in settings.shards],
        store,
        clock,
        run_id=uuid.uuid4().hex[:12],
        owner=settings.owner,
        size_of=size_of,
        dry_run=settings.dry_run,
    )
    prices = prices_over(LIST_PRICES, settings.prices)
    inspector = Inspector(scaler, settings.owner, build.surroundings, store.ensure_tables)
    return Running(scaler, store.ensure_tables, resources, inspector, Books(store, prices))


class _ShardBuilder:
    """Builds shards that share one ARM client a subscription and one Monitor client an endpoint."""

    def __init__(
        self, settings: Settings, clock: Clock, credential: Any, http: Any, resources: AsyncExitStack
    ) -> None:
        self._settings, self._clock, self._credential = settings, clock, credential
        self._http, self._resources = http, resources
        self._arm: dict[str, Any] = {}
        self._monitors: dict[str, Metrics] = {}
        self.surroundings: dict[str, Surroundings] = {}
        """What preflight asks, by shard."""

    def shard(self, shard: ShardSettings) -> Shard:
        from colibri.client import ColibriClient
        from compute.flexible import FlexibleScaleSet
        from compute.gallery import GalleryImages
        from compute.premises import AzurePremises
        from scaler.observe import Ears

        arm = self._arm_client(shard.subscription_id)
        self.surroundings[shard.name] = AzurePremises(arm)
        cloud, images = FlexibleScaleSet(arm, shard.scale_set_id), GalleryImages(arm)
        bridges = ColibriClient(self._http, self._clock, port=shard.bridge_port)
        metrics = self._monitor(shard.metrics_endpoint) if shard.metrics_endpoint else None
        return Shard(
            shard.name,
            shard.scale_set_id,
            shard.policy,
            Ears(cloud, bridges, metrics, images),
            shard.bridge_port,
        )

    def _arm_client(self, subscription_id: str) -> Any:
        from compute.pipeline import arm_client

        if subscription_id not in self._arm:
            client = arm_client(self._credential, subscription_id, self._settings.arm_endpoint)
            self._resources.push_async_callback(client.close)
            self._arm[subscription_id] = client
        return self._arm[subscription_id]

    def _monitor(self, endpoint: str) -> Metrics:
        from compute.monitor import MonitorMetrics
        from compute.pipeline import metrics_client

        if endpoint not in self._monitors:
            client = metrics_client(self._credential, endpoint)
            self._resources.push_async_callback(client.close)
            self._monitors[endpoint] = MonitorMetrics(client)
        return self._monitors[endpoint]


Factory = Callable[[Mapping[str, str]], Awaitable[Application]]

factory: Factory = engine
"""What builds the application of this process. The sandbox puts its own clock here, nothing else."""

_applications: dict[asyncio.AbstractEventLoop, asyncio.Task[Application]] = {}


async def application() -> Application:
    """The application of this process and loop, built once, at the first trigger."""
    loop = asyncio.get_running_loop()
    building = _applications.get(loop)
    if building is None or (building.done() and building.exception() is not None):
        _applications.clear()  # a loop that ended took its connections with it
        _applications[loop] = loop.create_task(factory(os.environ))  # type: ignore[arg-type]
    return await asyncio.shield(_applications[loop])
