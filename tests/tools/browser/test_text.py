"""From bytes to text: types, lies about types, charsets, letters that nobody sees."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.tools.browser.fetch import Answer, Head
from gptoss_flow.tools.browser.text import legible, text_of
from gptoss_flow.tools.browser.urls import parse_url


def answer(body: bytes, kind: str = "text/html") -> Answer:
    return Answer(Head(parse_url("http://example.org/x"), 200, {"content-type": kind} if kind else {}), body)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"%PDF-1.7\n%text", "a PDF file, not text/html"),
        (b"PK\x03\x04rest", "a ZIP file"),
        (gzip.compress(b"x", mtime=0), "a gzip file"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"GIF89a", "a picture"),
        (b"\x7fELF\x02", "a program"),
        (b"text\0text", "no text"),
        (bytes(range(1, 9)) * 50 + b"x" * 100, "no text"),
        (b"\x00asm\x01", "a program"),
    ],
)
def test_a_lie_about_the_type_is_found_out(body: bytes, what: str) -> None:
    with pytest.raises(StepError, match=f"http://example.org/x is {what}"):
        text_of(answer(body))
    with pytest.raises(StepError):
        text_of(answer(body, ""))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("Grüße".encode(), "text/html"),
        ("Grüße".encode(), "text/html; charset=UTF-8"),
        ("Grüße".encode("latin-1"), "text/html; charset=iso-8859-1"),
        ("Grüße".encode("cp1252"), "text/html"),
        (b"\xef\xbb\xbf" + "Grüße".encode(), "text/html; charset=iso-8859-1"),
        ("Grüße".encode("utf-16"), "text/html"),
        ("Grüße".encode(), "text/html; charset=no-such"),
        ("Grüße".encode(), "text/html; charset=zlib"),
        ("Grüße".encode(), "text/html; charset=utf-7"),
    ],
)
def test_the_charset_is_found(body: bytes, kind: str) -> None:
    assert text_of(answer(body, kind)) == "Grüße"


def test_the_charset_may_stand_in_the_page() -> None:
    page = '<meta charset="koi8-r"><p>привет'
    assert text_of(answer(page.encode("koi8-r"))) == page
    page = '<meta http-equiv="Content-Type" content="text/html; charset=shift_jis">日本'
    assert text_of(answer(page.encode("shift_jis"))) == page
    assert text_of(answer("Ａ".encode("gb18030"), "text/plain; charset=gb2312")) == "Ａ"  # noqa: RUF001


@given(
    st.binary(max_size=300), st.sampled_from(["text/plain", "text/html; charset=utf-16", "x/+json; charset=big5"])
)
def test_any_bytes_give_text_or_a_refusal(body: bytes, kind: str) -> None:
    try:
        text = text_of(answer(body, kind))
    except StepError:
        return
    text.encode()


@pytest.mark.parametrize(
    "hidden",
    ["\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad", "\U000e0041", "\x1b", "\x9b", "\ufe0f", "\U000e0100",
     "\x07", "\u2028", "\u3164", "\ue000", "\x00", "\r"],
)  # fmt: skip
def test_letters_that_nobody_sees_are_left_out(hidden: str) -> None:
    assert legible(f"a{hidden}b") == "ab"


def test_what_can_be_read_stays() -> None:
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    for text in ("plain\n\ttext", "Grüße, 日本", persian, "👩\u200d🔬 x"):
        assert legible(text) == text
