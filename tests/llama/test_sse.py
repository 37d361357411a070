from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptoss_flow.llama.sse import EventStreamParser, StreamEvent, TooLarge


def parse(*chunks: bytes) -> list[StreamEvent]:
    parser = EventStreamParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def data(stream: str | bytes) -> list[str]:
    return [event.data for event in parse(stream if isinstance(stream, bytes) else stream.encode())]


# From the cases of web-platform-tests/eventsource, and the examples of the standard.
CASES = {
    "several data fields are lines": ("data:a\ndata: b\n\n", ["a\nb"]),
    "data without a colon is an empty line": ("data\n\ndata\ndata\n\ndata:\n\n", ["", "\n", ""]),
    "one space after the colon is dropped": (
        "data:test\n\ndata: test\n\ndata:  test\n\n",
        ["test", "test", " test"],
    ),
    "comments are no events": (":hi\ndata: a\n: \n\n:\n\n", ["a"]),
    "unknown fields are ignored": ("data: a\nfoo: b\n data: c\nDATA: d\ndatax: e\n\n", ["a"]),
    "fields end where the colon is": ("data:a:b\n\n", ["a:b"]),
    "CR ends a line": ("data:a\rdata:b\r\r", ["a\nb"]),
    "CRLF ends a line": ("data:a\r\ndata:b\r\n\r\n", ["a\nb"]),
    "line ends may be mixed": ("data:a\rdata:b\ndata:c\r\n\r", ["a\nb\nc"]),
    "CR CR LF is two line ends": ("data:a\r\r\ndata:b\n\n", ["a", "b"]),
    "LF CR is two line ends": ("data:a\n\rdata:b\n\n", ["a", "b"]),
    "one BOM is dropped": ("\ufeffdata:a\n\n", ["a"]),
    "a second BOM is not": ("\ufeff\ufeffdata:a\n\ndata:b\n\n", ["b"]),
    "a BOM later is text": ("data:a\n\n\ufeffdata:b\n\n", ["a"]),
    "no data, no event": ("event:x\n\nid:1\n\n\n\n", []),
    "the end cuts an event off": ("data:a\n\ndata:b\n", ["a"]),
    "the end cuts a line off": ("data:a\n\ndata:b", ["a"]),
    "other Unicode line ends are text": ("data:a\u2028b\x0bc\x0cd\x85e\n\n", ["a\u2028b\x0bc\x0cd\x85e"]),
    "NUL is text": ("data:a\0b\n\n", ["a\0b"]),
    "invalid UTF-8 is replaced": (b"data:\xff\xe2\x82\n\n", ["\ufffd\ufffd"]),
}


@pytest.mark.parametrize(("stream", "expected"), CASES.values(), ids=CASES.keys())
def test_the_standard_is_followed_in_every_two_cuts(stream: str | bytes, expected: list[str]) -> None:
    raw = stream if isinstance(stream, bytes) else stream.encode()
    for cut in range(len(raw) + 1):
        assert [e.data for e in parse(raw[:cut], raw[cut:])] == expected, cut


def test_types_and_ids_are_read() -> None:
    assert parse(b"event: error\ndata: x\nid: 7\n\ndata: y\n\nid: a\0b\ndata: z\n\nid\ndata: w\n\n") == [
        StreamEvent("x", "error", "7"),
        StreamEvent("y", "message", "7"),
        StreamEvent("z", "message", "7"),
        StreamEvent("w", "message", ""),
    ]


def test_an_event_is_given_out_as_soon_as_its_empty_line_ends() -> None:
    parser = EventStreamParser()
    assert parser.feed(b"data: a\r\n") == []
    assert [e.data for e in parser.feed(b"\r")] == ["a"], "the LF that may follow is not waited for"
    assert parser.feed(b"\n") == []


PIECES = st.sampled_from(
    [
        b"data",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"event",
        b"id",
        b"x",
        b"\xef\xbb\xbf",
        "é€🎉".encode(),
        b"\xe2\x82",
    ]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 60)))
@example(b"\xef\xbb\xbfdata: \xf0\x9f\x8e\x89\r\n\r\n", [1, 2, 8, 11, 13])
def test_any_cut_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    ends = sorted({min(cut, len(stream)) for cut in cuts})
    chunks = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
    whole = parse(stream)
    assert parse(*chunks) == whole
    assert parse(*(bytes([b]) for b in stream)) == whole


def reference(stream: bytes) -> list[str]:
    """The standard's algorithm word by word, over the whole stream."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    *lines, _unfinished = text.split("\n")
    events, buffer = [], ""
    for line in lines:
        if line == "":
            if buffer:
                events.append(buffer[:-1])
            buffer = ""
            continue
        name, _, value = line.partition(":")
        if name == "data":
            buffer += value.removeprefix(" ") + "\n"
    return events


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_events_are_those_of_the_standards_algorithm(stream: bytes) -> None:
    assert data(stream) == reference(stream)


def test_a_line_without_end_is_refused() -> None:
    parser = EventStreamParser(max_bytes=1000)
    with pytest.raises(TooLarge):
        for _ in range(1001):
            parser.feed(b"x")


def test_an_event_without_end_is_refused() -> None:
    parser = EventStreamParser(max_bytes=1000)
    with pytest.raises(TooLarge):
        for _ in range(1001):
            parser.feed(b"data\n")
