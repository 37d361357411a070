"""What a program of llama.cpp sees of our environment: an allow-list. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TMPDIR|TZ|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH"
    r"|(CUDA|HIP|HSA|ROCR|ROCM|GGML|LLAMA|OMP|GOMP|KMP|MKL|OPENBLAS|VK|NVIDIA|METAL|MTL)_\w+"
)
_NOT_PASSED = re.compile(r"LLAMA_ARG_\w+|LLAMA_SERVER|\w*(KEY|TOKEN|SECRET|PASSWORD)\w*")
"""Secrets, and options in disguise: what a server does is in its profile."""
_COMPUTES = re.compile(r"(CUDA|HIP|HSA|ROCR|GGML|LLAMA|OMP)_\w+")


def passed_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a server sees of our environment: an allow-list without secrets."""
    return {
        name: value
        for name, value in environ.items()
        if _PASSED.fullmatch(name) and not _NOT_PASSED.fullmatch(name)
    }


def computing_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of it that decides what a server does, for fingerprints."""
    return {name: value for name, value in passed_environment(environ).items() if _COMPUTES.fullmatch(name)}
