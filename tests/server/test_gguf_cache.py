"""What is kept of a model file's header, and when it counts no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptoss_flow.server import gguf_cache
from gptoss_flow.server.gguf_cache import header_of
from gptoss_flow.server.gguf_header import BadModelFile, GgufHeader, Omitted, read_header
from tests.server.gguf_files import write_gguf


def never(path: Path) -> GgufHeader:
    raise AssertionError(f"{path} was read again")


def test_a_header_is_read_once_and_is_then_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "a.gguf", words=5000)
    first = header_of(path, tmp_path / "cache")
    monkeypatch.setattr(gguf_cache, "read_header", never)
    again = header_of(path, tmp_path / "cache")
    monkeypatch.undo()
    for known in (first, again):
        truth = read_header(path)
        assert (known, known.metadata) == (truth, truth.metadata)
        assert (known.parameters, known.weights_bytes) == (truth.parameters, truth.weights_bytes)
    assert Omitted(5000) in again.metadata.values()


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path, cache = write_gguf(tmp_path / "a.gguf", "llama"), tmp_path / "cache"
    before = path.stat()
    header_of(path, cache)
    path.write_bytes(path.read_bytes().replace(b"llama", b"gemma"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size, and made to look as old
    assert header_of(path, cache).architecture == "gemma"
    assert len([*(cache / "headers").iterdir()]) == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'0\n{"of": 1}'])
def test_what_is_damaged_is_read_again_and_mended(tmp_path: Path, damage: bytes) -> None:
    path, cache = write_gguf(tmp_path / "a.gguf", "llama"), tmp_path / "cache"
    whole = header_of(path, cache)
    (kept,) = (cache / "headers").iterdir()
    good = kept.read_bytes()
    kept.write_bytes(damage)
    assert header_of(path, cache) == whole
    assert kept.read_bytes() == good
    kept.write_bytes(good.replace(b"llama", b"gemma"))
    assert header_of(path, cache) == whole


def test_a_file_that_is_no_longer_there_is_missing(tmp_path: Path) -> None:
    path, cache = write_gguf(tmp_path / "a.gguf", "llama"), tmp_path / "cache"
    header_of(path, cache)
    path.write_bytes(path.read_bytes()[:40])
    for cause in ("truncated", "missing"):
        with pytest.raises(BadModelFile) as caught:
            header_of(path, cache)
        assert caught.value.cause == cause
        path.unlink(missing_ok=True)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", "llama")
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert header_of(path, tmp_path / "cache").architecture == "llama"
