"""From an answer's bytes to text: which types are text, what the bytes say themselves, in which charset."""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import cache

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.tools.browser.fetch import Answer, Head
from gptoss_flow.tools.browser.urls import shown
from gptoss_flow.tools.workspace import refusal
from gptoss_flow.words import word_set

HTML = frozenset({"text/html", "application/xhtml+xml"})
_TEXTUAL = HTML | word_set(
    "application/json application/xml application/javascript application/ecmascript application/yaml "
    "application/x-yaml application/toml application/sql application/graphql application/x-ndjson "
    "application/jsonl application/x-sh"
)
_TEXTUAL_SUFFIXES = ("+json", "+xml", "+yaml")
_NO_TEXT = {
    b"%PDF-": "a PDF file",
    b"PK\x03\x04": "a ZIP file",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"BZh9": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"7z\xbc\xaf": "a 7z file",
    b"Rar!": "a RAR file",
    b"\x89PNG": "a picture",
    b"GIF8": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"RIFF": "a media file",
    b"OggS": "a media file",
    b"ID3": "a media file",
    b"wOFF": "a font",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"\x00asm": "a program",
    b"SQLite format 3": "a database",
}
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CHARSETS = word_set(
    "utf-8 utf-16 utf-16-le utf-16-be ascii iso8859-1 iso8859-2 iso8859-5 iso8859-7 iso8859-9 iso8859-15 cp1250 "
    "cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 koi8-r koi8-u gbk gb2312 gb18030 big5 shift_jis euc_jp "
    "iso2022_jp euc_kr cp949 cp874 tis-620 mac-roman"
)
"""Python's names for what the web is written in; others (`zlib`, `punycode`, `utf-7`) are no charsets or traps."""
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_SNIFFED = 4096
_HEAD = 1024
_MAX_CONTROLS = 0.02
_PLAIN_CONTROLS = bytes(range(0x20, 0x100)) + b"\t\n\r\f\x1b"


def media_type(head: Head) -> str:
    """`text/html`, in lower case, without parameters; empty where the answer does not say."""
    return head.headers.get("content-type", "").partition(";")[0].strip().lower()


def judge(head: Head) -> None:
    """A `fetch.Judge` for pages: refuses what failed, and what is no text, before it is read."""
    if head.status >= 400 or head.status < 200:
        may_pass = head.status in (408, 425, 429) or head.status >= 500
        raise StepError("tool", f"{shown(head.url)} answered with status {head.status}", retryable=may_pass)
    judge_type(head)


def judge_type(head: Head) -> None:
    """Refuses what says itself that it is no text."""
    kind = media_type(head)
    if kind == "application/pdf":
        raise refusal(f"{shown(head.url)} is a PDF file, which is not read; look for the same as a web page")
    if kind and not (kind.startswith("text/") or kind in _TEXTUAL or kind.endswith(_TEXTUAL_SUFFIXES)):
        raise refusal(f"{shown(head.url)} is {one_line(kind[:60])}, and only text is read")


def text_of(answer: Answer) -> str:
    """The body as text. Raises `StepError` where it is none, whatever its type says."""
    body = answer.body
    bom = next((name for mark, name in _BOMS.items() if body.startswith(mark)), "")
    if bom != "utf-16" and (what := _no_text(body)):
        said = media_type(answer.head)
        raise refusal(f"{shown(answer.head.url)} is {what}{f', not {one_line(said[:60])}' if said else ''}")
    return body.decode(bom or _charset(answer), errors="replace").replace("\0", "\ufffd")


def _no_text(body: bytes) -> str:
    """What the bytes are if not text; empty if they may be text."""
    if named := next((what for magic, what in _NO_TEXT.items() if body.startswith(magic)), ""):
        return named
    sniffed = body[:_SNIFFED]
    controls = len(sniffed.translate(None, _PLAIN_CONTROLS))
    return "no text" if b"\0" in sniffed or controls > len(sniffed) * _MAX_CONTROLS else ""


def _charset(answer: Answer) -> str:
    """By the header, else by what the page says at its beginning, else UTF-8 where it is that, else Windows'."""
    said = _CHARSET.search(answer.head.headers.get("content-type", ""))
    within = _CHARSET.search(answer.body[:_HEAD].decode("latin-1")) if media_type(answer.head) in HTML else None
    for match in (said, within):
        if match and (name := _known(match[1])):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(answer.body)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _known(name: str) -> str:
    try:
        name = codecs.lookup(name).name
    except LookupError:
        return ""
    if name not in _CHARSETS:
        return ""
    return {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}.get(name, name)


def legible(text: str) -> str:
    """The text without what nobody sees: controls, directions, zero widths, tags, variation selectors.

    Letters could be hidden in those for a model to read. The joiners that some scripts need stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate({ord(char): None for char in set(text) if _is_hidden(char)})


@cache
def _is_hidden(char: str) -> bool:
    if char in "\n\t\u200c\u200d":
        return False
    code = ord(char)
    return (
        unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")
        or 0xFE00 <= code <= 0xFE0F
        or 0xE0100 <= code <= 0xE01EF
        or code in (0x115F, 0x1160, 0x3164, 0xFFA0, 0x034F, 0x2028, 0x2029)
    )
