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


def direct(address: str) -> str:
    """It with `localhost` as the number that it means: to look it up costs time; and without a slash at its end.

    A certificate may be for the name alone.
    """
    parts = urlsplit(address.rstrip("/"))
    if parts.hostname != "localhost" or parts.scheme == "https":
        return parts.geturl()
    return parts._replace(netloc=f"127.0.0.1:{parts.port}" if parts.port else "127.0.0.1").geturl()


def means(text: str, url: str) -> bool:
    """Whether a text is the address of the server at `url`, which is written as `direct` has it."""
    return is_address(text) and direct(text) == url
