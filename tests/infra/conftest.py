from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.infra.deployment import Deployment, build_standin, missing_tools, prepare


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Give the folder with the stand-in provider; without terraform or go its tests are left out."""
    missing = missing_tools()
    if missing and os.environ.get("JVB_AUTOSCALER_NEEDS_TERRAFORM"):
        pytest.fail(f"{' and '.join(missing)} must be installed where infra/ is checked", pytrace=False)
    if missing:
        pytest.skip(f"infra/ IS NOT CHECKED HERE: {' and '.join(missing)} not found")
    return build_standin()


def _applied(tmp_path_factory: pytest.TempPathFactory, mirror: Path, environment: str) -> Deployment:
    made = prepare(tmp_path_factory.mktemp(environment) / "infra", mirror)
    made.apply(environment)
    return made


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory, mirror: Path) -> Deployment:
    """Give dev as its first apply makes it."""
    return _applied(tmp_path_factory, mirror, "dev")


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory, mirror: Path) -> Deployment:
    """Give prod as its first apply makes it."""
    return _applied(tmp_path_factory, mirror, "prod")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what was left out: a quiet skip would pass for a check."""
    said = {
        str(report.longrepr[2])
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    }
    for reason in sorted(reason for reason in said if "NOT CHECKED" in reason):
        terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True, bold=True)
