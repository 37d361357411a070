"""What the plan says of the complete language: matrices, rounds, fallbacks, last steps, limits; and how fast."""

from __future__ import annotations

import time

import pytest

from gptoss_flow.plan.order import Edge, in_order
from gptoss_flow.plan.plan import Limits, Node, Plan
from tests.flows import compile_text, problems_in

STEPS = "version: 1\nsteps:\n"


def node(step: str, more: str = "") -> Node:
    return compile_text(f"{STEPS}  b: {{set: {{x: 1}}}}\n  a: {step}\n{more}").nodes["a"]


def needs(found: Node) -> list[str]:
    return [need.step for need in found.needs]


@pytest.mark.parametrize(
    "step",
    [
        "{set: {x: \"${{ steps['b'].output }}\"}}",
        '{when: "${{ steps.b.output.x }}", set: {x: 1}}',
        '{foreach: "${{ steps.b.output }}", set: {x: 1}}',
        '{matrix: {x: "${{ steps.b.output }}"}, set: {x: 1}}',
        '{matrix: {x: [1], include: [{y: "${{ steps.b.output }}"}]}, set: {x: 1}}',
        "{expect: [output == steps.b.output], set: {x: 1}}",
        "{repeat: {until: steps.b.output.x, max: 3}, set: {x: 1}}",
        '{repeat: {until: true, max: "${{ steps.b.output.x }}"}, set: {x: 1}}',
        '{on_error: {fallback: {set: {x: "${{ steps.b.output }}"}}}, set: {x: 1}}',
        "{on_error: {fallback: {check: [steps.b.output]}}, set: {x: 1}}",
        '{cache: {key: "${{ steps.b.output }}"}, set: {x: 1}}',
        '{max_parallel: "${{ steps.b.output.x }}", foreach: [1], set: {x: 1}}',
        '{retry: {attempts: "${{ steps.b.output.x }}"}, set: {x: 1}}',
        "{check: [steps.b.output]}",
        "{needs: [b], set: {x: 1}}",
    ],
)
def test_a_step_depends_on_every_step_that_it_refers_to(step: str) -> None:
    assert needs(node(step)) == ["b"]


def test_a_matrix_keeps_its_parts_apart() -> None:
    found = node(
        '{matrix: {os: [l, m], n: "${{ range(2) }}", include: [{gpu: true}]}, set: {x: "${{ matrix.gpu }}"}}'
    )
    assert found.matrix is not None and found.is_fan_out
    assert found.matrix.axes.compiled.render({}) == {"os": ["l", "m"], "n": [0, 1]}
    assert found.matrix.include is not None and found.matrix.exclude is None


def test_until_is_judged_by_itself_and_the_bounds_with_the_other_common_keys() -> None:
    found = node('{repeat: {until: "output.x > 2", max: "${{ 1 + 2 }}", delay: 1s}, timeout: 5m, set: {x: 1}}')
    assert found.repeat is not None and found.repeat.until.text == "output.x > 2"
    assert found.common.compiled.render({}) == {"timeout": "5m", "repeat": {"max": 3, "delay": "1s"}}


def test_the_body_of_a_repeat_sees_its_loop_and_what_is_around_it_that_of_the_items() -> None:
    around = '{foreach: {k: 1}, timeout: "${{ loop.key }}s", repeat: {until: loop.last, max: 2}, '
    found = node(around + 'set: {x: "${{ loop.index }}"}}')
    assert found.common.compiled.render({"loop": {"key": 5}}) == {"timeout": "5s", "repeat": {"max": 2}}


def test_how_many_run_at_once_is_known_before_the_items() -> None:
    assert problems_in({"f.yaml": STEPS + '  a: {foreach: [1], max_parallel: "${{ item }}", set: {x: 1}}\n'}) == [
        'f.yaml:3:35: "item" is known only in a step with foreach; allowed: inputs, env, flow, run, vars, steps'
    ]
    found = node("{foreach: [1], max_parallel: 3, set: {x: 1}}").fan_out
    assert found is not None and found.compiled.data == {"max_parallel": 3}


