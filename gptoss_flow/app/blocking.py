"""What works in an event loop, for programs that have none of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def blocking(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The same function, called and waited for; Ctrl-C ends it as a cancelled task does."""

    @wraps(work)
    def called(*args: P.args, **given: P.kwargs) -> T:
        return asyncio.run(work(*args, **given))

    called.__name__ = called.__qualname__ = f"{work.__name__}_sync"
    called.__doc__ = (
        f"`{work.__name__}` for a program without an event loop of its own; "
        "Ctrl-C ends the run as a cancelled task does."
    )
    return called
