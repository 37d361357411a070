"""What a measurement depends on beside what is measured: machine and build, to tell what can be compared."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from gptoss_flow.events import Json

MACHINE = ("system", "cpu", "cores", "memory_gib", "gpus")
BUILD = ("engine", "build")
"""The parts of a fingerprint that say where it was measured, and with what."""


@cache
def machine() -> dict[str, Json]:
    """This machine, as far as it decides how fast a model runs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": cores,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpus": _gpus(),
    }


def differences(before: Mapping[str, Json], now: Mapping[str, Json], parts: tuple[str, ...]) -> list[str]:
    """The parts in which two fingerprints differ, in words."""
    return [
        f"{part} was {before.get(part)} and is {now.get(part)}"
        for part in parts
        if before.get(part) != now.get(part)
    ]


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """NVIDIA's, as their driver lists them; without it none is known."""
    found: list[str] = []
    with suppress(OSError):
        for folder in sorted(Path("/proc/driver/nvidia/gpus").iterdir()):
            lines = (folder / "information").read_text(errors="replace").splitlines()
            found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found
