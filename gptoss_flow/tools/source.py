"""Imports the Python code that a flow names, and nothing else: a file beside the flow, or an installed module."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from gptoss_flow.escape import one_line
from gptoss_flow.tools.quiet import nothing_on_stdout

MAX_SOURCE = 4 << 20


class CannotImportError(Exception):
    """What a flow names cannot be imported. `path` and `line` are the place in the code, where there is one."""

    def __init__(self, message: str, path: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.path, self.line = path, line


def import_file(path: Path, text: bytes, shown: str) -> ModuleType:
    """Run a file as a module of its own. What is run is `text`, whatever has become of the file.

    `shown` is its name in messages.

    The module is found by nobody else's import, and its neighbours are not found by its own: of what lies in
    the working folder or beside the flow, only what the flow names is run.
    """
    name = f"gptoss_flow_file_{sha256(str(path).encode()).hexdigest()[:16]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    sys.modules[name] = module  # for what looks a class up by the name of its module: dataclasses, annotations
    try:
        with _told(shown, str(path)):
            code = compile(text, str(path), "exec", dont_inherit=True)
            exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def import_module(name: str) -> ModuleType:
    """Import an installed module: never one that only the working folder has."""
    with _told(name), _without_working_folder():
        return importlib.import_module(name)


@contextmanager
def _without_working_folder() -> Iterator[None]:
    """`''` in `sys.path` means the working folder, as Python has it where a program was typed or piped in."""
    places = [i for i, entry in enumerate(sys.path) if entry == ""]
    for i in reversed(places):
        del sys.path[i]
    try:
        yield
    finally:
        for i in places:
            sys.path.insert(i, "")


@contextmanager
def _told(what: str, file: str = "") -> Iterator[None]:
    try:
        with nothing_on_stdout():
            yield
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, SyntaxError):
            path, line, said = error.filename or "", error.lineno or 0, f"SyntaxError: {error.msg}"
        else:
            frames = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in frames if not frame.filename.startswith("<frozen ") and _is_not_ours(frame)]
            last = own[-1] if own else None
            path, line = (last.filename, last.lineno or 0) if last else ("", 0)
        path = what if path == file else path
        where = f" ({path}:{line})" if path and line else ""
        raise CannotImportError(f"{what} cannot be imported: {one_line(said)}{where}", path, line) from error


def _is_not_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename not in (__file__, importlib.__file__)
