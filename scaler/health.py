"""Whether a bridge is healthy in this tick, and what of it is remembered. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from scaler.decision import EventKind
from scaler.model import BridgeMemory, BridgeStats, Instance, PlatformLoad, Poll, Power, Reach, changed
from scaler.noticed import Log

OUTAGE = timedelta(minutes=5)
"""So long without a look, and what was counted or proved from look to look starts over."""
POLLS_REMEMBERED = 5
RELAY_STUCK_AFTER = timedelta(minutes=10)
QUIET_MBPS = 0.05
"""Under this, nothing that could be media leaves a VM: one audio stream is 0.04, and a call sends more."""


def learn_support(memory: BridgeMemory, poll: Poll, log: Log) -> BridgeMemory:
    """Learn whether its JVB is one that we can drain at all; said once when it is not."""
    if poll.reach is not Reach.ANSWERED or poll.supported is not memory.unsupported:
        return memory
    if not poll.supported:
        log.say(EventKind.UNSUPPORTED, memory, "its JVB is older than stable 7210 (2022-04): left alone")
    return changed(memory, unsupported=not poll.supported)


def why_unhealthy(memory: BridgeMemory, instance: Instance, poll: Poll, *, fresh: bool) -> str | None:
    """
    First sign of health that is missing, or None. Each sign alone lies.

    ARM says running while the JVB is dead; the JVB says 200 while it is cut off from Prosody.
    """
    stats = poll.stats
    checks: tuple[tuple[bool, str], ...] = (
        (instance.provisioning not in ("Creating", "Deleting"), f"ARM is {instance.provisioning} it"),
        (instance.power is Power.RUNNING, f"ARM says its power is {instance.power}"),
        (poll.reach is Reach.ANSWERED, f"port {poll.reach}"),
        (not memory.unsupported, "its JVB is too old"),
        (poll.health_ok is True, f"health: {poll.problem or 'no answer'}"),
        (stats is not None, f"stats: {poll.problem or 'no answer'}"),
        (fresh, "its statistics do not advance"),
    )
    missing = next((why for ok, why in checks if not ok), None)
    if missing is not None or stats is None:
        return missing
    return _why_not_serving(stats)


def _why_not_serving(stats: BridgeStats) -> str | None:
    checks = (
        (stats.conferences is not None, "its conferences are not a count"),
        (stats.local_endpoints is not None, "its local endpoints are not a count"),
        (stats.healthy is not False, "it says that it is not healthy"),
        ((stats.muc_clients_connected or 0) >= 1, "no XMPP connection"),
        ((stats.mucs_joined or 0) >= 1, "not in its MUC"),
        (not stats.graceful_shutdown, "it is in graceful shutdown"),
        (not stats.shutting_down, "it is shutting down"),
    )
    return next((why for ok, why in checks if not ok), None)


def remember_poll(memory: BridgeMemory, *, good: bool, now: datetime) -> BridgeMemory:
    """Add this poll to the last five, and keep since when it is bad."""
    polls = (memory.polls + ("1" if good else "0"))[-POLLS_REMEMBERED:]
    return changed(memory, polls=polls, bad_since=None if good else memory.bad_since or now)


def learn_silence(memory: BridgeMemory, instance: Instance, poll: Poll, now: datetime) -> BridgeMemory:
    """Learn since when nothing answers on it: a sick bridge that answers is not dead."""
    if poll.reach in (Reach.ANSWERED, Reach.BROKEN):
        return changed(memory, silent_since=None)
    if poll.reach is Reach.NOT_ASKED and instance.power is not Power.STOPPED:
        return memory
    return changed(memory, silent_since=memory.silent_since or now)


def learn_quiet(memory: BridgeMemory, platform: PlatformLoad | None, now: datetime) -> BridgeMemory:
    """Learn since when Azure Monitor sees nothing leave the VM that could be media; unknown is not quiet."""
    if platform is None or platform.out_mbps is None or shows_traffic(platform):
        return changed(memory, platform_quiet_since=None, platform_quiet_seen_at=None)
    seen = memory.platform_quiet_seen_at
    watched = seen is not None and now - seen <= OUTAGE
    since = memory.platform_quiet_since if watched else None
    return changed(memory, platform_quiet_since=since or now, platform_quiet_seen_at=now)


def shows_traffic(platform: PlatformLoad | None) -> bool:
    """Azure Monitor saw something leave the VM that could be media. What it does not tell shows nothing."""
    return platform is not None and platform.out_mbps is not None and platform.out_mbps >= QUIET_MBPS


def relayed_since(
    memory: BridgeMemory,
    stats: BridgeStats | None,
    polled_before: datetime | None,
    now: datetime,
    log: Log,
) -> datetime | None:
    """Since when relayed endpoints are counted without a conference; said once when that lasts."""
    if stats is None:
        return memory.relayed_since
    if not stats.octo_endpoints or stats.conferences != 0:
        return None
    since = memory.relayed_since or now
    before = (polled_before or now) - since
    if now - since >= RELAY_STUCK_AFTER and before < RELAY_STUCK_AFTER:
        log.say(
            EventKind.RELAY_COUNTER_STUCK, memory, f"{stats.octo_endpoints} relayed endpoints, no conference"
        )
    return since
