"""Messages to tokens by the model's own chat template, in which contents are never text.

The server applies the template to placeholders. What stands between them is tokenised with control tokens,
the contents without, and the ids are joined: a content that spells `<|im_end|>` stays text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from gptoss_flow.errors import StepError
from gptoss_flow.ports import Completions, Message
from gptoss_flow.prompt.raw import Tokenizer

Turn = tuple[str, str]
"""Role and content."""

# Around each placeholder, to see what the template strips: everything, line breaks only, or nothing. Three line
# breaks, because templates write one or two of their own; none writes a vertical tab.
_PROBE = "\n\n\n\v\n\n\n"


@dataclass(frozen=True, slots=True)
class _Content:
    """The place of a message's content in a prompt; `strip_*`: None keeps, "" strips all white space."""

    index: int
    strip_left: str | None
    strip_right: str | None

    def of(self, turns: Sequence[Turn]) -> str:
        text = turns[self.index][1]
        if self.strip_left is not None:
            text = text.lstrip(self.strip_left or None)
        if self.strip_right is not None:
            text = text.rstrip(self.strip_right or None)
        return text


_Skeleton = tuple[list[int] | _Content, ...]


class ChatTemplate:
    """The chat template of one server's model. What was learnt of a sequence of roles is asked for once."""

    def __init__(self, completions: Completions, tokenizer: Tokenizer) -> None:
        self._completions = completions
        self._tokenizer = tokenizer
        self._skeletons: dict[tuple[tuple[str, bool], ...], _Skeleton] = {}
        self._refuses_system = False

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation with the generation prompt.

        System and developer messages that follow one another are joined; where the template knows no system
        role they open the next user message. Raises `StepError` where the template refuses the roles.
        """
        turns = _turns(messages)
        skeleton, turns = await self._skeleton_of(turns)
        tokens: list[int] = []
        for part in skeleton:
            if isinstance(part, _Content):
                tokens += await self._tokenizer.piece(part.of(turns), special=False, first=not tokens)
            else:
                tokens += part
        return await self._tokenizer.begin(tokens)

    async def _skeleton_of(self, turns: list[Turn]) -> tuple[_Skeleton, list[Turn]]:
        folded = _folded(turns)
        if self._refuses_system or folded == turns:
            return await self._skeleton(folded), folded
        try:
            return await self._skeleton(turns), turns
        except StepError as refusal:
            try:
                skeleton = await self._skeleton(folded)
            except StepError:
                raise refusal from None
            self._refuses_system = True
            return skeleton, folded

    async def _skeleton(self, turns: Sequence[Turn]) -> _Skeleton:
        # An empty content goes in as such: templates ask whether there is one.
        shape = tuple((role, content != "") for role, content in turns)
        if shape not in self._skeletons:
            self._skeletons[shape] = await self._ask(shape)
        return self._skeletons[shape]

    async def _ask(self, shape: tuple[tuple[str, bool], ...]) -> _Skeleton:
        nonce = secrets.token_hex(16)
        names = {f"{nonce}x{i}x": i for i, (_, has_content) in enumerate(shape) if has_content}
        by_index = {i: _PROBE + name + _PROBE for name, i in names.items()}
        prompt = await self._completions.apply_template(
            [{"role": role, "content": by_index.get(i, "")} for i, (role, _) in enumerate(shape)]
        )
        texts = re.split(rf"({nonce}x\d+x)", prompt)
        if lost := sorted(set(names.values()) - {names[name] for name in texts[1::2]}):
            role = shape[lost[0]][0]
            said = f"the model's chat template leaves out message {lost[0] + 1}, of role {role}"
            raise StepError("model", f"{said}: leave it out, or use mode raw", retryable=False)
        return await self._tokenised(texts[0::2], [names[name] for name in texts[1::2]])

    async def _tokenised(self, fixed: list[str], contents: list[int]) -> _Skeleton:
        """The skeleton of a template's own texts and of the contents' indexes between them."""
        places: list[_Content] = []
        for i, index in enumerate(contents):
            fixed[i], strip_left = _without_probe_after(fixed[i])
            fixed[i + 1], strip_right = _without_probe_before(fixed[i + 1])
            places.append(_Content(index, strip_left, strip_right))
        skeleton: list[list[int] | _Content] = []
        for i, text in enumerate(fixed):
            await self._tokenizer.look_out(text)
            skeleton.append(await self._tokenizer.piece(text, special=True, first=i == 0))
            skeleton += places[i : i + 1]
        return tuple(skeleton)


def _turns(messages: Sequence[Message]) -> list[Turn]:
    """Most templates know one system message, at the beginning: what belongs there is joined to one."""
    turns: list[Turn] = []
    for is_system, group in groupby(messages, lambda m: m.role in ("system", "developer")):
        if is_system:
            turns.append(("system", "\n\n".join(m.content for m in group)))
        else:
            turns += [(m.role, m.content) for m in group]
    return turns


def _folded(turns: list[Turn]) -> list[Turn]:
    """The same with each system message at the head of the user message that follows it."""
    folded: list[Turn] = []
    waiting = ""
    for role, content in turns:
        if role == "system":
            waiting += content + "\n\n"
        elif role == "user" and waiting:
            folded.append(("user", waiting + content))
            waiting = ""
        else:
            folded.append((role, content))
    return [*folded, ("user", waiting.rstrip("\n"))] if waiting else folded


def _without_probe_after(text: str) -> tuple[str, str | None]:
    """A text that ends where a content begins: without what is left of the probe, and what was stripped."""
    if text.endswith(_PROBE):
        return text.removesuffix(_PROBE), None
    if text.endswith("\v\n\n\n"):
        return text.removesuffix("\v\n\n\n"), "\n"
    return text, ""


def _without_probe_before(text: str) -> tuple[str, str | None]:
    if text.startswith(_PROBE):
        return text.removeprefix(_PROBE), None
    if text.startswith("\n\n\n\v"):
        return text.removeprefix("\n\n\n\v"), "\n"
    return text, ""
