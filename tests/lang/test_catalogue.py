"""The catalogue of faults of flow files is true: the tests that it names are there."""

from __future__ import annotations

import pytest

from tests.faults.test_catalogue import TESTS, functions
from tests.lang.catalogue import ROWS


@pytest.mark.parametrize("row", ROWS)
def test_what_holds_a_fault_is_there(row: str) -> None:
    for reference in ROWS[row]:
        path, _, name = reference.partition("::")
        assert name in functions(TESTS / path), reference


def test_every_row_of_the_design_is_there() -> None:
    assert list(ROWS) == [f"D{number:02}" for number in range(1, 24)]
