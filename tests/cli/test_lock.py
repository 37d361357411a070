"""`lock`, and `--locked`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_flow.cli.main import main
from tests.app.repositories import Repository
from tests.conftest import need


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """One with a profile; the current folder has a flow that uses it, and replies for it."""
    need("git")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    repository = Repository.create(tmp_path / "team")
    repository.commit(p__team="extends: demo\nparallel: 3\n")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("a.yaml").write_text(
        f"version: 1\nservers: {{main: {repository.url}@main#p/team.yaml}}\n"
        "steps: {line: {prompt: {user: Hi}}}\n"
    )
    Path("replies.yaml").write_text("replies:\n- {step: line, text: Hello}\n")
    return repository


def test_a_flow_is_locked_checked_and_run(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "--locked", "--quiet", "a.yaml", "--model", "scripted:replies.yaml"]
    assert main(run) == 2
    assert "there is no flow.lock; run: gptoss-flow lock a.yaml" in capsys.readouterr().err
    assert main(["lock", "a.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("flow.lock: written for a.yaml (1 source, 1 server)\n+ git+file://")
    assert main(["lock", "--check", "a.yaml"]) == main(["validate", "--locked", "--offline", "a.yaml"]) == 0
    assert main(run) == 0
    assert capsys.readouterr().out.endswith("Hello\n")
    assert main(["lock", "--json", "a.yaml"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["changed"] is False and len(said["sources"]) == 1


def test_every_flow_that_is_not_as_locked_is_named(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("b.yaml").write_text(Path("a.yaml").read_text())
    assert main(["lock", "--check", "a.yaml", "b.yaml"]) == 2
    err = capsys.readouterr().err
    assert "run: gptoss-flow lock a.yaml" in err and "run: gptoss-flow lock b.yaml" in err
    assert not Path("flow.lock").exists()
    assert main(["lock", "--check", "--upgrade", "a.yaml"]) == 2


def test_a_profile_elsewhere_is_shown_checked_and_compared(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    ref = f"{repository.url}@{commit}#p/team.yaml"
    assert main(["profile", "show", "--offline", ref]) == 3
    assert "run it once without --offline" in capsys.readouterr().err
    assert main(["profile", "show", ref]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("parallel: 3 ")]
    assert shown[0].endswith(f"  # {ref}:2")
    assert main(["profile", "show", "--json", ref]) == 0
    (alternative,) = json.loads(capsys.readouterr().out)["alternatives"]
    assert alternative["origins"]["parallel"] == f"{ref}:2" and alternative["files"][-1] == ref
    assert main(["profile", "diff", "--offline", "demo", ref]) == 0
    assert f"{ref}:2" in capsys.readouterr().out
    assert main(["profile", "check", "--json", ref]) in (0, 3)  # 3 where there is no engine
    assert json.loads(capsys.readouterr().out)["findings"][0]["ok"]
    assert main(["profile", "check", f"{repository.url}@main#p/team.yaml"]) == 2
    assert "nothing pins it; write the commit in place of" in capsys.readouterr().out


def test_a_server_can_be_given_a_profile_from_elsewhere(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    Path("b.yaml").write_text("version: 1\nsteps: {line: {prompt: {user: Hi}}}\n")
    assert main(["plan", "b.yaml", "--server", f"main={repository.url}@{commit}#p/team.yaml"]) == 0
    assert "profile team, 3 slots" in capsys.readouterr().out
    assert main(["plan", "b.yaml", "--server", f"main={repository.url}@main#p/team.yaml"]) == 2
