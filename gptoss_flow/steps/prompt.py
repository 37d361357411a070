"""The kind `prompt`: a call of a model, in raw, chat or Harmony mode, with tools or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gptoss_flow.errors import ErrorKind, StepError
from gptoss_flow.events import Json, Warned
from gptoss_flow.fields import RENDERED
from gptoss_flow.ports import Generation, Message, Model, PromptRequest, RenderedPrompt, SandboxName, Tool
from gptoss_flow.steps.base import Feedback, Result, StepContext, StepKeys
from gptoss_flow.steps.loop import Loop
from gptoss_flow.steps.prompt_body import PromptBody
from gptoss_flow.steps.specs import specs
from gptoss_flow.steps.turns import Bounds
from gptoss_flow.structured import parse_answer


class PromptStep(StepKeys):
    """Ask a model."""

    kind: ClassVar[str] = "prompt"
    body_keys: ClassVar[tuple[str, ...]] = ("prompt",)
    nested_body: ClassVar[bool] = True
    result_fields: ClassVar[tuple[str, ...]] = (
        "text", "reasoning", "messages", "tool_calls", "finish_reason", "usage", "timings",
    )  # fmt: skip
    runs_on: ClassVar = "server"

    prompt: PromptBody
    """What to ask, and how."""

    def server_name(self) -> str | None:
        return self.prompt.server

    def streams(self) -> bool:
        return self.prompt.stream

    def sandbox_name(self) -> SandboxName | None:
        return "auto" if self.prompt.sandbox is True else self.prompt.sandbox

    async def run(self, context: StepContext) -> Result:
        body = PromptBody.model_validate((await context.body())["prompt"], context=RENDERED)
        schema = context.schema if context.schema is not None else body.schema_
        assert not isinstance(schema, str)
        model = await context.model()
        tools = context.tools
        prompt = await _first_prompt(context, body, schema, model, tools)
        tokens = None if body.max_total_tokens is None else int(body.max_total_tokens)
        bounds = Bounds(int(body.max_turns), int(body.max_tool_calls), tokens)
        ended = await Loop(context, model, tools, bounds).converse(prompt)
        answer = ended.answer
        if answer.finish_reason == "length":
            # With tools, one that says nothing was cut before it could call any: the end of a bound is no answer.
            kind: ErrorKind | None = "model" if tools and not answer.text else None
            _cut(context, ended.prompt, answer, kind if schema is None else "schema")
        return Result(
            answer.text if schema is None else parse_answer(answer.text, schema),
            {
                "text": answer.text,
                "reasoning": answer.reasoning,
                "messages": ended.messages,
                "tool_calls": ended.calls,
                "finish_reason": answer.finish_reason,
                "usage": ended.usage,
                "timings": dict(answer.timings),
            },
        )


async def _first_prompt(
    context: StepContext, body: PromptBody, schema: Json, model: Model, tools: Mapping[str, Tool]
) -> RenderedPrompt:
    """What this attempt begins with: the question, or the last one's conversation and what was wrong."""
    feedback = context.feedback
    if feedback is not None and feedback.conversation is not None:
        prompt, answer = feedback.conversation
        return await model.extend(prompt, answer, [Message("user", _not_accepted(feedback))])
    asked = body.conversation()
    if feedback is not None:
        asked = _with_feedback(asked, feedback, raw=body.mode == "raw")
    return await model.render(
        PromptRequest(
            step=context.step_id,
            mode=body.mode,
            messages=asked,
            params=body.params.model_dump(exclude_none=True),
            reasoning=body.reasoning,
            special=body.special == "allow",
            date=context.date,
            tools=specs(tools),
            tool_choice=body.tool_choice or "auto",
            schema=schema,
            grammar=body.grammar,
            api=body.api,
            on_overflow=body.on_overflow,
        ),
    )


def _not_accepted(feedback: Feedback) -> str:
    return f"That answer was not accepted: {feedback.error}\nAnswer again."


def _with_feedback(asked: tuple[Message, ...], feedback: Feedback, *, raw: bool) -> tuple[Message, ...]:
    """The conversation with the answer that was not taken, and why."""
    said = _not_accepted(feedback)
    if raw:
        parts = [asked[0].content, feedback.answer or "", f"\n\n{said}\n"]
        return (Message("user", "".join(parts)),)
    answer = (Message("assistant", feedback.answer),) if feedback.answer else ()
    return (*asked, *answer, Message("user", said))


def _cut(context: StepContext, prompt: RenderedPrompt, answer: Generation, kind: ErrorKind | None) -> None:
    """Tell of an answer that was cut, or of the error that it is. Raises `StepError`."""
    limit, took = prompt.params.get("max_tokens"), answer.usage.get("completion_tokens", len(answer.tokens))
    said = f"the answer was cut at {took} tokens (max_tokens: {limit})"
    if kind is not None:
        raise StepError(kind, said)
    context.emit(Warned(step=context.step_id, message=said))
