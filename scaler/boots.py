"""A machine's call-back about its own boot: what may stand in it, and whether it is taken. Pure."""

from __future__ import annotations

import ipaddress
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from scaler.model import BootRemark, BridgeMemory, Phase, changed
from scaler.passive import boot_began
from scaler.policy import ScalingPolicy
from scaler.selection import Fleet

MOST_BYTES = 8192
MOST_REPORTS = 3
"""For each machine. It sends one; the answer may get lost on the way."""
STILL_OPEN = timedelta(minutes=5)
"""So long after the boot's deadline a machine may still say why it failed."""
JUST_CAME = timedelta(minutes=10)
"""So long a boot stands in the minutes of usage: one that is overwritten, or a late remark, loses none."""
_LONGEST_PHASE_SECONDS = 86_400
_MOST_PHASES = 12
_OUTCOMES = ("ready", "failed")


class Refusal(StrEnum):
    """Why a call-back was not taken; each is counted."""

    TOO_LARGE = "too_large"
    NOT_UNDERSTOOD = "not_understood"
    NOT_OURS = "not_ours"
    """No such shard, no such machine in it, or another address: the caller is not told which."""
    NOT_BOOTING = "not_booting"
    TOO_MANY = "too_many"


class NotTaken(ValueError):
    """A call-back that is not written down."""

    def __init__(self, refusal: Refusal, why: str) -> None:
        """`why`: what the caller may know."""
        super().__init__(why)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class BootReport:
    """What a machine says, after its text was cleaned."""

    shard: str
    vm_id: str
    outcome: str
    phase: str
    seconds: dict[str, float]
    reason: str | None
    log: str | None


def read_report(body: bytes) -> BootReport:
    """Read a call-back. Raises `NotTaken` with the field that is wrong."""
    if len(body) > MOST_BYTES:
        raise NotTaken(Refusal.TOO_LARGE, f"the body has {len(body)} bytes, allowed: {MOST_BYTES}")
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotTaken(Refusal.NOT_UNDERSTOOD, "the body is not JSON") from error
    if not isinstance(sent, dict):
        raise NotTaken(Refusal.NOT_UNDERSTOOD, "the body is no JSON object")
    outcome = _text(sent, "outcome", 20)
    if outcome not in _OUTCOMES:
        raise NotTaken(Refusal.NOT_UNDERSTOOD, f"outcome: allowed: {' or '.join(_OUTCOMES)}")
    return BootReport(
        shard=_text(sent, "shard", 64),
        vm_id=_text(sent, "vm_id", 64).lower(),
        outcome=outcome,
        phase=_text(sent, "phase", 40),
        seconds=_seconds(sent.get("seconds", {})),
        reason=_text(sent, "reason", 1000, default="") or None,
        log=_text(sent, "log", 4000, default="") or None,
    )


def check(
    memory: BridgeMemory | None, source: str | None, policy: ScalingPolicy, now: datetime
) -> BridgeMemory:
    """
    Return the machine's row if a call-back from this address may be written to it. Raises `NotTaken`.

    `memory`: its row, which ARM's last complete list vouches for; `source`: the address that the
    platform saw. A lost or shared address proves nothing.
    """
    if memory is None or memory.unlisted_since or memory.address is None or source != memory.address:
        raise not_ours()
    if memory.boot.reports >= MOST_REPORTS:
        raise NotTaken(Refusal.TOO_MANY, f"{MOST_REPORTS} call-backs of this machine were taken")
    late = now - boot_began(memory) > policy.boot_timeout + STILL_OPEN
    if late or memory.phase not in (Phase.BOOTING, Phase.FAILED, Phase.READY):
        raise NotTaken(Refusal.NOT_BOOTING, "this machine does not boot")
    return memory


def not_ours() -> NotTaken:
    """One answer for all that is not known, so that nobody learns by asking what there is."""
    return NotTaken(Refusal.NOT_OURS, "no machine of that shard with that vm_id has your address")


def noted(memory: BridgeMemory, report: BootReport, now: datetime) -> BridgeMemory:
    """Return the row with the remark. The phase of its life stays what our own polls made it."""
    remark = BootRemark(
        reports=memory.boot.reports + 1,
        reported_at=now,
        outcome=report.outcome,
        phase=report.phase,
        seconds=report.seconds,
        reason=report.reason,
        log=report.log,
    )
    told_late = memory.phase is Phase.FAILED and remark.failure is not None
    return changed(memory, boot=remark, failure=remark.failure if told_late else memory.failure)


def caller(forwarded_for: str | None) -> str | None:
    """
    Return the address of whoever called, from `X-Forwarded-For`; None where it cannot be read.

    The last entry is the platform's own; those before it are what the caller claims.
    """
    last = (forwarded_for or "").rpartition(",")[2].strip()
    for text in (last, last.rpartition(":")[0].strip("[]")):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return str(mapped or address)
    return None


def plain(text: str) -> str:
    """Drop what could move a terminal's cursor or turn a line around; line ends stay."""
    return "".join(char for char in text if char == "\n" or unicodedata.category(char)[0] != "C")


def _text(sent: Mapping[str, Any], name: str, most: int, default: str | None = None) -> str:
    value = sent.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise NotTaken(Refusal.NOT_UNDERSTOOD, f"{name}: allowed: text")
    return plain(value)[:most]


def _seconds(value: Any) -> dict[str, float]:
    fault = NotTaken(Refusal.NOT_UNDERSTOOD, "seconds: allowed: an object with the seconds of each phase")
    if not isinstance(value, dict) or len(value) > _MOST_PHASES:
        raise fault
    for took in value.values():
        if type(took) not in (int, float) or not 0 <= took <= _LONGEST_PHASE_SECONDS:
            raise fault
    return {plain(phase)[:40]: float(took) for phase, took in value.items()}


# What usage keeps of it


def boots_told(fleet: Fleet) -> str:
    """
    Tell as JSON the seconds of each machine that became a bridge in the last minutes; empty: none did.

    `ready_after` by our own clock, since it was asked for; the phases as the machine told them.
    """
    told = {}
    for memory in (bridge.memory for bridge in fleet.bridges):
        took = memory.ready_after_seconds
        if took is None or fleet.now - boot_began(memory) - timedelta(seconds=took) >= JUST_CAME:
            continue
        told[memory.vm_id] = {**memory.boot.seconds, "ready_after": round(took, 1)}
    return json.dumps(told, sort_keys=True) if told else ""
