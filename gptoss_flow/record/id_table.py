"""Remembers of millions of ids what was seen of them, in some twenty bytes for each."""

from __future__ import annotations

from array import array

_SMALLEST = 1024
_FLAGS = 3
_KEY = 0xFFFFFFFFFFFFFFFC


class IdTable:
    """Remembers flags (1, 2 or 3) for texts, by a hash of 62 bits and not by the text itself.

    In one of ten million files with a million texts two of them share a hash; a set of the texts would take a
    hundred bytes for each.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _SMALLEST))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def flags(self, text: str) -> int:
        """The flags that were set for the text; 0 where there were none."""
        return self._slots[self._place(hash(text) & _KEY)] & _FLAGS

    def add(self, text: str, flags: int) -> int:
        """Add flags to those of the text; those that it had."""
        key = hash(text) & _KEY
        place = self._place(key)
        before = self._slots[place]
        if not before:
            self._used += 1
            if 3 * self._used > 2 * len(self._slots):
                self._grow()
                place = self._place(key)
        self._slots[place] = before | key | flags
        return before & _FLAGS

    def _place(self, key: int) -> int:
        """The slot of a key, or the empty one where it belongs."""
        slots, last = self._slots, len(self._slots) - 1
        place = (key >> 2) & last
        while (there := slots[place]) and there & ~_FLAGS != key:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        slots = array("Q", bytes(16 * len(self._slots)))
        last = len(slots) - 1
        for entry in self._slots:
            if entry:
                place = (entry >> 2) & last
                while slots[place]:
                    place = (place + 1) & last
                slots[place] = entry
        self._slots = slots
