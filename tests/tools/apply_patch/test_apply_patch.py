"""The tool `apply_patch`: patches in both formats, good ones and others, against files as they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.tools.apply_patch import undo
from tests.tools.conftest import Call, plant, tree

APP = "import os\n\n\ndef greet(name):\n    print(name)\n\n\ndef leave(name):\n    print(name)\n"


def begun(*lines: str) -> str:
    return "\n".join(("*** Begin Patch", *lines, "*** End Patch", ""))


def refused(call: Call, patch: str, **more: object) -> str:
    with pytest.raises(StepError) as caught:
        call("apply_patch", patch=patch, **more)
    assert caught.value.kind == "tool"
    assert not caught.value.retryable
    return caught.value.message


def test_one_patch_adds_updates_moves_and_deletes(call: Call, workspace: Path) -> None:
    plant(workspace, {"app.py": APP, "old.txt": "gone\n", "a/b.txt": "one\ntwo\n"})
    (workspace / "app.py").chmod(0o755)
    told = call(
        "apply_patch",
        patch=begun(
            "*** Add File: docs/new/notes.md",
            "+# Notes",
            "+",
            "+text",
            "*** Update File: app.py",
            "*** Move to: src/main.py",
            "@@ def greet(name):",
            "-    print(name)",
            '+    print("hello", name)',
            "*** Delete File: old.txt",
            "*** Update File: a/b.txt",
            "@@",
            " one",
            "+one and a half",
            " two",
            "*** End of File",
        ),
    )
    assert tree(workspace) == {
        "docs/new/notes.md": b"# Notes\n\ntext\n",
        "src/main.py": APP.replace("print(name)", 'print("hello", name)', 1).encode(),
        "a/b.txt": b"one\none and a half\ntwo\n",
    }
    assert stat.S_IMODE((workspace / "src/main.py").stat().st_mode) == 0o755
    assert told.pop("undo")
    assert told == {
        "applied": True,
        "files": [
            {"path": "docs/new/notes.md", "action": "added", "lines_added": 3, "lines_removed": 0},
            {
                "path": "src/main.py",
                "action": "moved",
                "from": "app.py",
                "lines_added": 1,
                "lines_removed": 1,
                "at_lines": [5],
            },
            {"path": "old.txt", "action": "deleted", "lines_added": 0, "lines_removed": 0},
            {"path": "a/b.txt", "action": "updated", "lines_added": 1, "lines_removed": 0, "at_lines": [1]},
        ],
    }


def test_a_dry_run_says_what_would_change_and_changes_nothing(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.txt": "one\n"})
    before = tree(workspace)
    patch = begun("*** Update File: a.txt", "@@", "-one", "+two")
    told = call("apply_patch", patch=patch, dry_run=True)
    assert told == {
        "applied": False,
        "files": [{"path": "a.txt", "action": "updated", "lines_added": 1, "lines_removed": 1, "at_lines": [1]}],
    }
    assert tree(workspace) == before
    assert call("apply_patch", patch=patch)["applied"]


def test_all_or_nothing_and_every_fault_at_once(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.txt": "one\n", "b.txt": "two\n"})
    before = tree(workspace)
    said = refused(
        call,
        begun(
            "*** Update File: a.txt",
            "@@",
            "-one",
            "+1",
            "*** Update File: b.txt",
            "@@",
            "-three",
            "+3",
            "*** Add File: a.txt",
            "+x",
            "*** Delete File: c.txt",
        ),
    )
    assert said.splitlines() == [
        'nothing was changed: "b.txt", change 1 (line 7 of the patch): its lines are not in the file, '
        "nor is one like them; read the file again",
        '"a.txt" exists; update it, or delete it first',
        '"c.txt" does not exist; to make it, add it with all its lines',
    ]
    assert tree(workspace) == before


def test_what_does_not_fit_shows_the_lines_that_come_nearest(call: Call, workspace: Path) -> None:
    plant(workspace, {"app.py": APP})
    said = refused(
        call, begun("*** Update File: app.py", "@@", " def leave(name):", "-    print(nam)", "+    return")
    )
    assert said == (
        'nothing was changed: "app.py", change 1 (line 3 of the patch): its lines are not in the file; '
        'first to differ is line 9, where the patch has "    print(nam)". Nearest in the file:\n'
        "     8 | def leave(name):\n"
        "     9 |     print(name)"
    )


def test_what_fits_in_several_places_is_refused_with_the_places(call: Call, workspace: Path) -> None:
    plant(workspace, {"app.py": APP})
    said = refused(call, begun("*** Update File: app.py", "@@", "-    print(name)", "+    pass"))
    assert "its lines stand in several places, at lines 5, 9; add more of the lines around it" in said
    call(
        "apply_patch",
        patch=begun("*** Update File: app.py", "@@ def leave(name):", "-    print(name)", "+    pass"),
    )
    assert (workspace / "app.py").read_text() == APP[:-16] + "    pass\n"


def test_a_line_after_the_signs_chooses_and_may_be_the_first_line_itself(call: Call, workspace: Path) -> None:
    twice = "class A:\n    def f(self):\n        x\n\n\nclass B:\n    def f(self):\n        x\n"
    plant(workspace, {"a.py": twice + "end\n"})
    change = ("-        x", "+        y")
    assert "do not stand below" in refused(call, begun("*** Update File: a.py", "@@ end", *change))
    said = refused(call, begun("*** Update File: a.py", "@@ class C(A):", *change))
    assert 'no line of the file is "class C(A):", which follows "@@"; the nearest is line 1: "class A:"' in said
    said = refused(call, begun("*** Update File: a.py", "@@ def f(self):", *change))
    assert "stand in several places, at lines 3, 8" in said
    call("apply_patch", patch=begun("*** Update File: a.py", "@@ class B", "@@ def f(self):", *change))
    assert (workspace / "a.py").read_text() == twice[:-2] + "y\nend\n"
    call("apply_patch", patch=begun("*** Update File: a.py", "@@ class A:", " class A:", "+    z = 1"))
    assert (workspace / "a.py").read_text().startswith("class A:\n    z = 1\n    def f")


def test_two_changes_of_equal_lines_fit_where_only_one_order_does(call: Call, workspace: Path) -> None:
    plant(workspace, {"app.py": APP})
    change = ("@@", "-    print(name)", "+    pass")
    call("apply_patch", patch=begun("*** Update File: app.py", *change, *change))
    assert (workspace / "app.py").read_text() == APP.replace("print(name)", "pass")


def test_changes_in_another_order_than_the_file_are_refused(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "one\ntwo\nthree\n"})
    said = refused(call, begun("*** Update File: a", "@@", "-three", "+3", "@@", "-one", "+1"))
    assert "its lines stand at line 1, before those of the change above it" in said


def test_white_space_may_differ_and_the_answer_says_so(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.py": "class A:\n    def f(self):\n        x = 1  \n        return x\n"})
    told = call(
        "apply_patch",
        patch=begun("*** Update File: a.py", "@@", "     def f(self):", "         x = 1", "+        x += 1"),
    )
    assert told["files"][0]["notes"] == ["change 1 fits but for white space at line ends"]
    told = call("apply_patch", patch=begun("*** Update File: a.py", "@@", " def f(self):", "+    y = 2"))
    assert told["files"][0]["notes"] == ["change 1 fits but for indentation"]
    text = "class A:\n    def f(self):\n        y = 2\n        x = 1  \n        x += 1\n        return x\n"
    assert (workspace / "a.py").read_text() == text, "kept lines keep their own, added ones are indented likewise"


def test_dashes_quotes_and_spaces_of_other_kinds_are_taken_for_the_plain_ones(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "it\u2019s \u201ca\u201d\u00a0b \u2013 c\nnext\n", "b": "a-b c\n"})
    told = call("apply_patch", patch=begun("*** Update File: a", "@@", ' it\'s "a" b - c', "-next", "+last"))
    assert told["files"][0]["notes"] == ["change 1 fits but for dashes, quotes and spaces"]
    call("apply_patch", patch=begun("*** Update File: b", "@@", " a\u2011b\u202fc", "+d"))
    assert tree(workspace) == {
        "a": "it\u2019s \u201ca\u201d\u00a0b \u2013 c\nlast\n".encode(),
        "b": b"a-b c\nd\n",
    }


def test_a_text_about_patches_is_patched(call: Call, workspace: Path) -> None:
    text = "*** Begin Patch\n*** Add File: x\n+y\n*** End of File\n*** End Patch\n@@\n"
    kept = [f" {line}" for line in text.splitlines()]
    plant(workspace, {"a": text})
    call("apply_patch", patch=begun("*** Update File: a", "@@", *kept[:4], "+new", *kept[4:]))
    assert (workspace / "a").read_text() == text.replace("*** End Patch", "new\n*** End Patch")
    call("apply_patch", patch=begun("*** Add File: b", *(f"+{line}" for line in text.splitlines())))
    assert (workspace / "b").read_text() == text


def test_markers_may_be_indented_where_nothing_else_can_stand(call: Call, workspace: Path) -> None:
    call("apply_patch", patch="  *** Begin Patch\n  *** Add File: a\n+x\n  *** End Patch\n  ```\n")
    assert tree(workspace) == {"a": b"x\n"}


def test_line_ends_marks_and_a_bare_last_line_are_kept(call: Call, workspace: Path) -> None:
    plant(workspace, {"dos.txt": b"\xef\xbb\xbfone\r\ntwo\r\nthree"})
    call("apply_patch", patch=begun("*** Update File: dos.txt", "@@", " one", "-two", "+2", "+2b", " three"))
    assert (workspace / "dos.txt").read_bytes() == b"\xef\xbb\xbfone\r\n2\r\n2b\r\nthree"
    diff = "--- dos.txt\n+++ dos.txt\n@@ -4 +4 @@\n-three\n\\ No newline at end of file\n+3\n"
    call("apply_patch", patch=diff)
    assert (workspace / "dos.txt").read_bytes() == b"\xef\xbb\xbfone\r\n2\r\n2b\r\n3\r\n"
    diff = "--- dos.txt\r\n+++ dos.txt\r\n@@ -4 +4 @@\r\n-3\r\n+three\r\n\\ No newline at end of file\r\n"
    call("apply_patch", patch=diff)
    assert (workspace / "dos.txt").read_bytes() == b"\xef\xbb\xbfone\r\n2\r\n2b\r\nthree"


def test_a_unified_diff_with_wrong_numbers_and_counts_fits_by_its_lines(call: Call, workspace: Path) -> None:
    plant(workspace, {"app.py": APP})
    diff = "--- a/app.py\n+++ b/app.py\n@@ -90,9 +90,2 @@\n def leave(name):\n-    print(name)\n+    pass\n"
    call("apply_patch", patch=diff)
    assert (workspace / "app.py").read_text().endswith("def leave(name):\n    pass\n")


def test_equal_lines_are_told_apart_by_the_number_of_a_unified_diff(call: Call, workspace: Path) -> None:
    plant(workspace, {"app.py": APP})
    call("apply_patch", patch="--- a/app.py\n+++ b/app.py\n@@ -9 +9 @@\n-    print(name)\n+    pass\n")
    assert (workspace / "app.py").read_text() == APP[:-16] + "    pass\n"


def test_a_diff_of_two_folders_is_of_the_files_in_them(call: Call, workspace: Path) -> None:
    plant(workspace, {"src/a": "x\n", "b": "x\n"})
    change = "@@ -1 +1 @@\n-x\n+y\n"
    call(
        "apply_patch",
        patch=f"diff -ru old/src/a new/src/a\n--- old/src/a\t2026-01-01\n+++ new/src/a\t2026-01-02\n{change}"
        f"Only in new: c\ndiff -u b.orig b\n--- b.orig\n+++ b\n{change}",
    )
    assert tree(workspace) == {"src/a": b"y\n", "b": b"y\n"}


def test_a_patch_in_a_fence_or_a_here_document_is_understood(call: Call, workspace: Path) -> None:
    inner = begun("*** Add File: a", "+x").rstrip()
    call("apply_patch", patch=f"```\n{inner}\n```\n")
    call("apply_patch", patch=f"apply_patch <<'EOF'\n{inner.replace(': a', ': b')}\nEOF\n")
    assert tree(workspace) == {"a": b"x\n", "b": b"x\n"}


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ("hello", "neither of the two formats"),
        ("*** Begin Patch\n*** Add File: a\n+x", r"line 3 of the patch: the patch does not end with \*\*\* End"),
        (begun(), "changes no file"),
        (begun("*** Update File: a"), "is followed by no change"),
        (begun("*** Update File: a", "@@", " x"), "neither removes nor adds a line"),
        (begun("*** Update File: a", "@@", "x"), r'line 4 of the patch: a line of a change begins with " "'),
        (begun("*** Add File: a", "x"), r'line 3 of the patch: each line of an added file begins with "\+"'),
        (begun("*** Rename File: a"), r'line 2 of the patch: expected "\*\*\* Add File: PATH"'),
        (begun("*** Add File:", "+x"), "names no file"),
        (begun("*** Delete File: a", "+x"), "takes no lines"),
        (begun("*** Add File: a", "+x") + "more", "text after"),
        ("--- a/x\n+++ b/x\n", "so nothing is changed"),
        ("@@ -1 +1 @@\n-a\n+b\n--- a/x\n+++ b/x\n", "belongs to no file"),
        ("diff --git a/x b/x\nBinary files a/x and b/x differ\n", "binary files are not patched"),
        ("diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n", "links"),
        ("--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n-a\nb\n+c\n", "line 5 of the patch: a line of a change begins with"),
        ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n", "no name"),
    ],
)
def test_a_patch_that_cannot_be_read_says_where_and_how(
    call: Call, workspace: Path, patch: str, said: str
) -> None:
    plant(workspace, {"a": "x\n", "x": "a\nb\n"})
    before = tree(workspace)
    with pytest.raises(StepError, match=said):
        call("apply_patch", patch=patch)
    assert tree(workspace) == before


def test_what_is_no_text_is_moved_and_deleted_and_never_patched(call: Call, workspace: Path) -> None:
    plant(workspace, {"x.png": b"\x89PNG\0\n", "latin": b"caf\xe9\n"})
    for name in ("x.png", "latin"):
        said = refused(call, begun(f"*** Update File: {name}", "@@", "-x", "+y"))
        assert f'"{name}" is not a text file in UTF-8' in said
    call("apply_patch", patch=begun("*** Update File: x.png", "*** Move to: y.png", "*** Delete File: latin"))
    assert tree(workspace) == {"y.png": b"\x89PNG\0\n"}


def test_sizes_are_bounded(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "x\n", "large": "x\n" * (3 << 20)})
    assert "more than 2,097,152" in refused(call, begun("*** Add File: b", "+" + "x" * (2 << 20)))
    hunks = ("@@", "-x", "+y") * 2001
    assert "2,001 changes, more than 2,000" in refused(call, begun("*** Update File: a", *hunks))
    files = (line for n in range(201) for line in (f"*** Add File: n{n}", "+x"))
    assert "201 files, more than 200" in refused(call, begun(*files))
    assert "files of at most 4,194,304 are written" in refused(
        call, begun("*** Update File: large", "@@", "-x", "+y")
    )


def test_a_file_may_be_edited_more_than_once_and_make_room_for_a_folder(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "1\n2\n", "name": "x\n"})
    call(
        "apply_patch",
        patch=begun(
            "*** Update File: a", "@@", "-1", "+one", "*** Update File: a", "@@", " one", "-2", "+two",
            "*** Delete File: name", "*** Add File: name/x", "+y",
        ),
    )  # fmt: skip
    assert tree(workspace) == {"a": b"one\ntwo\n", "name/x": b"y\n"}


def test_a_patch_can_be_taken_back_once(call: Call, workspace: Path, own_state: Path) -> None:
    plant(workspace, {"a": "1\n", "b": b"\0binary", "run.sh": "x\n"})
    (workspace / "run.sh").chmod(0o750)
    before = tree(workspace)
    patch = begun(
        "*** Update File: a", "@@", "-1", "+2", "*** Delete File: b", "*** Add File: n/c", "+3",
        "*** Delete File: run.sh",
    )  # fmt: skip
    made = call("apply_patch", patch=patch)["undo"]
    assert not [path for path in workspace.rglob("*") if ".gptoss-flow" in path.parts]
    kept = list(own_state.rglob("*.json"))
    assert [path.stem for path in kept] == [made]
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    assert call("undo_patch", id=made) == {"restored": ["a", "b", "n/c", "run.sh"]}
    assert {**before, "n/": b""} == tree(workspace)
    assert stat.S_IMODE((workspace / "run.sh").stat().st_mode) == 0o750
    with pytest.raises(StepError, match="can be taken back; the newest 50 can, once each"):
        call("undo_patch", id=made)


def test_what_is_kept_to_take_patches_back_is_bounded(
    call: Call, workspace: Path, own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(workspace, {"a": "0\n"})

    def patch(number: int) -> str:
        told = call("apply_patch", patch=begun("*** Update File: a", "@@", f"-{number}", f"+{number + 1}"))
        return str(told["undo"])

    monkeypatch.setattr(undo, "KEPT", 3)
    kept = [patch(number) for number in range(5)]
    assert {path.stem for path in own_state.rglob("*.json")} == set(kept[-3:])
    monkeypatch.setattr(undo, "KEPT_BYTES", 300)
    last = patch(5)
    assert len(list(own_state.rglob("*.json"))) == 2
    for each, now in ((last, b"5\n"), (kept[-1], b"4\n")):
        call("undo_patch", id=each)
        assert tree(workspace) == {"a": now}


def test_a_patch_is_not_taken_back_over_later_work(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "1\n", "b": "1\n"})
    patch = begun("*** Update File: a", "@@", "-1", "+2", "*** Update File: b", "@@", "-1", "+2")
    made = call("apply_patch", patch=patch)["undo"]
    plant(workspace, {"b": "mine\n"})
    with pytest.raises(StepError, match='nothing was changed: "b" no longer as the patch left it'):
        call("undo_patch", id=made)
    assert tree(workspace) == {"a": b"2\n", "b": b"mine\n"}


def test_the_umask_holds_for_new_files_and_a_unified_diff_may_make_them_executable(
    call: Call, workspace: Path
) -> None:
    was = os.umask(0o027)
    try:
        diff = "diff --git a/x b/x\nnew file mode {}\n--- /dev/null\n+++ b/{}\n@@ -0,0 +1 @@\n+x\n"
        call("apply_patch", patch=diff.format("100755", "run") + diff.format("100644", "plain"))
    finally:
        os.umask(was)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in workspace.iterdir()}
    assert modes == {"run": 0o750, "plain": 0o640}
