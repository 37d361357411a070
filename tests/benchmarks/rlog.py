"""What reading rlogs costs: seconds for a million lines, memory for 400 MB, of checking, counting and printing.

Run it with `python -m tests.benchmarks.rlog`. Nothing here is a test: the figures are those of the machine. The
files, of up to half a gigabyte, lie in the temporary folder and are removed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HEADER = (
    "---\nformat: rlog/1\nid: bench\nrepo_sha: 7112981e0\nmodel: m\n---\n@start id=bench ts=2026-01-01T00:00:00Z\n"
)
ROUND = (
    "@phase each span=each_{n} ts=2026-01-01T00:00:00Z kind=prompt step={n}\n"
    "u: span=each_{n} role=user Summarise the file in one sentence. {text}\n"
    "th: span=each_{n} {text}\n"
    't!:read_file id=each_{n}_1 span=each_{n} {{"path": "a.py"}} → [running]\n'
    "o: id=each_{n}_1 {text}\n"
    "t:read_file id=each_{n}_1 span=each_{n} latency_ms=12 → [ok]\n"
    "a: span=each_{n} tokens_in=200 tokens_out=30 tokens_cached=180 latency_ms=900 {text}\n"
    "@checkpoint span=each_{n} latency_ms=950 outcome=succeeded\n"
)


def log_of(rounds: int, text: str) -> Iterator[str]:
    yield HEADER
    for n in range(rounds):
        yield ROUND.format(n=n, text=text)
    yield "@end tokens_in=1 tokens_out=2 tokens_cached=3 status=succeeded\n"


def measure(*arguments: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and the peak of memory in MB of a command with its output thrown away."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "gptoss_flow", "log", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, arguments
    kilobytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, kilobytes / 1024


def main() -> None:
    print(f"{'':40}{'lines':>12}{'MB':>8}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, rounds, text in (
            ("a small one", 3, "word"),
            ("a million lines", 125_000, "A few words of text, as they are."),
            ("400 MB of short lines", 850_000, "A few words."),
            ("400 MB of long lines", 100_000, "Some → text of 1000 characters and é. " * 26),
        ):
            path = Path(folder, "bench.rlog")
            with path.open("w", encoding="utf-8") as file:
                file.writelines(log_of(rounds, text))
            for command in (("stats", "--json"), ("validate", "--strict"), ("cat",), ("tail",)):
                wall_s, cpu_s, memory = measure(*command, str(path))
                print(
                    f"{name + ': ' + ' '.join(command):40}{rounds * 8 + 2:12}{path.stat().st_size / 1e6:8.0f}"
                    f"{wall_s:10.2f}{cpu_s:10.2f}{memory:10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
