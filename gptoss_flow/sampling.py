"""The sampling parameters of a request: llama.cpp's names, checked by us because the server accepts anything."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptoss_flow.fields import Strict, Templated

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Params(Strict):
    """Sampling parameters. What is not set here comes from the profile's `request`, then from the server."""

    temperature: Templated[Annotated[float, Field(ge=0, le=5)]] | None = None
    """0 always takes the likeliest token."""
    top_k: Templated[Annotated[int, Field(ge=0)]] | None = None
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: Templated[Probability] | None = None
    """Keep the likeliest tokens whose probabilities add up to p."""
    min_p: Templated[Probability] | None = None
    """Drop tokens less likely than this share of the likeliest one's probability."""
    typical_p: Templated[Probability] | None = None
    """Locally typical sampling; 1 is off."""
    seed: Templated[Annotated[int, Field(ge=0, le=2**32 - 1)]] | None = None
    """The random seed; the same seed, server and prompt give the same answer at one slot."""
    max_tokens: Templated[Annotated[int, Field(ge=0, le=2**31 - 1)]] | None = None
    """The most tokens to generate; the default is 512 or what the context leaves."""
    stop: Templated[list[str]] | None = None
    """Texts that end the answer; they are not part of it."""
    repeat_penalty: Templated[NonNegative] | None = None
    """Above 1: tokens that were seen become less likely."""
    repeat_last_n: Templated[Annotated[int, Field(ge=-1)]] | None = None
    """How far back the repeat penalty looks; -1 is the whole context."""
    presence_penalty: Templated[Annotated[float, Field(ge=-2, le=2)]] | None = None
    """Makes a token that was seen at all less likely."""
    frequency_penalty: Templated[Annotated[float, Field(ge=-2, le=2)]] | None = None
    """Makes a token less likely for each time it was seen."""
    dry_multiplier: Templated[NonNegative] | None = None
    """Strength of the DRY penalty on repeated sequences; 0 is off."""
    dry_base: Templated[Annotated[float, Field(ge=1)]] | None = None
    """How fast the DRY penalty grows with the length of the repetition."""
    dry_allowed_length: Templated[Annotated[int, Field(ge=0)]] | None = None
    """Repetitions up to this many tokens are free."""
    dry_penalty_last_n: Templated[Annotated[int, Field(ge=-1)]] | None = None
    """How far back DRY looks; -1 is the whole context."""
    dynatemp_range: Templated[NonNegative] | None = None
    """Width of the dynamic temperature; 0 is off."""
    dynatemp_exponent: Templated[NonNegative] | None = None
    """Shape of the dynamic temperature."""
    top_n_sigma: Templated[float] | None = None
    """Keep tokens within n standard deviations of the best logit; -1 is off."""
    xtc_probability: Templated[Probability] | None = None
    """Chance of removing top choices (XTC)."""
    xtc_threshold: Templated[Probability] | None = None
    """Tokens above this probability may be removed by XTC."""
    mirostat: Templated[Annotated[int, Field(ge=0, le=2)]] | None = None
    """0 is off, 1 Mirostat, 2 Mirostat 2.0."""
    mirostat_tau: Templated[NonNegative] | None = None
    """Mirostat's target entropy."""
    mirostat_eta: Templated[NonNegative] | None = None
    """Mirostat's learning rate."""
    ignore_eos: Templated[bool] | None = None
    """Go on after the end token: for benches."""
    n_probs: Templated[Annotated[int, Field(ge=0, le=100)]] | None = None
    """Return the probabilities of this many tokens at each place."""
    min_keep: Templated[Annotated[int, Field(ge=0)]] | None = None
    """Samplers keep at least this many tokens."""
    logit_bias: Templated[list[list[int | str | float | bool]]] | None = None
    """Pairs of token (id or text) and bias; false bans the token."""
    cache_prompt: Templated[bool] | None = None
    """Reuse the KV cache of the prompt's known beginning; on by default."""
