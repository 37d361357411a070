"""Looks at one model file, all its parts included: a `ModelFile` that can be loaded, or why it is `Missing`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.server import gguf_cache, gguf_header
from gptoss_flow.server.gguf_header import BadModelFile, GgufHeader

Cause = Literal[gguf_header.Cause, "incomplete", "wrong_architecture", "too_large", "not_fetched", "not_built"]

_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf")
_MAX_PARTS = 1000
_HINTS: Mapping[gguf_header.Cause, str] = {
    "missing": "correct the path",
    "unreadable": "check its permissions",
    "directory": "name the GGUF file, or use model.dir with model.file",
    "empty": "fetch the file again",
    "not_gguf": "name a file in llama.cpp's GGUF format",
    "truncated": "fetch the file again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that is there, looks whole and can be loaded."""

    path: Path
    """Of a model in parts, the first."""
    name: str
    """A short name for people: the file's stem without the number of its part."""
    why: str
    """Why this one was taken, to stand in brackets behind its path."""
    size_bytes: int
    """Of all parts."""
    architecture: str
    """`general.architecture` of its header."""
    headers: tuple[GgufHeader, ...] = field(default=(), compare=False, repr=False)
    """Of each part."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no model, in a sentence, and what to do about it."""

    cause: Cause
    message: str
    hint: str = ""
    key: str = ""
    """The key of `model` that it is about, where that is not the one that says where the file comes from."""
    named_by_user: bool = False
    """The user named this very model in the environment: it is taken or is an error, never quietly another one."""

    @property
    def is_absence(self) -> bool:
        """It is simply not here, so another alternative may be taken; anything else is to be mended."""
        return not self.named_by_user and self.cause in ("missing", "too_large", "not_fetched", "not_built")

    @property
    def may_be_had(self) -> bool:
        """It only has to be fetched, or assembled."""
        return self.cause in ("not_fetched", "not_built")

    def error(self) -> Unavailable:
        return Unavailable(Problem(None, self.message, self.hint))


def inspect_model(
    path: Path, why: str, architecture: str = "", *, cache_dir: Path | None = None
) -> ModelFile | Missing:
    """Check a file and, of a model in parts, every part; and its architecture, where one is given.

    `cache_dir`: where it is kept what the headers say, so that the same file need not be read again.
    """
    parts = parts_of(path)
    absent = [part for part in parts if not part.exists()]
    if absent and len(parts) > 1 and path not in absent:
        message = f"{path} is one of {len(parts)} parts, and {absent[0].name} is not beside it"
        return Missing("incomplete", message, "fetch the missing part")
    headers = []
    for part in parts:
        try:
            headers.append(gguf_cache.header_of(part, cache_dir) if cache_dir else gguf_header.read_header(part))
        except BadModelFile as error:
            return Missing(error.cause, str(error), _HINTS[error.cause])
    found = headers[0].architecture
    if architecture and found != architecture:
        shown = "".join(letter for letter in found if letter.isprintable()) or "unknown"
        message = f"{path} is a model of the architecture {shown}, not {architecture}"
        return Missing("wrong_architecture", message, "name another file, or use a profile with model.path")
    match = _PART.fullmatch(path.name)
    return ModelFile(
        path=parts[0],
        name=match["stem"] if match else path.stem,
        why=why,
        size_bytes=sum(header.size_bytes for header in headers),
        architecture=found,
        headers=tuple(headers),
    )


def parts_of(path: Path) -> list[Path]:
    """All parts of a model that is named by one of them: `x-00001-of-00003.gguf`, …; else the file alone."""
    match = _PART.fullmatch(path.name)
    if match is None or not 1 < (count := int(match["parts"])) <= _MAX_PARTS:
        return [path]
    return [
        path.with_name(f"{match['stem']}-{number:05}-of-{match['parts']}.gguf") for number in range(1, count + 1)
    ]


def is_later_part(name: str) -> bool:
    """Whether a file name is that of a part that is not the first."""
    match = _PART.fullmatch(name)
    return match is not None and match["part"] != "00001"


def too_large(found: ModelFile, memory_bytes: int) -> Missing:
    """Of a model whose file alone is larger than the memory."""
    needed, there = f"{found.size_bytes / 1e9:.1f} GB", f"{memory_bytes / 1e9:.1f} GB"
    message = f"{found.path} needs {needed} and this machine has {there} of memory"
    return Missing("too_large", message, "take a smaller model or quantisation")
