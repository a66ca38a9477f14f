"""
The private API of a bridge without its transport: answers in, plain values out, no I/O.

A count that cannot be trusted (missing, negative, fractional, boolean, text) becomes None:
unknown. A flag or a timestamp that cannot be trusted makes the whole report invalid, because
without it a fenced bridge would pass for an open one, or an old report for a fresh one.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import orjson

from scaler.errors import ScalerError
from scaler.model import BridgeStats, Poll, Reach

HEALTH: Final = "/about/health"
STATS: Final = "/colibri/stats"
METRICS: Final = "/metrics"
DRAIN: Final = "/colibri/drain"
SHUTDOWN: Final = "/colibri/shutdown"

SETTING_BEHIND_404: Final = {
    HEALTH: "videobridge.rest.health.enabled is false",
    STATS: "videobridge.apis.rest.enabled is false",
    DRAIN: "videobridge.rest.drain.enabled is false, or the JVB is older than 2022-01",
    SHUTDOWN: "videobridge.rest.shutdown.enabled and videobridge.apis.rest.enabled must both be true",
}
"""What jvb.conf says where the bridge answers 404."""

MAX_BODY_BYTES = 1024 * 1024
"""A real report has about 3 kB; anything this large does not come from a bridge."""

_LARGEST_COUNT = 2**63 - 1  # a Java long
_LARGEST_MEASURE = 1e9
"""A terabit a second in kbit/s: three of the largest float, summed, would be none any more."""
_LONGEST_TEXT = 200
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")

# The best news wins: a bridge is refused only if every single question was.
_BEST_REACH_FIRST = (Reach.ANSWERED, Reach.BROKEN, Reach.TIMED_OUT, Reach.REFUSED)

_PLAUSIBLE_YEARS = range(2000, 2100)
"""What lies outside is no clock that differs, and may be more than a table holds: Azure's begin in 1601."""
# The same years: a start outside them is in other units, or no start at all.
_PLAUSIBLE_START_MS = range(946_684_800_000, 4_102_444_800_000)


class MessageInvalid(ScalerError):
    """A body that cannot be relied on. The caller treats all that it would have said as unknown."""

    def __init__(self, field: str, fault: str) -> None:
        """`field`: the key, or `body` for the whole; `fault`: what is wrong with it."""
        super().__init__(f"{field}: {fault}")
        self.field = field
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer, whatever its status."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Status 200, the only success that this API knows."""
        return self.status == HTTPStatus.OK

    def fault(self, path: str) -> str:
        """Say what a status other than 200 means, without its body: that is an error page."""
        said = f"{topic(path)} {self.status}"
        return f"{said}: {SETTING_BEHIND_404[path]}" if self.status == HTTPStatus.NOT_FOUND else said


@dataclass(slots=True)
class Findings:
    """What one bridge has told so far: answers go in as they come, a `Poll` comes out."""

    health_ok: bool | None = None
    stats: BridgeStats | None = None
    stats_at: datetime | None = None
    drain: bool | None = None
    drain_missing: bool = False
    process_started_at: datetime | None = None
    reaches: set[Reach] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """At least one question was answered."""
        return Reach.ANSWERED in self.reaches

    @property
    def lacks_drain(self) -> bool:
        """Stats came, but not with their drain."""
        return self.stats is not None and self.stats.drain is None

    def take_failure(self, path: str, reach: Reach, problem: str) -> None:
        """Note a question that got no usable answer."""
        self.reaches.add(reach)
        self.problems.append(f"{topic(path)}: {problem}")

    def take_health(self, answer: Answer) -> None:
        """Judge by the status alone; the text of a sick bridge is kept for people."""
        self.health_ok = answer.ok
        if not answer.ok:
            text = one_line(answer.body.decode(errors="replace"))
            self.problems.append(f"{answer.fault(HEALTH)}: {text}".removesuffix(": "))

    def take_stats(self, answer: Answer, at: datetime) -> None:
        """`at`: when they arrived, so that the bridge's clock can be held against ours."""
        if not answer.ok:
            self.problems.append(answer.fault(STATS))
            return
        try:
            self.stats, self.stats_at = parse_stats(answer.body), at
        except MessageInvalid as error:
            self.problems.append(f"stats: {error}")
            return
        self.drain = self.stats.drain
        if not is_supported(self.stats):
            self.problems.append(f"JVB {self.stats.version or 'of unknown version'}: older than stable 7210")

    def take_process(self, answer: Answer) -> None:
        """Old releases have no JSON here, or no `/metrics`: the start is then unknown, no fault."""
        with contextlib.suppress(MessageInvalid):
            self.process_started_at = parse_process_start(answer.body) if answer.ok else None

    def take_drain(self, answer: Answer) -> None:
        """
        Believe the endpoint, unless the stats contradict it: then nothing is known.

        Where jvb.conf has no such endpoint (404), the stats are the only source, and enough.
        """
        told = self.stats.drain if self.stats is not None else None
        if not answer.ok:
            self.problems.append(answer.fault(DRAIN))
            if answer.status == HTTPStatus.NOT_FOUND:
                self.drain, self.drain_missing = told, told is None
            return
        try:
            drain = parse_drain(answer.body)
        except MessageInvalid as error:
            self.problems.append(f"drain: {error}")
            return
        if told is None or told == drain:
            self.drain = drain
        else:
            self.problems.append(f"drain: the stats say {told}, {DRAIN} says {drain}")

    def as_poll(self, now: datetime) -> Poll:
        """Sum up, after at least one question. `now`: the time of a poll without stats."""
        return Poll(
            at=self.stats_at or now,
            reach=next(reach for reach in _BEST_REACH_FIRST if reach in self.reaches),
            health_ok=self.health_ok,
            stats=self.stats,
            drain=self.drain,
            process_started_at=self.process_started_at,
            supported=self.stats is None or (is_supported(self.stats) and not self.drain_missing),
            problem="; ".join(self.problems) or None,
        )


