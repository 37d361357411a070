"""The whole process of `gptoss-flow query` against curl, on a warm server: `python -m tests.benchmarks.query [N]`.

Both ask the same completion of the same server, in turns. The bound is on the difference of the walls.
"""

from __future__ import annotations

import json
import sys

from tests.benchmarks.measure import SCRIPT, demo_project, interleaved, run, verdict, warm_server

BOUND_MS = 150
PROMPT = "The capital of France is"


def main(rounds: int) -> int:
    with demo_project() as project, warm_server(project) as server:
        ask = json.dumps({"prompt": PROMPT, "n_predict": 8, "temperature": 0})
        curl = [
            "curl", "-sS", "--fail", "-H", f"Authorization: Bearer {server['key']}", "-H",
            "Content-Type: application/json", "-d", ask, f"{server['url']}/completion",
        ]  # fmt: skip
        query = [SCRIPT, "query", "--profile", "warm", PROMPT]
        theirs, ours = interleaved(rounds, lambda: run(curl), lambda: run(query, project.environ, project.folder))
    print(f"{'':8}{'wall ms':>10}{'CPU ms':>10}")
    for name, took in (("curl", theirs), ("query", ours)):
        print(f"{name:8}{took.wall_s * 1000:>10.0f}{took.cpu_s * 1000:>10.0f}")
    return verdict("query over curl", (ours.wall_s - theirs.wall_s) * 1000, BOUND_MS, " ms")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 25))
