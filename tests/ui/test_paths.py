"""A path is shown as short as it can be and still be found."""

from __future__ import annotations

from pathlib import Path

import pytest

import gptoss_flow
from gptoss_flow.ui.paths import short_path


def test_a_path_is_told_from_where_one_stands_or_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert short_path(tmp_path / "project" / "flows" / "a.yaml") == "flows/a.yaml"
    assert short_path(tmp_path / "models" / "a.gguf") == "~/models/a.gguf"
    assert short_path("/nowhere/a.yaml") == "/nowhere/a.yaml"


def test_what_comes_with_this_program_is_told_without_the_way_to_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(gptoss_flow.__file__).parent
    for folder in (tmp_path, package.parent.parent):  # a virtual environment may lie within the project
        monkeypatch.chdir(folder)
        assert short_path(package / "profiles" / "base.yaml") == "…/gptoss_flow/profiles/base.yaml"
    monkeypatch.chdir(package.parent)
    assert short_path(package / "profiles" / "base.yaml") == "gptoss_flow/profiles/base.yaml"
