"""Draws the panes of a run: each version of each pane once, in its frame, with the changes that it lived for."""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import combining, east_asian_width

from gptoss_flow.escape import for_terminal
from gptoss_flow.tools.ui_pane.panes import PRIORITIES, Pane
from gptoss_flow.ui.panes import PaneChange, Screen, Version

SHOWN = 300
"""The last changes that can be stepped through."""
_MARGIN = 24
_LEAST = (800, 450)
_BAR = 30
"""The height of a title, and of a minimized pane."""
_INSET = 14
_CHAR, _LINE = 7.3, 16
"""Of the letters in a pane, in its pixels."""
_CUT = 14
"""How much of a corner a frame cuts off."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A version of a pane. `frame` and `ground` are paths from its upper left corner on."""

    pane: Pane
    since: int
    until: int
    """The change that ends it; one beyond the last where none does."""
    height: int
    title: str
    lines: list[str]
    frame: str
    ground: str

    @property
    def look(self) -> str:
        """Its classes."""
        pane = self.pane
        parts = ["pane", f"frame-{pane.frame}", f"priority-{pane.priority}"]
        parts += ["focused"] * pane.focused + ["glows"] * pane.glow + ["minimized"] * (pane.state == "minimized")
        return " ".join(parts + ([f"plays-{pane.animation}"] if pane.animation else []))


@dataclass(frozen=True, slots=True)
class DrawnScreen:
    width: int
    height: int
    first: int
    """The first change that can be gone to."""
    changes: list[PaneChange]
    """From `first` on."""
    panes: list[Drawn]
    """From the lowest to the highest."""

    @property
    def last(self) -> int:
        return self.first + len(self.changes) - 1

    @property
    def told(self) -> str:
        """What is seen at the end, in words."""
        seen = [each.pane for each in self.panes if each.until > self.last]
        return ", ".join(f"{pane.title or pane.id} ({pane.priority}, {pane.state})" for pane in seen) or "none"


def draw_panes(screen: Screen) -> DrawnScreen | None:
    """None where the run had no panes."""
    if not screen.changes:
        return None
    last = len(screen.changes)
    first = max(1, last - SHOWN + 1)
    seen = [v for v in screen.versions if v.pane.state != "closed" and (v.until is None or v.until > first)]
    seen.sort(key=lambda v: (PRIORITIES.index(v.pane.priority), v.pane.level, v.since))
    drawn = [_drawn(version, first, last) for version in seen]
    return DrawnScreen(
        width=max([_LEAST[0], *(each.pane.x + each.pane.width + _MARGIN for each in drawn)]),
        height=max([_LEAST[1], *(each.pane.y + each.height + _MARGIN for each in drawn)]),
        first=first,
        changes=screen.changes[first - 1 :],
        panes=drawn,
    )


