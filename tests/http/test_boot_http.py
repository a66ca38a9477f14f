"""A machine's call-back through the app's own route, with Azurite; and the real boot script that sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import azure.functions as func
import azure.functions.timer as timers
import orjson
import pytest

import function_app
import wiring
from sandbox.boot_calls import BootCalls
from sandbox.faces.control import vm_view
from sandbox.host import Keys, host
from sandbox.ports import WorldClock
from scaler.model import BridgeMemory, Phase
from tests.cloud_init.machine import PASSWORD, World, machine
from tests.cloud_init.tools import needs
from tests.http.conftest import Install
from tests.http.installation import Installation
from tests.scaler.worlds import SHARD, world_of


@pytest.fixture
async def it(install: Install, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    """Give an installation in which one old bridge stands and one machine boots."""
    it = await install(world_of((3,)), min_bridges=2)
    for name, value in it.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wiring, "factory", partial(wiring.engine, clock=WorldClock(it.world)))
    for _ in range(2):
        await it.advance(60)
        await function_app.tick(timers.TimerRequest(past_due=False))
    yield it
    await (await wiring.application()).close()
    wiring._applications.clear()


async def new_one(it: Installation) -> BridgeMemory:
    rows = (await it.store.load(SHARD)).bridges.values()
    (found,) = [row.value for row in rows if row.value.asked_by]
    return found


async def post(body: bytes, forwarded_for: str | None) -> tuple[int, dict[str, Any]]:
    headers = {"x-forwarded-for": forwarded_for} if forwarded_for else {}
    request = func.HttpRequest(method="POST", url="/api/bridges/boot", headers=headers, body=body)
    answer = await function_app.boot(request)
    return answer.status_code, orjson.loads(answer.get_body())


def sent(vm: BridgeMemory, **changes: Any) -> bytes:
    told = {
        "shard": SHARD,
        "vm_id": vm.vm_id,
        "outcome": "ready",
        "phase": "ready",
        "seconds": {"address": 1},
    }
    return orjson.dumps({**told, **changes})


async def test_each_answer_has_its_status_and_only_the_taken_one_a_row(it: Installation) -> None:
    """413, 400, 403, 429 and 202, each where it belongs; refusals are counted by reason."""
    new = await new_one(it)
    boots = (await wiring.application()).boots  # type: ignore[attr-defined]
    source = f"203.0.113.9, {new.address}:40000"
    assert (await post(b"x" * 9000, source))[0] == 413
    assert (await post(b"{}", source))[0] == 400
    assert (await post(sent(new), f"{new.address}, 203.0.113.9:40000"))[0] == 403
    assert (await post(sent(new), None))[0] == 403
    assert (await post(sent(new, vm_id="another"), source))[0] == 403
    assert (await new_one(it)).boot.reports == 0
    assert [(await post(sent(new), source))[0] for _ in range(4)] == [202, 202, 202, 429]
    known = await new_one(it)
    assert (known.boot.reports, known.boot.seconds, known.phase) == (3, {"address": 1.0}, Phase.BOOTING)
    assert dict(boots.refused) == {"too_large": 1, "not_understood": 1, "not_ours": 3, "too_many": 1}
    assert boots.taken == 3
    request = func.HttpRequest(method="GET", url="/api/status", params={}, body=b"")
    told = orjson.loads((await function_app.status(request)).get_body())["boot_calls"]
    assert (told["taken"], told["refused"]["not_ours"]) == (3, 3)


async def test_a_bridge_that_is_up_for_long_cannot_call_back(it: Installation) -> None:
    """Its boot is over: 409."""
    old = next(row.value for row in (await it.store.load(SHARD)).bridges.values() if not row.value.asked_by)
    assert (await post(sent(old), old.address))[0] == 409


async def test_an_invalid_configuration_tells_strangers_nothing(
    it: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The route needs no key, so its 503 names no setting."""
    app = await wiring.engine({"SCALER_SHARDS": "[]"})
    answer = await app.boot(b"{}", "10.0.0.5")
    assert (answer.status, b"SCALER" in answer.body) == (503, False)


async def test_simulated_machines_call_back_once_from_their_own_address(it: Installation) -> None:
    """What `make run` shows of boots went over HTTP, and stands in the row with the seconds of each phase."""
    async with host(function_app.app, Keys("k", {})) as url:
        boots = BootCalls(url, SHARD)
        for _ in range(3):
            await it.advance(60)
            await function_app.tick(timers.TimerRequest(past_due=False))
            await boots.send([vm_view(vm, it.world.now) for vm in it.world.vms()])
    known = await new_one(it)
    assert (known.boot.reports, known.boot.outcome) == (1, "ready")
    assert set(known.boot.seconds) == {"start", "membership"}
    boots.note([{"vm_id": known.vm_id, "ready_after_seconds": known.ready_after_seconds}])
    assert boots.seconds() == {
        "boot_p50_s": known.ready_after_seconds,
        "boot_p95_s": known.ready_after_seconds,
    }


@needs("bash", "curl", "jq")
@pytest.mark.parametrize(
    ("behaviour", "outcome", "phase"), [({}, "ready", "ready"), ({"health": 500}, "failed", "health")]
)
async def test_the_real_script_reaches_the_row_from_the_machines_own_address(
    behaviour: dict[str, Any], outcome: str, phase: str, it: Installation, tmp_path: Path
) -> None:
    """From the boot script over HTTP into Azurite: seconds of each phase, and nowhere the password."""
    new = await new_one(it)
    world = World(vm_id=new.vm_id, private=new.address or "")
    async with host(function_app.app, Keys("k", {})) as url:
        with machine(tmp_path, world, shard=SHARD) as vm:
            vm.tell(f"{url}/api/bridges/boot")
            vm.behave(**behaviour)
            done = await asyncio.to_thread(vm.boot, 4 if behaviour else 20)
    assert "not taken" not in done.stdout, done.stdout
    known = await new_one(it)
    assert (known.boot.reports, known.boot.outcome, known.boot.phase) == (1, outcome, phase)
    assert {"address", "secrets", "configuration", "start", "membership", "health"} <= set(known.boot.seconds)
    written = repr(await it.store.load(SHARD))
    assert repr(PASSWORD)[1:-1] not in written
    assert PASSWORD not in written
    assert ("***" in written) == bool(behaviour)
