"""Assembles a tiny trained gpt-oss (0.43 million parameters) as a GGUF, so that Harmony can be tried for real.

It has the real architecture (attention sinks, sliding windows, YaRN, experts) and the real vocabulary of 201,088
tokens; it answers greetings, `Repeat: …` and a few facts in Harmony, and calls `read_file` and `list_dir`, at
hundreds of tokens a second on one thread. The package carries the trained rows only: everything else follows
from them and from `o200k_base`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from gptoss_flow import vocabulary

Array = NDArray[np.float32]

_NAMED_CONTROLS = {
    199998: "<|startoftext|>",
    199999: "<|endoftext|>",
    200002: "<|return|>",
    200003: "<|constrain|>",
    200005: "<|channel|>",
    200006: "<|start|>",
    200007: "<|end|>",
    200008: "<|message|>",
    200012: "<|call|>",
    200018: "<|endofprompt|>",
}


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The model's hyperparameters, by the names in the weights file."""

    n_layer: int
    d: int
    """Width of the residual stream."""
    n_head: int
    n_kv: int
    hd: int
    """Width of an attention head."""
    n_exp: int
    top_k: int
    """Experts that each token uses."""
    ff: int
    """Width inside an expert."""
    swa: int
    """The sliding window of every second layer, in tokens."""
    n_ctx: int
    theta: float
    """RoPE's base frequency."""
    yarn: float
    """YaRN's factor, from `orig_ctx` tokens on."""
    orig_ctx: int
    eps: float


def write(path: Path, weights: bytes, template: str) -> None:
    """The model's file, of its trained rows and its chat template.

    The same versions of gguf and numpy give the same bytes everywhere.
    """
    with np.load(io.BytesIO(weights)) as stored:
        sizes = _Sizes(**json.loads(str(stored["cfg"])))
        tensors = _tensors(stored, sizes)
    writer = gguf.GGUFWriter(path, "gpt-oss")
    _write_metadata(writer, sizes)
    _write_vocabulary(writer)
    writer.add_chat_template(template)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, tensor in tensors.items():
        # Norms, biases, sinks and the router stay exact: they are small, and they decide.
        if name.endswith(".weight") and tensor.ndim >= 2 and "ffn_gate_inp" not in name:
            quantised = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q4_0)
            writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- tensors -------------------------------------------------------------------------------------------------


def _tensors(stored: Mapping[str, Any], sizes: _Sizes) -> dict[str, Array]:
    """llama.cpp's names to arrays, rows first.

    `token_embd` [vocabulary, d] and `output` [vocabulary, d], not tied; `blk.N.attn_{q,k,v,output}` with biases;
    `blk.N.attn_sinks` [heads]: one logit a head that takes attention and gives nothing;
    `blk.N.ffn_gate_inp` [experts, d]: the router; `blk.N.ffn_{gate,up,down}_exps` [experts, …]: the experts;
    `blk.N.{attn_norm,post_attention_norm}` and `output_norm` [d].

    Stored as they are, but for the two with a row a token: of these only the rows of `ids` were trained (the
    first stored row is none of them). The embedding of any other token is a random vector of signs, the same
    everywhere, and its output row the linear map `A`, `u` of that: so the model copies words it never saw.
    """
    beside = {"cfg", "ids", "A", "u", "S"}
    tensors = {name: np.asarray(stored[name], np.float32) for name in stored if name not in beside}
    signs, scale = _signs(vocabulary.SIZE, sizes.d), np.float64(stored["S"])
    embedding = (signs * scale).astype(np.float32)
    # Sums of signed float32 are exact in float64, in whatever order a machine's linear algebra takes them.
    output = ((signs @ stored["A"].astype(np.float64)) * scale + stored["u"]).astype(np.float32)
    trained = stored["ids"][1:]
    embedding[trained] = tensors["token_embd.weight"][1:]
    output[trained] = tensors["output.weight"][1:]
    return tensors | {"token_embd.weight": embedding, "output.weight": output}


def _signs(rows: int, columns: int) -> NDArray[np.float64]:
    """±1, the sign from splitmix64 of the place: the same on every machine and numpy version."""
    x = np.arange(rows * columns, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.where(x >> np.uint64(63), 1.0, -1.0).reshape(rows, columns)


# --- metadata ------------------------------------------------------------------------------------------------


def _write_metadata(writer: gguf.GGUFWriter, sizes: _Sizes) -> None:
    writer.add_name("tiny-gpt-oss")
    writer.add_license("apache-2.0")
    writer.add_block_count(sizes.n_layer)
    writer.add_context_length(sizes.n_ctx)
    writer.add_embedding_length(sizes.d)
    writer.add_feed_forward_length(sizes.ff)
    writer.add_head_count(sizes.n_head)
    writer.add_head_count_kv(sizes.n_kv)
    writer.add_key_length(sizes.hd)
    writer.add_value_length(sizes.hd)
    writer.add_layer_norm_rms_eps(sizes.eps)
    writer.add_rope_freq_base(sizes.theta)
    writer.add_rope_dimension_count(sizes.hd)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(sizes.yarn)
    writer.add_rope_scaling_orig_ctx_len(sizes.orig_ctx)
    writer.add_expert_count(sizes.n_exp)
    writer.add_expert_used_count(sizes.top_k)
    writer.add_expert_feed_forward_length(sizes.ff)
    writer.add_sliding_window(sizes.swa)


def _write_vocabulary(writer: gguf.GGUFWriter) -> None:
    ranks = vocabulary.ranks()
    spelled = {token: vocabulary.spelled(token) for token in ranks}
    controls = range(vocabulary.FIRST_CONTROL, vocabulary.SIZE)
    names = [_NAMED_CONTROLS.get(i, f"<|reserved_{i}|>") for i in controls]
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list([*(spelled[token] for token in sorted(ranks, key=ranks.__getitem__)), *names])
    writer.add_token_types([*[normal] * vocabulary.FIRST_CONTROL, *[control] * len(controls)])
    writer.add_token_merges([f"{spelled[left]} {spelled[right]}" for left, right in _merges(ranks)])
    writer.add_bos_token_id(199998)
    writer.add_eos_token_id(200002)
    writer.add_pad_token_id(199999)
    writer.add_add_bos_token(False)


def _merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two halves of each token of several bytes, in the order of the ranks.

    They are those at which byte-pair encoding arrives with the ranks below the token's own. Half of the tokens
    have several splits into two earlier tokens, and the first of them would often be wrong.
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        halves = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [pair for pair in halves if ranks.get(pair[0], rank) < rank and ranks.get(pair[1], rank) < rank]
        if known:
            merges.append(known[0] if len(known) == 1 else _last_merge(token, rank, ranks))
    return merges


def _last_merge(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]