def _drawn(version: Version, first: int, last: int) -> Drawn:
    pane = version.pane
    height = _BAR if pane.state == "minimized" else pane.height
    columns = max(1, int((pane.width - 2 * _INSET) / _CHAR))
    rows = max(0, (height - _BAR - _INSET - 2) // _LINE)
    wanted = f"! {for_terminal(pane.attention, keep='')}\n" if pane.attention else ""
    marks = "".join(f" · {word}" for word in (pane.priority,) if pane.priority != "normal")
    return Drawn(
        pane=pane,
        since=max(first, version.since),
        until=version.until or last + 1,
        height=height,
        title=for_terminal(pane.title or pane.id, keep="") + marks,
        lines=wrapped(wanted + pane.content, columns, rows) if pane.state == "open" else [],
        frame=_FRAMES[pane.frame](pane.width, height),
        ground=_GROUNDS.get(pane.frame, _rectangle)(pane.width, height),
    )


def wrapped(text: str, columns: int, rows: int) -> list[str]:
    """As many lines as there is room for, each broken after a word where it can be."""
    lines: list[str] = []
    for line in for_terminal(text).expandtabs(4).split("\n"):
        rest = line
        while True:
            if len(lines) == rows:
                return lines
            end = _fitting(rest, columns)
            space = rest.rfind(" ", 1, end + 1) if end < len(rest) else -1
            end = space if space > 0 else end
            lines.append(rest[:end])
            rest = rest[end:].removeprefix(" ")
            if not rest:
                break
    return lines


def _fitting(line: str, columns: int) -> int:
    """How many characters fit, at least one: those of East Asia are two columns wide, marks on others none."""
    used = 0
    for at, char in enumerate(line):
        used += 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1
        if used > columns and at:
            return at
    return len(line)


# --- frames ------------------------------------------------------------------------------------------------------


def _rectangle(w: int, h: int) -> str:
    return f"M0 0H{w}V{h}H0Z"


def _corners(w: int, h: int) -> str:
    a = min(18, w // 3, h // 3)
    return f"M0 {a}V0H{a}M{w - a} 0H{w}V{a}M{w} {h - a}V{h}H{w - a}M{a} {h}H0V{h - a}"


def _lines(w: int, h: int) -> str:
    a = min(10, h // 3)
    return f"M0 0H{w}M0 {h}H{w}M0 0V{a}M{w} 0V{a}M0 {h}V{h - a}M{w} {h}V{h - a}"


def _octagon(w: int, h: int) -> str:
    c = _cut(w, h)
    return f"M{c} 0H{w - c}L{w} {c}V{h - c}L{w - c} {h}H{c}L0 {h - c}V{c}Z"


def _underline(w: int, h: int) -> str:
    c = _cut(w, h)
    return f"M0 {h}H{w - c}L{w} {h - c}M{w - c - w // 5} {h - 4}H{w - c - 2}"


def _underline_ground(w: int, h: int) -> str:
    c = _cut(w, h)
    return f"M0 0H{w}V{h - c}L{w - c} {h}H0Z"


def _nefrex(w: int, h: int) -> str:
    """Two corners cut, and a bar inside along each of the two."""
    c = _cut(w, h)
    return (
        f"{_nefrex_ground(w, h)}M{c + 4} 4H{c + 4 + w // 4}M4 {c + 4}V{c + 4 + h // 4}"
        f"M{w - c - 4} {h - 4}H{w - c - 4 - w // 4}M{w - 4} {h - c - 4}V{h - c - 4 - h // 4}"
    )


def _nefrex_ground(w: int, h: int) -> str:
    c = _cut(w, h)
    return f"M{c} 0H{w}V{h - c}L{w - c} {h}H0V{c}Z"


def _kranox(w: int, h: int) -> str:
    """Shoulders at the upper left and the lower right, and a tick at the other corners."""
    c = _cut(w, h) // 2
    return f"{_kranox_ground(w, h)}M{w - 5} {c + 5}V5H{w - 5 - 3 * c}M5 {h - c - 5}V{h - 5}H{5 + 3 * c}"


def _kranox_ground(w: int, h: int) -> str:
    c, a, b = _cut(w, h) // 2, w // 3, h // 3
    return (
        f"M{c} {c}H{a}L{a + c} 0H{w}V{h - b - c}L{w - c} {h - b}V{h - c}H{w - a}L{w - a - c} {h}"
        f"H0V{b + c}L{c} {b}Z"
    )


def _cut(w: int, h: int) -> int:
    return min(_CUT, w // 4, h // 4)


_FRAMES = {
    "corners": _corners,
    "lines": _lines,
    "octagon": _octagon,
    "underline": _underline,
    "nefrex": _nefrex,
    "kranox": _kranox,
}
_GROUNDS = {
    "octagon": _octagon,
    "underline": _underline_ground,
    "nefrex": _nefrex_ground,
    "kranox": _kranox_ground,
}
"""What lies behind a pane, where that is no rectangle."""
