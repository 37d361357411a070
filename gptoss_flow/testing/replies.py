"""What the fake server says: scripts and replies, a reversible tokenizer, and llama.cpp's JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Literal

CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>",
    "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>",
)  # fmt: skip
"""Control tokens: ids 256, 257, … Every other id below 256 is a byte of UTF-8; higher ones have no text."""
_SPLIT = re.compile("(" + "|".join(map(re.escape, CONTROL)) + ")")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'"
    " + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenize(text: str, *, special: bool) -> list[int]:
    """One token a byte, or one for a control token where `special`."""
    if not special:
        return list(text.encode())
    ids: list[int] = []
    for part in _SPLIT.split(text):
        ids += [256 + CONTROL.index(part)] if part in CONTROL else part.encode()
    return ids


def piece(token: int, *, special: bool) -> bytes:
    if token < 256:
        return bytes([token])
    if special and token < 256 + len(CONTROL):
        return CONTROL[token - 256].encode()
    return b""


def detokenize(tokens: Sequence[int], *, special: bool = True) -> str:
    return b"".join(piece(t, special=special) for t in tokens).decode("utf-8", "replace")


def apply_chatml(messages: Sequence[Mapping[str, str]]) -> str:
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return turns + "<|im_start|>assistant\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one request is answered. With a `body`, or a status other than 200, no completion is streamed."""

    text: str = "Hello from the fake server."
    tokens: Sequence[int] | None = None
    """Generated ids, instead of the tokens of `text`."""
    reasoning: str = ""
    """What the model thought, which only OpenAI's APIs tell apart."""
    echo: bool = False
    """Answer with the prompt's own text."""
    when: str = ""
    """Only for prompts that contain this text; such replies go before the others, and are never used up."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    body_times: int = 1
    """The body is sent so many times over."""
    gzip: bool = False
    framing: Literal["chunked", "close"] = "chunked"
    """`close`: the connection's end is the body's end, so that a cut looks like one."""

    ttft_s: float = 0.0
    token_delay_s: float = 0.0
    tokens_per_event: int = 1

    cut_at: int | None = None
    """Close the connection after so many bytes of the response, head and framing included."""
    reset: bool = False
    """Cut by a reset instead of a close."""
    stall_at: int | None = None
    """Send nothing more after so many bytes, but keep the connection."""
    drip_s: float = 0.0
    """Send single bytes, so many seconds apart."""
    error_after: int | None = None
    """An error event after so many events, and nothing more."""
    error: Mapping[str, Any] = field(
        default_factory=lambda: {"code": 500, "message": "Compute error.", "type": "server_error"}
    )
    no_stop: bool = False
    """End the stream without its last event."""
    endless: bool = False
    """Repeat the tokens without end, whatever was asked for."""
    huge_line: int = 0
    """Instead of events, one line of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A fake server's life. `replies` answer the completions one by one; the last is repeated."""

    replies: Sequence[Reply] = (Reply(),)
    answers: Mapping[str, Reply] = field(default_factory=dict)
    """Replies for other paths, `/props` for example, instead of the right answer."""
    api_key: str | None = None
    load_s: float = 0.0
    """How long it answers 503; infinite: until `FakeServer.finish_loading`."""
    slots: int = 2
    context_tokens: int = 4096
    """Of one slot."""
    n_vocab: int = 201_088
    model_path: str = "/models/fake.gguf"
    models: Sequence[str] = ()
    """What /v1/models offers, in place of that file."""
    only_openai: bool = False
    """It is another program, with OpenAI's APIs alone."""
    chat_template: str = CHATML
    build: str = "b0-fake"

    reuse_port: bool = False
    """Listen where somebody else does already, if that one allows it too, as old builds did."""
    fail_load: str = ""
    """The stand-in for the binary says this instead of loading, and exits with 1."""
    die_after: int | None = None
    """The stand-in kills itself (SIGKILL) when so many completions have begun."""
    ignore_term: bool = False
    """The stand-in cannot be terminated, only killed."""


