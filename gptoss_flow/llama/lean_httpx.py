"""httpx without the command line that it brings along: click, rich and pygments cost 100 ms at each start."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from types import ModuleType
from typing import cast

_COMMAND_LINE = "httpx._main"
_LATER = ("httpcore", "anyio._backends._asyncio")
"""What httpx imports with its first client and its first request: that takes 70 ms."""

if "httpx" not in sys.modules:
    # None makes its import fail, which httpx is prepared for.
    sys.modules[_COMMAND_LINE] = cast(ModuleType, None)
import httpx  # noqa: E402

if sys.modules.get(_COMMAND_LINE, sys) is None:
    del sys.modules[_COMMAND_LINE]

__all__ = ["httpx", "preload"]


def preload() -> threading.Thread:
    """Import in a thread what httpx leaves for later: a server starts meanwhile, and is then asked at once."""
    thread = threading.Thread(target=_import_later, name="http-client", daemon=True)
    thread.start()
    return thread


def _import_later() -> None:
    for name in _LATER:
        with contextlib.suppress(ImportError):  # another httpx may be made of other parts
            importlib.import_module(name)
