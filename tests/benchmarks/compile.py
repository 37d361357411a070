"""Compiling a flow of 10,000 steps, 1.5 MB of YAML: `python -m tests.benchmarks.compile [STEPS]`.

In the same run: what PyYAML's C parser alone takes to compose the text, with the collector off, and 1,000 steps.
Processor time: it hardly depends on what else runs.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import yaml

from gptoss_flow.app.check import check_flow
from tests.benchmarks.measure import Took, interleaved, timed, verdict

BOUND = 5.0
"""Over the parser alone: 700 ms where it takes 140."""
LINEAR = 1.5
"""How much dearer a step of a long flow may be than one of a short flow."""


def flow(steps: int, folder: Path) -> Path:
    lines = ["version: 1", "inputs: {topic: {type: string, default: tides}}", "steps:"]
    for number in range(steps):
        before = f'${{{{ steps.s{number - 1}.output | default("") }}}}' if number % 10 else "${{ inputs.topic }}"
        lines += [
            f"  s{number}:",
            "    prompt:",
            f"      user: 'Write a sentence, number {number}, which goes on from this one: {before}'",
            "      params: {max_tokens: 20, temperature: 0}",
        ]
    path = folder / f"flow-{steps}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def composed(text: str) -> Took:
    gc.disable()
    try:
        return timed(lambda: yaml.compose(text, Loader=yaml.CSafeLoader))
    finally:
        gc.enable()


def main(steps: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        long, short = flow(steps, Path(name)), flow(steps // 10, Path(name))
        text = long.read_text()
        parser, tenth, whole = interleaved(
            5,
            lambda: composed(text),
            lambda: timed(lambda: check_flow(short)),
            lambda: timed(lambda: check_flow(long)),
        )
    print(f"{steps} steps, {len(text) / 1e6:.1f} MB; the parser alone: {parser.cpu_s * 1000:.0f} ms")
    return max(
        verdict(f"compile ({whole.cpu_s * 1000:.0f} ms) over the parser", whole.cpu_s / parser.cpu_s, BOUND),
        verdict("a step of these against one of a tenth", whole.cpu_s / tenth.cpu_s / 10, LINEAR),
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 10_000))
