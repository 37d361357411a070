"""The command line called within the test's own process."""

from __future__ import annotations

from collections.abc import Callable

Command = Callable[..., tuple[int, str, str]]
"""Arguments to exit code, standard output and standard error."""
