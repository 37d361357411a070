"""From nothing to ready: ours against the bare embedded server: `python -m tests.benchmarks.cold_start [N]`.

Bare is a Python program that makes xllamacpp's `Server`, asked for its health every 5 ms. Ours is `ensure_ready`:
lock, guardian, the same server, proof of identity, no warm-up.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gptoss_flow.server.probe import NoReply, ask, free_port
from tests.benchmarks.measure import Took, interleaved, timed, verdict
from tests.faults.managed import demo_model, real
from tests.faults.stage import Stage
from tests.stage import demo_cache

BOUND = 1.1
POLL_S = 0.005
BARE = """
import os, sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port = sys.argv[1], int(sys.argv[2])
p.hostnames, p.ui, p.fit_params = ["127.0.0.1"], False, False
p.n_ctx, p.n_parallel = 1024, 2
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
sys.stdin.read()
os._exit(0)
"""


def bare(model: Path) -> Took:
    port = free_port("127.0.0.1")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", BARE, str(model), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not is_ready(port):
        assert process.poll() is None, "the bare server ended"
        time.sleep(POLL_S)
    took = time.perf_counter() - began
    process.communicate()
    return Took(took, 0.0)


def is_ready(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return ask(f"http://127.0.0.1:{port}", "/health").status == 200
    except (OSError, NoReply):
        return False


def ours(stage: Stage) -> Took:
    async def once(root: Path) -> Took:
        server = real(stage, root)
        began = time.perf_counter()
        await server.ensure_ready()
        took = time.perf_counter() - began
        await server.release()
        return Took(took, 0.0)

    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(once(Path(name)))


def main(rounds: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        stage = Stage(demo_cache(Path(name)), None)
        model = demo_model(stage)
        timed(model.read_bytes)  # the file is in the page cache
        theirs, mine = interleaved(rounds, lambda: bare(model), lambda: ours(stage))
    print(f"bare {theirs.wall_s * 1000:.0f} ms, ours {mine.wall_s * 1000:.0f} ms")
    return verdict("ours over bare", mine.wall_s / theirs.wall_s, BOUND)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 15))
