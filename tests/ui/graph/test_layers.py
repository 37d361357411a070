"""The layout of graphs: nothing lies over anything else, and what needs a step stands below it."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.ui.graph.layers import BOX_HEIGHT, Drawing, arrange, curve


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, list[str]]]:
    names = [f"s{n}" for n in range(draw(st.integers(1, 12)))]
    widths = {name: draw(st.floats(10, 300)) for name in names}
    needs = {
        name: draw(st.lists(st.sampled_from(names[:at]), max_size=4)) if at else []
        for at, name in enumerate(names)
    }
    return widths, needs


@settings(deadline=None)
@given(graphs())
def test_no_box_lies_over_another_and_all_lie_within_the_picture(
    graph: tuple[dict[str, float], dict[str, list[str]]],
) -> None:
    drawing = arrange(*graph)
    for a, b in combinations(drawing.boxes.values(), 2):
        assert a.y != b.y or a.x + a.width <= b.x + 0.01 or b.x + b.width <= a.x + 0.01
    for box in drawing.boxes.values():
        assert box.x >= 0 and box.x + box.width <= drawing.width + 0.01
        assert box.y >= 0 and box.y + BOX_HEIGHT <= drawing.height


@settings(deadline=None)
@given(graphs())
def test_a_line_goes_down_from_what_is_needed_and_passes_beside_boxes(
    graph: tuple[dict[str, float], dict[str, list[str]]],
) -> None:
    drawing, needs = arrange(*graph), graph[1]
    assert set(drawing.lines) == {(need, name) for name, needed in needs.items() for need in needed}
    for (start, end), points in drawing.lines.items():
        assert points[0] == pytest.approx((drawing.boxes[start].middle, drawing.boxes[start].y + BOX_HEIGHT))
        assert points[-1] == pytest.approx((drawing.boxes[end].middle, drawing.boxes[end].y))
        for (_, upper), (_, lower) in pairwise(points):
            assert upper < lower
        for x, y in points[1:-1]:
            assert all(
                not (b.y <= y <= b.y + BOX_HEIGHT and b.x < x < b.x + b.width) for b in drawing.boxes.values()
            )


def test_the_last_ones_stand_below_all_others() -> None:
    boxes = arrange(dict.fromkeys("abxy", 50.0), {"b": ["a"], "y": ["x"]}, ["x", "y"]).boxes
    assert boxes["a"].y < boxes["b"].y < boxes["x"].y < boxes["y"].y


def test_edges_of_unknown_names_and_backward_ones_are_left_out() -> None:
    assert arrange({"a": 50.0, "b": 50.0}, {"a": ["b", "a", "lost"]}).lines == {}
    assert arrange({}, {}) == Drawing({}, {}, 28.0, 28.0)


def test_a_line_of_many_long_edges_costs_little() -> None:
    names = [f"s{n}" for n in range(200)]
    drawing = arrange(dict.fromkeys(names, 50.0), {name: names[:at] for at, name in enumerate(names)})
    assert len(drawing.lines) == 200 * 199 / 2


def test_a_straight_line_is_drawn_as_one() -> None:
    assert curve([(10, 0), (10, 50)]) == "M10.0 0.0V50.0"
    assert curve([(10, 0), (20, 50)]) == "M10.0 0.0C10.0 25.0 20.0 25.0 20.0 50.0"
