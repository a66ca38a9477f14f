"""The rows of one shard during one tick: intents are written at once, the rest at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scaler.decision import Event
from scaler.model import BridgeMemory, Command, CreateIntent, Phase, ShardMemory
from scaler.ports import ShardRows, Store, Stored


class Ledger:
    """
    What will be remembered of the shard, and under which etags.

    `intend` writes before it returns; `remember` only keeps for `save`. Every write raises
    `StateChanged` when somebody else wrote the row since it was read.
    """

    def __init__(
        self,
        store: Store,
        shard: str,
        rows: ShardRows,
        state: ShardMemory,
        bridges: Mapping[str, BridgeMemory],
        intents: Sequence[CreateIntent],
        commands: Sequence[Command] = (),
    ) -> None:
        """`rows`: as read; the others: as they shall be now, before any action."""
        self.state = state
        self.events: list[Event] = []
        self._store, self._shard = store, shard
        self._stored_state = rows.state
        self._bridges = dict(bridges)
        self._intents = {intent.intent_id: intent for intent in intents}
        self._commands = commands
        self._stored_bridges = dict(rows.bridges)
        self._stored_intents = dict(rows.intents)
        self._stored_commands = rows.commands

    @property
    def rows(self) -> ShardRows:
        """Everything as it is stored now: what was read, with what was written since."""
        kept = {vm_id: row for vm_id, row in self._stored_bridges.items() if row.etag is not None}
        return ShardRows(self._stored_state, kept, dict(self._stored_intents), self._stored_commands)

    @property
    def bridges(self) -> Mapping[str, BridgeMemory]:
        """Every bridge as it will be remembered."""
        return self._bridges

    def bridge(self, vm_id: str) -> BridgeMemory:
        """One bridge as it will be remembered."""
        return self._bridges[vm_id]

    def say(self, event: Event) -> None:
        """Keep an event for the record."""
        self.events.append(event)

    def remember(self, memory: BridgeMemory) -> None:
        """Keep a bridge's new memory until `save`."""
        self._bridges[memory.vm_id] = memory

    async def intend(self, memory: BridgeMemory) -> None:
        """Write a bridge's next step now, before it is done."""
        self.remember(memory)
        await self._put_bridges([memory])

    def remember_machines(self, intents: Iterable[CreateIntent]) -> None:
        """Keep what became of requested machines until `save`."""
        self._intents.update({intent.intent_id: intent for intent in intents})

    async def intend_machines(self, intents: Sequence[CreateIntent]) -> None:
        """Write the machines that will be asked for now, before ARM is asked."""
        self.remember_machines(intents)
        await self._put_intents(intents)

    async def intend_state(self, state: ShardMemory) -> None:
        """Write the shard's state now, where a crash after the next call must not lose it."""
        self.state = state
        await self._put_state()

    async def save(self) -> None:
        """Write every row that differs from what is stored; unchanged rows are not touched."""
        await self._put_bridges([m for m in self._bridges.values() if self._differs(m)])
        await self._put_intents([i for i in self._intents.values() if self._intent_differs(i)])
        await self._put_state()
        # Last: a command is done only when what it did is written.
        await self._put_commands()

    async def _put_commands(self) -> None:
        stored = self._stored_commands
        rows = [Stored(c, stored[c.command_id].etag) for c in self._commands]
        changed = [row for row in rows if row.value != stored[row.value.command_id].value]
        if changed:
            await self._store.put_commands(self._shard, changed)

    async def _put_state(self) -> None:
        before = self._stored_state
        if before is None or before.value != self.state:
            row = Stored(self.state, before.etag if before else None)
            self._stored_state = await self._store.put_state(self._shard, row)

    def _differs(self, memory: BridgeMemory) -> bool:
        stored = self._stored_bridges.get(memory.vm_id)
        if stored is None:
            return memory.phase is not Phase.GONE
        return stored.value != memory

    def _intent_differs(self, intent: CreateIntent) -> bool:
        stored = self._stored_intents.get(intent.intent_id)
        return stored is None or stored.value != intent

    async def _put_bridges(self, memories: Sequence[BridgeMemory]) -> None:
        if not memories:
            return
        rows = [Stored(m, _etag(self._stored_bridges.get(m.vm_id))) for m in memories]
        for row in await self._store.put_bridges(self._shard, rows):
            self._stored_bridges[row.value.vm_id] = row

    async def _put_intents(self, intents: Sequence[CreateIntent]) -> None:
        if not intents:
            return
        rows = [Stored(i, _etag(self._stored_intents.get(i.intent_id))) for i in intents]
        for row in await self._store.put_intents(self._shard, rows):
            self._stored_intents[row.value.intent_id] = row


def _etag(stored: Stored[BridgeMemory] | Stored[CreateIntent] | None) -> str | None:
    return stored.etag if stored else None
