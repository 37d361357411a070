"""The filters that apply other filters, and the one way to call any filter or test: paid for, and in our words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature, signature
from typing import Any, Final

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError, Refused, TemplateError
from gptoss_flow.refs.frame import CALL, Frame
from gptoss_flow.refs.list_filters import LIST_FILTERS, RAISE, TESTS, getter, list_of
from gptoss_flow.refs.text_filters import TEXT_FILTERS, compile_pattern, count_of, text_of
from gptoss_flow.refs.values import UNDEFINED, kind_of
from gptoss_flow.words import suggest

Arguments = Sequence[Json]
Options = Mapping[str, Json]

_DEEP: Final = frozenset(
    {"dictsort", "fromjson", "groupby", "join", "max", "min", "select", "reject", "selectattr", "rejectattr"}
    | {"sort", "string", "sum", "tojson", "unique"}
)
"""Those that walk through all of their input."""
_SLOW: Final = {
    "wordwrap": 4,
    "urlencode": 8,
    "title": 4,
    "wordcount": 4,
    "regex_search": 4,
    "split": 2,
    "lines": 2,
}
"""Those that take much longer for a character than a copy does, with how much longer, about."""


def _default(value: Json, default_value: Json = "", boolean: Json = False) -> Json:
    return default_value if value is UNDEFINED or value is None or (boolean and not value) else value


def _map(frame: Frame, value: Json, *args: Json, **options: Json) -> list[Json]:
    rows = list_of(value)
    if "attribute" in options:
        get = getter(options["attribute"], options.get("default", RAISE))
        return [get(row) for row in rows]
    return [call_filter(frame, args[0], row, args[1:], options) for row in rows]


def _select(keep: bool, by_attribute: bool) -> Callable[..., list[Json]]:
    def select(frame: Frame, value: Json, *args: Json, **options: Json) -> list[Json]:
        rows = list_of(value)
        name, *rest = args[by_attribute:] or ("",)
        missing = UNDEFINED if name in ("defined", "undefined") else RAISE
        get = getter(args[0] if by_attribute else None, missing)

        def holds(row: Json) -> bool:
            return call_test(frame, name, get(row), rest, options) if name else bool(get(row))

        return [row for row in rows if holds(row) is keep]

    return select


def _truncate_tokens(frame: Frame, value: Json, n: Json) -> str:
    """At most `n` tokens of a text. What has no more bytes than that has no more tokens either."""
    text, tokens = text_of(value), count_of(n, 10_000_000)
    if tokens == 0 or len(text.encode()) <= tokens:
        return text if tokens else ""
    found = frame.cuts.get((text, tokens))
    if found is None:
        frame.misses.add((text, tokens))
        return text[:tokens]
    return found


_PURE: Final[dict[str, Callable[..., Json]]] = {**TEXT_FILTERS, **LIST_FILTERS, "default": _default, "d": _default}
_FRAMED: Final[dict[str, Callable[..., Json]]] = {
    "map": _map,
    "select": _select(keep=True, by_attribute=False),
    "reject": _select(keep=False, by_attribute=False),
    "selectattr": _select(keep=True, by_attribute=True),
    "rejectattr": _select(keep=False, by_attribute=True),
    "truncate_tokens": _truncate_tokens,
}
FILTERS: Final = frozenset(_PURE) | frozenset(_FRAMED)
TEST_NAMES: Final = frozenset(TESTS)
_SIGNATURES: Final[dict[str, Signature]] = {}


def call_filter(frame: Frame, name: str, value: Json, args: Arguments, options: Options) -> Json:
    """The result, which is undefined for the first of nothing. Raises `EvaluationError`."""
    frame.spend(CALL + _size(value) * _SLOW.get(name, 1))
    if name in _DEEP:
        frame.spend_on(value)
    try:
        if name in _FRAMED:
            result = _FRAMED[name](frame, value, *args, **options)
        else:
            result = _PURE[name](value, *args, **options)
    except Refused as error:
        raise EvaluationError(f'filter "{name}" {error}') from None
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError):
        raise EvaluationError(f'filter "{name}" cannot work on this {kind_of(value).split()[-1]}') from None
    frame.spend(_size(result))
    return result


def call_test(frame: Frame, name: str, value: Json, args: Arguments, options: Options) -> bool:
    frame.spend(CALL + _size(value))
    frame.spend_on(*args)
    try:
        return TESTS[name](value, *args, **options)
    except Refused as error:
        raise EvaluationError(f'test "{name}" {error}') from None
    except (TypeError, ValueError, ArithmeticError):
        raise EvaluationError(f'test "{name}" cannot be made on {kind_of(value)}') from None


def _size(value: Json) -> int:
    if isinstance(value, str):
        return len(value) >> 4
    return len(value) if isinstance(value, list | dict) else 0


# --- at compile time -------------------------------------------------------------------------------------------


def check_filter(name: str, args: Sequence[Any], options: Mapping[str, Any], occurrence: int) -> None:
    """Refuse an unknown filter, or arguments that it does not take; those not known yet are `UNDEFINED`."""
    if name not in FILTERS:
        raise TemplateError(f'there is no filter "{name}"', suggest(name, sorted(FILTERS)), occurrence)
    match name:
        case "map" if "attribute" in options:
            if args or set(options) - {"attribute", "default"}:
                raise TemplateError(
                    '"map" takes attribute= and default=, or a filter and its arguments', "", occurrence
                )
        case "map":
            inner = _literal(
                "map", args, 'name a filter: map("upper"), or an attribute: map(attribute="x")', occurrence
            )
            check_filter(inner, args[1:], options, occurrence)
        case "select" | "reject" if args or options:
            check_test(
                _literal(name, args, 'name a test: select("odd")', occurrence), args[1:], options, occurrence
            )
        case "selectattr" | "rejectattr":
            _literal(name, args, f'name an attribute: {name}("x")', occurrence)
            if args[1:]:
                check_test(_literal(name, args[1:], "name a test", occurrence), args[2:], options, occurrence)
        case "select" | "reject":
            pass
        case _:
            _check_arguments(
                f'filter "{name}"', _PURE.get(name) or _FRAMED[name], name in _FRAMED, args, options, occurrence
            )
            if name == "regex_search" and args and isinstance(args[0], str):
                try:
                    compile_pattern(args[0])
                except Refused as error:
                    raise TemplateError(f'filter "{name}" {error}', "the syntax is RE2's", occurrence) from None


def check_test(name: str, args: Sequence[Any], options: Mapping[str, Any], occurrence: int) -> None:
    if name not in TEST_NAMES:
        raise TemplateError(f'there is no test "{name}"', suggest(name, sorted(TEST_NAMES)), occurrence)
    _check_arguments(f'test "{name}"', TESTS[name], False, args, options, occurrence)


def uses_tokens(name: str, args: Sequence[Any]) -> bool:
    """Whether this filter, or the one that it maps, is `truncate_tokens`."""
    return name == "truncate_tokens" or (name == "map" and bool(args) and uses_tokens(args[0], args[1:]))


def _literal(name: str, args: Sequence[Any], hint: str, occurrence: int) -> str:
    if not args or not isinstance(args[0], str):
        raise TemplateError(f'filter "{name}" takes a literal name first', hint, occurrence)
    return args[0]


def _check_arguments(
    what: str,
    function: Callable[..., Any],
    framed: bool,
    args: Sequence[Any],
    options: Mapping[str, Any],
    occurrence: int,
) -> None:
    known = _SIGNATURES.get(what)
    if known is None:
        known = _SIGNATURES[what] = signature(function)
    try:
        known.bind(*[None] * (1 + framed), *args, **options)
    except TypeError:
        names = list(known.parameters.values())[1 + framed :]
        takes = ", ".join(p.name if p.default is p.empty else f"{p.name}=…" for p in names) or "no arguments"
        raise TemplateError(f"{what} takes {takes}", "", occurrence) from None
