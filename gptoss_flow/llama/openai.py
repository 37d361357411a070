"""OpenAI's two APIs as other servers offer them: what is asked, and how the events of an answer are read.

Pure. Chat Completions (with the older Completions for raw text) and Responses; always streamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NoReturn

from gptoss_flow.errors import StepError
from gptoss_flow.llama.request import ALLOWED, DEFAULT_MAX_TOKENS
from gptoss_flow.llama.wire import count, excerpt, not_understood, read_stream_data

if TYPE_CHECKING:
    from gptoss_flow.events import Channel, Json

Api = Literal["chat_completions", "responses"]

NAMES: Mapping[Api, Mapping[str, str]] = {
    "chat_completions": {
        "temperature": "temperature", "top_p": "top_p", "seed": "seed", "stop": "stop", "max_tokens": "max_tokens",
        "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
    },
    "responses": {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_output_tokens"},
}  # fmt: skip
"""The sampling parameters that each API has, by llama.cpp's names."""


def question(
    api: Api,
    model: str,
    messages: Sequence[Mapping[str, str]] | str,
    params: Mapping[str, Json],
    reasoning: str | None = None,
) -> tuple[str, dict[str, Json]]:
    """Path and body of a request. `messages`: role and content each, or the text to go on from.

    Raises `StepError("model", …)` for what the API cannot say.
    """
    given = {"max_tokens": DEFAULT_MAX_TOKENS} | {
        name: value for name, value in params.items() if value is not None
    }
    body: dict[str, Json] = {"model": model, "stream": True}
    for name, value in given.items():
        if name not in NAMES[api]:
            _refuse(f"api {api} cannot say {excerpt(name)}; {how_to_say(api)}")
        if not ALLOWED[name](value):
            _refuse(f"the sampling parameter {name} cannot be {excerpt(repr(value))}")
        body[NAMES[api][name]] = value
    if api == "responses":
        if isinstance(messages, str):
            _refuse(f"api responses has no raw mode; {RAW_HINT}")
        effort: dict[str, Json] = {"reasoning": {"effort": reasoning}} if reasoning else {}
        return "/v1/responses", body | effort | {"input": [dict(each) for each in messages], "store": False}
    body["stream_options"] = {"include_usage": True}
    if isinstance(messages, str):
        return "/v1/completions", body | {"prompt": messages}
    effort = {"reasoning_effort": reasoning} if reasoning else {}
    return "/v1/chat/completions", body | effort | {"messages": [dict(each) for each in messages]}


RAW_HINT = "write `mode: chat`, or set api: chat_completions in the server's profile"


def how_to_say(api: Api) -> str:
    """What to do about a parameter that the API does not have."""
    return f"it has {', '.join(sorted(NAMES[api]))}: remove it, or ask a llama.cpp server (api: llama.cpp)"


class AnswerReader:
    """Reads one stream's events in their order."""

    def __init__(self, api: Api, max_tokens: int) -> None:
        self._api = api
        self._max_tokens = max_tokens
        self._pieces = 0
        self._reason = ""
        self._usage: Mapping[str, Json] = {}
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
        return self._reason in ("tool_calls", "function_call")

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
        return said

    def _of_responses(self, event: Mapping[str, Json], data: str) -> list[tuple[Channel, str]]:
        match event.get("type"):
            case "response.output_text.delta" | "response.refusal.delta":
                return [("final", _sound(_text(event, data)))]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return [("analysis", _sound(_text(event, data)))]
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
                if isinstance(output, list) and any(_is_call(item) for item in output):
                    self._reason = "tool_calls"
                self.is_whole = True
            case "error":
                raise _failed(event)
        return []


def _is_call(item: Json) -> bool:
    return isinstance(item, dict) and item.get("type") == "function_call"


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


def _refuse(message: str) -> NoReturn:
    raise StepError("model", message, retryable=False)
