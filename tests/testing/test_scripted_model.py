from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid, StepError
from gptoss_flow.ports import Generation, Message, PromptRequest
from gptoss_flow.testing.clock import ManualClock
from gptoss_flow.testing.scripted_model import Script, ScriptedModels, read_script


def script(**keys: Any) -> Script:
    return Script.model_validate(keys)


class Asker:
    def __init__(self, script: Script, clock: ManualClock | None = None) -> None:
        self.models = ScriptedModels(script, clock or ManualClock())
        self.pieces: list[tuple[str, str, int]] = []

    async def ask(self, text: str = "hi", **request: Any) -> Generation:
        model = await self.models.get("any")
        prompt = await model.render(
            PromptRequest(**{"mode": "auto", "messages": (Message("user", text),), **request})
        )
        return await model.generate(prompt, lambda *piece: self.pieces.append(piece))

    def answer(self, text: str = "hi", **request: Any) -> str:
        return asyncio.run(self.ask(text, **request)).text


def test_the_first_reply_that_fits_answers() -> None:
    asker = Asker(
        script(
            replies=[
                {"step": "sum", "text": "by step"},
                {"contains": "weather", "text": "by text"},
                {"matches": r"\d{3}", "text": "by expression"},
                {"step": "other", "contains": "weather", "text": "never"},
            ],
            default="default",
        )
    )
    assert asker.answer("weather", step="sum") == "by step"
    assert asker.answer("weather", step="other") == "by text"
    assert asker.answer("call 123") == "by expression"
    assert asker.answer("else") == "default"


def test_a_step_means_all_its_items_or_one() -> None:
    asker = Asker(script(replies=[{"step": "each[1]", "text": "one"}, {"step": "each", "text": "all"}]))
    assert [asker.answer(step=f"each[{i}]") for i in range(3)] == ["all", "one", "all"]


def test_replies_are_used_up_in_order() -> None:
    asker = Asker(
        script(
            replies=[
                {"times": 1, "error": {"kind": "server", "message": "it died"}},
                {"times": 2, "text": "second"},
                {"text": "rest"},
            ]
        )
    )
    with pytest.raises(StepError, match="it died") as caught:
        asker.answer()
    assert (caught.value.kind, caught.value.retryable) == ("server", True)
    assert [asker.answer() for _ in range(3)] == ["second", "second", "rest"]


def test_a_prompt_without_a_reply_says_where_to_add_one() -> None:
    with pytest.raises(StepError, match=r'no reply for this prompt of step "a": add one') as caught:
        Asker(script()).answer(step="a")
    assert not caught.value.retryable


def test_an_answer_streams_word_by_word_with_steady_numbers() -> None:
    asker = Asker(script(replies=[{"text": "Yes, of course.", "reasoning": "Hm."}]))
    answer = asyncio.run(asker.ask("one two  three"))
    assert asker.pieces == [
        ("analysis", "Hm.", 1), ("final", "Yes,", 1), ("final", " of", 1), ("final", " course.", 1),
    ]  # fmt: skip
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Yes, of course.", "Hm.", "stop")
    assert answer.usage == {
        "prompt_tokens": 3, "cached_tokens": 0, "completion_tokens": 4, "reasoning_tokens": 1,
    }  # fmt: skip
    assert answer == asyncio.run(asker.ask("one two  three"))


def test_max_tokens_cuts() -> None:
    answer = asyncio.run(Asker(script(default="a b c")).ask(params={"max_tokens": 2}))
    assert (answer.text, answer.finish_reason) == ("a b", "length")
    said = Asker(script(replies=[{"text": "a b", "finish_reason": "length"}]))
    assert asyncio.run(said.ask()).finish_reason == "length"


def test_delays_are_of_the_clock() -> None:
    clock = ManualClock()
    asker = Asker(script(replies=[{"text": "a b", "delay": "2s", "token_delay": "500ms"}]), clock)

    async def timed() -> Generation:
        task = asyncio.create_task(asker.ask())
        for seconds in (2, 0.5):
            await clock.until_sleeping()
            clock.advance(seconds)
        return await task

    timings = asyncio.run(timed()).timings
    assert (timings["ttft_s"], timings["latency_s"]) == (2.0, 2.5)


def test_texts_are_counted_and_cut_by_words() -> None:
    async def both() -> tuple[int, str]:
        model = await ScriptedModels(script(), ManualClock()).get("any")
        return await model.count_tokens("one  two three"), await model.truncate("one  two three", 2)

    assert asyncio.run(both()) == (3, "one  two")


def test_a_file_is_read_with_places(tmp_path: Path) -> None:
    path = tmp_path / "replies.yaml"
    path.write_text("replies:\n  - step: a\n    text: hello\ndefault: rest\n")
    assert read_script(path).replies[0].text == "hello"
    path.write_text("replies:\n  - stepp: a\n    text: hello\n  - matches: '('\n    text: x\n  - step: c\n")
    with pytest.raises(Invalid) as caught:
        read_script(path, "replies.yaml")
    said = str(caught.value)
    assert "replies.yaml:2:" in said
    assert "stepp" in said
    assert "replies.yaml:4:" in said
    assert "regular expression" in said
    assert 'needs either "text" or "error"' in said
