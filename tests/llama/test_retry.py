from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gptoss_flow.llama.retry import (
    Answered,
    Cut,
    Disconnected,
    Fail,
    Failure,
    Policy,
    Retry,
    Silent,
    Tried,
    Unreachable,
    decide,
    retry_after_s,
)
from gptoss_flow.llama.wire import Fault

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
LOADING = Answered(status=503, fault=Fault("Loading model", "unavailable_error"))


def answered(status: int, **more: str) -> Answered:
    return Answered(status=status, fault=Fault("said"), **more)


def after(failure: Failure, tried: Tried | None = None) -> Retry | Fail:
    return decide(failure, tried or Tried(), Policy(), jitter=0.5, now=NOW)


def again(failure: Failure, times: int) -> Tried:
    return Tried((failure,) * times)


def fails(decision: Retry | Fail) -> Fail:
    assert isinstance(decision, Fail)
    return decision


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_proxy_says_is_tried_three_times(status: int) -> None:
    failure = answered(status)
    assert after(failure) == Retry(0.25 * 0.75)
    assert after(failure, again(failure, 1)) == Retry(0.5 * 0.75)
    end = fails(after(failure, again(failure, 2)))
    assert "3 attempts" in end.error.message
    assert (end.error.kind, end.error.retryable) == ("server", True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 501, 505, 204])
def test_a_refusal_is_final(status: int) -> None:
    error = fails(after(answered(status))).error
    assert (error.kind, error.retryable) == ("server", False)
    assert str(status) in error.message


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_refused(status: int) -> None:
    error = fails(after(answered(status, location="file:///etc/passwd\x1b[2J"))).error
    assert "file:///etc/passwd\\x1b[2J" in error.message
    assert not error.retryable


def test_a_500_is_tried_once_more_and_then_tells_the_end_of_the_log() -> None:
    failure = answered(500, log_tail="ggml: out of memory")
    assert isinstance(after(failure), Retry)
    assert isinstance(after(failure, again(answered(502), 1)), Retry)
    assert "out of memory" in fails(after(failure, again(failure, 1))).error.message


def test_a_context_overflow_is_the_models_error() -> None:
    fault = Fault("too long", "exceed_context_size_error", 1100, 1024)
    error = fails(after(Answered(status=400, fault=fault))).error
    assert (error.kind, error.retryable) == ("model", False)
    assert "1100" in error.message


def test_a_refused_connection_is_tried_in_a_short_window() -> None:
    refused = Unreachable("connection refused")
    assert after(refused) == Retry(0.1, starting=True)
    assert after(refused, Tried(starting_s=1.99)) == Retry(0.1, starting=True)
    error = fails(after(refused, Tried(starting_s=2.0))).error
    assert (error.kind, error.retryable) == ("server", True)


def test_loading_is_waited_for_until_the_start_deadline_and_counts_as_no_attempt() -> None:
    assert after(LOADING, Tried(starting_s=599)) == Retry(0.1, starting=True)
    assert after(LOADING, again(answered(502), 2)) == Retry(0.1, starting=True)
    assert fails(after(LOADING, Tried(starting_s=600))).error.retryable


def test_a_connection_that_breaks_before_the_answer_is_tried_again() -> None:
    failure = Disconnected("server disconnected")
    assert isinstance(after(failure), Retry)
    assert fails(after(failure, again(failure, 2))).error.retryable


@pytest.mark.parametrize(("failure", "kind"), [(Cut("incomplete"), "server"), (Silent(90.0), "timeout")])
def test_a_broken_stream_is_never_tried_again_but_its_step_may_be(failure: Failure, kind: str) -> None:
    error = fails(after(failure)).error
    assert (error.kind, error.retryable) == (kind, True)
    assert "the step may run again" in error.message


def test_retry_after_is_honoured() -> None:
    assert after(answered(429, retry_after="7")) == Retry(7.0)
    assert after(answered(503, retry_after="Sun, 01 Nov 2026 12:00:20 GMT")) == Retry(20.0)
    assert after(answered(429, retry_after="0")) == Retry(0.25 * 0.75), "not at once"


@pytest.mark.parametrize("asked", ["61", "99999999999999999999", "Mon, 02 Nov 2026 12:00:00 GMT"])
def test_a_wait_beyond_all_limits_is_neither_waited_nor_cut_short(asked: str) -> None:
    assert "too long" in fails(after(answered(429, retry_after=asked))).error.message


def test_sixty_seconds_are_the_end() -> None:
    assert isinstance(after(answered(502), Tried(elapsed_s=59.0)), Retry)
    assert isinstance(after(answered(502), Tried(elapsed_s=59.9)), Fail)
    assert isinstance(after(answered(429, retry_after="50"), Tried(elapsed_s=20)), Fail)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        (" 12 ", 12.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Nov 2026 13:01:00 +0100", 60.0),
        ("Sun, 01 Nov 2026 12:01:00 -0000", 60.0),
        ("Sun, 99 Nov 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


def test_jitter_spreads_between_half_and_all_of_the_delay() -> None:
    delays = [decide(answered(502), Tried(), Policy(), jitter=j, now=NOW) for j in (0.0, 1.0)]
    assert delays == [Retry(0.125), Retry(0.25)]
