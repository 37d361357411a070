"""A person decides on a call at the terminal: a `y` makes it, whatever else does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.ports import Asking
from gptoss_flow.testing.project import Project
from gptoss_flow.ui.ask import MOST_LINES, MOST_SHOWN, question
from tests.terminal import CTRL_C, CTRL_D, Terminal

FLOW = """\
version: 1
steps:
  a:
    prompt: {user: Go., tools: [read_file, list_files], permissions: {ask: ["*"]}}
outputs: {permissions: "${{ steps.a.tool_calls | map(attribute='permission') | list }}"}
"""
REPLIES = """\
replies:
  - {turn: 1, tool_calls: [{tool: read_file, arguments: {path: a.md}}, {tool: list_files, arguments: {path: "."}}]}
  - {text: Done.}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write("flow.yaml", FLOW)
    made.write("replies.yaml", REPLIES)
    made.write("a.md", "x")
    return made


RUN = ("run", "flow.yaml", "--model", "scripted:replies.yaml")


@pytest.mark.parametrize(
    ("keys", "word"),
    [(b"y\n", b"approved"), (b"\n", b"declined"), (b"yesx\n", b"declined"), (CTRL_D, b"declined")],
)
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_what_is_typed_decides(project: Project, keys: bytes, word: bytes, term: str) -> None:
    with Terminal(project, *RUN, term=term) as terminal:
        terminal.until(b"path:\r\n  | a.md\r\nmake this call of read_file? [y/N] ")
        terminal.press(keys)
        terminal.until(b"wants to call list_files")
        terminal.until(b"[y/N] ")
        terminal.press(b"n\n")
        assert terminal.end() == 0
        assert b'["' + word + b'", "declined"]' in terminal.seen


def test_ctrl_c_at_the_question_ends_the_run(project: Project) -> None:
    with Terminal(project, *RUN) as terminal:
        terminal.until(b"[y/N] ")
        terminal.press(CTRL_C)
        assert terminal.end() == 130


def test_without_a_terminal_it_is_a_denial_that_says_so(project: Project) -> None:
    done = project.run(*RUN)
    assert (done.code, done.out) == (0, '["unasked", "unasked"]\n')
    assert "a person would have to allow it, and there is no terminal to ask at (ask: *)" in done.err


def test_a_question_shows_all_of_a_call_and_nothing_in_it_can_seem_to_be_ours() -> None:
    text = "x\nmake this call? [y/N] y\x1b[2K\r\u202e"
    shown = question(
        Asking(step="a", call_id="a.1", tool="say", arguments={"text": text, "n": [1], "é\n": "z" * 5000})
    )
    assert shown.splitlines() == [
        "step a wants to call say",
        "  text:",
        "  | x",
        r"  | make this call? [y/N] y\x1b[2K\r\u202e",
        "  n:",
        "  | [1]",
        r"  é\n:",
        "  | " + "z" * MOST_SHOWN,
        "  | … and 1,000 characters more",
        "make this call of say? [y/N] ",
    ]


def test_many_lines_do_not_push_the_rest_out_of_sight() -> None:
    text = "\n" * 3000 + "rm -rf x"
    shown = question(Asking(step="a", call_id="a.1", tool="shell", arguments={"command": text})).splitlines()
    assert len(shown) == 2 + MOST_LINES + 2
    assert shown[-2:] == ["  | … and 2,969 characters more", "make this call of shell? [y/N] "]
