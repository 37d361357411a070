"""An rlog becomes JSONL and is the same bytes afterwards, whatever they were."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import Invalid
from gptoss_flow.record.rlog_convert import is_jsonl, to_jsonl, to_rlog
from tests.record.samples import a_run
from tests.record.test_rlog import FORGERIES, written


def jsonl(data: bytes) -> bytes:
    return b"".join(to_jsonl(io.BytesIO(data)))


def back(data: bytes) -> bytes:
    file = io.BytesIO(data)
    assert is_jsonl(file)
    return b"".join(to_rlog(file, "x.jsonl"))


def objects(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in jsonl(data).split(b"\n")[:-1]]


@pytest.mark.parametrize("text", ["It adds.", *FORGERIES])
def test_what_we_wrote_comes_back_byte_for_byte(tmp_path: Path, text: str) -> None:
    log = written(tmp_path / "run.rlog", a_run(text)).encode()
    assert back(jsonl(log)) == log
    assert jsonl(log).isascii()


@given(
    st.binary()
    | st.lists(st.sampled_from([b"---\n", b"\r\n", b"\n", b"\xff\xc3", "é→".encode(), b"{"])).map(b"".join)
)
def test_whatever_it_was_comes_back_byte_for_byte(data: bytes) -> None:
    assert back(jsonl(data)) == data


def test_each_line_is_an_object_that_says_what_the_line_does() -> None:
    log = "before\n---\nformat: rlog/1\nid: a\nrepo_sha: 7112981e0\n---\na: hi tokens_in=3 → x\r\n\x7f\xff".encode(
        "latin-1", "replace"
    )
    log = log.replace(b"?", "→".encode())
    first, *lines = objects(log)
    assert first == {"type": "rlog", "header": {"format": "rlog/1", "id": "a", "repo_sha": "7112981e0"}}
    assert [line["type"] for line in lines] == ["preamble", *["header"] * 5, "agent", "unknown"]
    assert lines[6] == {
        "line": 7, "type": "agent", "content": "hi tokens_in=3 → x", "result": "x", "tokens_in": 3,
        "raw": "a: hi tokens_in=3 → x\r",
    }  # fmt: skip
    assert lines[7] == {
        "line": 8, "type": "unknown", "content": "\x7f\udcff", "raw": "\x7f\udcff", "newline": False,
    }  # fmt: skip


def test_an_rlog_is_not_taken_for_jsonl() -> None:
    assert not is_jsonl(io.BytesIO(b"---\n{}"))
    assert not is_jsonl(io.BytesIO(b""))


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        ("{", 1, "not JSON"),
        ('{"type": "run_started"}', 1, "its rlog lies beside it"),
        ('{"type": "rlog"}\n[]', 2, "not a JSON object"),
        ('{"type": "rlog"}\n\n', 2, "not JSON"),
        ('{"type": "rlog"}\n' + "[" * 100_000, 2, "not JSON"),
        ('{"type": "rlog"}\n{}', 2, '"raw" is not the text of one line'),
        ('{"type": "rlog"}\n{"raw": "a"}\n{"raw": "a\\nu: b"}', 3, '"raw" is not the text of one line'),
        ('{"type": "rlog"}\n{"raw": "\\ud800"}', 2, "a surrogate"),
        ('{"type": "rlog"}\n\ufeff', 2, "not JSON"),
    ],
)
def test_jsonl_that_is_no_rlogs_is_refused_with_its_place(data: str, line: int, said: str) -> None:
    with pytest.raises(Invalid) as error:
        back(data.encode())
    (problem,) = error.value.problems
    assert problem.mark and (problem.mark.source, problem.mark.line) == ("x.jsonl", line)
    assert said in str(problem)


def test_bytes_that_are_no_text_are_no_jsonl() -> None:
    with pytest.raises(Invalid, match="not JSON"):
        back(b'{"type": "rlog"}\n\xff')
