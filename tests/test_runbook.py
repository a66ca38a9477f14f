"""The runbook keeps up with the code: each alert that the app may raise has its section and its severity."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from scaler.decision import Reason
from tests.documented import ROOT, section, text_of

RUNBOOK = "docs/runbook.md"
OF_REASONS = {"str(reason)", "str(stop.reason)"}
"""Alerts that are named by the reason for which a whole tick holds still."""


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of a function in the engine, by the function's bare name."""
    for path in sorted((ROOT / "scaler").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node


def kinds_that_are_written() -> set[str]:
    """Kinds that stand as text where an alert is made."""
    found = set()
    for call in calls("Alert"):
        kind = call.args[0]
        if isinstance(kind, ast.Constant):
            found.add(str(kind.value))
        else:
            words = ast.unparse(kind)
            assert words in OF_REASONS, f"which alert is {words}?"
    return found


def kinds_of_reasons() -> set[str]:
    """Reasons for which a tick holds still: given to `hold`, or refused in `_standstill`."""
    tree = ast.parse(text_of("scaler/decide.py"))
    standstill = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "_standstill")
    parts: list[ast.AST] = [*calls("hold"), standstill]
    return {
        str(Reason[node.attr])
        for part in parts
        for node in ast.walk(part)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }


KINDS = kinds_that_are_written() | kinds_of_reasons()


def sections() -> set[str]:
    """Headings below the alerts, without their quotes."""
    below = text_of(RUNBOOK).partition("\n## Alerts\n")[2]
    return set(re.findall(r"^### `?(\w+)`?$", below, re.MULTILINE))


def test_the_kinds_are_found():
    """The search sees alerts of every sort: as text, by a constant, by a reason."""
    assert {"blind", "at_maximum", "capacity_disagrees", "arm_unknown", "other_owner", "bad_image"} <= KINDS
    assert len(KINDS) > 18


def test_every_alert_has_its_section():
    """The runbook has a section for each alert and no other, besides those of the log itself."""
    assert sections() == KINDS | {"silent", "errors"}


def test_every_section_says_what_and_what_to_do():
    """Each begins with what it means, and has a remedy."""
    for name in sorted(sections()):
        heading = name if name in ("silent", "errors") else f"`{name}`"
        text = section(RUNBOOK, heading).strip()
        assert text.startswith("*"), name
        assert "Remedy:" in text, name


def test_every_alert_has_a_severity_where_it_is_mailed():
    """infra/ mails each kind with a severity from 1 (page) to 3."""
    severities = json.loads(text_of("infra/modules/monitoring/alert_kinds.json"))
    assert set(severities) == KINDS
    assert set(severities.values()) == {1, 2, 3}


def test_links_inside_the_runbook_lead_to_a_heading():
    """Each link to a section of the runbook, here and in infra/, names one that is there."""
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.+)$", text_of(RUNBOOK), re.MULTILINE)
    }
    texts = [text_of(RUNBOOK), *(p.read_text() for p in (ROOT / "infra").rglob("*.tf"))]
    texts = [texts[0], *(text.replace("${local.runbook}", RUNBOOK) for text in texts[1:])]
    inside = set(re.findall(r"\]\(#([\w-]+)\)", texts[0]))
    outside = {name for text in texts[1:] for name in re.findall(r"runbook\.md#([a-z][\w-]*)", text)}
    assert inside
    assert {"silent", "errors", "switching-on"} <= outside
    assert inside | outside <= headings