def parse_stats(body: bytes) -> BridgeStats:
    """Read `/colibri/stats` of any generation. Raises `MessageInvalid`."""
    report = _object(body)
    if not report:
        raise MessageInvalid("body", "empty object, statistics are off")
    return BridgeStats(
        timestamp=_timestamp(report, "current_timestamp"),
        conferences=_count(report, "conferences"),
        local_endpoints=_local_endpoints(report),
        endpoints=_count(report, "endpoints"),
        octo_endpoints=_count(report, "octo_endpoints"),
        largest_conference=_count(report, "largest_conference"),
        stress_level=_measure(report, "stress_level"),
        download_kbps=_measure(report, "bit_rate_download"),
        upload_kbps=_measure(report, "bit_rate_upload"),
        drain=_optional_flag(report, "drain"),
        # Releases before 2024-04 emit `shutting_down` only while it is true.
        graceful_shutdown=_optional_flag(report, "graceful_shutdown") or False,
        shutting_down=_optional_flag(report, "shutting_down") or False,
        healthy=_optional_flag(report, "healthy"),
        muc_clients_connected=_count(report, "muc_clients_connected"),
        mucs_joined=_count(report, "mucs_joined"),
        total_conferences_created=_count(report, "total_conferences_created"),
        total_conferences_completed=_count(report, "total_conferences_completed"),
        total_participants=_count(report, "total_participants"),
        total_bytes_sent=_count(report, "total_bytes_sent"),
        total_bytes_received=_count(report, "total_bytes_received"),
        total_ice_failed=_count(report, "total_ice_failed"),
        dtls_failed_endpoints=_count(report, "dtls_failed_endpoints"),
        relay_id=_text(report, "relay_id"),
        version=_text(report, "version"),
    )


def is_supported(stats: BridgeStats) -> bool:
    """
    Tell whether the JVB is stable 7210 (2022-04) or newer.

    The key `healthy` first appeared in that release and has been in every report since, so its
    presence is the test; version strings are not compared, since custom builds write their own.
    """
    return stats.healthy is not None


def parse_drain(body: bytes) -> bool:
    """Read `GET /colibri/drain`. Raises `MessageInvalid`."""
    drain = _optional_flag(_object(body), "drain")
    if drain is None:
        raise MessageInvalid("drain", "missing")
    return drain


def parse_version(body: bytes) -> str:
    """Read the version from `GET /about/version`. Raises `MessageInvalid`."""
    version = _text(_object(body), "version")
    if version is None:
        raise MessageInvalid("version", "missing or not a short line of text")
    return version


def parse_process_start(body: bytes) -> datetime | None:
    """
    Read when the process started, from `/metrics` as JSON (epoch milliseconds).

    None where the JVB does not tell (older than 2024-05) or tells an absurd moment.
    Raises `MessageInvalid` for a body that is not a JSON object.
    """
    start_ms = _count(_object(body), "startup_time") or 0
    return datetime.fromtimestamp(start_ms / 1000, UTC) if start_ms in _PLAUSIBLE_START_MS else None


def one_line(text: str) -> str:
    """Make foreign text fit for a log line: printable, at most 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_TEXT]).strip()


def topic(path: str) -> str:
    """Short name of an endpoint: the last part of its path."""
    return path.rpartition("/")[2]


def _object(body: bytes) -> dict[str, object]:
    if len(body) > MAX_BODY_BYTES:
        raise MessageInvalid("body", f"{len(body)} bytes, more than {MAX_BODY_BYTES}")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MessageInvalid("body", f"not JSON ({one_line(str(error))})") from error
    if not isinstance(value, dict):
        raise MessageInvalid("body", f"not a JSON object but {_kind(value)}")
    return value


def _count(report: dict[str, object], key: str) -> int | None:
    value = report.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
        return None
    return value


def _measure(report: dict[str, object], key: str) -> float | None:
    value = report.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LARGEST_MEASURE else None


def _optional_flag(report: dict[str, object], key: str) -> bool | None:
    if key not in report:
        return None
    value = report[key]
    if not isinstance(value, bool):
        raise MessageInvalid(key, f"not a boolean but {_kind(value)}")
    return value


def _text(report: dict[str, object], key: str) -> str | None:
    value = report.get(key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= _LONGEST_TEXT:
        return None
    return value


def _timestamp(report: dict[str, object], key: str) -> datetime:
    value = report.get(key)
    if isinstance(value, str) and _TIMESTAMP.fullmatch(value):
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC)
            if moment.year in _PLAUSIBLE_YEARS:
                return moment
    found = one_line(value) if isinstance(value, str) else _kind(value)
    raise MessageInvalid(key, f"not a moment as yyyy-MM-dd HH:mm:ss.SSS: {found}")


def _local_endpoints(report: dict[str, object]) -> int | None:
    """Before 2021-10 there was only the sum of local and relayed ones."""
    if "local_endpoints" in report:
        return _count(report, "local_endpoints")
    participants = _count(report, "participants")
    relayed = _count({"octo_endpoints": 0, **report}, "octo_endpoints")
    if participants is None or relayed is None or relayed > participants:
        return None
    return participants - relayed


def _kind(value: object) -> str:
    """Name the JSON type of a value, for error texts."""
    return "null" if value is None else type(value).__name__
