from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from gptoss_flow import vocabulary
from gptoss_flow.errors import Unavailable


def test_the_table_is_unpacked_once_and_mended(tmp_path: Path) -> None:
    path = vocabulary.provide(tmp_path) / vocabulary.FILE
    assert hashlib.sha256(path.read_bytes()).hexdigest() == vocabulary.SHA256
    stamp = path.stat().st_mtime_ns
    vocabulary.provide(tmp_path)
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(b"cut")
    vocabulary.provide(tmp_path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == vocabulary.SHA256
    assert [p.name for p in path.parent.iterdir()] == [vocabulary.FILE]


def test_several_may_unpack_at_once(tmp_path: Path) -> None:
    threads = [threading.Thread(target=vocabulary.provide, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in (tmp_path / "vocabulary").iterdir()] == [vocabulary.FILE]


def test_the_users_own_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / vocabulary.FILE).write_bytes(b"theirs")
    monkeypatch.setenv(vocabulary.VARIABLE, str(tmp_path))
    assert vocabulary.provide(tmp_path / "unused") == tmp_path
    assert not (tmp_path / "unused").exists()


def test_a_named_folder_without_the_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vocabulary.VARIABLE, str(tmp_path))
    with pytest.raises(Unavailable, match="holds no o200k_base"):
        vocabulary.provide(tmp_path)


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="XDG_CACHE_HOME"):
        vocabulary.provide(tmp_path / "file")


def test_ids_are_ranks() -> None:
    ranks = vocabulary.ranks()
    assert sorted(ranks.values()) == list(range(vocabulary.FIRST_CONTROL))


def test_a_models_own_tokens_are_the_table() -> None:
    ranks = vocabulary.ranks()
    tokens = [vocabulary.spelled(token) for token in sorted(ranks, key=ranks.__getitem__)]
    assert vocabulary.of_model([*tokens, "<|startoftext|>"], "m") == vocabulary.table()
    swapped = [tokens[1], tokens[0], *tokens[2:]]
    for other in ([], tokens[:-1], swapped, ["日", *tokens[1:]]):
        with pytest.raises(Unavailable, match="the vocabulary of m is not that of gpt-oss"):
            vocabulary.of_model(other, "m")
