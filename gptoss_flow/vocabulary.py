"""The vocabulary of gpt-oss, `o200k_base`: unpacks the copy that ships in this package, once, without network."""

from __future__ import annotations

import base64
import hashlib
import lzma
import os
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from platformdirs import user_cache_path

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.private_folders import create_private

VARIABLE = "TIKTOKEN_ENCODINGS_BASE"
"""Names a folder that holds the table; openai-harmony reads it, and downloads where it is not set."""
FILE = "o200k_base.tiktoken"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

FIRST_CONTROL = 199_998
"""Ids from here on are control tokens; below, an id is the rank of its bytes in the table."""
SIZE = 201_088


# Bytes that print are themselves, the others are the characters from U+0100 on.
_PRINTING = {*range(33, 127), *range(161, 173), *range(174, 256)}
_CHARACTERS = {byte: 256 + i for i, byte in enumerate(b for b in range(256) if b not in _PRINTING)}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}


def table() -> bytes:
    """The table as tiktoken writes it: one `base64(bytes) rank` a line, 199,998 lines."""
    packed = resources.files("gptoss_flow").joinpath("data", FILE + ".xz").read_bytes()
    return _checked(lzma.decompress(packed), f"the package's own {FILE}.xz")


def ranks() -> dict[bytes, int]:
    """Bytes to token id, for every token that is not a control token."""
    return {base64.b64decode(text): int(rank) for text, rank in (line.split() for line in table().splitlines())}


def provide(cache_dir: Path | None = None) -> Path:
    """A folder that holds the table: the one that the user names, else our cache, filled where need be.

    Raises `Unavailable` where the named folder does not hold it or the cache cannot be written.
    """
    if named := os.environ.get(VARIABLE):
        if not (Path(named) / FILE).is_file():
            said = f"{VARIABLE} names {named}, which holds no {FILE}"
            raise Unavailable(Problem(None, said, "put the file there, or unset the variable to use our own copy"))
        return Path(named)
    folder = (cache_dir or user_cache_path("gptoss-flow")) / "vocabulary"
    path = folder / FILE
    try:
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
            return folder
        write_atomically(path, table())
    except OSError as error:
        said = f"cannot write the vocabulary to {folder}: {error.strerror}"
        hint = f"set XDG_CACHE_HOME to a folder of yours, or {VARIABLE} to one that holds {FILE}"
        raise Unavailable(Problem(None, said, hint)) from error
    return folder


def of_model(tokens: Sequence[str], name: str) -> bytes:
    """The table, rebuilt from the tokens that a gpt-oss model file lists: an id is a rank. `name`: the model's.

    Raises `Unavailable` where they are another vocabulary's.
    """
    lines = []
    for rank, token in enumerate(tokens[:FIRST_CONTROL]):
        try:
            raw = token.translate(_BYTES).encode("latin-1")
        except UnicodeEncodeError:
            break
        lines.append(base64.b64encode(raw) + b" %d\n" % rank)
    data = b"".join(lines)
    if hashlib.sha256(data).hexdigest() != SHA256:
        said = f"the vocabulary of {name} is not that of gpt-oss"
        raise Unavailable(Problem(None, said, "name a model file of gpt-oss, unchanged by whoever converted it"))
    return data


def spelled(token: bytes) -> str:
    """A token as GGUF files have it, in GPT-2's way: every byte is a character that prints."""
    return token.decode("latin-1").translate(_CHARACTERS)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none, whoever else writes it at the same time."""
    create_private(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _checked(data: bytes, what: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise Unavailable(
            Problem(None, f"{what} is damaged (its sha256 is not {SHA256[:12]}…)", "install it again")
        )
    return data
