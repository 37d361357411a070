"""Types that the YAML models share: durations, sizes, and values that may be a `${{ … }}` expression."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?")
_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def is_template(text: str) -> bool:
    """Whether a string holds a `${{` expression or a `{%` statement (a cheap test: it may still be a literal)."""
    return "${{" in text or "{%" in text


def parse_duration(value: Any) -> float:
    """Seconds of `90s`, `5m`, `1m30s`, `250ms`, or of a bare number. -1 and 0 pass through (Ollama's words)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value >= 0 or value == -1:
            return float(value)
    elif isinstance(value, str):
        parts = _DURATION.findall(value)
        if parts and "".join(n + u for n, u in parts) == value:
            return sum(float(n) * _SECONDS[u] for n, u in parts)
    raise PydanticCustomError("duration", "is not a duration; write one like 250ms, 90s, 5m or 1h30m")


def parse_size(value: Any) -> int:
    """Bytes of `8GiB`, `500MB`, `1024`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(float(match[1]) * _BYTES[match[2] or "B"])
    raise PydanticCustomError("size", "is not a size; write one like 512MiB or 8GiB")


def duration_text(seconds: float) -> str:
    """What `parse_duration` reads as these seconds: `1h30m`, `250ms`; 0 and -1 as they are."""
    if seconds <= 0:
        return f"{seconds:g}"
    text, left_ms = "", round(seconds * 1000)
    for unit, unit_s in sorted(_SECONDS.items(), key=lambda item: -item[1]):
        count, left_ms = divmod(left_ms, round(unit_s * 1000))
        text += f"{count}{unit}" if count else ""
    return text or "0"


def size_text(count: int) -> str:
    """What `parse_size` reads as this number of bytes: in the largest unit of which it is a whole number."""
    fitting = (unit for unit, size in _BYTES.items() if unit.endswith("iB") and count and count % size == 0)
    unit = max(fitting, key=_BYTES.__getitem__, default="")
    return f"{count // _BYTES[unit]}{unit}" if unit else str(count)


def _require_template(value: str, info: ValidationInfo) -> str:
    # Once a step's values are rendered, text that looks like a template is data and never an expression.
    if is_rendered(info) or not is_template(value):
        raise PydanticCustomError("not_a_template", "is not an expression")
    return value


RENDERED = {"rendered": True}
"""The validation context of values that were rendered: `Model.model_validate(values, context=RENDERED)`."""


def is_rendered(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get("rendered"))


def json_text(value: Any) -> str:
    """A value as it stands inside text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_json(text: str) -> Any:
    """The value that a text says, if every reader of JSON can read it: no NaN, no infinity in any spelling, no
    half of a surrogate pair. Raises `ValueError`, also for what is nested too deep."""
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON value")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits[:20])


def _to_text(value: Any, info: ValidationInfo) -> Any:
    # `user: ${{ steps.x.output }}` passes a list or mapping on as it is; a prompt wants it as text.
    return json_text(value) if is_rendered(info) and value is not None else value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=str | float),
    Field(examples=["250ms", "90s", "5m", "1h30m"]),  # a description here would hide the field's own docstring
]
Size = Annotated[
    int,
    BeforeValidator(parse_size, json_schema_input_type=str | int),
    Field(examples=["512MiB", "8GiB"]),
]
Expression = Annotated[
    str,
    AfterValidator(_require_template),
    Field(json_schema_extra={"pattern": r"\$\{\{|\{%"}, description="A ${{ expression }}."),
]

Text = Annotated[str, BeforeValidator(_to_text, json_schema_input_type=str)]
"""Text for a model; a value that an expression gives is written as JSON."""

T = TypeVar("T")
Templated: TypeAlias = T | Expression
"""`Templated[int]`: an integer, or text with a `${{ … }}` that gives one when the step runs."""

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
FlowName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]


def contradiction(message: str) -> PydanticCustomError:
    """What a model says of keys that do not go together."""
    # The text is ours and holds no fields to fill in; braces in it must not be taken for some.
    return PydanticCustomError("contradiction", "{message}", {"message": message})


class Strict(BaseModel):
    """The root of every YAML model: frozen, strict types, unknown keys refused; built when it is first used."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # What is frozen need not be copied, as pydantic does with a default for each of ten thousand steps.
        return self
