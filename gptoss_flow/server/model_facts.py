"""What a model's metadata says of it: sizes of the network, tokenizer, chat template. Pure; nothing is believed.

A text may hold anything and is to be escaped where it is shown; a number that no model has is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.server.gguf_header import Omitted, Value
from gptoss_flow.server.model_file import ModelFile

MAX_LAYERS = 2048
_MAX_EXTENT = 1 << 24
"""More layers, and wider ones, than any model has: beyond it a file is damaged or hostile."""

QUANTS: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
"""llama.cpp's file types."""

_WINDOW_PERIODS: Mapping[str, int] = {
    "gpt-oss": 2, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "exaone4": 4, "olmo2": 4,
}  # fmt: skip
"""Of so many layers one, the last, sees the whole context, where the file does not say which do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a GGUF file says. None and "" where it does not; sizes in bytes, a context in tokens."""

    name: str
    """`general.name`, else the file's."""
    architecture: str
    quant: str
    parameters: int
    size_bytes: int
    weights_bytes: int
    context_tokens: int | None
    """That it was trained for."""
    embedding: int | None
    """Width of the residual stream."""
    feed_forward: int | None
    """Width inside a feed-forward network, all experts that a token uses together."""
    heads: int | None
    """Of attention, in the widest layer."""
    kv_heads: tuple[int, ...]
    """For each layer; empty where unknown."""
    layers: int | None
    key_length: int
    value_length: int
    """Elements of a head's key and value; 0 where unknown."""
    window: int
    """Tokens that a windowed layer sees; 0 where there is none."""
    windowed: tuple[bool, ...]
    """Which layers see only the window."""
    experts: int
    experts_used: int
    tokenizer: str
    """Kind, and kind of pre-tokenizer behind a slash: gpt2/smollm."""
    vocabulary: int | None
    """Tokens in it."""
    has_chat_template: bool


def facts_of(model: ModelFile) -> ModelFacts:
    """Read the facts out of a model's header. Raises `Unavailable` for what cannot be true of any model."""
    said = _Said(model)
    layers = said.number("block_count", MAX_LAYERS)
    heads = said.each("attention.head_count", layers)
    embedding = said.number("embedding_length")
    head_length = embedding // max(heads) if embedding and heads and max(heads) else 0
    key_length = said.number("attention.key_length")
    value_length = said.number("attention.value_length")
    if said.number("attention.kv_lora_rank"):
        value_length = 0  # the latent attention of DeepSeek keeps one row for both
    used, experts = said.number("expert_used_count") or 0, said.number("expert_count") or 0
    inner = max(said.each("feed_forward_length", layers), default=0)
    if used and (expert_inner := said.number("expert_feed_forward_length") or inner):
        inner = max(expert_inner * used, inner if "expert_feed_forward_length" in said else 0)
    window = said.number("attention.sliding_window", 1 << 31) or 0
    tokenizer = "/".join(filter(None, (said.text("tokenizer.ggml.model"), said.text("tokenizer.ggml.pre"))))
    return ModelFacts(
        name=said.text("general.name") or model.name,
        architecture=model.architecture,
        quant=QUANTS.get(said.plain("general.file_type"), ""),
        parameters=sum(header.parameters for header in model.headers),
        size_bytes=model.size_bytes,
        weights_bytes=sum(header.weights_bytes for header in model.headers),
        context_tokens=said.number("context_length", 1 << 40),
        embedding=embedding,
        feed_forward=inner or None,
        heads=max(heads, default=None),
        kv_heads=said.each("attention.head_count_kv", layers) or heads,
        layers=layers,
        key_length=head_length if key_length is None else key_length,
        value_length=head_length if value_length is None else value_length,
        window=window,
        windowed=said.windowed(layers, window),
        experts=experts,
        experts_used=used,
        tokenizer=tokenizer,
        vocabulary=said.vocabulary(),
        has_chat_template=said.has_text("tokenizer.chat_template"),
    )


class _Said:
    """The metadata of one model, each value checked as it is asked for."""

    def __init__(self, model: ModelFile) -> None:
        self._model = model
        self._values: Mapping[str, Value] = model.headers[0].metadata if model.headers else {}
        self._prefix = f"{model.architecture}."

    def __contains__(self, key: str) -> bool:
        return self._prefix + key in self._values

    def number(self, key: str, most: int = _MAX_EXTENT) -> int | None:
        value = self._values.get(self._prefix + key)
        return None if value is None else self._checked(key, value, most)

    def each(self, key: str, layers: int | None) -> tuple[int, ...]:
        """One number a layer, where the file has one for all or one for each; empty where it has none."""
        value = self._values.get(self._prefix + key)
        if value is None or layers is None:
            return ()
        if isinstance(value, tuple):
            if len(value) < layers:
                raise self._damaged(key, f"has {len(value)} values for {layers} layers")
            return tuple(self._checked(key, one, _MAX_EXTENT) for one in value[:layers])
        return (self._checked(key, value, _MAX_EXTENT),) * layers

    def windowed(self, layers: int | None, window: int) -> tuple[bool, ...]:
        if not layers or not window:
            return (False,) * (layers or 0)
        pattern = self._values.get(self._prefix + "attention.sliding_window_pattern")
        if isinstance(pattern, tuple):
            return tuple(bool(one) for one in pattern[:layers]) + (False,) * (layers - len(pattern))
        period = pattern if isinstance(pattern, int) else _WINDOW_PERIODS.get(self._model.architecture)
        if period is None:
            # A model of which it is unknown must not be thought larger than it is.
            return (True,) * layers
        return tuple(layer % period < period - 1 for layer in range(layers)) if period > 0 else (False,) * layers

    def text(self, key: str) -> str:
        value = self._values.get(key)
        return value if isinstance(value, str) else ""

    def has_text(self, key: str) -> bool:
        value = self._values.get(key)
        return value.length > 0 if isinstance(value, Omitted) else isinstance(value, str) and value != ""

    def plain(self, key: str) -> int:
        value = self._values.get(key)
        return value if isinstance(value, int) else -1

    def vocabulary(self) -> int | None:
        tokens = self._values.get("tokenizer.ggml.tokens")
        return tokens.length if isinstance(tokens, Omitted) else self.number("vocab_size")

    def _checked(self, key: str, value: Value, most: int) -> int:
        if not isinstance(value, int) or not 0 <= value <= most:
            shown = f"{value.length} elements" if isinstance(value, Omitted) else f"{value!r:.40}"
            raise self._damaged(key, f"is {shown}")
        return value

    def _damaged(self, key: str, what: str) -> Unavailable:
        return Unavailable(
            Problem(None, f"{self._model.path} is damaged: its {self._prefix}{key} {what}", "fetch the file again")
        )
