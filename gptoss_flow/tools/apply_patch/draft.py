"""What a patch makes of the workspace, worked out before anything is written: every fault of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.apply_patch import begin_patch, unified
from gptoss_flow.tools.apply_patch.edits import MAX_ANCHORS, MAX_FILES, MAX_HUNKS, MAX_PATCH_BYTES, Edit
from gptoss_flow.tools.apply_patch.placing import Misplaced, Placed
from gptoss_flow.tools.apply_patch.text import changed, new_text, read
from gptoss_flow.tools.commit import Change
from gptoss_flow.tools.workspace import Place, refusal
from gptoss_flow.tools.writing import Content, content_at, writable

MAX_FILE_BYTES = 4 << 20
MAX_LINES = 250_000
"""Of a file that is changed within."""
MAX_TOTAL_BYTES = 64 << 20
_MOST_FAULTS = 5
"""What comes nearest is sought for so many of them."""
_SHAPES = (
    'it is neither of the two formats. Begin with the line "*** Begin Patch", then "*** Update File: PATH", then '
    'for each change "@@" and its lines with " ", "-" or "+" in front, and end with "*** End Patch"; or send a '
    'unified diff, with "--- a/PATH", "+++ b/PATH" and "@@ -1,3 +1,4 @@"'
)


def parse(patch: str) -> list[Edit]:
    """The edits that a patch asks for; the text tells which format it is in. Raises `StepError`."""
    if (size := len(patch.encode("utf-8", "surrogatepass"))) > MAX_PATCH_BYTES:
        raise refusal(f"the patch has {size:,} bytes, more than {MAX_PATCH_BYTES:,}; send it in parts")
    lines = [line.removesuffix("\r") for line in patch.removesuffix("\n").split("\n")]
    first = next((n for n, line in enumerate(lines) if line.strip() == begin_patch.BEGIN), None)
    if first is not None and not unified.is_unified(lines[:first]):
        edits = begin_patch.parse(lines, first)
    elif unified.is_unified(lines):
        edits = unified.parse(lines)
    else:
        raise refusal(f"the patch cannot be read: {_SHAPES}")
    if not edits:
        raise refusal("the patch changes no file")
    for count, most, what in (
        (len(edits), MAX_FILES, "files"),
        (sum(len(edit.hunks) for edit in edits), MAX_HUNKS, "changes"),
        (sum(len(hunk.anchors) for edit in edits for hunk in edit.hunks), MAX_ANCHORS, 'lines behind "@@"'),
    ):
        if count > most:
            raise refusal(f"the patch has {count:,} {what}, more than {most:,}; send it in parts")
    return edits


@dataclass(slots=True)
class _File:
    """A file as it was found, and as it is to be."""

    place: Place
    before: Content | None
    now: bytes | None
    mode: int = 0o666
    exact: bool = False


@dataclass(slots=True)
class Draft:
    """Grows by `apply`; edits of one file see what earlier ones made of it."""

    root: int
    context: ToolContext
    told: list[dict[str, Json]] = field(default_factory=list)
    """For each edit what it does: path, action, lines."""
    _files: dict[tuple[str, ...], _File] = field(default_factory=dict)
    _bytes: int = 0

    def apply(self, edits: Sequence[Edit]) -> None:
        """Raises `StepError` with all that stands against these edits, as far as anybody reads."""
        faults: list[str] = []
        for number, edit in enumerate(edits):
            if len(faults) == _MOST_FAULTS:
                faults.append(f"and perhaps more in the {len(edits) - number} files after these")
                break
            try:
                self._apply(edit)
            except StepError as failure:
                faults.append(failure.message)
            except Misplaced as failure:
                faults.append(f'"{one_line(edit.path)}", {failure}')
        if faults:
            raise refusal("nothing was changed: " + "\n".join(faults))

    def changes(self) -> list[Change]:
        return [
            Change(file.place, file.before, file.now, file.mode, file.exact)
            for file in self._files.values()
            if file.now != (file.before.data if file.before else None)
            or (file.before is not None and file.exact and file.mode != file.before.mode)
        ]

    def _file(self, path: str) -> _File:
        place = writable(path, self.context, relative=True)
        if place.parts not in self._files:
            before = None if self._is_below_a_deleted(place) else content_at(self.root, place, MAX_FILE_BYTES)
            self._bytes += len(before.data) if before else 0
            if self._bytes > MAX_TOTAL_BYTES:
                raise refusal(f"the files hold more than {MAX_TOTAL_BYTES:,} bytes together; patch fewer at once")
            self._files[place.parts] = _File(place, before, before.data if before else None)
        return self._files[place.parts]

    def _is_below_a_deleted(self, place: Place) -> bool:
        above = (self._files.get(place.parts[:n]) for n in range(1, len(place.parts)))
        return any(file is not None and file.before is not None and file.now is None for file in above)

    def _apply(self, edit: Edit) -> None:
        file = self._file(edit.path)
        if edit.kind == "add":
            self._add(edit, file)
            return
        if file.now is None:
            raise refusal(f"{file.place} does not exist; to make it, add it with all its lines")
        placed: list[Placed] = []
        data = file.now
        if edit.hunks:
            text = read(data)
            if text is None:
                raise refusal(f"{file.place} is not a text file in UTF-8, and only such files are patched")
            if len(text.lines) > MAX_LINES:
                raise refusal(f"{file.place} has {len(text.lines):,} lines, more than {MAX_LINES:,}")
            result, placed = changed(text, edit.hunks)
            data = result.encoded()
        if edit.kind == "delete":
            if edit.hunks and data.strip(b"\xef\xbb\xbf"):
                raise refusal(f"{file.place} has more lines than the patch removes; read it again")
            file.now = None
        elif edit.move_to:
            self._move(edit, file, data)
        else:
            if data == file.now and edit.executable is None:
                raise refusal(f"{file.place} stays as it is: what the patch adds is what it removes")
            file.now = data
            self._set_mode(edit, file, file.before.mode if file.before else file.mode)
        self._tell(edit, placed)

    def _add(self, edit: Edit, file: _File) -> None:
        if file.now is not None:
            raise refusal(f"{file.place} exists; update it, or delete it first")
        if any(sign != "+" for hunk in edit.hunks for sign, _ in hunk.lines):
            raise refusal(
                f"{file.place} is added (line {edit.line} of the patch), so all its lines are added ones"
            )
        file.now = new_text(edit.hunks).encoded()
        if edit.executable:
            file.mode = 0o777
        self._tell(edit, [])

    def _move(self, edit: Edit, file: _File, data: bytes) -> None:
        target = self._file(edit.move_to)
        if target.now is not None:
            raise refusal(f"{file.place} cannot be moved to {target.place}, which exists; delete that first")
        mode = file.before.mode if file.before and not file.exact else file.mode
        target.now, file.now = data, None
        target.mode, target.exact = mode, file.before is not None or file.exact
        self._set_mode(edit, target, mode)

    @staticmethod
    def _set_mode(edit: Edit, file: _File, mode: int) -> None:
        if edit.executable is not None:
            readers = mode & 0o444
            file.mode = mode | readers >> 2 if edit.executable else mode & ~0o111
            file.exact = True

    def _tell(self, edit: Edit, placed: Sequence[Placed]) -> None:
        actions = {"add": "added", "update": "moved" if edit.move_to else "updated", "delete": "deleted"}
        told: dict[str, Json] = {"path": edit.move_to or edit.path, "action": actions[edit.kind]}
        if edit.move_to:
            told["from"] = edit.path
        told["lines_added"] = sum(hunk.added for hunk in edit.hunks)
        told["lines_removed"] = sum(hunk.removed for hunk in edit.hunks)
        if edit.kind == "update":
            told["at_lines"] = [one.at + 1 for one in placed]
        notes = [f"change {one.hunk.number} fits but for {one.differs}" for one in placed if one.differs]
        if notes:
            told["notes"] = notes
        self.told.append(told)
