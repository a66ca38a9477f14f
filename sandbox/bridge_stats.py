"""The short cut from a simulated bridge to the engine's statistics, past JSON and its parser."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scaler.model import BridgeStats


def bridge_stats(stats: Mapping[str, Any]) -> BridgeStats:
    """Statistics of a bridge without faults as the engine reads them: no parsing, no checks."""
    return BridgeStats(
        timestamp=datetime.fromisoformat(stats["current_timestamp"]).replace(tzinfo=UTC),
        conferences=stats["conferences"],
        local_endpoints=stats["local_endpoints"],
        endpoints=stats["endpoints"],
        octo_endpoints=stats["octo_endpoints"],
        largest_conference=stats["largest_conference"],
        stress_level=stats["stress_level"],
        download_kbps=float(stats["bit_rate_download"]),
        upload_kbps=float(stats["bit_rate_upload"]),
        drain=stats["drain"],
        graceful_shutdown=stats["graceful_shutdown"],
        shutting_down=stats["shutting_down"],
        healthy=stats["healthy"],
        muc_clients_connected=stats["muc_clients_connected"],
        mucs_joined=stats["mucs_joined"],
        total_conferences_created=stats["total_conferences_created"],
        total_conferences_completed=stats["total_conferences_completed"],
        total_participants=stats["total_participants"],
        total_bytes_sent=stats["total_bytes_sent"],
        total_bytes_received=stats["total_bytes_received"],
        total_ice_failed=stats["total_ice_failed"],
        dtls_failed_endpoints=stats["dtls_failed_endpoints"],
        relay_id=stats.get("relay_id"),
        version=stats["version"],
    )
