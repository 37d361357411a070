"""Gathers the chunks of one completion into an answer: plain text, or Harmony's channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gptoss_flow.ports import Chunk, FinalChunk
from gptoss_flow.prompt.harmony_stream import HarmonyStream
from gptoss_flow.prompt.parsed import Parsed, Piece


@dataclass(frozen=True, slots=True)
class Answer:
    """What a completion came to. `fault` says why it is no answer, though the model ended its turn; or ""."""

    text: str
    reasoning: str = ""
    reasoning_tokens: int = 0
    fault: str = ""


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
    """Harmony: the ids are parsed, the server's text is not looked at."""

    def __init__(self, spell: Callable[[int], bytes]) -> None:
        self._stream = HarmonyStream(spell)

    def take(self, chunk: Chunk) -> Iterable[Piece]:
        return [piece for token in chunk.tokens for piece in self._stream.feed(token)]

    def finish(self, final: FinalChunk) -> Answer:
        parsed = self._stream.finish()
        if final.stop_type == "word":
            # The server's text ends before the stop text; its ids do not.
            parsed = parsed.without(final.stopping_word)
        return Answer(
            parsed.text("final"), parsed.text("analysis"), parsed.tokens("analysis"), _fault(parsed, final)
        )


def _fault(parsed: Parsed, final: FinalChunk) -> str:
    if parsed.answered:
        return ""
    if parsed.calls:
        return f"the model called {parsed.calls[0].recipient}, a tool that this step does not give it"
    if final.stop_type == "word":
        return f"the stop text {final.stopping_word!r} ended the answer before its final message began"
    why = f" ({', '.join(parsed.defects)})" if parsed.defects else ""
    return f"the model ended its turn without a final message{why}"
