"""`ls`, `show` and `rm` as a user types them, over runs that were really run."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from gptoss_flow.record.folder import RunFolder, list_runs
from gptoss_flow.record.redact import spellings
from tests.cli.in_process import Command
from tests.record.secrets import SHAPED

GITHUB = SHAPED["github_token"][0]
FLOW = """\
version: 1
inputs: {topic: {type: string, default: the sea}}
steps:
  each:
    foreach: [a, b]
    as: letter
    prompt: {user: "Say ${{ letter }} of ${{ inputs.topic }}"}
  files: {tool: list_files, with: {pattern: "*.yaml"}}
  enough: {check: ["steps.each.output | length == 2"]}
  wrong: {check: ["inputs.topic != 'wrong'"]}
outputs: {said: "${{ steps.each.output }}"}
"""
SECRET_FLOW = """\
version: 1
secrets: [PASSPHRASE]
inputs: {file: {type: string, default: nothing}}
steps:
  read: {tool: read_file, with: {path: "${{ inputs.file }}.${{ secrets.PASSPHRASE }}"}, on_error: continue}
  ask: {prompt: {user: "What is ${{ inputs.file }}?"}}
outputs: {said: "${{ steps.ask.output }}", error: "${{ steps.read.error.message }}"}
"""
REPLIES = f"""\
default: "fine \\e[31m"
replies:
  - {{step: "each[1]", text: "take {GITHUB}"}}
