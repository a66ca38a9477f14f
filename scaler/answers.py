"""Answers to operators' questions, from the tables and, for a plan, from one dry look at the world."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scaler.advice import WAY_OUT
from scaler.decision import Reason
from scaler.doctor import examine
from scaler.errors import Refused, TryNextTick
from scaler.explain import SENTENCES, bridge_in_words, command_record, iso, refusal_in_words
from scaler.exposition import ShardView, exposition
from scaler.minutes import DAY, thinned
from scaler.model import BridgeMemory, Command, Night, Phase, ShardMemory
from scaler.ports import ShardRows
from scaler.reckon import Books, usage_days
from scaler.selection import is_our_drain_row
from scaler.sheet import csv_text
from scaler.tick import Engine

EVENTS_SHOWN = 20
DECISIONS_SHOWN = 5
_UNDRAIN_BY_HAND = "curl -X POST http://{address}:{port}/colibri/drain/disable"


async def status(engine: Engine) -> dict[str, Any]:
    """Every shard as it was left by its last tick: bridges, alerts, refusals, last decisions and events."""
    shards = await asyncio.gather(*(_shard_status(engine, name) for name in engine.shards))
    return {
        "at": iso(engine.clock.now()),
        "dry_run": engine.dry_run,
        "configuration": {"valid": True, "faults": []},
        "shards": list(shards),
    }


BRIDGE_COLUMNS = (
    "shard",
    "name",
    "vm_id",
    "address",
    "phase",
    "purpose",
    "created",
    "image",
    "process_started",
    "pressure",
    "polls",
    "why",
    "why_since",
)


async def status_sheet(engine: Engine) -> str:
    """Every bridge of every shard as a line of CSV."""
    told = await status(engine)
    rows = [{"shard": shard["shard"], **row} for shard in told["shards"] for row in shard.get("bridges", ())]
    return csv_text(BRIDGE_COLUMNS, rows)


def status_of_invalid(faults: Sequence[str], at: datetime) -> dict[str, Any]:
    """What status says while the configuration is invalid: every fault, and that nothing is done."""
    return {
        "at": iso(at),
        "configuration": {"valid": False, "faults": list(faults)},
        "note": "Nothing is changed anywhere until every fault is mended. Bridges that an earlier run left "
        "drained stay drained; the table `bridges` names them (phase draining), and "
        + _UNDRAIN_BY_HAND.format(address="<address>", port="<port>")
        + " takes a drain back.",
        "shards": [],
    }


async def _shard_status(engine: Engine, name: str) -> dict[str, Any]:
    now = engine.clock.now()
    try:
        rows, decisions, events = await asyncio.gather(
            engine.store.load(name),
            engine.store.decisions(name, now, DECISIONS_SHOWN),
            engine.store.events(name, now, EVENTS_SHOWN),
        )
    except (TryNextTick, Refused) as error:
        return {"shard": name, "error": f"the tables do not answer: {error}"}
    state = rows.state.value if rows.state else None
    return {
        "shard": name,
        "scale_set_id": engine.shards[name].scale_set_id,
        "last_tick_at": iso(state.last_tick_at) if state else None,
        "sentence": decisions[0].get("sentence") if decisions else "no tick has run yet",
        "totals": decisions[0].get("totals", {}) if decisions else {},
        "paused": state.paused if state else False,
        "night": _night(state) if state and state.night.date else None,
        "alerts": _since(state.alerts) if state else [],
        "refusals": _since(state.standing) if state else [],
        "pause_reason": state.pause_reason if state else None,
        "commands": [command_record(each) for each in _newest_commands(rows)],
        "bridges": [_bridge_row(memory) for memory in _by_age(rows)],
        "left_drained": _left_drained(rows, engine.shards[name].bridge_port) if engine.dry_run else [],
        "decisions": [
            {key: record.get(key) for key in ("at", "epoch", "dry_run", "sentence")} for record in decisions
        ],
        "events": list(events),
    }


_RELAYS = (
    "the bridges carry relay ids: until all have one version, a bridge of the new one cannot join a running "
    "conference that spans several of the old one; draining bridges keep serving theirs"
)


def _night(state: ShardMemory) -> dict[str, Any]:
    """The last or present night: what it is for, how far it is, what it waits for and since when."""
    night = state.night
    return {
        "date": night.date,
        "open": night.is_open,
        "opened_at": iso(night.opened_at),
        "until": iso(night.until),
        "ended_at": iso(night.ended_at),
        "outcome": night.outcome,
        "target": night.target,
        "good_image": state.good_image,
        "blocked_images": sorted(state.blocked_images),
        "canary": _canary(night),
        "outdated": night.outdated,
        "of": night.of,
        "beside": night.beside,
        "waits_for": night.waits_for,
        "waits_since": iso(night.waits_since),
        "warning": _RELAYS if night.relays and night.is_open else None,
    }


def _canary(night: Night) -> dict[str, Any] | None:
    if night.canary is None:
        return None
    verdict = "proved" if night.passed_at else "failed" if night.failed else "on trial"
    return {
        "vm_id": night.canary,
        "verdict": verdict,
        "why": night.failed,
        "accepted_at": iso(night.accepted_at),
        "baked_minutes": round(night.baked_seconds / 60, 1),
    }


def _by_age(rows: ShardRows) -> list[BridgeMemory]:
    memories = (row.value for row in rows.bridges.values())
    return sorted(memories, key=lambda m: (m.time_created is not None, m.time_created, m.name))


def _since(standing: Mapping[str, datetime]) -> list[dict[str, Any]]:
    return [{"key": key, "since": iso(since)} for key, since in sorted(standing.items(), key=lambda e: e[1])]


def _newest_commands(rows: ShardRows) -> list[Command]:
    """Open commands, and those that ended in the last day; newest first."""
    return sorted((row.value for row in rows.commands.values()), key=lambda c: c.asked_at, reverse=True)


def _bridge_row(memory: BridgeMemory) -> dict[str, Any]:
    return {
        "name": memory.name,
        "vm_id": memory.vm_id,
        "address": memory.address,
        "phase": str(memory.phase),
        "purpose": str(memory.purpose) if memory.purpose else None,
        "created": iso(memory.time_created),
        "image": memory.image,
        "process_started": iso(memory.process_started_at),
        "pressure": None if memory.pressure is None else round(memory.pressure, 3),
        "polls": memory.polls,
        "ready_after_seconds": memory.ready_after_seconds,
        "boot_seconds": memory.boot.seconds or None,
        "boot_failure": memory.boot.failure,
        "why": SENTENCES[Reason(memory.refusal)] if memory.refusal else None,
        "why_since": iso(memory.refusal_since),
        "in_words": bridge_in_words(memory),
    }


def _left_drained(rows: ShardRows, port: int) -> list[dict[str, str]]:
    """In dry run nothing takes our own drains back: name each with the command that does."""
    return [
        {
            "name": row.value.name,
            "command": _UNDRAIN_BY_HAND.format(address=row.value.address or "<address>", port=port),
        }
        for row in rows.bridges.values()
        if is_our_drain_row(row.value)
    ]


async def explain(engine: Engine, shard: str | None, bridge: str | None) -> dict[str, Any]:
    """
    Why each shard, or one bridge (by name or vmId), is as it is, and since when.

    Raises `KeyError` with the name of a shard or bridge that is not known.
    """
    names = _named(engine, shard)
    explained = [await _explain_shard(engine, name, bridge) for name in names]
    if bridge and not any(each["bridges"] for each in explained):
        raise KeyError(f"no bridge {bridge!r} in {', '.join(names)}")
    return {"at": iso(engine.clock.now()), "dry_run": engine.dry_run, "shards": explained}


async def _explain_shard(engine: Engine, name: str, bridge: str | None) -> dict[str, Any]:
    now = engine.clock.now()
    rows, decisions = await asyncio.gather(engine.store.load(name), engine.store.decisions(name, now, 1))
    record = decisions[0] if decisions else {}
    return {
        "shard": name,
        "decided_at": record.get("at"),
        "sentence": record.get("sentence", "no tick has run yet"),
        "votes": record.get("votes", []),
        "not_done": [each for each in _not_done(record) if bridge is None or bridge in _whom(each)],
        "bridges": [
            {"name": m.name, "vm_id": m.vm_id, "why": bridge_in_words(m), **_why(m)}
            for m in _by_age(rows)
            if m.phase is not Phase.GONE and (bridge is None or bridge in (m.name, m.vm_id))
        ],
    }


def _not_done(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every refusal of a decision, and every step of it that failed: what it means and what ends it."""
    names = {each["vm_id"]: each["name"] for each in record.get("bridges", ())}
    failed = [
        {
            "reason": action["refused"],
            "detail": action.get("detail", ""),
            **({"vm_id": vm_id, "name": names.get(vm_id)} if (vm_id := action.get("vm_id")) else {}),
            "since": record.get("at"),
        }
        for action in record.get("actions", ())
        if "refused" in action
    ]
    return [
        {
            **refusal,
            "meaning": SENTENCES[Reason(refusal["reason"])],
            "way_out": WAY_OUT[Reason(refusal["reason"])],
        }
        for refusal in (*record.get("refusals", ()), *failed)
    ]


