"""
The state of every shard in the Prometheus text format 0.0.4. Pure.

Written by hand: the client library counts within one process, and here every process of the app
must tell the same, from the tables. Unknown is no sample, never a zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scaler.model import BridgeMemory, Phase, ShardMemory

PREFIX = "jvb_autoscaler_"
CONTENT_TYPE = "text/plain; version=0.0.4"


@dataclass(frozen=True, slots=True)
class ShardView:
    """What is known of one shard when it is asked for."""

    shard: str
    state: ShardMemory | None = None
    bridges: tuple[BridgeMemory, ...] = ()
    record: Mapping[str, Any] | None = None
    """The newest decision record."""
    readable: bool = True
    """The tables answered."""


Sample = tuple[str, Mapping[str, str], float | None]
"""Family, labels, value."""

FAMILIES: dict[str, str] = {
    "tables_up": "1: the tables of the shard could be read; 0: they could not, and nothing is done",
    "last_tick_age_seconds": "since the last tick that was recorded; a tick runs every 60",
    "tick_seconds": "from the start of the last tick to the record of its decision",
    "poll_seconds": "of them, until ARM, the bridges and Azure Monitor were heard",
    "lease_epoch": "epoch of the lease under which the last tick ran; it grows with each run",
    "bridges": "machines by phase",
    "bridges_healthy": "bridges with every sign of health in the last tick, draining ones too",
    "bridges_accepting": "healthy bridges that take new conferences",
    "bridges_sick": "machines that were bad in too many of their last polls",
    "bridges_unknown": "machines that did not answer in the last tick",
    "bridges_outdated": "machines that the night has still to replace",
    "bridges_wanted": "accepting bridges that the load asks for",
    "bridges_desired": "accepting and pending bridges after the actions of the last tick",
    "bridges_pending": "machines on their way",
    "bridges_minimum": "policy field min_bridges",
    "bridges_maximum": "policy field max_bridges",
    "capacity": "capacity of the scale set as ARM tells it",
    "demand": "sum of the pressures of the healthy bridges; 1 is what one bridge carries",
    "conferences": "conferences on the bridges that answered",
    "participants": "endpoints on the bridges that answered",
    "egress_mbps": "traffic that the bridges that answered send, Mbit/s",
    "bridge_pressure": "last known load over threshold; 1 is a full bridge",
    "bridge_age_seconds": "since Azure created the machine",
    "actions": "actions of the last tick by what they do and whether they were done",
    "refusals": "refusals of the last tick by reason",
    "refusal_age_seconds": "since when the oldest refusal of this reason in the last tick stands",
    "alerts": "open alerts by kind",
    "alert_age_seconds": "since when the oldest open alert of this kind stands",
    "boot_failures": "machines in a row that did not come up",
    "paused": "1: an operator paused the shard",
    "dry_run": "1: nothing but the tables is changed",
}
"""Every family, in the order in which it is told. All are gauges."""

_OF_TOTALS = {
    "bridges_healthy": "healthy",
    "bridges_accepting": "accepting",
    "bridges_sick": "sick",
    "bridges_unknown": "unknown",
    "bridges_outdated": "outdated",
    "bridges_wanted": "wanted",
    "bridges_desired": "desired",
    "bridges_pending": "pending",
    "bridges_minimum": "minimum",
    "bridges_maximum": "maximum",
    "capacity": "capacity",
    "demand": "demand",
    "conferences": "conferences",
    "participants": "participants",
    "egress_mbps": "out_mbps",
}


def exposition(views: Iterable[ShardView], now: datetime) -> str:
    """Return all families of all shards, each with its help and type, as the format wants it."""
    samples = [sample for view in views for sample in _samples(view, now)]
    lines: list[str] = []
    for family, meaning in FAMILIES.items():
        told = [sample for sample in samples if sample[0] == family and sample[2] is not None]
        if told:
            name = PREFIX + family
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {_number(value)}" for _, labels, value in told]
    return "".join(f"{line}\n" for line in lines)


def _samples(view: ShardView, now: datetime) -> list[Sample]:
    shard = {"shard": view.shard}
    found: list[Sample] = [("tables_up", shard, float(view.readable))]
    if view.state is not None:
        found += _of_state(view.state, shard, now)
        found += _of_bridges(view.bridges, shard, now)
    if view.record is not None:
        found += _of_record(view.record, shard, now)
    return found


def _of_state(state: ShardMemory, shard: Mapping[str, str], now: datetime) -> list[Sample]:
    kinds: dict[str, list[datetime]] = {}
    for key, since in state.alerts.items():
        kinds.setdefault(key.partition(":")[0], []).append(since)
    return [
        ("last_tick_age_seconds", shard, _age(state.last_tick_at, now)),
        ("lease_epoch", shard, state.epoch),
        ("boot_failures", shard, state.boot_failures),
        ("paused", shard, float(state.paused)),
        *(("alerts", {**shard, "kind": kind}, len(since)) for kind, since in kinds.items()),
        *(
            ("alert_age_seconds", {**shard, "kind": kind}, _age(min(since), now))
            for kind, since in kinds.items()
        ),
    ]


def _of_bridges(bridges: Iterable[BridgeMemory], shard: Mapping[str, str], now: datetime) -> list[Sample]:
    known = list(bridges)
    phases = Counter(memory.phase for memory in known)
    found: list[Sample] = [
        ("bridges", {**shard, "phase": str(phase)}, phases[phase]) for phase in Phase if phase != Phase.GONE
    ]
    for memory in known:
        labels = {**shard, "bridge": memory.name, "vm_id": memory.vm_id}
        found.append(("bridge_pressure", labels, memory.pressure))
        found.append(("bridge_age_seconds", labels, _age(memory.time_created, now)))
    return found


def _of_record(record: Mapping[str, Any], shard: Mapping[str, str], now: datetime) -> list[Sample]:
    refusals, since = Counter[str](), dict[str, datetime]()
    for refusal in record.get("refusals") or ():
        reason = str(refusal["reason"])
        refusals[reason] += 1
        if refusal.get("since"):
            began = datetime.fromisoformat(refusal["since"])
            since[reason] = min(began, since.get(reason, began))
    actions = Counter((str(a["do"]), bool(a.get("done"))) for a in record.get("actions") or ())
    totals = record.get("totals") or {}
    # A tick that held still saw nothing: its totals, the maximum too, are all 0, and unknown is not 0.
    seen = totals if totals.get("maximum") else {}
    return [
        ("dry_run", shard, float(bool(record.get("dry_run")))),
        ("tick_seconds", shard, record.get("tick_seconds")),
        ("poll_seconds", shard, record.get("poll_seconds")),
        *((family, shard, seen.get(name)) for family, name in _OF_TOTALS.items()),
        *(
            ("actions", {**shard, "action": do, "done": str(done).lower()}, count)
            for (do, done), count in actions.items()
        ),
        *(("refusals", {**shard, "reason": reason}, count) for reason, count in refusals.items()),
        *(
            ("refusal_age_seconds", {**shard, "reason": reason}, _age(began, now))
            for reason, began in since.items()
        ),
    ]


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else (now - since).total_seconds()


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float | None) -> str:
    return repr(float(value or 0.0))
