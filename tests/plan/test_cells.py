"""A matrix's cells: the examples of GitHub's documentation, and its bounds."""

from __future__ import annotations

import time

import pytest

from gptoss_flow.plan.cells import cells


def test_the_last_axis_is_the_fastest() -> None:
    assert [list(cell.values()) for cell in cells({"a": [1, 2], "b": ["x", "y"]})] == [
        [1, "x"], [1, "y"], [2, "x"], [2, "y"],
    ]  # fmt: skip


def test_include_extends_the_cells_that_it_does_not_contradict_as_github_documents() -> None:
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert cells({"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}, include) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_exclude_leaves_out_every_cell_with_all_of_its_values() -> None:
    axes = {"os": ["linux", "mac"], "version": [10, 12], "environment": ["staging", "production"]}
    left = cells(
        axes, None, [{"os": "mac", "version": 12, "environment": "production"}, {"os": "linux", "version": 10}]
    )
    assert len(left) == 5
    assert {"os": "mac", "version": 12, "environment": "staging"} in left


def test_what_was_excluded_can_be_included_again() -> None:
    assert cells({"a": [1, 2]}, [{"a": 2, "b": 3}], [{"a": 2}]) == [{"a": 1}, {"a": 2, "b": 3}]


def test_include_alone_makes_the_cells() -> None:
    assert cells({}, [{"a": 1}, {"a": 2}]) == [{"a": 1}, {"a": 2}]


def test_true_is_not_one_and_an_empty_axis_gives_no_cells() -> None:
    assert cells({"a": [True, 1]}, None, [{"a": 1}]) == [{"a": True}]
    assert cells({"a": [], "b": [1]}) == []


def test_values_may_be_lists_and_mappings() -> None:
    assert cells({"a": [[1], {"x": 1, "y": 2}]}, None, [{"a": {"y": 2, "x": 1}}]) == [{"a": [1]}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (({name: list(range(1000)) for name in "abc"},), "1,000,000,000 cells; at most 10,000"),
        (({"a": "x"},), 'the axis "a" of matrix needs a list, not text'),
        (({"a": [1]}, {"a": 1}), '"include" of matrix needs a list, not a mapping'),
        (({"a": [1]}, None, [1]), 'an entry of "exclude" of matrix is a mapping of axis to value, not a number'),
        (({"a": [1]}, None, [{"b": 1}]), '"exclude" names "b", which is no axis of matrix; axes: a'),
        (({"a": list(range(10_000))}, [{"a": -1}]), "10,001 cells"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_matrix_is_refused(given: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cells(*given)  # type: ignore[arg-type]


def test_ten_thousand_cells_with_as_many_entries_are_quick() -> None:
    began = time.process_time()
    axes = {"a": list(range(100)), "b": list(range(100))}
    entries = [{"a": i % 100, "b": i // 100, "c": i} for i in range(10_000)]
    assert len(cells(axes, entries)) == 10_000
    assert time.process_time() - began < 5, "each is not compared with each"
