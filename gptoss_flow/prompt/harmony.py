"""Messages to Harmony's tokens, by openai-harmony: content is encoded with no control token allowed.

What a flow calls `system` is, in Harmony's words, the developer's instructions: Harmony's own system message
holds the identity, the knowledge cut-off, the run's date, the reasoning effort and the channels.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import groupby, pairwise
from typing import Literal

import openai_harmony as oh

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.ports import Message
from gptoss_flow.prompt import vocabulary

LANDMARKS = "<|start|><|message|><|channel|><|return|>"
LANDMARK_IDS = [200006, 200008, 200005, 200002]
"""What `LANDMARKS` becomes, control tokens parsed, in Harmony's vocabulary and in no other."""

# One run of letters, spaces or signs is one piece for the byte-pair encoder, whose time grows with the square
# of its length and which holds up every other thread meanwhile: such runs are encoded in parts.
_LONG_RUN = re.compile(r"[^\W\d_]{2048}|\s{2048}|[^\w\s]{2048}")


class Harmony:
    """The loaded encoding: conversations to tokens, tokens to bytes. Nothing here changes after loading."""

    def __init__(self, encoding: oh.HarmonyEncoding) -> None:
        self._encoding = encoding

    def render(
        self, messages: Sequence[Message], *, reasoning: Literal["low", "medium", "high"] | None, date: str
    ) -> list[int]:
        """Token ids of a conversation, ending with `<|start|>assistant`.

        `date` is YYYY-MM-DD, or empty to say none; the reasoning effort is medium where it is None.
        """
        system = oh.SystemContent.new().with_reasoning_effort(oh.ReasoningEffort((reasoning or "medium").title()))
        if date:
            system = system.with_conversation_start_date(date)
        opening = oh.Message.from_role_and_content(oh.Role.SYSTEM, system)
        conversation = oh.Conversation.from_messages([opening, *_turns(messages)])
        tokens: list[int] = self._encoding.render_conversation_for_completion(conversation, oh.Role.ASSISTANT)
        return tokens

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, none of them a control token."""
        return [t for part in _parts(text) for t in self._encoding.encode(part, disallowed_special=())]

    def spell(self, token: int) -> bytes:
        """The bytes of an id below `vocabulary.FIRST_CONTROL`; they may be no whole character."""
        text: str = self._encoding.decode([token], errors="surrogateescape")
        return text.encode("utf-8", "surrogateescape")

    def text(self, tokens: Sequence[int]) -> str:
        """What these ids spell, control tokens among them."""
        said: str = self._encoding.decode(list(tokens))
        return said


def _turns(messages: Sequence[Message]) -> Iterator[oh.Message]:
    """System and developer messages that follow one another become one developer message."""
    for instructions, group in groupby(messages, lambda m: m.role in ("system", "developer")):
        if instructions:
            first, *rest = _parts("\n\n".join(m.content for m in group))
            contents = [oh.DeveloperContent.new().with_instructions(first), *map(_text, rest)]
            yield oh.Message.from_role_and_contents(oh.Role.DEVELOPER, contents)
            continue
        for message in group:
            turn = oh.Message.from_role_and_contents(oh.Role(message.role), [*map(_text, _parts(message.content))])
            yield turn.with_channel("final") if message.role == "assistant" else turn


def _text(part: str) -> oh.TextContent:
    return oh.TextContent(text=part)


def _parts(text: str) -> list[str]:
    """`text` in parts that are each quick to encode: itself, unless it has a run of 2,048 of one sort."""
    cuts = [0, *(match.end() for match in _LONG_RUN.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b] or [""]


_lock = threading.Lock()
_loading: Future[Harmony] | None = None


def preload() -> Future[Harmony]:
    """Start to load the encoding in a thread, once per process (0.5 to 1 s), so that no generation waits for it.

    The result raises `Unavailable` where the vocabulary cannot be had; the next call then tries again.
    """
    global _loading
    with _lock:
        if _loading is None or (_loading.done() and _loading.exception()):
            _loading = Future()
            # From here on a waiter that is cancelled cannot cancel it for the others.
            _loading.set_running_or_notify_cancel()
            threading.Thread(target=_load, args=(_loading,), name="harmony-vocabulary", daemon=True).start()
        return _loading


def _load(into: Future[Harmony]) -> None:
    try:
        into.set_result(Harmony(_encoding()))
    except BaseException as error:
        into.set_exception(error)


def _encoding() -> oh.HarmonyEncoding:
    folder = vocabulary.provide()
    before = os.environ.get(vocabulary.VARIABLE)
    os.environ[vocabulary.VARIABLE] = str(folder)
    try:
        return oh.load_harmony_encoding(oh.HarmonyEncodingName.HARMONY_GPT_OSS)
    except oh.HarmonyError as error:
        raise Unavailable(
            Problem(None, f"openai-harmony cannot load the vocabulary in {folder}: {error}")
        ) from error
    finally:
        if before is None:
            del os.environ[vocabulary.VARIABLE]
        else:
            os.environ[vocabulary.VARIABLE] = before
