"""`log validate|stats|cat|tail|convert|fix`, as a user types them."""

from __future__ import annotations

import io
import json
import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.app.rlogs import convert_file, mend_file
from gptoss_flow.cli.main import main
from gptoss_flow.errors import Invalid
from gptoss_flow.testing.project import Done, Project

GOOD = (
    "---\nformat: rlog/1\nid: a\nrepo_sha: 7112981e0\nagent: x\n---\n"
    "@start id=a\nu: span=one hi\na: span=each_0 step=2 yes tokens_in=3 tokens_out=4\n@end\n"
)
NO_ID = GOOD.replace("id: a", "id:", 1)
HOSTILE = "u: \x1b[31mred\x1b[0m \x07\x08\r\u202e\x9b2J\x1b]0;title\x07\ttab"


class Log:
    """The command in a folder with files."""

    def __init__(
        self, folder: Path, capture: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder, self._capture, self._monkeypatch = folder, capture, monkeypatch

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def run(self, *args: str, stdin: bytes = b"") -> Done:
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            self._capture.readouterr()
            code = main(["log", *args])
        out, err = self._capture.readouterr()
        return Done(code, out.decode("utf-8", "surrogateescape"), err.decode())

    def objects(self, *args: str, stdin: bytes = b"") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*args, stdin=stdin).out.splitlines()]


