"""Systems with one loopback address: every bridge has a port of its own there, for both sides alike."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from colibri.client import ColibriClient, colibri_http_client
from sandbox.cloud import default_address
from sandbox.faces.server import Options, faces
from sandbox.inprocess import default_day
from sandbox.loopback import SWITCH, moving, only_one_loopback, place
from sandbox.world import World
from scaler.model import Reach
from scaler.ports import Target


class _Clock:
    def now(self) -> datetime:
        return datetime(2026, 3, 4, tzinfo=UTC)


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


async def test_a_moved_client_finds_each_bridge_again_and_again() -> None:
    """Both bridges answer at their own port, also when the client sends its requests a second time."""
    world = World(default_day(1))
    async with faces(world, Options(place=place)) as served, moving(colibri_http_client)() as http:
        client = ColibriClient(http, _Clock(), port=served.bridge_port)
        targets = [Target(vm.vm_id, vm.address, ask_process=True) for vm in world.vms()]
        starts = []
        for _ in range(2):
            polls = await client.poll(targets)
            assert {poll.reach for poll in polls.values()} == {Reach.ANSWERED}
            starts.append({vm_id: poll.process_started_at for vm_id, poll in polls.items()})
        assert starts[0] == starts[1]
        assert len(set(starts[0].values())) == len(targets) == 2
