"""Why a server ended, read from its exit status and the tail of its log, and what to do about it."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CauseName = Literal[
    "port",
    "model missing",
    "model corrupt",
    "bad adapter",
    "bad template",
    "bad flag",
    "out of memory",
    "assert",
    "segv",
    "killed",
    "hung",
    "unknown",
]


@dataclass(frozen=True, slots=True)
class Cause:
    """`permanent`: another try of the same would end the same."""

    name: CauseName
    message: str
    advice: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Death:
    """How a server ended that should not have. `tail` is the end of its log, which is at `log`."""

    cause: Cause
    tail: str
    log: Path

    def __str__(self) -> str:
        return f"{self.cause.message}; {self.cause.advice}; its log is {self.log}"


_PATTERNS: tuple[tuple[CauseName, str], ...] = (
    ("port", r"couldn't bind HTTP server socket|[Aa]ddress already in use"),
    ("out of memory", r"bad_alloc|insufficient memory|out of memory|OutOfMemory|OutOfDeviceMemory"),
    ("out of memory", r"what\(\): +Resource temporarily unavailable"),  # no room for a thread
    # What it says before this may be lost: another thread writes the log.
    ("out of memory", r"GGML_ASSERT\([\w>.-]*(buffer|buf) != (NULL|nullptr)\) failed"),
    ("out of memory", r"failed to allocate|unable to allocate|[Cc]annot allocate memory|failed to fit params"),
    ("bad adapter", r"failed to (load|apply) lora adapter"),
    ("bad template", r"common_chat_templates_init: error:|chat template parsing error"),
    ("model missing", r"failed to open GGUF file|gguf_init_from_file: failed to open"),
    ("model corrupt", r"invalid magic|failed to read magic|corrupted or incomplete|unknown model architecture"),
    ("model corrupt", r"failed to read (key|tensor)|missing tensor|wrong (number|shape) of tensors"),
    ("model corrupt", r"error loading model"),
    (
        "bad flag",
        r"error: (invalid|unknown) argument|error while handling argument|AttributeError: .*Params",
    ),
    ("bad flag", r"^cannot execute "),
    ("assert", r"GGML_ASSERT|Assertion .* failed|GGML_ABORT"),
)
"""In the order in which they are asked: a failed assertion may be of a failed allocation."""
_ADVICE: dict[CauseName, tuple[str, bool]] = {
    "port": ("choose another listen.port, or auto", False),
    "model missing": ("check model in the profile", True),
    "model corrupt": ("fetch the file again, or name another one in model", True),
    "bad adapter": ("correct lora: it needs a GGUF file of an adapter for this very model", True),
    "bad template": ("name another template in chat_template_file", True),
    "bad flag": ("change what says it, or the binary", True),
    "out of memory": ("lower context or parallel, or take a smaller model", True),
    "assert": ("the log says where; another build or fewer options may avoid it", False),
    "segv": ("another build or fewer options may avoid it", False),
    "killed": ("somebody killed it, or the system was out of memory", False),
    "unknown": ("the end of the log may say why", False),
}


def classify(exit_status: int | None, tail: str, *, oom_killed: bool = False) -> Cause:
    """The cause of death. `exit_status` is minus the signal's number where one ended it, None if nobody knows.

    `oom_killed`: the kernel killed somebody for want of memory while the server ran.
    """
    name, line = _find(tail)
    if oom_killed and exit_status == -signal.SIGKILL:
        name, line = "out of memory", "the kernel killed it for want of memory"
    elif name is None or (name == "model corrupt" and exit_status == -signal.SIGKILL):
        name = _by_status(exit_status)
    advice, permanent = _ADVICE[name]
    how = _how(exit_status)
    message = f"the server {how} ({name}: {line})" if line else f"the server {how}"
    return Cause(name, message, advice, permanent)


def _find(tail: str) -> tuple[CauseName | None, str]:
    for name, pattern in _PATTERNS:
        for line in tail.splitlines():
            if re.search(pattern, line):
                return name, _readable(line)
    return None, ""


def _readable(line: str) -> str:
    # llama.cpp's prefix is "0.00.005.404 E srv         start: ".
    text = re.sub(r"^[\d.]+ [A-Z] (\S+ +\S+: )?", "", line)
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200]


def _by_status(exit_status: int | None) -> CauseName:
    match exit_status:
        case -11 | -7:
            return "segv"
        case -6:
            return "assert"
        case -9 | None:
            return "killed"
        case _:
            return "unknown"


def _how(exit_status: int | None) -> str:
    if exit_status is None:
        return "ended with its guardian process"
    if exit_status >= 0:
        return f"ended with exit code {exit_status}"
    try:
        return f"died of signal {-exit_status} ({signal.Signals(-exit_status).name})"
    except ValueError:
        return f"died of signal {-exit_status}"
