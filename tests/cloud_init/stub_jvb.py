"""
A JVB as far as its boot goes: `stub_jvb.py JVB_CONF LOG BEHAVIOUR`, all three files.

Reads what was rendered, listens where it says, starts drained where it says. BEHAVIOUR is JSON: the
`password` that the Prosody behind it takes, `health` status, `joins`, `undrains`,
and `conferences` that it carries.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def serve(conf: dict[str, Any], log: Path, behaviour: dict[str, Any]) -> None:
    """Answer the boot's questions until the process is ended."""
    bridge = conf["videobridge"]
    account = bridge["apis"]["xmpp-client"]["configs"]["shard"]
    known = account["password"] == behaviour["password"]
    joined = int(known and behaviour["joins"])
    calls = {"conferences": behaviour["conferences"], "local_endpoints": 3 * behaviour["conferences"]}
    drained = [bridge["initial-drain-mode"]]
    lines = ["INFO: started", f"FINE: account jvb with {account['password']}"]
    if not known:
        lines.append("SEVERE: SASLErrorException: SASLError using SCRAM-SHA-1: not-authorized")
    log.write_text("\n".join(lines) + "\n")

    class Colibri(BaseHTTPRequestHandler):
        def answer(self, status: int, value: Any = None) -> None:
            body = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            answers: dict[str, tuple[int, Any]] = {
                "/about/health": (behaviour["health"], None),
                "/colibri/stats": (
                    200,
                    {**calls, "muc_clients_connected": int(known), "mucs_joined": joined},
                ),
                "/colibri/drain": (200, {"drain": drained[0]}),
            }
            self.answer(*answers.get(self.path, (404, None)))

        def do_POST(self) -> None:
            change = {"/colibri/drain/enable": True, "/colibri/drain/disable": not behaviour["undrains"]}
            if self.path in change:
                drained[0] = change[self.path]
            self.answer(200 if self.path in change else 404)

        def log_message(self, *_: object) -> None:
            pass

    private = bridge["http-servers"]["private"]
    ThreadingHTTPServer((private["host"], private["port"]), Colibri).serve_forever()


if __name__ == "__main__":
    serve(
        json.loads(Path(sys.argv[1]).read_text()),
        Path(sys.argv[2]),
        json.loads(Path(sys.argv[3]).read_text()),
    )
