"""The events of an answer by OpenAI's two APIs, read in their order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gptoss_flow.errors import StepError
from gptoss_flow.llama.wire import count, excerpt, not_understood, read_stream_data

if TYPE_CHECKING:
    from gptoss_flow.events import Channel, Json
    from gptoss_flow.llama.openai import Api


@dataclass(slots=True)
class CallParts:
    """A call as it arrives: its name first, its arguments in pieces."""

    name: str = ""
    arguments: list[str] = field(default_factory=list)


class AnswerReader:
    """Reads one stream's events in their order."""

    def __init__(self, api: Api, max_tokens: int) -> None:
        self._api = api
        self._max_tokens = max_tokens
        self._pieces = 0
        self._reason = ""
        self._usage: Mapping[str, Json] = {}
        self._calls: dict[object, CallParts] = {}
        self.timings: Mapping[str, float] = {}
        """llama.cpp's own, where it is what answers."""
        self.is_whole = False
        """The last event has come."""

    def take(self, data: str) -> list[tuple[Channel, str]]:
        """The text that one event brings, on its channel. Raises `StepError`."""
        event = read_stream_data(data)
        if event is None:  # [DONE], which proves nothing by itself
            self.is_whole = bool(self._reason)
            return []
        said = self._of_chat(event, data) if self._api == "chat_completions" else self._of_responses(event, data)
        self._pieces += len(said)
        timings = event.get("timings")
        if isinstance(timings, dict):
            self.timings = {k: v for k, v in timings.items() if type(v) in (int, float) and abs(v) < 1e300}
        return said

    def end_of_body(self) -> bool:
        """Whether the answer is whole, now that nothing more comes: some servers leave out `[DONE]`."""
        return self.is_whole or bool(self._reason)

    @property
    def usage(self) -> dict[str, int]:
        """The `usage` of a generation; a server that does not tell is thought to send a token at a time."""
        details = [self._details(name) for name in ("prompt", "input", "completion", "output")]
        return {
            "prompt_tokens": self._count("prompt_tokens", "input_tokens") or 0,
            "cached_tokens": next((n for d in details if (n := count(d.get("cached_tokens"))) is not None), 0),
            "completion_tokens": self._completion_tokens,
            "reasoning_tokens": next(
                (n for d in details if (n := count(d.get("reasoning_tokens"))) is not None), 0
            ),
        }

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        # llama.cpp's Responses call an answer completed that was cut.
        return "length" if self._reason == "length" or self._completion_tokens >= self._max_tokens else "stop"

    @property
    def called_a_tool(self) -> bool:
        return self._reason in ("tool_calls", "function_call") or bool(self._calls)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Name and arguments of each call, in order; none where the answer was cut, lest one be half a call."""
        if self.finish_reason == "length":
            return []
        return [(each.name, "".join(each.arguments)) for each in self._calls.values()]

    @property
    def _completion_tokens(self) -> int:
        told = self._count("completion_tokens", "output_tokens")
        return self._pieces if told is None else told

    def _count(self, *names: str) -> int | None:
        return next((n for name in names if (n := count(self._usage.get(name))) is not None), None)

    def _details(self, of: str) -> Mapping[str, Json]:
        details = self._usage.get(f"{of}_tokens_details")
        return details if isinstance(details, dict) else {}

    def _of_chat(self, event: Mapping[str, Json], data: str) -> list[tuple[Channel, str]]:
        if isinstance(usage := event.get("usage"), dict):
            self._usage = usage
        choices = event.get("choices", [])
        if not isinstance(choices, list):
            raise not_understood(data)
        said: list[tuple[Channel, str]] = []
        for choice in choices[:1]:
            if not isinstance(choice, dict):
                raise not_understood(data)
            delta = choice.get("delta")
            parts = delta if isinstance(delta, dict) else {"content": choice.get("text")}
            if isinstance(reason := choice.get("finish_reason"), str):
                self._reason = reason
            # Servers differ in the name for what a model thinks.
            thought = parts.get("reasoning_content") or parts.get("reasoning")
            if isinstance(thought, str) and thought:
                said.append(("analysis", _sound(thought)))
            if isinstance(text := parts.get("content"), str) and text:
                said.append(("final", _sound(text)))
            if isinstance(calls := parts.get("tool_calls"), list):
                said += [("commentary", text) for i, call in enumerate(calls) if (text := self._called(i, call))]
        return said

    def _called(self, place: int, delta: Json) -> str:
        """A piece of a call; servers that send whole calls leave out the index."""
        if not isinstance(delta, dict) or not isinstance(function := delta.get("function"), dict):
            return ""
        index = delta.get("index")
        call = self._calls.setdefault(index if isinstance(index, int) else place, CallParts())
        if isinstance(name := function.get("name"), str):
            call.name += _sound(name)
        arguments = function.get("arguments")
        text = _sound(arguments) if isinstance(arguments, str) else ""
        call.arguments.append(text)
        return text

    def _of_responses(self, event: Mapping[str, Json], data: str) -> list[tuple[Channel, str]]:
        match event.get("type"):
            case "response.output_text.delta" | "response.refusal.delta":
                return [("final", _sound(_text(event, data)))]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return [("analysis", _sound(_text(event, data)))]
            case "response.function_call_arguments.delta":
                return [("commentary", _sound(_text(event, data)))]
            case "response.output_item.done":
                self._take_item(event.get("item"))
            case "response.completed" | "response.incomplete" | "response.failed" as kind:
                response = event.get("response")
                if not isinstance(response, dict):
                    raise not_understood(data)
                if kind == "response.failed":
                    raise _failed(response.get("error"))
                self._reason = "stop" if kind == "response.completed" else "length"
                if isinstance(usage := response.get("usage"), dict):
                    self._usage = usage
                output = response.get("output")
                for item in output if isinstance(output, list) else ():
                    self._take_item(item)
                self.is_whole = True
            case "error":
                raise _failed(event)
        return []

    def _take_item(self, item: Json) -> None:
        """A call, if it is one: servers tell it when it is whole, or at the end, or both."""
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return
        key, name, arguments = (
            _sound(said) if isinstance(said := item.get(each), str) else ""
            for each in ("call_id", "name", "arguments")
        )
        self._calls[key or len(self._calls)] = CallParts(name, [arguments])


def _text(event: Mapping[str, Json], data: str) -> str:
    text = event.get("delta")
    if not isinstance(text, str):
        raise not_understood(data)
    return text


def _failed(error: Json) -> StepError:
    said = error.get("message") if isinstance(error, dict) else error
    shown = excerpt(said) if isinstance(said, str) else "it does not say why"
    return StepError("server", f"the server reported an error while it generated: {shown}")


def _sound(text: str) -> str:
    """Without lone surrogates, which no encoding can say."""
    return text.encode("utf-8", "replace").decode()
