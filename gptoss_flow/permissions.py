"""Which calls of tools are made: rules by tool and argument, and what they say of a call. Pure.

`deny` beats `ask` beats `allow`. Where `allow` names a tool with patterns and none fits, the call is denied; a
tool that the step grants and no rule names is allowed. A pattern is a glob over the whole value.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from gptoss_flow.events import Json
from gptoss_flow.fields import Strict, Templated, json_text
from gptoss_flow.ports import Tool

Pattern = str | int | float | bool
Rule = (
    Annotated[str, Field(min_length=1)]
    | Annotated[dict[str, Annotated[dict[str, Pattern], Field(min_length=1)]], Field(min_length=1)]
)
"""A tool's glob (`shell`, `browser.*`), or a mapping of such to patterns of arguments, all of which must fit."""


class Permissions(Strict):
    """Which calls of tools are made, and what tools may reach beyond the workspace."""

    allow: list[Rule] = []
    """Calls that are made. Where a tool stands here with patterns only, its other calls are denied."""
    ask: list[Rule] = []
    """Calls that a person at the terminal decides; without one they are denied."""
    deny: list[Rule] = []
    """Calls that are refused."""
    hosts: list[Annotated[str, Field(min_length=1)]] = []
    """Hosts that tools may ask: `example.org`, `*.example.org`, private ones only as `127.0.0.1:8080`."""
    network: Templated[bool] | None = None
    """Whether tool code in the sandbox may use the network; a step's word counts for more than its flow's."""


RULES = ("allow", "ask", "deny")
COMMAND_LINES = frozenset({("shell", "command")})
"""Arguments that a shell reads, where they are text."""
OPERATORS = ";&|<>`$()\n\r"
"""With these a command line does more than its first words say."""
_APART = str.maketrans(dict.fromkeys(OPERATORS, "\n"))
NONE = Permissions()


def merged(of_flow: Permissions, of_step: Permissions) -> Permissions:
    """The rules and hosts of both."""
    return Permissions.model_construct(
        allow=[*of_flow.allow, *of_step.allow],
        ask=[*of_flow.ask, *of_step.ask],
        deny=[*of_flow.deny, *of_step.deny],
        hosts=list(dict.fromkeys([*of_flow.hosts, *of_step.hosts])),
        network=of_flow.network if of_step.network is None else of_step.network,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of a call; `rule` is the one that said it, for people and for the model."""

    word: Literal["granted", "allowed", "ask", "denied"]
    rule: str = ""


_STRICTNESS = ("granted", "allowed", "ask", "denied")


def judge(levels: Sequence[Permissions], tool: str, arguments: Mapping[str, Json]) -> Verdict:
    """The strictest of what each level says: a flow that runs another binds it too."""
    said = [_judge(level, tool, arguments) for level in levels]
    return max(said, key=lambda verdict: _STRICTNESS.index(verdict.word), default=Verdict("granted"))


def _judge(rules: Permissions, tool: str, arguments: Mapping[str, Json]) -> Verdict:
    for glob, patterns in _of(rules.deny, tool):
        if _fits(tool, patterns, arguments, _is_like):
            return Verdict("denied", _shown("deny", glob, patterns))
    for glob, patterns in _of(rules.ask, tool):
        if _fits(tool, patterns, arguments, _is_like):
            return Verdict("ask", _shown("ask", glob, patterns))
    allowed = [*_of(rules.allow, tool)]
    for glob, patterns in allowed:
        if _fits(tool, patterns, arguments, _is):
            return Verdict("allowed", _shown("allow", glob, patterns))
    if allowed:
        return Verdict("denied", " or ".join(_shown("allow", glob, patterns) for glob, patterns in allowed))
    return Verdict("granted")


def flat(rules: Iterable[Rule]) -> Iterator[tuple[str, Mapping[str, Pattern]]]:
    """Each tool's glob with its patterns; without any where the tool stands alone."""
    for rule in rules:
        yield from [(rule, {})] if isinstance(rule, str) else rule.items()


def names(glob: str, tool: str) -> bool:
    """Whether a rule's glob means this tool; a bare `browser` means `browser.open` too."""
    return fnmatchcase(tool, glob) or fnmatchcase(tool.partition(".")[0], glob)


def granted(names: Iterable[str], tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """The tools that a step's `tools` mean, by what a model calls them: one by its name, or all of a group."""
    found: dict[str, Tool] = {}
    for name in names:
        group = [tool for key, tool in tools.items() if key.startswith(f"{name}.")]
        found |= {tool.name: tool for tool in group or ([tools[name]] if name in tools else [])}
    return found


def _of(rules: Iterable[Rule], tool: str) -> Iterator[tuple[str, Mapping[str, Pattern]]]:
    return ((glob, patterns) for glob, patterns in flat(rules) if names(glob, tool))


def _fits(
    tool: str,
    patterns: Mapping[str, Pattern],
    arguments: Mapping[str, Json],
    fits: Callable[[str, str, bool], bool],
) -> bool:
    return all(
        name in arguments
        and fits(
            json_text(arguments[name]),
            json_text(pattern),
            (tool, name) in COMMAND_LINES and isinstance(arguments[name], str),
        )
        for name, pattern in patterns.items()
    )


def _is(value: str, pattern: str, is_line: bool) -> bool:
    """What is allowed below a folder is not what `docs/../x` is, nor `pytest *` what `pytest; rm x` is."""
    climbs = ".." in value.replace("\\", "/").split("/") and ".." not in pattern
    does_more = is_line and pattern != "*" and any(c in value and c not in pattern for c in OPERATORS)
    return fnmatchcase(value, pattern) and not climbs and not does_more


def _is_like(value: str, pattern: str, is_line: bool) -> bool:
    """What is forbidden may not be reached by `./x` or `a/../x`, nor behind another command on its line."""
    parts = value.translate(_APART).split("\n") if is_line else []
    spelled = (value, posixpath.normpath(value), *(part.strip() for part in parts))
    return any(fnmatchcase(each, pattern) for each in spelled)


def _shown(key: str, glob: str, patterns: Mapping[str, Pattern]) -> str:
    said = ", ".join(f"{name}: {json_text(pattern)}" for name, pattern in patterns.items())
    return f"{key}: {glob} {{{said}}}" if said else f"{key}: {glob}"
