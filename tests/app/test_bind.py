"""What the user gave and the flow together: workspace, paths, env, vars, other servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.app.bind import BoundFlow, Given, bind_flow
from gptoss_flow.errors import Invalid
from tests.flows import compile_text

RUN = {"id": "1", "dir": "/r", "started_at": "now"}
FLOW = """
version: 1
inputs: {tree: {type: path, default: "."}}
env: [BIND_A, BIND_B]
vars: {a: "${{ env.BIND_A }}", b: "${{ vars.a }}-${{ inputs.tree }}"}
servers: {main: {extends: base, model: {path: "${{ vars.a }}.gguf"}, context: 1024}}
steps: {s: {prompt: {user: hi}}}
"""


def bound(cwd: Path, flow: str = FLOW, **given: Any) -> BoundFlow:
    return bind_flow(compile_text(flow), Given(**({"inputs": {}, "servers": {}, "cwd": cwd} | given)), RUN)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIND_A", "alpha")
    monkeypatch.delenv("BIND_B", raising=False)


def test_vars_are_computed_in_order_and_inline_profiles_with_them(tmp_path: Path) -> None:
    flow = bound(tmp_path)
    assert flow.scope["vars"] == {"a": "alpha", "b": "alpha-."}
    assert Path(flow.profiles["main"].profile.model.path or "").name == "alpha.gguf"


def test_an_unset_variable_is_undefined_and_can_have_a_default(tmp_path: Path) -> None:
    flow = FLOW.replace("${{ vars.a }}-", "${{ env.BIND_B | default('none') }}-")
    assert bound(tmp_path, flow).scope["vars"]["b"] == "none-."
    with pytest.raises(Invalid, match="BIND_B"):
        bound(tmp_path, FLOW.replace("${{ vars.a }}-", "${{ env.BIND_B }}-"))


def test_a_path_that_the_user_gave_is_readable_and_absolute_where_the_workspace_is_elsewhere(
    tmp_path: Path,
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "work").mkdir()
    here = bound(tmp_path, inputs={"tree": "src"})
    assert (here.inputs["tree"], here.readable) == ("src", (tmp_path / "src",))
    there = bound(tmp_path, inputs={"tree": "src"}, workspace=Path("work"))
    assert there.inputs["tree"] == str(tmp_path / "src")
    assert there.workspace == tmp_path / "work"


def test_a_default_path_gives_no_right_to_read(tmp_path: Path) -> None:
    assert bound(tmp_path).readable == ()


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        bound(tmp_path, inputs={"tre": 1}, servers={"mian": "demo"}, workspace=Path("nowhere"))
    said = [f"{problem.message}; {problem.hint}" for problem in caught.value.problems]
    assert len(said) == 3
    assert said[0].startswith('unknown input "tre"; did you mean "tree"')


def test_a_server_can_be_another_profile_or_the_url_of_a_running_one(tmp_path: Path) -> None:
    assert bound(tmp_path, servers={"main": "demo"}).profiles["main"].name == "demo"
    external = bound(tmp_path, servers={"main": "http://127.0.0.1:9/"}).profiles["main"].profile
    assert external.url == "http://127.0.0.1:9"
