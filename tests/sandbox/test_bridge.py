"""Life of one bridge: drain, graceful shutdown, exit, health, and what it reports."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from sandbox.bridge_config import BridgeConfig
from sandbox.bridge_report import MISSING
from sandbox.cloud import BootModel
from sandbox.history import CutReason
from sandbox.workload import meeting
from tests.sandbox.worlds import SCALE_SET, START, bridge_of, carrier_of, hour_long, vms_of, world_of

CURRENT_KEYS = re.findall(
    r"\w+",
    """
graceful_shutdown shutting_down drain healthy current_timestamp version relay_id region incoming_loss
outgoing_loss overall_loss rtt_aggregate stress_level average_participant_stress conferences
octo_conferences inactive_conferences p2p_conferences largest_conference endpoints participants
local_endpoints octo_endpoints local_active_endpoints receive_only_endpoints inactive_endpoints
endpoints_sending_audio endpoints_sending_video visitors num_eps_oversending
endpoints_with_high_outgoing_loss endpoints_with_suspended_sources tcc_unmatched_feedback threads
muc_clients_configured muc_clients_connected mucs_configured mucs_joined bit_rate_download
bit_rate_upload packet_rate_download packet_rate_upload octo_receive_bitrate octo_send_bitrate
octo_receive_packet_rate octo_send_packet_rate total_conferences_created total_conferences_completed
total_conference_seconds total_participants total_visitors total_relays total_bytes_received
total_bytes_sent total_bytes_received_octo total_bytes_sent_octo total_packets_received
total_packets_sent total_packets_received_octo total_packets_sent_octo
total_data_channel_messages_received total_data_channel_messages_sent
total_colibri_web_socket_messages_received total_colibri_web_socket_messages_sent
total_dominant_speaker_changes total_ice_failed total_ice_succeeded total_ice_succeeded_relayed
total_keyframes_received total_layering_changes_received total_video_stream_milliseconds_received
endpoints_ice_failed dtls_failed_endpoints relays_ice_failed dtls_failed_relays
num_eps_no_msg_transport_after_delay num_relays_no_msg_transport_after_delay preemptive_kfr_sent
preemptive_kfr_suppressed endpoints_with_spurious_remb endpoints_disconnected endpoints_reconnected
""",
)


def test_stats_have_every_key_of_a_current_bridge() -> None:
    """The report has exactly the 82 keys of a relay-enabled bridge; without relay, no `relay_id`."""
    with_relay = world_of(1, bridge=BridgeConfig(relay=True))
    without = world_of(1)
    assert sorted(bridge_of(vms_of(with_relay)[0]).stats(START)) == sorted(CURRENT_KEYS)
    assert len(CURRENT_KEYS) == 82
    assert set(CURRENT_KEYS) - set(bridge_of(vms_of(without)[0]).stats(START)) == {"relay_id"}


def test_figures_of_a_busy_bridge_agree_with_each_other() -> None:
    """Endpoints, totals and rates tell one story, and counters only grow."""
    calls = [hour_long(people=n, name=f"c{n}") for n in (4, 8, 30)]
    world = world_of(1, [*calls, meeting(START, 10, 3, "short")])
    bridge = bridge_of(vms_of(world)[0])
    stats = before = bridge.stats(world.now)
    for _ in range(30):
        world.advance(60)
        stats = bridge.stats(world.now)
        grown = [key for key in stats if key.startswith("total_") and stats[key] < before[key]]
        assert not grown
        before = stats
    assert (stats["conferences"], stats["largest_conference"]) == (3, 30)
    assert stats["endpoints"] == stats["participants"] == stats["local_endpoints"] == 42
    assert (stats["total_conferences_created"], stats["total_conferences_completed"]) == (4, 1)
    assert stats["total_participants"] == 45
    assert stats["total_bytes_sent"] == pytest.approx(stats["bit_rate_upload"] * 125 * 1800, rel=0.05)
    assert 0.5 < stats["bit_rate_upload"] / 42 / 1000 < 2
    assert stats["current_timestamp"] == "2026-11-18 09:30:00.000"


def test_stress_follows_one_sample_late() -> None:
    """Stress stays at its idle value until the second sample after people came."""
    world = world_of(1, [hour_long(people=60)])
    bridge = bridge_of(vms_of(world)[0])
    seen = []
    for _ in range(4):
        seen.append(bridge.stress)
        world.advance(10)
    assert seen[0] < 0.05
    assert seen[1] < 0.05
    assert 0.3 < seen[3] < 0.9


def test_full_cpu_is_a_stress_of_one_point_one() -> None:
    """One room of 300 people saturates the machine."""
    world = world_of(1, [hour_long(people=300)])
    world.advance(120)
    assert bridge_of(vms_of(world)[0]).stress == pytest.approx(1.11, abs=0.04)


def test_drain_refuses_nothing_and_can_be_taken_back() -> None:
    """A drained bridge keeps its call and takes later participants of it; the drain is reversible."""
    late = meeting(START, 60, 4, "call")
    late = type(late)(late.name, late.start, (0.0, 0.0, 120.0, 120.0), late.leaves_s)
    world = world_of(2, [late])
    world.advance(60)
    bridge = bridge_of(carrier_of(world))
    bridge.set_drain(True)
    world.advance(120)
    assert bridge.stats(world.now)["local_endpoints"] == 4
    bridge.set_drain(False)
    assert bridge.stats(world.now)["drain"] is False
    assert not world.history.cuts


def test_graceful_shutdown_waits_for_its_people() -> None:
    """With people on it the bridge waits; when the last one leaves it shuts down, and exits 30 s later."""
    world = world_of(2, [hour_long()])
    world.advance(60)
    bridge = bridge_of(carrier_of(world))
    bridge.set_drain(True)
    bridge.shutdown(graceful=True)
    world.advance(3500)
    assert (bridge.graceful_shutdown, bridge.shutting_down, bridge.listening) == (True, False, True)
    world.advance_to(START + timedelta(hours=1, seconds=29))
    assert (bridge.shutting_down, bridge.listening) == (True, True)
    world.advance(2)
    assert (bridge.listening, bridge.muc_joined) == (False, False)
    assert not world.history.cuts


def test_graceful_shutdown_of_an_idle_bridge_is_immediate() -> None:
    """An idle bridge is shutting down within the request itself."""
    world = world_of(1)
    bridge = bridge_of(vms_of(world)[0])
    bridge.shutdown(graceful=True)
    stats = bridge.stats(world.now)
    assert (stats["graceful_shutdown"], stats["shutting_down"]) == (True, True)
    world.advance(30)
    assert not bridge.listening


def test_forced_shutdown_with_calls_counts_as_a_cut() -> None:
    """Jicofo moves the calls of a bridge that announces its end, and that is a cut made by us."""
    world = world_of(2, [hour_long()])
    world.advance(60)
    carrier = carrier_of(world)
    bridge_of(carrier).shutdown(graceful=False)
    world.advance(40)
    (cut,) = world.history.cuts
    assert (cut.reason, cut.reason.ours, cut.vm_id) == (CutReason.MOVED, True, carrier.vm_id)
    assert carrier_of(world) is not carrier


def test_crash_is_a_loss_but_not_ours() -> None:
    """A crash loses the calls, and a new process starts drained with counters from zero."""
    world = world_of(1, [hour_long()])
    world.advance(60)
    bridge = bridge_of(vms_of(world)[0])
    started = bridge.started_at
    bridge.crash(back_after_s=10)
    listening = [bridge.listening]
    world.advance(60)
    assert [*listening, bridge.listening] == [False, True]
    assert bridge.started_at > started
    assert bridge.drain
    truth = world.truth()
    assert (truth["calls_cut"], truth["calls_lost_to_faults"]) == (0, 1)


def test_shutdown_of_an_earlier_process_does_not_end_the_next() -> None:
    """A bridge that crashes while fenced and comes back lives on."""
    world = world_of(1)
    bridge = bridge_of(vms_of(world)[0])
    bridge.shutdown(graceful=True)
    world.advance(10)
    bridge.crash(back_after_s=5)
    world.advance(120)
    assert (bridge.listening, bridge.graceful_shutdown, bridge.shutting_down) == (True, False, False)


def test_health_is_200_for_the_first_minute() -> None:
    """A fault that is there from the start is found by the first check, after a minute."""
    world = world_of(1)
    bridge = bridge_of(vms_of(world)[0])
    bridge.restart(seconds=1)
    world.advance(2)
    bridge.fail_health("No valid IP addresses available for harvesting.")
    statuses = []
    for _ in range(4):
        world.advance(20)
        statuses.append(bridge.health(world.now)[0])
    assert statuses == [200, 200, 500, 500]


def test_metrics_tell_the_start_of_the_process() -> None:
    """`startup_time` is in epoch milliseconds and changes with a restart."""
    world = world_of(1, boot=BootModel(median_s=120))
    bridge = bridge_of(vms_of(world)[0])
    assert (
        bridge.metrics_json(START)["startup_time"]
        == (START - timedelta(hours=2, minutes=-2)).timestamp() * 1000
    )
    bridge.restart(seconds=8)
    world.advance(10)
    assert bridge.metrics_json(world.now)["startup_time"] == (START + timedelta(seconds=8)).timestamp() * 1000


def test_new_bridge_joins_a_few_seconds_after_it_listens() -> None:
    """`mucs_joined` is 0 at first."""
    world = world_of(1)
    bridge = bridge_of(vms_of(world)[0])
    bridge.restart(seconds=1)
    world.advance(1.5)
    assert bridge.stats(world.now)["mucs_joined"] == 0
    world.advance(10)
    assert bridge.stats(world.now)["mucs_joined"] == 1


def test_faults_change_what_it_says_and_nothing_else() -> None:
    """Values can be replaced or left out, and a lying bridge takes no drain."""
    bridge = bridge_of(vms_of(world_of(1))[0])
    bridge.faults.overrides = {"conferences": MISSING, "stress_level": -1}
    bridge.faults.ignores_drain = True
    bridge.set_drain(True)
    stats = bridge.stats(START)
    assert "conferences" not in stats
    assert (stats["stress_level"], stats["drain"]) == (-1, False)


def test_an_image_may_be_at_fault() -> None:
    """Its processes never join, are sick from the first check on, or die again and again."""
    world = world_of(3)
    outcast, sick, mortal = (bridge_of(vm) for vm in vms_of(world))
    outcast.faults.never_joins, sick.faults.sick_from_start = True, "no address"
    mortal.faults.crashes_after_s = 30.0
    for bridge in (outcast, sick, mortal):
        bridge.restart(seconds=1)
    world.advance(20)
    assert [bridge.muc_joined for bridge in (outcast, sick, mortal)] == [False, True, True]
    first = mortal.process
    world.advance(120)
    assert (outcast.muc_joined, sick.health(world.now)) == (False, (500, "no address"))
    assert mortal.process > first + 2


def test_deleting_a_fenced_bridge_after_its_exit_cuts_nothing() -> None:
    """The whole tear-down by the book: drain, settle, fence, exit, delete."""
    world = world_of(2, [meeting(START, 5, 6, "short"), hour_long()])
    world.advance(600)
    (idle,) = [vm for vm in vms_of(world) if not bridge_of(vm).conferences] or [vms_of(world)[1]]
    bridge_of(idle).set_drain(True)
    world.advance(60)
    bridge_of(idle).shutdown(graceful=True)
    world.advance(60)
    assert not bridge_of(idle).listening
    world.delete_instances(SCALE_SET, [idle.name])
    world.advance(100)
    assert not world.history.cuts
