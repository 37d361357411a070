"""Paths as people write them: a home that nobody knows is a file that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.user_path import user_path


def test_a_tilde_is_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert user_path("~/x") == Path("/home/ann/x")
    assert user_path("a/~") == Path("a/~")
    assert user_path("~nobody-here/x") == Path("~nobody-here/x")
