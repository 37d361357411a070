"""What a run's record says of the flow and of what the user gave, and the log that is kept by date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow_sync
from gptoss_flow.errors import Invalid
from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.record.state import fold, summary

FLOW = """
version: 1
name: noted
inputs: {n: {type: integer, default: 1}}
steps:
  a: {set: {x: "${{ inputs.n }}"}}
  b: {set: {x: "${{ steps.a.output.x }}"}}
finally:
  last: {set: {s: "${{ run.status }}"}}
"""


def test_the_record_tells_the_graph_and_what_was_given_and_the_kept_log_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    plan = check_flow(tmp_path / "flow.yaml", tmp_path)
    given = Given(inputs={"n": 2}, servers={}, cwd=tmp_path)
    logs = tmp_path / "docs/logs"
    done = run_flow_sync(plan, given, keep_in=logs, said={"only": ["a"]}, select=frozenset({"a"}))
    started = done.state.started
    assert started is not None
    assert (started.needs, started.final) == ({"a": [], "b": ["a"], "last": []}, ["last"])
    assert started.given.items() >= {"servers": {}, "model": None, "only": ["a"]}.items()
    kept = sorted(path.relative_to(logs).as_posix() for path in logs.glob("*/*"))
    assert all(re.fullmatch(r"\d{8}/\d{6}-noted\.(jsonl|rlog)", path) for path in kept)
    assert len(kept) == 2
    states = [fold(read_journal(path)) for path in (logs / kept[0], done.folder / "events.jsonl")]
    assert summary(states[0], None) == summary(states[1], None) == summary(done.state, None)
    assert started.given["record"] == str(logs / kept[1])


def test_what_is_wrong_before_a_run_leaves_no_log(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    plan = check_flow(tmp_path / "flow.yaml", tmp_path)
    with pytest.raises(Invalid):
        run_flow_sync(plan, Given(inputs={"n": "x"}, servers={}, cwd=tmp_path), keep_in=tmp_path / "logs")
    assert [path.name for path in tmp_path.iterdir()] == ["flow.yaml"]
