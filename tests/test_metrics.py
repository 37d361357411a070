from __future__ import annotations

import pytest

from gptoss_flow.metrics import gaps_s, timings, usage

SERVER = {"prompt_n": 20, "prompt_ms": 100.0, "predicted_n": 4, "predicted_ms": 400.0, "cache_n": 5}


def test_a_generation_is_measured() -> None:
    assert timings(10.0, [(10.2, 1), (10.4, 2), (10.8, 1)], SERVER) == pytest.approx(
        {
            "ttft_s": 0.2,
            "latency_s": 0.8,
            "tpot_s": 0.6 / 3,
            "queue_s": 0.3,
            "prefill_s": 0.1,
            "prefill_tps": 200.0,
            "decode_s": 0.4,
            "decode_tps": 10.0,
        }
    )


def test_chunks_without_tokens_are_no_arrivals() -> None:
    measured = timings(0.0, [(1.0, 0), (2.0, 1), (9.0, 0)], {})
    assert measured == {"ttft_s": 2.0, "latency_s": 2.0, "queue_s": 2.0}


def test_the_wait_on_our_side_is_queue_and_not_latency() -> None:
    measured = timings(0.0, [(0.5, 1)], SERVER, queued_s=3.0)
    assert measured["queue_s"] == pytest.approx(3.0)
    assert measured["latency_s"] == 0.5


def test_the_queue_is_never_negative() -> None:
    assert timings(0.0, [(0.1, 1)], SERVER)["queue_s"] == 0.0


def test_the_first_token_of_the_final_channel_is_measured() -> None:
    assert timings(1.0, [(2.0, 1), (4.0, 1)], {}, first_final=4.0)["ttfo_s"] == 3.0


def test_what_cannot_be_known_is_left_out() -> None:
    assert timings(0.0, [], {}) == {}
    assert timings(0.0, [], {}, finished=2.0) == {"latency_s": 2.0, "queue_s": 2.0}


def test_gaps_are_per_token_and_add_up_to_the_time_between_first_and_last() -> None:
    gaps = gaps_s([(0.0, 1), (1.0, 2), (4.0, 1), (9.0, 0)])
    assert gaps == [0.5, 0.5, 3.0]
    assert gaps_s([(0.0, 3), (1.0, 1)]) == [0.0, 0.0, 1.0]
    assert gaps_s([]) == []


def test_usage_counts_the_whole_prompt_and_what_was_reused() -> None:
    assert usage(tokens_evaluated=25, tokens_predicted=4, server=SERVER, reasoning_tokens=1) == {
        "prompt_tokens": 25,
        "cached_tokens": 5,
        "completion_tokens": 4,
        "reasoning_tokens": 1,
    }
