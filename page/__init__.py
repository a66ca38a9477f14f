"""
The status page: one answer with everything in it, and headers that let nothing else in.

Scripts and styles lie in files of their own here and are put into the page when it is first asked
for. The policy names them by their hashes, so no other script can run, inline or not; text from
bridges and operators reaches the page only as text, which `require-trusted-types-for` enforces.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_STYLES = ("vendor/uPlot.min.css", "dashboard.css")
_SCRIPTS = ("vendor/uPlot.iife.min.js", "dashboard.js")


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML document with the headers that it needs."""

    html: bytes
    headers: Mapping[str, str]


@cache
def dashboard() -> Page:
    """Put the page together. It holds no data: its script asks for them, with the reader's key."""
    styles = [_text(name) for name in _STYLES]
    scripts = [_text(name) for name in _SCRIPTS]
    html = _text("dashboard.html")
    html = html.replace("<!-- styles -->", "".join(f"<style>{text}</style>" for text in styles))
    html = html.replace("<!-- scripts -->", "".join(f"<script>{text}</script>" for text in scripts))
    return Page(html.encode(), {"Content-Security-Policy": _policy(styles, scripts), **_HEADERS})


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(styles: list[str], scripts: list[str]) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            "script-src " + " ".join(map(_hash, scripts)),
            "style-src " + " ".join(map(_hash, styles)),
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
