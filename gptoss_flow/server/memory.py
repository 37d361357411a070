"""How much memory a server will take, before it starts: llama.cpp's own figures, else our estimate of them. Pure.

The parts are those of llama.cpp's own log: model, KV, compute and output buffers, and the program with its
vocabulary. Left out is what a server may take later (the cache of earlier prompts), and draft models and adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.lang.profile_values import CacheType
from gptoss_flow.server.fit import Share
from gptoss_flow.server.model_facts import ModelFacts
from gptoss_flow.server.problems import KeyProblem, key_problem

_CELL_BYTES: Mapping[CacheType, float] = {
    "f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
"""Bytes of one element, by type."""
_PAD = 256
"""llama.cpp rounds the cells of a cache up to a multiple of this."""
_FLOAT = 4
_PROGRAM_BYTES = 30 * 2**20
_TOKEN_BYTES = 400
"""What the program takes by itself, and for each token of the vocabulary (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes, by what they are for."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    program_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.program_bytes


def estimate(profile: Profile, facts: ModelFacts) -> Estimate:
    """What the profile's server takes with this model, wherever its parts lie."""
    return Estimate(
        weights_bytes=facts.weights_bytes,
        kv_bytes=_kv_bytes(profile, facts),
        compute_bytes=_compute_bytes(profile, facts),
        program_bytes=_PROGRAM_BYTES + _TOKEN_BYTES * (facts.vocabulary or 0),
    )


def reckoned(profile: Profile, facts: ModelFacts, shares: Sequence[Share]) -> Estimate:
    """The same by llama.cpp's own figures, of all devices together; our estimate where there are none."""
    ours = estimate(profile, facts)
    if not shares:
        return ours
    return Estimate(
        weights_bytes=sum(share.weights_bytes for share in shares),
        kv_bytes=sum(share.kv_bytes for share in shares),
        compute_bytes=sum(share.compute_bytes for share in shares),
        program_bytes=ours.program_bytes,
    )


def require_memory(
    profile: Profile, facts: ModelFacts, memory_bytes: int, *, has_gpu: bool, shares: Sequence[Share] = ()
) -> str | None:
    """Refuse what certainly cannot fit: raises `Unavailable`, with the key to change.

    Judged is only what must lie in the main memory: not the weights of a mapped file, which can be read again,
    and nothing that a GPU might take; and each device of `shares` whose size is known.
    Returns a warning where the weights are too much for mapping to be quick.
    """
    if short := lacking(profile, shares):
        raise Unavailable(_too_small(profile, facts, short))
    # Where it is known what a GPU takes, the rest is all in the main memory.
    has_gpu = has_gpu and len(shares) < 2
    needed = reckoned(profile, facts, shares[-1:])
    held = _held(profile, needed, has_gpu)
    if held.total_bytes > memory_bytes:
        said = f"{facts.name} would need {_size(held.total_bytes)} of memory ({_parts(profile, held)})"
        path, hint = _advice(profile, facts, memory_bytes, has_gpu, needed)
        raise Unavailable(KeyProblem(None, f"{said} and this machine has {_size(memory_bytes)}", hint, path))
    if needed.total_bytes > memory_bytes and not has_gpu:
        said = f"{facts.name} takes {_size(needed.total_bytes)} of memory, this machine has {_size(memory_bytes)}"
        return f"{said}: it will be slow, for parts are read from the disk again and again"
    return None


def misfit(
    profile: Profile,
    facts: ModelFacts,
    path: Path,
    memory_bytes: int,
    *,
    has_gpu: bool,
    shares: Sequence[Share] = (),
) -> tuple[int, KeyProblem] | None:
    """Why a quantisation is passed over, with the bytes that it takes; None where it has room.

    All of it must have room, as far as that is known, its weights too, mapped or not: another one may be quick.
    """
    if short := lacking(profile, shares):
        return short.total_bytes, _too_small(profile, facts, short)
    has_gpu = has_gpu and len(shares) < 2  # else what the devices hold has been judged
    needed = replace(reckoned(profile, facts, shares[-1:]), program_bytes=0)
    if not shares:
        needed = replace(needed, weights_bytes=facts.size_bytes)
    if has_gpu:
        needed = replace(needed, kv_bytes=0, compute_bytes=0)
    if needed.total_bytes <= memory_bytes:
        return None
    read_whole = profile.model_copy(update={"mmap": False})
    hint = _smaller() if has_gpu else _advice(read_whole, facts, memory_bytes, has_gpu, needed, may_map=False)[1]
    said = f"{path} needs {_size(needed.total_bytes)} ({_parts(profile, needed)})"
    problem = key_problem("model.quants", f"{said} and this machine has {_size(memory_bytes)}", hint)
    return needed.total_bytes, problem


def lacking(profile: Profile, shares: Sequence[Share]) -> Share | None:
    """The device that has no room for its share, if one is known not to."""
    if profile.gpu_layers == "auto":
        return None
    return next(
        (each for each in shares if each.has_bytes is not None and each.total_bytes > each.has_bytes), None
    )


def _too_small(profile: Profile, facts: ModelFacts, share: Share) -> KeyProblem:
    taken = Estimate(
        weights_bytes=share.weights_bytes,
        kv_bytes=share.kv_bytes,
        compute_bytes=share.compute_bytes,
        program_bytes=0,
    )
    said = f"{facts.name} would need {_size(share.total_bytes)} on {share.device} ({_parts(profile, taken)})"
    hint = f"lower gpu_layers ({profile.gpu_layers}) or set it to auto, lower context, or take a smaller model"
    return KeyProblem(None, f"{said}, which has {_size(share.has_bytes or 0)}", hint, ("gpu_layers",))


def _held(profile: Profile, needed: Estimate, has_gpu: bool) -> Estimate:
    """What of it must lie in the main memory."""
    if has_gpu:
        # How much a GPU can take is unknown here, so only what is kept from it counts.
        kept = profile.gpu_layers == 0 or not profile.kv_cache.offload
        kv_bytes = needed.kv_bytes if kept else 0
        return Estimate(weights_bytes=0, kv_bytes=kv_bytes, compute_bytes=0, program_bytes=0)
    return replace(needed, weights_bytes=0) if profile.mmap and not profile.mlock else needed


def _kv_bytes(profile: Profile, facts: ModelFacts) -> int:
    slots = profile.parallel
    total = profile.context_of_all_slots
    caches = 1 if profile.kv_cache.unified else slots
    cells = _padded(total // caches)
    windowed = cells
    if facts.window and not profile.kv_cache.swa_full:
        # A shared cache has to hold every slot's window, and what is being computed.
        windows = facts.window * (slots if profile.kv_cache.unified else 1)
        windowed = min(cells, _padded(windows + min(profile.ubatch, total)))
    keys, values = _CELL_BYTES[profile.kv_cache.k], _CELL_BYTES[profile.kv_cache.v]
    width = facts.key_length * keys + facts.value_length * values
    rows = sum(
        heads * (windowed if is_windowed else cells)
        for heads, is_windowed in zip(facts.kv_heads, facts.windowed, strict=False)
    )
    return round(caches * rows * width)


def _compute_bytes(profile: Profile, facts: ModelFacts) -> int:
    """One micro-batch on its way through a layer, its mask, and the logits of each slot's last token, twice."""
    if not facts.heads:
        return 0
    total = profile.context_of_all_slots
    tokens = min(profile.ubatch, total)
    cells = _padded(total if profile.kv_cache.unified else total // profile.parallel)
    attention = facts.heads * facts.key_length
    layer = 3 * (facts.feed_forward or 0) + 2 * attention + 3 * (facts.embedding or 0)
    mask = cells * tokens * 2
    if profile.flash_attention == "off":
        mask = cells * tokens * _FLOAT
        layer = max(layer, facts.heads * cells + 5 * attention)
    logits = (facts.vocabulary or 0) * profile.parallel * _FLOAT
    return tokens * layer * _FLOAT + max(mask, logits) + logits


def _padded(cells: int) -> int:
    return -(-cells // _PAD) * _PAD


def _parts(profile: Profile, needed: Estimate) -> str:
    """The parts that there are, the largest first."""
    parts = {
        f"KV cache {_size(needed.kv_bytes)} for {profile.context_of_all_slots:,} tokens": needed.kv_bytes,
        f"weights {_size(needed.weights_bytes)}": needed.weights_bytes,
        f"computing {_size(needed.compute_bytes)}": needed.compute_bytes,
    }
    return ", ".join(sorted(filter(parts.get, parts), key=lambda part: -parts[part]))


def _advice(
    profile: Profile,
    facts: ModelFacts,
    memory_bytes: int,
    has_gpu: bool,
    needed: Estimate,
    *,
    may_map: bool = True,
) -> tuple[KeyPath, str]:
    """The key to change, and how. `may_map`: to map the weights may be advised."""
    key = "context" if profile.context_total is None else "context_total"
    given = profile.context_total or profile.context_per_slot
    if fitting := _fitting_context(profile, facts, memory_bytes, has_gpu, needed):
        quantised = profile.kv_cache.k in ("f32", "f16", "bf16") and profile.flash_attention != "off"
        also = ", or set kv_cache: {k: q8_0, v: q8_0}" if quantised else ""
        lower = f", or lower parallel ({profile.parallel})" if profile.parallel > 1 else ""
        return (key,), f"lower {key} from {given:,} to at most {fitting:,}{lower}{also}"
    map_them = ", or set mmap: true" if may_map and not profile.mmap else ""
    return ("model", *profile.model.sources[:1]), f"{_smaller()}{map_them}"


def _smaller() -> str:
    return "take a smaller quantisation or model"


def _fitting_context(
    profile: Profile, facts: ModelFacts, memory_bytes: int, has_gpu: bool, needed: Estimate
) -> int:
    """The largest context, in steps of the padding, with which it fits; 0 where none does."""
    key = "context_total" if profile.context_total is not None else "context"
    step = _PAD * (profile.parallel if key == "context_total" and not profile.kv_cache.unified else 1)
    ours = estimate(profile, facts)

    def held(context: int) -> int:
        smaller = profile.model_copy(update={key: context})
        guess = estimate(smaller, facts)
        # As far off as our estimate is for the context that was asked for, it is thought to be for others.
        corrected = Estimate(
            weights_bytes=needed.weights_bytes,
            kv_bytes=_in_proportion(guess.kv_bytes, needed.kv_bytes, ours.kv_bytes),
            compute_bytes=_in_proportion(guess.compute_bytes, needed.compute_bytes, ours.compute_bytes),
            program_bytes=guess.program_bytes,
        )
        return _held(smaller, corrected, has_gpu).total_bytes

    low, high = 0, (profile.context_total or profile.context_per_slot) // step
    while low < high:
        middle = (low + high + 1) // 2
        if held(middle * step) <= memory_bytes:
            low = middle
        else:
            high = middle - 1
    return low * step


def _in_proportion(guess: int, known: int, guessed: int) -> int:
    return guess * known // guessed if guessed else known


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
