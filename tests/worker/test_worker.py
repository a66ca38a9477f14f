"""The app as it is deployed: Python 3.13, requirements.txt, Microsoft's own worker library."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.stage import stage

ROOT = Path(__file__).parents[2]
RUNTIME = "azure-functions-runtime==1.3.0"
LOOKING = {"status", "explain", "plan", "doctor", "preflight", "events", "usage", "metrics"}
CONTRACT = {"tick", "nightly_recycle", "alert", "commands", "boot", "dashboard", *LOOKING}


def _deployed_python() -> str | None:
    if sys.version_info[:2] == (3, 13):
        return sys.executable
    found = os.environ.get("JVB_AUTOSCALER_PYTHON313") or shutil.which("python3.13")
    # A shim of that name may stand for nothing: ask it.
    works = found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0
    return found if works else None


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """Give a Python 3.13 with exactly what is deployed and the worker; made once, kept in .cache."""
    deployed = _deployed_python()
    if deployed is None:
        pytest.skip("no Python 3.13 found: set JVB_AUTOSCALER_PYTHON313 to one, as .ci/run does")
    locked = (ROOT / "requirements.txt").read_bytes() + RUNTIME.encode() + deployed.encode()
    folder = ROOT / ".cache" / f"worker-{hashlib.sha256(locked).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([deployed, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.txt")], check=True)
        subprocess.run([*pip, RUNTIME], check=True)
        (folder / "complete").touch()
    return python


@pytest.fixture(scope="session")
def deployed_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with what `.funcignore` lets through, and nothing else."""
    folder = tmp_path_factory.mktemp("app") / "app"
    tops = ["function_app.py", "wiring.py", "settings.py", "host.json", "requirements.txt"]
    folder.mkdir()
    for name in tops:
        shutil.copy(ROOT / name, folder / name)
    for room in ("scaler", "colibri", "compute", "state", "page"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def drive(python: Path, app: Path, env: dict[str, str], *calls: str) -> dict[str, Any]:
    """Run the driver in the worker's Python, with no setting but those given."""
    script = ROOT / "tests" / "worker" / "drive.py"
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [str(python), "-B", str(script), str(app), *calls],
        env={**kept, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_worker_indexes_the_contract(worker_python: Path, deployed_app: Path) -> None:
    """Microsoft's worker finds exactly the functions of the contract, with their triggers and routes."""
    indexed = drive(worker_python, deployed_app, {})["indexed"]
    assert set(indexed) == CONTRACT
    tick = indexed["tick"][0]
    assert (tick["type"], tick["schedule"], tick["runOnStartup"]) == ("timerTrigger", "0 * * * * *", False)
    assert indexed["alert"][0]["route"] == "alerts/monitor"
    open_to_all = {name for name in indexed for b in indexed[name] if b.get("authLevel") == "ANONYMOUS"}
    assert open_to_all == {"dashboard", "boot"}  # the one holds no data, the other proves itself otherwise
    levels = {b["authLevel"] for name in indexed for b in indexed[name] if "authLevel" in b}
    assert levels == {"FUNCTION", "ANONYMOUS"}


def test_without_settings_the_worker_answers_with_the_faults(worker_python: Path, deployed_app: Path) -> None:
    """An app without settings starts, ticks without an error, and says in status what is missing."""
    calls = drive(worker_python, deployed_app, {}, "tick", "status", "plan", "alert@{}")["calls"]
    assert [call["ok"] for call in calls] == [True] * 4
    assert [call.get("status") for call in calls] == [None, 200, 503, 503]
    faults = json.loads(calls[1]["body"])["configuration"]["faults"]
    assert any(fault.startswith("SCALER_SHARDS: is missing") for fault in faults)


async def test_the_deployed_app_ticks_against_the_sandbox(worker_python: Path, deployed_app: Path) -> None:
    """Under the worker, with nothing but its settings, the app finds the bridges and records its tick."""
    async with stage(1, datetime(2026, 3, 4, tzinfo=UTC)) as sandbox:
        calls = ("tick", "status", "plan", "explain", 'alert@{"schemaId": "another"}', "dashboard")
        done = await asyncio.to_thread(drive, worker_python, deployed_app, dict(sandbox.env), *calls)
    tick, status, plan, explain, alert, dashboard = done["calls"]
    assert tick["ok"]
    (shard,) = json.loads(status["body"])["shards"]
    assert [bridge["phase"] for bridge in shard["bridges"]] == ["ready", "ready"]
    assert shard["totals"]["listed"] == 2
    assert json.loads(plan["body"])["shards"][0]["result"] == "done"
    assert json.loads(explain["body"])["shards"][0]["not_done"]
    assert alert["status"] == 400
    assert dashboard["status"] == 200
    assert "uPlot" in dashboard["body"]
