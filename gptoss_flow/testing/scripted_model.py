"""Models that answer from a file instead of a server: `run --model scripted:replies.yaml`, and tests of steps."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gptoss_flow import metrics
from gptoss_flow.errors import Invalid, StepError
from gptoss_flow.events import Channel
from gptoss_flow.fields import Duration, Strict
from gptoss_flow.lang.document import read_document
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.patterns import compile_pattern
from gptoss_flow.ports import (
    Clock,
    Generation,
    Message,
    Model,
    OnText,
    PromptRequest,
    RenderedPrompt,
    ToolCall,
    continued,
)

SLOTS = 4
"""How many prompts are answered at once."""


class Failure(Strict):
    """A failure in place of an answer."""

    kind: Literal["timeout", "server", "model", "schema", "check", "tool"] = "model"
    """As `retry.on` names it."""
    message: str
    """What the step's error says."""
    retryable: bool = True
    """Whether trying again can help."""


class ScriptedCall(Strict):
    """A call of a tool in an answer."""

    tool: str
    """Its name."""
    arguments: dict[str, Any] | str = {}
    """A mapping, or the text that the model writes in place of one."""

    @property
    def text(self) -> str:
        """The arguments as the model writes them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


class Reply(Strict):
    """One answer, and which prompts it is for: all the conditions that it has must hold."""

    step: str | None = None
    """A step's id; `each` is for every item of the step, `each[3]` for one."""
    contains: str | None = None
    """Text that the prompt contains."""
    matches: str | None = None
    """A regular expression that the prompt matches somewhere."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often it answers; after that the next reply that fits does."""
    turn: Annotated[int, Field(ge=1)] | None = None
    """Which turn of the model this is since somebody asked: 2 is the one that sees what its first calls gave."""
    text: str | None = None
    """The answer, or what is said before `tool_calls`."""
    tool_calls: list[ScriptedCall] = []
    """What it calls in place of an answer."""
    reasoning: str = ""
    """What goes before it on the analysis channel."""
    finish_reason: Literal["stop", "length"] = "stop"
    """`length`: as if `max_tokens` had cut it."""
    error: Failure | None = None
    """Fail in place of an answer."""
    delay: Duration = 0.0
    """The wait before the first token."""
    token_delay: Duration = 0.0
    """The wait before each further token."""

    @field_validator("matches")
    @classmethod
    def _is_an_expression(cls, pattern: str | None) -> str | None:
        try:
            compile_pattern(pattern or "")
        except ValueError as error:
            raise PydanticCustomError("regex", "is no regular expression: {why}", {"why": str(error)}) from None
        return pattern

    @model_validator(mode="after")
    def _answers_or_fails(self) -> Reply:
        if (self.text is None and not self.tool_calls) == (self.error is None):
            raise PydanticCustomError("reply", 'needs either "text" or "error", or "tool_calls"')
        return self

    def fits(self, prompt: RenderedPrompt) -> bool:
        asked = "\n\n".join(m.content for m in prompt.messages)
        return (
            (self.step is None or self.step in (prompt.step, re.sub(r"\[[^]]*\]", "", prompt.step)))
            and (self.turn is None or self.turn == _turn(prompt.messages))
            and (self.contains is None or self.contains in asked)
            and (self.matches is None or compile_pattern(self.matches).search(asked) is not None)
        )


class Script(Strict):
    """The replies of a scripted model."""

    version: Literal[1] = 1
    """The format's version."""
    replies: list[Reply] = Field(default_factory=list)
    """The first that fits, and is not used up, answers."""
    default: str | None = None
    """The answer where no reply fits; without it that is an error."""


def read_script(path: Path, source: str | None = None) -> Script:
    """Read a script; `source` is what messages call it. Raises `Invalid` with every problem and its place."""
    document = read_document(path, source or str(path))
    try:
        return Script.model_validate(document.data)
    except ValidationError as error:
        marks = document.marks
        raise Invalid(*problems_of(error, document.data, model=Script, value=marks.value, key=marks.key)) from None


