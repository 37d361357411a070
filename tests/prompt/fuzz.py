"""Token sequences to try the parser with, and a second, strict reading that it must never go beyond."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from gptoss_flow.ports import Chunk, ToolSpec
from gptoss_flow.prompt.answer import HarmonyAnswer
from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.harmony_stream import Control, parse
from gptoss_flow.vocabulary import FIRST_CONTROL
from tests.prompt.fakes import final

TOOLS = (ToolSpec(name="read_file", description="", parameters={}),)

# As private-use characters, so that a whole answer is one text.
_SPELLED = {int(control): chr(0xE000 + i) for i, control in enumerate(Control)}
_C = {control.name: _SPELLED[control] for control in Control}
_NAME = r"[A-Za-z0-9_.-]{1,74}"
_CALL = re.compile(
    rf"(?:^|{_C['START']}assistant)\s*(?:to=(?P<first>{_NAME})\s*)?{_C['CHANNEL']}\s*(?:analysis|commentary)"
    rf"\s*(?:to=(?P<second>{_NAME})\s*)?(?:{_C['CONSTRAIN']}?\s*{_NAME}\s*)?{_C['MESSAGE']}"
    rf"(?P<said>[^\ue000-\ue0ff]*)[{_C['END']}{_C['RETURN']}{_C['CALL']}{_C['ENDOFTEXT']}]"
)


def pieces_of(harmony: Harmony) -> list[list[int]]:
    """What answers are made of: control tokens, words of headers, contents, junk."""
    words = [
        "assistant", "user", "system", "analysis", "commentary", "final", " to=functions.read_file", " to=python",
        " to=", "functions", ".", "read_file", "json", " json", "code", "{}", '{"path": "a"}', "{", " ", "\n",
        "Hello", " to=assistant", "commentary to=functions.read_file ",
    ]  # fmt: skip
    half = harmony.encode("𓀀")
    return [*([int(control)] for control in Control), *map(harmony.encode, words), half, half[:1], half[-1:]]


CALL = "<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{}<|call|>"


def sequence(random: Random, pieces: Sequence[Sequence[int]], whole: Sequence[int]) -> list[int]:
    """Pieces in any order; or an answer that is damaged in a few places."""
    if random.random() < 0.5:
        return [token for _ in range(random.randint(0, 24)) for token in random.choice(pieces)]
    tokens = list(whole)
    for _ in range(random.randint(0, 3)):
        at = random.randrange(len(tokens) + 1)
        match random.randrange(4):
            case 0:
                tokens[at:at] = random.choice(pieces)
            case 1:
                del tokens[at : at + random.randint(1, 3)]
            case 2:
                tokens = tokens[:at]
            case _:
                tokens[at : at + 1] = [random.randint(-1, 201_200)]
    return tokens


def misread(spell: Callable[[int], bytes], tokens: Sequence[int]) -> str:
    """What of an answer is read as it must not be; or ""."""
    reading = HarmonyAnswer(spell, TOOLS)
    for token in tokens:
        reading.take(Chunk("", (token,), 1.0))
    came = reading.finish(final())
    if came.fault and came.calls:
        return "calls beside a fault"
    parsed = parse(spell, tokens)
    if any(not message.sound for message in parsed.calls) and came.calls:
        return "calls beside one that is not sound"
    text = _text(spell, tokens)
    strict = {(m["first"] or m["second"], m["said"]) for m in _CALL.finditer(text)}
    for call in came.calls:
        names = {call.name, f"functions.{call.name}"}
        if not any(to in names and said == call.arguments for to, said in strict):
            return f"a call of {call.name} that is not there"
    return ""


def _text(spell: Callable[[int], bytes], tokens: Sequence[int]) -> str:
    parts: list[str] = []
    waiting = b""
    for token in [*tokens, -1]:
        if 0 <= token < FIRST_CONTROL:
            waiting += spell(token)
            continue
        parts.append(waiting.decode("utf-8", "replace"))
        waiting = b""
        parts.append(_SPELLED.get(token, "\ue0ff"))
    return "".join(parts)[:-1]
