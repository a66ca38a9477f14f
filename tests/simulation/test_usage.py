"""Usage in the middle of disasters: lives of machines, recounted from the world's own history."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sandbox import simulation
from sandbox.fault_kinds import KINDS
from sandbox.faults import draw
from sandbox.history import VmLife
from sandbox.memory_store import MemoryStore
from sandbox.scenario import SHARD, START, scenario
from scaler.policy import ScalingPolicy
from scaler.reckon import Books, reckon
from scaler.samples import Minute, Spent, read_minute

HOURS = 6
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("seed", [2, 3, 8])
async def test_lives_come_out_whole_whatever_happens(seed: int, monkeypatch: pytest.MonkeyPatch):
    """Every machine that a tick ever saw, from its creation to the first list without it."""
    monkeypatch.setattr(simulation, "MemoryStore", lambda **_: MemoryStore())
    plan = [fault for fault in draw(seed, HOURS, KINDS.values()) if fault.kind != "host_clock"]
    run = simulation.Run(scenario(seed, HOURS), plan, HOURS)
    assert not (await run.live()).failed
    now, books = run.world.now, Books(run.store)
    while await reckon(books, SHARD, ScalingPolicy(max_bridges=9), now):
        pass
    until = await run.store.reckoned_until(SHARD)
    assert until is not None
    told: dict[str, float] = {}
    for row in await run.store.bridgehours(SHARD, START - HOUR, until):
        told[row["vm_id"]] = told.get(row["vm_id"], 0.0) + row["seconds"]
        assert sum(row[f"{each}_seconds"] for each in Spent) == pytest.approx(row["seconds"], abs=1e-6)
    minutes = await run.store.minutes(SHARD, START - HOUR, now + HOUR)
    looks = [look for row in minutes if (look := read_minute(row)) is not None]
    seen = {vm_id for look in looks for vm_id in look.machines}
    lives = [life for life in run.world.history.lives if life.vm_id in seen]
    expected = {life.vm_id: lived(life, looks, until) for life in lives}
    assert {vm_id: told.get(vm_id, 0.0) for vm_id in expected} == pytest.approx(expected, abs=1)
    assert len(expected) > 5


def lived(life: VmLife, looks: list[Minute], until: datetime) -> float:
    """Seconds from the first look, or its creation, to the first look behind its end without it."""
    over = (look for look in looks if life.gone_at is not None and look.at >= life.gone_at)
    end = next((look.at for look in over if life.vm_id not in look.machines), until)
    return max(0.0, (min(end, until) - max(life.created_at, looks[0].at)).total_seconds())
