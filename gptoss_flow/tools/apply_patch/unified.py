"""Reads unified diffs, those of git among them: several files, added, deleted and renamed ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gptoss_flow.tools.apply_patch.edits import Edit, Hunk, Sign, fault, shown

_HEADER = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_RENAME = re.compile(r"rename (from|to) (.+)")
_NO_NEWLINE = "\\ "
_QUOTED = re.compile(rb'\\([abfnrtv"\\]|[0-7]{3})')
_ESCAPES = dict(zip(b'abfnrtv"\\', b'\a\b\f\n\r\t\v"\\', strict=True))
_REGULAR = {"100644": False, "100755": True, "100664": False}
_NOTHING = "/dev/null"


@dataclass(slots=True)
class _Git:
    """What the lines between `diff --git` and the hunks say."""

    line: int
    names: tuple[str, str] | None = None
    rename: list[str] = field(default_factory=lambda: ["", ""])
    is_new: bool = False
    is_gone: bool = False
    executable: bool | None = None


def is_unified(lines: list[str]) -> bool:
    """Whether a text looks like a unified diff: a header of a file or of git's."""
    return any(line.startswith("diff --git ") or _is_file_header(lines, at) for at, line in enumerate(lines))


def parse(lines: list[str]) -> list[Edit]:
    """The edits of a diff; what stands before, between and after its files is passed over. Raises `StepError`."""
    edits: list[Edit] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("diff --git "):
            at = _git_file(lines, at, edits)
        elif _is_file_header(lines, at):
            at = _plain_file(lines, at, _Git(at + 1), edits)
        elif _HEADER.match(line):
            raise fault(at + 1, 'this change belongs to no file; write "--- a/PATH" and "+++ b/PATH" above it')
        else:
            at += 1
    return edits


def _is_file_header(lines: list[str], at: int) -> bool:
    return lines[at].startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ ")


def _git_file(lines: list[str], at: int, edits: list[Edit]) -> int:
    git = _Git(at + 1, names=_both_names(lines[at].removeprefix("diff --git ")))
    at += 1
    while at < len(lines) and not lines[at].startswith("diff --git ") and not _is_file_header(lines, at):
        line = lines[at]
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise fault(at + 1, "binary files are not patched")
        if line.startswith("copy "):
            raise fault(at + 1, "copies are not made; add the file with its lines")
        if renamed := _RENAME.fullmatch(line):
            git.rename[renamed[1] == "to"] = _unquoted(renamed[2])
        elif line.startswith(("new file mode ", "deleted file mode ", "new mode ")):
            mode = line.rpartition(" ")[2]
            if mode not in _REGULAR:
                raise fault(
                    at + 1, f"mode {shown(mode)} is no regular file's; links and submodules are not patched"
                )
            git.is_new |= line.startswith("new file")
            git.is_gone |= line.startswith("deleted")
            git.executable = None if git.is_gone else _REGULAR[mode]
        elif _HEADER.match(line):
            raise fault(at + 1, 'this change has no "--- a/PATH" and "+++ b/PATH" above it')
        at += 1
    if at < len(lines) and _is_file_header(lines, at):
        return _plain_file(lines, at, git, edits)
    old, new = git.rename
    if old and new:
        edits.append(Edit(kind="update", path=old, line=git.line, move_to=new, executable=git.executable))
    elif (git.is_new or git.is_gone or git.executable is not None) and git.names:
        kind = "add" if git.is_new else "delete" if git.is_gone else "update"
        hunks = (Hunk(1, git.line, ()),) if git.is_new else ()
        edits.append(
            Edit(kind=kind, path=git.names[1], line=git.line, hunks=hunks, executable=git.executable)  # type: ignore[arg-type]
        )
    else:
        raise fault(git.line, "this file has no change")
    return at


def _plain_file(lines: list[str], at: int, git: _Git, edits: list[Edit]) -> int:
    """A file from its `---` on."""
    line = at + 1
    old, new = (_unquoted(lines[at + n][4:].partition("\t")[0].rstrip()) for n in (0, 1))
    has_prefixes = old.startswith(("a/", _NOTHING)) and new.startswith(("b/", _NOTHING)) and old != new
    if has_prefixes:
        old, new = (name if name == _NOTHING else name[2:] for name in (old, new))
    elif old == _NOTHING or new == _NOTHING:  # one name alone: its prefix is a guess that git makes too
        old, new = (re.sub(r"\A[ab]/", "", name) if name != _NOTHING else name for name in (old, new))
    elif old != new and old.partition("/")[2] == new.partition("/")[2] != "":  # diff -ru OLD NEW
        old = new = new.partition("/")[2]
    if old == new == _NOTHING or not old or not new:
        raise fault(line, "this file has no name")
    if all(git.rename):
        old, new = git.rename
    at += 2
    hunks: list[Hunk] = []
    while at < len(lines) and lines[at].startswith("@@"):
        hunk, at = _hunk(lines, at, len(hunks) + 1)
        hunks.append(hunk)
    moves = (all(git.rename) or has_prefixes) and old != new
    if _NOTHING in (old, new):
        kind = "add" if old == _NOTHING else "delete"
        edit = Edit(
            kind=kind,  # type: ignore[arg-type]
            path=new if kind == "add" else old,
            line=line,
            hunks=tuple(hunks),
            executable=git.executable,
        )
    else:
        if not hunks and not moves and git.executable is None:
            raise fault(line, 'no "@@ -LINE,COUNT +LINE,COUNT @@" follows, so nothing is changed')
        edit = Edit(
            kind="update",
            path=old if moves else new,
            line=line,
            hunks=tuple(hunks),
            move_to=new if moves else "",
            executable=git.executable,
        )
    edits.append(edit)
    return at


