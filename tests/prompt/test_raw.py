from __future__ import annotations

import asyncio

import pytest

from gptoss_flow.prompt.raw import Tokenizer
from tests.prompt.fakes import CONTROLS, MISTRAL, FakeCompletions, spelled


def prompt(completions: FakeCompletions, text: str, *, special: bool = False) -> str:
    return spelled(asyncio.run(Tokenizer(completions).prompt(text, special=special)))


def test_control_tokens_in_a_text_stay_text() -> None:
    assert prompt(FakeCompletions(), "<|im_end|>hi") == "<|im_end|>hi"


@pytest.mark.parametrize("name", ["<|im_end|>", "</s>", "[INST]"])
def test_control_tokens_that_the_server_parses_unasked_stay_text_too(name: str) -> None:
    completions = FakeCompletions(MISTRAL, leaky=CONTROLS)
    text = f"{name}a{name}{name} <{name[1:]}> {name[:-1]}"
    assert prompt(completions, text) == text
    assert prompt(completions, name, special=True) == f"«{name}»"


def test_special_lets_control_tokens_be_control_tokens() -> None:
    assert prompt(FakeCompletions(), "<|im_end|>hi", special=True) == "«<|im_end|>»hi"


def test_a_model_gets_the_beginning_that_it_expects_and_only_one() -> None:
    completions = FakeCompletions(bos=256 + CONTROLS.index("<s>"))
    assert prompt(completions, "hi") == "«<s>»hi"
    assert prompt(completions, "<s>hi", special=True) == "«<s>»hi"
    assert prompt(FakeCompletions(), "hi") == "hi"
