"""The page's own promises: nothing from outside, no script but ours, text never as HTML."""

from __future__ import annotations

import base64
import hashlib
import re

import azure.functions as func

import function_app
import page
from tests.documented import ROOT

OURS = (ROOT / "page" / "dashboard.js").read_text(encoding="utf-8")


async def served() -> func.HttpResponse:
    """The answer of the app's own function."""
    answer: func.HttpResponse = await function_app.dashboard(
        func.HttpRequest(method="GET", url="/api/dashboard", body=b"")
    )
    return answer


async def test_the_page_is_one_answer_with_its_policy():
    """HTML with scripts and styles in it, and headers that forbid everything else."""
    answer = await served()
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    policy = answer.headers["Content-Security-Policy"]
    for rule in (
        "default-src 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "trusted-types 'none'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_policy_names_exactly_what_stands_in_the_page():
    """Each script and style has its hash there; a page that was changed would not run."""
    answer = await served()
    html, policy = answer.get_body().decode(), answer.headers["Content-Security-Policy"]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        allowed = re.search(rf"{rule} ([^;]+)", policy)
        assert allowed is not None
        assert allowed[1].split() == [f"'sha256-{each}'" for each in hashes]
        assert len(texts) == 2


async def test_nothing_comes_from_outside():
    """No address but in the licence line of the chart library; no attribute that is a script or a style."""
    html = (await served()).get_body().decode()
    assert re.findall(r"https?://[^\s)\"']+", html) == ["https://github.com/leeoniya/uPlot"]
    assert re.findall(r"<[^>]+\s(?:on\w+|style)=", html.partition("<script>")[0]) == []


def test_text_is_never_put_in_as_html():
    """None of the ways to make markup of a text is used; the browser's trusted types would stop them too."""
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in OURS
    assert "textContent" in OURS


def test_the_chart_library_keeps_its_licence():
    """It is vendored whole, unchanged, with the licence that it came with."""
    vendor = ROOT / "page" / "vendor"
    assert "MIT License" in (vendor / "LICENSE.uPlot").read_text(encoding="utf-8")
    assert page.dashboard().html.count(b"uPlot (v1.6.32)") == 1


def test_the_page_needs_no_key_and_holds_no_data():
    """It is open, as the call-back of a machine that boots is; all it shows is asked for with a key."""
    source = (ROOT / "function_app.py").read_text(encoding="utf-8")
    open_to_all = re.findall(r"AuthLevel\.ANONYMOUS\)\nasync def (\w+)", source)
    assert sorted(open_to_all) == ["boot", "dashboard"]
    assert "x-functions-key" in OURS
