"""Reads rlogs: bytes of any kind to numbered lines in constant memory, and the header to what it says."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.record.append import record_error
from gptoss_flow.record.rlog_header import Header, read_header
from gptoss_flow.record.rlog_lines import SPACES

STDIN = "-"
LONGEST_LINE = 4 * 2**20
"""Bytes of a line that are looked at; a longer one is read to its end and the rest forgotten."""
LONGEST_HEADER = 2**20
"""Characters of a header that are looked at."""


RawLine = tuple[int, str, bool]
"""A line's number, its text without its end, and whether it was no UTF-8: what was none is U+FFFD then."""


def rlog_files(given: str) -> list[str]:
    """The files that a name stands for: itself, or every `*.rlog` below the folder, sorted.

    Raises `Invalid` where there is none, and `RecordError`.
    """
    if given == STDIN:
        return [given]
    path = Path(given)
    try:
        if path.is_dir():
            found = sorted(str(file) for file in path.rglob("*.rlog") if file.is_file())
            if not found:
                raise Invalid(Problem(None, f'no *.rlog lies in the folder "{given}"', "name a file"))
            return found
        if not path.exists():
            raise Invalid(Problem(None, f'there is no file "{given}"', "check the path"))
    except ValueError:
        raise Invalid(Problem(None, "a path cannot hold a NUL character", "check the path")) from None
    except OSError as error:
        raise record_error("read", path, error) from error
    return [given]


@contextmanager
def open_rlog(name: str) -> Iterator[BinaryIO]:
    """A file to read and to go back in; what can be read only once is kept in a file without a name meanwhile.

    `-` is standard input. Raises `RecordError` where it can't be opened.
    """
    with ExitStack() as stack:
        try:
            given = sys.stdin.buffer if name == STDIN else stack.enter_context(Path(name).open("rb"))
            if name != STDIN and given.seekable():
                file: BinaryIO = given
            else:
                file = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(given, file)
                file.seek(0)
        except OSError as error:
            raise record_error("read", Path(name), error) from error
        yield file


def read_lines(file: BinaryIO, first: int = 1) -> Iterator[RawLine]:
    """The lines from here on, numbered from `first`. Raises `RecordError`.

    They end at LF only; a CR before it belongs to the end.
    """
    number = first
    try:
        while line := file.readline(LONGEST_LINE):
            piece = line
            while len(piece) == LONGEST_LINE and not piece.endswith(b"\n"):
                piece = file.readline(LONGEST_LINE)
            try:
                text = line.decode()
            except UnicodeDecodeError:
                yield number, line_text(line), True
            else:
                if text[-1:] == "\n":
                    text = text[:-2] if text[-2:] == "\r\n" else text[:-1]
                yield number, text, False
            number += 1
    except OSError as error:
        raise record_error("read", Path(str(file.name)), error) from error


def line_text(line: bytes) -> str:
    """The text of a line of bytes, without its end; what is no UTF-8 in it becomes U+FFFD."""
    text = line.decode("utf-8", "replace")
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def read_rlog(file: BinaryIO) -> tuple[Header, Iterator[RawLine]]:
    """The header, and the lines behind it; every line of the file where there is no header.

    A header stands between the first two lines that are `---` but for white space around.
    """
    opened: int | None = None
    inner: list[str] = []
    length = 0
    number = 0
    for number, text, _ in read_lines(file):
        if text.strip(SPACES) == "---":
            if opened is not None:
                header = read_header(inner, opened)
                header.end_line = number
                return header, read_lines(file, number + 1)
            opened = number
        elif opened is not None and length < LONGEST_HEADER:
            inner.append(text)
            length += len(text)
    file.seek(0)
    missing = 'there is no header: no line is "---"'
    if opened is not None:
        missing = 'the header has no end: no second line is "---"'
    if number == 0:
        missing = "the file is empty"
    return Header(line=opened or 1, missing=missing), read_lines(file)
