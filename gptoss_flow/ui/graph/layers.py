"""Where the boxes and lines of a graph go: layers from top to bottom, few crossings, lines around boxes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 46.0, 26.0, 40.0, 14.0  # pixels
_LINE = 4.0
"""The width that a line takes in a layer which it passes."""
_SWEEPS = 8
_LONGEST = 20_000
"""Places in which lines pass a layer; in a graph with more of them lines run straight through boxes."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Drawing:
    """Sizes and places in pixels."""

    boxes: Mapping[str, Box]
    lines: Mapping[tuple[str, str], Sequence[Point]]
    """From a step to one that needs it: the points that the line passes, straight down or up through each."""
    width: float
    height: float


@dataclass(slots=True)
class _Spot:
    """A box in its layer, or a line that passes there (`name` is empty)."""

    name: str
    layer: int
    width: float
    place: float = 0.0
    """Within its layer, from 0 to 1."""
    middle: float = 0.0
    above: list[_Spot] = field(default_factory=list)
    below: list[_Spot] = field(default_factory=list)


def arrange(
    widths: Mapping[str, float], needs: Mapping[str, Sequence[str]], last: Collection[str] = ()
) -> Drawing:
    """Lay out boxes of these widths, each below those that it needs; those of `last` stand below all others.

    The names are in an order in which each comes behind what it needs: an edge that runs backward is left out, as
    is one from or to a name that has no width.
    """
    if not widths:
        return Drawing({}, {}, 2 * MARGIN, 2 * MARGIN)
    spots: dict[str, _Spot] = {}
    paths: dict[tuple[str, str], list[_Spot]] = {}
    layers: list[list[_Spot]] = []
    left_to_pass = _LONGEST
    floor: int | None = None
    for name, width in widths.items():
        known = [spots[need] for need in dict.fromkeys(needs.get(name, ())) if need in spots]
        if name in last and floor is None:
            floor = len(layers)
        lowest = floor if name in last and floor else 0
        spot = spots[name] = _Spot(name, max((need.layer + 1 for need in known), default=lowest), width)
        _enter(layers, spot)
        for need in known:
            passed = spot.layer - need.layer - 1
            left_to_pass -= passed
            paths[need.name, name] = _path(layers, need, spot, range(1, passed + 1) if left_to_pass > 0 else ())
    _order(layers)
    _spread(layers)
    left = min(spot.middle - spot.width / 2 for row in layers for spot in row) - MARGIN
    right = max(spot.middle + spot.width / 2 for row in layers for spot in row) + MARGIN
    boxes = {
        name: Box(spot.middle - spot.width / 2 - left, _top(spot.layer), spot.width)
        for name, spot in spots.items()
    }
    lines = {edge: _points(path, left) for edge, path in paths.items()}
    return Drawing(boxes, lines, right - left, _top(len(layers)) - GAP_Y + MARGIN)


def curve(points: Sequence[Point]) -> str:
    """The `d` of an SVG path through these points, vertical in each."""
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in rest:
        bend = (to_y - y) / 2
        straight = abs(to_x - x) < 0.5
        parts.append(
            f"V{to_y:.1f}"
            if straight
            else f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
        )
        x, y = (x, to_y) if straight else (to_x, to_y)
    return "".join(parts)


def _top(layer: int) -> float:
    return MARGIN + layer * (BOX_HEIGHT + GAP_Y)


def _enter(layers: list[list[_Spot]], spot: _Spot) -> None:
    while len(layers) <= spot.layer:
        layers.append([])
    layers[spot.layer].append(spot)


def _path(layers: list[list[_Spot]], start: _Spot, end: _Spot, passed: Iterable[int]) -> list[_Spot]:
    path = [start]
    for below in passed:
        passing = _Spot("", start.layer + below, _LINE)
        _enter(layers, passing)
        path.append(passing)
    path.append(end)
    for upper, lower in pairwise(path):
        upper.below.append(lower)
        lower.above.append(upper)
    return path


def _order(layers: list[list[_Spot]]) -> None:
    """Each layer by the mean place of its neighbours in the one before, downward and upward in turn."""
    for row in layers:
        _number(row)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in layers[1:] if down else layers[-2::-1]:
            for spot in row:
                if near := spot.above if down else spot.below:
                    spot.place = sum(each.place for each in near) / len(near)
            row.sort(key=lambda spot: spot.place)
            _number(row)


def _number(row: list[_Spot]) -> None:
    for at, spot in enumerate(row):
        spot.place = at / max(1, len(row) - 1)


def _spread(layers: list[list[_Spot]]) -> None:
    """Give each spot a place near its neighbours', with no two over each other."""
    for row in layers:
        x = 0.0
        for spot in row:
            spot.middle = x + spot.width / 2
            x += spot.width + GAP_X
        for spot in row:
            spot.middle -= (x - GAP_X) / 2
    for sweep in range(_SWEEPS):
        for row in layers if sweep % 2 == 0 else reversed(layers):
            _settle(row, [_wish(spot) for spot in row])


def _wish(spot: _Spot) -> float:
    around = (*spot.above, *spot.below)
    lines = [] if spot.name else [each for each in around if not each.name]
    near = [each.middle for each in lines or around]  # a line that passes goes straight on first of all
    return sum(near) / len(near) if near else spot.middle


def _settle(row: list[_Spot], wishes: list[float]) -> None:
    """As near to the wishes as the gaps allow: between what the left and what the right side would give."""
    rightward, leftward = list(wishes), list(wishes)
    for at in range(1, len(row)):
        apart = _apart(row[at - 1], row[at])
        rightward[at] = max(wishes[at], rightward[at - 1] + apart)
    for at in range(len(row) - 2, -1, -1):
        apart = _apart(row[at], row[at + 1])
        leftward[at] = min(wishes[at], leftward[at + 1] - apart)
    for spot, right, left in zip(row, rightward, leftward, strict=True):
        spot.middle = (right + left) / 2


def _apart(left: _Spot, right: _Spot) -> float:
    """Of their middles."""
    return (left.width + right.width) / 2 + (GAP_X if left.name and right.name else GAP_X / 2)


def _points(path: Sequence[_Spot], left: float) -> list[Point]:
    points: list[Point] = []
    for spot in path:
        x, top = spot.middle - left, _top(spot.layer)
        if spot is path[0]:
            points.append((x, top + BOX_HEIGHT))
        elif spot is path[-1]:
            points.append((x, top))
        else:
            points += [(x, top), (x, top + BOX_HEIGHT)]
    return points
