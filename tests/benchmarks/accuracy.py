"""How true a bench's figures are of a server in another process: `python -m tests.benchmarks.accuracy [REQUESTS]`.

The server's delays are programmed, and it keeps the times at which it really read and wrote. Whatever the bench
says otherwise by more than 2 % and 2 ms is printed and counted. How late both processes were at the processor is
part of it: the measuring alone is held by `tests/bench/test_accuracy.py`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from gptoss_flow.trials import Load
from tests.bench.figures import figures, strayed
from tests.bench.made import Bench, request
from tests.bench.truth import Program, apart
from tests.benchmarks.measure import verdict

BOUND = 0.05
"""The share of the figures that may be off."""
CASES = {
    "one at a time": (Program(), Load(concurrency=1)),
    "eight at once, in bursts, one in fifty fails": (
        Program(bursts=(1, 3, 1, 2, 4, 1), error_every=50),
        Load(concurrency=8),
    ),
    "8 a second as they come": (Program(), Load(rate=8.0)),
}


def measured(program: Program, load: Load, requests: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with apart(program) as (url, truth):
        bench = Bench(url)
        asyncio.run(bench.measure(request(warmup=0, cooldown=0, requests=requests, loads=(load,))))
        return bench.trials[0].trial | {"metrics": bench.judged[0].trials[0]["metrics"]}, truth()


def main(requests: int) -> int:
    off = known = 0
    for name, (program, load) in CASES.items():
        trial, truth = measured(program, load, requests)
        wrong = strayed(trial, truth)
        known, off = known + len(figures(truth)), off + len(wrong)
        lag = f"the load generator's own lag {trial['lag']['p95'] * 1000:.1f} ms"
        print(f"{name}: {len(wrong)} of {len(figures(truth))} figures off; {lag}")
        for figure, (said, was) in wrong.items():
            print(f"  {figure}: {said:.6g}, in truth {was:.6g}")
    return verdict(f"of {known} figures off by more than 2 % and 2 ms", off, BOUND * known)


if __name__ == "__main__":
    sys.exit(main(int(next(iter(sys.argv[1:]), "50"))))
