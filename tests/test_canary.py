"""The search for the canary finds what it is for, and a flow that is given the canary leaves no trace of it."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_flow.errors import ExitCode
from gptoss_flow.testing.project import Project
from tests import canary

FLOW = f"""
version: 1
secrets: [{canary.NAME}]
steps:
  missing:
    tool: read_file
    with: {{path: "notes/${{{{ secrets.{canary.NAME} }}}}.md"}}
    on_error: continue
  told:
    prompt:
      user: The file could not be read; ${{{{ steps.missing.error.message }}}}
  failing:
    needs: [told]
    tool: list_files
    with: {{path: "${{{{ secrets.{canary.NAME} }}}}"}}
"""


@pytest.mark.parametrize(
    "hide",
    [
        bytes,
        base64.b64encode,
        lambda secret: base64.urlsafe_b64encode(b"user:" + secret),
        lambda secret: secret.hex().encode(),
        lambda secret: secret[::-1],
    ],
    ids=["as it is", "base64", "within base64", "hex", "backwards"],
)
def test_a_trace_in_a_file_is_found_in_any_encoding(hide: Callable[[bytes], bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not a folder of the run, which is searched at its end
        path = Path(folder, "deep", "file.bin")
        path.parent.mkdir()
        path.write_bytes(b"\0\xff before " + hide(canary.value().encode()) + b" after")
        assert list(canary.files_with_traces(Path(folder))) == [path]
        path.write_bytes(b"\0\xff before " + hide(b"some other secret of no length") + b" after")
        assert list(canary.files_with_traces(Path(folder))) == []


def test_a_trace_in_the_name_of_a_file_is_found() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{canary.value()}.txt").touch()
        assert len(list(canary.files_with_traces(Path(folder)))) == 1


def test_a_flow_that_is_given_the_canary_shows_it_nowhere(tmp_path: Path) -> None:
    """What the commands print stays in files of this test, which the end of the run searches once more."""
    project = Project(tmp_path)
    project.write("flow.yaml", FLOW)
    project.write("replies.yaml", "replies: [{text: I see.}]\n")
    run = ("run", "flow.yaml", "--model", "scripted:replies.yaml", "--record")
    commands = (
        run, (*run, "--events"), (*run, "--json"), ("ls", "--json"), ("show", "--json"), ("show",), ("resume",),
        ("report", "-o", "report.html"), *(("report", "-f", form) for form in ("text", "md", "json", "junit")),
        ("plan", "flow.yaml", "--explain"), ("plan", "flow.yaml", "--show", "told"), ("log", "cat", "docs/logs"),
        ("replay", "--strict"), ("doctor", "--json"), ("validate", "flow.yaml"),
    )  # fmt: skip
    said = []
    for command in commands:
        done = project.run(*command)
        assert done.code != ExitCode.BUG, done.err
        said.append(f"{' '.join(command)}\n{done.out}\n{done.err}")
    written = project.write("said.txt", "\n".join(said))
    assert "[redacted:" in written.read_text()
    assert (project.folder / "report.html").exists()
    assert list(canary.files_with_traces(tmp_path)) == []
