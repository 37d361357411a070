"""Ignore patterns: git is the oracle (but that `?` is a character to us, and a byte to git)."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptoss_flow.tools import ignore
from gptoss_flow.tools.walk import walk
from gptoss_flow.tools.workspace import Place
from tests.conftest import need
from tests.tools.conftest import plant

names = st.sampled_from(["a", "b", "ab", "build", "x.py", "x.txt", "éa"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
pieces = st.sampled_from(["a", "b", "build", "*", "**", "*.py", "?", "a*", "[ab]", "x.*", "éa"])
patterns = st.builds(
    lambda negated, anchored, body, folder: negated + anchored + "/".join(body) + folder,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(pieces, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
lines = st.lists(st.one_of(patterns, st.sampled_from(["", "# x", "\\#x", "a ", "!", "[z-a]"])), max_size=4)


def untracked(root: Path) -> set[str]:
    """What git would add."""
    nobody = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "init", "-q", root], check=True, env=nobody)
    listing = ["git", "-C", root, "ls-files", "-z", "--others", "--exclude-standard"]
    out = subprocess.run(listing, check=True, capture_output=True, env=nobody).stdout.decode()
    return set(out.split("\0")) - {""}


@example({"a/build/a", "a/build/b/c"}, {"": ["a/build/**/"]})
@example({"x.py/x.py/a"}, {"": ["*.py", "!/x.*"]})
@settings(max_examples=60, deadline=None)
@given(st.sets(paths, min_size=1, max_size=8), st.dictionaries(st.sampled_from(["", "a/", "a/b/"]), lines))
def test_a_tree_is_listed_as_git_would_add_it(files: set[str], ignores: dict[str, list[str]]) -> None:
    need("git")
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for path in sorted(files):
            if not any(other.startswith(path + "/") for other in files):
                plant(root, {path: "x"})
        for where, rules in ignores.items():
            if where == "" or (root / where).is_dir():
                plant(root, {f"{where}.gitignore": "\n".join(rules) + "\n"})
        found = {entry.path for entry in walk(Place(root, (), ".")).files}
        assert found == untracked(root)


@pytest.mark.parametrize("line", ["!", "\\", "a\\", "[z-a]", "[[:alpha:]]", "[a--b]", "[a&&b]", "[[a]", "[", "\0"])
def test_a_line_that_means_nothing_spoils_no_other(line: str) -> None:
    found = ignore.parse([line, "*.log"])
    assert found is not None
    assert found.says(("x.log",), folder=False) is True


def test_nothing_to_say_is_no_patterns() -> None:
    assert ignore.parse(["", "# a comment"]) is None


def test_a_hostile_pattern_takes_linear_time() -> None:
    found = ignore.parse(["a*" * 100 + "b", "**/" * 100 + "b"])
    assert found is not None
    began = time.process_time()
    assert found.says(("a" * 255,), folder=False) is None
    assert time.process_time() - began < 1
