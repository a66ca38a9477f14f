"""The page in a headless Chromium: at a desk and on a phone, with few bridges and with many."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.faces.http import Listener
from tests.documented import ROOT
from tests.page.fleets import EVIL, answer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PICTURES = os.environ.get("PICTURES", "-")
"""A folder: pictures of every look are left there."""
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; .ci/run installs one")


def look_at(base: str) -> list[dict[str, Any]]:
    """Every look: 0, 1, 12 and 200 bridges at both sizes, light and dark, a week, and a wrong key."""
    looks = [
        {
            "name": f"{name}-{bridges}",
            "url": f"{base}/{bridges}/api/dashboard",
            "key": "look",
            "width": width,
            "height": height,
            "dark": name == "phone",
            "hours": 168 if bridges == 12 and name == "desk" else 0,
        }
        for bridges in (0, 1, 12, 200)
        for name, (width, height) in SIZES.items()
    ]
    wrong = {**looks[0], "name": "wrong-key", "key": "wrong"}
    return [*looks, wrong]


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the browser saw, of every look."""
    return asyncio.run(_look())


async def _look() -> dict[str, Any]:
    listener = Listener(answer)
    port = await listener.open()
    try:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "node",
            ROOT / "tests" / "page" / "look.mjs",
            str(CHROMIUM),
            PICTURES,
            ROOT / "node_modules" / "axe-core" / "axe.min.js",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        out, _ = await process.communicate(json.dumps(look_at(f"http://127.0.0.1:{port}")).encode())
    finally:
        await listener.close()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


SHOWN = [f"{name}-{bridges}" for bridges in (0, 1, 12, 200) for name in SIZES]


@pytest.mark.parametrize("name", SHOWN)
def test_a_look_has_no_error_and_no_request_outside(seen: dict[str, Any], name: str):
    """Nothing in the console but the 404 of an app without usage; every request goes to the app itself."""
    look = seen[name]
    allowed = ["error: Failed to load resource: the server responded with a status of 404 (Not Found)"]
    assert look["said"] == (allowed if name.endswith("-0") else [])
    origins = {url.partition("/api/")[0] for url in look["requests"]}
    assert len(origins) == 1
    assert origins.pop().startswith("http://127.0.0.1:")
    assert look["asksFor"] == "Which key?"


@pytest.mark.parametrize("name", [*SHOWN, "wrong-key"])
def test_a_look_is_accessible(seen: dict[str, Any], name: str):
    """An axe scan finds nothing serious, with both colour schemes."""
    assert [each for each in seen[name]["violations"] if each[0] in SERIOUS] == []


@pytest.mark.parametrize("name", SHOWN)
def test_every_bridge_is_there_and_fits(seen: dict[str, Any], name: str):
    """With 0, 1, 12 and 200 of them, and the page is never wider than the screen."""
    look = seen[name]
    assert look["bridges"] == int(name.partition("-")[2])
    assert look["overflow"] <= 0
    assert look["charts"] == (3 if look["bridges"] > 1 else 0)


def test_what_a_person_at_four_in_the_morning_needs_is_in_words(seen: dict[str, Any]):
    """Alerts, the night, why each bridge stays, what operators asked for, and what ends a refusal."""
    text = seen["phone-200"]["text"]
    for words in (
        "sick jvb-a_00000007",
        "Night of 2026-03-04: 134 of 200 bridges replaced",
        "canary proved",
        "waits for jvb-a_00000001, which has 2 conferences",
        "an older bridge goes first",
        "floor at least 4 in force",
        "Raise max_bridges, if addresses",
        "oldest busy:",
    ):
        assert words in text
    assert "paused by ann: maintenance" in seen["desk-12"]["text"]
    assert "dry run" in seen["desk-1"]["text"]
    assert "There is no bridge." in seen["desk-0"]["text"]
    assert "no tick has run yet" in seen["desk-0"]["text"]
    assert "This app does not tell its usage." in seen["desk-0"]["text"]
    assert "No usage was recorded" in seen["desk-1"]["text"]
    assert "quarters of an hour recorded in the last 7 days" in seen["desk-12"]["text"]


@pytest.mark.parametrize("name", ["desk-12", "phone-200"])
def test_a_hostile_name_is_only_text(seen: dict[str, Any], name: str):
    """Markup in a name is read, not run."""
    assert EVIL in seen[name]["text"]
    assert not seen[name]["scripted"]


def test_a_wrong_key_is_said_and_not_kept(seen: dict[str, Any]):
    """The reader is asked again, and none of it stays in the browser; a right one stays for the session."""
    assert "This key is not taken" in seen["wrong-key"]["text"]
    assert seen["wrong-key"]["stored"] == [0, 0]
    assert seen["desk-1"]["stored"] == [1, 0]
