"""`plan --explain` says of each step what a resumed run would do with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_flow.cli.main import main

FLOW = """\
version: 1
steps:
  a: {set: {x: 1}, cache: false, effect: once}
  b: {set: {x: 2}, cache: false}
  c: {set: {x: "${{ steps.b.output.x }}"}}
  d: {foreach: [1, 2], set: {x: "${{ item }}"}}
  e: {set: {x: 1}, when: "${{ 1 > 2 }}"}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    Path("f.yaml").write_text(FLOW)


def verdicts(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert main(["plan", "f.yaml", "--explain", "--json"]) == 0
    return {step["unit"]: step["verdict"] for step in json.loads(capsys.readouterr().out)["steps"]}


def test_what_changed_and_what_needs_it_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "f.yaml", "--quiet"]) == 0
    expected = {"a": "reuse", "b": "run", "c": "run", "d[0]": "reuse", "d[1]": "reuse", "e": "skip"}
    assert verdicts(capsys) == expected
    Path("f.yaml").write_text(FLOW.replace("[1, 2]", "[1, 3]"))
    assert verdicts(capsys) == expected | {"d[1]": "run"}


def test_without_a_run_on_record_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "f.yaml", "--explain"]) == 7
    assert "no run of f is on record here" in capsys.readouterr().err
