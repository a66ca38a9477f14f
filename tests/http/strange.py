"""Strange turns of the world, in the middle of what the engine does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scaler.model import Poll
from scaler.ports import Bridges, Target
from tests.http.installation import SHARD, Installation


class SwappedAddresses:
    """The bridges of the shard; ahead of the first fresh report two machines change their addresses."""

    def __init__(self, real: Bridges, it: Installation, pair: tuple[str, str]) -> None:
        """`real`: what answers everything; `pair`: names of the two machines."""
        self._real, self._it, self._pair = real, it, pair
        self.done = False

    @classmethod
    def between(cls, it: Installation, one: str, other: str) -> SwappedAddresses:
        """Put itself in front of the shard's bridges."""
        shard = it.app.engine.shards[SHARD]
        swapping = cls(shard.ears.bridges, it, (one, other))
        it.app.engine.shards[SHARD] = replace(shard, ears=replace(shard.ears, bridges=swapping))
        return swapping

    async def poll(self, targets: Sequence[Target]) -> Mapping[str, Poll]:
        return await self._real.poll(targets)

    async def read(self, target: Target) -> Poll:
        if not self.done:
            self.done = True
            one, other = (vm for vm in self._it.machines() if vm.name in self._pair)
            one.address, other.address = other.address, one.address
            await self._it.faces.sync()
        return await self._real.read(target)

    async def set_drain(self, target: Target, *, on: bool) -> None:
        await self._real.set_drain(target, on=on)

    async def shut_down(self, target: Target) -> None:
        await self._real.shut_down(target)
