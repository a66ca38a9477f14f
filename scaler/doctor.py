"""
The first broken link of each bridge, on the way from Azure to a call. Pure.

A bridge takes calls only if every link holds. The later ones cannot be judged before the earlier
ones do: a port that does not answer tells nothing of health. So the first broken one is the one to mend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaler.model import Bridge, Power, Purpose, Reach


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a link, and what to do about it."""

    detail: str
    fix: str


Look = Callable[[Bridge], Finding | None]


def _power(bridge: Bridge) -> Finding | None:
    machine = bridge.instance
    if machine is None or machine.is_deleting:
        return Finding("Azure deletes it", "wait: it is on its way out")
    if machine.power is Power.RUNNING and machine.provisioning != "Creating":
        return None
    error = f": {machine.error}" if machine.error else ""
    detail = f"power {machine.power}, provisioning {machine.provisioning}{error}"
    fix = "wait while it is created; a machine that failed or was stopped is removed, or `replace` it"
    return Finding(detail, fix)


def _address(bridge: Bridge) -> Finding | None:
    if bridge.instance is not None and bridge.instance.address is not None:
        return None
    fix = "look at the NIC of the VM: the app reads the private address of the primary one"
    return Finding("Azure tells no private address for it", fix)


_PORT: dict[Reach, tuple[str, str]] = {
    Reach.REFUSED: (
        "the VM is up, and its port refuses connections",
        "start the JVB; its `videobridge.http-servers.private` must name the private address and port",
    ),
    Reach.TIMED_OUT: (
        "its port does not answer in time",
        "let the app's subnet reach the port: network security group, route, firewall on the VM",
    ),
    Reach.BROKEN: (
        "something answers on its port that is no bridge",
        "see what listens there: `bridge_port` must be the JVB's private HTTP port",
    ),
    Reach.NOT_ASKED: (
        "it was not asked: two machines have the same address, or Azure only just listed it",
        "ask again in a minute",
    ),
}


def _port(bridge: Bridge) -> Finding | None:
    if bridge.poll.reach is Reach.ANSWERED:
        return None
    detail, fix = _PORT[bridge.poll.reach]
    problem = f" ({bridge.poll.problem})" if bridge.poll.problem else ""
    return Finding(detail + problem, fix)


def _health(bridge: Bridge) -> Finding | None:
    if bridge.poll.health_ok:
        return None
    detail = "/about/health does not say 200" if bridge.poll.health_ok is False else "no answer on its health"
    return Finding(_with_problem(detail, bridge), "read the JVB's log: it names the check that fails")


def _statistics(bridge: Bridge) -> Finding | None:
    if not bridge.poll.supported:
        return Finding("its JVB cannot drain", "upgrade to JVB stable 7210 (April 2022) or newer")
    if bridge.poll.stats is not None:
        return None
    fix = "switch on `videobridge.apis.rest.enabled` in jvb.conf"
    return Finding(_with_problem("no statistics that can be read", bridge), fix)


def _fresh(bridge: Bridge) -> Finding | None:
    if bridge.fresh:
        return None
    fix = "a clock that stands still is a stuck JVB: restart it; one that is wrong needs time synchronisation"
    return Finding("its statistics are old: their clock does not advance, or lags", fix)


def _muc(bridge: Bridge) -> Finding | None:
    stats = bridge.poll.stats
    if stats is not None and stats.muc_clients_connected and stats.mucs_joined:
        return None
    detail = "it is not in its MUC, so Jicofo does not know it"
    if stats is not None and stats.muc_clients_connected:
        detail = "it reached Prosody, but did not join its MUC, so Jicofo does not know it"
    fix = "compare domain, secret, certificate and MUC in `videobridge.apis.xmpp-client` with Prosody's"
    return Finding(detail, fix)


_ACCEPTING: dict[Purpose, tuple[str, str]] = {
    Purpose.FOREIGN: ("somebody else drained it", "`undrain` takes it back when they are done"),
    Purpose.OPERATOR: ("it drains by an operator's command", "`undrain` takes it back"),
}


def _accepting(bridge: Bridge) -> Finding | None:
    if bridge.observed_drain is False and bridge.healthy:
        return None
    stats, purpose = bridge.poll.stats, bridge.memory.purpose
    if stats is not None and (stats.graceful_shutdown or stats.shutting_down):
        return Finding("it was told to shut down, and ends when its calls do", "nothing: this is the way out")
    if bridge.observed_drain is False:
        return Finding(bridge.unhealthy_because or "it is not healthy", "read the JVB's log")
    if purpose is None:
        return Finding("it is still drained, as its image starts", "nothing: two good polls open it")
    rule = (f"the rules drain it ({purpose})", "nothing: `explain` says why; `protect` keeps it")
    return Finding(*_ACCEPTING.get(purpose, rule))


def _with_problem(detail: str, bridge: Bridge) -> str:
    return f"{detail}: {bridge.poll.problem}" if bridge.poll.problem else detail


LINKS: tuple[tuple[str, Look], ...] = (
    ("power", _power),
    ("address", _address),
    ("port", _port),
    ("health", _health),
    ("statistics", _statistics),
    ("fresh", _fresh),
    ("muc", _muc),
    ("accepting", _accepting),
)
"""In the order in which one needs the other. That Azure lists it is the link before the first."""


def examine(bridge: Bridge) -> dict[str, Any]:
    """
    Return the links of one bridge as plain JSON values: `true`, `false`, or null behind a broken one.

    `first_broken` is null for a bridge that takes calls.
    """
    links: dict[str, bool | None] = {"listed": True, **dict.fromkeys(name for name, _ in LINKS)}
    broken, found = None, None
    for name, look in LINKS:
        found = look(bridge)
        links[name] = found is None
        if found is not None:
            broken = name
            break
    return {
        "name": bridge.name,
        "vm_id": bridge.vm_id,
        "address": bridge.memory.address,
        "phase": str(bridge.phase),
        "links": links,
        "first_broken": broken,
        "detail": found.detail if found else None,
        "fix": found.fix if found else None,
    }
