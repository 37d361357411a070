"""Messages to Harmony's tokens, by openai-harmony: content is encoded with no control token allowed.

Which messages a conversation comes to is decided in `harmony_turns`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import openai_harmony as oh

from gptoss_flow import vocabulary
from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.ports import Message, PromptRequest
from gptoss_flow.prompt.characters import sayable, sayable_message
from gptoss_flow.prompt.harmony_turns import messages_of, parts, turn

LANDMARKS = "<|start|><|message|><|channel|><|return|>"
LANDMARK_IDS = [200006, 200008, 200005, 200002]
"""What `LANDMARKS` becomes, control tokens parsed, in Harmony's vocabulary and in no other."""


class Harmony:
    """The loaded encoding: conversations to tokens, tokens to bytes. Nothing here changes after loading."""

    def __init__(self, encoding: oh.HarmonyEncoding) -> None:
        self._encoding = encoding

    def render(self, request: PromptRequest) -> list[int]:
        """Token ids of a conversation, ending with `<|start|>assistant`. Raises `StepError("model", …)`.

        No date is said where it is empty; the reasoning effort is medium where it is None.
        """
        conversation = oh.Conversation.from_messages(messages_of(sayable(request)))
        # What was thought in earlier turns is left out already: openai-harmony looks no further than the first.
        config = oh.RenderConversationConfig(auto_drop_analysis=False)
        tokens: list[int] = self._encoding.render_conversation_for_completion(
            conversation, oh.Role.ASSISTANT, config
        )
        return tokens

    def turns(self, messages: Iterable[Message]) -> list[int]:
        """Token ids of turns by themselves, analysis and all. Raises `StepError("model", …)`."""
        said = [each for m in messages for each in turn(sayable_message(m), keep_analysis=True)]
        return [token for each in said for token in self._encoding.render(each)]

    def opening(self) -> list[int]:
        """The ids of `<|start|>assistant`, with which every prompt ends."""
        nothing = oh.Conversation.from_messages([])
        tokens: list[int] = self._encoding.render_conversation_for_completion(nothing, oh.Role.ASSISTANT)
        return tokens

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, none of them a control token."""
        return [t for part in parts(text) for t in self._encoding.encode(part, disallowed_special=())]

    def spell(self, token: int) -> bytes:
        """The bytes of an id below `vocabulary.FIRST_CONTROL`; they may be no whole character."""
        text: str = self._encoding.decode([token], errors="surrogateescape")
        return text.encode("utf-8", "surrogateescape")

    def text(self, tokens: Sequence[int]) -> str:
        """What these ids spell, control tokens among them."""
        said: str = self._encoding.decode(list(tokens))
        return said


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
