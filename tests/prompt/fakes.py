"""`ports.Completions` in memory: bytes as tokens, control tokens from 256 on, templates by jinja2."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from gptoss_flow.errors import StepError
from gptoss_flow.ports import Chunk, Endpoint, FinalChunk

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
LLAMA_3 = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim "
    "+ '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{% if loop.first and system is defined %}"
    "{{ '[INST] ' + system + '\n\n' + m['content'] + '[/INST]' }}{% else %}"
    "{{ '[INST] ' + m['content'] + '[/INST]' }}"
    "{% endif %}{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ '<bos>' }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{{ '<start_of_turn>model\n' }}"
)
NEWLINES_ONLY = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].lstrip('\n') + '<|im_end|>\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
DROPS_SYSTEM = "{% for m in messages if m['role'] != 'system' %}{{ '<|im_start|>' + m['content'] }}{% endfor %}"

CONTROLS = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]",
    "</s>", "<s>", "<bos>", "<start_of_turn>", "<end_of_turn>",
)  # fmt: skip
_SPLIT = re.compile("(" + "|".join(map(re.escape, CONTROLS)) + ")")


def endpoint(**changes: Any) -> Endpoint:
    facts: dict[str, Any] = {
        "url": "http://127.0.0.1:1", "api_key": None, "engine": "embedded", "build": "b1", "model": "fake",
        "model_path": "/fake.gguf", "slots": 1, "context_tokens": 4096,
    }  # fmt: skip
    return Endpoint(**{**facts, **changes})


def final(**changes: Any) -> FinalChunk:
    facts: dict[str, Any] = {
        "stop_type": "eos", "stopping_word": "", "truncated": False, "tokens_evaluated": 7, "tokens_predicted": 3,
        "timings": {"prompt_n": 5, "prompt_ms": 10.0, "cache_n": 2, "predicted_n": 3, "predicted_ms": 30.0},
        "sent": 100.0, "queued_s": 0.5,
    }  # fmt: skip
    return FinalChunk(**{**facts, **changes})


@dataclass
class FakeCompletions:
    template: str = CHATML
    bos: int | None = None
    """Put first by `tokenize(bos=True)`."""
    spaced: bool = False
    """Put a space before every text, as SentencePiece vocabularies do."""
    leaky: Sequence[str] = ()
    """Control tokens that are parsed in any text, as llama.cpp does with user-defined ones."""
    harmony: bool = False
    """Know Harmony's four landmarks."""
    chunks: Sequence[Chunk] = ()
    """What `complete` answers."""
    calls: list[str] = field(default_factory=list)
    asked: list[tuple[tuple[int, ...], Mapping[str, Any]]] = field(default_factory=list)
    closed: int = 0

    async def props(self) -> Mapping[str, Any]:
        self.calls.append("props")
        return {"chat_template": self.template, "bos_token": None, "eos_token": "</s>"}

    async def apply_template(self, messages: Sequence[Mapping[str, str]]) -> str:
        self.calls.append("apply_template")

        def refuse(message: str) -> str:
            raise jinja2.TemplateError(message)

        try:
            return str(jinja2.Template(self.template).render(messages=messages, raise_exception=refuse))
        except jinja2.TemplateError as error:
            raise StepError("server", str(error), retryable=False) from None

    async def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        self.calls.append("tokenize")
        if self.harmony and special and text == "<|start|><|message|><|channel|><|return|>":
            return [200006, 200008, 200005, 200002]
        ids = [self.bos] if bos and self.bos is not None else []
        if self.spaced and text:
            text = " " + text
        for part in _SPLIT.split(text):
            parsed = part in (CONTROLS if special else self.leaky)
            ids += [256 + CONTROLS.index(part)] if parsed else list(part.encode())
        return ids

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return bytes(t for t in tokens if t < 256).decode("utf-8", "replace")

    async def complete(self, tokens: Sequence[int], params: Mapping[str, Any]) -> AsyncIterator[Chunk]:
        self.asked.append((tuple(tokens), params))
        try:
            for chunk in self.chunks:
                yield chunk
        finally:
            self.closed += 1


def spelled(tokens: Sequence[int]) -> str:
    """The ids as text in which a control token shows as «…», so that one that is only text differs."""
    said = [bytes([token]) if token < 256 else f"«{CONTROLS[token - 256]}»".encode() for token in tokens]
    return b"".join(said).decode()
