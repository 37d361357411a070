"""The catalogue of faults is true: what it says holds a row is there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.catalogue import ROWS
from tests.faults.scenes import SCENES

TESTS = Path(__file__).parents[1]


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("row", ROWS)
def test_what_holds_a_fault_is_there(row: str) -> None:
    assert ROWS[row].held_by
    for reference in ROWS[row].held_by:
        path, is_test, name = reference.partition("::")
        assert name in functions(TESTS / path) if is_test else reference in SCENES, reference


def test_every_row_of_the_design_is_there() -> None:
    wanted = [f"A{n:02}" for n in range(1, 41)] + [f"B{n:02}" for n in range(1, 21)]
    wanted += [f"C{n:02}" for n in range(1, 24)]
    wanted += [f"D{n:02}" for n in range(1, 24)]
    wanted += [f"E{n:02}" for n in range(1, 14)]
    wanted += [*(f"F{n:02}" for n in (*range(1, 20), 22, *range(24, 29), 30))]
    assert list(ROWS) == wanted


def test_every_scene_plays_a_row_or_a_record() -> None:
    played = {name for row in ROWS.values() for name in row.held_by}
    assert SCENES.keys() - played == {"broken-flow", "terminate"}
