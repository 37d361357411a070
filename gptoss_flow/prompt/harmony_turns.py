"""A conversation in Harmony's messages: who says what to whom, on which channel. Pure.

What a flow calls `system` is, in Harmony's words, the developer's instructions: Harmony's own system message
holds the identity, the knowledge cut-off, the run's date, the reasoning effort, the channels and built-in tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise

import openai_harmony as oh

from gptoss_flow.events import Json
from gptoss_flow.ports import Message, PromptRequest, ToolSpec
from gptoss_flow.prompt import harmony_tools

# One run of letters, spaces or signs is one piece for the byte-pair encoder, whose time grows with the square
# of its length and which holds up every other thread meanwhile: such runs are encoded in parts.
_LONG_RUN = re.compile(r"[^\W\d_]{2048}|\s{2048}|[^\w\s]{2048}")


def messages_of(request: PromptRequest) -> list[oh.Message]:
    """The whole conversation, Harmony's system message first. Raises `StepError("model", …)`."""
    tools = () if request.tool_choice == "none" else request.tools
    return [_system(request, tools), *_conversation(request, tools)]


def turn(message: Message, *, keep_analysis: bool) -> Iterator[oh.Message]:
    """The messages that one turn comes to; of an assistant's that calls tools there are several."""
    match message.role:
        case "assistant":
            if message.reasoning and keep_analysis:
                yield _said(oh.Author(role=oh.Role.ASSISTANT), message.reasoning).with_channel("analysis")
            if message.content or not message.tool_calls:
                channel = "commentary" if message.tool_calls else "final"
                yield _said(oh.Author(role=oh.Role.ASSISTANT), message.content).with_channel(channel)
            for call in message.tool_calls:
                said = _said(oh.Author(role=oh.Role.ASSISTANT), call.arguments).with_channel("commentary")
                kind = "code" if call.name == harmony_tools.PYTHON else "<|constrain|>json"
                yield said.with_recipient(harmony_tools.recipient(call.name)).with_content_type(kind)
        case "tool":
            author = oh.Author(role=oh.Role.TOOL, name=harmony_tools.recipient(message.name))
            yield _said(author, message.content).with_channel("commentary").with_recipient("assistant")
        case _:
            yield _said(oh.Author(role=oh.Role(message.role)), message.content)


def parts(text: str) -> list[str]:
    """`text` in parts that are each quick to encode: itself, unless it has a run of 2,048 of one sort."""
    cuts = [0, *(match.end() for match in _LONG_RUN.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b] or [""]


def _system(request: PromptRequest, tools: Sequence[ToolSpec]) -> oh.Message:
    effort = oh.ReasoningEffort((request.reasoning or "medium").title())
    system = oh.SystemContent.new().with_reasoning_effort(effort)
    if request.date:
        system = system.with_conversation_start_date(request.date)
    for section in harmony_tools.system_tools(tools):
        system = system.with_tools(section)
    return oh.Message.from_role_and_content(oh.Role.SYSTEM, system)


def _conversation(request: PromptRequest, tools: Sequence[ToolSpec]) -> Iterator[oh.Message]:
    """System and developer messages that follow one another become one developer message.

    The first one of them, where it opens the conversation, tells of the tools and of the answer's form too.
    """
    functions, form = harmony_tools.functions(tools), _response_format(request.schema)
    groups = [(key, list(group)) for key, group in groupby(request.messages, _instructs)]
    if (functions or form) and not (groups and groups[0][0]):
        groups.insert(0, (True, []))
    last_final = max((i for i, m in enumerate(request.messages) if _ends_a_turn(m)), default=-1)
    at = 0
    for instructs, group in groups:
        if instructs:
            yield _developer("\n\n".join(m.content for m in group), functions, form)
            functions, form = [], ""
        else:
            for i, message in enumerate(group, at):
                yield from turn(message, keep_analysis=i > last_final)
        at += len(group)


def _instructs(message: Message) -> bool:
    return message.role in ("system", "developer")


def _ends_a_turn(message: Message) -> bool:
    """Whether it is a final message, after which nobody needs what was thought before."""
    return message.role == "assistant" and not message.tool_calls


def _developer(instructions: str, functions: Sequence[oh.ToolDescription], form: str) -> oh.Message:
    contents: list[oh.Content] = []
    if instructions or not (functions or form):
        first, *rest = parts(instructions)
        contents += [oh.DeveloperContent.new().with_instructions(first), *map(_text, rest)]
    if functions and len(contents) == 1:
        contents = [oh.DeveloperContent.new().with_instructions(instructions).with_function_tools(functions)]
    elif functions:
        between = [_text("\n\n")] if contents else []
        contents += [*between, oh.DeveloperContent.new().with_function_tools(functions)]
    if form:
        contents += [_text("\n\n" + form if contents else form)]
    return oh.Message.from_role_and_contents(oh.Role.DEVELOPER, contents)


def _response_format(schema: Mapping[str, Json] | None) -> str:
    """What a developer message says of the answer's form, as gpt-oss was taught it."""
    if schema is None:
        return ""
    said = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"# Response Formats\n\n## answer\n\n{said}"


def _said(author: oh.Author, text: str) -> oh.Message:
    return oh.Message(author=author, content=[*map(_text, parts(text))])


def _text(part: str) -> oh.TextContent:
    return oh.TextContent(text=part)
