"""From the name of a function, as a flow writes it, to the tool that it is."""

from __future__ import annotations

import os
from collections.abc import Collection
from hashlib import sha256
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.tools.function import FunctionTool, NotAToolError, function_tool
from gptoss_flow.tools.names import FileFunction, ModuleFunction
from gptoss_flow.tools.sandboxed_function import Origin
from gptoss_flow.tools.source import MAX_SOURCE, CannotImportError, import_file, import_module
from gptoss_flow.words import suggest


class UserCode:
    """Imports each file and module once. `folder` is the flow's, `shown` the same as the user wrote it."""

    def __init__(self, folder: Path, shown: Path) -> None:
        self._folder, self._shown = folder, shown
        self._modules: dict[str, tuple[ModuleType, str, str]] = {}
        self._texts: dict[str, str] = {}
        """Of files, by their names as written."""

    def tool(self, named: FileFunction | ModuleFunction, mark: Mark | None) -> FunctionTool:
        """Raises `NotAToolError` with what is wrong: at `mark`, or in the code itself."""
        module, source, code = self._module(named, mark)
        function = getattr(module, named.function, None)
        if function is None:
            said = f'"{source}" has no function "{named.function}"'
            raise NotAToolError(Problem(mark, said, suggest(named.function, _functions_of(module))))
        if isinstance(named, FileFunction):
            origin = Origin(named.function, source, source=self._texts[named.path])
        else:
            origin = Origin(named.function, source, module=named.module)
        return function_tool(function, code=code, origin=origin)

    def _module(self, named: FileFunction | ModuleFunction, mark: Mark | None) -> tuple[ModuleType, str, str]:
        """The module, its file as it is to be shown, and the hash of that."""
        key = named.path if isinstance(named, FileFunction) else named.module
        if key not in self._modules:
            try:
                if isinstance(named, FileFunction):
                    self._modules[key] = self._file(named.path, mark)
                else:
                    self._modules[key] = _installed(named.module)
            except CannotImportError as error:
                hint = "" if error.line else "is its package installed where gptoss-flow is?"
                raise NotAToolError(Problem(mark, error.message, hint)) from None
        return self._modules[key]

    def _file(self, written: str, mark: Mark | None) -> tuple[ModuleType, str, str]:
        path, shown = self._folder / written, os.path.normpath(self._shown / written)
        try:
            if not path.is_file():
                raise NotAToolError(
                    Problem(mark, f"there is no file {shown}", "a file is named relative to the flow's folder")
                )
            text = path.read_bytes()
        except OSError as error:
            raise NotAToolError(Problem(mark, f"cannot read {shown}: {error.strerror}")) from None
        if len(text) > MAX_SOURCE:
            raise NotAToolError(Problem(mark, f"{shown} has more than {MAX_SOURCE >> 20} MiB"))
        module = import_file(path.resolve(), text, shown)
        self._texts[written] = decode_source(text)
        return module, shown, _digest(text)


def _installed(name: str) -> tuple[ModuleType, str, str]:
    module = import_module(name)
    source = getattr(module, "__file__", None)
    if source is None:
        raise CannotImportError(f"{name} is not a module written in Python")
    return module, source, _digest(Path(source).read_bytes())


def _digest(text: bytes) -> str:
    return sha256(text).hexdigest()[:16]


def _functions_of(module: ModuleType) -> Collection[str]:
    own = vars(module).items()
    return [
        name
        for name, value in own
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
