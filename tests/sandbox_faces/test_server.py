"""The faces as a whole: in this process, and as a process of their own."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import orjson

from sandbox.faces.server import Faces, faces
from tests.sandbox_faces.served import SCALE_SET_ID, START, first_vm, new_world

ROOT = Path(__file__).parents[2]


async def test_time_moves_by_request_only(served: Faces, http: httpx.AsyncClient) -> None:
    """The control endpoint advances the world and tells what is true then."""
    to = (START + timedelta(minutes=30)).isoformat()
    truth = (await http.post(f"{served.control_url}/advance", json={"to": to})).json()
    assert served.world.now == START + timedelta(minutes=30)
    assert (truth["now"], truth["vms_created"], truth["calls_cut"]) == (to, 2, 0)
    assert (await http.get(f"{served.control_url}/truth")).json() == truth
    assert (await http.post(f"{served.control_url}/advance", json={"to": "soon"})).status_code == 400


async def test_shows_machines_and_journal(served: Faces, http: httpx.AsyncClient) -> None:
    """A live display can ask for every machine, and for the calls since it last asked."""
    views = (await http.get(f"{served.control_url}/vms")).json()
    assert [view["name"] for view in views] == [vm.name for vm in served.world.vms()]
    assert views[0]["people"] == 0
    assert views[0]["listening"] is True
    await http.get(f"http://{first_vm(served).address}:{served.bridge_port}/about/health")
    page = (await http.get(f"{served.control_url}/journal")).json()
    assert page == {"next": 1, "calls": [[START.isoformat(), "bridge", "GET", "GET /about/health", 200]]}
    assert (await http.get(f"{served.control_url}/journal?since=1")).json() == {"next": 1, "calls": []}


async def test_two_worlds_are_served_side_by_side() -> None:
    """Each has ports of its own, and all are free again afterwards."""
    async with faces(new_world()) as one, faces(new_world()) as other:
        assert one.bridge_port != other.bridge_port
        assert one.env.keys() == other.env.keys()
        assert not set(one.env.values()) & set(other.env.values()) - {one.identity_header}


async def test_serves_a_world_from_a_file(tmp_path: Path) -> None:
    """As a process it says when it is ready, serves, and ends by a signal."""
    config = tmp_path / "world.json"
    world = {
        "seed": 5,
        "start": START.isoformat(),
        "scale_sets": [{"scale_set_id": SCALE_SET_ID, "capacity": 2, "prestarted": [30]}],
        "workload": {"name": "quiet", "scale": 0.5},
        "boot": {"median_s": 90, "p95_s": 120},
        "options": {"page_size": 10},
    }
    config.write_bytes(orjson.dumps(world))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox.faces.server", "--config", str(config)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ready = orjson.loads(await process.stdout.readline())
        async with httpx.AsyncClient(trust_env=False) as http:
            views = (await http.get(f"{ready['control_url']}/vms")).json()
    finally:
        process.terminate()
    assert await process.wait() == 0
    assert [view["age_minutes"] for view in views] == [30.0, 120.0]
    assert "SSL_CERT_FILE" in ready["env"]
