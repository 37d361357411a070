"""Only the folder of a run that has ended is ever removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptoss_flow.errors import RecordError
from gptoss_flow.record.folder import RunFolder
from gptoss_flow.record.remove import remove_run, size_bytes
from tests.record.test_index import put_run


def test_a_run_is_removed_and_what_its_links_lead_to_is_not(tmp_path: Path) -> None:
    run, other = put_run(tmp_path, 1), put_run(tmp_path, 2)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    (run / "artifacts").symlink_to(mine)
    (run / "copy").symlink_to(mine / "file")
    assert size_bytes(run) > 1000
    remove_run(run)
    assert not run.exists()
    assert (mine / "file").read_text() == "mine"
    assert other.exists()


def test_a_run_that_is_being_written_is_refused(tmp_path: Path) -> None:
    run = put_run(tmp_path)
    writer = RunFolder(run)
    with pytest.raises(RecordError, match=f"is being written by process {os.getpid()}"):
        remove_run(run)
    writer.close()
    assert (run / "events.jsonl").exists()


def test_what_is_no_runs_own_folder_stays(tmp_path: Path) -> None:
    run = put_run(tmp_path)
    runs, name = run.parent, "20260101_000000_000000_0000"
    linked = runs / name
    linked.symlink_to(run)
    full = runs / name.replace("0000_0000", "0000_0001")
    full.mkdir()
    (full / "thesis.tex").write_text("x")
    elsewhere = tmp_path / name
    elsewhere.mkdir()
    (tmp_path / "other").symlink_to(tmp_path / ".gptoss-flow")
    for folder in (
        linked,
        full,
        elsewhere,
        runs,
        tmp_path,
        runs / "nothing",
        tmp_path / "other" / "runs" / run.name,
    ):
        with pytest.raises(RecordError, match="it stays"):
            remove_run(folder)
    assert (full / "thesis.tex").exists()
    assert run.exists()
    assert elsewhere.exists()


def test_a_folder_that_a_run_never_wrote_to_is_one_of_a_run(tmp_path: Path) -> None:
    run = put_run(tmp_path)
    (run / "events.jsonl").unlink()
    remove_run(run)
    assert not run.exists()
