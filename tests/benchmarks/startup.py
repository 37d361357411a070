"""How long the program takes to start: `python -m tests.benchmarks.startup [N]`.

`--help` and `--version` against `python -c "import click"`; `validate` of a flow of one step against the import of
the libraries that it is read with. Processor time: it hardly depends on what else runs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import SCRIPT, interleaved, run, verdict

BOUND = 2.0
LIBRARIES = "pydantic, yaml, jinja2, jsonschema, asyncio, click"
VALIDATE_BOUND = 3.0
FLOW = "version: 1\nsteps:\n  line:\n    prompt:\n      user: Write a sentence.\n"


def main(rounds: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        flow = Path(name, "flow.yaml")
        flow.write_text(FLOW)
        click, about, version, libraries, validate = interleaved(
            rounds,
            lambda: run([sys.executable, "-c", "import click"]),
            lambda: run([SCRIPT, "--help"]),
            lambda: run([SCRIPT, "--version"]),
            lambda: run([sys.executable, "-c", f"import {LIBRARIES}"]),
            lambda: run([SCRIPT, "validate", flow]),
        )
    print(f"import click: {click.cpu_s * 1000:.0f} ms; import {LIBRARIES}: {libraries.cpu_s * 1000:.0f} ms")
    return max(
        verdict(f"--help ({about.cpu_s * 1000:.0f} ms) over import click", about.cpu_s / click.cpu_s, BOUND),
        verdict(f"--version ({version.cpu_s * 1000:.0f} ms) over it", version.cpu_s / click.cpu_s, BOUND),
        verdict(
            f"validate ({validate.cpu_s * 1000:.0f} ms) over its libraries",
            validate.cpu_s / libraries.cpu_s,
            VALIDATE_BOUND,
        ),
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 25))
