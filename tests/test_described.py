"""What stands below a model's fields is what its schema says of them."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from gptoss_flow.described import Described
from gptoss_flow.fields import Strict
from gptoss_flow.lang.flow import Flow
from gptoss_flow.lang.profile import ProfileFile
from gptoss_flow.tools import TOOLS


class Inner(Strict):
    size: int = 1
    """How large it is."""


class Outer(Inner):
    size: int = 2
    plain: str = ""
    inner: Inner = Inner()
    """What is in it,
    over two lines."""
    other: Annotated[str, Field(alias="class", description="Its own words.")] = ""
    """Not these."""


class Foreign(BaseModel):
    size: int = 1
    """A user's own model says in pydantic's way whether this is told."""


def properties(model: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema(schema_generator=Described)["properties"]
    return found


def test_fields_are_described_by_what_stands_below_them() -> None:
    found = properties(Outer)
    assert found["inner"]["description"] == "What is in it,\nover two lines."
    assert found["class"]["description"] == "Its own words."
    assert found["size"]["description"] == "How large it is."  # of the class that it extends
    assert "description" not in found["plain"]
    assert "description" not in properties(Foreign)["size"]


@pytest.mark.parametrize("model", [Flow, ProfileFile])
def test_every_key_of_a_file_is_described(model: type[BaseModel]) -> None:
    own = {name: entry for name, entry in properties(model).items() if name != "version"}
    assert [name for name, entry in own.items() if "description" not in entry] == []


def test_a_model_reads_of_every_argument_what_it_is() -> None:
    silent = [
        f"{tool.name}: {name}"
        for tool in TOOLS.values()
        for name, entry in tool.parameters.get("properties", {}).items()
        if "description" not in entry
    ]
    assert silent == []
