"""A model with tools: its calls are judged, made, recorded and answered, until it answers or a bound ends it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_flow.arguments import check_arguments
from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import Json, PromptRendered, StepRetried, ToolFinished, ToolStarted
from gptoss_flow.ports import Asking, ToolContext
from gptoss_flow.steps.turns import BARE, MAX_RESULT_CHARS, MOST_AT_ONCE
from tests.run.running import Run
from tests.steps.made_tools import MadeTool, Thing, Together, tools


def flow(keys: str = "tools: [say]", more: str = "", top: str = "") -> str:
    return f"version: 1\n{top}steps:\n  a:\n{more}    prompt: {{user: Go on., {keys}}}\n"


def call(tool: str = "say", **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def calling(*turns: list[dict[str, Any]], then: str = "Done.") -> dict[str, Any]:
    """A model that makes these calls, turn by turn, and then answers."""
    spoken = [{"turn": n + 1, "tool_calls": calls} for n, calls in enumerate(turns)]
    return {"replies": [*spoken, {"text": then}]}


def run(text: str, replies: Mapping[str, Any], *made: MadeTool, **more: Any) -> Run:
    found = Run(text, replies, tools=tools(*made or (MadeTool("say"),)), **more)
    found.result = found.go()  # type: ignore[attr-defined]
    return found


def told(found: Run) -> list[str]:
    """What the model was told of its calls, in its last prompt."""
    return [str(m["content"]) for m in found.log.of(PromptRendered)[-1].messages if m["role"] == "tool"]


def why(found: Run) -> str:
    error = found.end("a").error
    return str(error["message"]) if error else ""


def permissions(found: Run) -> list[str]:
    return [event.permission for event in found.log.of(ToolStarted)]


# --- the way there and back ------------------------------------------------------------------------------------


def test_a_call_is_made_recorded_and_answered() -> None:
    say = MadeTool("say")
    found = run(flow(), calling([call(text="hello")]), say)
    assert found.end("a").output == "Done."
    assert say.called == [{"text": "hello"}]
    assert told(found) == ["hello"]
    started, finished = found.log.of(ToolStarted), found.log.of(ToolFinished)
    assert [(e.call_id, e.tool, e.arguments, e.permission, e.effect) for e in started] == [
        ("a.1.1.1", "say", {"text": "hello"}, "granted", "pure")
    ]
    assert [(e.call_id, e.result, e.error) for e in finished] == [("a.1.1.1", "hello", None)]


def test_the_result_has_the_calls_the_conversation_and_the_usage_of_all_turns() -> None:
    found = run(flow(), calling([call(text="one")], [call(text="two")]))
    fields = found.end("a").fields
    assert [(c["id"], c["result"], c["permission"]) for c in fields["tool_calls"]] == [
        ("a.1.1.1", "one", "granted"),
        ("a.1.2.1", "two", "granted"),
    ]
    assert [m["role"] for m in fields["messages"]] == ["user", *["assistant", "tool"] * 2, "assistant"]
    prompts = [len(prompt.tokens) for prompt in found.log.of(PromptRendered)]
    assert fields["usage"]["prompt_tokens"] == sum(prompts)
    assert [prompt.turn for prompt in found.log.of(PromptRendered)] == [1, 2, 3]


def test_a_group_of_tools_is_granted_by_its_name() -> None:
    opened = MadeTool("browser.open")
    found = run(flow("tools: [browser]"), calling([call("browser.open", text="x")]), opened, MadeTool("say"))
    assert told(found) == ["x"]
    assert [tool["name"] for tool in found.log.of(PromptRendered)[0].tools] == ["browser.open"]


def test_calls_of_a_turn_that_change_nothing_are_made_at_once_and_answered_in_their_order() -> None:
    together = MadeTool("say", Together(3))
    found = run(flow(), calling([call(n=1), call(n=2), call(n=3)]), together)
    assert told(found) == ["here"] * 3
    assert [c["arguments"]["n"] for c in found.end("a").fields["tool_calls"]] == [1, 2, 3]


def test_no_turn_makes_any_number_of_calls_at_once() -> None:
    now: list[str] = []
    most: list[int] = []

    async def watched(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        now.append(context.call_id)
        most.append(len(now))
        await asyncio.sleep(0)
        now.remove(context.call_id)
        return "here"

    found = run(flow(), calling([call(n=n) for n in range(40)]), MadeTool("say", watched))
    assert (max(most), told(found)) == (MOST_AT_ONCE, ["here"] * 40)


def test_a_call_that_changes_something_waits_for_those_before_it_and_is_waited_for() -> None:
    now: list[str] = []
    most: list[int] = []

    async def watched(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        now.append(context.call_id)
        most.append(len(now))
        for _ in range(5):
            await asyncio.sleep(0)
        now.remove(context.call_id)
        return len(now)

    read, write = MadeTool("read", watched), MadeTool("write", watched, "idempotent")
    calls = [call("read"), call("write"), call("read"), call("write"), call("write")]
    run(flow("tools: [read, write]"), calling(calls), read, write)
    assert most == [1] * 5


def test_a_model_that_calls_touches_the_workspace_alone_and_what_its_flow_grants() -> None:
    say = MadeTool("say")
    top = "inputs: {host: {type: string, default: a.example}}\npermissions: {hosts: ['${{ inputs.host }}']}\n"
    keys = "tools: [say], sandbox: docker, permissions: {hosts: [b.example], network: true}"
    found = Run(flow(keys, top=top), calling([call()]), tools=tools(say))
    found.executor._root.scope["inputs"] = {"host": "c.example"}
    found.go()
    (context,) = say.contexts
    assert context.readable == ()
    assert context.grants.hosts == ("c.example", "b.example")
    assert (context.grants.network, context.grants.sandbox) == (True, "docker")
    assert context.call_id == "a.1.1.1"


def test_a_call_that_is_demanded_is_demanded_once() -> None:
    found = run(flow("tools: [say], tool_choice: say"), calling([call()]))
    assert [prompt.asks for prompt in found.log.of(PromptRendered)] == [{"tool_choice": "say"}, {}]
    assert found.end("a").output == "Done."


# --- what goes back to the model -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"tool": "say", "arguments": "{"}, "error: its arguments are not an object in JSON"),
        ({"tool": "say", "arguments": "[1]"}, "error: its arguments are not an object in JSON"),
        ({"tool": "say", "arguments": '{"text": NaN}'}, "error: its arguments are not an object in JSON"),
        ({"tool": "say", "arguments": '{"text": "\\ud800"}'}, "error: its arguments are not an object in JSON"),
        ({"tool": "say", "arguments": "[" * 100_000}, "error: its arguments are not an object in JSON"),
        (call("sya"), 'error: there is no tool "sya"; did you mean "say"?'),
        (call("other"), 'error: there is no tool "other"; allowed: say'),
        (call("a\x1b[31m<|call|>"), 'error: there is no tool "unknown"; allowed: say'),
        (call(text=1), 'error: tool "say": text must be text, not 1'),
        (call(txt="x"), 'error: tool "say" has no argument "txt"; did you mean "text"?'),
    ],
)
def test_a_call_that_is_none_goes_back_is_on_record_and_runs_nothing(made: dict[str, Any], said: str) -> None:
    say, other = MadeTool("say"), MadeTool("other")
    found = run(flow(), calling([made]), say, other)
    assert told(found) == [said]
    assert say.called == other.called == []
    assert found.end("a").output == "Done."
    assert permissions(found) == ["refused"]
    assert [event.error for event in found.log.of(ToolFinished)] == [said.removeprefix("error: ")]
    assert [event.effect for event in found.log.of(ToolStarted)] == [""]


@pytest.mark.parametrize(
    ("written", "code"),
    [("x = 1\nx + 1", "x = 1\nx + 1"), ("[1, 2]", "[1, 2]"), ('{"text": "print()"}', "print()"), ("é", "é")],
)
def test_python_may_be_called_with_the_code_itself(
    written: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BARE, "python", "text")
    python = MadeTool("python", effect="once")
    run(flow("tools: [python]"), calling([{"tool": "python", "arguments": written}]), python)
    assert python.called == [{"text": code}]


def test_arguments_that_cannot_be_read_stand_in_the_record_as_they_were_written() -> None:
    found = run(flow(), calling([{"tool": "say", "arguments": "{oops"}]))
    (event,) = found.log.of(ToolStarted)
    assert (event.arguments, event.written) == ({}, "{oops")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["say", "sya", "functions.say", "", "say\x00", "<|call|>"]) | st.text(max_size=8),
            st.sampled_from(['{"text": "x"}', '{"text": 1}', '{"n": 2', '{"n": 2}{', "null", '{"n": 1e400}'])
            | st.text(max_size=20)
            | st.dictionaries(st.sampled_from(["text", "n", "x"]), st.text() | st.integers()).map(json.dumps),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_a_model_calls_nothing_runs_that_is_no_call_and_each_has_one_end(
    made: list[tuple[str, str]],
) -> None:
    calls = [{"tool": tool, "arguments": arguments} for tool, arguments in made]
    say = MadeTool("say")
    found = run(flow(), calling(calls), say)
    for arguments in say.called:
        assert check_arguments(say, arguments) == []
    started, ended = found.log.of(ToolStarted), found.log.of(ToolFinished)
    assert sorted(event.call_id for event in started) == sorted(event.call_id for event in ended)
    assert len(say.called) == sum(event.permission == "granted" for event in started)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", event.tool) for event in started)
    assert found.ends() == {"a": "succeeded"} or "times in a row" in why(found)


def test_an_error_of_a_tool_goes_back() -> None:
    async def fails(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        raise StepError("tool", "no such file")

    found = run(flow(), calling([call()]), MadeTool("say", fails))
    assert told(found) == ["error: no such file"]
    (entry,) = found.end("a").fields["tool_calls"]
    assert (entry["error"], "result" in entry) == ("no such file", False)


def test_a_sandbox_that_is_missing_is_not_the_models_to_mend() -> None:
    async def fails(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        raise StepError("tool", "no sandbox", retryable=False, exit_code=ExitCode.UNAVAILABLE)

    found = run(flow(), calling([call()]), MadeTool("say", fails))
    assert (why(found), found.result.exit_code) == ("no sandbox", ExitCode.UNAVAILABLE)  # type: ignore[attr-defined]


def test_a_long_result_is_cut_for_the_model_and_says_so() -> None:
    async def long(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        return "x" * (MAX_RESULT_CHARS + 1)

    found = run(flow(), calling([call()]), MadeTool("say", long))
    (text,) = told(found)
    assert text.endswith("[cut: these are the first 32,000 of 32,001 characters]")
    assert len(found.log.of(ToolFinished)[0].result) == MAX_RESULT_CHARS + 1


# --- bounds ----------------------------------------------------------------------------------------------------

ENDLESS = {"replies": [{"tool_calls": [call(n=n)], "turn": n} for n in range(1, 30)]}


@pytest.mark.parametrize(
    ("keys", "said", "made"),
    [
        ("max_turns: 3", "max_turns: the model may take 3 and wants say in another", 2),
        ("max_tool_calls: 2", "max_tool_calls: the model may make 2 calls and wants 3", 2),
        ("max_total_tokens: 1", "max_total_tokens: the model may use 1 tokens and has used 5 without", 0),
        ("max_turns: 8", "max_turns: the model may take 8 and wants say in another", 7),
    ],
)
def test_a_bound_ends_the_loop_with_an_error_that_names_it(keys: str, said: str, made: int) -> None:
    say = MadeTool("say")
    found = run(flow(f"tools: [say], {keys}"), ENDLESS, say)
    assert why(found).startswith(said)
    assert len(say.called) == made
    assert found.end("a").output is None
    assert found.result.exit_code == ExitCode.FAILED  # type: ignore[attr-defined]


def test_the_calls_of_one_turn_are_bounded_before_any_is_made() -> None:
    say = MadeTool("say")
    found = run(flow(), calling([call(n=n) for n in range(65)]), say)
    assert why(found) == "max_tool_calls: the model may make 64 calls and wants 65"
    assert say.called == []


@pytest.mark.parametrize("at_once", [True, False])
def test_the_same_call_three_times_in_a_row_is_an_end(at_once: bool) -> None:
    say = MadeTool("say")
    same = [{"tool": "say", "arguments": text} for text in ('{"n":1,"text":"x"}', '{"text": "x", "n": 1}')]
    turns = [[*same, same[0]]] if at_once else [[same[0]], [same[1]], [same[0]]]
    found = run(flow(), calling(*turns), say)
    assert why(found) == "the model called say 3 times in a row with the same arguments"
    assert len(say.called) == (0 if at_once else 2)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_the_same_few_calls_three_times_in_a_row_are_an_end(length: int) -> None:
    say = MadeTool("say")
    few = [[call(n=n)] for n in range(length)]
    found = run(flow("tools: [say], max_turns: 40"), calling([call(n=9)], *few * 4), say)
    names = ", then ".join(["say"] * length)
    assert why(found) == f"the model called {names} 3 times in a row with the same arguments"
    assert len(say.called) == 3 * length


def test_calls_that_come_again_between_others_are_no_end() -> None:
    say = MadeTool("say")
    found = run(flow("tools: [say], max_turns: 40"), calling(*[[call(n=n % 2 and n)] for n in range(20)]), say)
    assert found.ends() == {"a": "succeeded"}


def test_the_same_call_with_another_between_is_none_too_many() -> None:
    again = [[call(n=1)], [call(n=2)], [call(n=1)], [call(n=2)], [call(n=1)]]
    assert run(flow(), calling(*again)).end("a").output == "Done."


def test_the_runs_limit_of_calls_counts_a_models_calls_and_no_refused_ones() -> None:
    say = MadeTool("say")
    calls = [call("none"), call(n=1), call(n=2), call(n=3)]
    found = run(flow(top="limits: {tool_calls: 2}\n"), calling(calls), say)
    assert found.result.exit_code == ExitCode.LIMITED  # type: ignore[attr-defined]
    assert "limits.tool_calls: the run may call tools 2 times" in found.result.error  # type: ignore[attr-defined]
    ended = {event.call_id for event in found.log.of(ToolFinished)}
    assert {event.call_id for event in found.log.of(ToolStarted)} == ended


def test_a_timeout_ends_the_calls_under_way_and_says_so_of_each() -> None:
    async def forever(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        await asyncio.Event().wait()

    found = run(flow(more="    timeout: 50ms\n"), calling([call(n=1), call(n=2)]), MadeTool("say", forever))
    assert why(found) == "took longer than its timeout of 0.05 s"
    assert [event.error for event in found.log.of(ToolFinished)] == ["cancelled"] * 2


# --- permissions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "permission", "said"),
    [
        ("approved", "approved", "x"),
        ("declined", "declined", "error: the user said no to it"),
        (
            "unasked",
            "unasked",
            "error: a person would have to allow it, and there is no terminal to ask at (ask: say)",
        ),
    ],
)
def test_what_is_to_be_asked_is_decided_by_a_person(word: Any, permission: str, said: str) -> None:
    asked: list[Asking] = []

    async def ask(asking: Asking) -> Any:
        asked.append(asking)
        return word

    keys = "tools: [say], permissions: {ask: [say]}"
    found = run(flow(keys), calling([call(text="x")]), ask=ask)
    assert told(found) == [said]
    assert permissions(found) == [permission]
    assert [(a.tool, a.arguments, a.call_id) for a in asked] == [("say", {"text": "x"}, "a.1.1.1")]


def test_a_flow_that_runs_another_binds_its_model_too() -> None:
    inner = flow("tools: [read_file], permissions: {allow: [read_file]}")
    outer = (
        "version: 1\npermissions: {deny: [{read_file: {path: 'secret*'}}]}\n"
        "steps: {o: {flow: inner.yaml}}\noutputs: {x: '${{ steps.o.output.a }}'}\n"
    )
    replies = calling([call("read_file", path="secret.md")])
    found = Run(outer, replies, files={"inner.yaml": inner})
    found.go()
    assert permissions(found) == ["denied"]


@pytest.mark.parametrize(
    ("around", "own", "grants"),
    [
        ("hosts: [a.org], network: false", "hosts: [b.org], network: true", (("b.org",), (("a.org",),), False)),
        ("ask: [x*]", "hosts: [b.org], network: true", (("b.org",), (), True)),
        ("hosts: [a.org]", "", ((), (("a.org",),), False)),
    ],
)
def test_what_a_flow_grants_no_flow_that_it_runs_goes_beyond(around: str, own: str, grants: Any) -> None:
    outer = f"version: 1\npermissions: {{{around}}}\nsteps: {{o: {{flow: inner.yaml}}}}\n"
    say = MadeTool("say")
    made = {"say": say, "xy": MadeTool("xy")}
    inner = flow(f"tools: [say], permissions: {{{own}}}")
    Run(outer, calling([call()]), tools=made, files={"inner.yaml": inner}).go()
    (given,) = (context.grants for context in say.contexts)
    assert (given.hosts, given.within, given.network) == grants


def test_a_tool_steps_own_rules_bind_it_and_its_flows_do_not() -> None:
    text = (
        "version: 1\npermissions: {deny: [say]}\nsteps:\n  a: {tool: say, with: {text: x}}\n"
        "  b: {tool: say, permissions: {ask: [say]}, needs: [a]}\n"
    )
    say = MadeTool("say")
    found = run(text, {}, say)
    assert found.ends() == {"a": "succeeded", "b": "failed"}
    error = found.end("b").error
    assert error and error["message"].startswith("say was not called: a person would have to allow it")
    assert len(say.called) == 1


def test_the_variables_of_a_tool_step_reach_its_tool() -> None:
    say = MadeTool("say")
    text = "version: 1\nsteps:\n  a: {tool: say, env: {N: '${{ inputs.n }}', W: word}}\n"
    run("version: 1\ninputs: {n: {type: integer}}\n" + text.removeprefix("version: 1\n"), {}, say)
    assert say.contexts[0].env == {"N": "3", "W": "word"}


# --- what tools keep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_what_tools_keep_is_shared_by_the_calls_of_an_attempt_and_closed_at_its_end(end: str) -> None:
    things: list[Thing] = []

    def make() -> Thing:
        things.append(Thing())
        return things[-1]

    async def keeps(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        context.kept.get("thing", make).uses += 1
        if end != "succeeded" and arguments["n"] == 2:
            await asyncio.Event().wait()
        return "kept"

    def stop(found: Run, event: Any) -> None:
        if end == "cancelled" and isinstance(event, ToolStarted) and event.arguments == {"n": 2}:
            assert found.executor.interrupt(ExitCode.INTERRUPTED)

    more = "    timeout: 100ms\n" if end == "failed" else ""
    found = run(flow(more=more), calling([call(n=1)], [call(n=2)]), MadeTool("say", keeps), when=stop)
    assert found.ends() == {"a": end}
    assert [(thing.uses, thing.closed) for thing in things] == [(2, 1)]
    assert [event.call_id for event in found.log.of(ToolFinished)] == ["a.1.1.1", "a.1.2.1"]


# --- a conversation that goes on -------------------------------------------------------------------------------


def test_a_conversation_goes_on_in_another_step_with_its_calls() -> None:
    text = flow() + "  b: {prompt: {continue: a, user: And now?}}\n"
    replies = {
        "replies": [
            {"step": "a", "turn": 1, "tool_calls": [call(text="x")]},
            {"step": "a", "text": "It is x."},
            {"step": "b", "text": "Still x."},
        ]
    }
    found = run(text, replies)
    messages = found.log.of(PromptRendered)[-1].messages
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert [found.plan.nodes["b"].needs[0].step, found.end("b").output] == ["a", "Still x."]


def test_feedback_shows_a_model_its_answer_in_the_same_conversation() -> None:
    more = "    retry: {attempts: 2, backoff: 0s, feedback: true}\n    expect: [\"output != 'No.'\"]\n"
    replies = {
        "replies": [
            {"turn": 1, "times": 1, "tool_calls": [call(text="x")]},
            {"times": 1, "text": "No."},
            {"text": "Yes."},
        ]
    }
    found = run(flow(more=more), replies)
    assert found.end("a").output == "Yes."
    assert len(found.log.of(StepRetried)) == 1
    last = found.log.of(PromptRendered)[-1]
    assert [m["role"] for m in last.messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert "was not accepted: expect is false" in str(last.messages[-1]["content"])
    assert (last.attempt, last.turn) == (2, 1)


# --- structured answers ----------------------------------------------------------------------------------------

SCHEMA = "schema: {type: object, required: [n], properties: {n: {type: integer}}, additionalProperties: false}"


def test_an_answer_by_a_schema_is_a_value() -> None:
    found = run(flow(SCHEMA), {"default": '{"n": 3}'})
    assert (found.end("a").output, found.end("a").fields["text"]) == ({"n": 3}, '{"n": 3}')


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("It is 3.", "the answer is not JSON at line 1, column 1: Expecting value"),
        ('{"n": "3"}', 'the answer does not follow the schema: n must be a whole number, not "3"'),
        ('{"m": 1}', "the answer does not follow the schema: the answer "),
        ('{"n": NaN}', "the answer is not JSON: NaN is no JSON value"),
        ('{"n": 1e999}', "the answer is not JSON: 1e999 is no JSON value"),
        ('{"n": "\\ud800"}', "the answer is not JSON: half of a surrogate pair is no character"),
        ('{"n": ' + "[" * 100_000, "the answer is not JSON: it is nested too deep"),
    ],
)
def test_an_answer_that_does_not_follow_its_schema_is_an_error_of_that_kind(answer: str, said: str) -> None:
    error = run(flow(SCHEMA), {"default": answer}).end("a").error
    assert error and error["kind"] == "schema"
    assert str(error["message"]).startswith(said)


def test_an_answer_that_is_cut_follows_no_schema() -> None:
    found = run(flow(SCHEMA + ", params: {max_tokens: 1}"), {"default": '{"n": 3 }'})
    error = found.end("a").error
    assert error and (error["kind"], error["message"]) == (
        "schema",
        "the answer was cut at 1 tokens (max_tokens: 1)",
    )


def test_an_answer_that_was_cut_before_it_called_or_said_anything_is_none() -> None:
    cut = {"text": "", "reasoning": "I might call it.", "finish_reason": "length"}
    error = run(flow(), {"replies": [cut]}).end("a").error
    assert error and error["kind"] == "model"
    assert str(error["message"]).startswith("the answer was cut at ")
    assert run(flow(), {"replies": [{**cut, "text": "Half of"}]}).end("a").output == "Half of"


def test_a_schema_lies_in_a_file_and_feedback_mends_an_answer() -> None:
    more = "    retry: {attempts: 2, backoff: 0s, on: [schema], feedback: true}\n"
    replies = {"replies": [{"times": 1, "text": "three"}, {"contains": "is not JSON", "text": "3"}]}
    found = Run(flow("schema: number.json", more), replies, files={"number.json": '{"type": "integer"}'})
    found.go()
    assert found.end("a").output == 3
    assert found.log.of(PromptRendered)[0].asks["schema"] == {"type": "integer"}
