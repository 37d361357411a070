"""What of a workspace tool code may not write, or not even see: what this program or git would run or believe."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.lang.profile_files import profile_files
from gptoss_flow.tools.sandbox.python_home import this_python
from gptoss_flow.tools.workspace import open_at, refusal

OWN_FOLDER = ".gptoss-flow"
"""Records, cached results: what tells the truth of a run is not for its tools."""
GIT = ".git"
"""Its hooks and its configuration name programs that git runs outside."""
PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Guarded:
    """A file or folder of the workspace. It is no link, and must be the same once it is mounted."""

    parts: tuple[str, ...]
    how: Literal["hidden", "read", "pinned"]
    """An empty folder stands in its place; it can be read only; it stays where it is, as what lies in it does."""
    device: int
    inode: int


def checked(workspace: Path, own_files: Sequence[Path] = ()) -> Path:
    """The workspace by its real path. Raises `StepError` where it would hand over too much to tool code."""
    real = Path(os.path.realpath(workspace))
    if not real.is_dir():
        raise refusal(f'the workspace "{one_line(str(workspace))}" is not a folder')
    if (home := _home()) is not None and home.is_relative_to(real):
        raise _too_much(real, "holds your home, which is not for tool code to see")
    for running in running_from():
        if real.is_relative_to(running):
            raise _too_much(real, f"lies in {running}, which is not for tool code to change")
    for own in _believed(own_files):
        if real.is_relative_to(own):
            raise _too_much(real, "is part of what the flow is made of")
    return real


def _home() -> Path | None:
    try:
        return Path(os.path.realpath(Path.home()))
    except RuntimeError:  # Whoever runs us has none.
        return None


def _too_much(workspace: Path, why: str) -> StepError:
    return refusal(f"the workspace {one_line(str(workspace))} {why}; name a project's folder with --workspace")


def running_from() -> list[Path]:
    """What this process runs from."""
    return [Path(os.path.realpath(path)) for path in (str(PACKAGE), *this_python().paths)]


def guarded(workspace: Path, own_files: Sequence[Path] = ()) -> list[Guarded]:
    """What of this workspace, given by its real path, is to be kept; `own_files` too. Raises `StepError`.

    Our own folder is made where there is none, so that tool code can plant none: what lies there is believed.
    """
    _make_own_folder(workspace)
    own = [Path(OWN_FOLDER), *_below(workspace, [Path(os.path.realpath(Path.cwd() / OWN_FOLDER))])]
    kept = [Path(GIT), *_below(workspace, [*running_from(), *_believed(own_files)])]
    # A folder that something is mounted in could still be renamed, and another put in its place.
    above = [folder for path in (*own, *kept) for folder in path.parents if folder.parts]
    wanted: dict[tuple[str, ...], Literal["hidden", "read", "pinned"]] = {
        **{path.parts: "pinned" for path in above},
        **{path.parts: "read" for path in kept},
        **{path.parts: "hidden" for path in own},
    }
    in_order = sorted(wanted, key=lambda parts: (len(parts), parts))  # what is mounted later covers the earlier
    return [
        Guarded(parts, wanted[parts], status.st_dev, status.st_ino)
        for parts in in_order
        if (status := _status(workspace, parts))
    ]


def _believed(own_files: Sequence[Path]) -> list[Path]:
    """Without folders for profiles that hold none: these are anybody's."""
    # Path.is_dir raises where one may not look.
    return [own for own in own_files if not os.path.isdir(own) or profile_files(own)]  # noqa: PTH112


def _make_own_folder(workspace: Path) -> None:
    path = workspace / OWN_FOLDER
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise refusal(f"{one_line(str(path))} is no folder, as ours would be; remove it") from None
    except OSError:  # Nor can tool code make one, then.
        return


def _below(workspace: Path, paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path != workspace and path.is_relative_to(workspace):
            yield path.relative_to(workspace)


def _status(workspace: Path, parts: tuple[str, ...]) -> os.stat_result | None:
    """None where there is nothing, or a link, or neither file nor folder: nothing then is believed of it."""
    try:
        parent = open_at(workspace, parts[:-1], folder=True)
    except OSError:
        return None
    try:
        status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None
    finally:
        os.close(parent)
    return status if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode) else None
