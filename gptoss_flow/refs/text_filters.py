"""The filters and tests that take one text or number: pure, linear in time, capped beforehand."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from gptoss_flow import patterns
from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError, Refused
from gptoss_flow.refs.values import MAX_TEXT, bounded, fit, fit_items, kind_of, to_json, to_text, weigh

_WORD_START = re.compile(r"([-\s({\[<]+)")
_WORD = re.compile(r"\w+")
_ROUNDING: Final[dict[str, Callable[[float], int]]] = {"ceil": math.ceil, "floor": math.floor}


def text_of(value: Json) -> str:
    """A text, or a number or boolean written as one; lists and mappings are a mistake."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | tuple | dict):
        raise Refused(f"takes text, not {kind_of(value)}")
    return to_text(value)


def number_of(value: Json) -> Any:
    if not isinstance(value, int | float):
        raise Refused(f"takes a number, not {kind_of(value)}")
    return value


def count_of(value: Json, most: int = MAX_TEXT, least: int = 0) -> int:
    """A count given as an argument."""
    if not isinstance(value, int) or not least <= value <= most:
        raise Refused(f"takes an integer from {least} to {most:,} here, not {to_json(value)[:40]}")
    return value


# --- text ----------------------------------------------------------------------------------------------------


def upper(value: Json) -> str:
    return text_of(value).upper()


def lower(value: Json) -> str:
    return text_of(value).lower()


def capitalize(value: Json) -> str:
    return text_of(value).capitalize()


def title(value: Json) -> str:
    return "".join(part[:1].upper() + part[1:].lower() for part in _WORD_START.split(text_of(value)))


def trim(value: Json, chars: Json = None) -> str:
    return text_of(value).strip(None if chars is None else text_of(chars)[:256])


def replace(value: Json, old: Json, new: Json, count: Json = None) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    most = -1 if count is None else count_of(count)
    found = text.count(old) if most < 0 else min(text.count(old), most)
    fit(len(text) + found * (len(new) - len(old)))
    return text.replace(old, new, most)


def indent(value: Json, width: Json = 4, first: Json = False, blank: Json = False) -> str:
    text = text_of(value)
    margin = width if isinstance(width, str) else " " * count_of(width, 1000)
    head, *rest = text.split("\n")
    fit(len(text) + (len(rest) + 1) * len(margin))
    return "\n".join(
        [margin + head if first else head, *(margin + line if line or blank else line for line in rest)]
    )


def truncate(value: Json, length: Json = 255, killwords: Json = False, end: Json = "...", leeway: Json = 5) -> str:
    text, end = text_of(value), text_of(end)
    length = count_of(length, least=len(end))
    if len(text) <= length + count_of(leeway):
        return text
    kept = text[: length - len(end)]
    return f"{kept if killwords else kept.rsplit(' ', 1)[0]}{end}"


def wordwrap(
    value: Json,
    width: Json = 79,
    break_long_words: Json = True,
    wrapstring: Json = "\n",
    break_on_hyphens: Json = True,
) -> str:
    """Greedy, each line by itself. Words are broken at their characters, never preferably at hyphens."""
    width, text, wrap = count_of(width, least=1), text_of(value), text_of(wrapstring)
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = ""
            pieces = [word]
            if break_long_words and len(word) > width:
                pieces = [word[i : i + width] for i in range(0, len(word), width)]
            lines += pieces[:-1]
            line = f"{line} {pieces[-1]}" if line else pieces[-1]
        lines.append(line)
    fit(sum(map(len, lines)) + len(lines) * len(wrap))
    return wrap.join(lines)


def wordcount(value: Json) -> int:
    return sum(1 for _ in _WORD.finditer(text_of(value)))


def split(value: Json, sep: Json = None, maxsplit: Json = None) -> list[str]:
    """At `sep`, else at white space; `maxsplit` cuts at most."""
    text, most = text_of(value), -1 if maxsplit is None else count_of(maxsplit)
    if sep is None:
        fit(len(text))
        return text.split(None, most)
    if not (sep := text_of(sep)):
        raise Refused("takes a separator that is not empty")
    fit_items(text.count(sep) + 1)
    return text.split(sep, most)


def lines(value: Json) -> list[str]:
    """Without their ends; the end of the last line starts no further one."""
    text = text_of(value).replace("\r\n", "\n").replace("\r", "\n")
    fit_items(text.count("\n"))
    return text.removesuffix("\n").split("\n") if text else []


