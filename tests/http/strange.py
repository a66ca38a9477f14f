"""Strange turns of the world, in the middle of what the engine does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scaler.model import Poll
from scaler.ports import Bridges, Target
from tests.http.installation import Installation
from tests.scaler.worlds import SHARD


async def swap_addresses(it: Installation, one: str, other: str) -> None:
    """Each of two machines gets the private address of the other."""
    a, b = (vm for vm in it.machines() if vm.name in (one, other))
    a.address, b.address = b.address, a.address
    await it.faces.sync()


class SwappedAddresses:
    """The bridges of the shard; ahead of the first fresh report two machines change their addresses."""

    def __init__(self, real: Bridges, it: Installation, pair: tuple[str, str]) -> None:
        """`real`: what answers everything; `pair`: names of the two machines."""
        self._real, self._it, self._pair = real, it, pair
        self.done = False

    @classmethod
    def ahead_of_a_report(cls, it: Installation, one: str, other: str) -> SwappedAddresses:
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
            await swap_addresses(self._it, *self._pair)
        return await self._real.read(target)

    async def set_drain(self, target: Target, *, on: bool) -> None:
        await self._real.set_drain(target, on=on)

    async def shut_down(self, target: Target) -> None:
        await self._real.shut_down(target)
