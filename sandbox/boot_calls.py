"""Simulated machines call the app back about their boot, over HTTP and each from its own address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from sandbox.loopback import only_one_loopback

_TAKEN, _TOO_LATE = 202, 409


class BootCalls:
    """What the boot script does at its end, for every machine of the world; and how long boots took."""

    def __init__(self, url: str, shard: str) -> None:
        """`url`: of the app, as machines reach it."""
        self._url, self._shard = f"{url}/api/bridges/boot", shard
        self._told: set[str] = set()
        self._ready_after: dict[str, float] = {}

    async def send(self, vms: Sequence[Mapping[str, Any]]) -> None:
        """Let each machine that has become a bridge call once; one that the app does not know yet, again."""
        if only_one_loopback():
            return  # machines have no addresses of their own there, so none could prove who it is
        for vm in vms:
            if vm["boot"] is not None and vm["vm_id"] not in self._told:
                await self._call(vm)

    async def _call(self, vm: Mapping[str, Any]) -> None:
        told = {"shard": self._shard, "vm_id": vm["vm_id"], "outcome": "ready", "phase": "ready"}
        own = httpx.AsyncHTTPTransport(local_address=vm["address"])
        async with httpx.AsyncClient(transport=own, trust_env=False) as machine:
            answer = await machine.post(self._url, json={**told, "seconds": vm["boot"]})
        if answer.status_code in (_TAKEN, _TOO_LATE):
            self._told.add(vm["vm_id"])

    def note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Remember how long each bridge took by the app's own clock, from rows of its status."""
        for row in rows:
            if row.get("ready_after_seconds") is not None:
                self._ready_after[row["vm_id"]] = row["ready_after_seconds"]

    def seconds(self) -> dict[str, float | None]:
        """Median and 95th percentile; None where no machine was asked for."""
        took = sorted(self._ready_after.values())
        last = len(took) - 1
        return {
            f"boot_p{p}_s": round(took[min(last, len(took) * p // 100)]) if took else None for p in (50, 95)
        }
