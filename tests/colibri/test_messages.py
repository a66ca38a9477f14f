"""What `colibri.messages` makes of every generation of reports, and of every lie in them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colibri.messages import (
    MAX_BODY_BYTES,
    MessageInvalid,
    is_supported,
    one_line,
    parse_drain,
    parse_process_start,
    parse_stats,
    parse_version,
)
from scaler.model import BridgeStats
from tests.colibri.bodies import GENERATIONS, stats_body, stats_report

COUNTS = (
    "conferences",
    "local_endpoints",
    "endpoints",
    "octo_endpoints",
    "largest_conference",
    "muc_clients_connected",
    "mucs_joined",
    "total_conferences_created",
    "total_conferences_completed",
    "total_participants",
    "total_bytes_sent",
    "total_bytes_received",
    "total_ice_failed",
    "dtls_failed_endpoints",
)
MEASURES = {
    "stress_level": "stress_level",
    "bit_rate_download": "download_kbps",
    "bit_rate_upload": "upload_kbps",
}
FLAGS = ("graceful_shutdown", "shutting_down", "drain", "healthy")
NOT_COUNTS: list[object] = [None, -1, -1.0, 12.5, True, False, "3", [], {}, 2**63, 2**70, 1e300]

# A busy machine is no fault of the parser.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
report_changes = st.dictionaries(st.sampled_from(sorted(stats_report())), json_values, max_size=6)


def field_of(stats: BridgeStats, name: str) -> object:
    """Read a field by name."""
    return getattr(stats, name)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_generation_is_read(generation: str) -> None:
    """Every generation since 2019 is read, and what it does not tell stays unknown."""
    report = GENERATIONS[generation]
    stats = parse_stats(orjson.dumps(report))
    assert stats.timestamp == datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
    for name in set(COUNTS) - {"local_endpoints"}:
        assert field_of(stats, name) == report.get(name)
    for key, name in MEASURES.items():
        assert field_of(stats, name) == report.get(key)
    assert (stats.drain, stats.healthy) == (report.get("drain"), report.get("healthy"))
    assert (stats.graceful_shutdown, stats.shutting_down) == (False, False)
    assert (stats.relay_id, stats.version) == (report.get("relay_id"), report["version"])


@pytest.mark.parametrize(
    ("generation", "local_endpoints", "supported"),
    [
        ("v2.1 of 2019", 17, False),
        ("2020-12", 13, False),
        ("v2.2 of 2022-06", 13, True),
        ("v2.3 of 2023-03", 13, True),
        ("2024-04", 13, True),
        ("2026", 13, True),
    ],
)
def test_generation_is_judged(generation: str, local_endpoints: int, supported: bool) -> None:
    """Local endpoints are derived where they are missing; stable 7210 and newer are supported."""
    stats = parse_stats(orjson.dumps(GENERATIONS[generation]))
    assert stats.local_endpoints == local_endpoints
    assert is_supported(stats) is supported


def test_drain_without_health_is_too_old() -> None:
    """A release between 6865 and 7210 drains, but is not supported."""
    assert not is_supported(parse_stats(stats_body(("healthy",))))


def test_unhealthy_is_supported() -> None:
    """A bridge that calls itself unhealthy is not taken for an old one."""
    assert is_supported(parse_stats(stats_body(healthy=False)))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("value", NOT_COUNTS)
def test_bad_count_is_unknown(count: str, value: object) -> None:
    """A count that is no non-negative integer is unknown, never zero, and spoils nothing else."""
    body = (
        orjson.dumps({**stats_report(), count: value}) if value != 2**70 else _with_literal(count, str(2**70))
    )
    stats = parse_stats(body)
    assert field_of(stats, count) is None
    assert stats.total_participants == (None if count == "total_participants" else 321)


@pytest.mark.parametrize("count", COUNTS)
def test_missing_count_is_unknown(count: str) -> None:
    """A count that is missing is unknown (local endpoints: where their source is missing too)."""
    assert field_of(parse_stats(stats_body((count, "participants"))), count) is None


@pytest.mark.parametrize(("value", "expected"), [(12.0, 12), (0, 0), (-0.0, 0), (2**63 - 1, 2**63 - 1)])
def test_whole_number_is_a_count(value: float, expected: int) -> None:
    """A whole float is accepted as an integer."""
    conferences = parse_stats(stats_body(conferences=value)).conferences
    assert conferences == expected
    assert type(conferences) is int


@pytest.mark.parametrize("key", MEASURES)
@pytest.mark.parametrize("value", [None, -0.1, -1, True, "0.5", [], 1.7e308, 2e9])
def test_bad_measure_is_unknown(key: str, value: object) -> None:
    """The JDK's negative stress, and anything that is no number, is unknown."""
    assert field_of(parse_stats(stats_body(**{key: value})), MEASURES[key]) is None


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.11, 7.5])
def test_stress_may_exceed_one(value: float) -> None:
    """Stress is relative to a threshold and may pass it."""
    assert parse_stats(stats_body(stress_level=value)).stress_level == value


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("value", [None, 0, 1, "true", "false", [], {}])
def test_bad_flag_spoils_the_report(flag: str, value: object) -> None:
    """A flag that is no boolean could hide a fence, so nothing of the report is believed."""
    with pytest.raises(MessageInvalid, match=flag) as caught:
        parse_stats(stats_body(**{flag: value}))
    assert caught.value.field == flag


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("value", [True, False])
def test_flag_is_read(flag: str, value: bool) -> None:
    """Flags are taken as they are."""
    assert field_of(parse_stats(stats_body(**{flag: value})), flag) is value


