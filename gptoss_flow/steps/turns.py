"""What is decided of a model's calls, without doing any: how they read, whether they may go on. Pure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptoss_flow.arguments import check_arguments
from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text, parse_json
from gptoss_flow.ports import Generation, Tool, ToolCall
from gptoss_flow.words import TOOL_NAME, suggest

MAX_RESULT_CHARS = 32_000
"""Of a tool's result, what a model is given; the record has all of it."""
MOST_SAME = 3
"""How often in a row a model may make the very same call, or the same few; the last of them is the end."""
LONGEST_CYCLE = 4
"""Calls that are taken for the same few where they come again and again."""
MOST_AT_ONCE = 16
"""Calls of one turn; each may be a thread or a process."""
UNNAMED = "unknown"
"""What the record calls a tool whose name is none."""
BARE = {"python": "code"}
"""Tools that a model may call with a text that is no JSON, and the argument which that is."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a conversation with tools may go on; None: however long."""

    turns: int
    calls: int
    tokens: int | None = None
    """Computed and generated, over all turns."""


class Spent:
    """What a conversation has used up."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._turns = self._calls = self._tokens = 0
        self._made: deque[tuple[str, str]] = deque(maxlen=MOST_SAME * LONGEST_CYCLE)

    def take(self, answer: Generation) -> None:
        """Count an answer. Raises `StepError` that names the bound where it wants to go on beyond one."""
        usage, bounds = answer.usage, self._bounds
        self._turns += 1
        self._tokens += usage.get("prompt_tokens", 0) - usage.get("cached_tokens", 0)
        self._tokens += usage.get("completion_tokens", 0)
        if not answer.calls:
            return
        wanted = ", ".join(dict.fromkeys(named(call) for call in answer.calls))
        if self._turns >= bounds.turns:
            raise _beyond("max_turns", f"the model may take {bounds.turns} and wants {wanted} in another")
        self._calls += len(answer.calls)
        if self._calls > bounds.calls:
            raise _beyond("max_tool_calls", f"the model may make {bounds.calls} calls and wants {self._calls}")
        if bounds.tokens is not None and self._tokens > bounds.tokens:
            said = f"the model may use {bounds.tokens} tokens and has used {self._tokens} without an answer"
            raise _beyond("max_total_tokens", said)
        for call in answer.calls:
            self._made.append((named(call), _canonical(call.arguments)))
            if same := repeated(list(self._made)):
                names = ", then ".join(name for name, _ in same)
                said = f"the model called {names} {MOST_SAME} times in a row with the same arguments"
                raise StepError("model", said)


def repeated(made: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fewest calls that these end with, again and again; none where they do not."""
    for length in range(1, min(LONGEST_CYCLE, len(made) // MOST_SAME) + 1):
        last = made[-length:]
        if made[-length * MOST_SAME :] == last * MOST_SAME:
            return last
    return []


def _beyond(bound: str, said: str) -> StepError:
    return StepError("model", f"{bound}: {said}")


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def named(call: ToolCall) -> str:
    """The name of the tool that a call is for, as far as it is a name."""
    return call.name if TOOL_NAME.fullmatch(call.name) else UNNAMED


@dataclass(frozen=True, slots=True)
class Read:
    """A call as it reads: of a tool, with arguments that it takes; or `fault` says why it is none."""

    tool: Tool | None
    arguments: dict[str, Json]
    fault: str = ""
    is_object: bool = True
    """Whether the arguments are an object in JSON at all."""


def read_call(call: ToolCall, granted: Mapping[str, Tool]) -> Read:
    """Judge a call against the tools that the step grants."""
    arguments = _object(call.arguments)
    tool = granted.get(call.name)
    if arguments is None and call.name in BARE and tool is not None and _is_text(call.arguments):
        arguments = {BARE[call.name]: call.arguments}
    if tool is None:
        said = f'there is no tool "{named(call)}"; {suggest(named(call), granted)}'
        return Read(None, arguments or {}, said, arguments is not None)
    if arguments is None:
        return Read(tool, {}, "its arguments are not an object in JSON", False)
    problems = check_arguments(tool, arguments)
    return Read(tool, arguments, "; ".join(map(str, problems)))


def _object(text: str) -> dict[str, Json] | None:
    """The arguments, where they are an object in JSON that text can say."""
    try:
        value = parse_json(text) if text.strip() else {}
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_text(text: str) -> bool:
    """Whether any encoding can say it: a lone surrogate is half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def batches(calls: Sequence[Read]) -> list[list[int]]:
    """Which calls of a turn are made at once: those that change nothing, with none that does between them."""
    found: list[list[int]] = []
    is_open = False
    for index, call in enumerate(calls):
        is_pure = call.tool is None or call.tool.effect == "pure"
        if is_pure and is_open and len(found[-1]) < MOST_AT_ONCE:
            found[-1].append(index)
        else:
            found.append([index])
        is_open = is_pure
    return found


def shown_result(result: Json) -> str:
    """What a model is told that a tool gave."""
    return _capped(json_text(result))


def shown_error(error: str) -> str:
    """What a model is told that went wrong with its call."""
    return _capped(f"error: {error}")


def _capped(text: str) -> str:
    if len(text) <= MAX_RESULT_CHARS:
        return text
    return (
        f"{text[:MAX_RESULT_CHARS]}\n[cut: these are the first {MAX_RESULT_CHARS:,} of {len(text):,} characters]"
    )
