"""Headers of model files that are whole, cut, damaged, or no model files at all."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_flow.server.gguf_header import BadModelFile, GgufHeader, read_header

from .gguf_files import write_gguf


def cause(path: Path) -> str:
    with pytest.raises(BadModelFile) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    return caught.value.cause


def test_a_whole_file_tells_its_architecture_and_size(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", "gpt-oss")
    assert read_header(path) == GgufHeader("gpt-oss", path.stat().st_size)


def test_a_vocabulary_of_gpt_oss_size_is_read_beyond_the_first_piece(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", words=201_088)
    assert path.stat().st_size > 1 << 20
    assert read_header(path).architecture == "gpt-oss"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"GG", "not_gguf"),
        (b"<!DOCTYPE html><p>404", "not_gguf"),
        (b"GGUF", "truncated"),
        (b"GGUF" + struct.pack("<IQQ", 99, 0, 0), "not_gguf"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63), "not_gguf"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1), "truncated"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 4, 2**64 - 1), "truncated"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 77), "not_gguf"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 3), "not_gguf"),
    ],
)
def test_a_bad_file_is_classified(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert cause(path) == expected


def test_what_is_no_file_is_classified(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "nowhere")
    assert cause(tmp_path) == "directory"
    assert cause(tmp_path / "none.gguf") == "missing"
    assert cause(tmp_path / "dangling.gguf") == "missing"
    assert cause(tmp_path / "pipe.gguf") == "missing"
    assert cause(Path("/dev/zero")) == "missing"


@pytest.mark.parametrize("missing", [1, 100, 1000])
def test_a_file_that_lacks_its_last_bytes_is_truncated(tmp_path: Path, missing: int) -> None:
    path = write_gguf(tmp_path / "a.gguf")
    os.truncate(path, path.stat().st_size - missing)
    assert cause(path) == "truncated"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 6000), at=st.integers(0, 500), byte=st.integers(0, 255))
def test_damage_never_escapes_as_another_error(tmp_path: Path, cut: int, at: int, byte: int) -> None:
    whole = bytearray(write_gguf(tmp_path / "a.gguf").read_bytes())
    whole[at] = byte
    (tmp_path / "b.gguf").write_bytes(whole[: len(whole) - cut])
    try:
        read_header(tmp_path / "b.gguf")
    except BadModelFile as error:
        assert error.cause in ("empty", "not_gguf", "truncated")
