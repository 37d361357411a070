"""Patches that nobody would write, and files made to go with them: an answer in time, and never a bug."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.tools.apply_patch.draft import parse
from gptoss_flow.tools.apply_patch.placing import Misplaced
from gptoss_flow.tools.apply_patch.text import changed, new_text, read
from tests.tools.conftest import Call, plant, tree

pieces = st.sampled_from(
    [
        *("*** Begin Patch", "*** End Patch", "*** Add File: a", "*** Update File: a", "*** Delete File: a"),
        *("*** Move to: b", "*** End of File", "@@", "@@ x", "@@ -1,2 +1,2 @@", "@@ -0,0 +1 @@", "@@ -1 +0,0 @@"),
        *("@@ -999999999,999999999 +1 @@", "--- a/a", "+++ b/a", "--- /dev/null", "+++ /dev/null", "```", "-- "),
        *("diff --git a/a b/a", 'diff --git "a/\\303" b/a', "rename from a", "rename to b", "GIT binary patch"),
        *("new file mode 100644", "deleted file mode 100644", "old mode 100644", "new mode 100755", '--- "\\'),
        *("\\ No newline at end of file", " x", "-x", "+y", " ", "-", "+", "", "y", " \r", "+\ud83d"),
    ]
)
patches = st.lists(pieces, max_size=14).map("\n".join)


@settings(max_examples=600, deadline=None)
@given(patches, st.text("xy\n\r ", max_size=20))
def test_any_lines_are_a_patch_or_an_error(patch: str, text: str) -> None:
    try:
        edits = parse(patch)
    except StepError as error:
        assert error.message
        return
    found = read(text.encode())
    assert found is not None
    for edit in edits:
        assert edit.path
        if edit.kind == "add":
            new_text(edit.hunks).encoded()
            continue
        try:
            result, placed = changed(found, edit.hunks)
        except Misplaced as error:
            assert str(error)
        else:
            assert len(placed) == len(edit.hunks)
            grown = sum(hunk.added - hunk.removed for hunk in edit.hunks)
            assert len(result.lines) == len(found.lines) + grown


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab\r\n\ufeff\u2028", max_size=30))
def test_a_text_that_is_read_is_written_as_it_was(text: str) -> None:
    found = read(text.encode())
    assert found is not None
    assert found.encoded() == text.encode()


REPEATED = "x\n" * 240_000
DISTINCT = "".join(f"{n:x}\n" for n in range(240_000))


@pytest.mark.parametrize(
    ("text", "hunk"),
    [
        (REPEATED, ["@@", *["-x"] * 999, "+y"]),
        (REPEATED, ["@@ x", "@@ x", "@@ x", "-x", "-x", "+y"]),
        (REPEATED, ["@@", *[" x"] * 500, "-y", *[" x"] * 500]),
        (DISTINCT, ["@@ 1", "@@ 2", "@@ f", " abc", "-abe"]),
        (DISTINCT, ["@@", *[f" {n:x}" for n in range(900)], "-none such"]),
        ("a b c d e f g h\n" * 240_000, ["@@", "-h g f e d c b a"]),
    ],
    ids=["repeated", "anchors", "nearly", "distinct", "near", "words"],
)
def test_a_file_made_to_be_slow_is_answered_in_time(
    call: Call, workspace: Path, text: str, hunk: list[str]
) -> None:
    plant(workspace, {"a": text})
    sections = ["*** Update File: a", *hunk] * (1900 // len(hunk) + 1)
    patch = "\n".join(["*** Begin Patch", *sections[: 200 * (len(hunk) + 1)], "*** End Patch"])
    before = tree(workspace)
    began = time.process_time()
    with pytest.raises(StepError):
        call("apply_patch", patch=patch)
    assert time.process_time() - began < 15
    assert tree(workspace) == before


def test_a_million_hunks_are_refused_at_once(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "x\n"})
    began = time.process_time()
    with pytest.raises(StepError, match="more than 2,097,152"):
        call("apply_patch", patch="*** Begin Patch\n*** Update File: a\n" + "@@\n-x\n+y\n" * 1_000_000)
    with pytest.raises(StepError, match="200,000 changes, more than 2,000"):
        call("apply_patch", patch="--- a\n+++ a\n" + "@@\n-x\n" * 200_000)
    assert time.process_time() - began < 5


MANY = 150_000


@pytest.mark.parametrize(
    "patch",
    [
        f"*** Begin Patch\n*** Add File: a\n+x{chr(10) * MANY}*** End Patch",
        f"*** Begin Patch\n*** Update File: a\n*** Move to: b\n{chr(10) * MANY}*** End Patch",
        "*** Begin Patch\n*** Update File: a\n@@\n+x\n" + " *** End Patch\n" * (MANY // 4) + "x",
        f"--- a\n+++ a\n@@\n{chr(10) * MANY}+x\n",
        f"diff --git a/x{' b/' * MANY}\nnew file mode 100644\n",
        f'diff --git "a/{chr(92) * 2 * MANY}" b/x\nnew file mode 100644\n',
    ],
    ids=["added", "moved", "ends", "uncounted", "names", "quoted"],
)
def test_a_text_made_to_be_slow_is_read_in_time(patch: str) -> None:
    began = time.process_time()
    with suppress(StepError):
        parse(patch)
    assert time.process_time() - began < 5


def test_more_lines_that_changes_stand_below_than_anybody_writes_are_refused() -> None:
    changes = ("@@ x\n" * 200 + " x\n+y\n") * 21
    with pytest.raises(StepError, match=r'the patch has 4,200 lines behind "@@", more than 4,000'):
        parse(f"*** Begin Patch\n*** Update File: a\n{changes}*** End Patch")


@pytest.mark.parametrize(
    "name", ["-rf", "; rm -rf x", "$(touch x)", "`x`", "a b", "*", "~", "%s", "caf\u00e9", "cafe\u0301"]
)
def test_a_name_is_a_name(call: Call, workspace: Path, name: str) -> None:
    call("apply_patch", patch=f"*** Begin Patch\n*** Add File: {name}\n+x\n*** End Patch")
    assert tree(workspace) == {name: b"x\n"}
    call("apply_patch", patch=f"*** Begin Patch\n*** Delete File: {name}\n*** End Patch")
    assert tree(workspace) == {}