def urlencode(value: Json) -> str:
    """A text quoted for a path (`/` stays), or a mapping or list of pairs as a query."""
    weigh(value, MAX_TEXT // 3)
    if not isinstance(value, list | dict):
        return quote(text_of(value), safe="/")
    pairs = value.items() if isinstance(value, dict) else value
    return "&".join(f"{quote(to_text(k), safe='')}={quote(to_text(v), safe='')}" for k, v in pairs)


def basename(value: Json) -> str:
    """The last part of a path: `b` of `a/b` and of `a/b/`."""
    return text_of(value).rstrip("/").rpartition("/")[2] or text_of(value)[:1]


def dirname(value: Json) -> str:
    """The path without its last part: `a` of `a/b`; `.` of `b`, `/` of `/b`."""
    head, slash, _ = text_of(value).rstrip("/").rpartition("/")
    return head.rstrip("/") or slash or ("/" if text_of(value).startswith("/") else ".")


def sha256(value: Json) -> str:
    """Of the text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text_of(value).encode()).hexdigest()


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """A pattern in RE2's syntax: no backtracking, so no back references and no look-around."""
    try:
        return patterns.compile_pattern(pattern)
    except ValueError as error:
        shown = json.dumps(pattern, ensure_ascii=False)[:60]
        raise Refused(f"cannot read the pattern {shown}: {error}") from None


def regex_search(value: Json, pattern: Json) -> Json:
    """The first match: its text, or the list of its groups where the pattern has some; null where none matches."""
    if not isinstance(pattern, str):
        raise Refused(f"takes a pattern, not {kind_of(pattern)}")
    match = compile_pattern(pattern).search(text_of(value))
    if match is None:
        return None
    return list(match.groups()) or match.group()


# --- JSON ------------------------------------------------------------------------------------------------------


def tojson(value: Json, indent: Json = None) -> str:
    return to_json(value, None if indent is None else count_of(indent, 16))


def string(value: Json) -> str:
    return to_text(value)


def fromjson(value: Json) -> Json:
    if not isinstance(value, str):
        raise Refused(f"takes text, not {kind_of(value)}")
    try:
        data = json.loads(
            value, parse_int=lambda digits: bounded(int(digits)), parse_float=lambda x: bounded(float(x))
        )
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except json.JSONDecodeError as error:
        raise Refused(f"cannot read this text as JSON: {error.msg} at line {error.lineno}") from None
    except EvaluationError as error:
        raise Refused(f"cannot read this text as JSON: {error.message}") from None
    except (ValueError, RecursionError):
        raise Refused("cannot read this text as JSON: not plain values, or nested too deeply") from None
    weigh(data)
    return data


# --- numbers -----------------------------------------------------------------------------------------------------


def absolute(value: Json) -> Json:
    return bounded(abs(number_of(value)))


def round_(value: Json, precision: Json = 0, method: Json = "common") -> Json:
    number, precision = number_of(value), count_of(precision, 15, -15)
    if method == "common":
        return bounded(float(round(number, precision)))
    if method not in _ROUNDING:
        raise Refused('takes the methods "common", "ceil" and "floor"')
    return bounded(_ROUNDING[method](number * 10.0**precision) / 10.0**precision)


def integer(value: Json, default: Json = 0, base: Json = 10) -> Json:
    """The integer that a text or number stands for, `default` where it stands for none."""
    try:
        if isinstance(value, str):
            try:
                return bounded(int(value[:100], count_of(base, 36)))
            except ValueError:
                return bounded(int(float(value[:400])))
        return bounded(int(number_of(value)))
    except (ValueError, OverflowError, Refused):
        return default


def float_(value: Json, default: Json = 0.0) -> Json:
    """The number that a text or number stands for, `default` where it stands for none."""
    try:
        number = float(value[:400] if isinstance(value, str) else number_of(value))
    except (ValueError, OverflowError, Refused):
        return default
    return number if math.isfinite(number) else default


def filesizeformat(value: Json, binary: Json = False) -> str:
    size = float(value[:400]) if isinstance(value, str) else float(number_of(value))
    base, units = (1024, "KiB MiB GiB TiB PiB EiB ZiB YiB") if binary else (1000, "kB MB GB TB PB EB ZB YB")
    if size == 1:
        return "1 Byte"
    if size < base:
        return f"{int(size)} Bytes"
    names = units.split()
    while (size := size / base) >= base and len(names) > 1:
        del names[0]
    return f"{size:.1f} {names[0]}"


TEXT_FILTERS: Final[dict[str, Callable[..., Json]]] = {
    "abs": absolute,
    "basename": basename,
    "capitalize": capitalize,
    "dirname": dirname,
    "filesizeformat": filesizeformat,
    "float": float_,
    "fromjson": fromjson,
    "indent": indent,
    "int": integer,
    "lines": lines,
    "lower": lower,
    "regex_search": regex_search,
    "replace": replace,
    "round": round_,
    "sha256": sha256,
    "split": split,
    "string": string,
    "title": title,
    "tojson": tojson,
    "trim": trim,
    "truncate": truncate,
    "upper": upper,
    "urlencode": urlencode,
    "wordcount": wordcount,
    "wordwrap": wordwrap,
}
