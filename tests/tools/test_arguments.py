"""Judging a call's arguments."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gptoss_flow.arguments import check_arguments
from gptoss_flow.errors import StepError
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.base import validate_arguments
from tests.steps.made_tools import MadeTool
from tests.tools.conftest import Call

PURE = {"read_file", "list_files", "repo_files", "search_text"}


def said(tool: str, arguments: dict[str, Any], *, templated: bool = False) -> list[str]:
    return [str(problem) for problem in check_arguments(TOOLS[tool], arguments, templated=templated)]


def test_every_tool_describes_itself_and_every_argument() -> None:
    for name, tool in TOOLS.items():
        Draft202012Validator.check_schema(tool.parameters)
        assert tool.name == name
        assert tool.description.endswith(".")
        assert (tool.effect == "pure") == (name in PURE)
        assert tool.parameters["type"] == "object"
        assert tool.parameters["additionalProperties"] is False
        assert "'title': '" not in str(tool.parameters), "no schema has a title, though an argument may be one"
        assert all(argument["description"] for argument in tool.parameters["properties"].values())


def test_all_that_is_wrong_is_said_in_the_order_written() -> None:
    wrong = {"max_bytes": 0, "rot": ".", "limit": "six", "include": ["*.py", 3], "exclude": "*.md"}
    assert said("repo_files", wrong) == [
        'tool "repo_files": max_bytes must be at least 1, not 0',
        'tool "repo_files" has no argument "rot"; did you mean "root"?',
        'tool "repo_files": limit must be a whole number, not "six"',
        'tool "repo_files": include[1] must be text, not 3',
        'tool "repo_files": exclude must be a list, not "*.md"',
    ]


def test_many_names_that_it_does_not_have_are_not_all_compared() -> None:
    tool = MadeTool("many", parameters={"type": "object", "properties": {f"name_{n}": {} for n in range(500)}})
    given = {f"{'x' * 40}_{n}": 1 for n in range(5000)}
    began = time.process_time()
    assert check_arguments(tool, given) == []
    closed = replace(tool, parameters={**tool.parameters, "additionalProperties": False})
    assert len(check_arguments(closed, given)) == 20
    assert time.process_time() - began < 3


def test_a_missing_argument_is_named_with_what_it_is() -> None:
    assert said("read_file", {}) == [
        'tool "read_file" needs the argument "path"; path: The file, relative to the workspace'
    ]


def test_an_optional_argument_is_judged_by_its_kind() -> None:
    assert said("read_file", {"path": "x", "start_line": 0}) == [
        'tool "read_file": start_line must be at least 1, not 0'
    ]
    assert said("read_file", {"path": "x", "start_line": "a", "max_bytes": None}) == [
        'tool "read_file": start_line must be a whole number or null, not "a"'
    ]


def test_expressions_are_not_judged_before_they_have_values() -> None:
    arguments = {"root": "${{ inputs.path }}", "limit": "${{ inputs.files }}", "max_byte": "${{ x }}"}
    assert said("repo_files", arguments, templated=True) == [
        'tool "repo_files" has no argument "max_byte"; did you mean "max_bytes"?'
    ]
    assert 'limit must be a whole number, not "${{ inputs.files }}"' in said("repo_files", arguments)[0]


def test_arguments_that_are_right_pass_through() -> None:
    assert validate_arguments(TOOLS["list_files"], {"limit": 3}) == {"limit": 3}


def test_a_call_with_wrong_arguments_never_runs(call: Call, workspace: Path) -> None:
    with pytest.raises(
        StepError, match='limit must be at least 1, not 0; tool "repo_files" has no argument'
    ) as caught:
        call("repo_files", limit=0, colour="red")
    assert not caught.value.retryable
