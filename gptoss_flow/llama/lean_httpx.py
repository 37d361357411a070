"""httpx without the command line that it brings along: click, rich and pygments cost 100 ms at each start."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

_COMMAND_LINE = "httpx._main"

if "httpx" not in sys.modules:
    # None makes its import fail, which httpx is prepared for.
    sys.modules[_COMMAND_LINE] = cast(ModuleType, None)
import httpx  # noqa: E402

if sys.modules.get(_COMMAND_LINE, sys) is None:
    del sys.modules[_COMMAND_LINE]

__all__ = ["httpx"]
