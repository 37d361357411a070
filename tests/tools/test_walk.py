"""Listing a tree: what is found, in which order, and what is passed over."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.tools import walk as walking
from gptoss_flow.tools.walk import Tree, walk
from gptoss_flow.tools.workspace import Place
from tests.conftest import need
from tests.tools.conftest import plant


def listed(root: Path, *parts: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Tree:
    return walk(Place(root, parts, "the tree"), include, exclude)


def paths(tree: Tree) -> list[str]:
    return [entry.path for entry in tree.files]


def test_files_come_level_by_level_in_order_of_name(workspace: Path) -> None:
    plant(workspace, {"b/c/deep": "123", "b/2": "", "b/1": "1", "a/z": "", "z": "12", "B": ""})
    tree = listed(workspace)
    assert paths(tree) == ["B", "z", "a/z", "b/1", "b/2", "b/c/deep"]
    assert [entry.bytes for entry in tree.files] == [0, 2, 0, 1, 0, 3]
    assert tree.skipped == {}


def test_an_empty_folder_holds_nothing(workspace: Path) -> None:
    assert listed(workspace) == Tree()


def test_nested_ignore_files_and_negation_hold(workspace: Path) -> None:
    plant(
        workspace,
        {
            ".gitignore": "*.log\n/out/\n",
            "keep/.gitignore": "!wanted.log\nlocal.txt\n",
            "x.log": "",
            "keep/wanted.log": "",
            "keep/other.log": "",
            "keep/local.txt": "",
            "local.txt": "",
            "out/x": "",
            "keep/out/x": "",
        },
    )
    tree = listed(workspace)
    assert paths(tree) == [".gitignore", "local.txt", "keep/.gitignore", "keep/wanted.log", "keep/out/x"]
    assert tree.skipped == {"ignored": 4}


def test_the_rules_above_a_listed_folder_hold_in_it(workspace: Path) -> None:
    plant(workspace, {".gitignore": "*.log\n/src/gen/\n", "src/a.log": "", "src/a.py": "", "src/gen/b.py": ""})
    assert paths(listed(workspace, "src")) == ["a.py"]


def test_a_repositorys_private_rules_hold_and_its_store_is_never_listed(workspace: Path) -> None:
    plant(workspace, {".git/info/exclude": "private\n*.x\n", ".git/config": "", ".gitignore": "!a.x\n"})
    plant(workspace, {"private": "", "a.x": "", "b.x": "", "sub/.git/config": "", "worktree/.git": "gitdir: /"})
    assert paths(listed(workspace)) == [".gitignore", "a.x"]


def test_no_link_is_listed_or_followed(workspace: Path) -> None:
    plant(workspace.parent, {"outside/x": "", "rules": "*\n"})
    plant(workspace, {"a/file": "", "b/file": ""})
    (workspace / "out").symlink_to("../outside")
    (workspace / "file").symlink_to("a/file")
    (workspace / "loop").symlink_to(".")
    (workspace / "b" / ".gitignore").symlink_to("../../rules")
    tree = listed(workspace)
    assert paths(tree) == ["a/file", "b/file"]
    assert tree.skipped == {"links": 4}


def test_special_files_are_counted_and_never_opened(workspace: Path) -> None:
    os.mkfifo(workspace / "fifo")
    os.mkfifo(workspace / ".gitignore")
    assert listed(workspace) == Tree([], {"special": 2})


def test_names_are_taken_as_they_are(workspace: Path) -> None:
    need("a file system that takes any name", found=sys.platform == "linux")
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    odd = ["a\nb", "\x1b[31m", composed, decomposed, " ", "-rf", "${{ x }}"]
    plant(workspace, dict.fromkeys(odd, "x"))
    (workspace / os.fsdecode(b"\xff\xfe")).write_text("x")
    tree = listed(workspace)
    assert sorted(paths(tree)) == sorted(odd)
    assert tree.skipped == {"unreadable": 1}


def test_a_folder_that_may_not_be_listed_is_passed_over(workspace: Path) -> None:
    plant(workspace, {"closed/x": "", "open/x": ""})
    (workspace / "closed").chmod(0)
    if os.access(workspace / "closed", os.R_OK):
        pytest.skip("nothing is closed to root")  # no program that could be installed: never a failure
    try:
        assert listed(workspace).skipped == {"unreadable": 1}
    finally:
        (workspace / "closed").chmod(0o700)


def test_a_tree_is_read_to_a_depth(workspace: Path) -> None:
    plant(workspace, {"/".join(["d"] * 63 + ["last"]): "", "/".join(["d"] * 70 + ["beyond"]): ""})
    tree = listed(workspace)
    assert [len(entry.parts) for entry in tree.files] == [64]
    assert tree.skipped == {"deep": 1}


def test_ten_thousand_files_are_listed(workspace: Path) -> None:
    for n in range(10_000):
        os.close(os.open(workspace / f"{n:05}", os.O_CREAT | os.O_WRONLY))
    assert paths(listed(workspace)) == [f"{n:05}" for n in range(10_000)]


def test_a_tree_beyond_the_bound_is_refused_whole(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(workspace, {f"{folder}/{n}": "" for folder in "ab" for n in range(3)})
    monkeypatch.setattr(walking, "MAX_ENTRIES", 8)
    assert len(listed(workspace).files) == 6
    monkeypatch.setattr(walking, "MAX_ENTRIES", 7)
    with pytest.raises(StepError, match='"the tree" holds more than 7 files and folders; name a smaller folder'):
        listed(workspace)


def test_patterns_include_and_exclude_relative_to_the_listed_folder(workspace: Path) -> None:
    plant(workspace, dict.fromkeys(["s/a.py", "s/t/b.py", "s/t/c.md", "s/d.md"], ""))
    assert paths(listed(workspace, "s", include=("*.py",))) == ["a.py", "t/b.py"]
    assert paths(listed(workspace, "s", include=("/*.py",))) == ["a.py"]
    assert paths(listed(workspace, "s", include=("t/**/*.md", "/d.md"))) == ["d.md", "t/c.md"]
    assert paths(listed(workspace, "s", exclude=("t/",))) == ["a.py", "d.md"]
    assert paths(listed(workspace, "s", include=("*.md", "!d.md"))) == ["t/c.md"]


def test_what_this_program_keeps_for_itself_is_not_listed(workspace: Path) -> None:
    plant(workspace, {"a": "", ".gptoss-flow/patch/old-0": "", ".gptoss-flow/runs/x/events.jsonl": ""})
    assert paths(listed(workspace)) == ["a"]
