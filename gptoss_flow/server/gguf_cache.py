"""Keeps what the header of a GGUF file says: to step over a large vocabulary takes a fifth of a second, each time.

A small file for each model, in the user's cache folder. It counts as long as the model is what it was when it was
read: path, size, and times of change. One that is damaged in any way is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from gptoss_flow.events import Json
from gptoss_flow.private_folders import create_private
from gptoss_flow.server.gguf_header import GgufHeader, Omitted, Value, read_header

FORMAT = 1
"""Of what is kept. To be raised when more is read out of a header, or something else."""
MAX_BYTES = 1 << 18
"""No real header says more beside its vocabulary; what does is read again each time."""


def header_of(path: Path, cache_dir: Path) -> GgufHeader:
    """`read_header`, which is spared where its result is known. Raises `BadModelFile`."""
    try:
        identity = _identity(path)
    except OSError:
        return read_header(path)  # which says what is wrong
    kept = cache_dir / "headers" / f"{hashlib.sha256(os.fsencode(identity[1])).hexdigest()[:24]}.json"
    with contextlib.suppress(OSError, ValueError):
        digest, _, body = kept.read_bytes().partition(b"\n")
        if digest == _digest(body) and (said := json.loads(body))["of"] == identity:
            metadata = {key: _value(value) for key, value in said["metadata"].items()}
            return GgufHeader(**said["header"], metadata=metadata)
    header = read_header(path)
    _keep(kept, header, identity)
    return header


def _identity(path: Path) -> list[Json]:
    stat = path.stat()
    return [FORMAT, str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _keep(kept: Path, header: GgufHeader, identity: list[Json]) -> None:
    metadata = {key: _plain(value) for key, value in header.metadata.items()}
    fields = {key: value for key, value in asdict(header).items() if key != "metadata"}
    body = json.dumps({"of": identity, "header": fields, "metadata": metadata}).encode()
    if len(body) > MAX_BYTES:
        return
    with contextlib.suppress(OSError):  # a cache that cannot be written is none
        create_private(kept.parent)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(_digest(body) + b"\n" + body)
        partial.replace(kept)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _plain(value: Value) -> Json:
    if isinstance(value, Omitted):
        return {"omitted": value.length}
    return list(value) if isinstance(value, tuple) else value


def _value(kept: Json) -> Value:
    if isinstance(kept, dict):
        return Omitted(kept["omitted"])
    value: Value = tuple(kept) if isinstance(kept, list) else kept
    return value
