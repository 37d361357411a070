"""A file's text, or why it is none: regular files only, bounded, UTF-8, nothing in it that an eye cannot see."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.escape import visible
from gptoss_flow.lang.marks import Lines

# Line and paragraph separators end a line in YAML 1.1 and not in 1.2; the bidirectional controls can make a line
# look like another one; the last are no characters.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
    "|\r(?!\n)"
)


def read_bytes(path: Path, shown: str, limit: int) -> bytes:
    """A regular file's content. Raises `Invalid`; `shown` is what messages call the file."""
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise _unreadable(shown, f"it is {what}")
            if status.st_size > limit:
                raise _too_large(shown, limit)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise Invalid(Problem(None, f'there is no file "{shown}"', "check the path")) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unreadable(shown, reason) from None


def decode(text: str | bytes, source: str, limit: int) -> str:
    """The text without a byte order mark. Raises `Invalid` for what is too large, no UTF-8, or holds controls."""
    if len(text) > limit:
        raise _too_large(source, limit)
    if isinstance(text, bytes):
        text = _from_utf8(text, source)
    elif not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > limit:
        raise _too_large(source, limit)
    text = text.removeprefix("\ufeff")
    if match := _FORBIDDEN.search(text):
        raise Invalid(_forbidden(match[0], Lines(source, text).at(match.start())))
    return text


def _unreadable(shown: str, reason: str) -> Invalid:
    return Invalid(Problem(None, f'cannot read "{shown}": {reason}', "give the path of a YAML file"))


def _too_large(source: str, limit: int) -> Invalid:
    return Invalid(Problem(Mark(source, 1, 1), "the file is too large", f"at most {limit / 2**20:g} MiB are read"))


def _from_utf8(content: bytes, source: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Invalid(Problem(Mark(source, 1, 1), "the file is UTF-16", "save it as UTF-8"))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        said = f"the byte 0x{content[error.start]:02x} is not UTF-8"
        raise Invalid(Problem(Lines(source, good).at(len(good)), said, "save the file as UTF-8")) from None


def _forbidden(char: str, place: Mark) -> Problem:
    if char == "\r":
        return Problem(place, "a carriage return alone ends no line", "end lines with \\n or \\r\\n")
    if char == "\0":
        return Problem(place, "a NUL character is not allowed", "this is not a text file")
    if "\ud800" <= char <= "\udfff":
        return Problem(place, f"{visible(char)} is half a character", "save the file as UTF-8")
    what = "control character" if char < "\xa0" else "invisible character"
    return Problem(
        place, f"the {what} {visible(char)} is not allowed", f'write "{visible(char)}" in double quotes'
    )
