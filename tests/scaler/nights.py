"""Nights in one process: the real engine over a simulated world with a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.gallery import Defect, SimVersion
from sandbox.inprocess import InProcess, in_process, scale_set_id
from sandbox.workload import PlannedConference, Workload
from sandbox.world import BootModel, Prestarted, ScaleSetSpec, WorldConfig
from scaler.policy import ScalingPolicy
from tests.scaler.worlds import SCALE_SET, accepting, machines

EVENING = datetime(2026, 11, 18, 3, 30, tzinfo=UTC)
"""Half an hour before the night opens."""
GROUP = SCALE_SET.partition("/providers/")[0]
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/bridges/images/jvb"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/jvb"
OLD = "1.0.0"


def fleet_of(
    bridges: int,
    conferences: Sequence[PlannedConference] = (),
    *,
    start: datetime = EVENING,
    shards: Sequence[str] = ("jvb-a",),
    **config: Any,
) -> WorldConfig:
    """Shards of so many bridges each, a day old and older, all made of version 1.0.0."""
    ages = tuple(Prestarted(timedelta(hours=24 + bridges - number)) for number in range(bridges))
    specs = tuple(ScaleSetSpec(scale_set_id(name), capacity=bridges, prestarted=ages) for name in shards)
    workload = config.pop("workload", None) or Workload.of(conferences)
    boot = config.pop("boot", BootModel(median_s=120, p95_s=120))
    return WorldConfig(1, start, specs, workload, boot=boot, **config)


def install(config: WorldConfig, *, images: bool = True, **changes: Any) -> InProcess:
    """The engine over a world; keywords are fields of the policy, or arguments of `in_process`."""
    fields = {key: changes.pop(key) for key in list(changes) if key in ScalingPolicy.__dataclass_fields__}
    values: dict[str, Any] = {"max_bridges": 15, **fields}
    if images:
        values.setdefault("image_definition_id", DEFINITION)
    return in_process(config, ScalingPolicy(**values), **changes)


def publish(it: InProcess, name: str, defect: Defect = Defect.NONE, **details: Any) -> SimVersion:
    """Put a version into the gallery now."""
    return it.world.galleries.publish(DEFINITION, name, defect=defect, **details)


async def until(it: InProcess, moment: str, *, fewest: list[int] | None = None) -> list[str]:
    """Live on to a time of this or the next day; return what was done, one `verb` an action."""
    hours, minutes = (int(part) for part in moment.split(":"))
    end = it.world.now.replace(hour=hours, minute=minutes, second=0)
    end = end if end > it.world.now else end + timedelta(days=1)
    return await until_moment(it, end, fewest=fewest)


async def until_moment(it: InProcess, end: datetime, *, fewest: list[int] | None = None) -> list[str]:
    """Live on to a moment; the fewest accepting bridges seen are added to `fewest`."""
    done: list[str] = []
    while it.world.now < end:
        for report in await it.minute():
            actions = (report.record or {}).get("actions", ())
            done += [action["do"] for action in actions if action["done"]]
        if fewest is not None:
            fewest[:] = [min([*fewest, accepting(it)])]
    return done


def versions(it: InProcess, shard: str = "jvb-a") -> list[str]:
    """Image versions of the machines, oldest machine first."""
    return [vm.image.rpartition("/")[2] for vm in machines(it, shard)]


def model(it: InProcess, shard: str = "jvb-a") -> str:
    """Image version that the scale set makes machines of."""
    return it.world.scale_set(scale_set_id(shard)).image.rpartition("/")[2]
