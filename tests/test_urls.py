"""An address is one that every part of the program reads alike; what is none is told to be none, early."""

from __future__ import annotations

import pytest

from gptoss_flow.urls import direct, is_address, means


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


@pytest.mark.parametrize(
    ("text", "is_meant"),
    [
        ("http://127.0.0.1:8080/", True),
        ("http://localhost:8080", True),
        ("https://localhost:8080", False),
        ("http://localhost:8081", False),
        ("http://localhost:x", False),
        ("small", False),
    ],
)
def test_a_server_is_meant_by_every_spelling_of_its_address(text: str, is_meant: bool) -> None:
    assert means(text, "http://127.0.0.1:8080") is is_meant
    assert direct("https://localhost:1/") == "https://localhost:1"
