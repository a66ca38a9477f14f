"""checkov on the evaluated bodies: every finding is either mended or accepted here, with its reason."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.deployment import ROOT, Deployment

CHECKOV = "checkov==3.3.30"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"

ACCEPTED = {
    "CKV_AZURE_17": "client certificates: Azure Monitor has none to show; every function wants a key",
    "CKV_AZURE_41": "secrets that expire: an expired one locks out every new bridge; the runbook rotates it",
    "CKV_AZURE_59": "storage reachable from outside: people read the tables; prod from few addresses",
    "CKV_AZURE_95": "automatic OS upgrades: they know nothing of calls; the app replaces machines",
    "CKV_AZURE_97": "encryption at host: needs a feature registered by hand; the disk holds no media",
    "CKV_AZURE_206": "geo-replication: the tables are a memory of days; prod has three zones",
    "CKV_AZURE_212": "more than one instance: one holds the lease anyway, and bridges go on without any",
    "CKV_AZURE_213": "health check: it would keep an instance awake; silence is an alert of its own",
    "CKV_AZURE_222": "app reachable from outside: Azure Monitor and the command line call it",
    "CKV_AZURE_225": "plan in several zones: it may be away for minutes, and goes on where its tables say",
}
ACCEPTED_IN_DEV = {
    "CKV_AZURE_35": "storage open by default: dev has no private endpoints; keys are off",
}


@pytest.fixture(scope="session")
def checkov(mirror: Path) -> Path:
    """Give checkov in an environment of its own, made once: its needs would fight with the app's."""
    folder = ROOT / ".cache" / CHECKOV.replace("==", "-")
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, CHECKOV], check=True)
        (folder / "complete").touch()
    return folder / "bin" / "checkov"


def scan(checkov: Path, made: Deployment, folder: Path) -> dict[str, Any]:
    """Scan what was sent, as one ARM template: checkov knows ARM's bodies, and nothing of azapi."""
    resources = [
        {"type": sent.kind, "apiVersion": sent.version, "name": sent.name, **sent.body}
        for sent in made.sent
        if sent.method == "PUT"
    ]
    template = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources}
    (folder / "main.json").write_text(json.dumps(template))
    done = subprocess.run(
        [str(checkov), "--framework", "arm", "-f", "main.json", "--skip-download", "--compact", "-o", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(
    ("environment", "accepted"),
    [("dev", ACCEPTED | ACCEPTED_IN_DEV), ("prod", ACCEPTED)],
    ids=["dev", "prod"],
)
def test_every_finding_is_accepted_with_a_reason(
    request: pytest.FixtureRequest,
    checkov: Path,
    tmp_path: Path,
    environment: str,
    accepted: dict[str, str],
):
    """The scanner reads every resource, and finds what is accepted here, no more and no less."""
    made: Deployment = request.getfixturevalue(environment)
    told = scan(checkov, made, tmp_path)
    assert told["summary"]["parsing_errors"] == 0
    # A role assignment of a nested scope may share its name with another; checkov counts by name.
    assert told["summary"]["resource_count"] > 50
    assert told["summary"]["passed"] > 45
    found = {each["check_id"]: each["check_name"] for each in told["results"]["failed_checks"]}
    assert set(found) == set(accepted), {name: found[name] for name in set(found) - set(accepted)}
