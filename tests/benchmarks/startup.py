"""`--help` and `--version` against `python -c "import click"`: `python -m tests.benchmarks.startup [N]`."""

from __future__ import annotations

import sys

from tests.benchmarks.measure import SCRIPT, interleaved, run, verdict

BOUND = 2.0


def main(rounds: int) -> int:
    click, *ours = interleaved(
        rounds,
        lambda: run([sys.executable, "-c", "import click"]),
        lambda: run([SCRIPT, "--help"]),
        lambda: run([SCRIPT, "--version"]),
    )
    print(f"import click: {click.wall_s * 1000:.0f} ms, CPU {click.cpu_s * 1000:.0f} ms")
    codes = [
        verdict(f"{name} ({took.wall_s * 1000:.0f} ms) over import click", took.wall_s / click.wall_s, BOUND)
        for name, took in zip(("--help", "--version"), ours, strict=True)
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 25))
