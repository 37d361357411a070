"""Runs inside a sandbox: one call of a user's function, told on standard input, its result on standard output.

The request is JSON `{source, file, module, function, arguments}`: the text of a file, or the name of a module that
is installed there. The reply is JSON `{result}` or `{error}`. What the code prints goes to standard error. Whoever
asked trusts nothing of the reply. The interpreter may be as old as 3.8, and have nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import traceback
import types
from typing import Any


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    replies = os.dup(1)
    os.dup2(2, 1)
    reply = json.dumps(answer(request), allow_nan=False).encode()
    with os.fdopen(replies, "wb") as out:
        out.write(reply)
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads that the code left behind


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        result = called(request)
    except BaseException as error:
        return {"error": said(error, request["file"])}
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return {"error": f"what it gave back is no JSON: {error}"}
    return {"result": result}


def called(request: dict[str, Any]) -> Any:
    sys.modules["gptoss_flow"] = marks()
    sys.modules["gptoss_flow.tool_marks"] = sys.modules["gptoss_flow"]
    function = getattr(module(request), request["function"])
    try:
        typed = importlib.import_module("pydantic").validate_call(function)
    except ImportError:  # its annotations are then for people only
        typed = function
    result = typed(**request["arguments"])
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def module(request: dict[str, Any]) -> Any:
    if request["module"]:
        return importlib.import_module(request["module"])
    name = "gptoss_flow_file"
    found = sys.modules[name] = types.ModuleType(name)
    exec(compile(request["source"], request["file"], "exec", dont_inherit=True), found.__dict__)
    return found


def marks() -> types.ModuleType:
    """What a file of tools imports of us: here its marks mean nothing."""
    found = types.ModuleType("gptoss_flow")
    found.__dict__["tool"] = lambda **marks: lambda function: function
    return found


def said(error: BaseException, file: str) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{text} ({os.path.basename(file)}:{lines[-1]})" if lines else text


if __name__ == "__main__":
    main()
