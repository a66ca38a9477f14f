"""A VM for one test: a root in a folder, a systemctl of its own, and the neighbours that a boot talks to."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from cloud_init.render import HERE
from cloud_init.settings import read_settings
from tests.cloud_init.shards import PLAIN

VM_ID = "11111111-2222-3333-4444-555555555555"
NAME = "vmss-alpha_4f2a"
PRIVATE, PUBLIC = "127.0.0.1", "203.0.113.9"
PASSWORD = 'p"a$s\\w${x} `é'
COOKIE = 0x2112A442

SYSTEMCTL = """#!/bin/bash
# Of systemd only what a boot uses: start, stop, mask and is-active of one unit, kept in files.
here={root}/systemd
echo "$*" >> "$here/calls"
# A process that ended and that nobody waited for still has its entry.
alive() {{ [ -f "$here/pid" ] && grep -q '^State:.[^Z]' "/proc/$(cat "$here/pid")/status" 2> /dev/null; }}
case "$1" in
    start)
        [ ! -e "$here/masked" ] && [ ! -e "$here/broken" ] || exit 1
        "{python}" "{stub}" {root}/etc/jitsi/videobridge/jvb.conf {root}/var/log/jitsi/jvb.log \\
            "$here/behaviour" > "$here/output" 2>&1 &
        echo $! > "$here/pid" ;;
    stop) if alive; then kill "$(cat "$here/pid")"; fi ;;
    mask) touch "$here/masked" ;;
    is-active) alive ;;
