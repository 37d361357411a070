"""What a shell is offered, by click's own completion and in a real bash."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.shell_completion import ShellComplete

from gptoss_flow.cli import complete
from gptoss_flow.cli.main import cli, main
from gptoss_flow.cli.shell import VARIABLE, command_of, shape_of
from gptoss_flow.record.folder import RunFolder, new_run_id
from gptoss_flow.server import record
from gptoss_flow.testing.clock import ManualClock
from gptoss_flow.tools import TOOLS
from tests.conftest import need

FLOW = """\
version: 1
inputs:
  style: {type: string, enum: [brief, full], description: How long}
  loud: {type: boolean, default: false}
  path: {type: path, default: "."}
servers: {main: demo, big: local}
steps:
  first: {description: The first one, set: {a: 1}}
  second: {set: {b: 2}}
finally:
  last: {set: {c: 3}}
"""

HOMES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@pytest.fixture(scope="module")
def shaped() -> click.Command:
    return command_of(shape_of(cli))


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HOMES:
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "project/profiles").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    Path("gptoss-flow.yaml").touch()
    Path("profiles/team.yaml").write_text("extends: demo")
    Path("a.yaml").write_text(FLOW)


def offered(command: click.Command, line: str) -> list[str]:
    *words, incomplete = shlex.split(line + "'|'")
    shell = ShellComplete(command, {}, "gptoss-flow", VARIABLE)
    return [item.value for item in shell.get_completions(words, incomplete.removesuffix("|"))]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("profile sh", ["show"]),
        ("profile show te", ["team"]),
        ("profile show pro", ["profiles/"]),
        ("profile show profiles/", ["profiles/team.yaml"]),
        ("profile diff demo gpt-oss-1", ["gpt-oss-120b"]),
        ("server start te", ["team"]),
        ("infer --profile te", ["team"]),
        ("run a.yaml -i ", ["style=", "loud=", "path="]),
        ("run a.yaml -i style=", ["style=brief", "style=full"]),
        ("run a.yaml -i loud=t", ["loud=true"]),
        ("run a.yaml -i path=prof", ["path=profiles/"]),
        ("run a.yaml -i style=@a", ["style=@a.yaml"]),
        ("infer --tools read_file,li", ["read_file,list_files"]),
        ("infer --tools re", ["read_file", "repo_files"]),
        ("tools call apply_patch ", ["patch=", "dry_run="]),
        ("tools call write_file path=a mode=o", ["mode=overwrite"]),
        ("tools call apply_patch patch=@a", ["patch=@a.yaml"]),
        ("tools call ./helpers.py:count ", []),
        ("run a.yaml --server ", ["main=", "big="]),
        ("run a.yaml --server big=te", ["big=team"]),
        ("run a.yaml --server big=./p", ["big=./profiles/"]),
        ("run no.yaml -i ", []),
        ("run -i ", []),
        ("server stop ", []),
        ("graph --format m", ["mermaid"]),
    ],
)
def test_a_word_is_completed(shaped: click.Command, line: str, values: list[str]) -> None:
    assert offered(shaped, line) == values


def test_the_shapes_offer_what_the_commands_themselves_offer(shaped: click.Command) -> None:
    for line in ("", "--", "run --", "server ", "server status --", "model p", "completion z"):
        assert offered(shaped, line) == offered(cli, line) != []


@pytest.mark.parametrize(
    "verb",
    ["stop", "status", "logs", "warm", "restart", "keepalive start", "keepalive stop", "keepalive status"],
)
def test_every_verb_of_a_server_is_offered_those_that_run(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    running = [SimpleNamespace(name="demo", fingerprint="5ba8dcf1bbaac5a9")]
    monkeypatch.setattr(record, "list_servers", lambda state_root: running)
    assert offered(cli, f"server {verb} ") == ["demo", "5ba8dcf1bbaa"]


@click.command()
@click.argument("flow")
@click.option("--only", shell_complete=complete.steps)
@click.option("--against", shell_complete=complete.runs)
@click.option("--tools", shell_complete=complete.tools)
def attached(**_: str) -> None:
    """A command with the completions that others attach."""


def test_steps_are_those_of_the_flow() -> None:
    command = command_of(shape_of(attached))
    assert offered(command, "a.yaml --only ") == ["first", "second", "last"]
    assert offered(command, "a.yaml --only s") == ["second"]
    Path("a.yaml").write_text("steps: [")
    assert offered(command, "a.yaml --only ") == []


def test_runs_are_offered_the_newest_first() -> None:
    clock = ManualClock()
    ids = []
    for _ in range(2):
        ids.append(new_run_id(clock.now()).replace("_000000_", f"_00000{len(ids)}_"))
        RunFolder.create(Path.cwd(), ids[-1]).close()
    assert offered(command_of(shape_of(attached)), "a.yaml --against ") == sorted(ids, reverse=True)


def test_of_a_comma_list_of_tools_the_last_is_completed() -> None:
    command = command_of(shape_of(attached))
    assert offered(command, "a.yaml --tools ") == list(TOOLS)
    assert offered(command, "a.yaml --tools read_file,l") == ["read_file,list_files"]


def test_tools_that_a_flow_names_are_offered_too(shaped: click.Command) -> None:
    Path("b.yaml").write_text(
        'steps:\n  a: {tool: "./helpers.py:count"}\n  b: {prompt: {user: x, tools: [time, "./helpers.py:add"]}}\n'
    )
    assert offered(shaped, "tools call --flow b.yaml ./") == ["./helpers.py:count", "./helpers.py:add"]
    assert offered(shaped, "tools call --flow b.yaml ti") == ["time"]
    assert offered(shaped, "tools show list_") == ["list_files"]


def test_the_shell_is_answered_from_the_cache_until_the_program_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found: list[int] = []
    for expected in (1, 1):
        complete.kept("numbers", lambda: found.append(1))
        assert len(found) == expected
    monkeypatch.setattr(complete, "_program", lambda: ["another"])
    complete.kept("numbers", lambda: found.append(1))
    assert len(found) == 2
    (tmp_path / "XDG_CACHE_HOME/gptoss-flow/completion/numbers.json").write_text("[")
    complete.kept("numbers", lambda: found.append(1))
    assert len(found) == 3


def test_a_shell_that_asks_nonsense_hears_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_LINE", "gptoss-flow profile show 'te")
    monkeypatch.setenv("COMP_POINT", "x")
    assert main([]) == 1
    assert capfd.readouterr() == ("", "")


def test_bash_completes_words_with_an_equals_sign(tmp_path: Path) -> None:
    need("bash")
    program = tmp_path / "bin/gptoss-flow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gptoss_flow "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(gptoss-flow completion bash)"
        compopt() { :; }
        for COMP_LINE in "$@"; do
            COMP_POINT=${#COMP_LINE} COMPREPLY=()
            _gptoss_flow_completion gptoss-flow
            echo "${COMPREPLY[*]}"
        done
    """
    lines = ["run a.yaml -i st", "run a.yaml -i style=", "run a.yaml --server big=te", "profile show te"]
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *(f"gptoss-flow {line}" for line in lines)],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.splitlines(), done.stderr) == (["style=", "brief full", "team", "team"], "")
