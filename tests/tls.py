"""Certificates for servers of tests: an authority of our own, and what it signs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import need

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


def make_certificates(folder: Path) -> Path:
    """An authority (`ca.pem`), and certificates of it for 127.0.0.1 (`good`) and for another host (`other`)."""
    need("openssl")

    def make(name: str, subject: str, *more: str) -> None:
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={subject}"]
        subprocess.run(
            ["openssl", "req", "-x509", *_KEY, *files, *more], cwd=folder, check=True, capture_output=True
        )

    make("ca", "Our own", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign")
    for name, host in (("good", "IP:127.0.0.1"), ("other", "DNS:example.org")):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName={host}"]
        make(name, "server", *signed, "-addext", "basicConstraints=critical,CA:FALSE")
    return folder