@pytest.mark.parametrize(("flag", "expected"), list(zip(FLAGS, (False, False, None, None), strict=True)))
def test_missing_flag(flag: str, expected: bool | None) -> None:
    """Missing shutdown flags mean an open bridge; missing drain and health are unknown."""
    assert field_of(parse_stats(stats_body((flag,))), flag) is expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        1_772_600_767_089,
        "",
        "yesterday",
        "2026-03-04T05:06:07.089",
        "2026-03-04 05:06:07.089Z",
        "2026-03-04 05:06",
        "2026-13-04 05:06:07.089",
        "2026-02-30 05:06:07.089",
        "2026-03-04 05:06:61.000",
        "2026-03-04 05:06:07.",
        "\u0662026-03-04 05:06:07.089",
        "2026-03-04 05:06:07.089\n",
        "0001-01-01 00:00:00.000",
        "1999-12-31 23:59:59.999",
        "2100-01-01 00:00:00.000",
    ],
)
def test_bad_timestamp_spoils_the_report(value: object) -> None:
    """Without a readable moment no report can be called fresh."""
    with pytest.raises(MessageInvalid, match="current_timestamp"):
        parse_stats(stats_body(current_timestamp=value))


def test_missing_timestamp_spoils_the_report() -> None:
    """A report of no moment is no report."""
    with pytest.raises(MessageInvalid, match="current_timestamp"):
        parse_stats(stats_body(("current_timestamp",)))


def test_timestamp_without_fraction() -> None:
    """A moment on the full second may come without its fraction."""
    stats = parse_stats(stats_body(current_timestamp="2026-03-04 05:06:07"))
    assert stats.timestamp == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("participants", "relayed", "expected"),
    [(9, 4, 5), (9, None, None), (9, 10, None), (-1, 0, None), (9, 0, 9), ("9", 0, None)],
)
def test_local_endpoints_are_derived(participants: object, relayed: object, expected: int | None) -> None:
    """Participants less relayed ones, only where both are sane and fit together."""
    body = stats_body(("local_endpoints",), participants=participants, octo_endpoints=relayed)
    assert parse_stats(body).local_endpoints == expected


def test_bad_local_endpoints_are_not_derived() -> None:
    """A broken figure is not replaced by a guess."""
    assert (
        parse_stats(stats_body(local_endpoints=-1, participants=0, octo_endpoints=0)).local_endpoints is None
    )


@pytest.mark.parametrize("value", ["", "two\nlines", "x" * 201, 7, None])
def test_bad_text_is_unknown(value: object) -> None:
    """Names that would not fit on one line are dropped."""
    stats = parse_stats(stats_body(version=value, relay_id=value))
    assert (stats.version, stats.relay_id) == (None, None)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b"<html>502</html>", "not JSON"),
        (b'{"conferences": NaN}', "not JSON"),
        (b'{"conferences": Infinity}', "not JSON"),
        (b'{"stress_level": 1e999}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "not a JSON object but list"),
        (b"null", "not a JSON object but null"),
        (b"7", "not a JSON object but int"),
        (b"{}", "statistics are off"),
        (b" " * (MAX_BODY_BYTES + 1), "more than"),
    ],
)
def test_bad_body_is_named(body: bytes, fault: str) -> None:
    """A body that is no report says what it is instead."""
    with pytest.raises(MessageInvalid, match=fault) as caught:
        parse_stats(body)
    assert caught.value.field == "body"
    assert fault in caught.value.fault