def test_a_fallback_is_a_node_with_its_own_kind_body_and_server() -> None:
    found = node(
        '{tool: list_files, on_error: {fallback: {prompt: {user: "${{ error.message }}"}}}}',
        "servers: {big: demo, small: local}\ndefaults: {prompt: {server: big, params: {top_k: 3}}, timeout: 1m}\n",
    )
    other = found.fallback
    assert other is not None and found.server is None
    assert (other.id, other.step.kind, other.server) == ("a", "prompt", "big")
    assert other.body.path == ("steps", "a", "on_error", "fallback")
    assert other.body.compiled.data["prompt"]["params"] == {"top_k": 3}, "a kind's defaults are the fallback's too"
    assert (found.step.timeout, other.step.timeout) == (60.0, None), "common keys stay the step's"


@pytest.mark.parametrize(
    ("step", "effect"),
    [
        ("{tool: list_files}", "pure"),
        ("{tool: list_files, effect: once}", "once"),
        ("{prompt: {user: x}}", "pure"),
        ("{set: {x: 1}, effect: idempotent}", "idempotent"),
    ],
)
def test_what_resume_may_do_again_is_the_steps_own_word_else_its_tools(step: str, effect: str) -> None:
    assert node(step).effect == effect


def last_steps() -> Plan:
    return compile_text(
        f"{STEPS}  a: {{set: {{x: 1}}}}\nfinally:\n"
        '  g: {needs: [f, a], set: {x: "${{ steps.f.output.s }}"}}\n'
        '  f: {set: {s: "${{ run.status }}", y: "${{ steps.a.output.x | default(0) }}"}}\n'
        "outputs: {end: '${{ steps.f.output.s }}'}\ndefaults: {timeout: 1m}\n"
    )


def test_last_steps_need_each_other_only_and_stand_behind_the_others() -> None:
    plan = last_steps()
    assert [(n.id, n.final, needs(n), n.index) for n in plan.nodes.values()] == [
        ("a", False, [], 0), ("f", True, [], 1), ("g", True, ["f"], 2),
    ]  # fmt: skip
    assert plan.last_step == "a"
    assert plan.nodes["f"].body.path == ("finally", "f")
    assert plan.nodes["f"].step.timeout == 60.0, "defaults are theirs too"


def test_limits_and_secrets_are_the_plans() -> None:
    plan = compile_text(
        f"{STEPS}  a: {{tool: list_files, with: {{path: '${{{{ secrets.T }}}}'}}}}\nsecrets: [T]\n"
        "limits: {tokens: 5, time: 1m30s, concurrency: 2, tool_calls: 0, fail_fast: true}\n"
    )
    assert plan.limits == Limits(5, 90.0, 2, 0, True)
    assert plan.secrets == ("T",)


def test_tool_servers_and_permissions_that_say_nothing_are_allowed() -> None:
    assert problems_in({"f.yaml": STEPS + "  a: {set: {x: 1}}\npermissions: {}\ntool_servers: {}\n"}) == []


def test_a_value_that_an_input_gives_is_checked_by_its_default_and_null_says_nothing() -> None:
    flow = STEPS + '  a: {foreach: "${{ inputs.l }}", set: {x: 1}}\ninputs: {l: {type: array, default: null}}\n'
    assert problems_in({"f.yaml": flow}) == []


def test_a_hundred_thousand_steps_are_ordered_in_linear_time() -> None:
    steps = [f"s{i}" for i in range(100_000)]
    edges = [Edge(steps[i], steps[i + 1], False, ()) for i in range(len(steps) - 1)]
    edges += [Edge(steps[i // 2], steps[-1], False, ()) for i in range(len(steps) - 1)]
    began = time.process_time()
    order = in_order(steps, edges)
    assert order == steps[::-1]
    assert time.process_time() - began < 10


def test_ten_thousand_steps_are_compiled_in_seconds() -> None:
    text = STEPS + "  s0: {set: {x: 1}}\n"
    text += "".join(f"  s{i}: {{needs: [s{i - 1}], set: {{x: 1}}}}\n" for i in range(1, 10_000))
    began = time.process_time()
    assert len(compile_text(text).nodes) == 10_000
    assert time.process_time() - began < 6, "about one second on a machine that does nothing else"
