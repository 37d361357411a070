"""Compiling: what is refused, and where; what the graph is made of."""

from __future__ import annotations

import pytest

from gptoss_flow.errors import Invalid
from tests.flows import compile_text

STEPS = "version: 1\nsteps:\n"

BROKEN = {
    "a typo in a top-level key": (
        "version: 1\nstepz:\n  a: {set: {x: 1}}\n",
        ['1:1: this file needs the key "steps"', '2:1: unknown key "stepz"…did you mean "steps"'],
    ),
    "a typo in a kind": (
        STEPS + "  a:\n    promt:\n      user: hi\n",
        ['4:5: unknown key "promt" in step "a"; did you mean "prompt"'],
    ),
    "a typo in a body": (STEPS + "  a:\n    prompt:\n      usr: hi\n", ['5:7: unknown key "usr"…"user"']),
    "a number that is text": (
        STEPS + "  a:\n    prompt: {user: hi, params: {temperature: hot}}\n",
        ['4:46: "hot" is not a number'],
    ),
    "a duration that is none": (
        STEPS + "  a:\n    timeout: soon\n    set: {x: 1}\n",
        ['4:14: "soon" is not a dur'],
    ),
    "an unknown step in an expression": (
        STEPS + "  draft: {set: {x: 1}}\n  judge:\n    set:\n      y: ${{ steps.drft.output.x }}\n",
        ['6:10: step "judge" needs "drft", which is not a step; did you mean "draft"?'],
    ),
    "an unknown step in needs": (
        STEPS + "  draft: {set: {x: 1}}\n  judge: {needs: [drft], set: {x: 1}}\n",
        ['4:19: step "judge" needs "drft", which is not a step; did you mean "draft"?'],
    ),
    "a cycle": (
        STEPS + '  a: {set: {x: "${{ steps.b.output.x }}"}}\n  b:\n    needs: [a]\n    set: {x: 1}\n',
        ['3:16: …a -> b -> a …"a" needs "b" at line 3, "b" needs "a" at line 5'],
    ),
    "a step that needs itself": (
        STEPS + "  a:\n    set:\n      x: ${{ steps.a.output }}\n",
        ['5:10: step "a" needs itself: a -> a'],
    ),
    "a duplicate key": (
        STEPS + "  a: {set: {x: 1}}\n  a: {set: {x: 2}}\n",
        ['4:3: duplicate key "a"; it stands on line 3'],
    ),
    "an undefined name": (
        STEPS + "  a:\n    set:\n      x: ${{ inptus.x }}\n",
        ['5:10: unknown name "inptus"; did you mean "inputs"?'],
    ),
    "an unknown input": (
        "version: 1\ninputs:\n  files: {type: integer}\nsteps:\n  a:\n    set:\n      x: ${{ inputs.fils }}\n",
        ['7:10: "inputs.fils" is not an input; did you mean "files"?'],
    ),
    "on as a key": ("version: 1\non: push\nsteps:\n  a: {set: {x: 1}}\n", ['2:1: unknown key "on"']),
    "a tab": (STEPS + "\ta: {set: {x: 1}}\n", ["3:1: a tab cannot indent YAML; use spaces"]),
    "a hundred thousand brackets": (STEPS + "  a: " + "[" * 100_000, ["3:68: more than 64 levels of nesting"]),
    "a default out of range": (
        "version: 1\ninputs:\n  files: {type: integer, default: 300, maximum: 200}\nsteps:\n  a: {set: {x: 1}}\n",
        ['3:35: the default of input "files": must be at most 200, not 300'],
    ),
    "an expression that ends early": (
        STEPS + "  a:\n    set:\n      x: ${{ 1 + }}\n",
        ['5:10: cannot read ${{ 1 + }}: unexpected "}}"'],
    ),
    "an expression that never ends": (STEPS + "  a:\n    set:\n      x: ${{ inputs.x\n", ['5:10: "${{" is never']),
    "a comment in an expression": (
        STEPS + "  a:\n    set:\n      x: ${{ 1 # 2 }}\n",
        ['5:10: …" #" begins a comm'],
    ),
    "an unknown filter": (
        STEPS + "  a:\n    set:\n      x: ${{ 'a' | uper }}\n",
        ['5:10: there is no filter "uper"; did you mean "upper"?'],
    ),
    "an unknown server": (
        STEPS + "  a:\n    prompt: {server: big, user: hi}\n",
        ['4:22: "big" is not one of the flow\'s servers; allowed: main'],
    ),
    "an unknown profile": (
        "version: 1\nservers: {main: locl}\nsteps:\n  a: {set: {x: 1}}\n",
        ["2:17: …locl…did you mean …local"],
    ),
    "two kinds": (
        STEPS + "  a:\n    set: {x: 1}\n    tool: list_files\n",
        ['3:3: step "a" has 2 kinds: tool, set'],
    ),
    "no kind": (STEPS + "  a:\n    needs: []\n", ['3:3: step "a" has no kind']),
    "no steps": ("version: 1\nsteps: {}\n", ['2:1: "steps" has too few entries']),
    "no version": ("steps:\n  a: {set: {x: 1}}\n", ['1:1: this file needs the key "version"']),
    "a name that is none": (STEPS + "  A-b: {set: {x: 1}}\n", ['3:3: the step name "A-b" is not allowed']),
    "a mode and a key that contradict": (
        STEPS + "  a:\n    prompt: {mode: raw, user: hi}\n",
        ['3:3: …raw mode takes "text", not "user"'],
    ),
    "an unknown tool": (
        STEPS + "  a: {tool: reed_file, with: {path: x}}\n",
        ['3:13: "reed_file" is not a tool; did you mean "read_file"?'],
    ),
    "an unknown argument": (
        STEPS + "  a: {tool: list_files, with: {pth: x}}\n",
        ['3:32: tool "list_files" has no argument "pth"; did you mean "path"?'],
    ),
    "an argument of the wrong type": (
        STEPS + "  a: {tool: list_files, with: {limit: many}}\n",
        ['3:39: tool "list_files": limit must be a whole number'],
    ),
    "a foreach over text": (
        STEPS + "  a: {foreach: steps.x, set: {x: 1}}\n",
        ["3:16: …neither a list nor a mapp"],
    ),
    "an item without foreach": (
        STEPS + '  a: {set: {x: "${{ item }}"}}\n',
        ['3:16: "item" is known only in a step with foreach'],
    ),
    "a condition that is none": (STEPS + "  a: {when: maybe, set: {x: 1}}\n", ["3:13: …maybe"]),
    "an unquoted expression in braces": (STEPS + "  a: {set: {x: ${{ inputs.x }}}}\n", ["3:16: …must be quoted"]),
    "an empty file": ("", ["1:1: a flow is a mapping"]),
    "a list": ("- a\n", ["1:1: a flow is a mapping"]),
    "places within a text of several lines": (
        STEPS + "  a:\n    prompt:\n      user: |\n        Hello\n        you ${{ inputs.x }} and ${{ vars.y }}\n",
        ['7:13: "inputs.x" is not an input', '7:33: "vars.y" is not one of vars'],
    ),
    "an unknown field of a step": (
        STEPS + '  a: {set: {x: 1}}\n  b: {set: {x: "${{ steps.a.outptu.x }}"}}\n',
        ['4:16: "steps.a" has no "outptu"; did you mean "output"?'],
    ),
    "tokens without a server to count them": (
        "version: 1\nservers: {a: local, b: local}\nsteps:\n"
        "  a: {set: {x: \"${{ 'a' | truncate_tokens(3) }}\"}}\n",
        ['4:3: truncate_tokens in step "a" needs a flow with one server'],
    ),
    "a typo in defaults": (
        "version: 1\ndefaults: {prompt: {usr: 1}}\nsteps:\n  a: {prompt: {user: hi}}\n",
        ['2:21: unknown key "usr"'],
    ),
    "everything at once, in file order": (
        "version: 2\nname: Bad Name\nsteps:\n  a:\n    promt: {user: hi}\n  b:\n"
        '    set: {x: "${{ steps.c.output }}"}\n    retry: {attempts: 0}\n',
        ["1:10: 2 is not allowed", "2:7: ", "5:5: ", '7:14: step "b" needs "c"', "8:23: 0 is too small"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_flow_is_refused_at_its_place(text: str, expected: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        compile_text(text)
    said = [f"{p.mark.line}:{p.mark.column}: {p.message}; {p.hint}" for p in caught.value.problems if p.mark]
    assert len(said) == len(expected), said
    for problem, wanted in zip(said, expected, strict=True):
        place, *fragments = wanted.split("…")
        assert problem.startswith(place), problem
        assert all(fragment in problem for fragment in fragments), problem


def test_a_profile_that_extends_itself_is_refused_at_the_places_of_the_circle() -> None:
    with pytest.raises(Invalid) as caught:
        compile_text(
            "version: 1\nservers:\n  a: {extends: b}\n  b: {extends: a}\n"
            "steps:\n  s: {prompt: {server: a, user: x}}\n"
        )
    assert all(problem.mark is not None and problem.mark.line in (3, 4) for problem in caught.value.problems)


def test_references_become_edges_and_the_order_follows_them() -> None:
    plan = compile_text(
        STEPS
        + '  last: {set: {x: "${{ steps.mid.output.x }}"}, when: "${{ steps.first.output.x > 0 }}"}\n'
        + '  mid: {foreach: "${{ steps.first.output.l }}", set: {x: "${{ item }}"}, expect: [output]}\n'
        + "  first: {set: {x: 1, l: []}}\n  alone: {needs: [first], set: {x: 1}}\n"
    )
    assert list(plan.nodes) == ["first", "mid", "last", "alone"]
    assert set(plan.edges()) == {("mid", "last"), ("first", "last"), ("first", "mid"), ("first", "alone")}
    assert plan.last_step == "alone"


def test_an_edge_is_tolerant_only_if_every_use_is() -> None:
    plan = compile_text(
        STEPS
        + "  a: {set: {x: 1}}\n"
        + '  soft: {set: {x: "${{ steps.a.output.x | default(0) }}", y: "${{ steps.a.outcome }}"}}\n'
        + '  hard: {set: {x: "${{ steps.a.output.x | default(0) }}", y: "${{ steps.a.output.x }}"}}\n'
    )
    assert [plan.nodes[step].needs[0].tolerant for step in ("soft", "hard")] == [True, False]


def test_defaults_lie_under_every_step_and_the_step_wins() -> None:
    plan = compile_text(
        "version: 1\ndefaults: {timeout: 1m, prompt: {params: {temperature: 0, top_k: 5}, timeout: 2m}}\nsteps:\n"
        "  a: {prompt: {user: hi, params: {top_k: 9}}}\n  b: {set: {x: 1}, timeout: 3m}\n  c: {set: {x: 1}}\n"
    )
    body = plan.nodes["a"].body.compiled.render({})
    assert body["prompt"]["params"] == {"temperature": 0, "top_k": 9}
    assert [plan.nodes[step].step.timeout for step in "abc"] == [120.0, 180.0, 60.0]


def test_only_servers_that_a_step_uses_are_in_the_plan() -> None:
    plan = compile_text("version: 1\nservers: {a: local, b: demo}\nsteps:\n  s: {prompt: {server: b, user: x}}\n")
    assert list(plan.servers) == ["b"]
