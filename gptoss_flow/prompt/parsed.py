"""What a generation came to: pieces as they arrive, messages and their channels at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from gptoss_flow.events import Channel

End = Literal["end", "return", "call"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text as it arrives: `tokens` counts the ids that it took."""

    channel: Channel
    text: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    role: str
    channel: Channel
    recipient: str | None
    """A tool's name, as `functions.x`. Somebody who runs tools must ask `sound` first."""
    content_type: str | None
    text: str
    tokens: int
    """Ids of the content, control tokens not counted."""
    ended_by: End | None
    """None where the message was cut, or another began without an end."""
    sound: bool
    """Whether the message followed the grammar to its end."""

    @property
    def is_readable_call(self) -> bool:
        """Whether it leaves no doubt which tool is to be called with what."""
        return self.sound and self.recipient is not None and bool(self.ended_by) and self.channel != "final"


@dataclass(frozen=True, slots=True)
class Parsed:
    """Everything that was generated, in order. `defects` says in words what did not follow the grammar."""

    messages: tuple[ParsedMessage, ...]
    defects: tuple[str, ...]

    def text(self, channel: Channel) -> str:
        """What the assistant said on a channel; its messages are joined by an empty line."""
        said = [m.text for m in self._of_the_assistant() if m.channel == channel and m.recipient is None]
        return "\n\n".join(said)

    def tokens(self, channel: Channel) -> int:
        return sum(m.tokens for m in self._of_the_assistant() if m.channel == channel)

    @property
    def answered(self) -> bool:
        """Whether there is a final message, if only an empty one."""
        return any(m.channel == "final" and m.recipient is None for m in self._of_the_assistant())

    def without(self, stop: str) -> Parsed:
        """The same, where the last message ends before the `stop` text that ended the answer."""
        if not self.messages:
            return self
        *before, last = self.messages
        at = last.text.rfind(stop)
        return replace(self, messages=(*before, replace(last, text=last.text[:at] if at >= 0 else last.text)))

    @property
    def calls(self) -> tuple[ParsedMessage, ...]:
        """Messages to a tool. None of them has been run."""
        return tuple(m for m in self._of_the_assistant() if m.recipient is not None)

    def _of_the_assistant(self) -> Iterator[ParsedMessage]:
        return (m for m in self.messages if m.role == "assistant")
