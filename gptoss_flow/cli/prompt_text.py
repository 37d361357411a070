"""Reads the prompt of a command: its argument, or standard input."""

from __future__ import annotations

import os
import sys

from gptoss_flow.errors import Invalid, Problem


def read_prompt(given: str | None) -> str:
    """`-`, or nothing where something is piped in, is standard input, without its last line break.

    Raises `Invalid` where there is no text.
    """
    if given == "-" or (given is None and not sys.stdin.isatty()):
        text = sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")
    else:
        text = os.fsencode(given or "").decode("utf-8", "replace")
    if not text:
        raise Invalid(Problem(None, "there is no prompt", "give it as an argument, or pipe it in"))
    return text
