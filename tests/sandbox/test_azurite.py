"""The launcher of the real table service leaves nothing behind, however its parent ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import azurite as launcher
from sandbox.azurite import AzuriteFailed, azurite

ROOT = Path(__file__).parent.parent.parent

PARENT = """
import time, sandbox.azurite as launcher
spawn = launcher._spawn
def tell(port, key):
    process = spawn(port, key)
    print(process.pid, flush=True)
    return process
launcher._spawn = tell
with launcher.azurite():
    print("up", flush=True)
    while True:  # not one long wait: a signal right ahead of that would be slept over
        time.sleep(0.1)
"""


def wait_for_end(pid: int) -> None:
    """Return when a process that is not our child has ended; fail after 20 s."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([watched], [], [], 20)
        assert ended, f"process {pid} is still there"
    finally:
        os.close(watched)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_ends(how: signal.Signals):
    """Ctrl-C, a polite end and a hard one of the parent all take Azurite along."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "up\n"
        parent.send_signal(how)
        parent.wait()
    wait_for_end(child)


def test_an_error_within_the_block_ends_it(monkeypatch: pytest.MonkeyPatch):
    """The group is gone when the block is left, also by an exception."""
    started: list[int] = []
    spawn = launcher._spawn

    def tell(port: int, key: str) -> subprocess.Popen[bytes]:
        process = spawn(port, key)
        started.append(process.pid)
        return process

    monkeypatch.setattr(launcher, "_spawn", tell)
    with pytest.raises(KeyError), azurite():
        raise KeyError
    assert not Path(f"/proc/{started[0]}").exists()


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch, tables_connection: str):
    """Another server on the chosen port is not taken for ours: the next port is tried."""
    taken = int(tables_connection.partition("127.0.0.1:")[2].partition("/")[0])
    ports = iter([taken, launcher._free_port()])
    monkeypatch.setattr(launcher, "_free_port", lambda: next(ports))
    with azurite() as connection_string:
        assert f":{taken}/" not in connection_string


def test_a_missing_azurite_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Without the npm tree the error names the command that installs it."""
    monkeypatch.setattr(launcher, "AZURITE", tmp_path / "main.js")
    with pytest.raises(AzuriteFailed, match="make setup"), azurite():
        pass


def test_a_broken_azurite_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An Azurite that ends at once is an error with its last words."""
    broken = tmp_path / "main.js"
    broken.write_text("throw new Error('no table today')")
    monkeypatch.setattr(launcher, "AZURITE", broken)
    with pytest.raises(AzuriteFailed, match="no table today"), azurite():
        pass
