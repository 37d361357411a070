"""OpenAI's two APIs as other servers offer them: what is asked.

Pure. Chat Completions (with the older Completions for raw text) and Responses; always streamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NoReturn

from gptoss_flow.errors import StepError
from gptoss_flow.llama.request import ALLOWED, DEFAULT_MAX_TOKENS
from gptoss_flow.llama.wire import excerpt

if TYPE_CHECKING:
    from gptoss_flow.events import Json

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
    messages: Sequence[Mapping[str, Json]] | str,
    params: Mapping[str, Json],
    reasoning: str | None = None,
    *,
    is_llama: bool = False,
) -> tuple[str, dict[str, Json]]:
    """Path and body of a request. `messages` as the API has them, or the text to go on from.

    llama.cpp's own server takes all of its sampling parameters by these APIs too (`is_llama`).
    Raises `StepError("model", …)` for what the API cannot say.
    """
    given = {"max_tokens": DEFAULT_MAX_TOKENS} | {
        name: value for name, value in params.items() if value is not None
    }
    body: dict[str, Json] = {"model": model, "stream": True}
    for name, value in given.items():
        if name not in NAMES[api] and not (is_llama and name in ALLOWED):
            _refuse(f"api {api} cannot say {excerpt(name)}; {how_to_say(api)}")
        if not ALLOWED[name](value):
            _refuse(f"the sampling parameter {name} cannot be {excerpt(repr(value))}")
        body[NAMES[api].get(name, name)] = value
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


def _refuse(message: str) -> NoReturn:
    raise StepError("model", message, retryable=False)
