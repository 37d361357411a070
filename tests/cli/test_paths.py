"""Paths on the command line that a slip of the pen makes nobody's."""

from __future__ import annotations

import pytest

from tests.cli.in_process import Command


@pytest.mark.parametrize(
    "line",
    [
        ["show", "~nobody-here"],
        ["model", "info", "~nobody-here/x.gguf"],
        ["infer", "Hello", "--schema", "~nobody-here/x.json"],
        ["infer", "Hello", "--tools", "~nobody-here/x.py:f"],
        ["infer", "Hello", "--profile", "~nobody-here/x.yaml"],
        ["tools", "call", "read_file", "path=@~nobody-here/x"],
        ["run", "~nobody-here/x.yaml"],
    ],
)
def test_a_slip_in_it_is_an_error_and_no_bug(command: Command, line: list[str]) -> None:
    code, _, err = command(*line)
    assert code in (2, 3, 7)
    assert "~nobody-here" in err
