"""What llama.cpp's server says, read tolerantly: errors, the data of a stream, the answers of its endpoints.

Pure. Unknown keys are ignored; what is missing or of the wrong type is a `StepError`. Quick to import.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line

if TYPE_CHECKING:
    from gptoss_flow.events import Json

EXCERPT_CHARS = 200


def excerpt(text: str | bytes) -> str:
    """The beginning of what somebody said, on one line, at most 200 characters, safe to show."""
    if isinstance(text, bytes):
        text = text[: 4 * EXCERPT_CHARS].decode("utf-8", "replace")
    shown = one_line(text[: EXCERPT_CHARS + 1].strip())
    return shown if len(shown) <= EXCERPT_CHARS else shown[: EXCERPT_CHARS - 1] + "…"


def parse_json(text: str | bytes) -> Json:
    """Raises `ValueError` for whatever is not JSON: NaN, numbers of 5,000 digits and bottomless nesting too."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the server, or something in its place, described it. `message` is an excerpt, safe to show."""

    message: str
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None

    @property
    def is_loading(self) -> bool:
        return self.type == "unavailable_error" and "loading" in self.message.lower()


def read_fault(body: bytes) -> Fault:
    """An error body, `{"error": {"message", "type", …}}`, or an excerpt of whatever else it is."""
    try:
        data = parse_json(body)
    except ValueError:
        data = None
    fault = _fault(data["error"]) if isinstance(data, dict) and "error" in data else None
    return fault or Fault(excerpt(body) or "(an empty body)")


def _fault(error: Json) -> Fault:
    if not isinstance(error, dict):
        return Fault(excerpt(error if isinstance(error, str) else json.dumps(error)))
    said, kind = error.get("message"), error.get("type")
    return Fault(
        message=excerpt(said if isinstance(said, str) else json.dumps(error)),
        type=excerpt(kind) if isinstance(kind, str) else "",
        n_prompt_tokens=count(error.get("n_prompt_tokens")),
        n_ctx=count(error.get("n_ctx")),
    )


def context_overflow(fault: Fault) -> StepError | None:
    """The error of a prompt that does not fit into the context, if that is what happened."""
    if fault.type != "exceed_context_size_error":
        return None
    if fault.n_prompt_tokens is None or fault.n_ctx is None:
        size = fault.message
    else:
        size = f"it has {fault.n_prompt_tokens} tokens, a request may use {fault.n_ctx}"
    return StepError(
        "model",
        f"the prompt does not fit into the context: {size}; shorten it or raise `context` in the server's profile",
        retryable=False,
    )


def read_stream_data(data: str) -> dict[str, Json] | None:
    """The object of one stream event; null for OpenAI's `[DONE]`, which proves nothing. Raises `StepError`."""
    if data == "[DONE]":
        return None
    try:
        event = parse_json(data)
    except ValueError:
        raise not_understood(data) from None
    if not isinstance(event, dict):
        raise not_understood(data)
    if "error" in event:
        fault = _fault(event["error"])
        raise context_overflow(fault) or StepError(
            "server", f"the server reported an error while it generated: {fault.message}"
        )
    return event


def read_ids(answer: Json) -> list[int]:
    """The answer of /tokenize."""
    ids = answer.get("tokens") if isinstance(answer, dict) else None
    if not is_ids(ids):
        raise not_understood(json.dumps(answer))
    return ids


def read_text(answer: Json, key: str) -> str:
    """The one text of an answer: `prompt` of /apply-template, `content` of /detokenize."""
    text = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise not_understood(json.dumps(answer))
    return text


def read_mapping(answer: Json) -> dict[str, Json]:
    if not isinstance(answer, dict):
        raise not_understood(json.dumps(answer))
    return answer


def read_model_ids(answer: Json) -> list[str]:
    """The answer of /v1/models."""
    models = answer.get("data") if isinstance(answer, dict) else None
    ids = [m.get("id") for m in models if isinstance(m, dict)] if isinstance(models, list) else [None]
    if not all(isinstance(name, str) for name in ids):
        raise not_understood(json.dumps(answer))
    return [str(name) for name in ids]


def not_understood(said: str) -> StepError:
    return StepError(
        "server", f"the server's answer is not understood: {excerpt(said) or '(empty)'}", retryable=False
    )


def is_ids(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**31 for item in value)


def count(value: Json) -> int | None:
    return value if type(value) is int and value >= 0 else None
