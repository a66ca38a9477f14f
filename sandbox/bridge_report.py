"""What a bridge says of itself: the bodies of `/colibri/stats` and `/metrics`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sandbox.bridge import SimBridge


MISSING: Final = object()
"""As a value of `BridgeFaults.overrides`: the key is left out."""

MEAN_PACKET_BYTES = 1000
ALWAYS_ZERO = (
    *("p2p_conferences", "inactive_conferences", "octo_conferences", "octo_endpoints"),
    *("octo_receive_bitrate", "octo_receive_packet_rate", "octo_send_bitrate", "octo_send_packet_rate"),
    *("inactive_endpoints", "visitors", "num_eps_oversending", "endpoints_with_high_outgoing_loss"),
    *("endpoints_with_suspended_sources", "tcc_unmatched_feedback", "endpoints_with_spurious_remb"),
    *("total_visitors", "total_relays", "total_bytes_received_octo", "total_bytes_sent_octo"),
    *("total_packets_received_octo", "total_packets_sent_octo"),
    *("total_ice_succeeded_relayed", "total_colibri_web_socket_messages_received"),
    *("total_colibri_web_socket_messages_sent", "endpoints_ice_failed", "dtls_failed_endpoints"),
    *("relays_ice_failed", "dtls_failed_relays", "num_eps_no_msg_transport_after_delay"),
    *("num_relays_no_msg_transport_after_delay", "preemptive_kfr_sent", "preemptive_kfr_suppressed"),
    *("endpoints_disconnected", "endpoints_reconnected"),
)
_ZEROS: Final = dict.fromkeys(ALWAYS_ZERO, 0)


def stats_of(bridge: SimBridge, now: datetime) -> dict[str, Any]:
    """
    The statistics, built at the moment of the request.

    Gauges that a real bridge refreshes each 5 seconds are live here too; stress is sampled.
    """
    bridge.settle()
    stats: dict[str, Any] = {**_ZEROS, **_state(bridge, now), **_gauges(bridge), **_totals(bridge)}
    for key, value in bridge.faults.overrides.items():
        if value is MISSING:
            stats.pop(key, None)
        else:
            stats[key] = value
    return stats


def _state(bridge: SimBridge, now: datetime) -> dict[str, Any]:
    joined = int(bridge.muc_joined)
    state: dict[str, Any] = {
        "graceful_shutdown": bridge.graceful_shutdown,
        "shutting_down": bridge.shutting_down,
        "drain": bridge.drain,
        "healthy": bridge.health_problem is None,
        "current_timestamp": _timestamp(bridge, now),
        "version": bridge.config.version,
        "muc_clients_configured": 1,
        "muc_clients_connected": joined,
        "mucs_configured": 1,
        "mucs_joined": joined,
    }
    if bridge.config.relay:
        state["relay_id"] = bridge.name
    if bridge.config.region is not None:
        state["region"] = bridge.config.region
    return state


def _timestamp(bridge: SimBridge, now: datetime) -> str:
    """UTC, milliseconds, and no mark of the zone."""
    shown = bridge.faults.frozen_at or now
    if bridge.faults.clock_skew_s:
        shown += timedelta(seconds=bridge.faults.clock_skew_s)
    return shown.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")


def _gauges(bridge: SimBridge) -> dict[str, Any]:
    meter, people = bridge.meter, bridge.people
    sizes = [conference.people for conference in bridge.conferences.values()]
    cameras = people * 7 // 10
    return {
        "conferences": len(sizes),
        "largest_conference": max(sizes, default=0),
        "endpoints": people,
        "participants": people,
        "local_endpoints": people,
        "local_active_endpoints": people,
        "receive_only_endpoints": people - cameras,
        "endpoints_sending_audio": min(people, 3 * len(sizes)),
        "endpoints_sending_video": cameras,
        "bit_rate_download": meter.in_kbps,
        "bit_rate_upload": meter.out_kbps,
        "packet_rate_download": meter.in_kbps * 125 // MEAN_PACKET_BYTES,
        "packet_rate_upload": meter.out_kbps * 125 // MEAN_PACKET_BYTES,
        "incoming_loss": 0.0,
        "outgoing_loss": 0.0,
        "overall_loss": 0.0,
        "rtt_aggregate": 40.0 if people else 0.0,
        "stress_level": bridge.stress,
        "average_participant_stress": 0.01,
        "threads": 58 + people,
    }


def _totals(bridge: SimBridge) -> dict[str, Any]:
    totals = bridge.totals
    received = bridge.meter.in_bytes - totals.bytes_received_before
    sent = bridge.meter.out_bytes - totals.bytes_sent_before
    joined = totals.participants
    return {
        "total_conferences_created": totals.conferences_created,
        "total_conferences_completed": totals.conferences_completed,
        "total_conference_seconds": int(totals.conference_seconds),
        "total_participants": totals.participants,
        "total_ice_succeeded": 0 if bridge.faults.no_media else totals.participants,
        "total_ice_failed": totals.participants if bridge.faults.no_media else 0,
        "total_bytes_received": received,
        "total_bytes_sent": sent,
        "total_packets_received": received // MEAN_PACKET_BYTES,
        "total_packets_sent": sent // MEAN_PACKET_BYTES,
        "total_data_channel_messages_received": 200 * joined,
        "total_data_channel_messages_sent": 250 * joined,
        "total_dominant_speaker_changes": 2 * joined,
        "total_keyframes_received": 20 * joined,
        "total_layering_changes_received": 12 * joined,
        "total_video_stream_milliseconds_received": received // 75,
    }


def metrics_of(bridge: SimBridge) -> dict[str, Any]:
    """The metrics in their flat JSON form, those that a scaler may want."""
    bridge.settle()
    joined = int(bridge.muc_joined)
    return {
        "startup_time": round(bridge.started_s * 1000),
        "conferences": len(bridge.conferences),
        "local_endpoints": bridge.people,
        "current_endpoints": bridge.people,
        "stress": bridge.stress,
        "graceful_shutdown": bridge.graceful_shutdown,
        "shutting_down": bridge.shutting_down,
        "drain_mode": bridge.drain,
        "healthy": bridge.health_problem is None,
        "muc_clients_connected": joined,
        "mucs_connected": 1,
        "mucs_joined": joined,
        "conferences_created_total": bridge.totals.conferences_created,
        "conferences_completed_total": bridge.totals.conferences_completed,
        "participants_total": bridge.totals.participants,
    }
