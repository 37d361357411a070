"""Redacts a run's events in their order, because a secret may arrive in pieces none of which shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gptoss_flow.events import Event, TokensArrived
from gptoss_flow.record.redact import Redactor


class EventRedactor:
    """A `ports.Redact`. Pieces of an answer are held back as long as they could go on to be a secret that has a
    name; what is held is shown before anything else of its step is.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held: dict[str, TokensArrived] = {}
        self._starts = {spelling[0] for spelling in redactor.spellings}
        self._longest = max(map(len, redactor.spellings), default=0)

    def __call__(self, event: Event) -> Sequence[Event]:
        if type(event) is TokensArrived:
            return (event,) if not self._starts else self._piece(event)
        redacted = self._redactor.event(event)
        if not self._held:
            return (redacted,)
        return (*self._flush(getattr(event, "step", "")), redacted)

    def _piece(self, event: TokensArrived) -> Sequence[Event]:
        held = self._held.get(event.step)
        if held is not None and held.channel != event.channel:
            return (*self._flush(event.step), *self._piece(event))
        if held is not None:
            event = replace(event, text=held.text + event.text, tokens=held.tokens + event.tokens)
        shown = self._safe(event.text)
        if shown == len(event.text):
            self._held.pop(event.step, None)
            return (self._redactor.event(event),)
        if not shown:
            self._held[event.step] = event
            return ()
        self._held[event.step] = replace(event, text=event.text[shown:], tokens=0)
        return (self._redactor.event(replace(event, text=event.text[:shown])),)

    def _flush(self, step: str) -> Sequence[Event]:
        held = self._held.pop(step, None)
        return () if held is None else (self._redactor.event(held),)

    def _safe(self, text: str) -> int:
        """How many of the first characters can be told apart from the beginning of a secret."""
        shown = 0
        while True:
            start = self._unfinished(text, shown)
            # A whole secret may reach over that place: it is masked, and what follows it is looked at again.
            over = next((end for begin, end in self._redactor.found(text) if begin < start < end), None)
            if over is None:
                return start
            shown = over

    def _unfinished(self, text: str, shown: int) -> int:
        """Where the longest end of the text begins that is the beginning, but not the whole, of a spelling."""
        for start in range(max(shown, len(text) - self._longest + 1), len(text)):
            if text[start] in self._starts:
                tail = text[start:]
                if any(len(s) > len(tail) and s.startswith(tail) for s in self._redactor.spellings):
                    return start
        return len(text)
