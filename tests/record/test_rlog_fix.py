"""What is mended is mended, and nothing else is touched."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record.rlog_fix import Changes, mend
from gptoss_flow.record.rlog_read import read_rlog
from tests.record.test_rlog_check import HEADER, codes


def mended(data: str | bytes) -> tuple[bytes, list[int]]:
    file = io.BytesIO(data if isinstance(data, bytes) else data.encode())
    header, _ = read_rlog(file)
    file.seek(0)
    changes = Changes()
    text = b"".join(mend(file, header, changes))
    return text, [line for line, _ in changes.described]


@pytest.mark.parametrize(
    ("body", "becomes"),
    [
        ("a: one\ntwo\n\n- three\n", "a: one\n  two\n\n  - three\n"),
        ("a: one", "a: one\n"),
        ("a: one\r\n", "a: one\n"),
        ("t:x id=a -> [ok] y\n", "t:x id=a → [ok] y\n"),
        ("o: fn f() -> u32 -> [ok]\n", "o: fn f() -> u32 → [ok]\n"),
        ("a: key [REDACTED] [REDACTED:api]\n", "a: key [redacted:secret] [redacted:api]\n"),
    ],
)
def test_what_can_be_mended_is(body: str, becomes: str) -> None:
    text, lines = mended(HEADER + body)
    assert text.decode() == HEADER + becomes
    assert lines
    assert codes(text, strict=True) == []


@pytest.mark.parametrize(
    "body",
    [
        "a: fn f() -> [u8]\n",
        "t:x id=a -> [ok] → [ok]\n",
        "o: a -> b\n",
        "before any event\nu: x\n",
        "u: x\nc:git-hub.x id=1\ns:x\n@-\n",
        "u: a\x1c\x85\u2028b\rc [redacted:x] [REDACTED!]\n  more\n",
    ],
)
def test_what_is_right_or_not_sure_stays(body: str) -> None:
    text, lines = mended(HEADER + body)
    assert (text.decode(), lines) == (HEADER + body, [])


def test_bytes_that_are_no_text_become_escapes() -> None:
    assert mended(HEADER.encode() + b"a: \xffx\n")[0] == HEADER.encode() + b"a: \\xffx\n"


@given(
    st.binary()
    | st.lists(st.sampled_from([b"---\n", b"a: x", b"\r\n", b"\n", b"\xff", b"hm", b"t:x -> [ok]"])).map(b"".join)
)
def test_what_was_mended_needs_no_mending(data: bytes) -> None:
    text, _ = mended(data)
    assert mended(text) == (text, [])
