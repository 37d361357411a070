"""An address is one that every part of the program reads alike; what is none is told to be none, early."""

from __future__ import annotations

import pytest

from gptoss_flow.urls import is_address


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8080", "http://localhost", "https://a.example/v1/", "http://[::1]:80", "http://x:65535"],
)
def test_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "foo", "127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://:8080", "http://a b", "http://[::1",
        "http://[x]", "http://a:65536", "http://a:0", "http://a:8o80", "http://a:-1", "http://user:word@a",
        "http://a?b", "http://a#b", " http://a",
    ],
)  # fmt: skip
def test_no_address(text: str) -> None:
    assert not is_address(text)
