"""What the fake server streams by OpenAI's APIs: the same completion, in their events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gptoss_flow.testing.replies import Completion, Reply, apply_chatml, stream_events, tokenize

PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})


def as_completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request as one for /completion."""
    text = body.get("prompt")
    if text is None:
        text = apply_chatml(body.get("messages") or body.get("input") or [])
    most = body.get("max_output_tokens", body.get("max_tokens", -1))
    return {**body, "prompt": tokenize(text, special=True), "n_predict": most}


def openai_events(path: str, reply: Reply, completion: Completion, model: str) -> Iterator[tuple[int, Any]]:
    """The stream's events, each with the number of tokens it took; a text is sent as it is."""
    usage = (len(completion.prompt), len(completion.tokens), completion.cached)
    if reply.reasoning:
        yield 1, _piece(path, reply.reasoning, thought=True)
    for tokens, event in stream_events(reply, completion):
        if "error" in event:
            yield tokens, event
            return
        if not event["stop"]:
            yield tokens, _piece(path, event["content"])
    if reply.no_stop:
        return
    cut = completion.stop_type == "limit"
    if path == "/v1/responses":
        told: dict[str, Any] = {"input_tokens": usage[0], "output_tokens": usage[1]}
        told["input_tokens_details"] = {"cached_tokens": usage[2]}
        # As llama.cpp says it, even of an answer that was cut.
        yield 0, {"type": "response.completed", "response": {"model": model, "output": [], "usage": told}}
        return
    last: dict[str, Any] = {"finish_reason": "length" if cut else "stop", "index": 0}
    last["text" if path == "/v1/completions" else "delta"] = "" if path == "/v1/completions" else {}
    yield 0, {"choices": [last], "model": model}
    told = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    yield 0, {"choices": [], "usage": told | {"prompt_tokens_details": {"cached_tokens": usage[2]}}}
    yield 0, "[DONE]"


def _piece(path: str, text: str, *, thought: bool = False) -> dict[str, Any]:
    match path:
        case "/v1/responses":
            return {"type": f"response.{'reasoning' if thought else 'output'}_text.delta", "delta": text}
        case "/v1/completions":
            return {"choices": [{"text": text, "index": 0, "finish_reason": None}]}
        case _:
            name = "reasoning_content" if thought else "content"
            return {"choices": [{"delta": {name: text}, "index": 0, "finish_reason": None}]}
