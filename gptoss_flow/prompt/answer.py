"""Gathers the chunks of one completion into an answer: plain text, or Harmony's channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gptoss_flow.ports import Chunk, FinalChunk, ToolCall, ToolSpec
from gptoss_flow.prompt.harmony_stream import HarmonyStream
from gptoss_flow.prompt.harmony_tools import called
from gptoss_flow.prompt.parsed import Parsed, Piece
from gptoss_flow.prompt.tool_names import ToolNames


@dataclass(frozen=True, slots=True)
class Answer:
    """What a completion came to. `fault` says why it is no answer, though the model ended its turn; or ""."""

    text: str
    reasoning: str = ""
    reasoning_tokens: int = 0
    fault: str = ""
    calls: tuple[ToolCall, ...] = ()


class PlainAnswer:
    """Raw and chat: the text as the server gives it, all of it on the final channel."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._unsaid_tokens = 0

    def take(self, chunk: Chunk) -> Iterable[Piece]:
        self._unsaid_tokens += len(chunk.tokens)
        if not chunk.text:
            return ()
        self._texts.append(chunk.text)
        piece = Piece("final", chunk.text, self._unsaid_tokens)
        self._unsaid_tokens = 0
        return (piece,)

    def finish(self, final: FinalChunk) -> Answer:
        return Answer("".join(self._texts))


class HarmonyAnswer:
    """Harmony: the ids are parsed, the server's text is not looked at.

    `first_call` is the number that the first call gets in its conversation.
    """

    def __init__(self, spell: Callable[[int], bytes], tools: Sequence[ToolSpec] = (), first_call: int = 0) -> None:
        self._stream = HarmonyStream(spell)
        self._tools = tools
        self._first_call = first_call

    def take(self, chunk: Chunk) -> Iterable[Piece]:
        return [piece for token in chunk.tokens for piece in self._stream.feed(token)]

    def finish(self, final: FinalChunk) -> Answer:
        parsed = self._stream.finish()
        if final.stop_type == "word":
            # The server's text ends before the stop text; its ids do not.
            parsed = parsed.without(final.stopping_word)
        fault = _fault(parsed, final, self._tools)
        calls = () if fault else calls_of(parsed, self._tools, first=self._first_call)
        said = parsed.text("final")
        if calls and not said:
            said = parsed.text("commentary")  # what it says before it calls, for the user
        return Answer(said, parsed.text("analysis"), parsed.tokens("analysis"), fault, calls)


def calls_of(
    parsed: Parsed, tools: Sequence[ToolSpec], *, first: int = 0, readable: bool = False
) -> tuple[ToolCall, ...]:
    """The calls in an answer, numbered from `first`; `readable`: only those that leave no doubt."""
    names = ToolNames(tools)
    calls = [message for message in parsed.calls if message.is_readable_call or not readable]
    return tuple(
        ToolCall(id=f"call_{i}", name=called(message.recipient or "", names), arguments=message.text)
        for i, message in enumerate(calls, first)
    )


def _fault(parsed: Parsed, final: FinalChunk, tools: Sequence[ToolSpec]) -> str:
    why = f" ({', '.join(parsed.defects)})" if parsed.defects else ""
    if parsed.calls and tools:
        unreadable = [m for m in parsed.calls if not m.is_readable_call]
        return f"the model's call of {unreadable[0].recipient} cannot be read{why}" if unreadable else ""
    if parsed.answered:
        return ""
    if parsed.calls:
        return f"the model called {parsed.calls[0].recipient}, a tool that this step does not give it"
    if final.stop_type == "word":
        return f"the stop text {final.stopping_word!r} ended the answer before its final message began"
    return f"the model ended its turn without a final message{why}"
