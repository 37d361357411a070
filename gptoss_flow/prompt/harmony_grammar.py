"""Grammars over a whole Harmony answer: the model thinks freely, and its final message, or its call, has a form.

Pure. `<[200008]>` is a token in GBNF, `!<[200007]>` any other one: what only spells a control token is neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import PromptRequest, ToolSpec
from gptoss_flow.prompt import harmony_tools, json_grammar
from gptoss_flow.prompt.harmony_stream import Control

_START, _CHANNEL, _MESSAGE, _END, _CONSTRAIN, _CALL = (
    f"<[{int(each)}]>"
    for each in (Control.START, Control.CHANNEL, Control.MESSAGE, Control.END, Control.CONSTRAIN, Control.CALL)
)
_ANSWER = "answer"
_MOST_THOUGHTS = 8
"""Messages before the one that is demanded: a model that would rather do something else comes to it in the end."""

# What may be a name in an author's grammar is one, unless it stands in a text, a set of characters, a remark or a
# token.
_GBNF = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|<[^>\n]*>|[A-Za-z][A-Za-z0-9_-]*', re.DOTALL)


def grammar(request: PromptRequest) -> str | None:
    """The grammar that a request demands; None where the model may answer as it likes."""
    tools = () if request.tool_choice == "none" else request.tools
    must_call = request.tool_choice not in ("auto", "none") and bool(tools)
    has_form = request.schema is not None or request.grammar is not None
    if not (must_call or has_form):
        return None
    if request.tool_choice not in ("auto", "none", "required"):
        tools = tuple(tool for tool in tools if tool.name == request.tool_choice)
    rules: dict[str, str] = {}
    ends = []
    for i, tool in enumerate(tools):
        ends.append(f"call-{i}")
        rules |= _call(tool, f"call-{i}")
    if not must_call:
        ends.append("final")
        rules |= _final(request.schema, request.grammar)
    said = f'{_CHANNEL} ( "analysis" | "commentary" ) {_MESSAGE} !{_END}* {_END} {_START} "assistant"'
    return json_grammar.text(
        {"root": f"thought{{0,{_MOST_THOUGHTS}}} ( {' | '.join(ends)} )", "thought": said, **rules}
    )


def _final(schema: Mapping[str, Json] | None, author: str | None) -> dict[str, str]:
    form = json_grammar.rules(schema, _ANSWER) if author is None else _renamed(author)
    constrained = f'( " "? {_CONSTRAIN} "json" )? ' if author is None else ""
    return {"final": f'{_CHANNEL} "final" {constrained}{_MESSAGE} {_ANSWER}', **form}


def _call(tool: ToolSpec, name: str) -> dict[str, str]:
    """A call as the model writes it (the channel first) or as openai-harmony does (the recipient first)."""
    to = json_grammar.literal(f" to={harmony_tools.recipient(tool.name)}")
    kind = f'( " "? {_CONSTRAIN}? " "? ( "json" | "code" ) )?'
    if tool.name == harmony_tools.PYTHON:
        arguments = {f"{name}-arguments": f"!{_CALL}*"}
    else:
        arguments = json_grammar.rules(dict(tool.parameters), f"{name}-arguments")
    header = f'( {_CHANNEL} "commentary" {to} | {to} {_CHANNEL} "commentary" )'
    return {name: f"{header} {kind} {_MESSAGE} {name}-arguments", **arguments}


def _renamed(author: str) -> dict[str, str]:
    """The author's rules under names of their own; their `root` is the answer."""

    def rename(match: re.Match[str]) -> str:
        word = match[0]
        if not (word[0].isalpha() and word[0].isascii()):
            return "" if word[0] == "#" else word
        return _ANSWER if word == "root" else f"its-{word}"

    renamed = _GBNF.sub(rename, author)
    heads = list(re.finditer(r"^[ \t]*([A-Za-z][A-Za-z0-9-]*)[ \t]*::=", renamed, re.MULTILINE))
    if _ANSWER not in [head[1] for head in heads]:
        raise StepError("model", "the grammar has no rule `root ::= …`", retryable=False)
    ends = [*(head.start() for head in heads[1:]), len(renamed)]
    return {head[1]: renamed[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)}
