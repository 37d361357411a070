"""The embedded engine: llama.cpp's own HTTP server inside the Python wheel xllamacpp, as a process of its own.

Run by path with its parameters as one line of JSON on standard input (so that the key is in no argument list):
`{"set": {"n_ctx": 8192, "model.path": …}, "lora": […]}`: names as in xllamacpp's `CommonParams`, an enum's value
by the end of its name, `name@file` for the text of a file.
The end of standard input means that the guardian is dead: the process ends at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import xllamacpp

GRACE_S = 1.0


def apply(params: Any, name: str, value: Any) -> None:
    """Set the attribute with this dotted name."""
    if name.endswith("@file"):
        name, value = name.removesuffix("@file"), Path(value).read_text("utf-8")
    *path, last = name.split(".")
    for part in path:
        params = getattr(params, part)
    present = getattr(params, last)
    if isinstance(value, str) and hasattr(type(present), "__members__"):
        members = type(present).__members__
        value = members[min((key for key in members if key.endswith("_" + value)), key=len)]
    elif isinstance(present, set):
        value = set(value)
    setattr(params, last, value)


def lora_adapters(adapters: list[dict[str, Any]]) -> list[Any]:
    """xllamacpp's objects for `{path, scale}`."""
    made = []
    for adapter in adapters:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path, info.scale = adapter["path"], adapter["scale"]
        made.append(info)
    return made


def end_with_stdin() -> None:
    # Not through sys.stdin: a thread that waits in there cannot be left behind when the interpreter ends.
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    job = json.loads(sys.stdin.buffer.readline())
    params = xllamacpp.CommonParams()
    for name, value in job["set"].items():
        apply(params, name, value)
    if job.get("lora"):
        params.lora_adapters = lora_adapters(job["lora"])
    threading.Thread(target=end_with_stdin, daemon=True).start()
    # Until the model is loaded SIGTERM keeps its default action: no Python handler can run meanwhile.
    server = xllamacpp.Server(params)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    # Somebody's open stream may hold the server up: a second SIGTERM, or the alarm's default action, ends it then.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)
    del server


if __name__ == "__main__":
    main()
