"""What pydantic's errors about a value say in our words: the value, what is wrong with it, what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from gptoss_flow.escape import one_line
from gptoss_flow.words import suggest

TEMPLATE_BRANCH = "_require_template"
"""The validator of `fields.Expression`, as its union's label names it."""

_CORE = frozenset(get_args(ErrorType))
_NOUNS = {
    "int_type": "an integer", "int_from_float": "an integer", "int_parsing": "an integer",
    "float_type": "a number", "float_parsing": "a number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list", "tuple_type": "a list", "set_type": "a list", "frozen_set_type": "a list",
    "dict_type": "a mapping", "mapping_type": "a mapping", "model_type": "a mapping",
    "model_attributes_type": "a mapping", "none_required": "null",
}  # fmt: skip
_HINTS = {
    "an integer": "write it in digits",
    "a number": "write one like 0.5",
    "true or false": "write true or false",
    "a list": 'write [a, b], or lines that begin with "- "',
    "a mapping": 'write it as lines of "key: value"',
}
# Patterns of the models, in words.
_PATTERNS = {
    "^[a-z][a-z0-9_]{0,63}$": "a name is a lower-case letter, then up to 63 lower-case letters, digits and _",
    "^[a-z][a-z0-9-]{0,63}$": "a name is a lower-case letter, then up to 63 lower-case letters, digits and -",
    "^[A-Za-z_][A-Za-z0-9_]*$": "a name is a letter or _, then letters, digits and _",
    "^[0-9a-f]{64}$": "write the hash as 64 hex digits, in lower case",
    "^[0-9a-f]{40}$": "write the commit as 40 hex digits, in lower case",
}
_BOUNDS = {
    "greater_than_equal": ("is too small", "at least {ge} is allowed"),
    "greater_than": ("is too small", "it must be more than {gt}"),
    "less_than_equal": ("is too large", "at most {le} is allowed"),
    "less_than": ("is too large", "it must be less than {lt}"),
    "multiple_of": ("is not allowed", "it must be a multiple of {multiple_of}"),
    "too_short": ("has too few entries", "it needs at least {min_length}"),
    "too_long": ("has too many entries", "it may have at most {max_length}"),
    "string_too_short": ("is too short", "at least {min_length} characters are needed"),
    "string_too_long": ("is too long", "at most {max_length} characters are allowed"),
}


class Said(NamedTuple):
    """`subject` is empty where the message is about the named thing (the step, the key), not about its value."""

    subject: str
    message: str
    hint: str = ""


def is_custom(error: ErrorDetails) -> bool:
    """Whether the words are our own: a `PydanticCustomError`, or a `ValueError` in a validator."""
    return error["type"] not in _CORE or error["type"] in ("value_error", "assertion_error")


def is_type_error(error: ErrorDetails) -> bool:
    """Whether it only says that the value is of another type than one branch of a union takes."""
    return error["type"] in _NOUNS or error["type"] in ("literal_error", "enum") or is_template_branch(error)


def is_template_branch(error: ErrorDetails) -> bool:
    return error["type"] == "not_a_template" or any(TEMPLATE_BRANCH in str(part) for part in error["loc"])


def said_of(errors: Sequence[ErrorDetails]) -> Said:
    """One sentence for all the errors about one value; several are the branches of a union."""
    rest = [error for error in errors if not is_template_branch(error)]
    value = shown(errors[0]["input"])
    templated = len(rest) < len(errors)
    if not rest:
        return Said(value, "is not an expression", 'write "${{ … }}"')
    if telling := [error for error in rest if not is_type_error(error)]:
        return _said(telling[0], value)
    words = [word for error in rest if error["type"] in ("literal_error", "enum") for word in _allowed(error)]
    nouns = list(dict.fromkeys(_NOUNS[error["type"]] for error in rest if error["type"] in _NOUNS))
    if "a number" in nouns and "an integer" in nouns:
        nouns.remove("an integer")
    if not nouns:
        return Said(value, "is not allowed here", _hint_of_words(errors[0]["input"], words, templated))
    nouns += [f'"{word}"' for word in words]
    hint = _HINTS.get(nouns[0], "") if len(nouns) == 1 else ""
    if nouns == ["text"]:
        hint = _text_hint(errors[0]["input"])
    if templated:
        hint = f'{hint}, or an expression: "${{{{ … }}}}"' if hint else 'an expression is "${{ … }}"'
    return Said(value, f"is {_none_of(nouns)}", hint)


def shown(value: Any) -> str:
    """A value in a message, on one line and short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = one_line(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1] if text[-1] == chr(34) else ''}"


def _said(error: ErrorDetails, value: str) -> Said:
    context = error.get("ctx", {})
    if is_custom(error):
        said = str(context["error"]) if "error" in context else error["msg"]
        message, _, hint = said.partition("; ")
        about_value = message.startswith(("is ", "has ", "does ")) and not isinstance(error["input"], dict)
        return Said(value if about_value else "", message, hint)
    if error["type"] == "string_too_short" and context.get("min_length") == 1:
        return Said("", "must not be empty", "write some text")
    if error["type"] == "string_pattern_mismatch":
        pattern = str(context.get("pattern", ""))
        return Said(value, "is not allowed here", _PATTERNS.get(pattern, f"it must match {pattern}"))
    if error["type"] in ("too_short", "too_long") and isinstance(error["input"], dict | list):
        message, hint = _BOUNDS[error["type"]]
        return Said("", message, hint.format(**context))
    if error["type"] in _BOUNDS:
        message, hint = _BOUNDS[error["type"]]
        return Said(value, message, hint.format(**{key: _plain(limit) for key, limit in context.items()}))
    return Said(value, "is not allowed here", "see the schema of this file")


_AS_YAML = {"True": "true", "False": "false", "None": "null"}


def _allowed(error: ErrorDetails) -> list[str]:
    # pydantic gives the words as one text: 'a', 'b' or 3.
    said = str(error.get("ctx", {}).get("expected", ""))
    found = re.findall(r"'([^']*)'|([^\s,']+)", said)
    return [quoted or _AS_YAML.get(bare, bare) for quoted, bare in found if bare != "or"]


def _hint_of_words(value: Any, words: list[str], templated: bool) -> str:
    allowed = f"allowed: {', '.join(words)}" + (', or an expression: "${{ … }}"' if templated else "")
    if value in words:  # and yet it is not allowed: it is the text "1", not the number
        return f"write it without quotes: {value}"
    near = suggest(value, words) if isinstance(value, str) else ""
    return f"{near} {allowed}" if near.startswith("did you mean") else allowed


def _text_hint(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        return "write some text"
    return f'put it in quotes: "{shown(value)}"'


def _none_of(nouns: Sequence[str]) -> str:
    if len(nouns) == 1:
        return f"not {nouns[0]}"
    flat = [word for noun in nouns for word in noun.split(" or ")]
    return f"neither {', '.join(flat[:-1])} nor {flat[-1]}"


def _plain(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
