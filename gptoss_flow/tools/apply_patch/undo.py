"""Keeps what files were before a patch, in a folder of this user's own state, so that it can be taken back."""

from __future__ import annotations

import json
import os
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.commit import MAX_FILE_BYTES, Change
from gptoss_flow.tools.workspace import Place, refusal
from gptoss_flow.tools.writing import content_at, require_allowed

KEPT = 50
"""The newest patches of a workspace that can be taken back."""
KEPT_BYTES = 256 << 20


def _folder(context: ToolContext) -> Path:
    """Of this workspace; nothing of it lies in the workspace itself."""
    key = sha256(os.fsencode(os.path.realpath(context.workspace))).hexdigest()[:16]
    return Path(platformdirs.user_state_dir("gptoss-flow")) / "patches" / key


def keep(context: ToolContext, changes: Sequence[Change]) -> str:
    """Write down what takes these changes back, before they are made; its id. Raises `StepError`."""
    identity = secrets.token_hex(6)
    files = [
        {
            "parts": change.place.parts,
            "before": [b64encode(change.before.data).decode(), change.before.mode] if change.before else None,
            "after": sha256(change.after).hexdigest() if change.after is not None else None,
        }
        for change in changes
    ]
    data = json.dumps({"version": 1, "at": time.time(), "files": files}).encode()
    folder = _folder(context)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(folder)
        descriptor = os.open(
            folder / f"{identity}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as failure:
        raise refusal(
            f"nothing was changed: what takes the patch back cannot be kept in {folder}: {failure.strerror}; "
            "set XDG_STATE_HOME to a folder that you may write"
        ) from None
    return identity


def _tidy(folder: Path) -> None:
    """Make room for one more: the newest stay, so many and so large together."""
    sizes = {path: path.stat() for path in folder.glob("*.json")}
    room = KEPT_BYTES
    for number, path in enumerate(sorted(sizes, key=lambda path: -sizes[path].st_mtime)):
        room -= sizes[path].st_size
        if number >= KEPT - 1 or room < 0:
            path.unlink(missing_ok=True)


def taking_back(root: int, context: ToolContext, identity: str) -> list[Change]:
    """The changes that take a patch back. Raises `StepError` where a file is no more as that patch left it."""
    path = _folder(context) / f"{identity}.json"
    try:
        files = json.loads(path.read_bytes())["files"]
    except FileNotFoundError:
        raise refusal(
            f'no patch "{identity}" of this workspace can be taken back; the newest {KEPT} can, once each'
        ) from None
    except (OSError, ValueError, KeyError) as failure:
        raise refusal(f"{path} cannot be read: {failure}") from None
    changes, differing = [], []
    for file in files:
        place = Place(context.workspace, tuple(file["parts"]), "/".join(file["parts"]))
        require_allowed(place, context)
        now = content_at(root, place, MAX_FILE_BYTES)
        if (sha256(now.data).hexdigest() if now else None) != file["after"]:
            differing.append(str(place))
        changes.append(_change(place, now, file["before"]))
    if differing:
        raise refusal(
            f"nothing was changed: {', '.join(differing)} no longer as the patch left it; "
            "undo what came after it first, or write a patch of your own"
        )
    return changes


def _change(place: Place, now: Any, before: Any) -> Change:
    if before is None:
        return Change(place, now, None)
    data, mode = before
    return Change(place, now, b64decode(data), mode, exact=True)


def forget(context: ToolContext, identity: str) -> None:
    with suppress(OSError):
        (_folder(context) / f"{identity}.json").unlink()
