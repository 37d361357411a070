"""Reads what a Harmony model generates, id by id, into messages: tolerant of every malformation, never raising.

The grammar is `(<|start|>ROLE)? (to=NAME)? (<|channel|>CHANNEL (to=NAME)?)? (<|constrain|>TYPE)? <|message|>…
(<|end|> | <|return|> | <|call|>)`; the prompt has already said `<|start|>assistant`. Real models break it in a
few of a hundred answers. What can be repaired is (and is noted in `defects`); what cannot ends on the
commentary channel, where nobody takes it for an answer.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Literal

from gptoss_flow.events import Channel
from gptoss_flow.prompt.harmony_tools import is_built_in
from gptoss_flow.prompt.parsed import End, Parsed, ParsedMessage, Piece
from gptoss_flow.vocabulary import FIRST_CONTROL


class Control(IntEnum):
    """The ids that make up the grammar; `Parsed` holds none of them."""

    ENDOFTEXT = 199999
    RETURN = 200002
    CONSTRAIN = 200003
    CHANNEL = 200005
    START = 200006
    END = 200007
    MESSAGE = 200008
    CALL = 200012


ENDS: dict[int, End] = {
    Control.END: "end",
    Control.RETURN: "return",
    Control.CALL: "call",
    Control.ENDOFTEXT: "return",  # under a grammar the server may close with any end token
}
_NO_TOOLS = ("assistant", "user", "all")
"""Recipients that say nothing: what is for them is for whoever reads the channel."""
_CHANNELS: dict[str, Channel] = {"analysis": "analysis", "commentary": "commentary", "final": "final"}

_NAME = r"[A-Za-z0-9_.-]{1,64}"
_ROLE = re.compile(rf"({_NAME}?)(analysis|commentary|final)?(?![A-Za-z0-9_.-])")
_KNOWN_ROLE = re.compile(r"assistant|user|system|developer|tool|python|(functions|browser)\..+")
_CHANNEL = re.compile(r"\s*(analysis|commentary|final|\S*)\s?")
_RECIPIENT = re.compile(rf"\s*to=((?:functions\.)?{_NAME})(?!\S)")
_RECIPIENT_BEGUN = re.compile(r"\s*(t(o(=\S{0,74}(\s+\S{0,64})?)?)?)?")
_TYPE = re.compile(rf"\s*({_NAME})\s*")
_LONGEST_HEADER = 256
"""Bytes; what goes on longer without `<|message|>` is no header."""


def parse(spell: Callable[[int], bytes], tokens: Iterable[int]) -> Parsed:
    """A whole answer at once."""
    stream = HarmonyStream(spell)
    for token in tokens:
        stream.feed(token)
    return stream.finish()


class HarmonyStream:
    """Feed it ids; it gives pieces of text at once and, at `finish`, the whole.

    `spell` gives the bytes of an id below `FIRST_CONTROL`.
    """

    def __init__(self, spell: Callable[[int], bytes]) -> None:
        self._spell = spell
        self._messages: list[ParsedMessage] = []
        self._defects: dict[str, None] = {}
        self._begin("assistant")

    def feed(self, token: int) -> list[Piece]:
        if not 0 <= token < FIRST_CONTROL:
            return self._control(token)
        if self._state == "between":
            self._begin(None)
            self._defect("a message without <|start|>")
        if self._state == "header":
            return self._header_text(token)
        return self._say(self._spell(token), 1)

    def finish(self) -> Parsed:
        """The end of the ids, wherever it comes. Text that was held back is in the messages."""
        self._close(None)
        return Parsed(tuple(self._messages), tuple(self._defects))

    # --- control tokens ------------------------------------------------------------------------------------

    def _control(self, token: int) -> list[Piece]:
        if token in ENDS:
            return self._close(ENDS[token])
        match token:
            case Control.START:
                if self._state == "header":
                    self._defect("a doubled header")
                pieces = self._close(None)
                self._begin(None)
                return pieces
            case Control.CHANNEL:
                return self._channel_follows()
            case Control.CONSTRAIN if self._state == "header":
                if "type" in self._fields:
                    self._defect("a doubled <|constrain|>")
                self._field("type")
            case Control.MESSAGE:
                return self._content_follows()
            case _:
                self._defect(f"a stray control token ({token})")
        return []

    def _channel_follows(self) -> list[Piece]:
        pieces: list[Piece] = []
        if self._state == "header":
            if self._fields.pop("channel", None) is not None:
                self._defect("a doubled header")
        else:
            inside = self._state == "content"
            pieces = self._close(None)
            self._begin("assistant")
            self._defect("a header inside a message" if inside else "a message without <|start|>")
        self._field("channel")
        return pieces

    def _content_follows(self) -> list[Piece]:
        if self._state == "content":
            self._defect("a doubled <|message|>")
            return []
        if self._state == "between":
            self._begin("assistant")
            self._defect("a message without <|start|>")
        return self._read_header(complete=True)

    # --- headers -------------------------------------------------------------------------------------------

    def _begin(self, role: str | None) -> None:
        """A header begins; `role` is None where its text is still to come."""
        self._state: Literal["header", "content", "between"] = "header"
        self._role = role
        self._fields: dict[str, bytes] = {}
        self._field("start")
        self._header_tokens = 0
        self._channel: Channel = "commentary"
        self._recipient: str | None = None
        self._content_type: str | None = None
        self._sound = True
        self._text: list[str] = []
        self._tokens = 0
        self._unsaid_tokens = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _field(self, name: str) -> None:
        self._current_field = name
        self._fields.setdefault(name, b"")

    def _header_text(self, token: int) -> list[Piece]:
        self._fields[self._current_field] += self._spell(token)
        self._header_tokens += 1
        if self._is_plain_text():
            self._defect("text without a header")
            return self._read_header(complete=False)
        return []

    def _is_plain_text(self) -> bool:
        """Whether what stands where a header should be can no longer become one."""
        if sum(map(len, self._fields.values())) > _LONGEST_HEADER:
            return True
        if set(self._fields) != {"start"}:
            return False
        said = _text(self._fields["start"])
        if self._role is None:
            match = _ROLE.match(said)
            if match is None:
                return bool(said.strip())
            if match.end() == len(said):
                return False
            if not _KNOWN_ROLE.fullmatch(match[1]):
                return True
            said = said[match.end() :]
        return _RECIPIENT_BEGUN.fullmatch(said) is None

    def _read_header(self, *, complete: bool) -> list[Piece]:
        """Turn the header's fields into facts; what is none of them is content. `complete`: <|message|> came."""
        said = {name: _text(raw) for name, raw in self._fields.items()}
        channel, unread, rest = said.get("channel"), said["start"], ""
        if self._role is None:
            if not unread.strip():
                self._defect("a message without a role")
            self._role, named, unread = _role(unread)
            if named:
                self._defect("a channel without <|channel|>")
                channel = named if channel is None else channel
        unread = self._take_recipient(unread)
        if channel is not None:
            match = _CHANNEL.match(channel)
            name = match[1] if match else ""
            if name not in _CHANNELS:
                self._defect("an unknown channel")
            self._channel = _CHANNELS.get(name, "commentary")
            rest = self._take_recipient(channel[match.end() if match else 0 :])
        elif self._recipient is None and self._role == "assistant":
            self._channel = "final"
        if "type" in said:
            self._content_type = (match := _TYPE.fullmatch(said["type"])) and match[1]
            if not match:
                self._defect("a <|constrain|> without its type")
                rest += said["type"]
        elif complete and (match := _TYPE.fullmatch(rest)):
            self._content_type, rest = match[1], ""  # older answers say `json` without <|constrain|>
        unread += rest
        if self._role != "assistant":
            self._defect("a message of another role")
        if self._recipient in _NO_TOOLS:
            self._defect(f"a message to {self._recipient}")
            self._recipient = None
        elif self._recipient is not None and channel is None:
            self._defect("a call without a channel")
        elif self._recipient is not None and self._channel == "analysis" and not is_built_in(self._recipient):
            self._note("a call on the analysis channel")
        self._state = "content"
        if not unread.strip():
            return []
        self._defect("text in a header")
        return self._say(unread.encode("utf-8", "surrogateescape"), self._header_tokens)

    def _take_recipient(self, text: str) -> str:
        match = _RECIPIENT.match(text)
        if match is None:
            if text.lstrip().startswith("to="):
                self._defect("a recipient that is no name")
            return text
        if self._recipient not in (None, match[1]):
            self._defect("two recipients")
        self._recipient = match[1]
        return text[match.end() :]

    # --- content -------------------------------------------------------------------------------------------

    def _say(self, spelled: bytes, tokens: int, *, last: bool = False) -> list[Piece]:
        text = self._decoder.decode(spelled, last)
        self._tokens += tokens
        self._unsaid_tokens += tokens
        if not text:
            return []
        self._text.append(text)
        # Another role's words, and words to a tool, are nobody's answer.
        channel = self._channel if self._role == "assistant" and self._recipient is None else "commentary"
        piece = Piece(channel, text, self._unsaid_tokens)
        self._unsaid_tokens = 0
        return [piece]

    def _close(self, ended_by: End | None) -> list[Piece]:
        """The message ends, with or without an end token, whatever state it is in."""
        if self._state == "between":
            return []
        pieces: list[Piece] = []
        headless = self._state == "header"
        if headless:
            if self._messages or ended_by or any(self._fields.values()):
                self._defect("a header without <|message|>")
            pieces = self._read_header(complete=False)
        self._state = "between"
        pieces += self._say(b"", 0, last=True)
        if ended_by is None:
            self._defect("a message without its end")
        if self._recipient is not None and "\ufffd" in "".join(self._text):
            self._defect("a call that is no text")  # bytes of it are missing, or it says so itself
        if not self._text and (headless or ended_by is None):
            return pieces
        message = ParsedMessage(
            role=self._role or "assistant",
            channel=self._channel,
            recipient=self._recipient,
            content_type=self._content_type,
            text="".join(self._text),
            tokens=self._tokens,
            ended_by=ended_by,
            sound=self._sound,
        )
        self._messages.append(message)
        return pieces

    def _defect(self, what: str) -> None:
        self._sound = False
        self._note(what)

    def _note(self, what: str) -> None:
        """Something that is not as it should be, but leaves no doubt of what was meant."""
        self._defects[what] = None


def _text(raw: bytes) -> str:
    """Header bytes as text from which the very bytes can be had back: a character may be cut in them."""
    return raw.decode("utf-8", "surrogateescape")


def _role(start: str) -> tuple[str, str, str]:
    """The role that a header names, a channel's name glued to it (or ""), and what follows."""
    match = _ROLE.match(start)
    if match and (_KNOWN_ROLE.fullmatch(match[1]) or not start[match.end() :].strip()):
        return match[1], match[2] or "", start[match.end() :]
    return "assistant", "", start
