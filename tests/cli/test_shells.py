"""Completion in live shells, as one types: a line with tabs in it, and what the shell then runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from gptoss_flow.record.folder import RunFolder
from gptoss_flow.testing.project import Project
from tests.conftest import need
from tests.terminal import Terminal

FLOW = """\
version: 1
inputs:
  style: {type: string, enum: [brief, full], description: How long}
  path: {type: path, default: "."}
servers: {main: demo, big: local}
steps:
  first: {set: {a: 1}}
  second: {description: The second, set: {b: 2}}
"""
RUN = "20260101_000000_000000_abcd"
SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'PS1="ready> "; eval "$(gptoss-flow completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'PS1="ready> "; autoload -Uz compinit; compinit -D -u; eval "$(gptoss-flow completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "gptoss-flow completion fish | source"),
}
TYPED = {
    "run a.yaml --only sec\t": ["run", "a.yaml", "--only", "second"],
    "run a.yaml -i sty\tbr\t": ["run", "a.yaml", "-i", "style=brief"],
    "run a.yaml -i pat\tprof\tte\t": ["run", "a.yaml", "-i", "path=profiles/team.yaml"],
    "run a.yaml --server big=te\t": ["run", "a.yaml", "--server", "big=team"],
    "plan a.yaml --explain --against 2026\t": ["plan", "a.yaml", "--explain", "--against", RUN],
    "profile sh\tte\t": ["profile", "show", "team"],
    "show 2026\t": ["show", RUN],
}
PROGRAM = """\
#!/bin/sh
if [ -n "$_GPTOSS_FLOW_COMPLETE" ] || [ "$1" = completion ]; then exec {python} -m gptoss_flow "$@"; fi
printf '\\nran'; printf ' <%s>' "$@"; echo ' end'
"""


class Shell(Project):
    """A project in which a shell runs."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        super().__init__(folder)
        self.argv = argv
        program = folder / "bin/gptoss-flow"
        program.parent.mkdir()
        program.write_text(PROGRAM.replace("{python}", shlex.quote(sys.executable)))
        program.chmod(0o755)
        self.environ["PATH"] = f"{program.parent}:{self.environ['PATH']}"

    def command(self, *args: str) -> list[str]:
        return self.argv


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_typed_is_completed(shell: str, tmp_path: Path) -> None:
    need(shell)
    argv, prepare = SHELLS[shell]
    project = Shell(tmp_path, argv)
    project.write("gptoss-flow.yaml", "")
    project.write("profiles/team.yaml", "extends: demo")
    project.write("a.yaml", FLOW)
    RunFolder.create(project.folder, RUN).close()
    with Terminal(project) as terminal:
        terminal.press(f"{prepare}; gptoss-flow is ready\r".encode())
        terminal.until(b"ran <is> <ready> end")
        for line, expected in TYPED.items():
            terminal.seen = b""
            terminal.press(f"gptoss-flow {line}\r".encode())
            terminal.until(b" end", timeout_s=30)
            ran = "ran " + " ".join(f"<{word}>" for word in expected) + " end"
            assert ran.encode() in terminal.seen, (line, terminal.seen)
