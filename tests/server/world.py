"""What the tests of this folder ask of the system."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import psutil


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test that is a coroutine function."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def is_dead(pid: int) -> bool:
    """Gone, or dead and only not yet reaped by whoever adopted it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def until(claim: Callable[[], bool], timeout_s: float = 20.0) -> float:
    """Wait for the world to come true; how long that took, in seconds."""
    began = time.monotonic()
    while not claim():
        assert time.monotonic() - began < timeout_s, "it never came true"
        os.sched_yield()
    return time.monotonic() - began
