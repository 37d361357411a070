"""The prompt of a step, shown without a server: with inputs, with results on record, and what cannot be shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gptoss_flow.app.bind import Given, bind_flow
from gptoss_flow.app.known import Finished
from gptoss_flow.app.shown_prompt import ShownPrompt, show_prompt
from gptoss_flow.errors import FlowError
from gptoss_flow.events import Outcome
from tests.flows import compile_text

FLOW = """
version: 1
inputs: {topic: {type: string, default: the sea}}
servers: {main: demo}
steps:
  made: {set: {topic: "${{ inputs.topic }}!"}}
  line: {prompt: {mode: raw, text: "Once upon ${{ steps.made.output.topic }}"}}
  next: {prompt: {mode: chat, system: Be short., user: "Go on: ${{ steps.line.output }}"}}
  each: {foreach: [1, 2, 3], prompt: {mode: raw, text: "n ${{ item }}"}}
  gpt: {prompt: {mode: harmony, system: Be short., user: Hello}}
  cut: {prompt: {mode: raw, text: "${{ 'a b c' | truncate_tokens(1) }}"}}
"""


def shown(step: str, tmp_path: Path, known: dict[str, str] | None = None) -> list[ShownPrompt]:
    given = Given(inputs={"topic": "hills"}, servers={}, cwd=tmp_path)
    bound = bind_flow(compile_text(FLOW), given, {"id": "", "dir": "", "started_at": "2026-01-02T03:04:05"})
    finished = {unit: Finished(Outcome("succeeded", text), None, "run") for unit, text in (known or {}).items()}
    return asyncio.run(show_prompt(bound, step, finished))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


def test_a_raw_prompt_is_shown_word_for_word_with_values_that_cost_nothing(tmp_path: Path) -> None:
    assert shown("line", tmp_path) == [ShownPrompt("line", "raw", "Once upon hills!", True)]


def test_every_item_has_its_prompt_and_one_can_be_asked_for(tmp_path: Path) -> None:
    assert [prompt.text for prompt in shown("each", tmp_path)] == ["n 1", "n 2", "n 3"]
    assert [prompt.text for prompt in shown("each[1]", tmp_path)] == ["n 2"]


def test_results_on_record_stand_in_for_steps_that_would_ask_a_model(tmp_path: Path) -> None:
    (prompt,) = shown("next", tmp_path, {"line": "a ship"})
    assert (prompt.text, prompt.exact) == ("system:\nBe short.\n\nuser:\nGo on: a ship", False)
    with pytest.raises(FlowError, match=r"the prompt of next needs the result of line; run the flow once"):
        shown("next", tmp_path)


def test_a_harmony_prompt_is_shown_with_its_control_tokens(tmp_path: Path) -> None:
    (prompt,) = shown("gpt", tmp_path)
    assert prompt.text.startswith("<|start|>system<|message|>")
    assert prompt.text.endswith("<|start|>user<|message|>Hello<|end|><|start|>assistant")
    assert prompt.exact


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="step made sends no prompt"):
        shown("made", tmp_path)
    with pytest.raises(FlowError, match="truncate_tokens cuts by the tokenizer of a server"):
        shown("cut", tmp_path)
