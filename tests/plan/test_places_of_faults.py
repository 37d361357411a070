"""What the complete language forbids, each at its place with what is allowed: sections 1 to 5 of the contract."""

from __future__ import annotations

import pytest

from tests.flows import problems_in

STEPS = "version: 1\nsteps:\n"
SET = "  z: {set: {x: 1}}\n"
PROMPT = "  a:\n    prompt:\n      user: x\n"

FAULTS = {
    # --- names -------------------------------------------------------------------------------------------------
    "matrix outside": (
        '  a: {set: {x: "${{ matrix.os }}"}}\n',
        '3:16: "matrix" is known only in a step with matrix',
    ),
    "an axis that is none": (
        '  a: {matrix: {os: [1]}, set: {x: "${{ matrix.oss }}"}}\n',
        '3:35: "matrix.oss" is not an axis of this matrix; did you mean "os"?',
    ),
    "loop outside": (
        '  a: {set: {x: "${{ loop.index }}"}}\n',
        '3:16: "loop" is known only in a step with foreach, matrix or repeat',
    ),
    "item where as names it": (
        '  a: {foreach: [1], as: word, set: {x: "${{ item }}"}}\n',
        '3:40: "item" has another name here; "as" calls it word',
    ),
    "the key of a repeat": (
        '  a: {foreach: {k: 1}, repeat: {until: true, max: 2}, set: {x: "${{ loop.key }}"}}\n',
        '3:64: "loop.key" is not in loop',
    ),
    "output outside": (
        '  a: {set: {x: "${{ output }}"}}\n',
        '3:16: "output" is known only in "expect" and "until"',
    ),
    "error outside": ('  a: {set: {x: "${{ error.kind }}"}}\n', '3:16: "error" is known only in a fallback'),
    "a field of error": (
        '  a: {set: {x: 1}, on_error: {fallback: {set: {x: "${{ error.kin }}"}}}}\n',
        '3:51: "error.kin" is not in error; did you mean "kind"?',
    ),
    "run.status": (
        '  a: {set: {x: "${{ run.status }}"}}\n',
        '3:16: "run.status" is known only in finally; a step\'s own end is steps.<id>.outcome',
    ),
    "as takes a name": (
        "  a: {foreach: [1], as: steps, set: {x: 1}}\n",
        '3:25: "steps" is a name of the language and cannot be set; take another',
    ),
    "an item is rebound": (
        '  a:\n    foreach: [1]\n    as: file\n    set: {x: "{% set file = 1 %}"}\n',
        '6:15: "file" is in scope here and cannot be set',
    ),
    "steps alone": (
        '  a: {set: {x: "${{ steps | length }}"}}\n',
        '3:16: "steps" stands only before the id of a step',
    ),
    "steps by a name": (
        '  a: {set: {x: "${{ steps[inputs.x] }}"}}\n',
        '3:16: "steps" stands only before the id of a step',
    ),
    "a later var": (
        '  a: {set: {x: 1}}\nvars: {x: "${{ vars.y }}", y: 1}\n',
        '4:11: "vars.y" is not known yet; a var may use those above it',
    ),
    "a step in vars": (
        '  a: {set: {x: 1}}\nvars: {x: "${{ steps.a.output }}"}\n',
        '4:11: "steps" can\'t be used here',
    ),
    "env that is not listed": (
        '  a: {set: {x: "${{ env.HOME }}"}}\nenv: [PATH]\n',
        '3:16: "env.HOME" is not listed under env; allowed: PATH',
    ),
    "env without a list": (
        '  a: {set: {x: "${{ env.HOME }}"}}\n',
        '3:16: "env.HOME" is not listed under env; add env: [HOME]',
    ),
    "no step of the outputs": (
        SET + 'outputs: {x: "${{ steps.y.output }}"}\n',
        '4:14: "y" is not a step; allowed: z',
    ),
    "a step that is like itself": (
        "  alpha: {needs: [alhpa], set: {x: 1}}\n" + SET,
        '3:19: step "alpha" needs "alhpa", which is not a step; allowed: z',
    ),
    # --- secrets -----------------------------------------------------------------------------------------------
    "a secret in a prompt": (
        '  a: {prompt: {user: "${{ secrets.T }}"}}\nsecrets: [T]\n',
        '3:22: "secrets" can be used only in what a tool step is given; write it in the tool\'s "with"',
    ),
    "a secret in when": (
        '  a: {tool: list_files, when: "${{ secrets.T == 1 }}"}\nsecrets: [T]\n',
        '3:31: "secrets" can be used only in what a tool step is given',
    ),
    "a secret in set": (
        '  a: {set: {x: "${{ secrets.T }}"}}\nsecrets: [T]\n',
        '3:16: "secrets" can be used only in what',
    ),
    "a secret in outputs": (
        '  a: {set: {x: 1}}\nsecrets: [T]\noutputs: {x: "${{ secrets.T }}"}\n',
        '5:14: "secrets" can be used only in what',
    ),
    "a secret that is not listed": (
        '  a: {tool: list_files, with: {path: "${{ secrets.TT }}"}}\nsecrets: [T]\n',
        '3:38: "secrets.TT" is not listed under secrets; did you mean "T"?',
    ),
    "all secrets": (
        '  a: {tool: list_files, with: {path: "${{ secrets }}"}}\nsecrets: [T]\n',
        '3:38: "secrets" stands only before a name; write secrets.NAME',
    ),
    # --- finally -----------------------------------------------------------------------------------------------
    "an ordinary step needs a last one": (
        '  a: {set: {x: "${{ steps.f.output }}"}}\nfinally:\n  f: {set: {x: 1}}\n',
        '3:16: step "a" needs "f", which runs last; move one of them to or from "finally"',
    ),
    "an ordinary step waits for a last one": (
        "  a: {needs: [f], set: {x: 1}}\nfinally:\n  f: {set: {x: 1}}\n",
        '3:15: step "a" needs "f", which runs last',
    ),
    "one name twice": (
        "  a: {set: {x: 1}}\nfinally:\n  a: {set: {x: 1}}\n",
        '5:3: step "a" stands under "steps" already, on line 3; give it another name',
    ),
    "a typo in finally": (
        "  a: {set: {x: 1}}\nfinally:\n  f: {st: {x: 1}}\n",
        '5:7: unknown key "st" in step "f"; did you mean "set"?',
    ),
    "a cycle of last steps": (
        "  a: {set: {x: 1}}\nfinally:\n  f: {needs: [g], set: {x: 1}}\n  g: {needs: [f], set: {x: 1}}\n",
        '5:15: steps need each other in a circle: f -> g -> f ("f" needs "g" at line 5, "g" needs "f" at line 6)',
    ),
    # --- matrix ------------------------------------------------------------------------------------------------
    "a matrix beside a foreach": (
        "  a: {matrix: {x: [1]}, foreach: [1], set: {x: 1}}\n",
        '3:3: step "a" has both "foreach" and "matrix"',
    ),
    "a matrix of a thousand million": (
        '  a: {matrix: {x: "${{ range(100000) }}", y: "${{ range(10000) }}"}, set: {x: 1}}\n',
        "3:15: matrix would have 1,000,000,000 cells; at most 10,000 are allowed",
    ),
    "a matrix without axes": (
        "  a: {matrix: {}, set: {x: 1}}\n",
        '3:15: "matrix" has no axis; write axis: [values]',
    ),
    "an axis of text": ("  a: {matrix: {x: y}, set: {x: 1}}\n", '3:19: "y" is not a list'),
    "an exclude of no axis": (
        "  a: {matrix: {x: [1], exclude: [{y: 1}]}, set: {x: 1}}\n",
        '3:35: "exclude" names "y", which is no axis; allowed: x',
    ),
    "an exclude that is misspelt": (
        "  a: {matrix: {x: [1], exlude: [{x: 1}]}, set: {x: 1}}\n",
        '3:24: "exlude" is no axis of "matrix"; did you mean "exclude"?',
    ),
    "an expression that ends too soon": (
        "  a: {check: ['1 ==']}\n",
        "3:15: cannot read 1 ==: it ends too soon",
    ),
    "a comparison with one sign": (
        "  a: {check: ['1 = 1']}\n",
        '3:15: cannot read 1 = 1: expected the end, not "="; compare with "=="',
    ),
    # --- repeat, on_error, cache, effect -----------------------------------------------------------------------
    "a repeat without max": (
        "  a: {repeat: {until: true}, set: {x: 1}}\n",
        '3:3: "repeat" of step "a" needs the key "max"; add it',
    ),
    "an until that cannot be read": (
        '  a: {repeat: {until: "output >", max: 2}, set: {x: 1}}\n',
        "3:23: cannot read output >",
    ),
    "a fallback without a kind": (
        "  a: {on_error: {fallback: {}}, set: {x: 1}}\n",
        '3:18: "fallback" of step "a" has no kind; it needs one of prompt, tool, ',
    ),
    "a fallback with two kinds": (
        "  a: {on_error: {fallback: {set: {x: 1}, tool: list_files}}, set: {x: 1}}\n",
        '3:18: "fallback" of step "a" has 2 kinds: tool, ',
    ),
    "a fallback with keys of a step": (
        "  a: {on_error: {fallback: {set: {x: 1}, timeout: 3s}}, set: {x: 1}}\n",
        '3:42: "timeout" cannot stand in a fallback, which is the body of a step; write it beside',
    ),
    "a fallback's own fault": (
        "  a: {on_error: {fallback: {tool: list_files, with: {pth: 1}}}, set: {x: 1}}\n",
        '3:54: tool "list_files" has no argument "pth"; did you mean "path"?',
    ),
    "a step that looks through a page which none has opened": (
        "  a: {tool: browser.find, with: {pattern: x}}\n",
        "3:13: browser.find looks through an open page, and pages are open only as long as the step that opened "
        "them; a step of its own makes one call; let a model browse (tools: [browser]), or open the page",
    ),
    "a step that opens a link of such a page": (
        "  a: {tool: browser.open, with: {id: 3}}\n",
        "3:13: browser.open goes on from an open page, and pages are open only",
    ),
    "a step that its fallback needs": (
        '  a: {on_error: {fallback: {set: {x: "${{ steps.b.output }}"}}}, set: {x: 1}}\n'
        '  b: {set: {x: "${{ steps.a.output }}"}}\n',
        "3:38: steps need each other in a circle: a -> b -> a",
    ),
    "a cache that is none": (
        "  a: {cache: maybe, set: {x: 1}}\n",
        '3:14: "maybe" is neither true, false nor a mapping',
    ),
    "a cache key that is no expression": (
        "  a: {cache: {key: v1}, set: {x: 1}}\n",
        '3:20: "v1" is not an expression; write "${{ … }}"',
    ),
    "an effect that is none": (
        "  a: {effect: twice, set: {x: 1}}\n",
        '3:15: "twice" is not allowed here; allowed: pure, idempotent, once',
    ),
    # --- values that are known early ---------------------------------------------------------------------------
    "a foreach that is no list": (
        '  a: {foreach: "${{ inputs.n }}", set: {x: 1}}\ninputs: {n: {type: integer, default: 3}}\n',
        '3:16: "foreach" gives neither a list nor a mapping; it gives 3',
    ),
    "a timeout that is none": (
        '  a: {timeout: "${{ inputs.t }}", set: {x: 1}}\ninputs: {t: {type: string, default: soon}}\n',
        '3:16: "soon" is not a duration',
    ),
    "a temperature that is too high": (
        '  a: {prompt: {user: x, params: {temperature: "${{ 4 + 5 }}"}}}\n',
        "3:47: 9 is too large; at most 5 is allowed",
    ),
    "an argument of the wrong type": (
        '  a: {tool: list_files, with: {limit: "${{ inputs.t }}"}}\ninputs: {t: {type: string, default: many}}\n',
        '3:39: tool "list_files": limit must be a whole number, not "many"',
    ),
    "a pattern that cannot be read": (
        SET + 'inputs: {x: {type: string, pattern: "(a"}}\n',
        '4:37: input "x": cannot read the pattern "(a": missing ): (a',
    ),
    "a schema of items that is none": (
        SET + "inputs: {x: {type: array, items: {type: text}}}\n",
        '4:41: input "x": no JSON Schema: items.type must be one of',
    ),
    "a text to cut where no server is named": (
        "  a: {set: {server: z, x: \"${{ 'abc' | truncate_tokens(3) }}\"}}\nservers: {one: demo, two: demo}\n",
        '3:3: truncate_tokens in step "a" needs a flow with one server; cut the text in a prompt, which names its',
    ),
    # --- the flow's keys ---------------------------------------------------------------------------------------
    "a limit that is none": (
        SET + "limits: {tokns: 3}\n",
        '4:10: unknown key "tokns" in "limits"; did you mean "tokens"?',
    ),
    "a limit of nothing": (SET + "limits: {time: 0s}\n", '4:16: "0s" is too small; it must be more than 0'),
    "a record without a folder": (SET + "record: {}\n", '4:1: "record" needs the key "dir"; add it'),
    "a rule for no tool": (
        SET + "permissions: {allow: [read_fil]}\n",
        '4:23: "read_fil" is not a tool; did you mean "read_file"?',
    ),
    "a rule for no argument": (
        SET + "permissions: {deny: [{read_file: {pth: x}}]}\n",
        '4:35: "read_file" has no argument "pth"; did you mean "path"?',
    ),
    "a rule with an expression": (
        SET + "permissions: {ask: [{read_file: {path: '${{ 1 }}'}}]}\n",
        "4:40: a rule is known before the run; write it without expressions",
    ),
    "a host out of a step": (
        SET + "permissions: {hosts: ['${{ steps.a.output }}']}\n",
        '4:23: "steps" can\'t be used here; allowed: inputs, vars, env',
    ),
    "a host that is a URL": (
        SET + "permissions:\n  hosts:\n    - example.org\n    - https://x.org/\n",
        '7:7: "https://x.org/" is no host to grant: it is a host and a port, without scheme and path; '
        "write example.org, *.example.org, example.org:8443 or an address with its port, 127.0.0.1:8080",
    ),
    "a private host without its port": (
        SET + "permissions: {hosts: [10.0.0.1]}\n",
        '4:23: "10.0.0.1" is no host to grant: 10.0.0.1 is a private network and is granted with its port only; '
        "write example.org, *.example.org, example.org:8443 or an address with its port, 127.0.0.1:8080",
    ),
    "this machine by its name": (
        PROMPT + "      permissions: {hosts: ['localhost:8080']}\n",
        '6:29: "localhost:8080" is no host to grant: a name never stands for this machine; '
        "name the address and grant it with its port, as 127.0.0.1:8080",
    ),
    "a prompt's tool that is none": (
        PROMPT + "      tools: [read_fil]\n",
        '6:15: "read_fil" is not a tool; did you mean "read_file"?',
    ),
    "a choice that is not granted": (
        PROMPT + "      tools: [read_file]\n      tool_choice: list_files\n",
        '7:20: "list_files" is not one of the step\'s tools; allowed: auto, none, required, read_file',
    ),
    "a schema that is none": (
        PROMPT + "      schema: {type: objec}\n",
        '6:15: "schema" is no JSON Schema: type must be one of "array", "boolean", "integer", "null", "number"',
    ),
    "a schema's file that is missing": (
        PROMPT + "      schema: answer.json\n",
        '6:15: there is no file "answer.json"',
    ),
    "schema and grammar": (
        PROMPT + "      schema: {}\n      grammar: root ::= [a-z]\n",
        '3:3: "prompt" of step "a": "schema" and "grammar" exclude each other',
    ),
    "a grammar of nothing": (
        PROMPT + "      grammar: rot ::= [a-z]\n",
        '6:16: "rot ::= [a-z]" has no rule for the whole answer; write root ::= …',
    ),
    "a conversation of no step": (
        PROMPT + "      continue: b\n",
        '6:17: step "a" needs "b", which is not a step; the flow has no other',
    ),
    "a conversation with itself": (
PROMPT + "      continue: a\n", '6:17: step "a" needs itself: a -> a'),
    "a conversation of no prompt": (
        PROMPT + "      continue: b\n  b: {set: {x: 1}}\n",
        '6:17: "continue" goes on with a conversation, and "b" is a set step; name a prompt',
    ),
    "a conversation of many": (
        PROMPT + "      continue: b\n  b: {foreach: [1], prompt: {user: x}}\n",
        '6:17: "b" is run for several items, each with a conversation of its own',
    ),
    "a secret that is no name": (
        SET + "secrets: [a-b]\n",
        '4:11: "a-b" is not allowed here; a name is a letter or _',
    ),
    "a typo in defaults of a flow": (
        SET + "defaults: {flow: {wth: {}}}\n",
        '4:19: unknown key "wth" in "flow"; did you mean "with"?',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_at_its_place(text: str, expected: str) -> None:
    (said,) = problems_in({"flow.yaml": STEPS + text})
    assert said.removeprefix("flow.yaml:").startswith(expected), said


def test_an_axis_of_mappings_may_have_a_name_like_include() -> None:
    step = '  a: {matrix: {included: [{n: 1}, {n: 2}], x: [1]}, set: {x: "${{ matrix.included.n }}"}}\n'
    assert problems_in({"flow.yaml": STEPS + step}) == []
