"""A private certificate authority, made by openssl as an operator would make it."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """An authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Make its key and certificate."""
        folder.mkdir()
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Private CA")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def pem(self) -> str:
        """Return its certificate."""
        return (self.folder / "ca.pem").read_text()

    def issue(self, *names: str) -> None:
        """Make `server.pem` and `server.key` for some DNS names."""
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={names[0]}")  # fmt: skip
        extensions = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
        (self.folder / "names").write_text(extensions)
        self._openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "server.pem", "-days", "2", "-extfile", "names")  # fmt: skip
