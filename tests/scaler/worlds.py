"""Small installations in one process: the real engine over a simulated world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.cloud import SimVm
from sandbox.inprocess import InProcess, in_process, scale_set_id
from sandbox.workload import PlannedConference, Workload, meeting
from sandbox.world import BootModel, Prestarted, ScaleSetSpec, WorldConfig
from scaler.model import BridgeMemory, CreateIntent, Phase, ShardMemory
from scaler.policy import ScalingPolicy

START = datetime(2026, 11, 18, 9, tzinfo=UTC)
SHARD = "jvb-a"
SCALE_SET = scale_set_id(SHARD)
SOON = BootModel(median_s=90, p95_s=90)
MUTATING = ("scale_out", "delete", "set_drain", "shut_down")


def world_of(
    ages_hours: Sequence[float] = (3, 2),
    conferences: Sequence[PlannedConference] = (),
    *,
    workload: Workload | None = None,
    seed: int = 1,
    boot: BootModel = SOON,
    quota: int | None = None,
    **config: Any,
) -> WorldConfig:
    """One scale set with bridges of these ages, oldest first, and these conferences."""
    stood = tuple(Prestarted(timedelta(hours=hours)) for hours in ages_hours)
    spec = ScaleSetSpec(SCALE_SET, capacity=len(stood), prestarted=stood, quota=quota)
    return WorldConfig(seed, START, (spec,), workload or Workload.of(conferences), boot=boot, **config)


def install(config: WorldConfig | None = None, *, min_bridges: int = 1, **changes: Any) -> InProcess:
    """The engine over a world; keywords are fields of the policy, or arguments of `in_process`."""
    config = config or world_of()
    fields = {key: changes.pop(key) for key in list(changes) if key in ScalingPolicy.__dataclass_fields__}
    policy = ScalingPolicy(**{"max_bridges": 15, "min_bridges": min_bridges, **fields})
    return in_process(config, policy, **changes)


async def run(it: InProcess, minutes: int) -> list[str]:
    """Tick once a minute; return what was done, one `verb name` an action."""
    done: list[str] = []
    for _ in range(minutes):
        it.world.advance(60)
        done += [action for report in await it.tick() for action in done_in(report.record)]
    return done


def done_in(record: Any) -> list[str]:
    """Verbs of the actions that were done."""
    return [action["do"] for action in (record or {}).get("actions", ()) if action["done"]]


def mutations(it: InProcess) -> list[str]:
    """Every call that changed ARM or a bridge."""
    ears = [shard.ears for shard in it.engine.shards.values()]
    journals = [ear.cloud.journal + ear.bridges.journal for ear in ears]  # type: ignore[attr-defined]
    return [call.name for journal in journals for call in journal if call.name in MUTATING]


async def memories(it: InProcess, shard: str = SHARD) -> dict[str, BridgeMemory]:
    """What is remembered of each machine, by name."""
    rows = await it.store.load(shard)
    return {row.value.name: row.value for row in rows.bridges.values()}


async def phases(it: InProcess, shard: str = SHARD) -> list[Phase]:
    """Phases of the machines, oldest first."""
    known = await memories(it, shard)
    return [known[vm.name].phase for vm in machines(it, shard) if vm.name in known]


async def state(it: InProcess, shard: str = SHARD) -> ShardMemory:
    """What is remembered of the shard."""
    row = (await it.store.load(shard)).state
    assert row is not None
    return row.value


async def intents(it: InProcess, shard: str = SHARD) -> list[CreateIntent]:
    """Machines asked for."""
    return [row.value for row in (await it.store.load(shard)).intents.values()]


async def events(it: InProcess, shard: str = SHARD) -> list[str]:
    """Kinds of all events, oldest first."""
    rows = await it.store.events(shard, it.world.now, 1000)
    return [str(row["kind"]) for row in reversed(rows)]


async def alerts(it: InProcess, shard: str = SHARD) -> set[str]:
    """Kinds of the alerts that are open."""
    return {key.partition(":")[0] for key in (await state(it, shard)).alerts}


def machines(it: InProcess, shard: str = SHARD) -> list[SimVm]:
    """Machines that ARM lists, oldest first."""
    vms = it.world.scale_set(scale_set_id(shard)).vms.values()
    return sorted(vms, key=lambda vm: vm.time_created)


def names(it: InProcess) -> list[str]:
    """Names of the machines, oldest first."""
    return [vm.name for vm in machines(it)]


def accepting(it: InProcess) -> int:
    """Bridges that truly take new conferences now."""
    return sum(is_accepting(vm) for vm in it.world.vms())


def is_accepting(vm: SimVm) -> bool:
    """A running process in its MUC that neither drains nor ends."""
    bridge = vm.bridge
    return (
        bridge is not None
        and vm.running
        and bridge.muc_joined
        and not bridge.drain
        and not bridge.graceful_shutdown
        and not bridge.shutting_down
    )


def cuts(it: InProcess) -> int:
    """Calls that we cut."""
    return len(it.world.history.cut_by_us())


def slip_in_a_call(it: InProcess, vm: SimVm, minutes: float = 20, people: int = 4) -> None:
    """A call reaches this very bridge, because Jicofo has not heard of its drain yet."""
    jicofo = it.world.scale_set(SCALE_SET).jicofo
    heard = {name: occupant.drain for name, occupant in jicofo.occupants.items()}
    for name, occupant in jicofo.occupants.items():
        occupant.drain = name != vm.name
    jicofo.begin(meeting(it.world.now, minutes, people, f"slipped-in-{it.world.now:%H%M%S}"))
    for name, drain in heard.items():
        jicofo.occupants[name].drain = drain


async def latest(it: InProcess, shard: str = SHARD) -> dict[str, Any]:
    """The newest decision record."""
    (record,) = await it.store.decisions(shard, it.world.now, 1)
    return dict(record)


async def until_drained(it: InProcess) -> SimVm:
    """Tick until the oldest machine is asked to drain; return it."""
    oldest = machines(it)[0]
    for _ in range(60):
        await run(it, 1)
        if any(call.name == "set_drain" for call in _bridge_journal(it)):
            return oldest
    raise AssertionError("nothing was drained in an hour")


def _bridge_journal(it: InProcess) -> list[Any]:
    return [call for shard in it.engine.shards.values() for call in shard.ears.bridges.journal]  # type: ignore[attr-defined]