def _whom(refusal: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return refusal.get("name"), refusal.get("vm_id")


def _why(memory: BridgeMemory) -> dict[str, Any]:
    """Why a bridge stays, from its row alone; null where nothing stands in its way."""
    reason = Reason(memory.refusal) if memory.refusal else None
    return {
        "reason": memory.refusal,
        "since": iso(memory.refusal_since),
        "way_out": WAY_OUT[reason] if reason else None,
    }


async def plan(engine: Engine, shard: str | None) -> dict[str, Any]:
    """One dry tick of one or every shard: what would be done now. Raises `KeyError` as `explain`."""
    reports = await asyncio.gather(*(engine.plan(name) for name in _named(engine, shard)))
    return {
        "at": iso(engine.clock.now()),
        "shards": [
            {"shard": r.shard, "result": r.result, "sentence": r.sentence, "decision": r.record}
            for r in reports
        ],
    }


async def doctor(engine: Engine, shard: str | None) -> dict[str, Any]:
    """Look at every bridge now, and name the first broken link of each. Raises `KeyError` as `explain`."""
    names = _named(engine, shard)
    shards = await asyncio.gather(*(_examined(engine, name) for name in names))
    return {"at": iso(engine.clock.now()), "shards": list(shards)}


async def _examined(engine: Engine, name: str) -> dict[str, Any]:
    try:
        decision, snapshot = await engine.look(name)
    except (TryNextTick, Refused) as error:
        return {"shard": name, "error": f"the tables do not answer: {error}", "bridges": []}
    if snapshot is None:
        return {"shard": name, "error": decision.refusals[0].detail, "bridges": []}
    stop = next((r for r in decision.refusals if r.reason in _STOPS), None)
    return {
        "shard": name,
        "error": refusal_in_words(stop) if stop else None,
        "bridges": [examine(bridge) for bridge in snapshot.bridges],
    }


_STOPS = (Reason.OTHER_OWNER, Reason.CONFIGURATION_INCOMPLETE)


async def events(engine: Engine, shard: str | None, since: datetime | None, limit: int) -> dict[str, Any]:
    """
    What happened after `since`, of today and yesterday, oldest first; at most the newest `limit`.

    `next_since` asks for what comes after these. Raises `KeyError` as `explain`.
    """
    now, names = engine.clock.now(), _named(engine, shard)
    found = await asyncio.gather(*(engine.store.events(name, now, limit) for name in names))
    after = iso(since) or ""
    rows = [
        {"shard": name, **row}
        for name, rows in zip(names, found, strict=True)
        for row in reversed(rows)
        if str(row.get("at", "")) > after
    ]
    rows = sorted(rows, key=lambda row: row["at"])[-limit:]
    return {"at": iso(now), "events": rows, "next_since": rows[-1]["at"] if rows else iso(since)}


def _named(engine: Engine, shard: str | None) -> list[str]:
    if shard and shard not in engine.shards:
        raise KeyError(f"no shard {shard!r}; there are: {', '.join(engine.shards)}")
    return [shard] if shard else list(engine.shards)


async def usage(
    engine: Engine, books: Books, shard: str | None, since: datetime, until: datetime, step: int
) -> dict[str, Any]:
    """
    Usage from `since` on and before `until`, one row for each `step` minutes, oldest first.

    Steps of a day are whole days of each shard's own time zone.

    Raises `KeyError` as `explain`.
    """
    found = await asyncio.gather(
        *(_usage_of(engine, books, name, since, until, step) for name in _named(engine, shard))
    )
    return {
        "from": iso(since),
        "to": iso(until),
        "step_minutes": step,
        "rows": sorted((row for rows in found for row in rows), key=lambda row: (row["at"], row["shard"])),
    }


async def _usage_of(
    engine: Engine, books: Books, name: str, since: datetime, until: datetime, step: int
) -> list[dict[str, Any]]:
    if step == DAY:
        time_zone = engine.shards[name].policy.time_zone
        return await usage_days(books, name, time_zone, since, until, engine.clock.now())
    rows = [dict(row) for row in await books.tables.figures(name, since, until)]
    for row in rows:
        row.pop("seen_at", None)  # it is for the tables; `at` is the minute
    return thinned([{"at": row["at"], "shard": name, **row} for row in rows], step)


async def usage_sheet(
    engine: Engine, books: Books, shard: str | None, since: datetime, until: datetime, step: int
) -> str:
    """Write the same as CSV: a column for each figure that any row has."""
    rows = (await usage(engine, books, shard, since, until, step))["rows"]
    return csv_text(list(dict.fromkeys(name for row in rows for name in row)) or ["at", "shard"], rows)


async def metrics(engine: Engine) -> str:
    """Every shard in the Prometheus text format; one whose tables do not answer says only that."""
    views = await asyncio.gather(*(_view(engine, name) for name in engine.shards))
    return exposition(views, engine.clock.now())


async def _view(engine: Engine, name: str) -> ShardView:
    try:
        rows, decisions = await asyncio.gather(
            engine.store.load(name), engine.store.decisions(name, engine.clock.now(), 1)
        )
    except (TryNextTick, Refused):
        return ShardView(name, readable=False)
    state = rows.state.value if rows.state else None
    return ShardView(name, state, tuple(_by_age(rows)), decisions[0] if decisions else None)
