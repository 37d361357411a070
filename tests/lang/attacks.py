"""Flow files that would hang, crash or fill the memory of whoever reads them, each run in this child with limits.

Prints one JSON object an attack: its name, how it ended, what was said first, seconds of CPU, peak memory in MB.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.errors import Invalid
from tests.peak import peak_mb

STEPS = "version: 1\nsteps:\n"
SET = "{set: {x: 1}}"
EVERYBODY = "[" + ", ".join(f"s{i}" for i in range(400)) + "]"
HUNDRED = str(list(range(100)))
LAUGHS = ", ".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True))


def profile(ref: str) -> str:
    return f"version: 1\nservers: {{main: {ref}}}\nsteps:\n  a: {{prompt: {{user: x}}}}\n"


def flow(ref: str) -> str:
    return f"{STEPS}  a: {{flow: {ref}}}\n"


def lines(count: int, line: Callable[[int], str]) -> str:
    return STEPS + "".join(f"  s{i}: {line(i)}\n" for i in range(count))


def beside() -> None:
    """Files that the attacks name."""
    os.mkfifo("fifo.yaml")
    with Path("huge.yaml").open("wb") as file:
        file.truncate(2**30)
    Path("link.yaml").symlink_to("/etc/passwd")
    Path("loop.yaml").symlink_to("loop.yaml")
    for i in range(10_000):
        Path(f"flow{i}.yaml").write_text(flow(f"flow{i + 1}.yaml"))
        Path(f"profile{i}.yaml").write_text(f"version: 1\nextends: ./profile{i + 1}.yaml\n")
    for i in range(5):
        Path(f"wide{i}.yaml").write_text(lines(30, lambda _, i=i: f"{{flow: wide{i + 1}.yaml}}"))  # type: ignore[misc]
    Path("wide5.yaml").write_text(lines(1, lambda _: SET))
    Path("cells.yaml").write_text(lines(1, lambda _: f"{{matrix: {{x: {HUNDRED}, y: {HUNDRED}}}, set: {{x: 1}}}}"))


SPECIAL = ["/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "/tmp", "/etc/passwd", "./fifo.yaml"]
SPECIAL += ["./huge.yaml", "./link.yaml", "./loop.yaml", "../../../../../../etc/passwd", "~nobody-of-that-name/x"]
SPECIAL += ["./" + "a" * 5000 + ".yaml", "a" * 5000]
ATTACKS: dict[str, str] = {
    "laughs": f"{STEPS}  a: {{set: {{a: &a [x, x, x, x, x, x, x, x], {LAUGHS}}}}}\n",
    "merge bomb": f"{STEPS}  a: {{set: {{a: &a {{k: 1}}, "
    + ", ".join(f"b{i}: &b{i} {{<<: [*a, *a, *a, *a]}}" for i in range(40))
    + "}}\n",
    "depth": "[" * 100_000,
    "depth of mappings": "{a: " * 100_000,
    "depth of keys": "? " * 100_000,
    "digits": f"{STEPS}  a: {{set: {{x: {'9' * 10**6}}}}}\n",
    **{f"profile {ref[:30]}": profile(ref) for ref in SPECIAL},
    **{f"flow {ref[:30]}": flow(ref) for ref in SPECIAL},
    "chain of flows": flow("flow0.yaml"),
    "chain of profiles": profile("./profile0.yaml"),
    "thirty to the fifth": flow("wide0.yaml"),
    "a million cells": f"{STEPS}  a: {{matrix: {{x: {HUNDRED}, y: {HUNDRED}}}, flow: cells.yaml, "
    "repeat: {until: false, max: 1000}, retry: {attempts: 100}}\n",
    "items of items": f'{STEPS}  a: {{foreach: "${{{{ range(100000) }}}}", flow: cells.yaml}}\n',
    "axes": f"{STEPS}  a: {{matrix: {{"
    + ", ".join(f'x{i}: "${{{{ range(100000) }}}}"' for i in range(3))
    + "}, set: {x: 1}}\n",
    "cells of 4 MB": f"{STEPS}  a: {{matrix: {{x: ["
    + ", ".join([""""${{ 'x' * 4000000 }}" """] * 3000)
    + "]}, set: {x: 1}}\n",
    "lists before the run": lines(3000, lambda i: f'{{foreach: "${{{{ range({90_000 + i}) }}}}", set: {{x: 1}}}}'),
    "circle": lines(20_000, lambda i: f"{{check: [true], needs: [s{(i + 1) % 20_000}]}}"),
    "everybody needs everybody": lines(400, lambda i: f"{{check: [true], needs: {EVERYBODY}}}"),
    "typos": lines(20_000, lambda i: f"{{chek: [true], nedds: [s{i}]}}"),
    "unknown steps": lines(20_000, lambda i: f"{{check: ['steps.t{i}.output']}}"),
    "unknown names": lines(20_000, lambda i: f"{{check: ['t{i}']}}"),
}  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        beside()
        for name, text in ATTACKS.items():
            Path("attack.yaml").write_text(text)
            start = time.process_time()
            try:
                check_flow("attack.yaml")
                ended, said = "plan", ""
            except Invalid as error:
                ended, said = "Invalid", str(error.problems[0])[:300]
            seconds = time.process_time() - start
            print(
                json.dumps(
                    {"attack": name, "ended": ended, "said": said, "s": round(seconds, 2), "mb": round(peak_mb())}
                )
            )


if __name__ == "__main__":
    main()
