"""Hear everything that one tick needs, in parallel, each neighbour with its own deadline."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scaler.decision import Event, EventKind
from scaler.errors import Refused, TryNextTick
from scaler.lifecycle import delete_retry
from scaler.model import (
    BridgeMemory,
    CreateIntent,
    ImageBuild,
    Instance,
    Nightly,
    Phase,
    PlatformLoad,
    Poll,
    Power,
    ScaleSet,
    changed,
)
from scaler.policy import ScalingPolicy
from scaler.ports import Bridges, Cloud, Images, Metrics, Operation, Target
from scaler.reflect import LISTS_MAY_BE_OLD_FOR, Heard

DELETE_IS_GIVEN_UP_AFTER = timedelta(hours=1)
"""An operation that ARM does not end by then is followed no more: what the list shows has to do."""


@dataclass(frozen=True, slots=True)
class Ears:
    """The ports that one shard is observed through. Metrics None: Azure Monitor is not asked."""

    cloud: Cloud
    bridges: Bridges
    metrics: Metrics | None
    images: Images | None = None
    """None: no image is chosen, and none is built."""


async def listen(ears: Ears, memories: Mapping[str, BridgeMemory], now: datetime) -> Heard:
    """
    Ask ARM, then all bridges and Azure Monitor.

    An address is read again from ARM unless one process was well there in the last two polls: a
    machine that was stopped and started may have left its own to another. Where another process was
    seen it is read again for longer, since one list of ARM may still be old.

    Raises `TryNextTick` or `Refused` when ARM does not answer completely. A silent bridge or a
    silent Monitor is a value, not an error.
    """
    known = {vm_id: m.address for vm_id, m in memories.items() if m.address and _is_at_home(m, now)}
    scale_set, instances = await asyncio.gather(ears.cloud.scale_set(), ears.cloud.instances(known))
    targets = _without_shared_addresses(
        t for each in instances if (t := target_of(each, memories.get(each.vm_id))) is not None
    )
    polls, platform = await asyncio.gather(ears.bridges.poll(targets), _measure(ears.metrics, instances, now))
    polls = await _ask_again(ears.bridges, targets, polls)
    return Heard(scale_set, instances, polls, platform, measures=ears.metrics is not None)


def _is_at_home(memory: BridgeMemory, now: datetime) -> bool:
    another = memory.restart_seen_at
    return memory.polls.endswith("11") and (another is None or now - another >= LISTS_MAY_BE_OLD_FOR)


def _without_shared_addresses(targets: Iterable[Target]) -> list[Target]:
    """Ask nobody at an address that two machines have: whose answer it is would not be known."""
    asked = list(targets)
    counts = Counter(target.address for target in asked)
    return [target for target in asked if counts[target.address] == 1]


def target_of(instance: Instance, memory: BridgeMemory | None) -> Target | None:
    """
    Where to ask this machine's bridge, or None where it cannot be asked.

    The start time is asked while it is unknown, where the address is another one than before, and of
    whatever is not simply serving.
    """
    if instance.address is None or instance.power is not Power.RUNNING or instance.is_deleting:
        return None
    return Target(instance.vm_id, instance.address, ask_process=not _is_plain(instance, memory))


def _is_plain(instance: Instance, memory: BridgeMemory | None) -> bool:
    """It serves where it served before, so its counters tell whether it is the same process."""
    if memory is None or memory.process_started_at is None:
        return False
    return memory.phase is Phase.READY and memory.address == instance.address


async def look_at_images(ears: Ears, policy: ScalingPolicy, scale_set: ScaleSet, *, build: bool) -> Nightly:
    """Ask the gallery for its versions, and with `build` the template for its last run."""
    if ears.images is None or policy.image_definition_id is None:
        return Nightly()
    try:
        versions = await ears.images.versions(policy.image_definition_id, scale_set.location or "")
    except (TryNextTick, Refused) as error:
        return Nightly(problem=str(error))
    template = policy.image_template_id
    return Nightly(versions, await _last_run(ears.images, template) if build and template else None)


async def _last_run(images: Images, template: str) -> ImageBuild | None:
    """None where the template does not answer: the night does without its word."""
    try:
        return await images.build(template)
    except (TryNextTick, Refused):
        return None


async def _measure(
    metrics: Metrics | None, instances: Sequence[Instance], now: datetime
) -> Mapping[str, PlatformLoad]:
    if metrics is None or not instances:
        return {}
    try:
        return await metrics.read(instances, now)
    except (TryNextTick, Refused):
        return {}


async def _ask_again(
    bridges: Bridges, targets: Iterable[Target], polls: Mapping[str, Poll]
) -> Mapping[str, Poll]:
    """
    Ask a bridge whose drain nobody explains for the start time of its process.

    A restarted JVB may start drained: only its start time tells that from an operator's drain.
    """
    puzzling = [t for t in targets if not t.ask_process and polls[t.vm_id].drain is True]
    if not puzzling:
        return polls
    answers = await bridges.poll([replace(target, ask_process=True) for target in puzzling])
    return {**polls, **answers}


async def follow_operations(
    cloud: Cloud, intents: Sequence[CreateIntent], memories: Mapping[str, BridgeMemory], now: datetime
) -> tuple[tuple[CreateIntent, ...], dict[str, BridgeMemory], tuple[Event, ...]]:
    """
    Read every open ARM operation once; its error becomes its intent's, or its bridge's.

    `polling=False` alone would never see an allocation that fails after it was accepted.
    """
    urls = {i.operation for i in intents if i.operation and not i.operation_done}
    urls |= {m.operation for m in memories.values() if m.operation}
    states = dict(
        zip(sorted(urls), await asyncio.gather(*(_read(cloud, url) for url in sorted(urls))), strict=True)
    )
    followed = tuple(_with_operation(intent, states) for intent in intents)
    events: list[Event] = []
    after = {
        vm_id: _with_delete(memory, states[memory.operation], now, events) if memory.operation else memory
        for vm_id, memory in memories.items()
    }
    return followed, after, tuple(events)


async def _read(cloud: Cloud, url: str) -> Operation:
    try:
        return await cloud.operation(url)
    except TryNextTick:
        return Operation(done=False)
    except Refused:
        return Operation(done=True)  # it will never be told: what the list shows has to do


def _with_operation(intent: CreateIntent, states: Mapping[str, Operation]) -> CreateIntent:
    state = states.get(intent.operation) if intent.operation else None
    if state is None or not state.done:
        return intent
    return replace(
        intent, operation_done=True, error=intent.error or (state.error if intent.is_open else None)
    )


def _with_delete(memory: BridgeMemory, state: Operation, now: datetime, events: list[Event]) -> BridgeMemory:
    error = state.error
    if not state.done:
        if now - (memory.delete_asked_at or now) < DELETE_IS_GIVEN_UP_AFTER:
            return memory
        error = "Azure did not say within an hour whether it is done"
    if error is None:
        return changed(memory, operation=None)
    events.append(Event(EventKind.DELETE_FAILED, memory.name, error, memory.vm_id))
    return changed(memory, operation=None, delete_not_before=now + delete_retry(memory.delete_attempts))
