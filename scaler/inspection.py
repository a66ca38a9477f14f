"""
Looks at the surroundings of each shard as the app's own identity sees them.

Reads only; the app's own tables are made where they are missing, as by every other question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from scaler.errors import ScalerError
from scaler.explain import iso
from scaler.preflight import (
    Build,
    Permission,
    Premises,
    Quota,
    Size,
    Unknown,
    as_json,
    judge,
    scopes_of,
)
from scaler.tick import Engine, Shard


class Surroundings(Protocol):
    """What is asked of Azure about a shard. Reads only; a failure is a value, never an exception."""

    async def build(self, scale_set_id: str) -> Build | Unknown:
        """How the scale set makes its machines."""
        ...

    async def permissions(self, scopes: Iterable[str]) -> Mapping[str, tuple[Permission, ...] | Unknown]:
        """What the identity itself may do on each scope."""
        ...

    async def quotas(self, subscription_id: str, location: str) -> tuple[Quota, ...] | Unknown:
        """Return the vCPUs of a region, by family and in all."""
        ...

    async def size(self, subscription_id: str, location: str, vm_size: str) -> Size | Unknown | None:
        """What Azure says of a VM size there; None: the region has none of that name."""
        ...

    async def addresses(self, prefix_id: str) -> int | Unknown:
        """How many addresses a public IP prefix has."""
        ...


@dataclass(frozen=True, slots=True)
class Inspector:
    """Everything that an inspection asks."""

    engine: Engine
    owner: str
    surroundings: Mapping[str, Surroundings]
    """By shard."""
    make_tables: Callable[[], Awaitable[None]]
    """Makes those of the app's own tables that are missing, as its first question does."""

    async def inspect(self, shard: str | None) -> dict[str, Any]:
        """
        Return what is missing or unknown, by shard; `ready` when nothing is missing anywhere.

        Raises `KeyError` for a shard that is not known.
        """
        if shard is not None and shard not in self.engine.shards:
            raise KeyError(f"shard: {shard!r} is not one of {', '.join(sorted(self.engine.shards))}")
        names = [shard] if shard is not None else sorted(self.engine.shards)
        now = self.engine.clock.now()
        found = await asyncio.gather(*(self._shard(self.engine.shards[name], now) for name in names))
        missing = any(f["verdict"] == "missing" for each in found for f in each["findings"])
        return {"at": iso(now), "ready": not missing, "shards": list(found)}

    async def _shard(self, shard: Shard, now: datetime) -> dict[str, Any]:
        premises = await self._premises(shard, now)
        return {"shard": shard.name, "findings": [as_json(finding) for finding in judge(premises)]}

    async def _premises(self, shard: Shard, now: datetime) -> Premises:
        ask = self.surroundings[shard.name]
        build = await ask.build(shard.scale_set_id)
        known = build if isinstance(build, Build) else None
        scopes = scopes_of(shard.scale_set_id, known, shard.policy)
        subscription = shard.scale_set_id.split("/")[2]
        permissions, reads = await asyncio.gather(
            ask.permissions(scope for group in scopes.values() for scope in group),
            _reads(shard, self._tables(shard), known, now),
        )
        policy = shard.policy
        if known is None:
            return Premises(shard.scale_set_id, policy, self.owner, build, permissions, reads=reads)
        prefixes = known.linked.get("prefix", ())
        quotas, size, addresses = await asyncio.gather(
            ask.quotas(subscription, known.location),
            ask.size(subscription, known.location, known.vm_size),
            ask.addresses(prefixes[0]) if prefixes else _nothing(),
        )
        return Premises(
            shard.scale_set_id,
            self.engine.policy_for(shard, known.vm_size),
            self.owner,
            build,
            permissions,
            quotas,
            size,
            addresses,
            reads,
        )

    async def _tables(self, shard: Shard) -> None:
        await self.make_tables()
        await self.engine.store.load(shard.name)


async def _nothing() -> None:
    return None


async def _reads(
    shard: Shard, tables: Awaitable[None], build: Build | None, now: datetime
) -> dict[str, Unknown | None]:
    """Ask each neighbour as a tick would, and tell who did not answer."""
    ears, policy = shard.ears, shard.policy
    questions: dict[str, Awaitable[object]] = {
        "tables": tables,
        "scale set": ears.cloud.scale_set(),
        "machines": ears.cloud.instances({}),
    }
    if ears.metrics is not None:
        questions["metrics"] = _metrics(shard, now)
    if ears.images is not None and policy.image_definition_id is not None and build is not None:
        questions["images"] = ears.images.versions(policy.image_definition_id, build.location)
    if ears.images is not None and policy.image_template_id is not None:
        questions["template"] = ears.images.build(policy.image_template_id)
    answers = await asyncio.gather(*(_asked(question) for question in questions.values()))
    return dict(zip(questions, answers, strict=True))


async def _metrics(shard: Shard, now: datetime) -> None:
    """Without a machine there is nothing to ask of."""
    machines = await shard.ears.cloud.instances({})
    if machines and shard.ears.metrics is not None:
        await shard.ears.metrics.read(machines, now)


async def _asked(question: Awaitable[object]) -> Unknown | None:
    try:
        await question
    except ScalerError as error:
        return Unknown(str(error))
    return None
