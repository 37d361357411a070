"""The tool `read_file`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.tools import read_file
from gptoss_flow.tools.read_file import cut
from tests.tools.conftest import Call, plant

TEXT = "one\ntwo\nthree\nfour"


def test_the_output_is_the_text_itself(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.txt": "é ${{ x }}\r\n\ttext", "empty": "", "bom": b"\xef\xbb\xbftext"})
    assert call("read_file", path="a.txt") == "é ${{ x }}\r\n\ttext"
    assert call("read_file", path="empty") == ""
    assert call("read_file", path="bom") == "text"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"start_line": 2}, "two\nthree\nfour"),
        ({"end_line": 2}, "one\ntwo\n"),
        ({"start_line": 2, "end_line": 3}, "two\nthree\n"),
        ({"start_line": 4, "end_line": 9}, "four"),
        ({"max_bytes": 9}, "one\ntwo\n"),
        ({"max_bytes": 2}, "on"),
        ({"max_bytes": 18}, TEXT),
        ({"start_line": 2, "max_bytes": 5}, "two\n"),
    ],
)
def test_a_part_is_whole_lines(call: Call, workspace: Path, arguments: dict[str, int], expected: str) -> None:
    plant(workspace, {"a.txt": TEXT})
    assert call("read_file", path="a.txt", **arguments) == expected


def test_lines_that_are_not_there_are_an_error(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.txt": TEXT})
    with pytest.raises(StepError, match=r'"a\.txt" has 4 lines; start_line 5 lies beyond them'):
        call("read_file", path="a.txt", start_line=5)
    with pytest.raises(StepError, match="end_line 1 comes before start_line 2"):
        call("read_file", path="a.txt", start_line=2, end_line=1)


@pytest.mark.parametrize("data", [b"\0", b"text\0text", b"\xff\xfea\0", b"latin-1: \xe9", b"cut \xc3"])
def test_what_is_no_utf8_text_is_refused(call: Call, workspace: Path, data: bytes) -> None:
    plant(workspace, {"x": data})
    with pytest.raises(StepError, match='"x" is not a text file in UTF-8'):
        call("read_file", path="x")


def test_a_large_file_is_never_cut_unasked(call: Call, workspace: Path) -> None:
    plant(workspace, {"large": "0123456\n" * (1 << 17) + "end"})
    with pytest.raises(StepError, match=r'"large" has 1,048,579 bytes, more than 1,048,576; say how much'):
        call("read_file", path="large")
    assert call("read_file", path="large", max_bytes=20) == "0123456\n" * 2
    assert call("read_file", path="large", start_line=(1 << 17) + 1) == "end"


def test_a_line_beyond_what_is_read_is_an_error(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_file, "MAX_BYTES", 10)
    plant(workspace, {"a.txt": TEXT})
    assert call("read_file", path="a.txt", start_line=1, end_line=2) == "one\ntwo\n"
    with pytest.raises(StepError, match="line 3 lies beyond the first 10 bytes"):
        call("read_file", path="a.txt", start_line=1, end_line=3)


@given(st.text(), st.integers(1, 40))
def test_a_cut_is_a_prefix_that_fits_and_ends_at_a_line_if_it_can(text: str, max_bytes: int) -> None:
    kept = cut(text, max_bytes)
    assert text.startswith(kept)
    assert len(kept.encode()) <= max_bytes
    if kept != text:
        assert kept.endswith("\n") or "\n" not in kept