def _hunk(lines: list[str], at: int, number: int) -> tuple[Hunk, int]:
    """A hunk and the line behind it. Its counts say where it ends; where they are wrong, its lines do."""
    first, header = at + 1, _HEADER.match(lines[at])
    left = [int(count or 1) for count in header.group(2, 4)] if header else None
    counted = left is not None
    start = int(header[1]) if header else None
    if header and header[2] == "0":
        start = int(header[1]) + 1  # such a hunk stands behind the line that it names
    found: list[tuple[Sign, str]] = []
    ends_bare: bool | None = None
    blank = 0
    at += 1
    while at < len(lines):
        line = lines[at]
        if line.startswith(_NO_NEWLINE):
            if found and found[-1][0] != "-":
                ends_bare = True
            elif found and ends_bare is None:
                ends_bare = False
            at += 1
            continue
        if line.startswith(("diff --git ", "@@")) or (left != [1, 1] and _is_file_header(lines, at)):
            break
        if (
            left is not None
            and left[0] <= 0
            and left[1] <= 0
            and (line[:1] not in (" ", "+", "-") or line == "-- ")
        ):
            break
        if line == "" and not counted:  # kept lines, if one of the same change follows behind them
            behind = next((n for n in range(at, len(lines)) if lines[n]), len(lines))
            if behind == len(lines) or not _is_of_a_change(lines[behind]):
                break
            found += [(" ", "")] * (behind - at)
            at = behind
            continue
        sign = line[:1] or " "
        if sign not in " +-":
            break
        found.append((sign, line[1:]))  # type: ignore[arg-type]
        blank = 0 if line else blank + 1
        if left is not None:
            left[0] -= sign != "+"
            left[1] -= sign != "-"
        at += 1
    if blank and left is not None and left != [0, 0]:  # where the counts are wrong, empty lines are between hunks
        found = found[: len(found) - blank]
    if not any(sign != " " for sign, _ in found):
        raise fault(first, "this change neither removes nor adds a line")
    cut_short = left is None or max(left) > 0
    if cut_short and at < len(lines) and lines[at] and not _ends_a_file(lines, at):
        raise fault(
            at + 1,
            f'a line of a change begins with " " (kept), "-" (removed) or "+" (added), not {shown(lines[at])}',
        )
    return Hunk(number, first, tuple(found), start=start, ends_bare=ends_bare), at


def _ends_a_file(lines: list[str], at: int) -> bool:
    """Whether what stands there is known to come behind a hunk."""
    return _is_file_header(lines, at) or lines[at].startswith(("diff ", "@@", "Index: ", "===", "-- ", "```"))


def _is_of_a_change(line: str) -> bool:
    return line[:1] in (" ", "+", "-") and not line.startswith("--- ")


def _both_names(text: str) -> tuple[str, str] | None:
    """`a/x b/x`: the two names, as git writes them; None where it cannot be told where the first one ends."""
    if text.startswith('"'):
        match = re.fullmatch(r'("(?:[^"\\]|\\.)*") (.+)', text)
        pair = (match[1], match[2]) if match else None
    else:
        # The names are alike behind their first slashes, so their lengths tell where the second one begins.
        half, with_b = len(text) // 2, (len(text) + text.find("/") - 2) // 2
        places = [half] if text[half : half + 1] == " " else []
        places += [with_b] if with_b > 0 and text.startswith(" b/", with_b) else []
        pair = next(
            (
                (text[:n], text[n + 1 :])
                for n in places
                if text[:n].partition("/")[2] == text[n + 1 :].partition("/")[2]
            ),
            None,
        )
    if pair is None:
        return None
    old, new = map(_unquoted, pair)
    return old.removeprefix("a/"), new.removeprefix("b/")


def _unquoted(name: str) -> str:
    r"""A name as it is: git puts those with odd characters in quotes, `"caf\303\251"`."""
    if len(name) < 2 or not (name.startswith('"') and name.endswith('"')):
        return name
    data = _QUOTED.sub(
        lambda match: bytes([_ESCAPES[match[1][0]] if len(match[1]) == 1 else int(match[1], 8) & 255]),
        name[1:-1].encode("utf-8", "surrogatepass"),
    )
    return data.decode("utf-8", "surrogateescape")