def read_script(text: str) -> Script:
    """A script from JSON: the fields of `Script`, replies as objects with the fields of `Reply`."""
    data = json.loads(text)
    if "replies" in data:
        data["replies"] = [Reply(**reply) for reply in data["replies"]]
    if "answers" in data:
        data["answers"] = {path: Reply(**reply) for path, reply in data["answers"].items()}
    return Script(**data)


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion, computed: its ids, where and why it stops."""

    prompt: Sequence[int]
    cached: int
    tokens: Sequence[int]
    stop_type: str
    stopping_word: str = ""
    truncated: bool = False

    def final(self, *, streamed: bool) -> dict[str, Any]:
        """llama.cpp's last event; alone, if not streamed, it holds the whole text."""
        evaluated, n = len(self.prompt) - self.cached, len(self.tokens)
        return {
            "index": 0,
            "content": "" if streamed else detokenize(self.tokens, special=False),
            "tokens": [] if streamed else list(self.tokens),
            "id_slot": 0,
            "stop": True,
            "model": "fake",
            "tokens_predicted": n,
            "tokens_evaluated": len(self.prompt),
            "generation_settings": {},
            "prompt": detokenize(self.prompt),
            "has_new_line": False,
            "truncated": self.truncated,
            "stop_type": self.stop_type,
            "stopping_word": self.stopping_word,
            "tokens_cached": len(self.prompt) + n - 1,
            "timings": {
                "cache_n": self.cached,
                "prompt_n": evaluated,
                "prompt_ms": evaluated * 1.0,
                "prompt_per_second": 1000.0,
                "predicted_n": n,
                "predicted_ms": n * 10.0,
                "predicted_per_second": 100.0,
            },
        }


def compute(reply: Reply, request: Mapping[str, Any], cached: int, context_tokens: int) -> Completion:
    prompt = request["prompt"]
    tokens = list(
        prompt if reply.echo else reply.tokens if reply.tokens is not None else tokenize(reply.text, special=True)
    )
    stop_type, word = "eos", ""
    text = detokenize(tokens, special=False)
    found = [(text.find(w), w) for w in request.get("stop", []) if w in text]
    if found:
        at, word = min(found)
        tokens, stop_type = tokenize(text[:at], special=True), "word"
    room = context_tokens - len(prompt)
    n_predict = request.get("n_predict", -1)
    most = room if n_predict < 0 else min(n_predict, room)
    if len(tokens) > most:
        tokens, stop_type, word = tokens[:most], "limit", ""
    return Completion(prompt, cached, tokens, stop_type, word, truncated=stop_type == "limit" and most == room)


def stream_events(reply: Reply, completion: Completion) -> Iterator[tuple[int, dict[str, Any]]]:
    """The stream's events, each with the number of tokens it took.

    Like llama.cpp, an event waits until its character is complete and then names only the last token of it.
    """
    held, predicted, taken, sent = b"", 0, 0, 0
    ids: list[int] = []
    evaluated = len(completion.prompt)
    for token in cycle(completion.tokens) if reply.endless else completion.tokens:
        held += piece(token, special=False)
        predicted, taken = predicted + 1, taken + 1
        try:
            text = held.decode()
        except UnicodeDecodeError:
            continue
        ids.append(token)
        if len(ids) < reply.tokens_per_event:
            continue
        if sent == reply.error_after:
            break
        yield taken, _event(text, ids, predicted, evaluated)
        held, ids, taken, sent = b"", [], 0, sent + 1
    if reply.error_after is not None:
        yield 0, {"error": dict(reply.error)}
        return
    if ids:
        yield taken, _event(held.decode("utf-8", "replace"), ids, predicted, evaluated)
    if not reply.no_stop:
        yield 0, completion.final(streamed=True)


def _event(text: str, ids: Sequence[int], predicted: int, evaluated: int) -> dict[str, Any]:
    return {
        "index": 0,
        "content": text,
        "tokens": list(ids),
        "stop": False,
        "id_slot": -1,
        "tokens_predicted": predicted,
        "tokens_evaluated": evaluated,
    }
