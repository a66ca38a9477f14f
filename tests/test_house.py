"""The house rules that no other tool checks: what is deployed, what is documented, what names a place."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from state.rows import BRIDGES, COMMANDS, INTENTS, LEASES, STATES, RowFormat

ROOT = Path(__file__).parent.parent
DEPLOYED_PACKAGES = ("scaler", "colibri", "compute", "state", "page")
TOP_FILES = ("function_app", "wiring", "settings")
"""Highest first: each may import what stands after it, and the packages."""


def tree() -> list[Path]:
    """Every file of the project: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    for path in tree():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def imports_of(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def is_deployed(name: str) -> bool:
    """Whether `func azure functionapp publish` would send a file, by the patterns of .funcignore."""
    lines = (ROOT / ".funcignore").read_text().splitlines()
    for pattern in (line for line in lines if line and not line.startswith("#")):
        parts = name.split("/")
        folder = pattern.removesuffix("/")
        if any(fnmatch(part, folder) for part in (parts[:-1] if pattern.endswith("/") else parts)):
            return False
    return True


def test_only_the_app_is_deployed():
    """The package that is published holds the app, and neither sandbox, tests, tools nor secrets."""
    sent = {name.split("/")[0] for path in tree() if is_deployed(name := str(path.relative_to(ROOT)))}
    allowed = {*DEPLOYED_PACKAGES, *(f"{name}.py" for name in TOP_FILES)}
    assert sent <= allowed | {"host.json", "requirements.txt", "LICENSE"}
    assert {"scaler", "state", "host.json", "requirements.txt"} <= sent
    assert not is_deployed("local.settings.json")
    assert not is_deployed("node_modules/azurite/package.json")


def test_nothing_deployed_imports_the_sandbox_or_the_tests():
    """The app runs without the folders that are not sent along."""
    files = [path for path in tree() if path.suffix == ".py" and is_deployed(str(path.relative_to(ROOT)))]
    left_out = {path.name for path in ROOT.iterdir() if path.is_dir()} - set(DEPLOYED_PACKAGES)
    assert {str(path): imports_of(path) & left_out for path in files if imports_of(path) & left_out} == {}


@pytest.mark.parametrize("name", TOP_FILES)
def test_the_top_files_import_downwards(name: str):
    """function_app knows wiring, wiring knows settings, never the other way round."""
    path = ROOT / f"{name}.py"
    if path.exists():
        assert imports_of(path).isdisjoint(TOP_FILES[: TOP_FILES.index(name) + 1])


def pins(name: str) -> dict[str, str]:
    """Return the version of each package in a lock, by name and condition."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; ([^\\]+))?", (ROOT / name).read_text(), re.MULTILINE)
    return {f"{package} {condition.strip()}": version for package, version, condition in found}


def test_what_is_tested_is_what_is_deployed():
    """Every package of requirements.txt has the same version in the environment of the tests."""
    deployed, tested = pins("requirements.txt"), pins("requirements-dev.txt")
    versions = {(key.split()[0], version) for key, version in tested.items()}
    assert len(deployed) > 10
    assert {(key.split()[0], version) for key, version in deployed.items()} <= versions


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-uv.txt"])
def test_every_package_is_locked_by_hash(name: str):
    """No package enters without a hash that we know."""
    blocks = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


def test_the_locks_name_no_host():
    """Where packages come from is the affair of each machine, so a lock names none."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    resolved = {entry["resolved"] for entry in packages.values() if "resolved" in entry}
    assert resolved <= {"sandbox/npm_absent"}
    ours = {"", "sandbox/npm_absent"}
    fetched = [entry for name, entry in packages.items() if name not in ours and not entry.get("link")]
    assert len(fetched) > 100
    assert all(entry.get("integrity", "").startswith("sha512-") for entry in fetched)
    for lock in ROOT.glob("requirements*"):
        assert not re.search(r"https?://|--index|--find-links|--extra", lock.read_text()), lock.name


def test_no_file_names_a_machine_or_a_registry():
    """The tree can be built anywhere: no path of one machine, no address of one package host."""
    # Written in pieces, so that this file does not find itself.
    places = [
        "/wor" + "k/",
        "/hom" + "e/",
        "/Use" + "rs/",
        "/roo" + "t/",
        "registry" + ".npmjs",
        "pypi" + ".org",
    ]
    places += ["pythonhosted" + ".org", "yarnpkg" + ".com"]
    assert [(name, place) for name, text in texts() for place in places if place in text] == []


def documented(name: str) -> str:
    path = ROOT / "docs" / name
    if not path.exists():
        pytest.skip(f"docs/{name} is not written yet")
    return path.read_text()


def section(title: str) -> str:
    """Return one section of docs/tables.md, sub-sections excluded."""
    text = documented("tables.md")
    return re.split(r"\n#", text.partition(f" {title}\n")[2])[0]


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (BRIDGES, "bridges"),
        (STATES, "Row `state`"),
        (LEASES, "Row `lease`"),
        (INTENTS, "intents"),
        (COMMANDS, "commands"),
    ],
    ids=["bridges", "state", "lease", "intents", "commands"],
)
def test_every_column_is_documented(rows: RowFormat[object], title: str):
    """docs/tables.md has each column that is written with its type and unit, and no other."""
    found = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", section(title), re.MULTILINE)
    written = {column.name: column.kind.cell for column in rows.columns}
    extra = {"ended": "Boolean"} if rows in (INTENTS, COMMANDS) else {}
    assert {name: cell for name, cell, _, _ in found} == written | extra
    assert all(unit.strip() and meaning.strip() for _, _, unit, meaning in found)


def test_every_policy_field_is_documented():
    """docs/policy.md has a row for each policy field, naming its unit and default."""
    knobs = pytest.importorskip("scaler.policy").KNOBS
    text = documented("policy.md")
    missing = [name for name, knob in knobs.items() if not _row_of(text, name, knob.unit)]
    assert missing == []


def _row_of(text: str, name: str, unit: str) -> bool:
    return any(line.startswith(f"| `{name}` |") and unit in line for line in text.splitlines())


def test_every_test_states_its_promise():
    """Each test has a docstring, since its name alone cannot say what is promised."""
    bare = []
    for path in (
        path for path in tree() if path.match("tests/**/test_*.py") or path.match("tests/test_*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                bare += [] if ast.get_docstring(node) else [f"{path.name}: {node.name}"]
    assert bare == []


def test_the_host_answers_under_api_and_ends_long_runs():
    """host.json keeps the addresses that alerts and the command line know, and a tick's upper bound."""
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == "api"
    assert host["functionTimeout"] == "00:02:00"
