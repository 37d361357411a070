"""Tells people what happens to a server that is started for them, a line for each change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gptoss_flow.events import Json, ServerState
from gptoss_flow.ui.progress import server_words

Say = Callable[[str], None]
OnChange = Callable[[ServerState, str, Mapping[str, Json]], None]


def narrated(say: Say) -> OnChange:
    """What tells `say` of each change, but not of the end of a command's own use.

    A crash is told only where another try follows: the last one is the error that the command ends with.
    """
    crash = ""

    def changed(state: ServerState, detail: str, facts: Mapping[str, Json]) -> None:
        nonlocal crash
        line = server_words(state, detail)
        if state == "crashed":
            crash = line
        elif state not in ("stopping", "stopped"):
            if crash:
                say(crash)
            crash = ""
            say(line)

    return changed
