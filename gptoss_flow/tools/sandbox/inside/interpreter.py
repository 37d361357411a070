"""Runs inside a sandbox: executes pieces of Python code one after another in one namespace, like a notebook.

A request is a length and JSON `{nonce, code, keep}` on standard input, which the code itself finds empty; the
reply is JSON `{nonce, value, error}`, a length before it, on descriptor 3. Whoever asked trusts nothing of it.
Nothing but the standard library is there, and the interpreter may be as old as 3.8.
"""

from __future__ import annotations

import ast
import contextlib
import json
import linecache
import os
import struct
import sys
import traceback
import types
from typing import Any

LENGTH = struct.Struct(">I")
FRAMES = 12


def main() -> None:
    requests, replies = os.dup(0), os.dup(3)
    os.close(3)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.path.append("")  # Last: what lies in the workspace stands in for nothing of Python's own.
    sys.argv = [""]
    sys.modules["__main__"] = types.ModuleType("__main__")
    names = sys.modules["__main__"].__dict__
    count = 0
    while True:
        request = json.loads(exactly(requests, LENGTH.unpack(exactly(requests, LENGTH.size))[0]))
        count += 1
        value, error = execute(request["code"], names, f"<call {count}>", request["keep"])
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # The code may have put anything in its place, or closed it.
                stream.flush()
        reply = json.dumps({"nonce": request["nonce"], "value": value, "error": error}).encode()
        written = memoryview(LENGTH.pack(len(reply)) + reply)
        while written:
            written = written[os.write(replies, written) :]


def exactly(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(descriptor, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def execute(code: str, names: dict[str, Any], name: str, keep: int) -> tuple[str | None, str | None]:
    """The last expression's value as text (None where there is none), and the error as text."""
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    try:
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            del tree.body[-1]
        exec(compile(tree, name, "exec"), names)
        if not isinstance(last, ast.Expr):
            return None, None
        value = eval(compile(ast.Expression(last.value), name, "eval"), names)
        if value is None:
            return None, None
        names["_"] = value
        return cut(repr(value), keep), None
    except SystemExit as error:
        return None, f"SystemExit: {cut(str(error), keep)}"
    except BaseException as error:
        return None, cut(told(error, name), keep)


def told(error: BaseException, name: str) -> str:
    """A traceback that begins in the user's code."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != name:
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames, limit=-FRAMES)).rstrip()
    except Exception:  # An exception may raise another where it is to be shown.
        return type(error).__name__


def cut(text: str, keep: int) -> str:
    """Its beginning and its end, with no lone surrogate, which could not be sent."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= keep:
        return text
    return f"{text[: keep // 2]}\n… {len(text) - keep // 2 * 2} characters left out …\n{text[-(keep // 2) :]}"


if __name__ == "__main__":
    main()