"""


@pytest.fixture(autouse=True)
def flow(command: Command) -> None:
    Path("two.yaml").write_text(FLOW)
    Path("r.yaml").write_text(REPLIES)


def run_flow(command: Command, *args: str) -> str:
    """The id of a new run."""
    command("run", "two.yaml", "--model", "scripted:r.yaml", "-q", *args)
    return list_runs(Path.cwd())[-1].name


def test_where_nothing_is_on_record_that_is_said(command: Command) -> None:
    assert command("ls") == (0, "", "no such run is on record in this folder\n")
    assert command("ls", "--json")[:2] == (0, "[]\n")
    code, _, err = command("show")
    assert (code, "no run is on record under" in err) == (7, True)
    assert command("rm", "--all", "--yes") == (0, "", "no run is to be removed\n")


def test_runs_are_listed_newest_first_and_filtered(command: Command) -> None:
    first = run_flow(command)
    second = run_flow(command, "-i", "topic=wrong")
    code, out, _ = command("ls")
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["RUN", "FLOW", "STATUS", "STARTED", "TOOK", "STEPS", "TOKENS"]
    assert [line[:3] for line in lines] == [[second, "two", "failed"], [first, "two", "succeeded"]]
    assert (code, "(5)" in lines[0], "4/4" in lines[1]) == (0, True, True)
    assert command("ls", "-q")[1].split() == [second, first]
    assert command("ls", "-q", "-n", "1")[1].split() == [second]
    assert command("ls", "-q", "--status", "succeeded")[1].split() == [first]
    assert command("ls", "-q", "--flow", "other")[1] == ""
    listed = json.loads(command("ls", "--json")[1])
    assert [(each["id"], each["status"], each["exit_code"]) for each in listed] == [
        (second, "failed", 5),
        (first, "succeeded", 0),
    ]
    assert command("ls", "--status", "fine")[0] == 2


def test_show_tells_what_became_of_a_run(command: Command) -> None:
    run = run_flow(command, "-i", "topic=wrong")
    code, out, _ = command("show", run[:20])
    assert code == 0
    said = dict(line.split(maxsplit=1) for line in out.splitlines()[:8])
    assert (said["run"], said["flow"]) == (run, "two (two.yaml)")
    assert said["status"] == "failed, exit code 5"
    assert "  topic = wrong\n" in out
    assert "  main: local" in out
    assert "2/2 items" in out
    assert "  wrong: check: " in out
    assert "(two.yaml:10:" in out
    assert "\x1b" not in out
    shown = json.loads(command("show", "latest", "--json")[1])
    assert (shown["id"], shown["status"], shown["inputs"]) == (run, "failed", {"topic": "wrong"})
    assert [step["step"] for step in shown["steps"]] == ["each", "files", "enough", "wrong"]
    assert command("show", f".gptoss-flow/runs/{run}")[1].split()[1] == run


def test_show_tells_what_a_step_was_asked_and_said(command: Command) -> None:
    run_flow(command)
    _, out, _ = command("show", "last", "each[0]")
    assert "user:\n  Say a of the sea\n" in out
    assert "answer, finished by stop:\n  fine \\x1b[31m\n" in out
    _, out, _ = command("show", "last", "files")
    assert "call files.1 of list_files:\n" in out
    assert "two.yaml" in out
    assert "each[1]" in command("show", "last", "each")[1]
    assert command("show", "last", "enough")[1].splitlines()[1].split()[:3] == ["enough", "check", "succeeded"]
    shown = json.loads(command("show", "last", "each[0]", "--json")[1])
    (generation,) = shown["generations"]
    assert generation["messages"] == [{"role": "user", "content": "Say a of the sea"}]
    assert generation["text"] == shown["output"] == "fine \x1b[31m"
    code, _, err = command("show", "last", "eech")
    assert (code, 'did you mean "each"?' in err) == (2, True)


def test_what_looks_like_a_secret_is_an_output_and_is_on_no_record(
    command: Command,
) -> None:
    code, out, _ = command("run", "two.yaml", "--model", "scripted:r.yaml", "-q", "-i", f"topic={GITHUB}")
    assert code == 0
    assert GITHUB in out
    for args in (("show",), ("show", "latest", "each[1]"), ("show", "--json"), ("ls", "--json")):
        assert GITHUB not in command(*args)[1]
    (run,) = list_runs(Path.cwd())
    recorded = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert GITHUB.encode() not in recorded
    assert recorded.count(b"[redacted:github_token]") > 5
    prompt = next(
        json.loads(line) for line in (run / "events.jsonl").read_text().splitlines() if "prompt_rend" in line
    )
    assert (prompt["tokens"], prompt["redacted"]) == ([], True)


def test_a_secret_with_a_name_is_found_in_nothing_that_a_run_writes(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "correct-horse+battery/staple"
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    monkeypatch.setenv("PASSPHRASE", secret)
    Path("secret.yaml").write_text(SECRET_FLOW)
    Path("r.yaml").write_text(f'default: "it is {secret}, or {encoded}, or {secret.encode().hex()}"\n')
    ways = ((), ("--json",), ("--events",), ("-i", f"file={secret}"), ("--out", "out"))
    said = ["".join(command("run", "secret.yaml", "--model", "scripted:r.yaml", *way)[1:]) for way in ways]
    for run in list_runs(Path.cwd()):
        said += ["".join(command("show", run.name, *step)[1:]) for step in ((), ("ask",), ("read",))]
    files = [path for path in (*Path(".gptoss-flow").rglob("*"), Path("out")) if path.is_file()]
    said += [path.read_bytes().decode() for path in files if path.suffix != ".sqlite"]
    assert [form for text in said for form in spellings(secret) if form in text] == []
    assert len([text for text in said if "[redacted:PASSPHRASE]" in text]) > 25


def test_a_secret_that_is_too_short_is_refused_before_anything_is_written(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSPHRASE", "pin")
    Path("secret.yaml").write_text(SECRET_FLOW)
    code, out, err = command("run", "secret.yaml", "--model", "scripted:r.yaml")
    assert (code, out) == (2, "")
    assert "the secret PASSPHRASE has less than 6 characters" in err
    assert not Path(".gptoss-flow").exists()


def test_a_damaged_record_is_shown_as_far_as_it_goes(command: Command) -> None:
    run = run_flow(command)
    journal = Path(".gptoss-flow/runs", run, "events.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{broken\n", *lines[2:-1], lines[-1][:30]]))
    code, out, _ = command("show")
    assert code == 0
    assert "status   unfinished" in out
    assert "damage:\n  line 2: it is not JSON" in out
    assert "is torn after 30 bytes" in out
    assert json.loads(command("ls", "--json")[1])[0]["damaged"] == 2
    journal.write_bytes(b"nothing of it\n")
    code, out, err = command("show")
    assert (code, out) == (7, "")
    assert "it holds no record of a run: line 1: it is not JSON" in err
    assert "unreadable" in command("ls")[1]


def test_rm_removes_what_is_named_and_asks_where_it_can(command: Command) -> None:
    first, second = run_flow(command), run_flow(command)
    code, out, err = command("rm", first)
    assert (code, out) == (2, "")
    assert "this would remove 1 run (0.0 MB) for good; say --yes" in err
    assert command("rm", first, "--yes") == (0, f"{first}\n", "")
    assert [run.name for run in list_runs(Path.cwd())] == [second]
    assert command("rm", "2099", "--yes")[0] == 7
    assert command("rm", "../..", "--yes")[0] == 7
    for args in ([], [second, "--all"], ["--all", "--keep", "1"], ["--older-than", "soon"]):
        assert command("rm", *args)[0] == 2


def test_rm_by_rule_keeps_the_newest_the_young_and_the_running(command: Command) -> None:
    runs = [run_flow(command) for _ in range(3)]
    assert command("rm", "--older-than", "1h", "--yes")[2] == "no run is to be removed\n"
    assert command("rm", "--keep", "2", "--yes")[1] == f"{runs[0]}\n"
    writer = RunFolder(Path(".gptoss-flow/runs", runs[1]).absolute())
    code, _, err = command("rm", runs[1], "--yes")
    assert (code, f"is being written by process {os.getpid()}" in err) == (7, True)
    assert command("rm", "--all", "--yes") == (0, f"{runs[2]}\n", "1 run still running: left alone\n")
    writer.close()
    assert command("rm", "--all", "-y")[1] == f"{runs[1]}\n"
