"""Runs the real terraform against the stand-in provider, and keeps what it would have sent to Azure."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
VERSION = "2.12.0"
PASSWORDS = {"a": "first-password-of-a", "b": "first-password-of-b"}
OPERATORS = ["203.0.113.7/32"]

Body = dict[str, Any]


def missing_tools() -> list[str]:
    """Names of the programs that these tests need and this machine lacks."""
    return [name for name in ("terraform", "go") if shutil.which(name) is None]


def build_standin() -> Path:
    """Build the provider, once for each state of its source; return the folder to take it from."""
    sources = sorted((HERE / "standin").iterdir())
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    mirror = ROOT / ".cache" / f"standin-{content}"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    folder = mirror / "registry.terraform.io" / "azure" / "azapi" / VERSION
    target = folder / f"{platform.system().lower()}_{machine}" / f"terraform-provider-azapi_v{VERSION}"
    if not target.exists():
        command = ["go", "build", "-buildvcs=false", "-o", str(target.with_suffix(".new")), "."]
        subprocess.run(command, cwd=HERE / "standin", check=True)
        target.with_suffix(".new").rename(target)
    return mirror


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that the provider would have sent."""

    method: str
    kind: str
    """Resource type, without its version."""
    version: str
    id: str
    parent: str
    body: Body
    created: bool

    @property
    def name(self) -> str:
        """Last part of the id."""
        return self.id.rpartition("/")[2]


@dataclass(slots=True)
class Deployment:
    """A copy of infra/ in a folder of its own."""

    folder: Path
    env: dict[str, str]
    sent: list[Sent] = field(default_factory=list)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run terraform; with `check` a failure shows what it said."""
        done = subprocess.run(
            ["terraform", *arguments, "-no-color"] if arguments[0] != "fmt" else ["terraform", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def apply(self, environment: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """Apply with the parameters of an environment; `sent` is then what this apply sent."""
        journal = self.folder / "journal"
        journal.unlink(missing_ok=True)
        given = [f"-var={name}={json.dumps(value)}" for name, value in variables.items()]
        done = self.run("apply", "-auto-approve", f"-var-file=environments/{environment}.tfvars", *given)
        lines = journal.read_text().splitlines() if journal.exists() else []
        self.sent = [_sent(json.loads(line)) for line in lines]
        return done

    def of(self, kind: str) -> list[Sent]:
        """What was written of one resource type."""
        return [sent for sent in self.sent if sent.method == "PUT" and sent.kind == kind]

    def one(self, kind: str) -> Sent:
        """The only one of its type."""
        (only,) = self.of(kind)
        return only

    def outputs(self) -> dict[str, Any]:
        """Values of all outputs."""
        told = json.loads(self.run("output", "-json").stdout)
        return {name: each["value"] for name, each in told.items()}

    @property
    def state(self) -> str:
        """The state file as it lies on disk."""
        return (self.folder / "terraform.tfstate").read_text()


def _sent(line: dict[str, Any]) -> Sent:
    kind, _, version = line["type"].partition("@")
    return Sent(
        line["method"],
        kind,
        version,
        line["id"],
        line.get("parent_id", ""),
        line.get("body") or {},
        line.get("created", False),
    )


def prepare(folder: Path, mirror: Path) -> Deployment:
    """Copy infra/ and initialise it; nothing of it is written into the project."""
    shutil.copytree(ROOT / "infra", folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    # bridge.tf reads what boots on a bridge from beside infra/.
    if (ROOT / "cloud_init").is_dir() and not (folder.parent / "cloud_init").exists():
        shutil.copytree(ROOT / "cloud_init", folder.parent / "cloud_init")
    shutil.copytree(HERE / "terraform", folder / "tests")
    settings = folder / "terraform.rc"
    source = f"filesystem_mirror {{ path = {json.dumps(str(mirror))} }}"
    settings.write_text(f"disable_checkpoint = true\nprovider_installation {{ {source} }}\n")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    env = {
        **kept,
        "TF_CLI_CONFIG_FILE": str(settings),
        "TF_IN_AUTOMATION": "1",
        "STANDIN_TYPES": str(HERE / "azure_types"),
        "STANDIN_JOURNAL": str(folder / "journal"),
        "TF_VAR_admin_ssh_public_key": "ssh-ed25519 AAAA",
        "TF_VAR_operator_addresses": json.dumps(OPERATORS),
        "TF_VAR_xmpp_passwords": json.dumps(PASSWORDS),
    }
    made = Deployment(folder, env)
    made.run("init", "-backend=false", "-input=false")
    return made
