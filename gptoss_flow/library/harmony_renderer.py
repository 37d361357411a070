"""Harmony without a server: a conversation and its tools to the prompt's token ids, and an answer's ids back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gptoss_flow.library.given import Asked, ToolLike, conversation, tools_of
from gptoss_flow.ports import Message, PromptRequest
from gptoss_flow.prompt import harmony
from gptoss_flow.prompt.answer import calls_of
from gptoss_flow.prompt.harmony_stream import parse
from gptoss_flow.steps.specs import specs


class HarmonyRenderer:
    """Renders for one model turn after another with the same tools, date and effort. Loading takes a second."""

    def __init__(
        self,
        *,
        tools: Sequence[ToolLike] = (),
        reasoning: Literal["low", "medium", "high"] | None = None,
        date: str = "",
    ) -> None:
        """`date` is YYYY-MM-DD; without it none is said. Raises `Unavailable` where there is no vocabulary."""
        self._tools = specs(tools_of(tools))
        self._reasoning, self._date = reasoning, date
        self._harmony = harmony.preload().result()

    def render(self, messages: Asked) -> list[int]:
        """The prompt, which ends with `<|start|>assistant`: for `Client.complete`.

        No content can become a control token. Raises `StepError("model", …)` for what Harmony cannot say.
        """
        request = PromptRequest(
            mode="harmony",
            messages=conversation(messages),
            tools=self._tools,
            reasoning=self._reasoning,
            date=self._date,
        )
        return self._harmony.render(request)

    def text(self, tokens: Sequence[int]) -> str:
        """What ids spell, control tokens among them."""
        return self._harmony.text(tokens)

    def parse(self, tokens: Sequence[int]) -> Message:
        """The turn that a model's ids say: its final text, its analysis as `reasoning`, and its calls.

        Malformed ids are read as far as they go, and a call that leaves a doubt is left out: it never raises.
        """
        parsed = parse(self._harmony.spell, tokens)
        calls = calls_of(parsed, self._tools, readable=True)
        said = parsed.text("final") or (parsed.text("commentary") if calls else "")
        return Message("assistant", said, reasoning=parsed.text("analysis"), tool_calls=calls)
