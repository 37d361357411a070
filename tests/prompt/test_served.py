from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.ports import Chunk, Generation, Message, PromptRequest, RenderedPrompt, UnreadableAnswer
from gptoss_flow.prompt import harmony as harmony_module
from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.served import ServedModel
from tests.prompt.fakes import FakeCompletions, endpoint, final, spelled
from tests.prompt.test_harmony_stream import GOOD, ids


def ask(text: str = "hi", **changes: Any) -> PromptRequest:
    return PromptRequest(**{"mode": "auto", "messages": (Message("user", text),), **changes})


def render(completions: FakeCompletions, request: PromptRequest, **facts: Any) -> RenderedPrompt:
    return asyncio.run(ServedModel(endpoint(**facts), completions).render(request))


Pieces = list[tuple[str, str, int]]


def generate(completions: FakeCompletions, mode: str = "raw") -> tuple[Generation, Pieces]:
    pieces: Pieces = []
    prompt = RenderedPrompt(mode=mode, messages=(), tokens=(1, 2), params={"top_k": 1})  # type: ignore[arg-type]
    model = ServedModel(endpoint(), completions)
    return asyncio.run(model.generate(prompt, lambda *piece: pieces.append(piece))), pieces


def harmony_chunks(harmony: Harmony, text: str, **end: Any) -> list[Chunk]:
    chunks = [Chunk("", (token,), 100.0 + i) for i, token in enumerate(ids(harmony, text))]
    return [*chunks, Chunk("", (), 200.0, final(**end))]


# --- rendering -----------------------------------------------------------------------------------------------


def test_auto_is_harmony_where_the_vocabulary_is(harmony: Harmony) -> None:
    request = ask(date="2026-01-31", reasoning="high", step="s")
    prompt = render(FakeCompletions(harmony=True), request)
    assert prompt.mode == "harmony"
    assert list(prompt.tokens) == harmony.render(request)
    assert prompt.step == "s"


def test_auto_is_the_models_own_template_elsewhere() -> None:
    prompt = render(FakeCompletions(), ask())
    assert prompt.mode == "chat"
    assert spelled(prompt.tokens) == "«<|im_start|>»user\nhi«<|im_end|>»\n«<|im_start|>»assistant\n"


def test_the_vocabulary_is_looked_at_once() -> None:
    completions = FakeCompletions()
    model = ServedModel(endpoint(), completions)

    async def two() -> None:
        await asyncio.gather(model.render(ask("a")), model.render(ask("b")))
        completions.calls.clear()
        await model.render(ask("c"))

    asyncio.run(two())
    assert completions.calls == ["tokenize"]


def test_harmony_on_another_model_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        StepError, match="fake does not know Harmony's control tokens: write `mode: chat`"
    ) as caught:
        render(FakeCompletions(), ask(mode="harmony"))
    assert (caught.value.kind, caught.value.retryable) == ("model", False)


def test_a_vocabulary_that_cannot_be_had_ends_the_run_as_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(harmony_module, "_loading", None)
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    with pytest.raises(StepError, match="holds no o200k_base") as caught:
        render(FakeCompletions(harmony=True), ask())
    assert (caught.value.retryable, caught.value.exit_code) == (False, ExitCode.UNAVAILABLE)


def test_raw_text_is_sent_as_it_is() -> None:
    assert spelled(render(FakeCompletions(), ask("<s>[INST] hi", mode="raw")).tokens) == "<s>[INST] hi"
    allowed = ask("<s>[INST] hi", mode="raw", special=True)
    assert spelled(render(FakeCompletions(), allowed).tokens) == "«<s>»«[INST]» hi"


def test_a_steps_parameters_lie_over_the_profiles() -> None:
    request = ask(mode="raw", params={"temperature": 0.5, "seed": 1})
    model = ServedModel(endpoint(request={"temperature": 0, "top_k": 3}), FakeCompletions())
    prompt = asyncio.run(model.render(request))
    assert prompt.params == {"temperature": 0.5, "seed": 1, "top_k": 3, "max_tokens": 512}


@pytest.mark.parametrize(("context", "max_tokens"), [(4096, 512), (100, 98), (3, 1)])
def test_max_tokens_is_512_or_what_the_context_leaves(context: int, max_tokens: int) -> None:
    prompt = render(FakeCompletions(), ask("hi", mode="raw"), context_tokens=context)
    assert prompt.params["max_tokens"] == max_tokens


@pytest.mark.parametrize("mode", ["raw", "chat", "harmony"])
def test_a_prompt_that_leaves_no_room_is_refused_before_it_is_sent(mode: str) -> None:
    completions = FakeCompletions(harmony=True)
    request = ask("x" * 5000 + " y" * 5000, mode=mode)
    with pytest.raises(StepError, match=r"the prompt has \d+ tokens, .* 4096: shorten it") as caught:
        render(completions, request)
    assert not caught.value.retryable
    assert completions.asked == []


def test_lone_surrogates_are_replaced() -> None:
    prompt = render(FakeCompletions(), ask("a\ud800b\ud83d\ude42", mode="raw"))
    assert prompt.messages == (Message("user", "a\ufffdb🙂"),)


# --- generating ----------------------------------------------------------------------------------------------


def test_an_answer_is_gathered_from_its_chunks() -> None:
    chunks = [
        Chunk("He", (1,), 101.0),
        Chunk("", (2,), 102.0),
        Chunk("llo", (3,), 103.0),
        Chunk("", (), 104.0, final()),
    ]
    completions = FakeCompletions(chunks=chunks)
    answer, pieces = generate(completions)
    assert (answer.text, answer.tokens, answer.finish_reason) == ("Hello", (1, 2, 3), "stop")
    assert pieces == [("final", "He", 1), ("final", "llo", 2)]
    assert answer.usage == {
        "prompt_tokens": 7, "cached_tokens": 2, "completion_tokens": 3, "reasoning_tokens": 0,
    }  # fmt: skip
    assert (answer.timings["ttft_s"], answer.timings["ttfo_s"], answer.timings["latency_s"]) == (1.0, 1.0, 3.0)
    assert answer.timings["decode_tps"] == pytest.approx(100)
    assert completions.asked == [((1, 2), {"top_k": 1})]
    assert completions.closed == 1


