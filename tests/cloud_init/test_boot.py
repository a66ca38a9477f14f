"""The real scripts in a root of their own, with a simulated metadata service, Key Vault and call-back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyhocon
import pytest

from tests.cloud_init.authority import Authority
from tests.cloud_init.machine import (
    NAME,
    PASSWORD,
    PRIVATE,
    PUBLIC,
    VM_ID,
    Machine,
    World,
    machine,
    stun_server,
)
from tests.cloud_init.tools import needs

pytestmark = needs("bash", "curl", "jq")

ESCAPED = json.dumps(PASSWORD, ensure_ascii=False)[1:-1]
PHASES = ["settings", "address", "secrets", "configuration", "start", "membership", "health", "accepting"]
A_BOOT_AND_MORE = 6.0
"""Seconds in which JVB starts and is waited for in vain, also on a machine that is busy with other things."""


def only_report(world: World) -> dict[str, Any]:
    assert len(world.reports) == 1
    return world.reports[0]


def test_a_good_boot_opens_the_bridge_and_reports_each_phase(tmp_path: Path):
    """The bridge is proved, then opened, and one call-back tells who it is and how long each phase took."""
    with machine(tmp_path, world := World()) as vm:
        done = vm.boot()
        assert done.returncode == 0, done.stderr
        assert vm.jvb_runs()
        assert not vm.is_drained()
    report = only_report(world)
    assert report | {"seconds": 0} == {
        "shard": "alpha",
        "vm_id": VM_ID,
        "name": NAME,
        "address": PRIVATE,
        "outcome": "ready",
        "phase": "ready",
        "seconds": 0,
        "reason": "",
        "log": "",
    }
    assert list(report["seconds"]) == PHASES
    assert sum(report["seconds"].values()) > 0.3


def test_jvb_conf_holds_what_was_asked_for(tmp_path: Path):
    """As HOCON it has each value, the password to the letter, verification on, and none of the old keys."""
    with machine(tmp_path, World(), relay_region="westeurope") as vm:
        assert vm.boot().returncode == 0
        text = (vm.conf / "jvb.conf").read_text()
        conf = pyhocon.ConfigFactory.parse_string(text)
        environment = (vm.conf / "config").read_text()
        port = vm.port
    account = conf["videobridge.apis.xmpp-client.configs.shard"]
    assert dict(account) == {
        "hostname": "10.20.1.4",
        "port": 5222,
        "domain": "auth.meet.example.com",
        "username": "jvb",
        "password": PASSWORD,
        "muc_jids": "jvbbrewery@internal.auth.meet.example.com",
        "muc_nickname": NAME,
        "disable_certificate_verification": False,
    }
    bridge = conf["videobridge"]
    assert bridge["apis.rest.enabled"] is True
    assert bridge["rest.shutdown.enabled"] is True
    assert bridge["rest.drain.enabled"] is True
    assert dict(bridge["http-servers.private"]) == {"host": PRIVATE, "port": port}
    assert bridge["initial-drain-mode"] is True
    assert bridge["shutdown.shutting-down-delay"] == "30 seconds"
    assert bridge["shutdown.graceful-shutdown-max-duration"] == "30 days"
    assert dict(bridge["relay"]) == {"enabled": True, "region": "westeurope", "relay-id": NAME}
    mapping = conf["ice4j.harvest.mapping"]
    assert (mapping["aws.enabled"], mapping["stun.addresses"]) == (False, [])
    assert [dict(each) for each in mapping["static-mappings"]] == [
        {"local-address": PRIVATE, "public-address": PUBLIC}
    ]
    assert not [old for old in ("org.jitsi", "org.ice4j", "octo", "tcp") if old in text.lower()]
    assert "VIDEOBRIDGE_MAX_MEMORY=" in environment


def test_without_relays_none_is_configured(tmp_path: Path):
    """A shard without a relay region has no relay section: half of one would stop JVB."""
    with machine(tmp_path, World()) as vm:
        assert vm.boot().returncode == 0
        assert "relay" not in json.loads((vm.conf / "jvb.conf").read_text())["videobridge"]


@pytest.mark.parametrize(("total_kb", "heap"), [(1_000_000, 512), (8_000_000, 3906), (64_000_000, 8192)])
def test_the_heap_follows_the_size_of_the_vm(total_kb: int, heap: int, tmp_path: Path):
    """Half of the memory, with a floor and a ceiling."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:       {total_kb} kB\nMemFree: 1 kB\n")
    root = tmp_path / "root"
    root.mkdir()
    with machine(root, World()) as vm:
        assert vm.boot(JVB_BOOT_MEMINFO=str(meminfo)).returncode == 0
        assert f"VIDEOBRIDGE_MAX_MEMORY={heap}m\n" in (vm.conf / "config").read_text()


