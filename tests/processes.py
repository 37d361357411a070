"""What a command has left behind: processes that have to do with a folder."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that works in this folder, or has it in its command line or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [process.cwd(), *process.cmdline(), *process.environ().values()]
        except psutil.Error:  # it has just ended, or it is not ours to look at
            continue
        if any(str(folder) in text for text in told):
            found.append(process)
    return found


def command_lines_of_children() -> list[str]:
    """Of all that this process has started; one that has ended and was not taken up yet has none."""
    told = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            told.append(" ".join(process.cmdline()))
    return told


def gone_after(folder: Path, timeout_s: float = 10.0) -> float:
    """How long it takes until no process has to do with the folder, in seconds. One that stays is a failure."""
    began = time.monotonic()
    while left := processes_of(folder):
        assert time.monotonic() - began < timeout_s, f"left after {timeout_s:.0f} s: {left}"
        psutil.wait_procs(left, timeout=0.02)
    return time.monotonic() - began
