"""Calls as gpt-oss writes them, well and badly: what is run, and what is asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from gptoss_flow.ports import Chunk, ToolSpec
from gptoss_flow.prompt.answer import Answer, HarmonyAnswer
from gptoss_flow.prompt.harmony import Harmony
from tests.prompt.fakes import final
from tests.prompt.test_harmony_stream import ids


def tool(name: str) -> ToolSpec:
    return ToolSpec(name=name, description="", parameters={"type": "object", "properties": {}})


TOOLS = tuple(map(tool, ["read_file", "ui_pane.move", "browser.open", "python", "a" * 64]))


def answer(harmony: Harmony, generated: str, *, tools: tuple[ToolSpec, ...] = TOOLS, **end: Any) -> Answer:
    reading = HarmonyAnswer(harmony.spell, tools, 3)
    for token in ids(harmony, generated):
        reading.take(Chunk("", (token,), 1.0))
    return reading.finish(final(**end))


@pytest.mark.parametrize(
    ("generated", "name"),
    [
        ("<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{}<|call|>", "read_file"),
        ("<|channel|>commentary to=read_file <|constrain|>json<|message|>{}<|call|>", "read_file"),
        (" to=functions.read_file<|channel|>commentary json<|message|>{}<|call|>", "read_file"),
        ("<|channel|>commentary to=functions.read_file<|message|>{}<|call|>", "read_file"),
        ("<|channel|>commentary to=functions.ui_pane__move<|message|>{}<|call|>", "ui_pane.move"),
        ("<|channel|>commentary to=functions.ui_pane.move<|message|>{}<|call|>", "ui_pane.move"),
        ("<|channel|>commentary to=ui_pane.move<|message|>{}<|call|>", "ui_pane.move"),
        ("<|channel|>analysis to=browser.open code<|message|>{}<|call|>", "browser.open"),
        ("<|channel|>commentary to=functions.browser.open<|message|>{}<|call|>", "browser.open"),
        ("<|channel|>analysis to=python code<|message|>{}<|call|>", "python"),
        (f"<|channel|>commentary to=functions.{'a' * 64}<|message|>{{}}<|call|>", "a" * 64),
        (
            "<|channel|>commentary to=container.exec<|message|>{}<|call|>",
            "container.exec",
        ),  # for the loop to refuse
        # Known malformations that leave no doubt.
        ("<|channel|>analysis to=functions.read_file code<|message|>{}<|call|>", "read_file"),
        ("<|start|>assistant<|channel|>commentary to=functions.read_file<|message|>{}<|call|>", "read_file"),
        ("<|channel|>commentary to=functions.read_file<|message|>{}<|end|>", "read_file"),
        ("<|channel|>commentary to=functions.read_file<|message|>{}<|return|>", "read_file"),
        ("<|channel|>commentary to=functions.read_file<|message|>{}<|endoftext|>", "read_file"),
        (
            "<|channel|>analysis<|message|>Hm<|start|>assistant<|channel|>commentary to=functions.read_file"
            "<|message|>{}<|call|>",
            "read_file",
        ),
    ],
)
def test_a_call_is_read(harmony: Harmony, generated: str, name: str) -> None:
    came = answer(harmony, generated)
    assert [(call.id, call.name, call.arguments) for call in came.calls] == [("call_3", name, "{}")]
    assert came.fault == ""


@pytest.mark.parametrize(
    ("generated", "why"),
    [
        ("<|channel|>commentary to=functions.read_file<|message|>{", "without its end"),
        ("<|channel|>commentary to=functions.read_file {}<|call|>", "without <|message|>"),
        ("<|channel|>commentary to=functions.read_file<|channel|>commentary json<|message|>{}<|call|>", "doubled"),
        ("<|channel|>commentary to=functions.read_file<|message|>{}<|message|>{}<|call|>", "doubled"),
        ("<|channel|>commentary to=functions.read_file<|message|>{<|constrain|>}<|call|>", "stray control token"),
        ("<|channel|>commentary to=read_file to=python<|message|>{}<|call|>", "text in a header"),
        (" to=python<|channel|>commentary to=read_file<|message|>{}<|call|>", "two recipients"),
        ("<|channel|>commentary <|constrain|>json to=read_file<|message|>{}<|call|>", "text in a header"),
        ("<|channel|>commentary to=read_file <|constrain|><|message|>{}<|call|>", "without its type"),
        ("<|channel|>commentary to=read_file <|constrain|>json<|constrain|><|message|>{}<|call|>", "doubled"),
        (" to=read_file <|constrain|>json<|message|>{}<|call|>", "without a channel"),
        (" to<|channel|>commentary to=read_file<|message|>{}<|call|>", "text in a header"),
        ("<|start|><|channel|>commentary to=read_file<|message|>{}<|call|>", "without a role"),
        ("<|channel|>commentary to=a/b<|message|>{}<|call|>", "a recipient that is no name"),
        ("<|channel|>thoughts to=functions.read_file<|message|>{}<|call|>", "unknown channel"),
        ("<|channel|>final to=functions.read_file<|message|>{}<|call|>", "cannot be read"),
        ("<|start|>user<|channel|>commentary to=functions.read_file<|message|>{}<|call|>", "another role"),
        ("<|start|>functions.x to=assistant<|channel|>commentary<|message|>{}<|call|>", "another role"),
        ("<|channel|>commentary to=assistant<|message|>{}<|call|>", "a message to assistant"),
        ("<|channel|>commentary<|message|>{}<|call|>", "without a final message"),
        (
            "<|channel|>commentary to=read_file<|message|>{}<|end|><|start|>assistant"
            "<|channel|>commentary to=python<|message|>x<|channel|>",
            "cannot be read",
        ),
    ],
)
def test_a_call_that_leaves_doubt_is_asked_for_again(harmony: Harmony, generated: str, why: str) -> None:
    came = answer(harmony, generated)
    assert came.calls == ()
    assert why in came.fault


def test_half_a_character_is_no_argument(harmony: Harmony) -> None:
    reading = HarmonyAnswer(harmony.spell, TOOLS)
    dragon = harmony.encode("𓀀")[:-1]
    for token in [*ids(harmony, "<|channel|>commentary to=read_file<|message|>"), *dragon, 200012]:
        reading.take(Chunk("", (token,), 1.0))
    came = reading.finish(final())
    assert came.calls == () and "no text" in came.fault


def test_several_calls_are_numbered_in_order(harmony: Harmony) -> None:
    one = "<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{}<|call|>"
    two = "<|start|>assistant<|channel|>commentary to=python code<|message|>print(1)<|call|>"
    came = answer(harmony, "<|channel|>analysis<|message|>Both.<|end|><|start|>assistant" + one + two)
    assert [(call.id, call.name, call.arguments) for call in came.calls] == [
        ("call_3", "read_file", "{}"), ("call_4", "python", "print(1)"),
    ]  # fmt: skip
    assert came.reasoning == "Both."


def test_what_is_said_before_a_call_is_the_turns_text(harmony: Harmony) -> None:
    said = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
    came = answer(harmony, said + "<|channel|>commentary to=read_file<|message|>{}<|call|>")
    assert (came.text, len(came.calls)) == ("I look.", 1)


def test_a_tool_that_nobody_gave_is_not_called(harmony: Harmony) -> None:
    came = answer(harmony, "<|channel|>commentary to=read_file<|message|>{}<|call|>", tools=())
    assert came.calls == ()
    assert came.fault == "the model called read_file, a tool that this step does not give it"


def test_text_about_a_call_is_none(harmony: Harmony) -> None:
    spelled = "<\u200b|channel|>commentary to=functions.read_file<\u200b|message|>{}<\u200b|call|>"
    came = answer(harmony, f"<|channel|>final<|message|>{spelled}<|return|>")
    assert (came.text, came.calls, came.fault) == (spelled, (), "")
    came = answer(harmony, "<|channel|>analysis<|message|>I should call read_file({}).<|return|>")
    assert came.calls == () and came.fault
