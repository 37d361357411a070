"""The store of results gives back what it was given, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record.results import LARGEST_RESULT, ResultStore, StoredResult

KEY = {"step": "aa", "inputs": "bb"}
RESULT = StoredResult({"text": "naïve \ud800"}, {"usage": {"n": 1}}, "20261105_194210_482113_3f9a")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


def only_file(base: Path) -> Path:
    (path,) = (path for path in base.rglob("*") if path.is_file())
    return path


def test_what_is_kept_comes_back(store: ResultStore) -> None:
    assert store.put(KEY, RESULT)
    assert store.get(KEY) == RESULT


def test_another_key_is_no_hit(store: ResultStore) -> None:
    store.put(KEY, RESULT)
    assert store.get({"step": "aa", "inputs": "bc"}) is None
    assert store.get({"step": "aa"}) is None


def test_files_are_for_their_owner_alone(store: ResultStore, tmp_path: Path) -> None:
    store.put(KEY, RESULT)
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_file_cut_at_any_byte_is_no_hit(store: ResultStore, tmp_path: Path) -> None:
    store.put(KEY, RESULT)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert store.get(KEY) is None


def test_a_file_with_any_byte_changed_is_no_hit(store: ResultStore, tmp_path: Path) -> None:
    store.put(KEY, RESULT)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    hits = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        hits += store.get(KEY) not in (None, RESULT)
    assert hits == 0


@pytest.mark.parametrize("text", ["null", "0", '"x"', "[]", "{}"])
def test_a_file_that_is_something_else_is_no_hit(store: ResultStore, tmp_path: Path, text: str) -> None:
    store.put(KEY, RESULT)
    only_file(tmp_path).write_text(text)
    assert store.get(KEY) is None


def test_its_folders_are_for_their_owner_alone(store: ResultStore, tmp_path: Path) -> None:
    store.put(KEY, RESULT)
    folders = [path for path in (tmp_path / ".gptoss-flow").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in [tmp_path / ".gptoss-flow", *folders]} == {0o700}


def test_a_result_of_another_key_put_in_its_place_is_no_hit(store: ResultStore, tmp_path: Path) -> None:
    store.put(KEY, RESULT)
    mine = only_file(tmp_path)
    other = ResultStore(tmp_path / "other")
    other.put({"step": "zz"}, StoredResult("poison", {}, "r"))
    mine.write_bytes(only_file(tmp_path / "other").read_bytes())
    assert store.get(KEY) is None


def test_what_can_not_be_kept_is_not(store: ResultStore, tmp_path: Path) -> None:
    assert not store.put(KEY, StoredResult({"a": object()}, {}, "r"))
    assert not store.put(KEY, StoredResult("x" * (LARGEST_RESULT + 1), {}, "r"))
    assert store.get(KEY) is None
    (tmp_path / ".gptoss-flow").write_text("in the way")
    assert not store.put(KEY, RESULT)


@given(
    st.dictionaries(st.text(max_size=6), st.text(max_size=6)),
    st.dictionaries(st.text(max_size=6), st.text(max_size=6)),
)
def test_no_two_keys_share_a_file(one: dict[str, str], other: dict[str, str]) -> None:
    store = ResultStore(Path("/"))
    assert (store._path(one) == store._path(other)) == (one == other)


def test_the_file_says_which_run_it_is_from(store: ResultStore, tmp_path: Path) -> None:
    store.put(KEY, RESULT)
    assert json.loads(only_file(tmp_path).read_bytes())["run"] == RESULT.run_id
