"""Whatever stands where in a flow, it is a plan or a refusal with places: never another exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.lang.load import load_flow
from gptoss_flow.plan.compile import compile_flow
from gptoss_flow.tools import TOOLS

FLOW: dict[str, Any] = {
    "version": 1,
    "inputs": {"n": {"type": "integer", "default": 3}},
    "vars": {"v": "${{ inputs.n }}"},
    "env": ["HOME"],
    "secrets": ["T"],
    "servers": {"main": "demo"},
    "defaults": {"prompt": {"params": {"seed": 1}}, "timeout": "5m", "flow": {"with": {"n": 1}}},
    "limits": {"tokens": 3, "time": "5m", "fail_fast": True},
    "record": {"dir": "logs"},
    "steps": {
        "a": {
            "matrix": {"os": ["l", "m"], "include": [{"os": "w"}], "exclude": [{"os": "l"}]},
            "prompt": {"user": "${{ matrix.os }}", "params": {"seed": "${{ inputs.n }}"}},
            "retry": {"attempts": 2, "on": ["server"]},
            "cache": {"key": "${{ inputs.n }}"},
            "expect": ["output"],
        },
        "b": {
            "foreach": "${{ steps.a.output }}",
            "as": "it",
            "needs": ["a"],
            "max_parallel": 2,
            "when": "${{ it }}",
            "tool": "list_files",
            "with": {"path": "${{ secrets.T }}"},
            "repeat": {"until": "output", "max": 2, "delay": "1s"},
            "on_error": {"fallback": {"set": {"x": "${{ error.kind }}"}}},
            "effect": "once",
        },
        "c": {"flow": "inner.yaml", "with": {"n": 3}},
        "d": {"check": ["steps.c.output.o == 1", True]},
    },
    "finally": {"f": {"set": {"x": "${{ run.status }}"}}},
    "outputs": {"o": "${{ steps.c.output.o }}"},
}
INNER = "{version: 1, inputs: {n: {type: integer}}, steps: {x: {set: {o: 1}}}, outputs: {o: 1}}"
JUNK: list[Any] = [None, True, "x", "${{ x }}", [None], {"a": {"b": []}}]


def paths(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    for key, value in (
        data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    ):
        yield from paths(value, (*path, key))


@pytest.mark.parametrize("junk", JUNK, ids=json.dumps)
def test_junk_in_any_place_is_refused_or_compiled(junk: Any, tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(INNER)
    file = tmp_path / "flow.yaml"
    for path in paths(FLOW):
        if not path:
            continue
        data = copy.deepcopy(FLOW)
        holder = data
        for key in path[:-1]:
            holder = holder[key]  # type: ignore[index]
        holder[path[-1]] = junk  # type: ignore[index]
        file.write_text(json.dumps(data))
        try:
            assert compile_flow(load_flow(file, tmp_path, {}), TOOLS).nodes
        except Invalid as error:
            assert all(p.mark is not None and p.message for p in error.problems), (path, error)


def test_the_flow_itself_is_right(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(INNER)
    (tmp_path / "flow.yaml").write_text(json.dumps(FLOW))
    assert len(compile_flow(load_flow(tmp_path / "flow.yaml", tmp_path, {}), TOOLS).nodes) == 5
