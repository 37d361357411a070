"""A second command on a running server, from the end of its imports: `python -m tests.benchmarks.attach [N]`.

The time ends when the run's first request leaves. A first process tells which modules a run loads; each measured
one imports them all before it begins, and builds their models, which are definitions as classes are, though they
are made when they are first used.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from gptoss_flow.testing.project import Project
from tests.benchmarks.measure import demo_project, verdict, warm_server

BOUND_MS = 50
FLOW = (
    "version: 1\nservers: {main: warm}\nsteps:\n  a: {prompt: {mode: raw, text: Once, params: {max_tokens: 2}}}\n"
)
LOADED = """
import json, sys
from gptoss_flow.cli.main import main
assert main(["run", "flow.yaml", "--quiet"]) == 0
print(json.dumps([*sys.modules]))
"""
MEASURED = """
import contextlib, importlib, json, sys, time
for name in json.load(sys.stdin):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
import httpx
from pydantic import BaseModel
from gptoss_flow.cli.main import main
def build(base):
    for model in base.__subclasses__():
        if model.__module__.startswith("gptoss_flow."):
            model.model_rebuild()
        build(model)
build(BaseModel)
left = {}
send = httpx.AsyncClient.send
def watched(self, request, **options):
    left.setdefault(request.url.path, time.perf_counter())
    return send(self, request, **options)
httpx.AsyncClient.send = watched
began = time.perf_counter()
assert main(["run", "flow.yaml", "--quiet"]) == 0
print((min(left.values()) - began) * 1000, (left["/completion"] - began) * 1000)
"""


def output(project: Project, code: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=given,
        cwd=project.folder,
        env=project.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def main(rounds: int) -> int:
    root = str(Path(__file__).parents[2])
    with demo_project(PYTHONPATH=root) as project, warm_server(project):
        project.write("flow.yaml", FLOW)
        modules = output(project, LOADED)
        pairs = [tuple(map(float, output(project, MEASURED, modules).split())) for _ in range(rounds)]
    first, completion = map(statistics.median, zip(*pairs, strict=True))
    print(f"to the first completion: {completion:.0f} ms")
    return verdict("to the first request", first, BOUND_MS, " ms")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 15))
