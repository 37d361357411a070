"""Line plots as inline SVG: a few series over a number, with axes, and names where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from gptoss_flow.escape import one_line

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400.0, 190.0, 46.0, 120.0, 12.0, 28.0  # pixels
COLOURS = 8
"""So many series look different; more are not drawn."""
LONGEST_NAME = 22

Point = tuple[float, float]


def draw_lines(
    title: str,
    series: Mapping[str, Sequence[Point]],
    ticks: Mapping[float, str] | None = None,
    *,
    dots: bool = True,
) -> Markup | None:
    """A plot; None where no series has a point. `ticks`: what stands on the x axis; else the x values do."""
    series = {name: points for name, points in series.items() if points}
    series = dict(list(series.items())[:COLOURS])
    if not series:
        return None
    xs = sorted({x for points in series.values() for x, _ in points})
    if ticks is None:
        ticks = {x: f"{x:g}" for x in (xs if len(xs) <= 8 else xs[:: len(xs) // 6])}
    low, high = min(xs[0], *ticks), max(xs[-1], *ticks)
    top = max(y for points in series.values() for _, y in points) or 1.0

    def place(x: float, y: float) -> Point:
        share = (x - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT), TOP + (1 - y / top) * (HEIGHT - TOP - BOTTOM)

    parts = [_gridline(place(low, y)[1], y) for y in (0.0, top / 2, top)]
    parts += [
        Markup('<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>') % (place(x, 0)[0], HEIGHT - 10, said)
        for x, said in ticks.items()
    ]
    taken: list[float] = []
    for at, (name, points) in enumerate(series.items()):
        placed = [place(x, y) for x, y in points]
        marks = [Markup('<circle cx="%.1f" cy="%.1f" r="2.5"/>') % dot for dot in placed] if dots else []
        label = _label(name, placed[-1], taken) if len(series) > 1 else Markup("")
        parts.append(
            Markup('<g class="series%s"><title>%s</title><polyline points="%s"/>%s%s</g>')
            % (at, one_line(name), " ".join(f"{x:.1f},{y:.1f}" for x, y in placed), Markup("").join(marks), label)
        )
    return framed(title, Markup("").join(parts))


def framed(title: str, content: Markup, height: float = HEIGHT) -> Markup:
    """A drawing with its caption."""
    return Markup(
        '<figure><svg viewBox="0 0 %d %d" role="img" aria-label="%s">%s</svg><figcaption>%s</figcaption></figure>'
    ) % (WIDTH, height, one_line(title), content, one_line(title))


def _gridline(y: float, value: float) -> Markup:
    return Markup(
        '<line class="axis" x1="%s" x2="%s" y1="%.1f" y2="%.1f"/><text x="%s" y="%.1f" text-anchor="end">%s</text>'
    ) % (LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 3, f"{value:.3g}" if value < 1000 else f"{value:,.0f}")


def _label(name: str, at: Point, taken: list[float]) -> Markup:
    """The name behind the end of a line, moved down where another one stands already."""
    y = at[1]
    while any(abs(y - other) < 10 for other in taken):
        y += 10
    taken.append(y)
    shown = one_line(name)
    shown = shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"
    return Markup('<text x="%.1f" y="%.1f">%s</text>') % (at[0] + 5, y + 3, shown)
