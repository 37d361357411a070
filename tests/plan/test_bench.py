"""What is wrong with a bench is told at its place, before anything starts."""

from __future__ import annotations

import pytest

from tests.flows import problems_in

HEAD = "version: 1\nservers: {main: demo}\nsteps:\n  a:\n    bench:\n      prompts: [Hello]\n"


def problems(line: str) -> list[str]:
    """Of a bench with this further line, which is the seventh, its first key at column 7."""
    return problems_in({"flow.yaml": f"{HEAD}      {line}\n"})


@pytest.mark.parametrize(
    "line",
    [
        'slo: {ttft_p95: 500ms, decode_tps_p50: "> 20", error_rate: 0, goodput: 0.5, itl_max: 2}',
        'slo: {ttft_p95: "${{ flow.name }}", error_rate: "< 1%", tpot_p50: ">= 1ms"}',
        "concurrency: [1, 2]",
        "rate: [0.5, 2/s, 30/m]",
        "duration: 30s",
        "matrix: {quant: [Q4_0, Q8_0], kv_cache.k: [f16, q8_0], parallel: [1, 2], mmap: [true, false]}",
        "matrix: {flash_attention: [on], threads: [auto, 2], include: [{threads: 4}]}",
        "matrix: {kv_cache: [{k: f16}, {v: q8_0}], batch: [64]}\n      objective: ttft_p95",
        "baseline: old.json\n      max_regression: {latency_p95: 5%}",
        "baseline: {file: old.json, on_other: mark}\n      max_regression: 12.5%",
    ],
)
def test_what_is_right(line: str) -> None:
    assert problems(line) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("slo: {ttft_p96: 1s}", '7:13: the key name "ttft_p96" is not allowed; did you mean "ttft_p99"?'),
        ("slo: {ttft_p95: fast}", '7:23: "fast" does not suit "ttft_p95", which is a time; write one like 500ms'),
        (
            "slo: {decode_tps_p50: 20ms}",
            '7:29: "20ms" does not suit "decode_tps_p50", which is a rate; write one like "> 20"',
        ),
        (
            "slo: {error_rate: 5ms}",
            '7:25: "5ms" does not suit "error_rate", which is a share; write 0',
        ),
        (
            "matrix: {kv_cache.x: [f16]}",
            '7:16: "kv_cache.x" is no key of a profile',
        ),
        ("matrix: {idle_timeout: [1s]}", '7:16: "idle_timeout" is no key of a profile that can be tried out'),
        ("matrix: {kv_cache.k: [f16, q9_9]}", '7:34: kv_cache.k: "q9_9" is not allowed here'),
        ("matrix: {parallel: [0]}", "7:27: parallel: 0 is too small"),
        ("matrix: {batch: [64], include: [{batsh: 1}]}", '7:40: "batsh" is no key of a profile'),
        ("matrix: {}", '7:15: "matrix" has no axis'),
        ("matrix: {batch: []}", '7:15: "matrix" has no cell'),
        ("rate: fast", '7:13: "fast" is not a rate; write one like 2/s or 30/m'),
        ("rate: 0", "7:13: 0 is not a rate"),
        ("concurrency: 0", "7:20: 0 is too small; at least 1 is allowed"),
        ("requests: 0", "7:17: 0 is too small"),
        ("max_regression: 10%", '4:3: "bench" of step "a": "max_regression" needs a "baseline"'),
        ("objective: speed", '7:18: "speed" is no figure'),
        ("objective: ttft_p50", '4:3: "bench" of step "a": "objective" chooses among the profiles of a "matrix"'),
        ("prompts_from: latest", '4:3: "bench" of step "a": "prompts" and "prompts_from" exclude each other'),
        ("concurrency: 1\n      rate: 1", '4:3: "bench" of step "a": "concurrency" and "rate" exclude each other'),
        (
            "requests: 1\n      duration: 1s",
            '4:3: "bench" of step "a": "requests" and "duration"',
        ),
        ("baseline: x\n      max_regression: 10", "8:23: 10 is neither text nor a mapping"),
        ("baseline: x\n      max_regression: ten", '8:23: "ten" is not a percentage; write one like 10%'),
        ("promts: 1", '7:7: unknown key "promts" in "bench" of step "a"; did you mean "prompts"?'),
    ],
)
def test_what_is_wrong(line: str, problem: str) -> None:
    [said] = problems(line)
    assert said.startswith(f"flow.yaml:{problem}"), said


def test_a_bench_needs_prompts() -> None:
    text = "version: 1\nservers: {main: demo}\nsteps:\n  a: {bench: {requests: 3}}\n"
    assert problems_in({"flow.yaml": text}) == [
        'flow.yaml:4:3: "bench" of step "a" needs "prompts" or "prompts_from"'
    ]


def test_defaults_hold_for_benches_too() -> None:
    text = HEAD.replace("steps:", "defaults: {bench: {slo: {error_rate: 5ms}, requests: 3}}\nsteps:")
    [said] = problems_in({"flow.yaml": text})
    assert '"5ms" does not suit "error_rate"' in said
