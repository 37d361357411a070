"""Flows inside flows: what they are given, whose server they use, where their faults are told."""

from __future__ import annotations

import pytest

from gptoss_flow.plan.nested import count_steps
from tests.flows import compile_files, problems_in

STEPS = "version: 1\nsteps:\n"
INNER = (
    "version: 1\ninputs: {n: {type: integer}, s: {type: string, default: x}}\nsteps:\n"
    '  p: {prompt: {user: "${{ inputs.s }}"}}\noutputs: {a: "${{ steps.p.output }}"}\n'
)


def test_a_flow_inside_a_flow_is_a_plan_of_its_own() -> None:
    plan = compile_files({
        "main.yaml": STEPS + '  a: {flow: ./inner.yaml, with: {n: 3}}\n  b: {check: [steps.a.output.a]}\n',
        "inner.yaml": INNER,
    })  # fmt: skip
    inner = plan.nodes["a"].inner
    assert inner is not None
    assert (list(inner.nodes), inner.output_names, plan.edges()) == (["p"], ("a",), [("a", "b")])
    assert list(plan.servers) == ["main"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{flow: inner.yaml, with: {n: x}}", 'main.yaml:3:35: input "n": must be a whole number, not "x"'),
        ("{flow: inner.yaml, with: {m: 1, n: 1}}", 'main.yaml:3:32: the flow "inner.yaml" has no input "m";'),
        ("{flow: inner.yaml}", 'main.yaml:3:3: the flow "inner.yaml" needs the input "n"; give it: with: {n: …}'),
        ("{flow: nowhere.yaml}", 'main.yaml:3:13: there is no file "nowhere.yaml"; check the path'),
        ("{flow: .}", 'main.yaml:3:13: cannot read'),
        ('{flow: "${{ inputs.x }}.yaml"}', "main.yaml:3:13: a flow's file is read before the run;"),
        ('{flow: inner.yaml, with: {n: "${{ 1 ~ 2 }}"}}', 'main.yaml:3:35: input "n": must be a whole number'),
    ],
)  # fmt: skip
def test_what_an_inner_flow_is_given_is_checked(step: str, said: str) -> None:
    problems = problems_in({"main.yaml": f"{STEPS}  a: {step}\n", "inner.yaml": INNER})
    assert problems[0].startswith(said), problems


def test_an_output_that_an_inner_flow_does_not_have_is_found() -> None:
    use = '  a: {flow: inner.yaml, with: {n: 3}}\n  b: {set: {x: "${{ steps.a.output.b }}"}}\n'
    assert problems_in({"main.yaml": STEPS + use, "inner.yaml": INNER}) == [
        'main.yaml:4:16: "steps.a.output" has no "b"; allowed: a'
    ]


def test_faults_of_an_inner_flow_are_told_in_its_file_and_once_where_it_is_run() -> None:
    use = "".join(f"  a{i}: {{flow: inner.yaml, with: {{n: 3}}}}\n" for i in range(3))
    assert problems_in({"main.yaml": STEPS + use, "inner.yaml": INNER.replace("user", "usr")}) == [
        'main.yaml:3:14: the flow "inner.yaml" has problems; they are listed with its name',
        'inner.yaml:4:16: unknown key "usr" in "prompt" of step "p"; did you mean "user"?',
    ]


def test_an_inner_file_that_is_no_yaml_is_told_with_its_place() -> None:
    problems = problems_in({"main.yaml": STEPS + "  a: {flow: b.yaml}\n", "b.yaml": "a: [\n"})
    assert problems[0] == 'main.yaml:3:13: the flow "b.yaml" has problems; they are listed with its name'
    assert problems[1].startswith("b.yaml:")


def test_flows_that_run_each_other_are_refused_with_every_edge() -> None:
    first, *_ = problems_in({
        "a.yaml": STEPS + "  x: {flow: b.yaml}\n", "b.yaml": STEPS + "  y:\n    flow: c.yaml\n",
        "c.yaml": STEPS + "  z: {flow: ./a.yaml}\n",
    })  # fmt: skip
    assert first.startswith(
        "a.yaml:3:13: flows run each other in a circle: a.yaml -> b.yaml -> c.yaml -> a.yaml "
        '("a.yaml" runs "b.yaml" at line 3, "b.yaml" runs "c.yaml" at line 4, "c.yaml" runs "a.yaml" at line 3)'
    )


@pytest.mark.parametrize(("depth", "allowed"), [(16, True), (17, False), (100, False)])
def test_flows_stand_in_each_other_sixteen_deep(depth: int, allowed: bool) -> None:
    files = {f"f{i}.yaml": STEPS + f"  a: {{flow: f{i + 1}.yaml}}\n" for i in range(depth - 1)}
    files[f"f{depth - 1}.yaml"] = STEPS + "  a: {set: {x: 1}}\n"
    problems = problems_in(files)
    assert (problems == []) is allowed
    assert allowed or any("more than 16 deep" in problem for problem in problems)


