"""Takes operators' commands: reads one, looks up what it names, writes its row, and runs a tick for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from scaler.errors import StateChanged
from scaler.explain import command_record
from scaler.model import Command, CommandKind, Phase
from scaler.orders import Order, read_order
from scaler.ports import ShardRows, Stored
from scaler.tick import ALERT_PACE, Engine


class NotUnderstood(ValueError):
    """The order has faults; `faults` has one sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        """`faults`: with the field, the value and what is allowed."""
        super().__init__("; ".join(faults))
        self.faults = faults


class IdTaken(ValueError):
    """Another command has this id."""


async def take(engine: Engine, body: Any, new_id: str, signed_in_as: str | None = None) -> dict[str, Any]:
    """
    Write a command and run one tick of its shard, unless one just ran; return the command as it then stands.

    Sent again with the same `command_id` it is the same command: nothing is written twice.
    Raises `NotUnderstood`, `KeyError` (a shard, bridge or command that is not known), `IdTaken`,
    `TryNextTick` and `Refused` (the tables).
    """
    order, faults = read_order(body, engine.clock.now(), new_id, signed_in_as)
    if order is None:
        raise NotUnderstood(faults)
    shard, rows, command = await _looked_up(engine, order)
    _check_floor(engine, shard, command)
    known = rows.commands.get(command.command_id)
    if known is None:
        known = await _written(engine, shard, command)
    if not _is_the_same(known.value, command):
        raise IdTaken(f"command_id: {command.command_id} is that of another command")
    # Sooner than that a bridge may not have anything new to say, which looks like a fault of it.
    report = await engine.tick(shard, pace=ALERT_PACE)
    after = (await engine.store.load(shard)).commands.get(command.command_id, known).value
    return {
        "shard": shard,
        "command": command_record(after),
        "tick": {"result": report.result, "sentence": report.sentence},
    }


async def _looked_up(engine: Engine, order: Order) -> tuple[str, ShardRows, Command]:
    """Find the shard, and the machine by name or vmId; names of machines may repeat, vmIds do not."""
    if order.shard is not None and order.shard not in engine.shards:
        raise KeyError(f"no shard {order.shard!r}; there are: {', '.join(engine.shards)}")
    shards = [order.shard] if order.shard else list(engine.shards)
    if order.bridge is None:
        if len(shards) > 1:
            raise NotUnderstood([f"shard: is missing, allowed: {', '.join(shards)}"])
        return shards[0], await engine.store.load(shards[0]), order.command
    for shard in shards:
        rows = await engine.store.load(shard)
        # Of two machines of one name the one that is still listed is meant.
        for row in sorted(rows.bridges.values(), key=lambda row: row.value.unlisted_since is not None):
            if row.value.phase is not Phase.GONE and order.bridge in (row.value.name, row.value.vm_id):
                named = replace(order.command, vm_id=row.value.vm_id, bridge=row.value.name)
                return shard, rows, named
    raise KeyError(f"no bridge {order.bridge!r} in {', '.join(shards)}")


def _check_floor(engine: Engine, shard: str, command: Command) -> None:
    most = engine.shards[shard].policy.max_bridges
    if command.kind is CommandKind.FLOOR and (command.minimum or 0) > most:
        raise NotUnderstood([f"minimum: is {command.minimum}, allowed: at most max_bridges ({most})"])


async def _written(engine: Engine, shard: str, command: Command) -> Stored[Command]:
    try:
        (row,) = await engine.store.put_commands(shard, [Stored(command, None)])
    except StateChanged:
        # The same request again, whose first answer was lost a moment ago, or long ago.
        known = (await engine.store.load(shard)).commands.get(command.command_id)
        if known is None:
            raise IdTaken(f"command_id: {command.command_id} was used before") from None
        return known
    return row


def _is_the_same(known: Command, sent: Command) -> bool:
    """Compare what was asked for, not when and what came of it."""
    return _asked(known) == _asked(sent)


def _asked(command: Command) -> Mapping[str, Any]:
    left_out = ("asked_at", "expires_at", "state", "ended_at", "outcome")
    return {name: value for name, value in asdict(command).items() if name not in left_out}
