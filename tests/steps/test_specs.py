"""What a model reads of a tool's schema: nothing of a null that stands for an argument left out."""

from __future__ import annotations

from gptoss_flow.steps.specs import specs, without_null
from gptoss_flow.tools import TOOLS


def test_an_argument_that_may_be_left_out_says_nothing_of_null() -> None:
    integer = {"type": "integer", "minimum": 1}
    given = {"anyOf": [integer, {"type": "null"}], "default": None, "description": "How many."}
    assert without_null({"properties": {"n": given}}) == {
        "properties": {"n": {**integer, "description": "How many."}}
    }


def test_a_null_that_means_something_stays() -> None:
    for given in (
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 3},
        {"type": ["string", "null"]},
    ):
        assert without_null(given) == given


def test_of_several_kinds_the_null_alone_goes() -> None:
    kinds = [{"type": "integer"}, {"type": "string"}]
    assert without_null({"anyOf": [*kinds, {"type": "null"}], "default": None}) == {"anyOf": kinds}


def test_no_built_in_tool_speaks_of_null_to_a_model() -> None:
    for spec in specs(TOOLS):
        assert "null" not in str(spec.parameters), spec.name
