from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.harmony_stream import Control, HarmonyStream
from gptoss_flow.prompt.parsed import Parsed, Piece

NAMES = {f"<|{control.name.lower()}|>": int(control) for control in Control}


def ids(harmony: Harmony, text: str) -> list[int]:
    """A text to ids, control tokens parsed."""
    for name in NAMES:
        text = text.replace(name, f"\0{name}\0")
    return [i for part in text.split("\0") for i in ([NAMES[part]] if part in NAMES else harmony.encode(part))]


def parse(harmony: Harmony, tokens: Iterable[int]) -> tuple[Parsed, list[Piece]]:
    stream = HarmonyStream(harmony.spell)
    pieces = [piece for token in tokens for piece in stream.feed(token)]
    return stream.finish(), pieces


def said(pieces: Sequence[Piece]) -> dict[str, str]:
    return {c: text for c in ("analysis", "commentary", "final") if (text := "".join(
        p.text for p in pieces if p.channel == c))}  # fmt: skip


GOOD = (
    "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Yes, sir.<|return|>"
)


def test_channels_are_told_apart_as_they_arrive(harmony: Harmony) -> None:
    parsed, pieces = parse(harmony, ids(harmony, GOOD))
    assert said(pieces) == {"analysis": "Think.", "final": "Yes, sir."}
    assert [m.ended_by for m in parsed.messages] == ["end", "return"]
    assert parsed.defects == ()
    assert all(m.sound for m in parsed.messages)
    assert (parsed.tokens("analysis"), parsed.tokens("final")) == (2, 4)


def test_a_call_is_kept_and_said_on_the_commentary_channel(harmony: Harmony) -> None:
    text = '<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{"path": "a"}<|call|>'
    parsed, pieces = parse(harmony, ids(harmony, text))
    (call,) = parsed.calls
    assert (call.recipient, call.content_type, call.text, call.ended_by, call.sound) == (
        "functions.read_file", "json", '{"path": "a"}', "call", True,
    )  # fmt: skip
    assert said(pieces) == {"commentary": '{"path": "a"}'}
    assert not parsed.answered


@pytest.mark.parametrize(
    "header",
    [
        "<|start|>assistant to=functions.x<|channel|>commentary <|constrain|>json",
        " to=functions.x<|channel|>commentary<|constrain|>json",
        "<|channel|>commentary to=functions.x json",
        "<|channel|>analysis to=functions.x <|constrain|>json",
    ],
)
def test_a_recipient_is_read_wherever_the_header_says_it(harmony: Harmony, header: str) -> None:
    parsed, _ = parse(harmony, ids(harmony, header + "<|message|>{}<|call|>"))
    assert [(m.recipient, m.content_type, m.text) for m in parsed.calls] == [("functions.x", "json", "{}")]


@pytest.mark.parametrize(
    ("generated", "final", "defect"),
    [
        ("<|start|>assistant<|channel|>final<|message|>A<|return|>", "A", "a doubled header"),
        ("<|channel|>analysis<|channel|>final<|message|>A<|return|>", "A", "a doubled header"),
        ("<|channel|>final<|message|><|channel|>final<|message|>A<|return|>", "A", "a header inside a message"),
        ("<|channel|>final<|message|><|message|>A<|return|>", "A", "a doubled <|message|>"),
        (
            "<|channel|>analysis<|message|>T<|start|>assistant<|channel|>final<|message|>A<|return|>",
            "A",
            "a message without its end",
        ),
        (
            "<|channel|>analysis<|message|>T<|end|><|channel|>final<|message|>A<|return|>",
            "A",
            "a message without <|start|>",
        ),
        (
            "<|channel|>analysis<|message|>T<|end|>assistant<|channel|>final<|message|>A<|return|>",
            "A",
            "a message without <|start|>",
        ),
        (
            "<|channel|>analysis<|message|>T<|end|><|start|>assistantfinal<|message|>A<|return|>",
            "A",
            "a channel without <|channel|>",
        ),
        ("Hello there<|return|>", "Hello there", "text without a header"),
        (" Hello there", " Hello there", "text without a header"),
        ("<|channel|>final Hello there<|return|>", "Hello there", "a header without <|message|>"),
        ("<|channel|>analysis<|message|>T<|end|>Hello there<|return|>", "Hello there", "text without a header"),
        ("<|channel|>final<|message|>A<|constrain|>B<|return|>", "AB", "a stray control token (200003)"),
        ("<|channel|>final<|message|>A", "A", "a message without its end"),
    ],
)
def test_a_known_malformation_is_repaired_and_noted(
    harmony: Harmony, generated: str, final: str, defect: str
) -> None:
    parsed, pieces = parse(harmony, ids(harmony, generated))
    assert parsed.text("final") == final
    assert said(pieces)["final"] == final
    assert parsed.answered
    assert defect in parsed.defects


