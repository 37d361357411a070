from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.bench.baseline import to_json
from gptoss_flow.errors import Mismatch, StepError
from gptoss_flow.events import Warned
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from gptoss_flow.trials import Baseline, BenchRequest, BenchResult, Level, Load
from tests.bench.made import Bench, request

QUICK = Script(replies=[Reply(text="abcdefghijkl", ttft_s=0.004, token_delay_s=0.001)], slots=8)
GATE = Baseline("kept.json", {"latency_p50": 4.0}, "refuse")
"""Five times as slow: what other work on the machine does to a few milliseconds is not the question here."""


def measure(asked: BenchRequest, script: Script = QUICK, **more: Any) -> tuple[BenchResult, Bench]:
    async def run() -> tuple[BenchResult, Bench]:
        async with FakeServer(script) as server:
            bench = Bench(server.url, **more)
            return await bench.measure(asked), bench

    return asyncio.run(run())


def small(**more: Any) -> BenchRequest:
    return request(**({"requests": 6} | more))


def earlier(bench: Bench) -> dict[str, dict[int, dict[str, Any]]]:
    """What is on record of it: as JSON gives it back."""
    trials = {event.number: json.loads(json.dumps(event.trial)) for event in bench.trials}
    return {"fast": trials}


# --- order and rounds --------------------------------------------------------------------------------------------


def test_rounds_are_whole_and_each_is_shuffled_by_the_seed() -> None:
    asked = small(requests=1, warmup=0, rounds=3, loads=tuple(Load(concurrency=n) for n in (1, 2, 3, 4)), seed=7)
    result, bench = measure(asked)
    numbers = [event.number for event in bench.trials]
    rounds = [numbers[at : at + 4] for at in (0, 4, 8)]
    assert [sorted(each) for each in rounds] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert any(each != sorted(each) for each in rounds)
    assert numbers == [event.number for event in measure(asked)[1].trials]
    assert [(trial["label"], trial["rounds"], trial["n"]) for trial in result.trials] == [
        (f"concurrency {n}", 3, 3) for n in (1, 2, 3, 4)
    ]


def test_each_cell_is_opened_with_its_keys() -> None:
    matrix = {"kv_cache.k": ["f16", "q8_0"], "quant": ["Q4_0"], "include": [{"kv_cache.k": "q8_0", "batch": 64}]}
    _, bench = measure(small(matrix=matrix, requests=1, order="file"))
    assert bench.opened == [
        {"kv_cache": {"k": "f16"}, "model": {"quants": ["Q4_0"]}},
        {"kv_cache": {"k": "q8_0"}, "model": {"quants": ["Q4_0"]}, "batch": 64},
    ]


def test_the_best_cell_is_the_one_with_the_best_figure() -> None:
    result, _ = measure(small(matrix={"batch": [64, 128]}, objective="aggregate_tps"))
    figures = {trial["label"]: trial["metrics"]["aggregate_tps"] for trial in result.trials}
    assert result.best is not None
    assert result.best["value"] == max(figures.values())
    assert result.best["trial"] == max(figures, key=lambda label: figures[label])
    assert result.best["yaml"] == "extends: main\n"


def test_too_many_trials_are_refused() -> None:
    with pytest.raises(StepError, match="1,001 trials; at most 1,000"):
        measure(small(matrix={"batch": list(range(1, 1002))}))


def test_more_run_at_once_than_the_server_has_slots() -> None:
    """A bench measures the queue: it is exempt from the rule that holds for prompts."""

    async def run() -> tuple[int, float]:
        async with FakeServer(Script(replies=QUICK.replies, slots=1)) as server:
            bench = Bench(server.url)
            result = await bench.measure(small(loads=(Load(concurrency=4),)))
            return server.max_in_flight, result.trials[0]["metrics"]["ttft"]["p50"]

    at_once, ttft_s = asyncio.run(run())
    assert at_once == 4
    assert ttft_s > 3 * 0.012  # behind three others, of 12 tokens in 12 ms each


# --- what is on record already -----------------------------------------------------------------------------------


def test_trials_that_are_on_record_are_not_run_again() -> None:
    asked = small(loads=(Load(concurrency=1), Load(concurrency=2)))
    first, bench = measure(asked)
    record = earlier(bench)
    del record["fast"][1]
    again, resumed = measure(asked, earlier=record)
    assert len(resumed.opened) == 1
    assert sorted(event.number for event in resumed.trials) == [0, 1]
    assert again.trials[0] == first.trials[0]


@pytest.mark.parametrize("change", [{"params": {"max_tokens": 5}}, {"requests": 7}, {"seed": 1}])
def test_a_trial_that_asks_for_something_else_is_run(change: dict[str, Any]) -> None:
    _, bench = measure(small())
    _, resumed = measure(small(**change), earlier=earlier(bench))
    assert len(resumed.opened) == 1


