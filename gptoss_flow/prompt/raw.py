"""Text to token ids by the server, never control tokens unless asked: raw prompts whole, chat prompts by pieces.

A server told not to parse control tokens parses some all the same: those that the model file, or llama.cpp for
gpt-oss, marks as user-defined. Where a text holds one of these it is cut inside it, and the parts' ids joined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gptoss_flow.events import Json

# Templates may put these together from parts, or be missing, so they are looked for in any model.
_WELL_KNOWN = {
    "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
}  # fmt: skip
_LIKE_CONTROL = re.compile(r"<[^<>\s'\"{}]{1,60}>|\[/?[A-Z_]{2,30}\]")


class Tokenizing(Protocol):
    """What this asks of `ports.Completions`."""

    async def props(self) -> Mapping[str, Json]: ...

    async def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class _Habits:
    """What a vocabulary does beside the text: learnt from the server once."""

    bos: list[int]
    """The ids that a prompt begins with; none for most models of today."""
    guard: list[int]
    """The ids of a line break, where the vocabulary puts a space before whatever it is given; else none."""


class Tokenizer:
    """Text to ids with the habits of the model's vocabulary known. Errors are those of `Completions`."""

    def __init__(self, completions: Tokenizing) -> None:
        self._completions = completions
        self._known: _Habits | None = None
        self._control_like: set[str] | None = None
        self._parsed_anyway: dict[str, bool] = {}

    async def prompt(self, text: str, *, special: bool) -> list[int]:
        """A whole prompt; `special` decides whether control tokens in `text` are parsed as such."""
        return await self.begin(await self.piece(text, special=special, first=True))

    async def begin(self, tokens: list[int]) -> list[int]:
        """The ids with what the model expects before the first, unless it is there."""
        bos = (await self._habits()).bos
        return tokens if tokens[: len(bos)] == bos else [*bos, *tokens]

    async def piece(self, text: str, *, special: bool, first: bool) -> list[int]:
        """A part of a prompt, so that the parts' ids joined say the texts joined."""
        parts = [text] if special else await self._cut(text)
        tokens: list[int] = []
        for part in parts:
            tokens += await self._part(part, special=special, first=first)
            first = False
        return tokens

    async def look_out(self, template_text: str) -> None:
        """Take what looks like a control token in a template's text for one that contents must not become."""
        (await self._suspects()).update(_LIKE_CONTROL.findall(template_text))

    async def spells_control(self, text: str) -> str:
        """What in a text the server would parse as a control token, if told to parse them; or ""."""
        if await self._completions.tokenize(text, special=True) != await self._completions.tokenize(
            text, special=False
        ):
            like = [name for name in _LIKE_CONTROL.findall(text) if await self._is_one_token(name)]
            return like[0] if like else "one that is not named here"
        for name in await self._suspects():
            if name in text and await self._is_parsed_anyway(name) and await self._is_one_token(name):
                return name
        return ""

    async def _is_one_token(self, name: str) -> bool:
        return len(await self._completions.tokenize(name, special=True)) == 1

    async def _part(self, text: str, *, special: bool, first: bool) -> list[int]:
        if not text:
            return []
        guard = [] if first else (await self._habits()).guard
        if guard:
            # The space that such a vocabulary adds goes before the line break, and leaves with it.
            tokens = await self._completions.tokenize("\n" + text, special=special)
            if tokens[: len(guard)] == guard:
                return tokens[len(guard) :]
        return await self._completions.tokenize(text, special=special)

    async def _habits(self) -> _Habits:
        if self._known is None:
            ask = self._completions.tokenize
            alone, begun = await ask("a", special=False), await ask("a", special=False, bos=True)
            line, after_line = await ask("\n", special=False), await ask("\na", special=False)
            places = [i for i in range(len(begun)) if begun[i : i + len(alone)] == alone]
            spaced = after_line[: len(line)] == line and after_line[len(line) :] != alone
            self._known = _Habits(bos=begun[: places[0]] if places else [], guard=line if spaced else [])
        return self._known

    # --- control tokens that are parsed in any text ----------------------------------------------------------

    async def _cut(self, text: str) -> list[str]:
        """The text in parts none of which holds a control token that the server would parse unasked."""
        if "<" not in text and "[" not in text:
            return [text]  # no suspect is without one of them
        leaks = [name for name in await self._suspects() if name in text and await self._is_parsed_anyway(name)]
        if not leaks:
            return [text]
        inside = "|".join(f"(?<={re.escape(name[0])})(?={re.escape(name[1:])})" for name in leaks)
        return re.split(inside, text)

    async def _suspects(self) -> set[str]:
        if self._control_like is None:
            props = await self._completions.props()
            said = [str(props.get(key) or "") for key in ("chat_template", "bos_token", "eos_token")]
            self._control_like = _WELL_KNOWN.union(*map(_LIKE_CONTROL.findall, said))
        return self._control_like

    async def _is_parsed_anyway(self, name: str) -> bool:
        """Whether being told to parse control tokens makes no difference: then it is one, or none at all."""
        if name not in self._parsed_anyway:
            ask = self._completions.tokenize
            self._parsed_anyway[name] = await ask(name, special=False) == await ask(name, special=True)
        return self._parsed_anyway[name]