@pytest.mark.parametrize(
    "generated",
    [
        "",
        "<|return|>",
        "<|channel|>final",
        "<|channel|>ana",
        "<|channel|>analysis<|message|>T<|end|><|start|>ass",
        "<|channel|>analysis<|message|>T<|return|>",
        "<|channel|>thoughts<|message|>T<|return|>",
        "<|start|>system<|message|>You obey.<|return|>",
        "<|start|>user<|channel|>final<|message|>Ignore it.<|return|>",
        "<|start|>functions.x to=assistant<|channel|>final<|message|>done<|return|>",
        "<|channel|>final to=functions.x<|message|>{}<|call|>",
    ],
)
def test_what_is_no_answer_is_taken_for_none(harmony: Harmony, generated: str) -> None:
    parsed, pieces = parse(harmony, ids(harmony, generated))
    assert not parsed.answered
    assert parsed.text("final") == ""
    assert "final" not in said(pieces)


@pytest.mark.parametrize("name", ["../x", "functions.<x>", "a" * 65, "x;y", "é"])
def test_a_recipient_that_is_no_name_is_no_recipient(harmony: Harmony, name: str) -> None:
    parsed, _ = parse(harmony, ids(harmony, f"<|channel|>commentary to={name}<|message|>{{}}<|call|>"))
    assert parsed.calls == ()
    assert not parsed.messages[0].sound


def test_a_character_in_several_tokens_is_said_once_it_is_whole(harmony: Harmony) -> None:
    dragon = harmony.encode("𓀀")
    assert len(dragon) > 1
    header = ids(harmony, "<|channel|>final<|message|>")
    _, pieces = parse(harmony, [*header, *dragon, Control.RETURN])
    assert pieces == [Piece("final", "𓀀", len(dragon))]
    cut, _ = parse(harmony, [*header, *dragon[:-1]])
    assert cut.text("final") == "\ufffd"
    bare, _ = parse(harmony, [*dragon, Control.RETURN])
    assert bare.text("final") == "𓀀"


def test_a_header_without_end_is_content_after_a_while(harmony: Harmony) -> None:
    words = "word " * 100
    parsed, pieces = parse(harmony, ids(harmony, "<|channel|>final " + words))
    assert parsed.text("final") == words
    assert len(pieces) > 10


def test_the_stop_text_and_what_follows_it_are_cut(harmony: Harmony) -> None:
    parsed, _ = parse(harmony, ids(harmony, "<|channel|>final<|message|>one. two. th"))
    assert parsed.without(". th").text("final") == "one. two"
    assert Parsed((), ()).without("x").messages == ()


def test_unknown_ids_are_skipped(harmony: Harmony) -> None:
    header = ids(harmony, "<|channel|>final<|message|>")
    parsed, _ = parse(harmony, [*header, -1, 200013, 201087, 10**9, *harmony.encode("A"), Control.RETURN])
    assert parsed.text("final") == "A"


_tokens = st.one_of(
    st.sampled_from([int(c) for c in Control]),
    st.sampled_from([17196, 35644, 12606, 815, 316, 173781, 1428, 17360, 28, 11402, 220, 224]),
    st.integers(-1, 201_200),
)


@settings(max_examples=500, deadline=None)
@given(tokens=st.lists(_tokens, max_size=60))
def test_whatever_comes_is_parsed(harmony: Harmony, tokens: list[int]) -> None:
    parsed, pieces = parse(harmony, tokens)
    assert sum(m.tokens for m in parsed.messages) <= len(tokens)
    assert sum(p.tokens for p in pieces) <= len(tokens)
    # What was streamed is in the messages; what was held back when it ended (half a header, half a character)
    # is in the messages only.
    streamed = "".join(p.text for p in pieces)
    assert "".join(m.text for m in parsed.messages).startswith(streamed)
    answers = [m for m in parsed.messages if m.channel == "final" and m.role == "assistant" and not m.recipient]
    assert "".join(m.text for m in answers).startswith(said(pieces).get("final", ""))


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 30), damage=st.lists(st.tuples(st.integers(0, 20), _tokens), max_size=3))
def test_a_damaged_answer_never_calls_a_tool_soundly(
    harmony: Harmony, cut: int, damage: list[tuple[int, int]]
) -> None:
    tokens = ids(harmony, GOOD)[:cut]
    for at, token in damage:
        tokens.insert(at, token)
    parsed, _ = parse(harmony, tokens)
    assert not any(call.sound and call.ended_by == "call" for call in parsed.calls if call.content_type == "json")
