"""The bridges' private ports, asked with plain HTTP."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest

from sandbox.bridge_report import MISSING
from sandbox.faces.http import FaultAnswer
from sandbox.faces.server import Faces, Options, faces
from tests.sandbox_faces.served import bridge_of, first_vm, new_world, url_of

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/about/health", 200),
        ("GET", "/about/version", 200),
        ("GET", "/colibri/stats", 200),
        ("GET", "/stats", 200),
        ("GET", "/debug", 200),
        ("GET", "/colibri/drain", 200),
        ("POST", "/colibri/drain/enable", 200),
        ("POST", "/colibri/drain/disable", 200),
        ("GET", "/colibri/v2/conferences", 501),
        ("POST", "/about/health", 405),
        ("POST", "/colibri/stats", 405),
        ("POST", "/colibri/drain", 405),
        ("GET", "/colibri/drain/enable", 405),
        ("GET", "/colibri/shutdown", 405),
        ("POST", "/colibri/shutdown", 415),
        ("GET", "/colibri", 404),
        ("GET", "/", 404),
    ],
)
async def test_each_path_has_its_methods(
    served: Faces, http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """Paths, methods and content types are accepted and refused as by a real bridge."""
    assert (await http.request(method, url_of(served, first_vm(served), path))).status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"graceful-shutdown": true}', 200),
        (b'{"graceful-shutdown": "true"}', 200),
        (b'{"graceful-shutdown": false}', 200),
        (b"{}", 400),
        (b'{"force-shutdown": true}', 400),
        (b'{"graceful-shutdown": "yes"}', 400),
        (b'{"graceful-shutdown": null}', 500),
        (b"null", 500),
        (b"", 500),
    ],
)
async def test_shutdown_reads_its_body_as_a_bridge_does(
    served: Faces, http: httpx.AsyncClient, body: bytes, status: int
) -> None:
    """Only a well-formed request shuts the bridge down."""
    vm = first_vm(served)
    answer = await http.post(url_of(served, vm, "/colibri/shutdown"), content=body, headers=JSON)
    assert answer.status_code == status
    assert bridge_of(vm).shutting_down is (status == 200)


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        (None, 500, "text/html"),
        ("text/html", 500, "text/html"),
        ("application/json", 200, "application/json"),
        ("text/plain", 200, "text/plain"),
        ("*/*", 200, "application/openmetrics-text"),
        ("application/openmetrics-text; version=1.0.0", 200, "application/openmetrics-text"),
    ],
)
async def test_metrics_follow_accept(
    served: Faces, http: httpx.AsyncClient, accept: str | None, status: int, content_type: str
) -> None:
    """The format is chosen by `Accept`, and its absence is an error of the bridge's own."""
    vm = first_vm(served)
    headers = {"Accept": accept} if accept else {}
    answer = await http.get(url_of(served, vm, "/metrics"), headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (status, content_type)


async def test_metrics_tell_the_start_of_the_process(served: Faces, http: httpx.AsyncClient) -> None:
    """Both forms carry the start time; the text has the bridge's namespace."""
    vm = first_vm(served)
    url = url_of(served, vm, "/metrics")
    started = (await http.get(url, headers={"Accept": "application/json"})).json()["startup_time"]
    assert started == round(bridge_of(vm).started_s * 1000)
    text = (await http.get(url, headers={"Accept": "text/plain"})).text
    assert f"jitsi_jvb_startup_time {float(started)}" in text
    assert "# TYPE jitsi_jvb_conferences_created counter" in text


async def test_a_drain_is_set_and_shown(served: Faces, http: httpx.AsyncClient) -> None:
    """Enable and disable reach the bridge, its stats, and no other bridge."""
    vm, other = served.world.vms()
    await http.post(url_of(served, vm, "/colibri/drain/enable"))
    assert bridge_of(vm).drain
    assert not bridge_of(other).drain
    assert (await http.get(url_of(served, vm, "/colibri/drain"))).json() == {"drain": True}
    assert (await http.get(url_of(served, vm, "/colibri/stats"))).json()["drain"] is True
    await http.post(url_of(served, vm, "/colibri/drain/disable"))
    assert not bridge_of(vm).drain


async def test_health_is_plain_text_and_500_when_it_fails(served: Faces, http: httpx.AsyncClient) -> None:
    """A sick bridge says why, and in its content type says something else."""
    vm = first_vm(served)
    bridge_of(vm).fail_health("Failed to bind single-port")
    await served.advance_to(served.world.now + timedelta(minutes=2))
    answer = await http.get(url_of(served, vm, "/about/health"))
    assert (answer.status_code, answer.text) == (500, "Failed to bind single-port")


@pytest.mark.parametrize(("api", "path"), [("stats", "/colibri/stats"), ("drain", "/colibri/drain")])
async def test_an_api_that_is_off_is_not_found(
    served: Faces, http: httpx.AsyncClient, api: str, path: str
) -> None:
    """What jvb.conf has switched off answers 404, and a wrong method still 405."""
    vm = first_vm(served)
    bridge_of(vm).faults.statuses[api] = 404
    assert (await http.get(url_of(served, vm, path))).status_code == 404
    assert (await http.post(url_of(served, vm, path))).status_code == 405


async def test_a_body_that_is_no_json_is_served_as_it_is(served: Faces, http: httpx.AsyncClient) -> None:
    """A question gets it, a command does not."""
    vm = first_vm(served)
    bridge_of(vm).faults.bodies = {"stats": b"<html>", "drain": b"<html>"}
    assert (await http.get(url_of(served, vm, "/colibri/stats"))).text == "<html>"
    assert (await http.get(url_of(served, vm, "/colibri/drain"))).text == "<html>"
    assert (await http.post(url_of(served, vm, "/colibri/drain/enable"))).text == ""
    assert bridge_of(vm).drain


async def test_strange_statistics_are_served_as_they_are(served: Faces, http: httpx.AsyncClient) -> None:
    """Overrides of the bridge's faults reach the wire."""
    vm = first_vm(served)
    bridge_of(vm).faults.overrides |= {"conferences": -1, "drain": MISSING}
    stats = (await http.get(url_of(served, vm, "/colibri/stats"))).json()
    assert stats["conferences"] == -1
    assert "drain" not in stats


async def test_the_end_of_a_process_is_a_refused_connection(served: Faces, http: httpx.AsyncClient) -> None:
    """After a graceful shutdown of an idle bridge, connections are refused; the other answers."""
    vm, other = served.world.vms()
    await http.post(
        url_of(served, vm, "/colibri/shutdown"), content=b'{"graceful-shutdown": true}', headers=JSON
    )
    assert (await http.get(url_of(served, vm, "/colibri/stats"))).json()["shutting_down"] is True
    await served.advance_to(served.world.now + timedelta(minutes=2))
    assert connect(vm.address, served.bridge_port) == "refused"
    assert connect(other.address, served.bridge_port) == "open"


async def test_a_crash_cuts_open_connections(served: Faces, http: httpx.AsyncClient) -> None:
    """A connection kept alive does not reach the next process: it is a new one that answers."""
    vm = first_vm(served)
    url = url_of(served, vm, "/about/health")
    await http.get(url)
    bridge_of(vm).crash(back_after_s=120)
    await served.sync()
    with pytest.raises(httpx.ConnectError):
        await http.get(url)
    await served.advance_to(served.world.now + timedelta(minutes=3))
    assert (await http.get(url)).status_code == 200


async def test_a_machine_out_of_reach_takes_connections_and_is_silent(
    served: Faces, http: httpx.AsyncClient
) -> None:
    """A cut network is a time-out, not a refusal; afterwards the same bridge answers again."""
    vm = first_vm(served)
    vm.unreachable = True
    await served.sync()
    with pytest.raises(httpx.ReadTimeout):
        await http.get(url_of(served, vm, "/about/health"), timeout=0.05)
    vm.unreachable = False
    await served.sync()
    assert (await http.get(url_of(served, vm, "/about/health"))).status_code == 200


async def test_a_new_machine_listens_once_its_bridge_runs(served: Faces) -> None:
    """Between the machine's start and the bridge's, connections are refused."""
    operation = served.world.set_capacity(first_vm(served).scale_set.id, 3)
    await served.advance_to(served.world.now + timedelta(seconds=50))
    vm = list(served.world.vms())[-1]
    assert operation.status == "Succeeded"
    assert connect(vm.address, served.bridge_port) == "refused"
    await served.advance_to(served.world.now + timedelta(seconds=30))
    assert connect(vm.address, served.bridge_port) == "open"


async def test_a_deleted_machine_listens_no_more(served: Faces) -> None:
    """A machine on its way out does not answer."""
    vm = first_vm(served)
    served.world.delete_instances(vm.scale_set.id, [vm.name])
    await served.sync()
    assert connect(vm.address, served.bridge_port) == "refused"


async def test_stopped_machines_can_be_silent_instead() -> None:
    """Where a test wants the real network's behaviour, a machine that does not run is silent."""
    async with faces(new_world(), Options(stopped_machines_are_silent=True)) as served:
        vm = first_vm(served)
        served.world.delete_instances(vm.scale_set.id, [vm.name])
        await served.sync()
        assert connect(vm.address, served.bridge_port) == "open"


async def test_a_lost_answer_has_its_effect(served: Faces, http: httpx.AsyncClient) -> None:
    """A planned fault drops the answer after the drain was set."""
    vm = first_vm(served)

    def faults(face: str, operation: str, details: Mapping[str, object]) -> FaultAnswer | None:
        theirs = operation == "POST /colibri/drain/enable" and details["name"] == vm.name
        return FaultAnswer(apply_then_drop=True) if theirs else None

    served.break_with(faults)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(url_of(served, vm, "/colibri/drain/enable"))
    assert bridge_of(vm).drain
    assert served.journal[-1][2:] == ("POST", "POST /colibri/drain/enable", 0)


def connect(address: str, port: int) -> str:
    """How a connection is taken by the kernel."""
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            probe.connect((address, port))
        except ConnectionRefusedError:
            return "refused"
        return "open"
