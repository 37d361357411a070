"""Keeps what the user's own Python code prints off standard output, where a run's outputs stand."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_lock = threading.Lock()
_inside = 0
_before: TextIO | None = None


@contextmanager
def nothing_on_stdout() -> Iterator[None]:
    """While anybody is inside, `print` goes to standard error."""
    global _inside, _before
    with _lock:
        if not _inside:
            _before, sys.stdout = sys.stdout, sys.stderr
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _before is not None:
                sys.stdout, _before = _before, None
