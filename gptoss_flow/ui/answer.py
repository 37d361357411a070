"""Writes an answer to standard output as it arrives."""

from __future__ import annotations

from typing import TextIO

from gptoss_flow.escape import for_terminal


class AnswerWriter:
    """What a terminal could take for a command is made visible; a pipe or file gets the text as it is."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Raises `OSError` where it cannot be written."""
        if not text:
            return
        self._last = text[-1]
        if self._is_terminal:
            self._out.write(for_terminal(text))
        else:
            self._out.buffer.write(text.encode("utf-8", "backslashreplace"))
        self._out.flush()

    @property
    def is_mid_line(self) -> bool:
        """Whether what others write to the same terminal would go on in the answer's last line."""
        return self._is_terminal and self._last != "\n"

    def end(self) -> None:
        """The end of the last line, where the answer has none."""
        if self._last != "\n":
            self.write("\n")
