"""What a run was made of and what it gave, kept as files beside its record, over all its lives."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gptoss_flow.app.kept_files import keep_outputs
from gptoss_flow.errors import RecordError
from tests.cli.conftest import runs as runs
from tests.cli.conftest import stand as stand
from tests.cli.stand import Stand
from tests.cli.taken_up import Runs
from tests.record.secrets import SHAPED

GITHUB = SHAPED["github_token"][0]
FLOW = """\
version: 1
inputs: {n: {type: integer, default: 1}}
steps:
  a: {flow: sub/inner.yaml}
  b: {flow: ../inner.yaml}
  c: {needs: [a, b], check: [inputs.n == 1]}
outputs: {said: "one\\ntwo", list: [1, "é"], none: null}
"""
INNER = "version: 1\nsteps: {x: {set: {y: 1}}}\n"


def kept(folder: Path) -> dict[str, str]:
    """The files beside the record, by their path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("events.jsonl", "run.rlog", "lock")
    }


def write(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW)
    runs.write("sub/inner.yaml", INNER)
    runs.write("../inner.yaml", f"# {GITHUB}\n" + INNER.replace("1}}}", "2}}}"))


def test_flows_changes_and_outputs_are_kept_for_their_owner_alone(runs: Runs) -> None:
    write(runs)
    assert runs.run("--set", "inputs.n.default=1", "--set", "steps.a.with={}").code == 0
    assert kept(runs.newest) == {
        "artifacts/list.json": '[\n  1,\n  "é"\n]\n',
        "artifacts/said.txt": "one\ntwo",
        "flow.yaml": FLOW,
        "flows/inner-2.yaml": INNER,
        "flows/inner.yaml": "# [redacted:github_token]\n" + INNER.replace("1}}}", "2}}}"),
        "set.yaml": "# What --set changed in the flow.\ninputs.n.default: '1'\nsteps.a.with: '{}'\n",
    }
    modes = {stat.S_IMODE(path.stat().st_mode) for path in runs.newest.rglob("*")}
    assert modes == {0o600, 0o700}


def test_a_resumed_life_keeps_only_what_differs(runs: Runs) -> None:
    write(runs)
    assert runs.run("-i", "n=2").code == 5
    assert "artifacts/said.txt" in kept(runs.newest)
    runs.do("resume")
    first = kept(runs.newest)
    assert not [path for path in first if path.startswith("resumed")]
    runs.change("flow.yaml", "== 1", "== 2")
    assert runs.do("resume").code == 0
    second = kept(runs.newest)
    assert second == first | {"resumed-2/flow.yaml": FLOW.replace("== 1", "== 2")}
    assert runs.do("resume", "--redo", "c").code == 0
    assert kept(runs.newest) == second


def test_outputs_that_a_full_disk_kept_away_come_with_a_resume(runs: Runs) -> None:
    write(runs)
    runs.run()
    (runs.newest / "artifacts/said.txt").unlink()
    assert runs.do("resume").code == 0
    assert (runs.newest / "artifacts/said.txt").read_text() == "one\ntwo"


def test_an_output_that_no_file_can_hold_or_no_folder_takes(tmp_path: Path) -> None:
    keep_outputs(tmp_path, {"lone": "\ud800"})
    assert (tmp_path / "artifacts/lone.txt").read_text() == "\\ud800"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/artifacts").write_text("")
    with pytest.raises(RecordError, match=r"cannot write .*artifacts/x\.txt: .* is not a folder"):
        keep_outputs(tmp_path / "run", {"x": "text"})


def test_the_profile_of_a_server_is_kept_so_that_it_can_be_used_again(stand: Stand) -> None:
    stand.write(
        "flow.yaml", "version: 1\nservers: {main: {extends: small, seed: 3}}\nsteps: {a: {prompt: {user: Hi}}}\n"
    )
    done = stand.run("run", "flow.yaml", "--json")
    folder = Path(done.json["run"]["dir"])
    text = (folder / "profiles/main.yaml").read_text()
    assert "seed: 3" in text and "# flow.yaml:2" in text and "# profiles/small.yaml:" in text
    again = stand.run("run", "flow.yaml", "--json", "--server", f"main={folder}/profiles/main.yaml")
    assert again.code == 0
    values = [line.partition("  #")[0] for line in text.splitlines()]
    kept_again = (Path(again.json["run"]["dir"]) / "profiles/main.yaml").read_text()
    assert [line.partition("  #")[0] for line in kept_again.splitlines()][2:] == values[2:]
