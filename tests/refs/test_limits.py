"""No template burns time or memory (fault rows D16, D20)."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptoss_flow.refs import EvaluationError, compile_value, parse, parse_expression
from tests.refs.bombs import BOMBS

ROOT = Path(__file__).parents[2]


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (120, 130))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))


@pytest.fixture(scope="module")
def results() -> list[dict[str, object]]:
    """Every bomb, in one child with limits; the peak of memory is that of all so far."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.refs.bombs", *map(str, range(len(BOMBS)))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=_limits,
        timeout=170,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return [json.loads(line) for line in child.stdout.splitlines()]


def test_every_bomb_ends_in_two_seconds_and_half_a_gigabyte(results: list[dict[str, object]]) -> None:
    assert len(results) == len(BOMBS)
    assert [r for r in results if not isinstance(r["s"], float) or r["s"] > 2] == []
    assert [r for r in results if not isinstance(r["mb"], int) or r["mb"] > 512] == []


def test_most_bombs_are_refused_and_the_rest_are_harmless(results: list[dict[str, object]]) -> None:
    harmless = [r["bomb"] for r in results if r["ended"] == "value"]

    assert len(harmless) < 20


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){12}b", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_a_pattern_takes_linear_time(pattern: str) -> None:
    template = parse_expression(f"text | regex_search({pattern!r})")
    start = time.process_time()
    template.render({"text": "a" * 100_000 + "!"})

    assert time.process_time() - start < 0.5


def test_a_text_of_four_mebibytes_is_the_longest() -> None:
    text = "é" * (2 * 2**20)

    assert parse("{% if true %}${{ t }}{% endif %}").render({"t": text}) == text
    with pytest.raises(EvaluationError, match="more than 4 MiB of text"):
        parse("${{ t }}.").render({"t": text})
    assert parse("${{ t }}").render({"t": text * 3}) == text * 3, "a whole reference passes any value on"


def test_a_million_rounds_are_too_many_and_a_hundred_thousand_are_fine() -> None:
    assert parse("{% for i in range(100000) %}x{% endfor %}").render({}) == "x" * 100_000
    with pytest.raises(EvaluationError, match="takes too long to render"):
        parse("{% for i in range(1001) %}{% for j in range(1000) %}{% endfor %}{% endfor %}").render({})


def test_many_strings_share_one_allowance() -> None:
    many, errors = compile_value({"x": ["${{ 'x' * 4000000 }}"] * 1000})
    copies, _ = compile_value({"x": ["y${{ big }}"] * 1000})

    assert not errors
    with pytest.raises(EvaluationError, match="too long"):
        many.render({})
    with pytest.raises(EvaluationError, match="more than 4 MiB"):
        copies.render({"big": "x" * 1_000_000})
