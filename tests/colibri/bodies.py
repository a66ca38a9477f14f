"""Bodies as bridges of each generation write them, built here and copied from nowhere."""

from __future__ import annotations

import orjson

TIMESTAMP = "2026-03-04 05:06:07.089"

_COUNTS_SINCE_2019 = {
    "conferences": 2,
    "participants": 17,
    "largest_conference": 11,
    "total_conferences_created": 40,
    "total_conferences_completed": 38,
    "total_participants": 321,
    "total_bytes_sent": 98_765_432_100,
    "total_bytes_received": 12_345_678_900,
    "total_ice_failed": 3,
}

_ALWAYS = {
    **_COUNTS_SINCE_2019,
    "current_timestamp": TIMESTAMP,
    "graceful_shutdown": False,
    "bit_rate_download": 40_000.5,
    "bit_rate_upload": 200_000,
    "version": "2.x",
    "rtt_aggregate": 41.5,
}

_SINCE_2020_12 = {
    "stress_level": 0.31,
    "octo_endpoints": 4,
    "muc_clients_connected": 1,
    "mucs_joined": 1,
}

_SINCE_2022_04 = {
    **_SINCE_2020_12,
    "local_endpoints": 13,
    "endpoints": 17,
    "drain": False,
    "healthy": True,
    "dtls_failed_endpoints": 0,
}

_OLD_EXTRAS = {"conference_sizes": [0] * 22, "videochannels": 9, "jitter_aggregate": 1.5}

GENERATIONS: dict[str, dict[str, object]] = {
    "v2.1 of 2019": {**_ALWAYS, "conference_sizes": "[]", "rtp_loss": 0.0, "videostreams": 12},
    "2020-12": {**_ALWAYS, **_OLD_EXTRAS, **_SINCE_2020_12},
    "v2.2 of 2022-06": {**_ALWAYS, **_OLD_EXTRAS, **_SINCE_2022_04, "colibri2": True},
    "v2.3 of 2023-03": {**_ALWAYS, **_OLD_EXTRAS, **_SINCE_2022_04, "visitors": 0, "colibri2": True},
    "2024-04": {**_ALWAYS, **_SINCE_2022_04, "shutting_down": False, "total_ice_succeeded_tcp": 0},
    "2026": {
        **_ALWAYS,
        **_SINCE_2022_04,
        "shutting_down": False,
        "relay_id": "bridge-7",
        "region": "north",
        "tcc_unmatched_feedback": 5,
    },
}


def stats_report(without: tuple[str, ...] = (), /, **changes: object) -> dict[str, object]:
    """Build the newest generation's report, with the keys `without` left out and others changed."""
    report = {**GENERATIONS["2026"], **changes}
    return {key: value for key, value in report.items() if key not in without}


def stats_body(without: tuple[str, ...] = (), /, **changes: object) -> bytes:
    """Encode `stats_report`."""
    return orjson.dumps(stats_report(without, **changes))