@pytest.mark.parametrize("end", [{"stop_type": "limit"}, {"stop_type": "eos", "truncated": True}])
def test_an_answer_that_was_cut_says_so(end: dict[str, Any]) -> None:
    answer, _ = generate(FakeCompletions(chunks=[Chunk("He", (1,), 101.0), Chunk("", (), 102.0, final(**end))]))
    assert answer.finish_reason == "length"


def test_a_stream_without_its_last_event_has_failed() -> None:
    with pytest.raises(StepError, match="ended before its end"):
        generate(FakeCompletions(chunks=[Chunk("He", (1,), 101.0)]))


def test_harmony_gives_answer_and_reasoning(harmony: Harmony) -> None:
    answer, pieces = generate(FakeCompletions(chunks=harmony_chunks(harmony, GOOD)), "harmony")
    assert (answer.text, answer.reasoning) == ("Yes, sir.", "Think.")
    assert list(answer.tokens) == ids(harmony, GOOD)
    assert answer.usage["reasoning_tokens"] == 2
    assert [channel for channel, _, _ in pieces] == ["analysis"] * 2 + ["final"] * 4
    assert answer.timings["ttft_s"] < answer.timings["ttfo_s"]


@pytest.mark.parametrize(
    ("generated", "end", "message"),
    [
        ("<|channel|>analysis<|message|>T<|return|>", {}, "ended its turn without a final message"),
        (
            '<|channel|>commentary to=functions.rm <|constrain|>json<|message|>{"a":1}<|call|>',
            {},
            "called functions.rm, a tool that this step does not give it",
        ),
        (
            "<|channel|>analysis<|message|>T",
            {"stop_type": "word", "stopping_word": "T"},
            "the stop text 'T' ended",
        ),
        ("<|return|>", {}, "ended its turn without a final message"),
    ],
)
def test_an_end_without_an_answer_can_be_tried_again(
    harmony: Harmony, generated: str, end: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnreadableAnswer, match=message) as caught:
        generate(FakeCompletions(chunks=harmony_chunks(harmony, generated, **end)), "harmony")
    assert (caught.value.kind, caught.value.retryable) == ("model", True)
    assert list(caught.value.generation.tokens) == ids(harmony, generated)


def test_reasoning_that_the_limit_cut_is_an_empty_answer_of_finish_reason_length(harmony: Harmony) -> None:
    chunks = harmony_chunks(harmony, "<|channel|>analysis<|message|>Think", stop_type="limit")
    answer, _ = generate(FakeCompletions(chunks=chunks), "harmony")
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("", "Think", "length")


def test_a_stop_text_is_no_part_of_the_answer(harmony: Harmony) -> None:
    chunks = harmony_chunks(
        harmony, "<|channel|>final<|message|>One. Two. Th", stop_type="word", stopping_word=". Th"
    )
    assert generate(FakeCompletions(chunks=chunks), "harmony")[0].text == "One. Two"


def test_a_reader_that_fails_frees_the_slot_at_once() -> None:
    completions = FakeCompletions(chunks=[Chunk("a", (1,), 1.0), Chunk("b", (2,), 2.0, final())])
    model = ServedModel(endpoint(), completions)
    prompt = RenderedPrompt(mode="raw", messages=(), tokens=(1,), params={})

    def fail(*_: object) -> None:
        raise RuntimeError("reader")

    async def closed_when_it_raises() -> int:
        with pytest.raises(RuntimeError, match="reader"):
            await model.generate(prompt, fail)
        return completions.closed

    assert asyncio.run(closed_when_it_raises()) == 1


# --- counting and cutting ------------------------------------------------------------------------------------


def truncated(text: str, tokens: int, completions: FakeCompletions | None = None) -> str:
    return asyncio.run(ServedModel(endpoint(), completions or FakeCompletions()).truncate(text, tokens))


def test_tokens_are_counted_without_control_tokens() -> None:
    assert asyncio.run(ServedModel(endpoint(), FakeCompletions()).count_tokens("<s>é")) == 5


@pytest.mark.parametrize(
    ("text", "tokens", "kept"),
    [
        ("hello", 9, "hello"),
        ("hello", 5, "hello"),
        ("hello", 2, "he"),
        ("hello", 0, ""),
        ("", 3, ""),
        ("hi", -1, ""),
    ],
)
def test_a_text_is_cut_after_its_first_tokens(text: str, tokens: int, kept: str) -> None:
    assert truncated(text, tokens) == kept


@pytest.mark.parametrize(("tokens", "kept"), [(1, "a"), (2, "a"), (4, "a"), (5, "a🙂"), (6, "a🙂"), (7, "a🙂é")])
def test_a_cut_never_falls_inside_a_character(tokens: int, kept: str) -> None:
    assert truncated("a🙂é!", tokens) == kept


def test_a_vocabulary_that_puts_spaces_before_texts_is_cut_at_the_same_place() -> None:
    assert truncated("hello", 3, FakeCompletions(spaced=True)) == "he"


def test_a_vocabulary_that_rewrites_texts_is_cut_by_trial() -> None:
    class Shouting(FakeCompletions):
        async def detokenize(self, tokens: Any) -> str:
            return (await super().detokenize(tokens)).upper()

    text = "hello, how are you?"
    assert truncated(text, 11, Shouting()) == text[:11]
