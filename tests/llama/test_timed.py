from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.llama.timed import NotAnswered, Received, TimedClient, arrivals_in, read
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from tests.llama.conftest import endpoint

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(tokens: int, predicted: int, **more: Any) -> bytes:
    said = {"content": "é" * tokens, "tokens": [7] * tokens, "tokens_predicted": predicted, **more}
    data = f"data: {json.dumps(said, ensure_ascii=False)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


ANSWER = (
    HEAD + event(1, 1) + b"5\r\n: hi\n\r\n" + event(1, 4) + event(2, 6)
    + event(0, 6, stop=True, stop_type="limit", tokens_evaluated=5, timings={"predicted_ms": 3}) + b"0\r\n\r\n"
)  # fmt: skip


def received(data: bytes, cuts: list[int]) -> Received:
    ends = sorted({cut % len(data) for cut in cuts} | {len(data)})
    pieces = [(float(n), data[a:b]) for n, (a, b) in enumerate(zip([0, *ends], ends, strict=False)) if b > a]
    return Received(0.0, pieces)


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_an_answer_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """Tokens are counted as the server counts them: an event may stand for several of which it names one."""
    timed = read(received(ANSWER, cuts))
    assert [n for _, n in timed.chunks] == [1, 3, 2, 0]
    assert timed.final.tokens_predicted == 6
    times = [chunk.arrived for chunk, _ in timed.chunks]
    assert times == sorted(times)


@given(st.integers(0, len(ANSWER) - 8), st.lists(st.integers(0, 10_000), max_size=5))
def test_what_ends_early_is_no_answer_but_what_came_of_it_counts(end: int, cuts: list[int]) -> None:
    cut = received(ANSWER[:end] or b"H", cuts)
    if b'"stop": true' in ANSWER[:end] and ANSWER[:end].endswith(b"\n\n"):
        return
    assert sum(n for _, n in arrivals_in(cut)) <= 6
    if not ANSWER[:end].endswith(b"}\n\n\r\n"):
        with pytest.raises(NotAnswered):
            read(cut)


def test_a_piece_is_stamped_with_the_time_at_which_its_event_was_whole() -> None:
    cut = ANSWER.index(b"\n\n", len(HEAD)) + 1  # between the two line ends of the first event
    timed = read(received(ANSWER, [cut]))
    assert [chunk.arrived for chunk, _ in timed.chunks] == [1.0, 1.0, 1.0, 1.0]


def ask(reply: Reply, timeout_s: float = 5.0, **script: Any) -> Received:
    async def run() -> Received:
        async with FakeServer(Script(replies=[reply], **script)) as server:
            client, got = TimedClient(endpoint(server.url, api_key="k")), Received()
            await client.ask(client.request((1, 2, 3), {"max_tokens": 6}), timeout_s, got)
            return got

    return asyncio.run(run())


def test_a_real_exchange() -> None:
    timed = read(ask(Reply(text="abcdef", token_delay_s=0.005), api_key="k"))
    assert [n for _, n in timed.chunks] == [1, 1, 1, 1, 1, 1, 0]
    assert timed.sent < timed.chunks[0][0].arrived < timed.chunks[5][0].arrived - 0.02
    assert timed.final.tokens_evaluated == 3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=503, body='{"error": {"message": "busy"}}'), "HTTP 503: busy"),
        (Reply(cut_at=0), "the server closed the connection without an answer"),
        (Reply(cut_at=20, reset=True), "the connection broke: ConnectionResetError"),
        (Reply(no_stop=True), "the stream ended without its last event"),
        (Reply(error_after=2), "the server reported an error while it generated: Compute error."),
    ],
)
def test_a_failure_says_what_it_was(reply: Reply, said: str) -> None:
    with pytest.raises(NotAnswered) as caught:
        read(ask(reply))
    assert str(caught.value).startswith(said)


def test_an_answer_that_takes_too_long_is_none() -> None:
    with pytest.raises(NotAnswered, match=r"no whole answer within 0.05 s"):
        ask(Reply(ttft_s=5.0), 0.05)


def test_where_nobody_listens_there_is_no_connection() -> None:
    async def run() -> None:
        async with FakeServer() as server:
            client = TimedClient(endpoint(server.url))
        await client.ask(b"x", 1.0, Received())

    with pytest.raises(NotAnswered, match="no connection"):
        asyncio.run(run())
