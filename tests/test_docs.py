"""The documents keep up with the code: every setting, field, route, refusal and command stands in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import click
import pytest

import settings
from cli.app import cli
from cli.client import Exit
from scaler.decision import Reason
from scaler.explain import SENTENCES
from scaler.lifecycle import TABLE
from scaler.model import Purpose
from scaler.policy import FIELD_NAMES, KNOBS, Knob, ScalingPolicy
from state.store import TABLES
from tests.documented import ROOT, names, section, text_of

BEGIN, END = "<!-- policy table: begin -->", "<!-- policy table: end -->"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


# --- docs/policy.md -------------------------------------------------------------------------


def policy_table() -> str:
    """The table of docs/policy.md as `KNOBS` says it should be."""
    head = "| field | unit | default | allowed | why |\n|---|---|---|---|---|"
    return "\n".join([head, *(_policy_row(name, knob) for name, knob in KNOBS.items())])


def _policy_row(name: str, knob: Knob) -> str:
    return f"| `{name}` | {knob.unit or '-'} | {_default(knob)} | {knob.allowed} | {knob.why} |"


def _default(knob: Knob) -> str:
    if knob.default is None:
        return "`null`" if knob.optional else "required"
    return f"`{_as_json(knob.default)}`"


def _as_json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if value != str(value) else value


def test_the_policy_table_is_what_the_code_checks():
    """docs/policy.md shows each field with the unit, default and range that validation uses."""
    found = text_of("docs/policy.md").partition(BEGIN)[2].partition(END)[0].strip()
    expected = policy_table()
    if found != expected:
        pytest.fail(f"docs/policy.md should have between its two markers:\n\n{expected}\n", pytrace=False)


def test_the_documented_defaults_are_those_in_force():
    """A policy without overrides has the defaults that the table shows."""
    policy = ScalingPolicy(max_bridges=4)
    knobs = {name: knob.default for name, knob in KNOBS.items() if name != "max_bridges"}
    assert {name: getattr(policy, name) for name in FIELD_NAMES - {"max_bridges"}} == knobs


# --- README.md ------------------------------------------------------------------------------


def test_every_setting_is_documented():
    """README's table of settings names each one that is read, and no other."""
    assert set(names(section("README.md", "Configuration"))) == settings._KNOWN | {"AZURE_CLIENT_ID"}


def test_the_defaults_of_the_settings_are_documented():
    """README tells what holds where nothing is set."""
    text = section("README.md", "Configuration")
    for default in (settings.DEFAULT_ARM_ENDPOINT, settings.DEFAULT_BRIDGE_PORT, settings.DEFAULT_OWNER):
        assert f"`{default}`" in text


def test_every_field_of_a_shard_is_documented():
    """README names what a shard may say besides policy fields."""
    text = section("README.md", "A shard")
    assert {field for field in settings._OWN_SHARD_FIELDS if f"`{field}`" not in text} == set()


def routes() -> dict[str, str]:
    """Method and path of each HTTP function by name, and how often a timer runs, from the decorators."""
    found = {}
    for node in ast.parse(text_of("function_app.py")).body:
        if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list:
            call = node.decorator_list[0]
            assert isinstance(call, ast.Call)
            options = {
                each.arg: ast.literal_eval(each.value)
                for each in call.keywords
                if each.arg and each.arg != "auth_level"
            }
            route = options.get("route")
            timer = f"timer, {_SCHEDULES.get(options.get('schedule', ''))}"
            found[node.name] = f"{options['methods'][0]} /api/{route}" if route else timer
    return found


def test_every_function_is_documented():
    """README's table of functions has each with its trigger, and no other."""
    table = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section("README.md", "Functions"), re.MULTILINE)
    assert {name: trigger.strip("`") for name, trigger in table} == routes()


_SCHEDULES = {"0 * * * * *": "every minute", "30 */15 * * * *": "every 15 minutes"}


def test_the_commands_exist():
    """Each `make` command that README or CONTRIBUTING shows is a target, and `run` and `test` are shown."""
    shown = set(
        re.findall(r"^ {4}make (\w+)", text_of("README.md") + text_of("CONTRIBUTING.md"), re.MULTILINE)
    )
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    assert {"run", "test"} <= shown <= targets


def test_links_lead_somewhere():
    """Each link to a file of this project in a document leads to one."""
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []


# --- docs/cli.md ----------------------------------------------------------------------------


def commands(command: click.Command, path: str = "") -> list[str]:
    """Every command of the command line, with the words that lead to it."""
    if isinstance(command, click.Group):
        return [each for name, sub in command.commands.items() for each in commands(sub, f"{path} {name}")]
    return [path.strip()]


def test_every_command_of_the_command_line_is_documented():
    """docs/cli.md has a row for each command, and none for one that there is not."""
    rows = re.findall(r"^\| `([a-z ]+?)(?: [A-Z0-9[][^`]*)?` \|", text_of("docs/cli.md"), re.MULTILINE)
    assert sorted(rows) == sorted(commands(cli))


def test_every_exit_code_is_documented():
    """docs/cli.md says what each one means to a script."""
    rows = re.findall(r"^\| (\d) \|", section("docs/cli.md", "Exit codes"), re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in Exit]


# --- docs/architecture.md -------------------------------------------------------------------


def test_every_room_is_on_the_map():
    """docs/architecture.md names each package and each module of the engine."""
    text = section("docs/architecture.md", "Rooms")
    modules = [path.name for path in (ROOT / "scaler").glob("*.py") if path.name != "__init__.py"]
    packages = [f"{name}/" for name in ("scaler", "colibri", "compute", "state", "cli", "sandbox", "tests")]
    assert [name for name in (*packages, *modules) if f"`{name}`" not in text] == []


def test_every_move_of_a_bridge_is_documented():
    """docs/architecture.md shows the transition table as the code has it."""
    found = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|",
        section("docs/architecture.md", "Life of a bridge"),
        re.MULTILINE,
    )
    listed = {(str(phase), str(move)): str(after) for (phase, move), after in TABLE.items()}
    leaving = {key: after for key, after in listed.items() if key[1] != "not_listed"}
    assert {(phase, move): after for phase, move, after in found} == leaving


# --- docs/policy.md, the refusals -----------------------------------------------------------


def test_every_refusal_is_documented():
    """docs/policy.md lists every reason that `explain` may give, in the words that it uses."""
    found = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section("docs/policy.md", "Refusals"), re.MULTILINE))
    expected = {str(reason): SENTENCES[reason] for reason in Reason}
    if found != expected:
        rows = "\n".join(f"| `{name}` | {words} |" for name, words in expected.items())
        pytest.fail(f"docs/policy.md should have under 'Refusals':\n\n{rows}\n", pytrace=False)


def test_every_purpose_of_a_drain_is_documented():
    """docs/policy.md says what each purpose of a drain means."""
    assert set(names(section("docs/policy.md", "Purposes of a drain"))) == {str(each) for each in Purpose}


# --- docs/tables.md, docs/decisions ---------------------------------------------------------


def test_every_table_is_documented():
    """docs/tables.md speaks of each table that the app makes."""
    headings = " ".join(re.findall(r"^## (.+)$", text_of("docs/tables.md"), re.MULTILINE))
    assert [name for name in TABLES if name not in headings] == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_one_short_page(path: Path):
    """Each page says what was decided, why, and what it costs, and is listed in the architecture."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^#+ (.+)$", text, re.MULTILINE)[1:] == ["Decision", "Why", "Price"]
    assert len(text.splitlines()) <= 60
    assert f"(decisions/{path.name})" in text_of("docs/architecture.md")
