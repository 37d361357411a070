"""What the two ways to an MCP server have in common: streams of messages, and what went wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Fault:
    """Why nothing more is heard of a server: the first reason that there was; empty while all is well."""

    def __init__(self) -> None:
        self.said = ""
        self.note = ""
        """What to add to an error that does not say enough."""

    def say(self, said: str) -> None:
        self.said = self.said or said


@dataclass(frozen=True, slots=True)
class Link:
    """A way to a server, as the protocol's own library takes it: what comes, and where to send to."""

    incoming: Any
    outgoing: Any
    fault: Fault
