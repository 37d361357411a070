"""Regular expressions of strangers, in RE2's syntax: without back references or look-around, in linear time."""

from __future__ import annotations

from typing import Any

import re2


def compile_pattern(pattern: str, *, ignore_case: bool = False) -> Any:
    """The expression compiled. Raises `ValueError` with RE2's own reason."""
    options = re2.Options()
    options.log_errors = False  # else the library itself writes to standard error
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
