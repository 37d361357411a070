"""Diffs that git and difflib write, applied: the tree is what they say, byte for byte."""

from __future__ import annotations

import difflib
import os
import random
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.tools.apply_patch.draft import parse
from gptoss_flow.tools.apply_patch.placing import Misplaced
from gptoss_flow.tools.apply_patch.text import changed, read
from tests.conftest import need
from tests.tools.conftest import Call, plant, tree

NOBODY = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *args: str) -> str:
    run = subprocess.run(["git", "-C", folder, *args], check=True, capture_output=True, env=NOBODY)
    return run.stdout.decode()


def numbered(name: str, count: int = 30) -> str:
    return "".join(f"{name} line {n}\n" for n in range(count))


OLD = {
    "src/app.py": numbered("app"),
    "src/gone.py": numbered("gone"),
    "src/moved.py": numbered("moved"),
    "caf\u00e9 \u201cquoted\u201d.txt": "caf\u00e9\n",
    "with space.txt": "one\ntwo",
    "dos.txt": "one\r\ntwo\r\nthree\r\n",
    "run.sh": "echo\n",
    "empty": "",
    "will be empty": "x\n",
    "dash": "-- a\n++ b\n@@ c\n \\ d\n",
}
NEW = {
    "src/app.py": numbered("app").replace("line 3\n", "line three\n").replace("line 25\n", "") + "end",
    "lib/moved to.py": numbered("moved").replace("line 7\n", "line seven\n"),
    "caf\u00e9 \u201cquoted\u201d.txt": "caf\u00e9 cr\u00e8me\n",
    "with space.txt": "one\ntwo\n",
    "dos.txt": "one\r\n2\r\nthree\r\n",
    "run.sh": "echo\n",
    "will be empty": "",
    "new/empty": "",
    "dash": "-- A\n++ B\n@@ c\n \\ D\n",
    "brand new": "x\ty\n\n\n",
}


def test_a_diff_of_git_makes_of_the_old_tree_the_new_one(call: Call, workspace: Path, tmp_path: Path) -> None:
    need("git")
    other = tmp_path / "other"
    plant(other, OLD)
    git(other, "init", "-q")
    git(other, "config", "core.autocrlf", "false")
    git(other, "add", "-A")
    git(other, "commit", "-qm", "old")
    for path in OLD:
        (other / path).unlink()
    plant(other, NEW)
    (other / "run.sh").chmod(0o755)
    git(other, "add", "-A")
    for options in ((), ("--no-renames",), ("-U0",), ("--patience", "-U10"), ("--full-index", "--stat", "-p")):
        for path in tree(workspace):
            (workspace / path).unlink(missing_ok=True)
        plant(workspace, OLD)
        call("apply_patch", patch=git(other, "diff", "--cached", *options))
        files = {path: data for path, data in tree(workspace).items() if not path.endswith("/")}
        assert files == {path: text.encode() for path, text in NEW.items()}, options
        assert (workspace / "run.sh").stat().st_mode & 0o777 == 0o755
        (workspace / "run.sh").chmod(0o644)


def test_a_series_of_git_is_one_patch(call: Call, workspace: Path, tmp_path: Path) -> None:
    need("git")
    other = tmp_path / "other"
    plant(other, {"a": numbered("a")})
    git(other, "init", "-q")
    for change in ("one", "two"):
        git(other, "add", "-A")
        git(other, "commit", "-qm", f"{change}\n\n--- not a header\n- a list")
        plant(
            other, {"a": (other / "a").read_text().replace(f"line {len(change)}\n", change + "\n"), change: "x\n"}
        )
    git(other, "add", "-A")
    git(other, "commit", "-qm", "three")
    series = git(other, "format-patch", "--stdout", "HEAD~2")
    plant(workspace, {"a": numbered("a")})
    call("apply_patch", patch=series)
    assert tree(workspace) == {path: (other / path).read_bytes() for path in ("a", "one", "two")}


texts = st.lists(st.sampled_from(["a", "b", "", " c", "\td", "-x", "+y", "\\ z", "é\u2028", "--- q"]), max_size=12)


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.booleans(), st.booleans(), st.integers(0, 4))
def test_a_unified_diff_of_any_two_texts_turns_one_into_the_other(
    old: list[str], new: list[str], old_bare: bool, new_bare: bool, around: int
) -> None:
    before, after = (
        "\n".join(lines) + "\n" * (not bare)
        if lines and (lines[-1] or not bare)
        else "".join(f"{x}\n" for x in lines)
        for lines, bare in ((old, old_bare), (new, new_bare))
    )
    if before == after:
        return
    found = difflib.unified_diff(split(before), split(after), "a/f", "b/f", n=around)
    bare = "\n\\ No newline at end of file\n"
    (edit,) = parse("".join(line if line.endswith("\n") else line + bare for line in found))
    text = read(before.encode())
    assert text is not None
    assert changed(text, edit.hunks)[0].encoded() == after.encode()


def split(text: str) -> list[str]:
    pieces = text.split("\n")
    return [piece + "\n" for piece in pieces[:-1]] + [piece for piece in pieces[-1:] if piece]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_a_change_is_put_where_it_was_made_or_refused(lines: list[int], chance: random.Random) -> None:
    """A hunk cut from a text at a place fits there, or there is another place that it fits as well."""
    old = [f"line {n}" for n in lines]
    at = chance.randrange(len(old))
    low, high = max(0, at - chance.randrange(4)), min(len(old), at + 1 + chance.randrange(4))
    body = (
        [f" {line}" for line in old[low:at]] + [f"-{old[at]}", "+changed"] + [f" {x}" for x in old[at + 1 : high]]
    )
    patch = "\n".join(["*** Begin Patch", "*** Update File: f", "@@", *body, "*** End Patch"])
    text = read("".join(f"{line}\n" for line in old).encode())
    assert text is not None
    wanted = old[low:high]
    places = [n for n in range(len(old)) if old[n : n + len(wanted)] == wanted]
    try:
        result, placed = changed(text, parse(patch)[0].hunks)
    except Misplaced as failure:
        assert "several places" in str(failure)
        assert len(places) > 1
    else:
        assert places == [low] == [placed[0].at]
        assert list(result.lines) == [*old[:at], "changed", *old[at + 1 :]]
