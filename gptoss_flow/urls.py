"""Which texts are the address of a server."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

ADDRESS = "a server's address; write one like http://127.0.0.1:8080"
"""What a text that is none is told not to be."""
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?")


def is_address(text: str) -> bool:
    """Whether it is `http://host:port/path` or https; port and path may be left out."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # brackets that hold no IPv6 address, a port that is no number, or too large
        return False
    return _ADDRESS.fullmatch(text) is not None and bool(parts.hostname) and port != 0