def test_deep_nesting_in_a_field_is_named() -> None:
    """A field nested as deep as the parser allows cannot exhaust the stack."""
    body = b'{"current_timestamp": %s%s}' % (b"[" * 1000, b"]" * 1000)
    with pytest.raises(MessageInvalid, match="list"):
        parse_stats(body)


@UNHURRIED
@given(st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    """Arbitrary bytes raise nothing but `MessageInvalid`."""
    for parse in (parse_stats, parse_drain, parse_version, parse_process_start):
        try:
            parse(body)
        except MessageInvalid:
            continue


@UNHURRIED
@given(report_changes)
def test_any_report(changes: dict[str, object]) -> None:
    """Whatever the fields hold: `MessageInvalid`, or counts that are unknown or non-negative integers."""
    body = _dumps({**stats_report(), **changes})
    try:
        stats = parse_stats(body)
    except MessageInvalid:
        return
    for count in COUNTS:
        value = field_of(stats, count)
        assert value is None or (type(value) is int and value >= 0)
    for name in MEASURES.values():
        value = field_of(stats, name)
        assert value is None or (type(value) is float and 0 <= value < math.inf)
    assert stats.timestamp.tzinfo is UTC


@pytest.mark.parametrize(("body", "expected"), [(b'{"drain":true}', True), (b'{"drain":false}', False)])
def test_drain_is_read(body: bytes, expected: bool) -> None:
    """The drain endpoint's two answers."""
    assert parse_drain(body) is expected


@pytest.mark.parametrize("body", [b"{}", b'{"drain":1}', b'{"drain":null}', b"true", b""])
def test_bad_drain_is_named(body: bytes) -> None:
    """Anything else leaves the drain unknown."""
    with pytest.raises(MessageInvalid):
        parse_drain(body)


def test_version_is_read() -> None:
    """The version stands in its own key."""
    assert parse_version(b'{"name":"JVB","version":"2.3.168-g28","os":"Linux"}') == "2.3.168-g28"


@pytest.mark.parametrize("body", [b"{}", b'{"version":2}', b'{"version":""}', b"[]"])
def test_bad_version_is_named(body: bytes) -> None:
    """A missing or strange version is an error, not a guess."""
    with pytest.raises(MessageInvalid):
        parse_version(body)


@pytest.mark.parametrize("start_ms", [1_772_600_767_089, 1_772_600_767_089.0])
def test_process_start_is_read(start_ms: float) -> None:
    """Epoch milliseconds become an aware UTC moment."""
    expected = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
    assert parse_process_start(orjson.dumps({"startup_time": start_ms, "conferences": 0})) == expected


@pytest.mark.parametrize("start_ms", [None, 0, -1, True, "1772600767089", 1_772_600_767, 10**18, 2.5, 1e300])
def test_absurd_process_start_is_unknown(start_ms: object) -> None:
    """Seconds, negatives, text and far futures are no process start."""
    assert parse_process_start(orjson.dumps({"startup_time": start_ms})) is None


def test_missing_process_start_is_unknown() -> None:
    """Releases before 2024-05 do not tell it."""
    assert parse_process_start(b'{"conferences": 0}') is None


def test_one_line() -> None:
    """Foreign text is cut to 200 characters without control characters."""
    assert one_line("a\r\n\x1b[31mb") == "a   [31mb"
    assert len(one_line("x" * 500)) == 200


def _with_literal(key: str, literal: str) -> bytes:
    """Write a number that no 64-bit encoder would write."""
    return orjson.dumps({**stats_report(), key: "@@"}).replace(b'"@@"', literal.encode())


def _dumps(report: dict[str, object]) -> bytes:
    """Encode with Python's own encoder: it writes NaN and integers of any size."""
    return json.dumps(report).encode()
