"""A unit's key: equal where what decides the result is equal, another where any of it is another."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import ToolContext
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.context import World
from gptoss_flow.run.key import changed_parts, unit_key
from gptoss_flow.testing.scripted_model import Script, ScriptedModels
from gptoss_flow.tools import TOOLS
from tests.run.running import STEPS, compiled

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def key(text: str, scope: dict[str, Any] | None = None, **more: Any) -> dict[str, str]:
    """Of the step `a` of a flow, or of the last one there is."""
    plan = compiled(text, {"inner.yaml": STEPS + "  i: {set: {x: 1}}\n"})
    names = {"inputs": {}, "vars": {}, "env": {}, "run": {"id": "r"}, "steps": {}, "flow": {"name": "f"}}
    return unit_key(world(plan, **more), plan.nodes["a"], {**names, **(scope or {})})


def world(plan: Plan, **more: Any) -> World:
    clock = SystemClock()
    given = {
        "models": ScriptedModels(Script.model_validate({"default": "fine"}), clock),
        "tools": TOOLS,
        "tool_context": ToolContext(workspace=Path("/w")),
        "date": "2026-01-01",
    }
    return World(plan=plan, clock=clock, emit=lambda event: None, **{**given, **more})


PLAN = compiled("version: 1\nvars: {v: 1}\nsteps: {a: {set: {v: '${{ vars.v }}'}}}\n")


def of_value(value: Any) -> dict[str, str]:
    return unit_key(world(PLAN), PLAN.nodes["a"], {"vars": {"v": value}})


def test_what_is_written_otherwise_and_means_the_same_has_the_same_key() -> None:
    one = key(STEPS + "  a: {prompt: {user: 'two words', params: {seed: 1, top_k: 2}}}\n")
    other = key(
        "version: 1\nvars: {w: words}\nsteps:\n  a:\n    description: Told.\n    retry: {attempts: 2}\n"
        "    timeout: 1m\n    prompt:\n      params: {top_k: 2, seed: 1}\n      user: two ${{ vars.w }}\n",
        {"vars": {"w": "words"}},
    )
    assert one == other
    assert set(one) == {"step", "inputs", "params", "model", "date"}


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("user: hi", "user: ho", ["inputs"]),
        ("user: hi", "user: hi, system: x", ["inputs"]),
        ("user: hi", "user: hi, reasoning: low", ["inputs"]),
        ("seed: 1", "seed: 2", ["params"]),
        ("expect: [true]", "expect: ['output == 1']", ["step"]),
    ],
)
def test_each_thing_that_decides_a_result_is_in_a_part_of_its_own(
    before: str, after: str, parts: list[str]
) -> None:
    flow = STEPS + "  a: {expect: [true], prompt: {user: hi, params: {seed: 1}}}\n"
    assert changed_parts(key(flow), key(flow.replace(before, after))) == parts


def test_the_model_the_date_the_tool_and_the_workspace_decide() -> None:
    flow = STEPS + "  a: {prompt: {user: hi}}\n"
    other = ScriptedModels(Script.model_validate({"default": "other"}), SystemClock())
    assert changed_parts(key(flow), key(flow, models=other)) == ["model"]
    assert changed_parts(key(flow), key(flow, date="2026-01-02")) == ["date"]
    flow = STEPS + "  a: {tool: list_files}\n"
    assert changed_parts(key(flow), key(flow, tool_context=ToolContext(workspace=Path("/x")))) == ["tool"]


@given(json_values, json_values)
def test_different_values_have_different_keys(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (of_value(one) == of_value(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a|b"], ["a", "b"]),
        ("1", 1),
        (1, 1.0),
        (True, 1),
        (None, "null"),
        ([], {}),
        ({"a": {"b": 1}}, {"a.b": 1}),
        ("a\nb", "a\\nb"),
        ("\ud800", "\\ud800"),
        ("é", "e\u0301"),
        ([[1], [2]], [[1, 2]]),
    ],
)
def test_no_delimiter_makes_two_values_one(one: Any, other: Any) -> None:
    assert of_value(one) != of_value(other)


def test_what_differs_from_run_to_run_is_in_no_key_unless_the_step_says_it() -> None:
    flow = STEPS + "  a: {set: {x: 1}}\n"
    assert key(flow, {"run": {"id": "one", "started_at": "now"}}) == key(flow, {"run": {"id": "two"}})
    flow = STEPS + "  a: {set: {x: '${{ run.id }}'}}\n"
    assert key(flow, {"run": {"id": "one"}}) != key(flow, {"run": {"id": "two"}})


def test_a_secrets_value_is_in_no_key_and_its_name_is() -> None:
    flow = "version: 1\nsecrets: [ONE, TWO]\nsteps:\n  a: {tool: read_file, with: {path: '${{ secrets.ONE }}'}}\n"
    keys = [key(flow, {"secrets": {"ONE": value, "TWO": "t"}}) for value in ("correct-horse", "battery-staple")]
    assert (
        keys[0]
        == keys[1]
        != key(flow.replace("secrets.ONE", "secrets.TWO"), {"secrets": {"ONE": "x", "TWO": "t"}})
    )


def test_a_cut_to_tokens_is_its_text_and_number() -> None:
    flow = STEPS + "  a: {prompt: {user: \"${{ 'one two three' | truncate_tokens(2) }}\"}}\n"
    whole = key(flow)
    assert whole == key(flow)
    assert changed_parts(whole, key(flow.replace("(2)", "(1)"))) == ["inputs"]
    assert changed_parts(whole, key(flow.replace("three", "four"))) == ["inputs"]


def test_a_condition_is_its_text_and_the_values_that_it_names() -> None:
    flow = "version: 1\ninputs: {n: {type: integer}}\nsteps: {a: {check: ['inputs.n > 1']}}\n"
    assert key(flow, {"inputs": {"n": 2}}) != key(flow, {"inputs": {"n": 3}})
    assert key(flow, {"inputs": {"n": 2}}) != key(flow.replace("> 1", "> 0"), {"inputs": {"n": 2}})


def test_a_repeat_is_all_that_is_written_of_its_rounds() -> None:
    flow = STEPS + "  a: {repeat: {max: 3, until: loop.last}, set: {x: \"${{ 'a' if loop.first else 'b' }}\"}}\n"
    assert key(flow)
    assert changed_parts(key(flow), key(flow.replace("'b'", "'c'"))) == ["step"]
    assert changed_parts(key(flow), key(flow.replace("max: 3", "max: 4"))) == ["step"]
    assert changed_parts(key(flow), key(flow.replace("loop.last", "loop.first"))) == ["step"]


def test_a_fallback_decides_too() -> None:
    flow = STEPS + "  a: {prompt: {user: hi}, on_error: {fallback: {set: {x: '${{ error.message }} 1'}}}}\n"
    assert changed_parts(key(flow), key(flow.replace(" 1'", " 2'"))) == ["fallback"]


def test_a_key_of_the_authors_own_stands_for_all_but_the_step() -> None:
    flow = STEPS + "  a: {cache: {key: '${{ flow.name }}'}, prompt: {user: hi}}\n"
    assert set(key(flow)) == {"step", "key"}
    assert key(flow) == key(flow.replace("user: hi", "user: ho"), date="2027-01-01")
    assert key(flow) != key(flow, {"flow": {"name": "other"}})


def test_what_cannot_be_rendered_has_no_key_and_neither_has_a_flow() -> None:
    assert key(STEPS + "  a: {set: {x: '${{ inputs.n + [] }}'}}\n".replace("inputs.n", "run.id")) == {}
    assert key(STEPS + "  a: {flow: ./inner.yaml}\n") == {}


def test_two_steps_that_name_the_same_key_do_not_share_a_result() -> None:
    text = STEPS + "  a: {set: {x: 1}, cache: {key: '${{ 7 }}'}}\n  b: {set: {x: 2}, cache: {key: '${{ 7 }}'}}\n"
    plan = compiled(text)
    one, other = (unit_key(world(plan), plan.nodes[step], {}) for step in "ab")
    assert one["key"] == other["key"] and one != other


GRANTS = STEPS + "  a: {prompt: {user: hi, tools: [read_file]}}\n"


def test_what_a_step_grants_decides_and_so_does_what_its_model_is_told_of_it() -> None:
    whole = key(GRANTS)
    assert changed_parts(whole, key(GRANTS.replace("[read_file]", "[list_files]"))) == ["inputs", "tools"]
    for change in ({"description": "Other."}, {"code": "2"}, {"parameters": {"type": "object"}}):
        other = {**TOOLS, "read_file": SimpleNamespace(**{**_told(TOOLS["read_file"]), **change})}
        assert changed_parts(whole, key(GRANTS, tools=other)) == ["tools"]
    elsewhere = ToolContext(workspace=Path("/elsewhere"))
    assert changed_parts(whole, key(GRANTS, tool_context=elsewhere)) == ["tools"]


def _told(tool: Any) -> dict[str, Any]:
    return {name: getattr(tool, name) for name in ("name", "description", "parameters", "effect", "code")}


def test_permissions_decide_with_their_values_where_there_are_any() -> None:
    top = "version: 1\npermissions: {hosts: ['${{ inputs.h }}'], deny: [shell]}\n"
    flow = "inputs: {h: {type: string}}\n" + GRANTS.removeprefix("version: 1\n")
    one, other = (key(top + flow, {"inputs": {"h": h}}) for h in ("a", "b"))
    assert changed_parts(one, other) == ["permissions"]
    stricter = flow.replace("tools:", "permissions: {ask: [read_file]}, tools:")
    assert changed_parts(one, key(top + stricter, {"inputs": {"h": "a"}})) == ["permissions"]
    assert "permissions" not in key(GRANTS)
    assert "permissions" not in key(top + "inputs: {h: {type: string}}\nsteps: {a: {prompt: {user: hi}}}\n")


def test_a_schema_decides_wherever_it_stands() -> None:
    flow = STEPS + "  a: {prompt: {user: hi, schema: {type: integer}}}\n"
    assert changed_parts(key(flow), key(flow.replace("integer", "number"))) == ["inputs"]
    named = flow.replace("{type: integer}", "s.json")
    plans = [compiled(named, {"s.json": f'{{"type": "{kind}"}}'}) for kind in ("integer", "number")]
    one, other = (unit_key(world(plan), plan.nodes["a"], {}) for plan in plans)
    assert changed_parts(one, other) == ["schema"]


def test_the_conversation_that_goes_on_decides() -> None:
    flow = STEPS + "  b: {prompt: {user: hi}}\n  a: {prompt: {continue: b, user: And?}}\n"
    said = [[{"role": "assistant", "content": text}] for text in ("x", "y")]
    one, other = (key(flow, {"steps": {"b": {"messages": messages}}}) for messages in said)
    assert changed_parts(one, other) == ["inputs"]
