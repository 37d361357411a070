"""Validation errors become problems at their place, in words that an author understands."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gptoss_flow.fields import Duration, Expression, Identifier, Size, Strict, Templated
from gptoss_flow.lang.document import parse_document
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.lang.wording import said_of
from gptoss_flow.sampling import Params


def _known_host(value: str) -> str:
    if value != "localhost":
        raise PydanticCustomError("host", "is not a host; write localhost")
    return value


def _no_secret(value: str) -> str:
    raise PydanticCustomError("api_key", "must be env:NAME; a key itself never stands here")


class Message(Strict):
    role: Literal["system", "user"]
    content: str


class Body(Strict):
    mode: Literal["raw", "chat"] = "chat"
    user: str | None = None
    text: str | None = None
    messages: list[Message] | Expression | None = None
    params: Params = Params()

    @model_validator(mode="after")
    def _one_way(self) -> Body:
        if self.mode == "raw" and self.text is None:
            raise PydanticCustomError("contradiction", 'raw mode needs "text"')
        if self.user and self.text:
            raise ValueError('"user" and "text" exclude each other; keep one')
        return self


class Common(Strict):
    needs: list[Identifier] | None = None
    timeout: Templated[Duration] | None = None
    when: bool | Literal["always"] | Expression | None = None
    foreach: list[Any] | dict[str, Any] | Expression | None = None
    as_: Annotated[Identifier | None, Field(alias="as")] = None


class Prompt(Common):
    prompt: Body


class Tool(Common):
    tool: str
    with_: Annotated[dict[str, Any], Field(alias="with", default_factory=dict)]


class Check(Common):
    check: Annotated[list[str], Field(min_length=1)]


def _kind(data: Any) -> str | None:
    found = [kind for kind in ("prompt", "tool", "check") if isinstance(data, dict) and kind in data]
    return found[0] if len(found) == 1 else None


Step = Annotated[
    Annotated[Prompt, Tag("prompt")] | Annotated[Tool, Tag("tool")] | Annotated[Check, Tag("check")],
    Discriminator(_kind, custom_error_type="step_kind", custom_error_message="needs exactly one kind"),
]


class Flow(Strict):
    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")] | None = None
    servers: dict[Identifier, str | dict[str, Any]] = {}
    host: Annotated[str, AfterValidator(_known_host)] | None = None
    api_key: Annotated[str, AfterValidator(_no_secret)] | None = None
    size: Size | None = None
    ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    title: Annotated[str, Field(min_length=1, max_length=5)] | None = None
    steps: dict[Identifier, Step] = {}


def said(text: str, model: type[BaseModel] = Flow) -> list[str]:
    document = parse_document(text, "f.yaml")
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document.data)
    marks = document.marks
    problems = problems_of(caught.value, document.data, model=model, value=marks.value, key=marks.key)
    assert [p.mark for p in problems] == sorted(p.mark for p in problems if p.mark)
    return [str(problem) for problem in problems]


def in_step(lines: str) -> list[str]:
    return said("version: 1\nsteps:\n  a:\n    " + lines.replace("\n", "\n    "))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version: 1\nstps: {}", 'f.yaml:2:1: unknown key "stps" at top level; did you mean "steps"?'),
        ("version: 1\nzzz: 1", "f.yaml:2:1: unknown key \"zzz\" at top level; allowed: version, name, servers"),
        ("version: 2", "f.yaml:1:10: 2 is not allowed here; allowed: 1"),
        ('version: "1"', 'f.yaml:1:10: "1" is not allowed here; write it without quotes: 1'),
        ("# first\nname: x", 'f.yaml:1:1: this file needs the key "version"'),
        ("version: 1\nname: X y", 'f.yaml:2:7: "X y" is not allowed here; a name is a lower-case letter'),
        ("version: 1\nservers: {m: 3}", "f.yaml:2:14: 3 is neither text nor a mapping"),
        ("version: 1\nservers: {M: x}", 'f.yaml:2:11: the server name "M" is not allowed; a name is'),
        ("version: 1\nhost: x", 'f.yaml:2:7: "x" is not a host; write localhost'),
        ("version: 1\nsize: x", 'f.yaml:2:7: "x" is not a size; write one like 512MiB or 8GiB'),
        ("version: 1\nratio: 1", "f.yaml:2:8: 1 is too large; it must be less than 1"),
        ("version: 1\nratio: 0.0", "f.yaml:2:8: 0.0 is too small; it must be more than 0"),
        ("version: 1\ntitle: ''", 'f.yaml:2:8: "title" must not be empty'),
        ("version: 1\ntitle: abcdef", 'f.yaml:2:8: "abcdef" is too long; at most 5 characters'),
        ("version: 1\nsteps: [a]", "f.yaml:2:8: a list is not a mapping; write it as"),
        ("5", "f.yaml:1:1: 5 is not a mapping"),
    ],
)  # fmt: skip
def test_a_fault_of_the_file_is_said_at_its_place(text: str, problem: str) -> None:
    (line,) = said(text)
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("promt: {user: x}", 'f.yaml:4:5: unknown key "promt" in step "a"; did you mean "prompt"?'),
        ("tool: x\nwth: {}", 'f.yaml:5:5: unknown key "wth" in step "a"; did you mean "with"?'),
        ("tool: x\nas_: x", 'f.yaml:5:5: unknown key "as_" in step "a"; did you mean "as"?'),
        ("prompt: {usr: x}", 'f.yaml:4:14: unknown key "usr" in "prompt" of step "a"; did you mean "user"?'),
        ("tool: x\nprompt: {}", 'f.yaml:3:3: step "a" has 2 kinds: prompt, tool; keep one of them'),
        ("needs: [b]", 'f.yaml:3:3: step "a" has no kind; it needs one of prompt, tool, check'),
        ("- x", 'f.yaml:4:5: step "a" is not a mapping; it needs one of prompt, tool, check'),
        ("tool: 5", 'f.yaml:4:11: 5 is not text; put it in quotes: "5"'),
        ("tool:", "f.yaml:4:10: null is not text"),
        ("tool: x\nwith: 5", "f.yaml:5:11: 5 is not a mapping"),
        ("tool: x\nas: 3", 'f.yaml:5:9: 3 is not text; put it in quotes: "3"'),
        ("tool: x\nneeds: [b, B]", 'f.yaml:5:16: "B" is not allowed here; a name is a lower-case letter'),
        ("tool: x\nneeds: b", 'f.yaml:5:12: "b" is not a list; write [a, b]'),
        ("tool: x\ntimeout: 5x", 'f.yaml:5:14: "5x" is not a duration; write one like'),
        ("tool: x\ntimeout: [5]", "f.yaml:5:14: a list is not a duration"),
        ("tool: x\nwhen: alway", 'f.yaml:5:11: "alway" is neither true, false nor "always"; an expr'),
        ("tool: x\nforeach: 3", "f.yaml:5:14: 3 is neither a list nor a mapping; an expression is"),
        ("check: []", 'f.yaml:4:12: "check" of step "a" has too few entries; it needs at least 1'),
        ("prompt: {mode: raw}", 'f.yaml:3:3: "prompt" of step "a": raw mode needs "text"'),
        ("prompt: {user: x, text: y}", 'f.yaml:3:3: "prompt" of step "a": "user" and "text" exclude each'),
        ("prompt: {mode: rw}", 'f.yaml:4:20: "rw" is not allowed here; did you mean "raw"? allowed: raw, chat'),
        ("prompt: {messages: [{role: user}]}", 'f.yaml:4:25: item 1 of "messages" of step "a" needs'),
        ("prompt: {messages: [{role: x, content: y}]}", 'f.yaml:4:32: "x" is not allowed here; allowed: sys'),
        ("prompt: {messages: 3}", 'f.yaml:4:24: 3 is not a list; write [a, b], or lines that begin'),
        ("prompt: {params: {max_tokens: twelve}}", 'f.yaml:4:35: "twelve" is not an integer; write it in dig'),
        ("prompt: {params: {max_tokens: 3.5}}", "f.yaml:4:35: 3.5 is not an integer"),
        ("prompt: {params: {max_tokens: true}}", "f.yaml:4:35: true is not an integer"),
        ("prompt: {params: {max_tokens: -1}}", "f.yaml:4:35: -1 is too small; at least 0 is allowed"),
        ("prompt: {params: {temperature: 9}}", "f.yaml:4:36: 9 is too large; at most 5 is allowed"),
        ("prompt: {params: {stop: [1]}}", 'f.yaml:4:30: 1 is not text; put it in quotes: "1"'),
        ("prompt: {params: {ignore_eos: yes}}", 'f.yaml:4:35: "yes" is not true or false; write true or false'),
        ("prompt: {params: {temprature: 1}}", 'f.yaml:4:23: unknown key "temprature" in "params" of step "a"'),
        ("prompt: {params: {logit_bias: [[1, {}]]}}", "f.yaml:4:40: a mapping is neither text, a number"),
    ],
)  # fmt: skip
def test_a_fault_of_a_step_is_said_at_its_place(lines: str, problem: str) -> None:
    (line,) = in_step(lines)
    assert line.startswith(problem)


def test_a_step_called_like_a_kind_or_a_key_confuses_nothing() -> None:
    text = "version: 1\nsteps:\n  prompt: {tool: x, wth: 1}\n  tool: {prompt: {usr: x}}\n  steps: {check: [5]}\n"
    assert [line.split(";")[0] for line in said(text)] == [
        'f.yaml:3:21: unknown key "wth" in step "prompt"',
        'f.yaml:4:19: unknown key "usr" in "prompt" of step "tool"',
        "f.yaml:5:19: 5 is not text",
    ]


def test_only_the_kinds_own_keys_are_suggested() -> None:
    (line,) = in_step("check: [x]\nwth: 1")
    assert '"with"' not in line


def test_all_faults_are_told_once_in_the_files_order() -> None:
    lines = in_step("timeout: x\nprompt:\n  params: {top_k: -1, top_p: 2}\n  usr: x\nneeds: [B]\nwen: 1")
    assert [line.split(" ")[0] for line in lines] == [
        "f.yaml:4:14:", "f.yaml:6:23:", "f.yaml:6:34:", "f.yaml:7:7:", "f.yaml:8:13:", "f.yaml:9:5:",
    ]  # fmt: skip


def test_a_value_that_may_be_secret_is_not_repeated() -> None:
    (line,) = said("version: 1\napi_key: hunter2")
    assert line == 'f.yaml:2:10: "api_key" must be env:NAME; a key itself never stands here'


def test_a_key_that_was_merged_into_many_steps_is_told_once() -> None:
    text = "version: 1\nbase: &b {wen: 1}\nsteps:\n  a: {tool: x, <<: *b}\n  b: {tool: x, <<: *b}\n"
    assert [line for line in said(text) if "wen" in line] == [
        'f.yaml:2:11: unknown key "wen" in step "a"; did you mean "when"?'
    ]


def test_long_and_hostile_values_are_shown_short_and_harmless() -> None:
    (line,) = in_step('prompt: {mode: "\\e[31m' + "x" * 500 + '"}')
    assert len(line) < 200
    assert line.isprintable()


def test_a_model_of_its_own_needs_no_steps() -> None:
    assert said("temperature: hot\nsead: 1\n", Params) == [
        'f.yaml:1:14: "hot" is not a number; write one like 0.5, or an expression: "${{ … }}"',
        'f.yaml:2:1: unknown key "sead" at top level; did you mean "seed"?',
    ]


KEYS = st.sampled_from(
    ["version", "steps", "a", "prompt", "tool", "check", "with", "params", "when", "needs", "messages", "role",
     "user", "max_tokens", "stop", "logit_bias", "foreach", "timeout", "host", "Bad", "usr"]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-2, 2)
    | st.sampled_from(["x", "", "always", "raw", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
STEPS = st.dictionaries(KEYS, VALUES, max_size=4)
FLOWS = st.fixed_dictionaries({"steps": st.dictionaries(KEYS, STEPS, max_size=3)}, optional={"version": VALUES})
PYDANTIC = [
    "Input should",
    "pydantic",
    "validation",
    "function-",
    "Extra inputs",
    "Field required",
    "valid str",
    "  ",
]


@settings(max_examples=400, deadline=None)
@given(FLOWS | VALUES)
def test_whatever_is_wrong_every_problem_has_a_place_and_none_of_pydantics_words(data: Any) -> None:
    document = parse_document(json.dumps(data), "f.yaml")
    try:
        Flow.model_validate(document.data)
    except ValidationError as error:
        marks = document.marks
        problems = problems_of(error, document.data, model=Flow, value=marks.value, key=marks.key)
        assert problems
        for problem in problems:
            assert problem.mark
            assert not [words for words in PYDANTIC if words in str(problem)], str(problem)


def test_words_that_are_allowed_are_said_as_yaml_has_them() -> None:
    with pytest.raises(ValidationError) as failed:
        TypeAdapter(Literal[True, "auto"]).validate_python("bwrp")
    assert said_of(failed.value.errors()).hint == "allowed: true, auto"
