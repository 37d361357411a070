"""Where a secret may be read: in what a tool is given, and nowhere else (fault row D22)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow_sync
from tests.flows import compile_text, problems_in

HEAD = "version: 1\nsecrets: [KEY]\n"
S = '"${{ secrets.KEY }}"'
WRONG = {
    "prompt": f"a: {{prompt: {{user: {S}}}}}",
    "prompt under default": "a: {prompt: {user: \"${{ secrets.KEY | default('') }}\"}}",
    "prompt as JSON": 'a: {prompt: {user: "${{ secrets | tojson }}"}}',
    "prompt in a loop": 'a: {prompt: {user: "{% for x in secrets %}${{ x }}{% endfor %}"}}',
    "prompt by a key": "a: {prompt: {user: \"${{ secrets['KEY'] }}\"}}",
    "messages": f"a: {{prompt: {{messages: [{{role: user, content: {S}}}]}}}}",
    "params": f"a: {{prompt: {{user: x, params: {{stop: [{S}]}}}}}}",
    "set": f"a: {{set: {{x: {S}}}}}",
    "check": "a: {check: [secrets.KEY == 'x']}",
    "when": f"a: {{when: {S}, set: {{x: 1}}}}",
    "foreach": f"a: {{foreach: {S}, tool: list_files}}",
    "matrix": f"a: {{matrix: {{x: [{S}]}}, tool: list_files}}",
    "matrix include": f"a: {{matrix: {{x: [1], include: [{{x: {S}}}]}}, tool: list_files}}",
    "expect": "a: {tool: list_files, expect: [secrets.KEY]}",
    "until": "a: {tool: list_files, repeat: {until: secrets.KEY, max: 2}}",
    "cache key": f"a: {{tool: list_files, cache: {{key: {S}}}}}",
    "timeout": f"a: {{tool: list_files, timeout: {S}}}",
    "a flow inside": f"a: {{flow: inner.yaml, with: {{given: {S}}}}}",
    "a fallback of another kind": f"a: {{tool: list_files, on_error: {{fallback: {{prompt: {{user: {S}}}}}}}}}",
    "the last steps": f"a: {{set: {{x: 1}}}}\nfinally: {{z: {{set: {{x: {S}}}}}}}",
    "defaults": f"a: {{prompt: {{user: x}}}}\ndefaults: {{prompt: {{system: {S}}}}}",
    "vars": f"a: {{set: {{x: 1}}}}\nvars: {{v: {S}}}",
    "outputs": f"a: {{set: {{x: 1}}}}\noutputs: {{o: {S}}}",
    "a profile": f"a: {{prompt: {{user: x}}}}\nservers: {{main: {{extends: demo, alias: {S}}}}}",
}
INNER = "version: 1\ninputs: {given: {type: string}}\nsteps: {a: {set: {x: 1}}}\n"


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
def test_a_secret_is_read_nowhere_but_in_what_a_tool_is_given(lines: str) -> None:
    said = problems_in({"flow.yaml": f"{HEAD}steps:\n  {lines}\n", "inner.yaml": INNER})

    assert any('"secrets" can be used only in what a tool step is given' in one for one in said), said


@pytest.mark.parametrize(
    "lines",
    [
        f"a: {{tool: list_files, with: {{path: {S}}}}}",
        f"a: {{set: {{x: 1}}, on_error: {{fallback: {{tool: list_files, with: {{path: {S}}}}}}}}}",
        f"a: {{tool: list_files}}\ndefaults: {{tool: {{with: {{path: {S}}}}}}}",
    ],
)
def test_a_tool_may_be_given_a_secret(lines: str) -> None:
    assert compile_text(f"{HEAD}steps:\n  {lines}\n").secrets == ("KEY",)


def test_what_a_tool_says_of_a_secret_reaches_no_other_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "hunter2-hunter2")
    (tmp_path / "hunter2-hunter2").write_text("the key is hunter2-hunter2\n")
    (tmp_path / "flow.yaml").write_text(
        f"{HEAD}steps:\n"
        "  fails: {tool: read_file, with: {path: 'no/${{ secrets.KEY }}'}, on_error: continue}\n"
        f"  says: {{tool: read_file, with: {{path: {S}}}}}\n"
        "  seen:\n    set:\n      error: \"${{ 'redacted:KEY' in"
        ' steps.fails.error.message }}"\n'
        "      output: \"${{ 'redacted:KEY' in steps.says.output }}\"\n"
    )

    done = run_flow_sync(check_flow(tmp_path / "flow.yaml", tmp_path), Given(inputs={}, servers={}, cwd=tmp_path))

    seen = done.state.steps["seen"].output
    assert isinstance(seen, dict)
    assert (seen["error"], seen["output"]) == (True, True)
