"""Some steps of a plan: what `--only` and `--from` choose."""

from __future__ import annotations

import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.plan.selection import only, selection, since
from tests.flows import compile_text

PLAN = compile_text(
    "version: 1\nsteps:\n  a: {set: {x: 1}}\n  b: {needs: [a], set: {x: 1}}\n  c: {needs: [b], set: {x: 1}}\n"
    "  d: {set: {x: 1}}\n  e: {set: {x: 1}}\nfinally:\n  f: {set: {x: '${{ steps.e.outcome }}'}}\n"
    "outputs: {d: '${{ steps.d.output }}'}\n"
)


def test_only_takes_what_a_step_needs_and_nothing_else() -> None:
    assert only(PLAN, ["b"]) == {"a", "b"}
    assert selection(PLAN, ["b", "d"], []) == frozenset("abd")
    assert selection(PLAN, [], []) is None


def test_from_takes_what_depends_on_a_step_and_the_last_steps() -> None:
    assert since(PLAN, ["b"]) == {"b", "c", "f"}


def test_from_needs_results_of_what_is_shown_at_the_end_too() -> None:
    assert selection(PLAN, [], ["c"]) == frozenset("abcdef")


def test_what_is_no_step_is_named_with_its_option() -> None:
    with pytest.raises(Invalid) as caught:
        selection(PLAN, ["x"], ["bb"])
    assert [str(problem).split(";")[0] for problem in caught.value.problems] == [
        '--only x: the flow has no step "x"',
        '--from bb: the flow has no step "bb"',
        "--only and --from exclude each other",
    ]
