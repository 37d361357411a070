"""`run --otel` as a user types it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gptoss_flow.cli.main import main
from tests.record.collector import collector

FLOW = """\
version: 1
steps:
  list: {tool: list_files, with: {pattern: "*.yaml"}}
  each: {foreach: [sun, moon], prompt: {mode: raw, text: "about the ${{ item }}"}}
"""
RUN = ("run", "f.yaml", "--model", "scripted:r.yaml", "--quiet")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Path("f.yaml").write_text(FLOW)
    Path("r.yaml").write_text("replies: [{step: each, text: shines}]\n")


def test_a_run_is_seen_by_the_collector_and_its_words_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        assert main([*RUN, "--otel"]) == 0
        assert set(got.spans) == {
            "invoke_workflow f", "step list", "execute_tool list_files", "step each", "item each",
            "text_completion local",
        }  # fmt: skip
        assert got.above("text_completion local") == "item each"
        assert got.above("item each") == "step each"
        assert got.spans["step each"].said["gptoss_flow.step.items"] == 2
        assert "moon" not in got.text
        assert "shines" not in got.text
        assert main([*RUN, "--otel-content"]) == 0
        assert "shines" in got.text


def test_nothing_is_sent_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        assert main([*RUN]) == 0
        assert got.paths == []


def test_without_its_packages_the_option_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gptoss_flow.record.otel", "gptoss_flow.record.spans"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert main([*RUN, "--otel"]) == 3
    assert "pip install 'gptoss-flow[otel]'" in capsys.readouterr().err
    assert not Path(".gptoss-flow").exists()


def test_a_run_succeeds_whose_collector_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    assert main([*RUN, "--otel"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: --otel: the collector at http://127.0.0.1:1 ")


def test_a_resumed_run_can_be_seen_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("r.yaml").write_text("replies: []\n")
    assert main([*RUN]) == 1
    Path("r.yaml").write_text("replies: [{step: each, text: shines}]\n")
    with collector() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        assert main(["resume", "--quiet", "--otel"]) == 0
        assert got.spans["invoke_workflow f"].said["gptoss_flow.resumed"] is True
        assert got.above("text_completion local") == "item each"
