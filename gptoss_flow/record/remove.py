"""Removes the record of a run: a folder that is nothing else, of a run that nobody writes."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from gptoss_flow.errors import RecordError
from gptoss_flow.record.append import record_error
from gptoss_flow.record.folder import EVENTS, RunFolder, is_run_id


def remove_run(folder: Path) -> None:
    """Raises `RecordError` for a run that is being written, and for whatever is no run's own folder."""
    if not is_run_folder(folder):
        raise RecordError(f"{folder} is not the folder of a run: it stays")
    lock = RunFolder(folder)
    try:
        shutil.rmtree(folder)  # which follows no symbolic link
    except OSError as error:
        raise record_error("remove", folder, error) from error
    finally:
        lock.close()


def is_run_folder(folder: Path) -> bool:
    """Whether this is `…/runs/<run id>` with a journal in it, or with nothing yet, and no link on the way."""
    if not is_run_id(folder.name) or folder.parent.name != "runs":
        return False
    if any(path.is_symlink() or not path.is_dir() for path in (folder.parent.parent, folder.parent, folder)):
        return False
    journal = folder / EVENTS
    if journal.is_symlink():
        return False
    try:
        return journal.is_file() or {path.name for path in folder.iterdir()} <= {"lock"}
    except OSError:
        return False


def size_bytes(folder: Path) -> int:
    """What the files of a run take, links not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(path, name).lstat().st_size
    return total
