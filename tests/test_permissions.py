"""What the rules say of a call: deny, then ask, then allow; patterns over whole values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.permissions import Permissions, granted, judge, meant, merged
from tests.steps.made_tools import MadeTool, tools

RM: list[Any] = [{"shell": {"command": "rm *"}}]
PYTEST: list[Any] = [{"shell": {"command": "pytest *"}}]
DOCS: list[Any] = [{"read_file": {"path": "docs/*"}}]


@pytest.mark.parametrize(
    ("rules", "tool", "arguments", "word"),
    [
        ({}, "shell", {}, "granted"),
        ({"allow": ["read_file"]}, "shell", {}, "granted"),
        ({"allow": ["shell"]}, "shell", {"command": "x"}, "allowed"),
        ({"allow": ["s*"]}, "shell", {}, "allowed"),
        ({"allow": ["browser"]}, "browser.open", {}, "allowed"),
        ({"deny": ["browser.*"]}, "browser.open", {}, "denied"),
        ({"deny": ["browser.*"]}, "browse", {}, "granted"),
        ({"allow": PYTEST}, "shell", {"command": "pytest -q"}, "allowed"),
        ({"allow": PYTEST}, "shell", {"command": "cd x && pytest -q"}, "denied"),
        ({"allow": PYTEST}, "shell", {}, "denied"),
        ({"allow": PYTEST, "ask": ["shell"]}, "shell", {"command": "pytest -q"}, "ask"),
        ({"allow": PYTEST, "ask": RM}, "shell", {"command": "rm x"}, "ask"),
        ({"allow": PYTEST, "ask": RM}, "shell", {"command": "ls"}, "denied"),
        ({"allow": ["shell"], "ask": ["shell"], "deny": RM}, "shell", {"command": "rm x"}, "denied"),
        ({"allow": ["shell"], "deny": RM}, "shell", {"command": "ls"}, "allowed"),
        ({"allow": [*PYTEST, {"shell": {"command": "ls*"}}]}, "shell", {"command": "ls -l"}, "allowed"),
        ({"allow": [{"shell": {"command": "a.c"}}]}, "shell", {"command": "abc"}, "denied"),
        ({"allow": [{"f": {"n": 3, "all": True}}]}, "f", {"n": 3, "all": True}, "allowed"),
        ({"allow": [{"f": {"n": 3, "all": True}}]}, "f", {"n": 3}, "denied"),
        ({"allow": PYTEST}, "shell", {"command": "pytest -q; rm x"}, "denied"),
        ({"allow": PYTEST}, "shell", {"command": "pytest $(rm x)"}, "denied"),
        ({"allow": PYTEST}, "shell", {"command": "pytest x\nrm x"}, "denied"),
        ({"allow": PYTEST}, "other", {"command": "pytest; x"}, "granted"),
        ({"allow": [{"shell": {"command": "ls * | sort"}}]}, "shell", {"command": "ls -l | sort"}, "allowed"),
        ({"allow": [{"shell": {"command": "ls * | sort"}}]}, "shell", {"command": "ls; rm | sort"}, "denied"),
        ({"allow": [{"shell": {"command": "*"}}]}, "shell", {"command": "a; b"}, "allowed"),
        ({"allow": [{"shell": {"command": '["pytest"*'}}]}, "shell", {"command": ["pytest", "a;b"]}, "allowed"),
        ({"deny": RM}, "shell", {"command": "ls && rm x"}, "denied"),
        ({"deny": RM}, "shell", {"command": "echo $(rm x)"}, "denied"),
        ({"ask": RM}, "shell", {"command": "ls\nrm x"}, "ask"),
        ({"deny": RM}, "shell", {"command": "echo rm x"}, "granted"),
        ({"allow": DOCS}, "read_file", {"path": "docs/a/b.md"}, "allowed"),
        ({"allow": DOCS}, "read_file", {"path": "docs/../secret"}, "denied"),
        ({"deny": [{"read_file": {"path": "secret/*"}}]}, "read_file", {"path": "./secret/x"}, "denied"),
        ({"deny": [{"read_file": {"path": "secret/*"}}]}, "read_file", {"path": "a/../secret//x"}, "denied"),
        ({"deny": [{"read_file": {"path": "./secret/*"}}]}, "read_file", {"path": "secret/x"}, "denied"),
        ({"deny": [{"read_file": {"path": "**/.env"}}]}, "read_file", {"path": ".env"}, "denied"),
        ({"deny": [{"read_file": {"path": "**/.env"}}]}, "read_file", {"path": "a/b/.env"}, "denied"),
        ({"deny": RM}, "shell", {"command": ["rm", "-rf", "x"]}, "denied"),
        ({"deny": RM}, "shell", {"command": ["sh", "-c", "rm -rf x"]}, "denied"),
        ({"ask": RM}, "shell", {"command": ["rm", "x"]}, "ask"),
        ({"allow": PYTEST}, "shell", {"command": ["pytest", "-q"]}, "denied"),
        ({"deny": [{"f": {"n": 5}}]}, "f", {"n": 5.0}, "denied"),
        ({"deny": [{"f": {"n": 5.0}}]}, "f", {"n": 5}, "denied"),
        ({"deny": [{"f": {"n": 1000}}]}, "f", {"n": 1e3}, "denied"),
    ],
)
def test_the_strongest_rule_that_fits_decides(
    rules: dict[str, Any], tool: str, arguments: dict[str, Any], word: str
) -> None:
    assert judge([Permissions.model_validate(rules)], tool, arguments).word == word


@pytest.mark.parametrize("path", ["{}/secret/x", "{}/a/../secret/x", "{}//secret/x"])
def test_a_path_that_names_the_workspace_itself_is_denied_as_the_relative_one(path: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    (real := tmp_path / "real").mkdir()
    link.symlink_to(real)
    rules = Permissions(deny=[{"read_file": {"path": "secret/*"}}])
    for root in (link, real):
        said = judge([rules], "read_file", {"path": path.format(root)}, workspace=link)
        assert said.word == "denied"
    assert judge([rules], "read_file", {"path": "/elsewhere/secret/x"}, workspace=link).word == "granted"


def test_an_argument_that_is_left_out_is_its_default() -> None:
    where = {"path": {"type": "string", "default": "."}, "body": {"default": None}, "n": {"type": "integer"}}
    tool = MadeTool("list_files", parameters={"type": "object", "properties": where})
    rules = Permissions(deny=[{"list_files": {"path": "."}}, {"list_files": {"body": "*"}}])
    for arguments in ({}, {"path": None}, {"path": "./"}, {"path": "a", "body": "x"}):
        assert judge([rules], "list_files", meant(tool, arguments)).word == "denied"
    assert judge([rules], "list_files", meant(tool, {"path": "a", "body": None})).word == "granted"


def test_who_is_granted_one_tool_of_a_server_is_not_granted_those_that_it_seems_to_be_a_group_of() -> None:
    both = tools(MadeTool("team.read"), MadeTool("team.read.all"))
    assert [*granted(["team.read"], both)] == ["team.read"]
    assert [*granted(["team"], both)] == ["team.read", "team.read.all"]


def test_of_several_flows_the_strictest_decides() -> None:
    outer, inner = Permissions(deny=RM), Permissions(allow=["shell"])
    assert judge([outer, inner], "shell", {"command": "rm x"}).word == "denied"
    assert judge([outer, inner], "shell", {"command": "ls"}).word == "allowed"
    assert judge([], "shell", {}).word == "granted"


def test_a_verdict_names_its_rule() -> None:
    assert judge([Permissions(deny=RM)], "shell", {"command": "rm x"}).rule == "deny: shell {command: rm *}"
    assert judge([Permissions(allow=PYTEST)], "shell", {}).rule == "allow: shell {command: pytest *}"


def test_a_step_adds_to_its_flow() -> None:
    both = merged(Permissions(deny=RM, hosts=["a"], network=True), Permissions(allow=PYTEST, hosts=["b", "a"]))
    assert (both.deny, both.allow, both.hosts, both.network) == (RM, PYTEST, ["a", "b"], True)
    assert merged(Permissions(network=True), Permissions(network=False)).network is False


@given(st.text(), st.text())
def test_a_value_without_wildcards_fits_itself_alone(value: str, other: str) -> None:
    literal = "".join(f"[{c}]" if c in "*?[" else c for c in value)
    rules = Permissions(allow=[{"f": {"x": literal}}])
    assert judge([rules], "f", {"x": value}).word == "allowed"
    if other != value:
        assert judge([rules], "f", {"x": other}).word == "denied"
