"""The types of lines, one by one as the format has them, and what Rust calls a word or a space."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record.rlog_lines import LINE_TYPES, classify, is_word

LINES = [
    ("", "empty", ""),
    (" \u2003\x85", "empty", ""),
    ("  u: no user", "continuation", "u: no user"),
    ("\ta", "continuation", "a"),
    (" u: one space is no indentation", "user", "one space is no indentation"),
    ("\u00a0\u00a0a: nor are other spaces", "agent", "nor are other spaces"),
    ("u:", "user", ""),
    ("u:\u2003 Hello ", "user", "Hello"),
    ("a:b", "agent", "b"),
    ("t!:read x → [running]", "tool_start", "read x → [running]"),
    ("t!:-read", "unknown", "t!:-read"),
    ("t!: read", "unknown", "t!: read"),
    ("t~:read [50%]", "tool_progress", "read [50%]"),
    ("t~:", "unknown", "t~:"),
    ("t:read", "tool", "read"),
    ("t:étage", "tool", "étage"),
    ("t:²", "unknown", "t:²"),
    ("t:\u0301x", "tool", "\u0301x"),
    ("t:Ⓐ", "tool", "Ⓐ"),
    ("t: read", "unknown", "t: read"),
    ("o: id=1", "observation", "id=1"),
    ("s:deploy  now", "skill", "deploy  now"),
    ("s:x", "unknown", "s:x"),
    ("s: x y", "unknown", "s: x y"),
    ("s:a\u2003b", "skill", "a\u2003b"),
    ("p:create x", "plan", "create x"),
    ("p: create", "unknown", "p: create"),
    ("m:auto", "mode", "auto"),
    ("m: auto", "mode", " auto"),
    ("m: -", "unknown", "m: -"),
    ("r: q", "recall", " q"),
    ("x:explore id=1", "subagent", "explore id=1"),
    ("c:github.issues x", "mcp", "github.issues x"),
    ("c:git-hub.issues", "unknown", "c:git-hub.issues"),
    ("c:github", "unknown", "c:github"),
    ("c:github.", "unknown", "c:github."),
    ("c:.x", "unknown", "c:.x"),
    ("q: which?", "question", "which?"),
    ("#note", "comment", "note"),
    ("@phase explore", "phase", "explore"),
    ("@phase  explore x", "phase", " explore x"),
    ("@phase", "lifecycle", "phase"),
    ("@phase -", "lifecycle", "phase -"),
    ("@phaser x", "lifecycle", "phaser x"),
    ("@end x", "lifecycle", "end x"),
    ("@-end", "unknown", "@-end"),
    ("@", "unknown", "@"),
    ("th: hm", "thinking", "hm"),
    ("td: [pending] x", "todos", "[pending] x"),
    ("U: x", "unknown", "U: x"),
    ("thx: y", "unknown", "thx: y"),
    (":", "unknown", ":"),
    ("---", "unknown", "---"),
    ("ok: fine", "unknown", "ok: fine"),
    ("\x1cu: a control is no space", "unknown", "\x1cu: a control is no space"),
    ("\ufeffu: nor is a byte order mark", "unknown", "\ufeffu: nor is a byte order mark"),
]


@pytest.mark.parametrize(("raw", "kind", "content"), LINES)
def test_a_line_is_of_the_type_and_content_that_its_prefix_says(raw: str, kind: str, content: str) -> None:
    assert classify(raw) == (kind, content)


def test_every_type_is_among_the_examples() -> None:
    assert {kind for _, kind, _ in LINES} == set(LINE_TYPES)


def test_word_characters_are_those_of_unicode_and_not_pythons() -> None:
    words = [char for char in "aZ0_é中٣\u0301‿\u200dⅣⒶ" if is_word(char)]
    assert "".join(words) == "aZ0_é中٣\u0301‿\u200dⅣⒶ"
    assert [
        char for char in ("", " ", "-", "²", "½", "→", "\x7f", "😀", "\u2028", "\ud800") if is_word(char)
    ] == []


@given(st.text())
def test_every_text_is_a_line(raw: str) -> None:
    kind, content = classify(raw)
    assert kind in LINE_TYPES and content in raw