def chain(levels: int, wide: int) -> dict[str, str]:
    def steps(level: int) -> str:
        return "".join(f"  a{i}: {{flow: f{level + 1}.yaml}}\n" for i in range(wide))

    return {
        **{f"f{i}.yaml": STEPS + steps(i) for i in range(levels)},
        f"f{levels}.yaml": STEPS + "  a: {set: {x: 1}}\n",
    }


def test_a_flow_of_a_hundred_thousand_steps_is_allowed_and_one_of_more_is_counted_and_refused() -> None:
    assert count_steps(compile_files(chain(4, 14))) == 14 + 14**2 + 14**3 + 14**4 + 14**4
    problems = problems_in(chain(15, 10))
    assert any("211,110 steps" in problem and "at most 100,000" in problem for problem in problems)


def test_limits_of_an_inner_flow_are_refused_but_fail_fast() -> None:
    use, step = STEPS + "  a: {flow: b.yaml}\n", STEPS + "  x: {set: {x: 1}}\n"
    (said,) = problems_in({"a.yaml": use, "b.yaml": step + "limits: {tokens: 5, fail_fast: true}\n"})
    assert said.startswith('a.yaml:3:13: the flow "b.yaml" has limits (tokens), which bound a whole run')
    assert problems_in({"a.yaml": use, "b.yaml": step + "limits: {fail_fast: true}\n"}) == []


def servers(outer: str, inner: str, own: str = "") -> tuple[str | None, list[str]]:
    """The server of the inner flow's step, and all of the plan's."""
    plan = compile_files({
        "a.yaml": f"{outer}version: 1\nsteps:\n  sub: {{flow: b.yaml}}\n{own}",
        "b.yaml": f"{inner}version: 1\nsteps:\n  x: {{prompt: {{server: main, user: x}}}}\n",
    })  # fmt: skip
    nested = plan.nodes["sub"].inner
    assert nested is not None
    assert list(nested.servers) == [nested.nodes["x"].server]
    return nested.nodes["x"].server, list(plan.servers)


OWN = "  own: {prompt: {server: main, user: x}}\n"


def test_a_server_of_the_outer_flow_is_shared_by_name() -> None:
    assert servers("servers: {main: demo}\n", "servers: {main: gpt-oss}\n") == ("main", ["main"])
    assert servers("servers: {main: demo}\n", "") == ("main", ["main"])


def test_a_server_that_only_the_inner_flow_has_joins_under_its_name() -> None:
    assert servers("servers: {big: demo}\n", "servers: {main: demo}\n") == ("main", ["main"])
    assert servers("", "servers: {main: demo}\n") == ("main", ["main"])


def test_a_server_that_the_outer_flow_only_implies_is_not_taken_for_another() -> None:
    assert servers("", "servers: {main: demo}\n", OWN) == ("sub.main", ["main", "sub.main"])
    assert servers("", "servers: {main: local}\n", OWN) == ("main", ["main"])


def test_a_server_with_expressions_cannot_be_brought_along() -> None:
    inner = (
        "servers: {main: {extends: demo, context: '${{ inputs.n }}'}}\ninputs: {n: {type: integer, default: 9}}\n"
    )
    with pytest.raises(Exception, match='server "main" holds expressions'):
        servers("", inner)
    assert servers("servers: {main: demo}\n", inner) == ("main", ["main"])


def test_secrets_of_an_inner_flow_are_the_runs() -> None:
    inner = STEPS + "  x: {set: {x: 1}}\nsecrets: [A, B]\n"
    plan = compile_files({"a.yaml": STEPS + "  a: {flow: b.yaml}\nsecrets: [A]\n", "b.yaml": inner})
    assert plan.secrets == ("A", "B")


def test_defaults_of_a_flow_step_and_an_inner_flows_own_defaults() -> None:
    plan = compile_files({
        "a.yaml": STEPS + "  a: {flow: b.yaml}\ndefaults: {flow: {with: {n: 4}, timeout: 1m}}\n",
        "b.yaml": STEPS + "  x: {set: {x: 1}}\ninputs: {n: {type: integer}}\ndefaults: {timeout: 2m}\n",
    })  # fmt: skip
    node = plan.nodes["a"]
    assert (node.body.compiled.data["with"], node.step.timeout) == ({"n": 4}, 60.0)
    assert node.inner is not None
    assert node.inner.nodes["x"].step.timeout == 120.0


def test_items_of_items_are_counted_before_anything_runs() -> None:
    cells = "matrix: {x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], y: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}"
    files = {
        f"f{depth}.yaml": f"version: 1\nsteps:\n  a: {{{cells}, flow: f{depth + 1}.yaml}}\n" for depth in range(3)
    } | {"f3.yaml": "version: 1\nsteps: {a: {foreach: '${{ range(10) }}', set: {x: 1}}}\n"}

    said = problems_in(files)

    assert any("the flow would run 11,010,100 times a step or one of its items" in one for one in said), said
    assert not problems_in({name: text for name, text in files.items() if name != "f0.yaml"})
