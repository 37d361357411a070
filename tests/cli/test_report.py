"""`report` as a user types it, over runs that were really run."""

from __future__ import annotations

import json
import stat
import webbrowser
from pathlib import Path

import pytest

from gptoss_flow.record.folder import RunFolder, list_runs
from tests.cli.in_process import Command

FLOW = """\
version: 1
name: two
steps:
  each: {foreach: [a, b], as: letter, prompt: {user: "Say ${{ letter }}"}}
  enough: {check: ["steps.each.output | length == 2"]}
outputs: {said: "${{ steps.each.output }}"}
"""
REPLIES = 'default: "</script><script>alert(1)</script> \\e[31m"\n'


@pytest.fixture(autouse=True)
def recorded(command: Command) -> None:
    """A run is on record."""
    Path("two.yaml").write_text(FLOW)
    Path("r.yaml").write_text(REPLIES)
    assert command("run", "two.yaml", "--model", "scripted:r.yaml", "-q")[0] == 0


def test_the_report_lies_in_the_runs_folder_and_its_path_is_said(command: Command) -> None:
    (folder,) = list_runs(Path.cwd())
    code, out, err = command("report")
    assert (code, err) == (0, "")
    path = Path(out.strip())
    assert path.resolve() == (folder / "report.html").resolve()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    html = path.read_text()
    assert html.startswith("<!doctype html>")
    assert "<script>alert(1)" not in html
    assert "Say a" in html
    assert [each.name for each in folder.iterdir() if each.name.startswith(".")] == []


def test_what_lies_there_is_replaced_and_not_written_through(command: Command, tmp_path: Path) -> None:
    (folder,) = list_runs(Path.cwd())
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / "report.html").symlink_to(victim)
    assert command("report")[0] == 0
    assert victim.read_text() == "mine"
    assert (folder / "report.html").read_text().startswith("<!doctype")


@pytest.mark.parametrize(
    ("form", "begins"),
    [("text", "run "), ("md", "## "), ("json", "{"), ("junit", "<?xml"), ("html", "<!doctype html>")],
)
def test_each_form_can_be_printed_and_written(command: Command, form: str, begins: str) -> None:
    code, out, _ = command("report", "latest", "-f", form, "-o", "-")
    assert (code, out[: len(begins)]) == (0, begins)
    assert command("report", "-f", form, "--out", "here.txt")[:2] == (0, "here.txt\n")
    assert Path("here.txt").read_text() == out


def test_json_is_what_show_says_and_more(command: Command) -> None:
    told = json.loads(command("report", "--format", "json")[1])
    shown = json.loads(command("show", "--json")[1])
    assert {key: told[key] for key in shown if key != "steps"} == {k: v for k, v in shown.items() if k != "steps"}
    assert [step["history"][0]["text"] for step in told["steps"][0]["item_steps"]] == [
        "</script><script>alert(1)</script> \x1b[31m"
    ] * 2


def test_a_run_that_goes_on_is_reported_and_that_is_said(command: Command) -> None:
    (folder,) = list_runs(Path.cwd())
    events = folder / "events.jsonl"
    events.write_bytes(b"".join(events.read_bytes().splitlines(keepends=True)[:4]))
    writer = RunFolder(folder)
    try:
        assert "still going on" in command("report", "-f", "text")[1]
    finally:
        writer.close()
    assert "ends before the run does" in command("report", "-f", "md")[1]


def test_a_damaged_record_is_reported_and_that_is_said(command: Command) -> None:
    (folder,) = list_runs(Path.cwd())
    events = folder / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([*lines[:3], b"{broken\n", *lines[3:]]))
    assert "1 line of the record could not be read" in command("report", "-f", "text")[1]
    assert "line 4" in command("report", "-o", "-")[1]


def test_what_is_not_there_or_cannot_be_written_is_said_in_a_line(command: Command) -> None:
    code, _, err = command("report", "1999")
    assert (code, 'no run "1999"' in err) == (7, True)
    code, _, err = command("report", "-o", "nowhere/at/all.html")
    assert (code, err.count("\n"), "cannot write" in err) == (7, 1, True)
    code, _, err = command("report", "-f", "md", "--open")
    assert (code, "--open needs an HTML report" in err) == (2, True)


def test_it_opens_in_a_browser(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert command("report", "--open")[0] == 0
    (url,) = opened
    assert url.startswith("file://")
    assert url.endswith("/report.html")
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    code, out, err = command("report", "--open")
    assert (code, out.endswith("report.html\n"), "no browser" in err) == (2, True, True)
