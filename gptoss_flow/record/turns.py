"""A conversation in the journal: a turn's record has what it adds to the one before, and readers make it whole.

Otherwise a record would grow with the square of the turns, as every prompt holds all that was said before it.
Which record a turn goes on from is said by its number and the CRC-32 of its line: nothing can be put before a turn
that was not there when it was written.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gptoss_flow.events import PromptRendered, Stamped, StepFinished
from gptoss_flow.record.codec import Damaged

KEPT = 4096
"""Of so many steps at most the last prompt is kept, by writer and reader alike: the oldest goes first."""


@dataclass(frozen=True, slots=True)
class _Last:
    seq: int
    prompt: PromptRendered
    crc: int


class Turns:
    """The last prompt of each step that has not ended."""

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}

    def shortened(self, stamped: Stamped) -> Stamped:
        """A turn as it is written: without what the turn before had already."""
        prompt = stamped.event
        if not isinstance(prompt, PromptRendered) or prompt.turn == 1:
            return stamped
        last = self._last.get(prompt.step)
        if last is None or (last.prompt.attempt, last.prompt.turn) != (prompt.attempt, prompt.turn - 1):
            return stamped
        before = last.prompt
        same = {name: _common(getattr(before, name), getattr(prompt, name)) for name in ("messages", "tokens")}
        same["tools"] = len(prompt.tools) if repr(prompt.tools) == repr(before.tools) else 0  # 1 is no `true`
        if not any(same.values()):
            return stamped
        added: dict[str, Any] = {name: getattr(prompt, name)[number:] for name, number in same.items()}
        since = {"seq": last.seq, "crc": last.crc, **same}
        return Stamped(stamped.seq, stamped.time, replace(prompt, **added, since=since))

    def whole(self, stamped: Stamped) -> Stamped:
        """A turn as it was, of one that was read. Raises `Damaged` where what it goes on from is not there."""
        prompt = stamped.event
        if not isinstance(prompt, PromptRendered) or not prompt.since:
            return stamped
        since, last = prompt.since, self._last.get(prompt.step)
        missing = Damaged("shape", f"it goes on from record {since.get('seq')}, which is lost or not as it was")
        if last is None or (last.seq, last.crc) != (since.get("seq"), since.get("crc")):
            raise missing
        whole: dict[str, Any] = {}
        for name in ("messages", "tokens", "tools"):
            before, number = getattr(last.prompt, name), since.get(name, 0)
            if not isinstance(number, int) or not 0 <= number <= len(before):
                raise missing
            whole[name] = before[:number] + getattr(prompt, name)
        return Stamped(stamped.seq, stamped.time, replace(prompt, **whole, since={}))

    def passed(self, stamped: Stamped, line: bytes) -> None:
        """Note an event, whole, that was written or read as this line."""
        event = stamped.event
        if isinstance(event, PromptRendered):
            self._last.pop(event.step, None)
            self._last[event.step] = _Last(stamped.seq, event, crc32(line.rstrip(b"\n")))
            if len(self._last) > KEPT:
                del self._last[next(iter(self._last))]
        elif isinstance(event, StepFinished):
            self._last.pop(event.step, None)


def _common(before: Sequence[Any], now: Sequence[Any]) -> int:
    """How many of them are the same from the beginning on."""
    low, high = 0, min(len(before), len(now))
    if before[:high] == now[:high]:
        return high
    while low < high:  # the first `low` are the same, the first `high` are not
        middle = (low + high + 1) // 2
        if before[low:middle] == now[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
