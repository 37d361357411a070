"""Files that a command writes for its user: looked at before the work, written after it."""

from __future__ import annotations

from gptoss_flow.errors import FlowError, Invalid, Problem
from gptoss_flow.user_path import user_path


def check_out(*paths: str | None) -> None:
    """That there can be a file by each of these names. Raises `Invalid`."""
    for path in paths:
        if path is None or path == "-":
            continue
        try:
            if user_path(path).is_dir():
                raise Invalid(Problem(None, f"{path} is a folder", "name a file in it"))
            if not (folder := user_path(path).parent).is_dir():
                raise Invalid(f"{path}: there is no folder {folder}")
        except OSError as error:  # of a name that is too long
            raise Invalid(f"{path}: {error.strerror}") from None


def write_out(text: str, path: str) -> None:
    """Raises `FlowError`."""
    try:
        user_path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FlowError(f"cannot write {path}: {error.strerror}; it is in the run's record") from None
