"""A conversation with tools: the model speaks, what it calls is done, it is told what came, until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gptoss_flow.errors import ExitCode
from gptoss_flow.events import (
    Channel,
    GenerationFinished,
    Json,
    Permission,
    PromptRendered,
    TokensArrived,
    Warned,
)
from gptoss_flow.permissions import meant
from gptoss_flow.ports import (
    Asking,
    Generation,
    Message,
    Model,
    OnText,
    RenderedPrompt,
    Tool,
    ToolCall,
    UnreadableAnswer,
)
from gptoss_flow.steps.base import StepContext
from gptoss_flow.steps.calls import perform, permit, refuse
from gptoss_flow.steps.told import asks_told, call_told, told, tools_told
from gptoss_flow.steps.turns import (
    Bounds,
    Read,
    Spent,
    batches,
    named,
    read_call,
    shown_error,
    shown_result,
)

T = TypeVar("T")
TOOLS_OWN = (ExitCode.FAILED, ExitCode.REJECTED)
"""Errors of a tool that its caller can do something about; others are not a model's to mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A conversation that came to its answer."""

    prompt: RenderedPrompt
    """The last one."""
    answer: Generation
    messages: list[dict[str, Json]]
    calls: list[dict[str, Json]]
    usage: dict[str, int]
    """Over all turns."""


class Loop:
    """One conversation of one attempt of a step."""

    def __init__(self, context: StepContext, model: Model, tools: Mapping[str, Tool], bounds: Bounds) -> None:
        self._context = context
        self._model = model
        self._tools = tools
        self._spent = Spent(bounds)
        self._turn = 0
        self._calls: list[dict[str, Json]] = []
        self._usage: dict[str, int] = {}

    async def converse(self, prompt: RenderedPrompt) -> Answered:
        """Raises `StepError` where a bound ends it, or a turn fails."""
        while True:
            self._turn += 1
            messages = [told(message) for message in prompt.messages]
            self._emit_prompt(prompt, messages)
            answer = await self._generated(prompt)
            self._usage = {
                name: self._usage.get(name, 0) + answer.usage.get(name, 0)
                for name in {**self._usage, **answer.usage}
            }
            self._spent.take(answer)
            if not answer.calls:
                final = {"role": "assistant", "content": answer.text}
                return Answered(
                    prompt=prompt,
                    answer=answer,
                    messages=[*messages, final],
                    calls=self._calls,
                    usage=self._usage,
                )
            told_of = await self._called(answer.calls)
            prompt = await self._model.extend(_free_to_answer(prompt), answer, told_of)

    async def _generated(self, prompt: RenderedPrompt) -> Generation:
        context = self._context
        try:
            answer = await self._model.generate(prompt, _watcher(context))
        except UnreadableAnswer as error:
            self._emit_answer(error.generation)  # what the model said is on record, readable or not
            context.answered(error.generation.text)
            raise
        self._emit_answer(answer)
        is_whole = prompt.mode != "raw" and answer.finish_reason == "stop" and not answer.calls
        context.answered(answer.text, (prompt, answer) if is_whole else None)
        return answer

    # --- the calls of a turn ----------------------------------------------------------------------------------

    async def _called(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Do what a turn calls: what the model is told of each, in its order."""
        read = [read_call(call, self._tools) for call in calls]
        came: dict[int, tuple[Message, dict[str, Json]]] = {}

        async def one(index: int) -> None:
            came[index] = await self._call(index, calls[index], read[index])

        for batch in batches(read):
            await all_of([one(index) for index in batch])
        in_order = [came[index] for index in range(len(calls))]
        self._calls += [entry for _, entry in in_order]
        return [message for message, _ in in_order]

    async def _call(self, index: int, call: ToolCall, read: Read) -> tuple[Message, dict[str, Json]]:
        """What the model is told, and the call as the step's result has it."""
        context = self._context
        call_id = f"{context.step_id}.{context.attempt}.{self._turn}.{index + 1}"
        entry: dict[str, Json] = {"id": call_id, "tool": named(call), "arguments": read.arguments}
        permission: Permission = "refused"
        why = read.fault
        if read.tool is not None and not why:
            verdict = context.judge(call.name, meant(read.tool, read.arguments))
            asking = Asking(step=context.step_id, call_id=call_id, tool=call.name, arguments=read.arguments)
            permission, why = await permit(context, verdict, asking)
        if why or read.tool is None:
            is_named = named(call) == call.name
            written = call.arguments if is_named else f"{call.name} {call.arguments}"
            written = "" if is_named and read.is_object else written
            refuse(context, call_id, named(call), read.arguments, permission=permission, why=why, written=written)
            entry |= {"error": why, "permission": permission, "duration_s": 0.0}
            return _answer(call, shown_error(why)), entry
        tool_context = context.tool_context(call_id, by_model=True)
        done = await perform(context, read.tool, read.arguments, tool_context, permission=permission)
        if done.error is not None and (done.error.kind != "tool" or done.error.exit_code not in TOOLS_OWN):
            raise done.error
        entry |= {"error": done.error.message} if done.error else {"result": done.result}
        entry |= {"permission": permission, "effect": read.tool.effect, "duration_s": done.duration_s}
        said = shown_error(done.error.message) if done.error else shown_result(done.result)
        return _answer(call, said), entry

    # --- the record -------------------------------------------------------------------------------------------

    def _emit_prompt(self, prompt: RenderedPrompt, messages: list[dict[str, Json]]) -> None:
        asked = prompt.request
        self._context.emit(
            PromptRendered(
                step=self._context.step_id,
                attempt=self._context.attempt,
                server=self._context.server,
                mode=prompt.mode,
                messages=messages,
                tokens=list(prompt.tokens),
                params=dict(prompt.params),
                reasoning=asked.reasoning if asked else None,
                special=asked.special if asked else False,
                turn=self._turn,
                tools=tools_told(asked) if asked else [],
                asks=asks_told(asked) if asked else {},
            ),
        )
        for warning in prompt.warnings:
            self._context.emit(Warned(step=self._context.step_id, message=warning))

    def _emit_answer(self, answer: Generation) -> None:
        self._context.emit(
            GenerationFinished(
                step=self._context.step_id,
                attempt=self._context.attempt,
                text=answer.text,
                reasoning=answer.reasoning,
                tokens=list(answer.tokens),
                finish_reason=answer.finish_reason,
                usage=dict(answer.usage),
                timings=dict(answer.timings),
                turn=self._turn,
                calls=[call_told(call) for call in answer.calls],
            ),
        )


def _free_to_answer(prompt: RenderedPrompt) -> RenderedPrompt:
    """The demand for a call is met by the first one: who must call on and on never answers."""
    asked = prompt.request
    if asked is None or asked.tool_choice in ("auto", "none"):
        return prompt
    return replace(prompt, request=replace(asked, tool_choice="auto"))


def _answer(call: ToolCall, text: str) -> Message:
    # What it called may be no name, which no header of a prompt may hold.
    return Message("tool", text, tool_call_id=call.id, name=named(call))


def _watcher(context: StepContext) -> OnText:
    def arrived(channel: Channel, text: str, tokens: int) -> None:
        context.emit(TokensArrived(step=context.step_id, channel=channel, text=text, tokens=tokens))

    return arrived


async def all_of(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once. The first that fails ends the others, and is raised once they have ended."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
