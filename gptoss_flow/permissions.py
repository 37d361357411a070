"""Which calls of tools are made: rules by tool and argument, and what they say of a call. Pure.

`deny` beats `ask` beats `allow`. Where `allow` names a tool with patterns and none fits, the call is denied; a
tool that the step grants and no rule names is allowed. A pattern is a glob over the whole value. What is denied or
asked about is so in every spelling that can be told: `./x`, `a/../x`, `/workspace/x`, `5.0`, an argument left out
whose default it is, a command as a list.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
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
    own_files: Templated[bool] | None = None
    """Whether tools may write what the flow is made of: flows, profiles, flow.lock, its own code and schemas; a
    step's word counts for more than its flow's."""


RULES = ("allow", "ask", "deny")
COMMAND_LINES = frozenset({("shell", "command")})
"""Arguments that a shell reads, where they are text."""
OPERATORS = ";&|<>`$()\n\r"
"""With these a command line does more than its first words say."""
_APART = str.maketrans(dict.fromkeys(OPERATORS, "\n"))
NONE = Permissions()


def merged(of_flow: Permissions, of_step: Permissions) -> Permissions:
    """The rules and hosts of both, and the step's word before the flow's."""
    return Permissions.model_construct(
        allow=[*of_flow.allow, *of_step.allow],
        ask=[*of_flow.ask, *of_step.ask],
        deny=[*of_flow.deny, *of_step.deny],
        hosts=list(dict.fromkeys([*of_flow.hosts, *of_step.hosts])),
        network=of_flow.network if of_step.network is None else of_step.network,
        own_files=of_flow.own_files if of_step.own_files is None else of_step.own_files,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of a call; `rule` is the one that said it, for people and for the model."""

    word: Literal["granted", "allowed", "ask", "denied"]
    rule: str = ""


_STRICTNESS = ("granted", "allowed", "ask", "denied")


def judge(
    levels: Sequence[Permissions], tool: str, arguments: Mapping[str, Json], *, workspace: Path | None = None
) -> Verdict:
    """The strictest of what each level says: a flow that runs another binds it too.

    `arguments` as `meant` has them; a path below `workspace` is also what it is relative to that.
    """
    said = [_judge(level, _Call(tool, arguments, workspace)) for level in levels]
    return max(said, key=lambda verdict: _STRICTNESS.index(verdict.word), default=Verdict("granted"))


def meant(tool: Tool, arguments: Mapping[str, Json]) -> dict[str, Json]:
    """The arguments of a call and the defaults of those that it leaves out; null is as good as left out."""
    properties = tool.parameters.get("properties") or {}
    defaults = {name: about["default"] for name, about in properties.items() if _has_default(about)}
    given = {name: value for name, value in arguments.items() if value is not None}
    return {name: value for name, value in {**defaults, **given}.items() if value is not None}


def _has_default(about: Json) -> bool:
    return isinstance(about, Mapping) and "default" in about


def _judge(rules: Permissions, call: _Call) -> Verdict:
    for glob, patterns in _of(rules.deny, call.tool):
        if call.is_like(patterns):
            return Verdict("denied", _shown("deny", glob, patterns))
    for glob, patterns in _of(rules.ask, call.tool):
        if call.is_like(patterns):
            return Verdict("ask", _shown("ask", glob, patterns))
    allowed = [*_of(rules.allow, call.tool)]
    for glob, patterns in allowed:
        if call.is_among(patterns):
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
        # A name with a dot is one tool's: who is granted `server.read` is not granted the server's `read.all`.
        group = [] if "." in name else [tool for key, tool in tools.items() if key.startswith(f"{name}.")]
        found |= {tool.name: tool for tool in group or ([tools[name]] if name in tools else [])}
    return found


def _of(rules: Iterable[Rule], tool: str) -> Iterator[tuple[str, Mapping[str, Pattern]]]:
    return ((glob, patterns) for glob, patterns in flat(rules) if names(glob, tool))


@dataclass(frozen=True, slots=True)
class _Call:
    """A call, to be compared with patterns of its arguments."""

    tool: str
    arguments: Mapping[str, Json]
    workspace: Path | None

    def is_among(self, patterns: Mapping[str, Pattern]) -> bool:
        """Whether it is what is allowed, to the letter."""
        return all(name in self.arguments and self._is(name, _text(glob)) for name, glob in patterns.items())

    def is_like(self, patterns: Mapping[str, Pattern]) -> bool:
        """Whether it is what is forbidden, or to be asked about, in one spelling or another."""
        return all(name in self.arguments and self._is_like(name, _text(glob)) for name, glob in patterns.items())

    def _is(self, name: str, glob: str) -> bool:
        """What is allowed below a folder is not what `docs/../x` is, nor `pytest *` what `pytest; rm x` is."""
        value = _text(self.arguments[name])
        climbs = ".." in value.replace("\\", "/").split("/") and ".." not in glob
        is_line = self._is_line(name) and glob != "*"
        does_more = is_line and any(c in value and c not in glob for c in OPERATORS)
        return fnmatchcase(value, glob) and not climbs and not does_more

    def _is_like(self, name: str, glob: str) -> bool:
        """What is forbidden may not be reached by `a/../x` or `/workspace/x`, nor behind another command."""
        spelled = [*_spellings(self.arguments[name], self.workspace)]
        if self._is_line(name):
            spelled += (part.strip() for part in self.arguments[name].translate(_APART).split("\n"))
        globs = {glob, glob.removeprefix("./"), glob.removeprefix("**/")}
        return any(fnmatchcase(each, one) for each in spelled for one in globs)

    def _is_line(self, name: str) -> bool:
        return (self.tool, name) in COMMAND_LINES and isinstance(self.arguments[name], str)


def _spellings(value: Json, workspace: Path | None) -> Iterator[str]:
    """What else a value may be written as and mean the same to a tool."""
    text = _text(value)
    plain = posixpath.normpath(text)
    yield from (text, plain)
    if workspace is not None and posixpath.isabs(plain):
        for root in (posixpath.normpath(workspace.absolute()), str(workspace.resolve())):
            if plain.startswith(f"{root.rstrip('/')}/"):
                yield posixpath.relpath(plain, root)
    if isinstance(value, list):  # a command as a list of its words
        words = [_text(word) for word in value]
        yield from (" ".join(words), *words)


def _text(value: Json) -> str:
    """A value as it is compared; a number has one spelling."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else json_text(value)


def _shown(key: str, glob: str, patterns: Mapping[str, Pattern]) -> str:
    said = ", ".join(f"{name}: {_text(pattern)}" for name, pattern in patterns.items())
    return f"{key}: {glob} {{{said}}}" if said else f"{key}: {glob}"
