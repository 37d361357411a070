"""A Harmony conversation that goes on after a call: the model's own ids stay, what follows is put behind them.

To render the call again would give other ids than the model wrote (it says the channel first, openai-harmony the
recipient), and the server would have to evaluate everything behind them anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_flow.ports import Generation, Message, RenderedPrompt
from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.harmony_stream import ENDS, Control, parse


def gone_on(harmony: Harmony, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> list[int]:
    """Token ids of the prompt, an answer that calls tools, and these turns, ending with `<|start|>assistant`.

    Raises `StepError("model", …)` where a turn cannot be rendered.
    """
    opening = harmony.opening()
    return [*prompt.tokens, *_calling(harmony, opening, answer), *harmony.turns(turns), *opening]


def _calling(harmony: Harmony, opening: list[int], answer: Generation) -> list[int]:
    """The ids of an answer, after the prompt's `<|start|>assistant`, to the end of its last call."""
    if not _is_plain(harmony, answer):
        said = Message("assistant", answer.text, reasoning=answer.reasoning, tool_calls=answer.calls)
        return harmony.turns([said])[len(opening) :]
    ids = list(answer.tokens)
    if ids[-1] in ENDS:
        ids.pop()
    return [*ids, int(Control.CALL)]


def _is_plain(harmony: Harmony, answer: Generation) -> bool:
    """Whether the ids are all there and hold nothing but what was read from them: what is malformed is not kept,
    lest the model take a forged turn for one."""
    parsed = parse(harmony.spell, answer.tokens)
    arguments = [call.arguments for call in answer.calls]
    return all(m.sound for m in parsed.messages) and [m.text for m in parsed.calls] == arguments
