"""The mark with which an author says of a Python function what it is as a tool: `@tool(effect="pure")`.

It changes nothing of the function. A leaf, so that a file of tools is quick to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, get_args, overload

F = TypeVar("F", bound=Callable[..., Any])
Effect: TypeAlias = Literal["pure", "idempotent", "once"]
"""What a resumed run may do again: `once` is never silently repeated."""

_ATTRIBUTE = "__gptoss_flow_tool__"


@dataclass(frozen=True, slots=True)
class ToolMark:
    """What is declared of a function. `once`: resume never repeats its call silently."""

    effect: Effect = "once"


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, effect: Effect = "once") -> Callable[[F], F]: ...
def tool(function: F | None = None, /, *, effect: Effect = "once") -> F | Callable[[F], F]:
    """Declare what resume may do with a function's calls: `pure`, `idempotent`, or `once` (as without this)."""
    if effect not in get_args(Effect):
        raise ValueError(f'"{effect}" is not an effect; allowed: pure, idempotent, once')

    def mark(function: F) -> F:
        setattr(function, _ATTRIBUTE, ToolMark(effect))
        return function

    return mark if function is None else mark(function)


def mark_of(function: Callable[..., Any]) -> ToolMark:
    """What is declared of a function; the defaults where nothing is."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, ToolMark) else ToolMark()
