from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.ports import Message, PromptRequest, ToolSpec
from gptoss_flow.prompt.harmony_grammar import grammar
from gptoss_flow.prompt.harmony_stream import Control
from tests.prompt.gbnf import Grammar, parse, token

READ = ToolSpec(
    name="read_file",
    description="",
    parameters={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
PANE = ToolSpec(name="ui_pane.move", description="", parameters={"type": "object", "properties": {}})
PYTHON = ToolSpec(name="python", description="", parameters={})
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
THINK = "<|channel|>analysis<|message|>Hm <|x|>.<|end|><|start|>assistant"


def of(**more: Any) -> Grammar:
    made = grammar(PromptRequest(mode="harmony", messages=(Message("user", "x"),), **more))
    assert made is not None
    return parse(made)


def said(text: str) -> str:
    for control in Control:
        text = text.replace(f"<|{control.name.lower()}|>", token(control))
    return text


@pytest.mark.parametrize("tools", [(), (READ,)])
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_who_demands_nothing_gets_no_grammar(tools: tuple[ToolSpec, ...], choice: str) -> None:
    request = PromptRequest(mode="harmony", messages=(), tools=tools, tool_choice=choice)
    assert grammar(request) is None


def test_only_the_final_message_has_the_form() -> None:
    form = of(schema=SCHEMA)
    answer = '<|channel|>final<|message|>{"a": 1}'
    assert form.matches(said(answer))
    assert form.matches(said(THINK + answer))
    assert form.matches(said(THINK + THINK + answer))
    assert form.matches(said(THINK + '<|channel|>final <|constrain|>json<|message|>{"a":1}'))
    for wrong in ('{"a": 1}', "<|channel|>final<|message|>one", THINK, '<|channel|>analysis<|message|>{"a": 1}'):
        assert not form.matches(said(wrong))
    assert not form.matches('<|channel|>final<|message|>{"a": 1}')  # spelled, and no tokens


def test_with_tools_the_model_may_call_one_first() -> None:
    form = of(schema=SCHEMA, tools=(READ, PANE))
    assert form.matches(said('<|channel|>final<|message|>{"a": 1}'))
    call = '{} <|constrain|>json<|message|>{{"path": "a"}}'
    assert form.matches(said(THINK + call.format("<|channel|>commentary to=functions.read_file")))
    assert form.matches(said(THINK + call.format(" to=functions.read_file<|channel|>commentary")))
    assert not form.matches(said(call.format("<|channel|>commentary to=functions.rm")))
    assert not form.matches(said('<|channel|>commentary to=functions.read_file<|message|>{"path": 1}'))
    assert form.matches(said("<|channel|>commentary to=functions.ui_pane__move json<|message|>{}"))


def test_a_call_that_is_demanded_leaves_no_other_end() -> None:
    form = of(tools=(READ, PANE), tool_choice="required")
    assert not form.matches(said("<|channel|>final<|message|>no"))
    assert form.matches(said('<|channel|>commentary to=functions.read_file<|message|>{"path": "x"}'))
    form = of(tools=(READ, PANE), tool_choice="ui_pane.move")
    assert form.matches(said("<|channel|>commentary to=functions.ui_pane__move<|message|>{}"))
    assert not form.matches(said('<|channel|>commentary to=functions.read_file<|message|>{"path": "x"}'))


def test_python_takes_code_as_it_is() -> None:
    form = of(tools=(PYTHON,), tool_choice="python")
    assert form.matches(said('<|channel|>commentary to=python code<|message|>print("é")\n# {'))


def test_an_authors_grammar_is_the_final_message() -> None:
    form = of(grammar='root ::= thought final # root\nthought ::= "root" | [thought]\nfinal ::= "!"{2}\n')
    for answer in ("root!!", "t!!", "g!!"):
        assert form.matches(said("<|channel|>final<|message|>" + answer))
    assert not form.matches(said("<|channel|>final<|message|>thought!!"))
    assert form.matches(said(THINK + "<|channel|>final<|message|>h!!"))
    assert of(grammar='root ::= ( "a" |\n  "b" )\n  "c"\n').matches(said("<|channel|>final<|message|>bc"))


@pytest.mark.parametrize("text", ["", "answer ::= [a-z]", "# root ::= x"])
def test_an_authors_grammar_without_a_root_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="no rule `root") as caught:
        of(grammar=text)
    assert not caught.value.retryable


@pytest.mark.parametrize("seed", range(20))
def test_what_the_grammar_allows_is_read_as_an_answer(seed: int) -> None:
    made = of(schema=SCHEMA).made(Random(seed))
    _, _, answer = made.rpartition(token(Control.MESSAGE))
    assert isinstance(json.loads(answer)["a"], int)