@needs("keytool")
def test_a_private_ca_becomes_the_only_authority_of_jvb(tmp_path: Path):
    """Each certificate of the bundle stands in a trust store, and JVB's options name that store."""
    authorities = [Authority(tmp_path / "a").pem(), Authority(tmp_path / "b").pem()]
    root = tmp_path / "root"
    root.mkdir()
    world = World(secrets={"xmpp-alpha": PASSWORD, "xmpp-ca": "bundle\n" + "".join(authorities)})
    vault = {"uri": "https://kv.vault.azure.net", "password_secret": "xmpp-alpha", "ca_secret": "xmpp-ca"}
    with machine(root, world, key_vault=vault) as vm:
        done = vm.boot()
        assert done.returncode == 0, done.stderr
        store = str(vm.conf / "truststore.p12")
        listed = subprocess.run(
            ["keytool", "-list", "-keystore", store, "-storepass", "changeit"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout.count("trustedCertEntry") == 2
        assert f"-Djavax.net.ssl.trustStore={store} " in (vm.conf / "config").read_text()


@pytest.mark.parametrize(
    ("world", "settings", "phase", "reason"),
    [
        (World(has_metadata=False), {}, "address", "metadata service"),
        (World(balancer_public=""), {}, "address", "no public address"),
        (World(balancer_public=""), {"stun": ["127.0.0.1:9"]}, "address", "STUN (127.0.0.1:9)"),
        (
            World(vault_status=403),
            {},
            "secrets",
            "403 for secret xmpp-alpha: has the bridge identity the role",
        ),
        (World(vault_status=503), {}, "secrets", "503 for secret xmpp-alpha"),
        (World(secrets={}), {}, "secrets", "404 for secret xmpp-alpha: there is no such secret"),
        (World(has_identity=False), {}, "secrets", "no token"),
    ],
    ids=[
        "no metadata",
        "no public address",
        "STUN dead",
        "vault 403",
        "vault 503",
        "no secret",
        "no identity",
    ],
)
def test_what_is_missing_is_named(
    world: World, settings: dict[str, Any], phase: str, reason: str, tmp_path: Path
):
    """The call-back has the phase and a reason that a person can act upon; JVB was never started."""
    with machine(tmp_path, world, **settings) as vm:
        assert vm.boot().returncode == 1
        assert vm.is_masked()
        assert not (vm.root / "systemd/pid").exists()
    report = only_report(world)
    assert (report["outcome"], report["phase"]) == ("failed", phase)
    assert reason in report["reason"]


@pytest.mark.parametrize(
    ("behaviour", "phase", "reason"),
    [
        ({"password": "another"}, "membership", "not-authorized"),
        (
            {"joins": False},
            "membership",
            "never joined jvbbrewery@internal.auth.meet.example.com at 10.20.1.4",
        ),
        ({"health": 500}, "health", "health is never good: it answers 500"),
        ({"undrains": False}, "accepting", "cannot be un-drained"),
    ],
    ids=["wrong secret", "never joined", "never healthy", "stays drained"],
)
def test_a_jvb_that_never_becomes_a_bridge_is_stopped_and_masked(
    behaviour: dict[str, Any], phase: str, reason: str, tmp_path: Path
):
    """When time is up JVB is stopped for good, then the phase and the last lines of its log are told."""
    with machine(tmp_path, world := World()) as vm:
        vm.behave(**behaviour)
        assert vm.boot(seconds=A_BOOT_AND_MORE).returncode == 1
        assert vm.is_masked()
        assert not vm.jvb_runs()
        calls = (vm.root / "systemd/calls").read_text()
        assert calls.rindex("stop") < calls.rindex("mask")
        assert vm.boot().returncode == 0  # the VM starts again: it gave up, and says nothing new
        assert not vm.jvb_runs()
    report = only_report(world)
    assert (report["outcome"], report["phase"]) == ("failed", phase)
    assert reason in report["reason"]
    assert "started" in report["log"]


def test_a_late_boot_never_ends_a_call(tmp_path: Path):
    """A bridge that was opened meanwhile and carries a call is drained and left running, and that is told."""
    with machine(tmp_path, world := World()) as vm:
        vm.behave(health=500, conferences=1)
        assert vm.boot(seconds=A_BOOT_AND_MORE).returncode == 1
        assert vm.jvb_runs()
        assert vm.is_drained()
        assert not vm.is_masked()
    assert "left running, drained: it may carry calls" in only_report(world)["reason"]


def test_without_settings_the_boot_fails_and_masks(tmp_path: Path):
    """A VM that was told nothing has nobody to call, and starts no JVB."""
    with machine(tmp_path, world := World()) as vm:
        (vm.root / "etc/jvb-boot/settings.json").unlink()
        done = vm.boot()
        assert (done.returncode, vm.is_masked()) == (1, True)
        assert "no settings" in done.stderr
    assert world.reports == []


def test_an_unexpected_error_is_told_too(tmp_path: Path):
    """Whatever breaks in the script itself arrives as a failure of the phase it was in."""
    with machine(tmp_path, world := World()) as vm:
        vm.conf.parent.mkdir(parents=True)
        vm.conf.write_text("a file where a folder belongs")
        assert vm.boot().returncode == 1
        assert vm.is_masked()
    assert (only_report(world)["outcome"], only_report(world)["reason"]) == ("failed", "an unexpected error")


def test_a_unit_that_does_not_start_is_told(tmp_path: Path):
    """The phase is `start`."""
    with machine(tmp_path, world := World()) as vm:
        (vm.root / "systemd/broken").touch()
        assert vm.boot().returncode == 1
    assert (only_report(world)["phase"], only_report(world)["outcome"]) == ("start", "failed")


def test_the_public_address_comes_from_stun_where_azure_tells_none(tmp_path: Path):
    """The last source is asked when the others are silent, past a server that is dead."""
    with (
        stun_server("198.51.100.23") as server,
        machine(tmp_path, World(balancer_public=""), stun=["127.0.0.1:9", server]) as vm,
    ):
        assert vm.boot(JVB_BOOT_PATIENCE_SECONDS="8").returncode == 0
        assert '"public-address": "198.51.100.23"' in (vm.conf / "jvb.conf").read_text()


def test_the_address_of_the_instance_record_goes_first(tmp_path: Path):
    """Where the VM's own record has its public address, nobody else is asked."""
    with machine(tmp_path, world := World(instance_public="198.51.100.7", balancer_public="")) as vm:
        assert vm.boot().returncode == 0
        assert '"public-address": "198.51.100.7"' in (vm.conf / "jvb.conf").read_text()
    assert not [path for _, path in world.calls if "loadbalancer" in path]


def test_only_the_first_boot_opens_the_bridge(tmp_path: Path):
    """After a restart of the VM the bridge stays drained: the autoscaler's row knows what it shall be."""
    with machine(tmp_path, world := World()) as vm:
        assert vm.boot().returncode == 0
        vm.stop_jvb()
        assert vm.boot().returncode == 0
        assert vm.is_drained()
    assert [report["outcome"] for report in world.reports] == ["ready", "ready"]


def test_a_call_back_that_nobody_takes_changes_nothing(tmp_path: Path):
    """The bridge is opened all the same."""
    with machine(tmp_path, World(callback_status=403)) as vm:
        done = vm.boot()
        assert done.returncode == 0
        assert "was not taken" in done.stdout
        assert len(vm.world.reports) == 4
        assert not vm.is_drained()


def test_the_secret_is_nowhere_but_in_jvb_conf(tmp_path: Path):
    """Neither what the boot says, nor the call-back of a failure, nor any other file has the password."""
    with machine(tmp_path, world := World()) as vm:
        vm.behave(health=500)
        done = vm.boot(seconds=A_BOOT_AND_MORE)
        assert done.returncode == 1
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        holders = {path.name for path in files if PASSWORD in (text := path.read_text()) or ESCAPED in text}
        assert (vm.conf / "jvb.conf").stat().st_mode & 0o077 == 0
    said = (done.stdout + done.stderr + world.raw_reports[0].decode()).replace("\\\\", "\\")
    assert "***" in only_report(world)["log"]  # its JVB wrote the password to its log
    assert [form for form in (PASSWORD, ESCAPED, "a-token") if form in said] == []
    # JVB's log is the stub's misdeed; how the stub behaves is written by this test.
    assert holders - {"behaviour"} == {"jvb.conf", "jvb.log"}


def test_the_call_back_stays_small(tmp_path: Path):
    """However much JVB writes into its log, the body stays under the 8 kB that the app takes."""
    with machine(tmp_path, world := World()) as vm:
        log = vm.root / "var/log/jitsi"
        log.mkdir(parents=True)
        (log / "jvb.log").write_text('"\\\x01' * 200_000 + ("\n" + '"' * 400) * 100)
        (vm.root / "systemd/broken").touch()
        assert vm.boot().returncode == 1
    assert len(world.raw_reports[0]) < 8192


# --- scheduled events ------------------------------------------------------------------------


def event(kind: str, *names: str) -> dict[str, Any]:
    return {"EventId": f"{kind}-1", "EventType": kind, "Resources": list(names), "EventStatus": "Scheduled"}


def watch(vm: Machine) -> subprocess.CompletedProcess[str]:
    return vm.run("jvb-events", JVB_EVENTS_ROUNDS="1", JVB_EVENTS_EVERY_SECONDS="0.05")


@pytest.mark.parametrize("kind", ["Freeze", "Reboot", "Redeploy", "Preempt"])
def test_announced_maintenance_drains_the_bridge_and_is_not_approved(kind: str, tmp_path: Path):
    """The bridge takes no new calls until it is over; when it happens stays Azure's business."""
    with machine(tmp_path, world := World()) as vm:
        vm.boot()
        world.events = [event(kind, "other", NAME)]
        assert watch(vm).returncode == 0
        assert vm.is_drained()
        world.events = []
        watch(vm)
        assert not vm.is_drained()
    assert world.approved == []


def test_events_of_others_are_ignored(tmp_path: Path):
    """Azure tells every VM of the set what concerns any: neither drained nor approved for another."""
    with machine(tmp_path, world := World()) as vm:
        vm.boot()
        world.events = [event("Reboot", "vmss-alpha_4f2", "x" + NAME), event("Terminate", "other")]
        watch(vm)
        assert not vm.is_drained()
        vm.stop_jvb()
        watch(vm)
    assert world.approved == []


def test_a_drain_of_the_autoscaler_is_not_taken_back(tmp_path: Path):
    """A bridge that was drained when the event came stays drained after it."""
    with machine(tmp_path, world := World()) as vm:
        vm.behave(undrains=False)
        vm.boot(seconds=1.5)
        vm.behave()
        (vm.root / "systemd/masked").unlink()
        subprocess.run([str(vm.root / "bin/systemctl"), "start", "jvb"], check=True)
        until_it_listens(vm)
        for world.events in ([event("Freeze", NAME)], []):
            watch(vm)
            assert vm.is_drained()


def until_it_listens(vm: Machine) -> None:
    probe = f"until curl -s -o /dev/null http://{PRIVATE}:{vm.port}/about/health; do sleep 0.05; done"
    subprocess.run(["timeout", "10", "bash", "-c", probe], check=True)


def test_the_own_end_is_approved_once_jvb_has_exited(tmp_path: Path):
    """While JVB runs a delete waits, drained; once it has exited the delete goes on at once."""
    with machine(tmp_path, world := World()) as vm:
        vm.boot()
        world.events = [event("Terminate", NAME)]
        watch(vm)
        assert vm.is_drained()
        assert world.approved == []
        vm.stop_jvb()
        watch(vm)
    assert world.approved == ["Terminate-1"]


def test_stray_answers_of_the_events_service_do_nothing(tmp_path: Path):
    """Without an answer the watcher waits for the next round."""
    with machine(tmp_path, world := World()) as vm:
        vm.boot()
        world.events = [{"EventId": "1", "EventType": "Reboot", "Resources": None}, {"EventType": "Reboot"}]
        assert watch(vm).returncode == 0
        assert not vm.is_drained()
