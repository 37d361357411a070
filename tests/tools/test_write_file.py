"""The tool `write_file`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from tests.tools.conftest import Call, plant, tree


def test_a_file_is_created_overwritten_and_appended_to(call: Call, workspace: Path) -> None:
    assert call("write_file", path="a.txt", content="é\r\n") == {"path": "a.txt", "bytes": 4, "created": True}
    with pytest.raises(StepError, match=r'"a\.txt" exists; say mode "overwrite" or "append"'):
        call("write_file", path="a.txt", content="x")
    (workspace / "a.txt").chmod(0o700)
    assert call("write_file", path="./a.txt", content="two\n", mode="append")["bytes"] == 8
    assert tree(workspace) == {"a.txt": "é\r\ntwo\n".encode()}
    assert call("write_file", path="a.txt", content="", mode="overwrite") == {
        "path": "a.txt",
        "bytes": 0,
        "created": False,
    }
    assert tree(workspace) == {"a.txt": b""}
    assert stat.S_IMODE((workspace / "a.txt").stat().st_mode) == 0o700


def test_folders_are_made_on_request_alone(call: Call, workspace: Path) -> None:
    with pytest.raises(StepError, match='there is no folder "a/b"; say parents: true to make it'):
        plant(workspace, {"a/x": ""})
        call("write_file", path="a/b/c/d.txt", content="x")
    call("write_file", path="a/b/c/d.txt", content="x", parents=True)
    assert tree(workspace) == {"a/x": b"", "a/b/c/d.txt": b"x"}


def test_sizes_and_what_no_file_can_hold(call: Call, workspace: Path) -> None:
    with pytest.raises(StepError, match="would have 4,194,305 bytes; at most 4,194,304"):
        call("write_file", path="a", content="x" * ((4 << 20) + 1))
    with pytest.raises(StepError, match="half of a surrogate pair"):
        call("write_file", path="a", content="\ud83d")
    assert tree(workspace) == {}


def test_what_the_user_gave_to_read_is_not_to_be_written(call: Call, tmp_path: Path) -> None:
    plant(tmp_path, {"given/x": "x"})
    with pytest.raises(StepError, match="outside the workspace"):
        call("write_file", path=str(tmp_path / "given" / "x"), content="y", mode="overwrite", readable=(tmp_path,))
    assert (tmp_path / "given" / "x").read_text() == "x"