@pytest.fixture
def log(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.chdir(tmp_path)
    return Log(tmp_path, capfdbinary, monkeypatch)


# --- validate and stats -----------------------------------------------------------------------------------------


def test_a_valid_log_exits_with_0_and_one_without_id_with_2(log: Log) -> None:
    log.write("good.rlog", GOOD)
    log.write("bad.rlog", NO_ID + "hm\n")
    good, both = log.run("validate", "good.rlog"), log.run("validate", "good.rlog", "bad.rlog")
    assert (good.code, good.out) == (0, "good.rlog: valid (4 lines, 1 note)\n")
    assert both.code == 2
    assert both.out.splitlines()[1:] == [
        "bad.rlog: not valid (5 lines, 1 error, 1 warning)",
        'bad.rlog:1: error E001: no session can be read: "id" in the header is empty',
        'bad.rlog:11: warn W003: unknown line "hm"',
    ]


@pytest.mark.parametrize("command", ["validate", "stats"])
def test_json_is_an_object_a_file_one_a_line(log: Log, command: str) -> None:
    log.write("logs/20260101/good.rlog", GOOD)
    log.write("logs/bad.rlog", NO_ID)
    log.write("logs/other.txt", "")
    done = log.run(command, "logs", "--json")
    one, other = map(json.loads, done.out.splitlines())
    assert (one["file"], other["file"]) == ("logs/20260101/good.rlog", "logs/bad.rlog")
    assert (done.code, one["valid"], other["valid"]) == (2, True, False)
    assert list(one) == list(other) == ["file", "valid", "header", "lines", "issues", "calls", "tokens"]
    assert one["header"] == {"format": "rlog/1", "id": "a", "repo_sha": "7112981e0", "agent": "x"}
    assert one["tokens"] == {"in": 3, "out": 4, "cached": 0}


def test_strict_is_asked_for(log: Log) -> None:
    log.write("a.rlog", GOOD + "o: id=x\n")
    assert log.run("validate", "a.rlog").code == log.run("stats", "--lenient", "a.rlog").code == 0
    assert log.run("validate", "--strict", "a.rlog").code == log.run("stats", "--strict", "a.rlog").code == 2


def test_counts_are_told_in_short(log: Log) -> None:
    log.write("a.rlog", GOOD.replace("@end", "t!:x id=1\nt:x id=1 → @blob sha256=abcdef\n@end tokens_out=9"))
    assert log.run("stats", "a.rlog").out.splitlines() == [
        "a.rlog",
        "  id        a",
        "  agent     x",
        "  repo_sha  7112981e0",
        "  lines     user 1, agent 1, tool_start 1, tool 1, lifecycle 2",
        "  calls     1",
        "  tokens    in 3, out 9, cached 0 (from @end)",
        "  texts     1 blob, 0 redacted texts",
        "  issues    info 1",
    ]


def test_standard_input_is_a_file(log: Log) -> None:
    (found,) = log.objects("validate", "--json", "-", stdin=GOOD.encode())
    assert (found["file"], found["valid"]) == ("-", True)
    assert log.run("tail", "-n", "1", "-", stdin=GOOD.encode()).out == "@end\n"


def test_a_file_that_is_missing_is_told_after_the_others(log: Log) -> None:
    log.write("good.rlog", GOOD)
    (log.folder / "empty").mkdir()
    done = log.run("validate", "nope.rlog", "empty", "good.rlog")
    assert (done.code, done.out.split(":")[0]) == (2, "good.rlog")
    assert done.err.splitlines() == [
        'there is no file "nope.rlog"; check the path',
        'no *.rlog lies in the folder "empty"; name a file',
    ]


def test_a_file_that_cannot_be_read_exits_with_7(log: Log) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is closed to root")
    log.write("a.rlog", GOOD).chmod(0)
    done = log.run("stats", "a.rlog")
    assert done.code == 7 and "cannot read a.rlog: Permission denied" in done.err


@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff\xfe", b"PK\x03\x04" * 99, b"[" * 9999, b"---\n---\n", b"\n" * 99]
)
def test_whatever_a_file_holds_no_command_is_surprised(log: Log, data: bytes) -> None:
    log.write("a.rlog", data)
    for command in (["validate"], ["stats", "--json"], ["validate", "--strict"]):
        assert log.run(*command, "a.rlog").code == 2
    for command in (["cat"], ["tail"], ["convert"]):
        assert log.run(*command, "a.rlog").code == 0
    assert log.run("fix", "a.rlog").code == 2


# --- cat and tail -----------------------------------------------------------------------------------------------


def test_lines_are_chosen_by_type_and_step(log: Log) -> None:
    log.write("a.rlog", GOOD)
    assert log.run("cat", "a.rlog").out == GOOD
    assert (
        log.run("cat", "a.rlog", "--type", "user", "--type", "lifecycle").out
        == "@start id=a\nu: span=one hi\n@end\n"
    )
    for step in ("each", "each[0]", "2"):
        assert log.run("cat", "a.rlog", "--step", step).out.startswith("a: span=each_0")
    assert log.run("cat", "a.rlog", "--step", "on").out == ""


@pytest.mark.parametrize("command", [["cat"], ["tail"], ["validate"], ["stats"], ["convert"], ["fix", "-n"]])
def test_nothing_of_a_log_can_steer_a_terminal(log: Log, command: list[str]) -> None:
    log.write("a.rlog", GOOD.replace("agent: x", f"agent: {HOSTILE}") + f"{HOSTILE}\n{HOSTILE[1:]}\n")
    done = log.run(*command, "a.rlog")
    said = done.out + done.err
    assert [char for char in said if not char.isprintable() and char not in "\n\t"] == []
    assert not [char for char in said if char == "\t"] or command[0] in ("cat", "tail")


def test_several_files_have_heads(log: Log) -> None:
    log.write("a.rlog", GOOD)
    log.write("b.rlog", GOOD)
    assert log.run("tail", "-n1", "a.rlog", "b.rlog").out == "==> a.rlog <==\n@end\n==> b.rlog <==\n@end\n"


def test_only_one_file_is_followed(log: Log) -> None:
    log.write("a.rlog", GOOD)
    assert log.run("tail", "-f", "a.rlog", "a.rlog").code == 2
    assert log.run("tail", "-f", "-").code == 2


def test_what_is_added_is_printed_until_the_folder_is_removed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    path = project.write("logs/run.rlog", GOOD + "a: to")
    follower = project.start("log", "tail", "-n", "2", "-f", "logs/run.rlog")
    assert follower.stdout and follower.stderr
    assert follower.stdout.readline() == b"@end\n"
    with path.open("a") as file:
        file.write("rn\x07\n")
    assert follower.stdout.readline() == b"a: torn\\x07\n"
    path.unlink()
    path.parent.rmdir()
    assert follower.wait(20) == 7
    assert b"its folder was removed" in follower.stderr.read()
    follower.communicate()


# --- convert ----------------------------------------------------------------------------------------------------


def test_a_log_becomes_jsonl_and_is_itself_again(log: Log) -> None:
    raw = GOOD.encode() + b"u: \xff\r\nu: no end"
    log.write("a.rlog", raw)
    assert log.run("convert", "a.rlog", "-o", "a.jsonl").code == 0
    assert log.run("convert", "a.jsonl", "-o", "b.rlog").code == 0
    assert (log.folder / "b.rlog").read_bytes() == raw
    jsonl = log.run("convert", "a.rlog").out
    assert log.run("convert", "-", stdin=jsonl.encode()).out.encode("utf-8", "surrogateescape") == raw


def test_several_files_go_to_a_folder(log: Log) -> None:
    log.write("in/a.rlog", GOOD)
    log.write("in/b/c.rlog", GOOD)
    assert log.run("convert", "in", "-o", "out").code == 2
    (log.folder / "out").mkdir()
    assert log.run("convert", "in", "-o", "out").code == 0
    assert sorted(path.name for path in (log.folder / "out").iterdir()) == ["a.jsonl", "c.jsonl"]
    assert log.run("convert", "out/a.jsonl", "-o", "out").code == 0
    assert (log.folder / "out/a.rlog").read_text() == GOOD


def test_a_journal_is_no_log_and_told_with_its_place(log: Log) -> None:
    log.write("events.jsonl", '{"type": "run_started"}\n')
    done = log.run("convert", "events.jsonl", "-o", "x.rlog")
    assert done.code == 2 and done.err.startswith("events.jsonl:1:1: this is no rlog as JSONL")
    assert not (log.folder / "x.rlog").exists()


def test_a_file_is_not_converted_onto_itself(log: Log) -> None:
    path = log.write("a.rlog", GOOD)
    done = log.run("convert", "a.rlog", "-o", "./a.rlog")
    assert (done.code, path.read_text()) == (2, GOOD)


def test_output_that_cannot_be_written_exits_with_7(log: Log) -> None:
    log.write("a.rlog", GOOD)
    assert log.run("convert", "a.rlog", "-o", "no/such/folder.jsonl").code == 7


def test_a_log_does_not_go_to_a_terminal_as_it_is(tmp_path: Path) -> None:
    """Neither converted back nor mended: both would print what the log holds."""
    ours, terminal = pty.openpty()
    try:
        with os.fdopen(os.dup(terminal), "wb") as stdout:
            assert stdout.isatty()
            from_jsonl, from_fix = _raw_to(tmp_path, stdout)
    finally:
        os.close(ours)
        os.close(terminal)
    assert "not printed to a terminal" in from_jsonl and "not printed to a terminal" in from_fix


def _raw_to(folder: Path, stdout: Any) -> tuple[str, str]:
    path = folder / "a.jsonl"
    path.write_text('{"type": "rlog"}\n{"raw": "\\u001b"}\n')
    with pytest.raises(Invalid) as converted:
        convert_file(str(path), None, stdout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x1b")))
        with pytest.raises(Invalid) as mended:
            mend_file("-", None, stdout)
    return str(converted.value), str(mended.value)


# --- fix --------------------------------------------------------------------------------------------------------


def test_a_log_is_mended_in_place_and_kept_as_it_was(log: Log) -> None:
    broken = "\ufeff" + GOOD.replace("u: span=one hi", "u: span=one hi\nthere") + "t!:x id=1"
    path = log.write("a.rlog", broken)
    path.chmod(0o640)
    done = log.run("fix", "a.rlog")
    assert done.code == 0
    assert done.out.splitlines() == [
        "a.rlog:1: the byte order mark at the start was removed",
        "a.rlog:9: a line that is no event became a continuation of the one above",
        "a.rlog:12: the newline at the end of the file was missing",
        'a.rlog:12: left: W007: the call "1" never ends',
        f"a.rlog: 3 changes, 1 left; as it was: {log.folder}/a.rlog.bak",
    ]
    assert (log.folder / "a.rlog.bak").read_text() == broken
    assert "u: span=one hi\n  there\n" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert log.run("fix", "a.rlog").out.splitlines()[-1] == "a.rlog: 0 changes, 1 left"
    assert sorted(path.name for path in log.folder.iterdir()) == ["a.rlog", "a.rlog.bak"]


def test_an_older_copy_is_not_written_over(log: Log) -> None:
    log.write("a.rlog.bak", "older")
    log.write("a.rlog", GOOD[:-1])
    (said,) = log.objects("fix", "a.rlog", "--json")
    assert (said["changed"], said["left"], said["kept"]) == (1, [], f"{log.folder}/a.rlog.bak2")
    assert (log.folder / "a.rlog.bak").read_text() == "older"


def test_a_dry_run_and_another_place_leave_the_file(log: Log) -> None:
    path = log.write("a.rlog", GOOD[:-1])
    assert log.run("fix", "-n", "a.rlog").out.splitlines()[-1] == "a.rlog: 1 change, 0 left"
    assert log.run("fix", "a.rlog", "-o", "b.rlog").code == 0
    assert (path.read_text(), (log.folder / "b.rlog").read_text()) == (GOOD[:-1], GOOD)
    assert sorted(path.name for path in log.folder.iterdir()) == ["a.rlog", "b.rlog"]


def test_standard_input_is_mended_to_standard_output(log: Log) -> None:
    done = log.run("fix", "-", stdin=GOOD[:-1].encode())
    assert (done.code, done.out) == (0, GOOD)
    assert "-: 1 change, 0 left" in done.err


def test_what_only_the_writer_can_know_is_named_and_exits_with_2(log: Log) -> None:
    log.write("a.rlog", NO_ID)
    done = log.run("fix", "a.rlog")
    assert done.code == 2
    assert done.out.splitlines()[0].startswith("a.rlog:1: left: E001")


# --- our own runs -----------------------------------------------------------------------------------------------

FLOW = """\
version: 1
steps:
  files: {tool: list_files, with: {pattern: "*.yaml"}}
  each:
    foreach: [a, b]
    retry: {attempts: 2, backoff: 0s}
    on_error: continue
    prompt: {user: "Say → id=7 interrupted ${{ item }}"}
  missing: {tool: read_file, with: {path: nope}, on_error: continue}
  last: {needs: [each, missing], check: ["1 > 2"]}
"""
REPLIES = """\
replies:
  - {step: "each[0]", text: "fine → \\e[31m id=9 step=3\\nu: forged\\n@end", reasoning: "hm\\u2028"}
  - {step: "each[1]", times: 1, error: {kind: model, message: "once\\nt!:x id=1"}}
  - {step: "each[1]", text: ""}
"""


def test_logs_of_runs_that_fail_and_retry_are_valid_in_strict_mode_and_convert_back(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(log.folder))
    log.write("flow.yaml", FLOW)
    log.write("replies.yaml", REPLIES)
    assert main(["run", "flow.yaml", "--model", "scripted:replies.yaml", "--quiet"]) == 5
    (path,) = log.folder.glob(".gptoss-flow/runs/*/run.rlog")
    (report,) = log.objects("validate", "--strict", "--json", str(path))
    assert report["valid"]
    assert [issue["code"] for issue in report["issues"]] == ["I004"]
    assert report["calls"] == 2
    assert report["lines"]["tool_start"] == report["lines"]["tool"] == report["lines"]["observation"] == 2
    assert report["tokens"]["out"] > 0
    for command, out in ((str(path), "x.jsonl"), ("x.jsonl", "x.rlog")):
        assert log.run("convert", command, "-o", out).code == 0
    assert (log.folder / "x.rlog").read_bytes() == path.read_bytes()
    assert log.run("fix", "-n", str(path)).out.endswith(": 0 changes, 0 left\n")
    assert log.run("cat", str(path), "--step", "each[1]").out.count("@retry") == 1
