"""What a prompt is given: its keys, which of them go together, and the conversation that they make."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gptoss_flow.events import Json
from gptoss_flow.fields import Expression, Identifier, Strict, Templated, Text, contradiction, is_template
from gptoss_flow.permissions import Permissions
from gptoss_flow.ports import Message, SandboxName, ToolCall
from gptoss_flow.sampling import Params
from gptoss_flow.steps.base import CommonKeys

MAX_TURNS = 8
MAX_TOOL_CALLS = 64


def _with_a_root(grammar: str) -> str:
    if not is_template(grammar) and not re.search(r"(?m)^[ \t]*root[ \t]*::=", grammar):
        raise PydanticCustomError("grammar", "has no rule for the whole answer; write root ::= …")
    return grammar


class CallBody(Strict):
    """A call that an assistant's message makes."""

    id: str
    """What the tool's answer names it by."""
    name: str
    """The tool."""
    arguments: str
    """As the model wrote them: JSON."""


class MessageBody(Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who says it."""
    content: Text
    """What is said; it can never become control tokens."""
    reasoning: str = ""
    """What an assistant thought before."""
    tool_calls: list[CallBody] = []
    """What an assistant called, after saying it."""
    tool_call_id: str = ""
    """Of a tool's message: the call that it answers."""
    name: str = ""
    """Of a tool's message: the tool."""

    @model_validator(mode="after")
    def _belongs_to_its_role(self) -> MessageBody:
        if self.role == "tool" and not (self.tool_call_id and self.name):
            raise contradiction('a message of a tool needs "tool_call_id" and "name"')
        if self.role != "tool" and (self.tool_call_id or self.name):
            raise contradiction('"tool_call_id" and "name" belong to messages of a tool')
        if self.role != "assistant" and (self.tool_calls or self.reasoning):
            raise contradiction('"tool_calls" and "reasoning" belong to messages of an assistant')
        return self

    def message(self) -> Message:
        calls = tuple(ToolCall(id=c.id, name=c.name, arguments=c.arguments) for c in self.tool_calls)
        return Message(
            self.role,
            self.content,
            reasoning=self.reasoning,
            tool_calls=calls,
            tool_call_id=self.tool_call_id,
            name=self.name,
        )


class PromptKeys(Strict):
    """The keys of a prompt, each of which `defaults` may set too."""

    mode: Literal["auto", "harmony", "chat", "raw"] = "auto"
    """`auto`: harmony where the model's vocabulary is Harmony's, else chat, the model's own template."""
    server: Identifier | None = None
    """One of the flow's `servers`; the default is the only one."""
    system: Text | None = None
    """The instructions (harmony and chat)."""
    developer: Text | None = None
    """The developer's instructions (harmony; in chat they join `system`)."""
    user: Text | None = None
    """The question (harmony and chat)."""
    messages: list[MessageBody] | Expression | None = None
    """A whole conversation in place of `system`, `developer` and `user`; after `continue`, what comes next."""
    continue_: Annotated[Identifier | list[MessageBody] | None, Field(alias="continue")] = None
    """A prompt step whose conversation goes on, with `user` or `messages`."""
    text: Text | None = None
    """The text to go on from (raw), sent as it is."""
    special: Literal["text", "allow"] = "text"
    """Raw mode: `allow` lets control tokens in the text be control tokens."""
    reasoning: Literal["low", "medium", "high"] | None = None
    """How long a Harmony model thinks."""
    tools: list[Annotated[str, Field(min_length=1)]] = []
    """What the model may call: tools by name, or by the name of a group of them."""
    tool_choice: str | None = None
    """`auto`, `none`, `required` (call one before answering), or the tool to call; the default is auto."""
    max_turns: Templated[Annotated[int, Field(ge=1, le=1000)]] = MAX_TURNS
    """How often the model may speak: each answer that calls tools brings another turn."""
    max_tool_calls: Templated[Annotated[int, Field(ge=0, le=10_000)]] = MAX_TOOL_CALLS
    """How many calls of tools it may make."""
    max_total_tokens: Templated[Annotated[int, Field(ge=1)]] | None = None
    """How many tokens, computed and generated over all turns, it may go on after."""
    permissions: Permissions = Permissions()
    """Which calls are made, beside what the flow's `permissions` say."""
    sandbox: Literal[True] | SandboxName | None = None
    """What tool code runs in; `true`, or a name: functions of one's own run in it too."""
    schema_: Annotated[dict[str, Any] | str | None, Field(alias="schema")] = None
    """JSON Schema that the answer must follow, or a file of such, relative to the flow; `output` is its value."""
    grammar: Annotated[str, AfterValidator(_with_a_root)] | None = None
    """A grammar in GBNF that the answer must follow."""
    api: Literal["completion", "responses", "chat_completions"] | None = None
    """Which endpoint of the server is asked; the default is the fastest that it has."""
    on_overflow: Literal["truncate_history", "raw"] | None = None
    """Where the conversation does not fit the context: leave out its oldest turns, or ask in raw mode. The default
    is an error."""
    params: Params = Params()
    """Sampling parameters, by llama.cpp's names."""
    stream: bool = True
    """Whether a terminal shows the answer as it arrives."""


class PromptDefaults(PromptKeys, CommonKeys):
    """What `defaults.prompt` may set: a prompt's keys and the common ones."""


class PromptBody(PromptKeys):
    """A prompt: `text` in raw mode; else `user` (with `system`, `developer`) or `messages`."""

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> PromptBody:
        if self.schema_ is not None and self.grammar is not None:
            raise contradiction('"schema" and "grammar" exclude each other')
        conversation = [k for k in ("system", "developer", "user") if getattr(self, k) is not None]
        if self.mode == "raw":
            return self._raw(conversation)
        if self.text is not None:
            raise contradiction('"text" is for raw mode; write "mode: raw", or "user" in its place')
        if self.continue_ is not None and (wrong := [k for k in conversation if k != "user"]):
            raise contradiction(f'"continue" goes on with "user" or "messages", not with "{wrong[0]}"')
        if self.messages is not None and conversation:
            raise contradiction(f'"messages" and "{conversation[0]}" exclude each other')
        if self.messages is None and self.user is None:
            if self.continue_ is not None:
                raise contradiction('"continue" needs "user" or "messages" to go on with')
            raise contradiction('needs "user", "messages", or "mode: raw" with "text"')
        if not self.tools and self.tool_choice not in (None, "auto", "none"):
            raise contradiction('"tool_choice" needs "tools"')
        return self

    def _raw(self, conversation: list[str]) -> PromptBody:
        given: dict[str, Json] = {
            "messages": self.messages,
            "continue": self.continue_,
            "tools": self.tools or None,
            "tool_choice": self.tool_choice,
        }
        if wrong := [*conversation, *(key for key, value in given.items() if value is not None)]:
            raise contradiction(f'raw mode takes "text", not "{wrong[0]}"')
        if self.text is None:
            raise contradiction('raw mode needs "text"')
        return self

    def conversation(self) -> tuple[Message, ...]:
        """The messages to send, once every value is rendered."""
        if self.mode == "raw":
            return (Message("user", self.text or ""),)
        before = tuple(m.message() for m in self.continue_) if isinstance(self.continue_, list) else ()
        if isinstance(self.messages, list):
            return (*before, *(m.message() for m in self.messages))
        said: list[tuple[Literal["system", "developer", "user"], str | None]] = [
            ("system", self.system),
            ("developer", self.developer),
            ("user", self.user),
        ]
        return (*before, *(Message(role, text) for role, text in said if text is not None))
