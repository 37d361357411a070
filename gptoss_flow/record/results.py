"""The store of results that later runs may reuse: `.gptoss-flow/cache/ab/<hash>.json`, one file a result.

A file holds the whole key beside the result, and a checksum of both: what was cut or changed is no hit. (Whoever
may write into the folder may put a result there, as they may change the flow beside it.) Nothing here ever fails a
run: what can't be read or kept is run again.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gptoss_flow.events import Json
from gptoss_flow.record.append import open_private
from gptoss_flow.record.folder import STATE_FOLDER, make_private

LARGEST_RESULT = 16 * 2**20
"""Bytes. A larger result is not kept, and a larger file is none of ours."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A step's result as an earlier run had it."""

    output: Json
    fields: dict[str, Json]
    run_id: str


class ResultStore:
    """The results below one project's `.gptoss-flow`."""

    def __init__(self, base: Path) -> None:
        self._folder = base / STATE_FOLDER / "cache"

    def get(self, key: Mapping[str, str]) -> StoredResult | None:
        """The result that is stored under exactly this key."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            path = self._path(key)
            if path.stat().st_size > LARGEST_RESULT:
                return None
            stored = json.loads(path.read_bytes())
            if not isinstance(stored, dict):
                return None
            said = stored.pop("sha256")
            if stored["key"] == dict(key) and said == _checksum(stored):
                return StoredResult(stored["output"], dict(stored["fields"]), str(stored["run"]))
        return None

    def put(self, key: Mapping[str, str], result: StoredResult) -> bool:
        """Whether it could be kept; written beside and renamed, so that no reader sees a half."""
        stored: dict[str, Json] = {
            "key": dict(key), "run": result.run_id, "output": result.output, "fields": result.fields,
        }  # fmt: skip
        with suppress(OSError, ValueError, TypeError, RecursionError):
            data = json.dumps({**stored, "sha256": _checksum(stored)}).encode()
            if len(data) > LARGEST_RESULT:
                return False
            path = self._path(key)
            self._folder.parent.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder.parent, self._folder, path.parent):
                make_private(folder)
            beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            try:
                with os.fdopen(open_private(beside), "wb") as file:
                    file.write(data)
                beside.replace(path)
            except OSError:
                beside.unlink(missing_ok=True)
                return False
            return True
        return False

    def _path(self, key: Mapping[str, str]) -> Path:
        name = sha256(_canonical(dict(key))).hexdigest()
        return self._folder / name[:2] / f"{name}.json"


def _checksum(stored: Mapping[str, Json]) -> str:
    return sha256(_canonical(stored)).hexdigest()


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
