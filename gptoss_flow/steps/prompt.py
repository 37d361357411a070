"""The kind `prompt`: a call of a model, in raw, chat or Harmony mode."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from gptoss_flow.events import Channel, GenerationFinished, PromptRendered, TokensArrived, Warned
from gptoss_flow.fields import RENDERED, Expression, Identifier, Strict, Text
from gptoss_flow.ports import Generation, Message, OnText, PromptRequest, RenderedPrompt, UnreadableAnswer
from gptoss_flow.sampling import Params
from gptoss_flow.steps.base import CommonKeys, Feedback, Result, StepContext, StepKeys


class MessageBody(Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who says it."""
    content: Text
    """What is said; it can never become control tokens."""


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
    """A whole conversation in place of `system`, `developer` and `user`."""
    text: Text | None = None
    """The text to go on from (raw), sent as it is."""
    special: Literal["text", "allow"] = "text"
    """Raw mode: `allow` lets control tokens in the text be control tokens."""
    reasoning: Literal["low", "medium", "high"] | None = None
    """How long a Harmony model thinks."""
    params: Params = Params()
    """Sampling parameters, by llama.cpp's names."""
    stream: bool = True
    """Whether a terminal shows the answer as it arrives."""


class PromptDefaults(PromptKeys, CommonKeys):
    """What `defaults.prompt` may set: a prompt's keys and the common ones."""


class PromptBody(PromptKeys):
    """A prompt: `text` in raw mode; else `user` (with `system`, `developer`), or `messages`."""

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> PromptBody:
        conversation = [k for k in ("system", "developer", "user") if getattr(self, k) is not None]
        if self.mode == "raw":
            if wrong := [*conversation, *(["messages"] if self.messages is not None else [])]:
                raise _contradiction(f'raw mode takes "text", not "{wrong[0]}"')
            if self.text is None:
                raise _contradiction('raw mode needs "text"')
            return self
        if self.text is not None:
            raise _contradiction('"text" is for raw mode; write "mode: raw", or "user" in its place')
        if self.messages is not None and conversation:
            raise _contradiction(f'"messages" and "{conversation[0]}" exclude each other')
        if self.messages is None and self.user is None:
            raise _contradiction('needs "user", "messages", or "mode: raw" with "text"')
        return self

    def conversation(self) -> tuple[Message, ...]:
        """The messages to send, once every value is rendered."""
        if self.mode == "raw":
            return (Message("user", self.text or ""),)
        if isinstance(self.messages, list):
            return tuple(Message(m.role, m.content) for m in self.messages)
        said: list[tuple[Literal["system", "developer", "user"], str | None]] = [
            ("system", self.system),
            ("developer", self.developer),
            ("user", self.user),
        ]
        return tuple(Message(role, text) for role, text in said if text is not None)


class PromptStep(StepKeys):
    """Ask a model."""

    kind: ClassVar[str] = "prompt"
    body_keys: ClassVar[tuple[str, ...]] = ("prompt",)
    nested_body: ClassVar[bool] = True
    result_fields: ClassVar[tuple[str, ...]] = (
        "text", "reasoning", "messages", "finish_reason", "usage", "timings",
    )  # fmt: skip
    runs_on: ClassVar = "server"

    prompt: PromptBody
    """What to ask, and how."""

    def server_name(self) -> str | None:
        return self.prompt.server

    def streams(self) -> bool:
        return self.prompt.stream

    async def run(self, context: StepContext) -> Result:
        body = PromptBody.model_validate((await context.body())["prompt"], context=RENDERED)
        asked = body.conversation()
        if context.feedback is not None:
            asked = _with_feedback(asked, context.feedback, raw=body.mode == "raw")
        model = await context.model()
        prompt = await model.render(
            PromptRequest(
                step=context.step_id,
                mode=body.mode,
                messages=asked,
                params=body.params.model_dump(exclude_none=True),
                reasoning=body.reasoning,
                special=body.special == "allow",
                date=context.date,
            ),
        )
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        context.emit(
            PromptRendered(
                step=context.step_id,
                attempt=context.attempt,
                server=context.server,
                mode=prompt.mode,
                messages=messages,
                tokens=list(prompt.tokens),
                params=dict(prompt.params),
                reasoning=body.reasoning,
                special=body.special == "allow",
            ),
        )
        try:
            answer = await model.generate(prompt, _watcher(context))
        except UnreadableAnswer as error:
            _finish(context, prompt, error.generation)  # what the model said is on record, readable or not
            context.answered(error.generation.text)
            raise
        _finish(context, prompt, answer)
        context.answered(answer.text)
        return Result(
            answer.text,
            {
                "text": answer.text,
                "reasoning": answer.reasoning,
                "messages": [*messages, {"role": "assistant", "content": answer.text}],
                "finish_reason": answer.finish_reason,
                "usage": dict(answer.usage),
                "timings": dict(answer.timings),
            },
        )


def _with_feedback(asked: tuple[Message, ...], feedback: Feedback, *, raw: bool) -> tuple[Message, ...]:
    """The conversation with the answer that was not taken, and why."""
    said = f"That answer was not accepted: {feedback.error}\nAnswer again."
    if raw:
        parts = [asked[0].content, feedback.answer or "", f"\n\n{said}\n"]
        return (Message("user", "".join(parts)),)
    answer = (Message("assistant", feedback.answer),) if feedback.answer else ()
    return (*asked, *answer, Message("user", said))


def _watcher(context: StepContext) -> OnText:
    def arrived(channel: Channel, text: str, tokens: int) -> None:
        context.emit(TokensArrived(step=context.step_id, channel=channel, text=text, tokens=tokens))

    return arrived


def _finish(context: StepContext, prompt: RenderedPrompt, answer: Generation) -> None:
    context.emit(
        GenerationFinished(
            step=context.step_id,
            attempt=context.attempt,
            text=answer.text,
            reasoning=answer.reasoning,
            tokens=list(answer.tokens),
            finish_reason=answer.finish_reason,
            usage=dict(answer.usage),
            timings=dict(answer.timings),
        ),
    )
    if answer.finish_reason == "length":
        limit, took = prompt.params.get("max_tokens"), answer.usage.get("completion_tokens", len(answer.tokens))
        context.emit(
            Warned(
                step=context.step_id,
                message=f"the answer was cut at {took} tokens (max_tokens: {limit})",
            ),
        )


def _contradiction(message: str) -> PydanticCustomError:
    # The text is ours and holds no fields to fill in; braces in it must not be taken for some.
    return PydanticCustomError("contradiction", "{message}", {"message": message})
