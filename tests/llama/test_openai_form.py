"""Tools in OpenAI's two APIs: the shapes that are asked, and those of the answers that several servers give."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.llama.openai_answer import AnswerReader
from gptoss_flow.llama.openai_form import demands, spoken
from gptoss_flow.ports import Message, Question, ToolCall, ToolSpec

PARAMETERS = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
WEATHER = ToolSpec(name="get_weather", description="The weather.", parameters=PARAMETERS)
HEALTH = ToolSpec(name="get_system_health", description="Health.", parameters={"type": "object", "properties": {}})
CALL = ToolCall(id="call_0", name="get_weather", arguments='{"location": "Rome"}')
TALK = (
    Message("developer", "Be brief."),
    Message("user", "Rome?"),
    Message("assistant", "", reasoning="Ask.", tool_calls=(CALL,)),
    Message("tool", '{"weather":"sunny"}', tool_call_id="call_0", name="get_weather"),
    Message("assistant", "Sunny."),
)


def asking(api: Any, **more: Any) -> Question:
    return Question(api=api, messages=TALK, tools=(WEATHER, HEALTH), **more)


def test_chat_completions_have_calls_within_messages() -> None:
    assert spoken("chat_completions", TALK) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rome?"},
        {
            "role": "assistant", "content": "", "reasoning_content": "Ask.",
            "tool_calls": [
                {
                    "id": "call_0", "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"location": "Rome"}'},
                }
            ],
        },
        {"role": "tool", "content": '{"weather":"sunny"}', "tool_call_id": "call_0"},
        {"role": "assistant", "content": "Sunny."},
    ]  # fmt: skip


def test_responses_have_calls_outputs_and_thoughts_as_items() -> None:
    assert spoken("responses", TALK) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rome?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Ask."}]},
        {
            "type": "function_call", "call_id": "call_0", "name": "get_weather",
            "arguments": '{"location": "Rome"}',
        },
        {"type": "function_call_output", "call_id": "call_0", "output": '{"weather":"sunny"}'},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Sunny."}]},
    ]  # fmt: skip


def test_a_function_is_nested_in_one_api_and_flat_in_the_other() -> None:
    flat = {"type": "function", "name": "get_weather", "description": "The weather.", "parameters": PARAMETERS}
    nested = {"type": "function", "function": {k: v for k, v in flat.items() if k != "type"}}
    assert demands(asking("responses"), is_llama=False)["tools"][0] == flat
    assert demands(asking("chat_completions"), is_llama=False)["tools"][0] == nested


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
@pytest.mark.parametrize(
    ("choice", "said", "given"), [("auto", "auto", 2), ("none", "none", 2), ("required", "required", 2),
                                  ("get_weather", "required", 1)]
)  # fmt: skip
def test_the_choice_of_a_tool(api: Any, choice: str, said: str, given: int) -> None:
    body = demands(asking(api, tool_choice=choice), is_llama=False)
    assert (body["tool_choice"], len(body["tools"])) == (said, given)


def test_the_form_of_the_answer() -> None:
    schema = {"type": "object"}
    chat = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
    flat = {"text": {"format": {"type": "json_schema", "name": "answer", "schema": schema}}}
    bare = Question(api="chat_completions", messages=TALK, schema=schema)
    assert demands(bare, is_llama=False) == chat
    bare = Question(api="responses", messages=TALK, schema=schema)
    assert demands(bare, is_llama=False) == flat
    assert demands(bare, is_llama=True) == flat | chat
    bare = Question(api="chat_completions", messages=TALK, grammar="root ::= [a-z]")
    assert demands(bare, is_llama=True) == {"grammar": "root ::= [a-z]"}
    with pytest.raises(StepError, match="api chat_completions cannot say a grammar; write `schema`"):
        demands(bare, is_llama=False)
    with pytest.raises(StepError, match="no grammar beside tools"):
        demands(asking("chat_completions", grammar="root ::= [a-z]"), is_llama=True)


# --- answers: the shapes that gpt-oss's public compatibility test looks for ----------------------------------


def read(api: Any, *events: Any, max_tokens: int = 100) -> tuple[AnswerReader, dict[str, str]]:
    reader, said = AnswerReader(api, max_tokens), {"analysis": "", "commentary": "", "final": ""}
    for event in events:
        for channel, text in reader.take(event if isinstance(event, str) else json.dumps(event)):
            said[channel] += text
    return reader, said


def delta(finish: str | None = None, **parts: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": parts, "finish_reason": finish}]}


def call(arguments: str, index: int = 0, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"index": index, "type": "function", "function": function, **more}


# What a tool is called with, as the model writes it in pieces: no arguments, text, nested lists, escapes.
CASES = {
    "get_system_health": ["{}"],
    "get_weather": ['{"loca', 'tion":"', "Zürich", '"}'],
    "markdown_to_html": ['{"markdown":', '"# Hi\\n\\n- \\"a\\""', "}"],
    "generate_chart": ['{"data":[[1,', '2],[3,4.5]],"chart_type"', ':"line","title":""}'],
    "query_database": ['{"table":"users","columns":["id","email"],"limit":10}'],
}


@pytest.mark.parametrize("tool", CASES)
@pytest.mark.parametrize("thought", ["reasoning", "reasoning_content"])
def test_chat_streams_a_call_in_pieces(tool: str, thought: str) -> None:
    pieces = CASES[tool]
    reader, said = read(
        "chat_completions",
        delta(role="assistant", content=None),
        delta(**{thought: "I should call it."}),
        delta(tool_calls=[call(pieces[0], id="x", name=tool)]),
        *(delta(tool_calls=[call(piece)]) for piece in pieces[1:]),
        delta("tool_calls"),
        "[DONE]",
    )
    assert reader.calls == [(tool, "".join(pieces))]
    assert said == {"analysis": "I should call it.", "commentary": "".join(pieces), "final": ""}
    assert reader.called_a_tool and reader.finish_reason == "stop"
    json.loads(reader.calls[0][1])


@pytest.mark.parametrize("tool", CASES)
@pytest.mark.parametrize("told", ["done", "completed", "both"])
def test_responses_tell_a_call_when_it_is_whole(tool: str, told: str) -> None:
    arguments = "".join(CASES[tool])
    item = {"type": "function_call", "id": "fc_1", "call_id": "c_1", "name": tool, "arguments": arguments}
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]}
    output = [thought, item] if told != "done" else []
    reader, said = read(
        "responses",
        {"type": "response.created", "response": {}},
        {"type": "response.reasoning_text.delta", "delta": "Hm."},
        {"type": "response.reasoning_text.done", "text": "Hm."},
        {"type": "response.output_item.added", "item": {**item, "arguments": ""}},
        *({"type": "response.function_call_arguments.delta", "delta": piece} for piece in CASES[tool]),
        *([{"type": "response.output_item.done", "item": item}] if told != "completed" else []),
        {"type": "response.completed", "response": {"output": output}},
    )
    assert reader.calls == [(tool, arguments)]
    assert said == {"analysis": "Hm.", "commentary": arguments, "final": ""}
    assert reader.called_a_tool


def test_several_calls_keep_their_order_and_their_pieces() -> None:
    reader, _ = read(
        "chat_completions",
        delta(tool_calls=[call('{"a":', 0, name="x")]),
        delta(tool_calls=[call('{"b":', 1, name="y")]),
        delta(tool_calls=[call("1}", 0), call("2}", 1)]),
        delta("tool_calls"),
    )
    assert reader.calls == [("x", '{"a":1}'), ("y", '{"b":2}')]
    whole = [{"function": {"name": name, "arguments": "{}"}} for name in ("x", "y")]  # no index
    assert read("chat_completions", delta("stop", tool_calls=whole))[0].calls == [("x", "{}"), ("y", "{}")]


def test_half_a_call_is_none() -> None:
    cut, _ = read("chat_completions", delta(tool_calls=[call('{"a":', name="x")]), delta("length"))
    assert cut.called_a_tool and cut.calls == []
    item = {"type": "function_call", "call_id": "c", "name": "x", "arguments": '{"a":'}
    cut, _ = read("responses", {"type": "response.incomplete", "response": {"output": [item]}})
    assert cut.calls == []


@pytest.mark.parametrize(
    "odd", [7, [7], [{}], [{"index": [], "function": {"name": 3, "arguments": 4}}], [{"function": []}]]
)
def test_what_is_odd_calls_nothing_by_name(odd: Any) -> None:
    reader, said = read("chat_completions", delta("stop", tool_calls=odd, content="a"))
    assert said["final"] == "a"
    assert all(name == "" for name, _ in reader.calls)
