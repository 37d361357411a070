"""Conversations, and what gpt-oss's own chat template makes of them.

The texts in `tests/data/harmony/` were written by the template that OpenAI publishes with the model (and llama.cpp
reads), on 2026-01-31. It differs from openai-harmony, and so from us, in what `as_the_template_says` undoes.
"""

from __future__ import annotations

import re
from pathlib import Path

from gptoss_flow.ports import Message, PromptRequest, ToolCall, ToolSpec

FOLDER = Path(__file__).parents[1] / "data" / "harmony"

WEATHER = ToolSpec(
    name="get_weather",
    description="Gets the weather.",
    parameters={
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "City and country"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer"},
            "exact": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["location"],
    },
)
TIME = ToolSpec(name="get_time", description="Tells the time.", parameters={"type": "object", "properties": {}})


def _call(number: int, name: str, arguments: str) -> ToolCall:
    return ToolCall(id=f"call_{number}", name=name, arguments=arguments)


ASKED = Message("user", "Is it warm in Rome?")
THOUGHT = Message(
    "assistant", "", reasoning="Ask the tool.", tool_calls=(_call(0, "get_weather", '{"location": "Rome"}'),)
)
SUNNY = Message("tool", "sunny", tool_call_id="call_0", name="get_weather")

CONVERSATIONS: dict[str, PromptRequest] = {
    name: PromptRequest(mode="harmony", date="2026-01-31", **asked)  # type: ignore[arg-type]
    for name, asked in {
        "question": {"messages": (Message("user", "What is 2 + 2?"),)},
        "low": {"messages": (Message("user", "Hi"),), "reasoning": "low"},
        "instructions": {"messages": (Message("system", "Be short.\n\nAnd kind."), Message("user", "Hi"))},
        "history": {
            "messages": (
                Message("user", "Hi"),
                Message("assistant", "Hello!", reasoning="A greeting."),
                Message("user", "日本語 🙂\n\tx = 1"),
            ),
            "reasoning": "high",
        },
        "tools": {"messages": (Message("developer", "Be short."), ASKED), "tools": (WEATHER, TIME)},
        "tools-only": {"messages": (ASKED,), "tools": (TIME,)},
        "loop": {"messages": (ASKED, THOUGHT, SUNNY), "tools": (WEATHER,)},
        "loop-again": {
            "messages": (
                ASKED, THOUGHT, SUNNY,
                Message("assistant", "", reasoning="And now?", tool_calls=(_call(1, "get_time", "{}"),)),
                Message("tool", "noon", tool_call_id="call_1", name="get_time"),
            ),
            "tools": (WEATHER, TIME),
        },
        "after-a-loop": {
            "messages": (ASKED, THOUGHT, SUNNY, Message("assistant", "Yes."), Message("user", "Thanks")),
            "tools": (WEATHER,),
        },
        "second-loop": {
            "messages": (
                ASKED, THOUGHT, SUNNY, Message("assistant", "Yes."), Message("user", "What time is it?"),
                Message("assistant", "", reasoning="The clock.", tool_calls=(_call(1, "get_time", "{}"),)),
                Message("tool", "noon", tool_call_id="call_1", name="get_time"),
            ),
            "tools": (WEATHER, TIME),
        },
    }.items()
}  # fmt: skip


_INSTRUCTIONS = re.compile(r"(<\|start\|>developer<\|message\|># Instructions\n\n(?:(?!# Tools)[^<])*)<\|end\|>")
_CALLED = "<|channel|>commentary{}json<|message|>"
_RESULT = re.compile(r"( to=assistant<\|channel\|>commentary<\|message\|>)([^<]*)<\|end\|>")


def as_the_template_says(text: str) -> str:
    """Our prompt with the template's habits.

    It ends instructions with an empty line even where nothing follows, names a call's type without
    `<|constrain|>`, and puts a tool's result into quotes.
    """
    text = _INSTRUCTIONS.sub(r"\1\n\n<|end|>", text)
    text = text.replace(_CALLED.format(" <|constrain|>"), _CALLED.format(" "))
    return _RESULT.sub(r'\1"\2"<|end|>', text)
