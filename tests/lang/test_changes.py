"""`--set`: what a change does to the document, what it cannot do, and where a wrong one is."""

from __future__ import annotations

from typing import Any

import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.lang.changes import apply_changes
from tests.flows import compile_text

FLOW = "version: 1\nsteps:\n  a:\n    check: [true, true]\n    timeout: 5m\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("hot", "hot"), ("true", True), ("", None), ("12:30", "12:30"), ("a: b #c", "a: b #c"),
     ("[1, x]", [1, "x"]), ('"3"', "3"), ("{x: 1}", {"x": 1}), ("k=v", "k=v")],
)  # fmt: skip
def test_a_value_is_a_scalar_of_yaml(text: str, value: Any) -> None:
    data, _, problems = apply_changes({"steps": {"a": {"set": {"x": 0}}}}, [f"steps.a.set.x={text}"])
    assert (data["steps"]["a"]["set"]["x"], problems) == (value, [])


def test_the_data_that_was_given_stays_as_it_is() -> None:
    given = {"steps": {"a": {"check": [True, "x"]}}}
    changed, places, _ = apply_changes(given, ["steps.a.check.1=y", "steps.a.prompt.params.seed=3"])
    assert given == {"steps": {"a": {"check": [True, "x"]}}}
    assert changed["steps"]["a"] == {"check": [True, "y"], "prompt": {"params": {"seed": 3}}}
    assert set(places) == {("steps", "a", "check", 1), ("steps", "a", "prompt", "params", "seed")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("steps.b.timeout=1s", '--set steps.b.timeout: there is no "b" in "steps"; allowed: a'),
        ("inputs.n.default=1", '--set inputs.n.default: there is no "n" in "inputs"'),
        ("nme=x", '--set nme: unknown key "nme" at top level; did you mean "name"?'),
        ("steps.a.timeout.x=1", "--set steps.a.timeout.x: \"steps.a.timeout\" holds no keys; it is '5m'"),
        ("steps.a.timeout=soon", '--set steps.a.timeout: "soon" is not a duration'),
        ("steps.a.check.7=x", '--set steps.a.check.7: "steps.a.check" has no item "7"; it is a list of 2'),
        ("steps.a.check.0=${{ inputs.x }}", '--set steps.a.check.0: "inputs.x" is not an input'),
        ("steps.a.retry.atempts=3", '--set steps.a.retry.atempts: unknown key "atempts" in "retry" of step "a"'),
        ("steps..timeout=1s", "--set steps..timeout: a part of the path is empty"),
        ("steps", "--set steps: is no change; write PATH=VALUE"),
        ("steps.a.timeout=.nan", "--set steps.a.timeout: .nan is not a number"),
        ("steps.a.check=[1", "--set steps.a.check: the value is not YAML"),
    ],
)
def test_what_is_wrong_with_a_change_names_the_option(change: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        compile_text(FLOW, changes=[change])
    assert str(caught.value.problems[0]).startswith(said)


def test_defaults_can_be_changed_and_reach_every_step() -> None:
    plan = compile_text(FLOW, changes=["defaults.retry.attempts=7", "steps.a.timeout=1s"])
    step = plan.nodes["a"].step
    assert (step.retry and step.retry.attempts, step.timeout) == (7, 1.0)


def test_a_wrong_default_that_was_set_is_told_once_by_its_option() -> None:
    with pytest.raises(Invalid) as caught:
        compile_text(FLOW, changes=["defaults.retry.attempts=0"])
    assert [str(p.mark) for p in caught.value.problems] == ["--set defaults.retry.attempts"]
