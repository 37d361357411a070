"""`init`: what it writes, what it leaves alone, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gptoss_flow.app import scaffold
from gptoss_flow.cli import init
from gptoss_flow.cli.main import main
from gptoss_flow.lang.document import read_document


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_what_it_writes_validates_and_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "reports"]) == 0
    assert "next: cd reports && gptoss-flow run flows/first.yaml" in capsys.readouterr().err
    monkeypatch.chdir("reports")
    assert main(["validate", *map(str, Path("flows").glob("*.yaml"))]) == 0
    assert main(["profile", "show", "team"]) == 0
    Path("replies.yaml").write_text("replies:\n- {step: each, text: A note.}\n")
    capsys.readouterr()
    assert (
        main(["run", "-q", "flows/first.yaml", "--server", "main=demo", "--model", "scripted:replies.yaml"]) == 0
    )
    assert "flows/first.yaml: A note.\n" in capsys.readouterr().out
    assert Path(".gitignore").read_text() == ".gptoss-flow/\n"


def test_each_modeline_leads_to_its_schema() -> None:
    main(["init"])
    for path in (Path("flows/first.yaml"), Path("profiles/team.yaml")):
        first = path.read_text().splitlines()[0]
        schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads(schema.read_text())["$schema"]


def test_ci_checks_the_flows_and_runs_one_on_the_demo_model() -> None:
    main(["init"])
    jobs = read_document(Path(".github/workflows/flows.yml")).data["jobs"]
    commands = [step["run"] for step in jobs["flows"]["steps"] if "run" in step]
    assert commands[-3:] == [
        "gptoss-flow validate flows/*.yaml",
        "gptoss-flow run flows/first.yaml --server main=demo",
        'gptoss-flow report -f md >> "$GITHUB_STEP_SUMMARY"',
    ]
    assert jobs["flows"]["steps"][-1]["if"] == "always()"  # what failed is what one wants to read of


@pytest.mark.parametrize("found", ["gptoss-flow[local]==1.2", None])
def test_ci_installs_what_this_is_and_where_nobody_can_tell_it_says_so(
    found: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(scaffold, "requirement", lambda extra: found)
    monkeypatch.setattr(init, "requirement", lambda extra: found)
    main(["init"])
    assert ("say in .github/workflows/flows.yml where CI is to find it" in capsys.readouterr().err) == (
        found is None
    )
    job = read_document(Path(".github/workflows/flows.yml")).data["jobs"]["flows"]
    assert job["env"] == {"GPTOSS_FLOW": found or ""}
    (install,) = [step["run"] for step in job["steps"] if "pip" in step.get("run", "")]
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pip.chmod(0o755)
    env = {**job["env"], "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", install], env=env, capture_output=True, text=True)
    if found:
        assert (done.returncode, done.stdout) == (0, f"install\n{found}\n")
    else:
        assert done.returncode != 0
        assert "say above where pip finds gptoss-flow" in done.stderr


def test_what_is_there_is_left_alone_and_force_replaces_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flows").mkdir()
    Path("flows/first.yaml").write_text("mine")
    Path(".gitignore").write_text("*.gguf")
    assert main(["init"]) == 0
    said = capsys.readouterr()
    assert "left alone: flows/first.yaml\n" in said.out and "written: profiles/team.yaml\n" in said.out
    assert "added to: .gitignore\n" in said.out and "--force replaces it" in said.err
    assert Path("flows/first.yaml").read_text() == "mine"
    assert Path(".gitignore").read_text() == "*.gguf\n.gptoss-flow/\n"
    assert main(["init", "--force", "--json"]) == 0
    changes = {each["path"]: each["change"] for each in json.loads(capsys.readouterr().out)}
    assert changes["flows/first.yaml"] == "replaced" and changes[".gitignore"] == "left alone"
    assert Path("flows/first.yaml").read_text().startswith("# yaml-language-server")


def test_a_place_that_is_no_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert main(["init", "file"]) == 2
    assert "cannot write file/flows: Not a directory" in capsys.readouterr().err
