"""What has arrived of a run's answer: what of it scrolls by, and what is only in view."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gptoss_flow.events import Json
from gptoss_flow.fields import json_text, parse_json

TAIL = 2000
"""Characters that are kept in view."""


class StreamedAnswer:
    """Whole lines scroll by as they come, and the unfinished one is in view. Each method gives lines to scroll by.

    `is_repeated`: the outputs are printed on the same terminal afterwards. Then an answer is only in view until
    the run ends, and scrolls by only if it is not among them.
    """

    def __init__(self, *, is_repeated: bool) -> None:
        self._is_repeated = is_repeated
        self._rest = ""
        self._is_over = False

    @property
    def in_view(self) -> str:
        return self._rest[-TAIL:]

    def arrived(self, text: str) -> list[str]:
        """A piece of it; after its end the beginning of another one."""
        before, self._is_over = self.let_go() if self._is_over else [], False
        if self._is_repeated:
            self._rest += text
            return before
        *lines, self._rest = (self._rest + text).split("\n")
        return [*before, *lines]

    def ended(self) -> list[str]:
        """That was all of it."""
        self._is_over = True
        return [] if self._is_repeated else self.let_go()

    def outputs_follow(self, outputs: Mapping[str, Json]) -> list[str]:
        """The run has ended: these are printed next, if they are."""
        answer = self._rest.strip()
        if not answer or any(_shows(value, answer) for value in outputs.values()):
            self._rest = ""
        return self.let_go()

    def let_go(self) -> list[str]:
        """It will not be seen elsewhere."""
        rest, self._rest = self._rest, ""
        return rest.removesuffix("\n").split("\n") if rest else []


def _shows(output: Json, answer: str) -> bool:
    """Whether who reads the output reads the answer: in its words, or as the value that it says in JSON."""
    if re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", json_text(output)):
        return True
    try:
        return bool(parse_json(answer) == output)
    except ValueError:
        return False
