"""Names and patterns that would be more than that: paths, words of the machine, patterns without an end."""

from __future__ import annotations

import time

import pytest

from gptoss_flow.lang.inputs import Input
from tests.flows import problems_in

NAMES = [
    "../x",
    "/etc/x",
    ".",
    "..",
    "CON",
    "a/b",
    "a\\b",
    "A",
    "a-b",
    "a b",
    "1a",
    "é",
    "a" * 65,
    "-rf",
    "a.b",
    "__x",
]
PLACES = {
    "a step": "version: 1\nsteps: {{{}: {{set: {{x: 1}}}}}}\n",
    "a last step": "version: 1\nsteps: {{a: {{set: {{x: 1}}}}}}\nfinally: {{{}: {{set: {{x: 1}}}}}}\n",
    "a server": "version: 1\nservers: {{{}: demo}}\nsteps: {{a: {{set: {{x: 1}}}}}}\n",
    "an input": "version: 1\ninputs: {{{}: {{type: string}}}}\nsteps: {{a: {{set: {{x: 1}}}}}}\n",
    "an output": "version: 1\nsteps: {{a: {{set: {{x: 1}}}}}}\noutputs: {{{}: 1}}\n",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_name_is_refused_wherever_one_is_needed(name: str, place: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\") + '"'

    assert problems_in({"flow.yaml": PLACES[place].format(quoted)})


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "(.*a){12}b"])
def test_a_pattern_of_an_input_is_linear(pattern: str) -> None:
    text = Input.model_validate({"type": "string", "pattern": pattern})
    texts = Input.model_validate({"type": "array", "items": {"type": "string", "pattern": pattern}})
    start = time.process_time()

    assert text.faults("a" * 50_000 + "!")
    assert texts.faults(["a" * 50_000 + "!"])
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ({"$ref": "http://127.0.0.1:9/x"}, '"$ref" cannot be used'),
        ({"$ref": "file:///etc/passwd"}, '"$ref" cannot be used'),
        ({"allOf": [{"$ref": "#/items"}]}, '"$ref" cannot be used'),
        ({"patternProperties": {"(a+)+$": {}}}, '"patternProperties" cannot be used'),
        ({"type": "string", "pattern": "("}, 'cannot read the pattern "(": missing ): ('),
        ({"type": "string", "pattern": "(?=a)"}, "cannot read the pattern"),
    ],
)
def test_a_declaration_that_would_reach_out_or_never_end_is_refused(inner: dict[str, object], said: str) -> None:
    declared = Input.model_validate({"type": "array", "items": inner, "default": ["x"]})

    fault = declared.schema_fault()
    assert fault is not None
    assert said in fault[1]
