"""Systems with one loopback address: every bridge has a port of its own there, for both sides alike."""

from __future__ import annotations

from itertools import product

import pytest

from colibri.client import colibri_http_client, url_of
from sandbox.cloud import default_address
from sandbox.faces.server import Options, faces
from sandbox.inprocess import default_day
from sandbox.loopback import SWITCH, moving, only_one_loopback, place
from sandbox.world import World


def test_every_bridge_has_a_port_of_its_own() -> None:
    """No two machines of eight scale sets with a thousand machines each meet on one port."""
    places = {place(default_address(group, number), 8080) for group, number in product(range(8), range(1000))}
    assert len(places) == 8 * 1000
    assert {host for host, _ in places} == {"127.0.0.1"}
    assert all(1024 < port < 65536 for _, port in places)


def test_the_switch_turns_it_on_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What macOS does by itself can be tried on other systems."""
    monkeypatch.setenv(SWITCH, "1")
    assert only_one_loopback()


async def test_a_moved_client_finds_each_bridge_at_its_own_port() -> None:
    """Whatever its private address, each bridge answers where the moved address leads, and as itself."""
    world = World(default_day(1))
    moved, starts = moving(url_of), set()
    async with faces(world, Options(place=place)) as served, colibri_http_client() as http:
        for vm in world.vms():
            async with http.get(moved(vm.address, served.bridge_port, "/metrics")) as answer:
                starts.add((await answer.json())["startup_time"])
    assert len(starts) == 2