def test_a_trial_of_another_model_is_run() -> None:
    _, bench = measure(small())
    _, resumed = measure(small(), earlier=earlier(bench), identity=lambda server: {"model": "another"})
    assert len(resumed.opened) == 1


def replayed(bench: Bench, asked: BenchRequest) -> BenchResult:
    judged = {"fast": bench.judged[0]}
    more = {"open_target": None, "earlier": earlier(bench), "identity": lambda server: {}, "judged": judged}
    return measure(asked, **more)[0]


def test_a_replay_takes_the_trials_and_judges_them_anew(tmp_path: Path) -> None:
    before, bench = measure(small(levels=(Level("ttft_p50", "<=", 5.0),)))
    assert replayed(bench, small(levels=(Level("ttft_p50", "<=", 5.0),))).trials == before.trials
    stricter = replayed(bench, small(levels=(Level("ttft_p50", "<=", 0.001),)))
    assert [verdict["ok"] for verdict in stricter.verdicts] == [False]


def test_a_replay_of_another_bench_is_a_mismatch() -> None:
    _, bench = measure(small())
    with pytest.raises(
        Mismatch, match="step fast: concurrency 1: its prompts, their mode or their params are not"
    ):
        replayed(bench, small(params={"max_tokens": 3}))
    with pytest.raises(Mismatch, match="concurrency 3: the record has no such trial"):
        replayed(bench, small(loads=(Load(concurrency=1), Load(concurrency=3))))


# --- baselines ---------------------------------------------------------------------------------------------------


def test_a_baseline_is_written_and_the_same_again_passes(tmp_path: Path) -> None:
    _, kept = measure(small(baseline=GATE), folder=tmp_path, keep_baselines=True)
    assert kept.judged[0].verdicts == []
    result, _ = measure(small(baseline=GATE), folder=tmp_path)
    [verdict] = result.verdicts
    assert (verdict["kind"], verdict["ok"]) == ("regression", True)
    slow = Script(replies=[Reply(text="abcdefghijkl", ttft_s=0.3, token_delay_s=0.1)], slots=8)
    [verdict] = measure(small(baseline=GATE), slow, folder=tmp_path)[0].verdicts
    assert not verdict["ok"]
    assert "worse" in verdict["said"]


def test_a_baseline_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"there is no baseline .*kept.json; make it: gptoss-flow bench"):
        measure(small(baseline=GATE), folder=tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"format": "gptoss-flow bench/1", "trials": [{"label": "x"}]}', "\0", "[" * 100_000]
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "kept.json").write_text(text)
    with pytest.raises(StepError, match="baseline") as caught:
        measure(small(baseline=GATE), folder=tmp_path)
    assert caught.value.kind == "check"


@pytest.mark.parametrize(("part", "value"), [("cpu", "another"), ("build", "b2")])
def test_a_baseline_from_another_machine_or_build_is_refused_or_marked(
    tmp_path: Path, part: str, value: str
) -> None:
    measure(small(baseline=GATE), folder=tmp_path, keep_baselines=True)
    trials = json.loads((tmp_path / "kept.json").read_text())["trials"]
    trials[0]["fingerprint"][part] = value
    (tmp_path / "kept.json").write_text(to_json("fast", trials))
    try:
        verdicts = measure(small(baseline=GATE), folder=tmp_path)[0].verdicts
        said = next(verdict["said"] for verdict in verdicts if not verdict["ok"])
    except StepError as error:
        said = error.message
    assert f"from another machine or build ({part} was {value} and is" in said
    marked = Baseline("kept.json", {"latency_p50": 4.0}, "mark")
    result, bench = measure(small(baseline=marked), folder=tmp_path)
    assert all(verdict["ok"] for verdict in result.verdicts)
    assert any(isinstance(e, Warned) and "the baseline is from elsewhere" in e.message for e in bench.events)


def test_a_trial_that_the_baseline_does_not_have_is_not_passed(tmp_path: Path) -> None:
    measure(small(baseline=GATE), folder=tmp_path, keep_baselines=True)
    [verdict] = measure(small(baseline=GATE, params={"max_tokens": 5}), folder=tmp_path)[0].verdicts
    assert not verdict["ok"]
    assert "the baseline has no such trial" in verdict["said"]


def test_a_baseline_of_failures_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="is not written: a trial has no request that succeeded"):
        measure(
            small(baseline=GATE),
            Script(replies=[Reply(status=500, body="no")]),
            folder=tmp_path,
            keep_baselines=True,
        )
    assert list(tmp_path.iterdir()) == []
