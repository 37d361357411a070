"""What is asked of llama.cpp's server, checked before it is sent: the server takes anything in silence.

Pure. The allow-list of sampling parameters is that of `sampling.Params`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from gptoss_flow.errors import StepError
from gptoss_flow.llama.wire import excerpt

if TYPE_CHECKING:
    from gptoss_flow.events import Json

DEFAULT_MAX_TOKENS = 512

Check = Callable[[Any], bool]


LARGEST = 2**63 - 1
"""llama.cpp reads 64-bit integers. The bounds keep infinities out, and NaN, which is in no range."""


def whole(low: int, high: int = LARGEST) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def real(low: float = -LARGEST, high: float = LARGEST) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high


def flag(value: Json) -> bool:
    return isinstance(value, bool)


def texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def biases(value: Json) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], int | str)
        and (flag(pair[1]) or real()(pair[1]))
        for pair in value
    )


ALLOWED: dict[str, Check] = {
    "temperature": real(0, 5),
    "top_k": whole(0),
    "top_p": real(0, 1),
    "min_p": real(0, 1),
    "typical_p": real(0, 1),
    "seed": whole(0, 2**32 - 1),
    "max_tokens": whole(0, 2**31 - 1),
    "stop": texts,
    "repeat_penalty": real(0),
    "repeat_last_n": whole(-1),
    "presence_penalty": real(-2, 2),
    "frequency_penalty": real(-2, 2),
    "dry_multiplier": real(0),
    "dry_base": real(1),
    "dry_allowed_length": whole(0),
    "dry_penalty_last_n": whole(-1),
    "dynatemp_range": real(0),
    "dynatemp_exponent": real(0),
    "top_n_sigma": real(),
    "xtc_probability": real(0, 1),
    "xtc_threshold": real(0, 1),
    "mirostat": whole(0, 2),
    "mirostat_tau": real(0),
    "mirostat_eta": real(0),
    "ignore_eos": flag,
    "n_probs": whole(0, 100),
    "min_keep": whole(0),
    "logit_bias": biases,
    "cache_prompt": flag,
}
"""The names and ranges of `sampling.Params`; a test holds them equal. Repeated because a quick query has no time
to import pydantic, and because what an expression gave is known here only."""


def adapters(value: Json) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and {*each} == {"id", "scale"} and whole(0)(each["id"]) and real()(each["scale"])
        for each in value
    )


OF_ANSWERS: dict[str, Check] = {
    "grammar": lambda value: isinstance(value, str),
    "json_schema": lambda value: isinstance(value, dict),
}
"""What a prompt's form of the answer comes to: GBNF, or a schema that the server makes a grammar of."""

OF_PROFILES: dict[str, Check] = {"lora": adapters}
"""What only a profile says: `[{"id": N, "scale": X}]`, the adapters by their number on the command line."""


def completion_body(
    tokens: Sequence[int], params: Mapping[str, Json], *, n_vocab: int | None = None
) -> dict[str, Json]:
    """The body of a POST to /completion: always streamed, with token ids. Raises `StepError("model", …)`.

    `params` has the names of `sampling.Params`; null means unset. `max_tokens` is 512 where nobody said,
    because the server would go on without end.
    """
    if not tokens:
        _refuse("the prompt has no tokens")
    top = (n_vocab or 2**31) - 1
    if {*map(type, tokens)} != {int} or min(tokens) < 0 or max(tokens) > top:
        wrong = next(t for t in tokens if type(t) is not int or not 0 <= t <= top)
        _refuse(f"{excerpt(repr(wrong))} is not a token id; they are whole numbers from 0 to {top}")
    body: dict[str, Json] = {"cache_prompt": True, "max_tokens": DEFAULT_MAX_TOKENS}
    known = ALLOWED | OF_PROFILES | OF_ANSWERS
    for name, value in params.items():
        if name not in known:
            _refuse(f'"{excerpt(name)}" is not a sampling parameter; known are {", ".join(sorted(ALLOWED))}')
        if value is None:
            continue
        if not known[name](value):
            _refuse(f"the sampling parameter {name} cannot be {excerpt(repr(value))}")
        body[name] = value
    n_predict = body.pop("max_tokens")
    return body | {"prompt": list(tokens), "n_predict": n_predict, "stream": True, "return_tokens": True}


def tokenize_body(text: str, *, special: bool, bos: bool = False) -> dict[str, Json]:
    return {"content": text, "add_special": bos, "parse_special": special}


def _refuse(message: str) -> NoReturn:
    raise StepError("model", message, retryable=False)