esac
"""


@dataclass
class World:
    """What the neighbours answer, and what they heard."""

    vm_id: str = VM_ID
    private: str = PRIVATE
    instance_public: str = ""
    balancer_public: str = PUBLIC
    has_metadata: bool = True
    has_identity: bool = True
    vault_status: int = 200
    secrets: dict[str, str] = field(default_factory=lambda: {"xmpp-alpha": PASSWORD})
    events: list[dict[str, Any]] = field(default_factory=list)
    callback_status: int = 204

    calls: list[tuple[str, str]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    raw_reports: list[bytes] = field(default_factory=list)
    approved: list[str] = field(default_factory=list)

    def get(self, path: str, query: dict[str, list[str]], headers: Any) -> tuple[int, Any]:
        """Answer as the metadata service (only with its header) or as the Key Vault."""
        if path.startswith("/metadata/") and (headers.get("Metadata") != "true" or not self.has_metadata):
            return 400, None
        if path.startswith("/secrets/"):
            return self._secret(path.removeprefix("/secrets/"), headers)
        address = {"privateIpAddress": self.private, "publicIpAddress": self.instance_public}
        network = {"interface": [{"ipv4": {"ipAddress": [address]}}]}
        balanced = [{"frontendIpAddress": self.balancer_public, "privateIpAddress": self.private}]
        answers: dict[str, Any] = {
            "/metadata/instance": {"compute": {"vmId": self.vm_id.upper(), "name": NAME}, "network": network},
            "/metadata/scheduledevents": {"DocumentIncarnation": 1, "Events": self.events},
        }
        if self.balancer_public:
            answers["/metadata/loadbalancer"] = {"loadbalancer": {"publicIpAddresses": balanced}}
        if self.has_identity and query.get("resource") == ["https://vault.azure.net"]:
            answers["/metadata/identity/oauth2/token"] = {"access_token": "a-token"}
        return (200, answers[path]) if path in answers else (404, None)

    def _secret(self, name: str, headers: Any) -> tuple[int, Any]:
        if headers.get("Authorization") != "Bearer a-token":
            return 401, None
        if self.vault_status != 200:
            return self.vault_status, {"error": {"code": "Forbidden"}}
        return (200, {"value": self.secrets[name]}) if name in self.secrets else (404, None)

    def post(self, path: str, body: bytes) -> int:
        """Take a call-back, or the approval of an event."""
        if path == "/api/bridges/boot":
            self.raw_reports.append(body)
            self.reports.append(json.loads(body))
            return self.callback_status
        if path == "/metadata/scheduledevents":
            self.approved += [each["EventId"] for each in json.loads(body)["StartRequests"]]
            return 200
        return 404


@contextmanager
def served(world: World) -> Iterator[str]:
    """Serve the neighbours on one loopback port; give their address."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            world.calls.append(("GET", self.path))
            status, value = world.get(parts.path, parse_qs(parts.query), self.headers)
            self._send(status, b"" if value is None else json.dumps(value).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            world.calls.append(("POST", self.path))
            self._send(world.post(urlsplit(self.path).path, body), b"")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def stun_server(public: str) -> Iterator[str]:
    """Answer binding requests with one address; give host:port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                request, asker = listening.recvfrom(2048)
                if not request:
                    return
                port, address = struct.pack("!H", asker[1]), socket.inet_aton(public)
                mask = struct.pack("!I", COOKIE)
                hidden = bytes(a ^ b for a, b in zip(port + address, mask[:2] + mask, strict=True))
                # One attribute of odd length goes before, as real servers send their name.
                body = (
                    struct.pack("!HH", 0x8022, 5)
                    + b"turn!\0\0\0"
                    + struct.pack("!HHBB", 0x20, 8, 0, 1)
                    + hidden
                )
                listening.sendto(struct.pack("!HHI", 0x0101, len(body), COOKIE) + request[8:20] + body, asker)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", listening.getsockname())
        thread.join()


def free_port(address: str = PRIVATE) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Machine:
    """One VM: its root, and its neighbours at one address."""

    def __init__(self, root: Path, world: World, url: str, **settings: Any) -> None:
        """`settings`: what differs from the plain shard."""
        self.root, self.world, self.url = root, world, url
        self.port = free_port(world.private)
        given = read_settings({**PLAIN, "bridge_port": self.port, **settings})
        # Real ones are https; here everything is one plain server.
        given["key_vault"]["uri"], given["callback_url"] = url, f"{url}/api/bridges/boot"
        (root / "etc/jvb-boot").mkdir(parents=True)
        (root / "systemd").mkdir()
        (root / "bin").mkdir()
        (root / "etc/jvb-boot/settings.json").write_text(json.dumps(given))
        stub = Path(__file__).parent / "stub_jvb.py"
        (root / "bin/systemctl").write_text(SYSTEMCTL.format(root=root, python=sys.executable, stub=stub))
        (root / "bin/systemctl").chmod(0o755)
        self.behave()

    def tell(self, url: str) -> None:
        """Send its call-back there."""
        file = self.root / "etc/jvb-boot/settings.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "callback_url": url}))

    def behave(self, **change: Any) -> None:
        """Say how the stub JVB is when it starts next."""
        sound = {"password": PASSWORD, "health": 200, "joins": True, "undrains": True, "conferences": 0}
        (self.root / "systemd/behaviour").write_text(json.dumps({**sound, **change}))

    def boot(self, seconds: float = 20, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the real boot script, with `seconds` until its deadline."""
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return self.run("jvb-boot", JVB_BOOT_DEADLINE_SECONDS=f"{uptime + seconds:.1f}", **env)

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of the real scripts."""
        given = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "JVB_BOOT_ROOT": str(self.root),
            "JVB_BOOT_IMDS": self.url,
            "JVB_BOOT_STUN": str(HERE / "vm/jvb-stun"),
            "JVB_BOOT_PATIENCE_SECONDS": "0.4",
            "JVB_BOOT_UNCHECKED_SECONDS": "0.3",
            "JVB_BOOT_PAUSE_SECONDS": "0.05",
            "JVB_BOOT_AGAIN_SECONDS": "0.05",
            "JVB_BOOT_SETTLE_SECONDS": "0.1",
            **env,
        }
        command = ["bash", str(HERE / "vm" / script)]
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)

    @property
    def conf(self) -> Path:
        return self.root / "etc/jitsi/videobridge"

    def is_masked(self) -> bool:
        return (self.root / "systemd/masked").exists()

    def jvb_runs(self) -> bool:
        return subprocess.run([self.root / "bin/systemctl", "is-active"], check=False).returncode == 0

    def is_drained(self) -> bool:
        with urlopen(f"http://{self.world.private}:{self.port}/colibri/drain") as answer:
            return bool(json.loads(answer.read())["drain"])

    def stop_jvb(self) -> None:
        file = self.root / "systemd/pid"
        if file.exists():
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)


@contextmanager
def machine(root: Path, world: World, **settings: Any) -> Iterator[Machine]:
    """A VM with its neighbours; what runs on it ends with the block."""
    with ExitStack() as cleanup:
        made = Machine(root, world, cleanup.enter_context(served(world)), **settings)
        cleanup.callback(made.stop_jvb)
        yield made
