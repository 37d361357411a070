"""Benches of the real server with the demo model, and of a real gpt-oss model that thinks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.testing.project import Project
from gptoss_flow.testing.tiny_gpt_oss import ensure_tiny_model
from tests.conftest import need
from tests.processes import gone_after

pytestmark = pytest.mark.real
FLOWS = Path(__file__).parent.parent.parent / "flows"


@pytest.fixture
def project(tmp_path: Path, demo_cache: Path) -> Iterator[Project]:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    made = Project(tmp_path, {"XDG_CACHE_HOME": str(demo_cache)})
    made.write("quiet.yaml", "version: 1\nname: quiet\nextends: demo\nthreads: 1\n")
    yield made
    gone_after(tmp_path, 5.0)


def requests(project: Project, step: str) -> list[dict[str, Any]]:
    """Those that a bench step of one trial measured."""
    [event] = [e for e in project.events() if e["type"] == "trial_finished" and e["step"] == step]
    samples = event["trial"]["samples"]
    return [dict(zip(samples["columns"], row, strict=True)) for row in samples["rows"]]


def both_clocks(project: Project) -> dict[str, float]:
    """Median rates of the smoke bench, the client's and the server's; all else that it gives is as it must be."""
    flow = ("bench", str(FLOWS / "smoke-bench.yaml"), "--server", "main=quiet.yaml", "--offline", "-f", "json")
    done = project.run(*flow)
    assert done.code == 0, done.err
    chat, prompt = done.json
    assert [trial["n"] for trial in chat["trials"]] == [6, 6]
    rows = requests(project, "prompt")
    assert {(row["prompt_tokens"], row["cached_tokens"], row["tokens"]) for row in rows} == {(256, 0, 8)}
    [trial] = prompt["trials"]
    return {name: each["p50"] for name, each in trial["metrics"].items() if isinstance(each, dict)}


def test_the_smoke_bench_holds_and_both_clocks_agree(project: Project) -> None:
    """The client's rates are within 5 % of llama.cpp's own timings, where it had a processor to itself."""
    for _ in range(3):
        rates = both_clocks(project)
        # llama.cpp's clock of the generation starts with the first of the 8 tokens, which it counts.
        client = [rates["client_prefill_tps"], rates["client_decode_tps"]]
        if client == pytest.approx([rates["prefill_tps"], rates["decode_tps"] * 7 / 8], rel=0.05):
            return
    pytest.fail(f"in none of three benches the clocks agree: {rates}")


def test_a_model_that_thinks_has_its_first_word_after_its_first_token(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = ensure_tiny_model(tmp_path_factory.mktemp("tiny"))
    project.write(
        "flow.yaml",
        f"version: 1\nservers: {{main: {{extends: base, model: {{path: {model}}}, context: 1024, threads: 1}}}}\n"
        "steps:\n  think:\n    bench:\n      prompts: [Hello]\n      reasoning: low\n      requests: 3\n"
        "      params: {max_tokens: 60, temperature: 0}\n",
    )
    done = project.run("bench", "flow.yaml", "-f", "json")
    assert done.code == 0, done.err
    [trial] = done.json[0]["trials"]
    assert trial["server"]["mode"] == "harmony"
    rows = requests(project, "think")
    assert all(row["ttft"] <= row["ttfo"] <= row["latency"] for row in rows)
    # On a crowded machine a whole answer may be read at once, but not each of them. Which token it is, to the very
    # one, is held in tests/app/test_bench_servers.py.
    assert any(row["ttft"] < row["ttfo"] for row in rows)
