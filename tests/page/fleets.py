"""Answers of an app with as many bridges as one likes, in the shape of the real ones."""

from __future__ import annotations

from typing import Any

from aiohttp import web

import page
from scaler.advice import WAY_OUT
from scaler.decision import Reason
from scaler.explain import SENTENCES

NOW = "2026-03-04T04:12:00.000Z"
EVIL = '<img src=x onerror="globalThis.wasScripted=true"><script>globalThis.wasScripted=true</script>'
REASONS = list(Reason)
PHASES = ("ready", "ready", "ready", "draining", "booting", "fenced", "deleting", "failed")


def bridge(number: int) -> dict[str, Any]:
    """One bridge's row of `status`."""
    phase = PHASES[number % len(PHASES)]
    return {
        "name": EVIL if number == 3 else f"jvb-a_{number:08x}",
        "vm_id": f"vm-{number}",
        "address": "10.0.0.4",
        "phase": phase,
        "purpose": "surplus" if phase == "draining" else None,
        "created": "2026-03-03T09:12:00.000Z" if number % 9 else None,
        "image": "1.2.3",
        "process_started": None,
        "pressure": None if number % 7 == 6 else number % 12 / 10,
        "polls": "11111",
        "why": SENTENCES[REASONS[number % len(REASONS)]] if number % 5 else None,
        "why_since": "2026-03-04T03:50:00.000Z",
        "in_words": "",
    }


def status(bridges: int) -> dict[str, Any]:
    """What `status` says at four in the morning, in the middle of a night."""
    return {
        "at": NOW,
        "dry_run": bridges == 1,
        "configuration": {"valid": True, "faults": []},
        "shards": [shard(bridges)],
    }


def shard(bridges: int) -> dict[str, Any]:
    """One shard of `status`."""
    totals = {"listed": bridges, "accepting": bridges // 2, "pending": 1, "minimum": 1, "maximum": 15}
    figures = {
        "conferences": 3 * bridges,
        "participants": 20 * bridges,
        "out_mbps": 70.5 * bridges,
        "demand": bridges / 3,
    }
    night = {
        "date": "2026-03-04",
        "open": True,
        "outcome": None,
        "of": bridges,
        "outdated": bridges // 3,
        "beside": 1,
        "canary": {
            "vm_id": "vm-1",
            "verdict": "proved",
            "why": None,
            "accepted_at": NOW,
            "baked_minutes": 30,
        },
        "waits_for": "jvb-a_00000001, which has 2 conferences",
        "blocked_images": ["1.2.4"],
    }
    command = {
        "command_id": "c-1",
        "kind": "floor",
        "minimum": 4,
        "state": "in_force",
        "by": EVIL,
        "why": "school",
        "asked_at": NOW,
    }
    event = {"at": NOW, "kind": "refused", "subject": "jvb-a", "text": f"oldest_busy: {EVIL}"}
    return {
        "shard": "main",
        "last_tick_at": NOW if bridges else None,
        "sentence": "nothing to do: the oldest bridge still has a conference"
        if bridges
        else "no tick has run yet",
        "totals": {**totals, **figures} if bridges else {},
        "paused": bridges == 12,
        "pause_reason": "paused by ann: maintenance",
        "night": night if bridges > 1 else None,
        "alerts": [{"key": "sick:jvb-a_00000007", "since": NOW}] if bridges > 1 else [],
        "commands": [command] if bridges > 1 else [],
        "bridges": [bridge(number) for number in range(bridges)],
        "events": [event] * min(bridges, 20),
    }


def explained(bridges: int) -> dict[str, Any]:
    """What `explain` says: a refusal for each reason that there is, where there are bridges enough."""
    refusals = [
        {
            "reason": str(reason),
            "detail": "2 of 3",
            "name": f"jvb-a_{number:08x}",
            "since": NOW,
            "meaning": SENTENCES[reason],
            "way_out": WAY_OUT[reason],
        }
        for number, reason in enumerate(REASONS[:bridges])
    ]
    return {"at": NOW, "shards": [{"shard": "main", "not_done": refusals}]}


def usage(minutes: int) -> dict[str, Any]:
    """Rows of `usage`, with a gap of an hour in which nothing is known."""
    rows = [
        {
            "at": f"2026-03-{day:02d}T{hour:02d}:{minute:02d}:00Z",
            "shard": "main",
            "accepting": 2 + hour % 5,
            "wanted": None if hour == 2 else 1 + hour % 4,
            "participants": 20 * hour,
            "out_mbps": 31.5 * hour,
        }
        for day in (1, 2, 3, 4)
        for hour in range(24)
        for minute in range(60)
        if (day, hour) != (3, 2)
    ]
    return {"rows": rows[:minutes]}


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """Serve `/<bridges>/api/...` as an app with so many bridges would; the key is `look`."""
    count, _, name = request.rel_url.path.strip("/").partition("/api/")
    if name == "dashboard":
        shown = page.dashboard()
        return web.Response(body=shown.html, headers=dict(shown.headers), content_type="text/html")
    if request.headers.get("x-functions-key") != "look":
        return web.Response(status=401)
    bridges = int(count)
    found = {"status": status(bridges), "explain": explained(bridges)}
    if bridges:
        found["usage"] = usage(5760 if bridges > 1 else 0)
    return web.json_response(found[name]) if name in found else web.Response(status=404)
