"""When the first token of an answer's final channel came, to the very chunk."""

from __future__ import annotations

import asyncio

from gptoss_flow.app.bench_servers import final_finder
from gptoss_flow.ports import Chunk
from gptoss_flow.prompt import harmony
from tests.prompt.test_harmony_stream import GOOD, ids


def arriving(tokens: list[int]) -> list[Chunk]:
    """A token a second."""
    return [Chunk(text="x", tokens=(token,), arrived=float(at)) for at, token in enumerate(tokens)]


def test_what_is_thought_before_is_not_the_answers_first_token() -> None:
    """Of `Yes, sir.`: behind the thought, and the header of the message."""
    spoken = ids(harmony.preload().result(), GOOD)
    before = len(ids(harmony.preload().result(), GOOD.partition("Yes")[0]))
    found = asyncio.run(final_finder("harmony"))(arriving(spoken))
    assert found == before > 2


def test_of_what_never_comes_to_an_answer_none_is_found() -> None:
    thought = ids(harmony.preload().result(), GOOD.partition("<|end|>")[0])
    assert asyncio.run(final_finder("harmony"))(arriving(thought)) is None


def test_elsewhere_the_first_text_is_it() -> None:
    chunks = [Chunk(text="", tokens=(1,), arrived=0.0), *arriving([5, 6])[1:]]
    assert asyncio.run(final_finder("raw"))(chunks) == 1.0