class ScriptedModels:
    """Implements `ports.Models`: every server name is the same model, which answers by the script.

    A reply's `times` counts over all servers and steps.
    """

    def __init__(self, script: Script, clock: Clock) -> None:
        self._model = ScriptedModel(script, clock)
        self._identity = {"model": sha256(script.model_dump_json().encode()).hexdigest()[:16]}

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(servers, SLOTS)

    def identity(self, server: str) -> Mapping[str, str]:
        return self._identity

    async def get(self, server: str) -> Model:
        return self._model

    async def release(self, server: str) -> None:
        pass

    async def close(self) -> None:
        pass


class ScriptedModel:
    """Implements `ports.Model`. A token is a word with the white space before it, its id a checksum of that."""

    def __init__(self, script: Script, clock: Clock) -> None:
        self._script = script
        self._clock = clock
        self._used = [0] * len(script.replies)

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        return RenderedPrompt(
            mode="chat" if request.mode == "auto" else request.mode,
            messages=request.messages,
            tokens=tuple(i for message in request.messages for i in _ids(_whole(message))),
            params=dict(request.params),
            step=request.step,
            request=request,
        )

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        """Raises the `StepError` that the script asks for, or one that says that it has no reply."""
        sent = self._clock.monotonic()
        reply = self._take(prompt)
        await self._clock.sleep(reply.delay)
        if reply.error is not None:
            raise StepError(reply.error.kind, reply.error.message, retryable=reply.error.retryable)
        called = _calls(reply, prompt.messages)
        said = [
            *_said("analysis", reply.reasoning),
            *_said("final", reply.text or ""),
            *(word for call in called for word in _said("commentary", f"{call.name} {call.arguments}")),
        ]
        limit = prompt.params.get("max_tokens")
        cut = limit is not None and len(said) > limit
        arrivals: list[metrics.Arrival] = []
        first_final: float | None = None
        for channel, word in said[:limit]:
            if arrivals:
                await self._clock.sleep(reply.token_delay)
            arrivals.append((self._clock.monotonic(), 1))
            if channel == "final" and first_final is None:
                first_final = arrivals[-1][0]
            on_text(channel, word, 1)
        text, reasoning = (
            "".join(w for c, w in said[:limit] if c == channel) for channel in ("final", "analysis")
        )
        return Generation(
            text=text,
            reasoning=reasoning,
            tokens=tuple(_id(word) for _, word in said[:limit]),
            finish_reason="length" if cut else reply.finish_reason,
            calls=() if cut else called,
            usage=metrics.usage(
                tokens_evaluated=len(prompt.tokens),
                tokens_predicted=len(arrivals),
                server={},
                reasoning_tokens=sum(1 for c, _ in said[:limit] if c == "analysis"),
            ),
            timings=metrics.timings(sent, arrivals, {}, finished=self._clock.monotonic(), first_final=first_final),
        )

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self.render(continued(prompt, answer, turns))

    async def count_tokens(self, text: str) -> int:
        return len(_words(text))

    async def truncate(self, text: str, tokens: int) -> str:
        return "".join(_words(text)[: max(0, tokens)])

    def _take(self, prompt: RenderedPrompt) -> Reply:
        for i, reply in enumerate(self._script.replies):
            if (reply.times is None or self._used[i] < reply.times) and reply.fits(prompt):
                self._used[i] += 1
                return reply
        if self._script.default is None:
            step = f' of step "{prompt.step}"' if prompt.step else ""
            said = f"the script has no reply for this prompt{step}"
            raise StepError("model", f'{said}: add one to "replies", or a "default"', retryable=False)
        return Reply(text=self._script.default)


def _turn(messages: Sequence[Message]) -> int:
    """How often the model has spoken since the last message of somebody else, and once more."""
    since = list(takewhile(lambda message: message.role in ("assistant", "tool"), reversed(messages)))
    return sum(message.role == "assistant" for message in since) + 1


def _calls(reply: Reply, before: Sequence[Message]) -> tuple[ToolCall, ...]:
    first = sum(len(message.tool_calls) for message in before) + 1
    return tuple(
        ToolCall(id=f"call_{first + n}", name=call.tool, arguments=call.text)
        for n, call in enumerate(reply.tool_calls)
    )


def _whole(message: Message) -> str:
    return message.content + "".join(f" {call.name} {call.arguments}" for call in message.tool_calls)


def _said(channel: Channel, text: str) -> Iterator[tuple[Channel, str]]:
    return ((channel, word) for word in _words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _ids(text: str) -> list[int]:
    return [_id(word) for word in _words(text)]


def _id(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace")) % 2**16
