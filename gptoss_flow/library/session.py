"""A conversation from Python that goes on, with tools that are called on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from gptoss_flow.app.bind import SCRIPTED
from gptoss_flow.events import Event, Json
from gptoss_flow.library.given import ToolLike, permissions_of, tools_of
from gptoss_flow.library.servers import ServerManager
from gptoss_flow.permissions import Permissions, Verdict, judge
from gptoss_flow.ports import (
    Ask,
    Asking,
    Generation,
    Grants,
    Kept,
    Message,
    Mode,
    Model,
    PromptRequest,
    RenderedPrompt,
    Tool,
    ToolContext,
    nobody,
)
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.steps.loop import Loop
from gptoss_flow.steps.prompt_body import MAX_TOOL_CALLS, MAX_TURNS
from gptoss_flow.steps.specs import specs
from gptoss_flow.steps.turns import Bounds
from gptoss_flow.testing.scripted_model import ScriptedModels, read_script

STEP = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said in the end, and how it got there."""

    text: str
    reasoning: str
    calls: list[dict[str, Json]]
    """Each call of a tool: `tool`, `arguments`, `result` or `error`, `permission`, `duration_s`."""
    messages: list[dict[str, Json]]
    """The whole conversation so far."""
    finish_reason: Literal["stop", "length"]
    usage: dict[str, int]
    """Over all turns of this reply."""


class Session:
    """A conversation with the model of a profile. Enter it; on leaving, its server stops or stays as that says.

    `server` is a profile's name or path, the URL of a server that runs, or `scripted:FILE`. `tools` are built-in
    tools by name, and functions with types. What tools may reach is the `workspace`, and what `permissions` grant.
    """

    def __init__(
        self,
        server: str = "local",
        *,
        tools: Sequence[ToolLike] = (),
        system: str | None = None,
        reasoning: Literal["low", "medium", "high"] | None = None,
        mode: Mode = "auto",
        params: Mapping[str, Json] | None = None,
        workspace: str | Path | None = None,
        permissions: Mapping[str, Any] | None = None,
        max_turns: int = MAX_TURNS,
        max_tool_calls: int = MAX_TOOL_CALLS,
        on_event: Callable[[Event], None] | None = None,
        ask: Ask = nobody,
        offline: bool = False,
        allow_unsandboxed: bool = False,
    ) -> None:
        """Raises `Invalid` for what is given as a tool and is none, and for rules of `permissions` about none."""
        self._server = server
        self._tools = tools_of(tools)
        self._system, self._reasoning, self._mode = system, reasoning, mode
        self._params = dict(params or {})
        self._bounds = Bounds(max_turns, max_tool_calls)
        self._context = _Context(
            workspace=Path.cwd() if workspace is None else Path(workspace).absolute(),
            permissions=permissions_of(permissions or {}, self._tools),
            unsandboxed=allow_unsandboxed,
            on_event=on_event or (lambda event: None),
            ask=ask,
        )
        self._manager = ServerManager(offline=offline)
        self._scripted: Model | None = None
        self._speaking = asyncio.Lock()
        self._so_far: tuple[RenderedPrompt, Generation] | None = None

    async def send(self, text: str) -> Reply:
        """Say something, and wait for the answer; the model is given no tools. As `send_with_tools`."""
        return await self._sent(text, {})

    async def send_with_tools(self, text: str, tools: Sequence[ToolLike] | None = None) -> Reply:
        """Say something; what the model calls is done, until it answers. `tools`: in place of the session's.

        Raises `StepError` where a bound ends it, or the server fails; the conversation is then as it was before.
        """
        return await self._sent(text, self._tools if tools is None else tools_of(tools))

    async def _sent(self, text: str, tools: Mapping[str, Tool]) -> Reply:
        async with self._speaking:  # what is said at once is said one after the other
            return await self._answered(text, tools)

    async def _answered(self, text: str, tools: Mapping[str, Tool]) -> Reply:
        model = await self._model()
        prompt = await self._prompt(model, text, tools)
        ended = await Loop(self._context, model, tools, self._bounds).converse(prompt)  # type: ignore[arg-type]
        self._so_far = ended.prompt, ended.answer
        return Reply(
            text=ended.answer.text,
            reasoning=ended.answer.reasoning,
            calls=ended.calls,
            messages=ended.messages,
            finish_reason=ended.answer.finish_reason,
            usage=ended.usage,
        )

    async def _prompt(self, model: Model, text: str, tools: Mapping[str, Tool]) -> RenderedPrompt:
        self._context.attempt += 1
        said, told = Message("user", text), specs(tools)
        if self._so_far is not None:
            prompt, answer = self._so_far
            if prompt.request is not None and prompt.request.tools == told and answer.finish_reason == "stop":
                return await model.extend(prompt, answer, [said])
        return await model.render(
            PromptRequest(
                step=STEP,
                mode=self._mode,
                messages=(*self._messages(), said),
                params=self._params,
                reasoning=self._reasoning,
                date=f"{SystemClock().now():%Y-%m-%d}",
                tools=told,
            )
        )

    def _messages(self) -> tuple[Message, ...]:
        if self._so_far is None:
            return (Message("system", self._system),) if self._system is not None else ()
        prompt, answer = self._so_far
        return (*prompt.messages, Message("assistant", answer.text, reasoning=answer.reasoning))

    async def _model(self) -> Model:
        if not self._server.startswith(SCRIPTED):
            return await (await self._manager.client(self._server)).model()
        if self._scripted is None:
            script = read_script(Path(self._server.removeprefix(SCRIPTED)))
            self._scripted = await ScriptedModels(script, SystemClock()).get("main")
        return self._scripted

    async def aclose(self) -> None:
        await self._context.kept.aclose()
        await self._manager.aclose()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Context:
    """What the loop of a prompt step sees of the world, where there is no flow."""

    step_id = STEP
    server = "main"

    def __init__(
        self,
        *,
        workspace: Path,
        permissions: Permissions,
        unsandboxed: bool,
        on_event: Callable[[Event], None],
        ask: Ask,
    ) -> None:
        self.attempt = 0
        self.kept = Kept()
        self.emit = on_event
        self._workspace, self._permissions = workspace, permissions
        self._grants = Grants(
            hosts=tuple(permissions.hosts), network=bool(permissions.network), unsandboxed=unsandboxed
        )
        self._ask = ask

    def tool_context(
        self, call_id: str, *, by_model: bool = False, env: Mapping[str, str] | None = None
    ) -> ToolContext:
        return ToolContext(
            workspace=self._workspace,
            step=STEP,
            call_id=call_id,
            grants=self._grants,
            env=env or {},
            kept=self.kept,
            kept_for_run=self.kept,
        )

    def judge(self, tool: str, arguments: Mapping[str, Json], *, by_model: bool = True) -> Verdict:
        return judge([self._permissions], tool, arguments, workspace=self._workspace)

    async def ask(self, asking: Asking) -> Literal["approved", "declined", "unasked"]:
        return await self._ask(asking)

    def answered(self, text: str, conversation: tuple[RenderedPrompt, Generation] | None = None) -> None:
        pass

    def monotonic(self) -> float:
        return time.monotonic()
