"""The filters that take a list or mapping, and all tests; `attribute=` is a look-up of keys, never of Python's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import Refused
from gptoss_flow.refs.operators import COMPARE, add, contains, flatten
from gptoss_flow.refs.text_filters import count_of, number_of, text_of
from gptoss_flow.refs.values import UNDEFINED, descend, fit, iterate, key_of, kind_of, nothing_at, to_text

Getter = Callable[[Json], Json]
RAISE: Final = object()
"""The default of an attribute that must be there."""


def list_of(value: Json) -> list[Json]:
    if not isinstance(value, list | tuple | dict | str):
        raise Refused(f"takes a list, not {kind_of(value)}")
    return iterate(value)


def getter(attribute: Json, default: Json = RAISE) -> Getter:
    """What `attribute="a.b.0"` reads of an item; without an attribute, the item itself.

    `default` stands for undefined and null alike, but `UNDEFINED` itself only for undefined.
    """
    if attribute is None:
        return lambda item: item
    if not isinstance(attribute, str | int):
        raise Refused(f"takes an attribute's name, not {kind_of(attribute)}")
    keys = [key_of(part) for part in str(attribute).split(".")]

    def get(item: Json) -> Json:
        for key in keys:
            inner = descend(item, key)
            if inner is UNDEFINED:
                if default is RAISE:
                    raise nothing_at(item, key)
                return default
            item = inner
        return default if item is None and default not in (RAISE, UNDEFINED) else item

    return get


def _folded(get: Getter, case_sensitive: Json) -> Getter:
    if case_sensitive:
        return get

    def fold(item: Json) -> Json:
        found = get(item)
        return found.lower() if isinstance(found, str) else found

    return fold


def _sorted(items: list[Json], key: Getter, reverse: Json = False) -> list[Json]:
    try:
        return sorted(items, key=key, reverse=bool(reverse))
    except TypeError:
        kinds = sorted({kind_of(key(item)) for item in items})
        raise Refused(f"cannot put these in order: {' and '.join(kinds)}") from None


def _hashable(value: Json) -> Json:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value


def length(value: Json) -> int:
    if not isinstance(value, str | list | tuple | dict):
        raise Refused(f"takes text, a list or a mapping, not {kind_of(value)}")
    return len(value)


def first(value: Json) -> Json:
    return next(iter(list_of(value)), UNDEFINED)


def last(value: Json) -> Json:
    return (list_of(value) or [UNDEFINED])[-1]


def reverse(value: Json) -> Json:
    return value[::-1] if isinstance(value, str) else list_of(value)[::-1]


def items(value: Json) -> list[Json]:
    if not isinstance(value, dict):
        raise Refused(f"takes a mapping, not {kind_of(value)}")
    return [[key, inner] for key, inner in value.items()]


def dictsort(value: Json, case_sensitive: Json = False, by: Json = "key", reverse: Json = False) -> list[Json]:
    if by not in ("key", "value"):
        raise Refused('sorts by "key" or "value"')
    return _sorted(items(value), _folded(getter(0 if by == "key" else 1), case_sensitive), reverse)


def sort(value: Json, reverse: Json = False, case_sensitive: Json = False, attribute: Json = None) -> list[Json]:
    names = attribute.split(",") if isinstance(attribute, str) else [attribute]
    keys = [_folded(getter(name), case_sensitive) for name in names]
    return _sorted(list_of(value), keys[0] if len(keys) == 1 else lambda x: [key(x) for key in keys], reverse)


def groupby(value: Json, attribute: Json, default: Json = RAISE, case_sensitive: Json = False) -> list[Json]:
    """Pairs of a key and its items, in the keys' order: `{% for key, group in rows | groupby("kind") %}`."""
    get = getter(attribute, default)
    fold = _folded(get, case_sensitive)
    groups: list[Json] = []
    previous: Json = UNDEFINED
    for item in _sorted(list_of(value), fold):
        key = fold(item)
        if previous is UNDEFINED or key != previous:
            groups.append([get(item), []])
            previous = key
        groups[-1][1].append(item)
    return groups


def unique(value: Json, case_sensitive: Json = False, attribute: Json = None) -> list[Json]:
    key = _folded(getter(attribute), case_sensitive)
    found: dict[Json, Json] = {}
    for item in list_of(value):
        found.setdefault(_hashable(key(item)), item)
    return list(found.values())


def _extreme(pick: Callable[..., Any]) -> Callable[..., Json]:
    def extreme(value: Json, case_sensitive: Json = False, attribute: Json = None) -> Json:
        candidates = list_of(value)
        try:
            return pick(candidates, key=_folded(getter(attribute), case_sensitive), default=UNDEFINED)
        except TypeError:
            raise Refused("cannot compare these items with each other") from None

    return extreme


def total(value: Json, attribute: Json = None, start: Json = 0) -> Json:
    """The sum of numbers; with `start=[]`, the lists of a list as one."""
    numbers = list(map(getter(attribute), list_of(value)))
    if isinstance(start, list):
        return flatten([start, *numbers])
    result = number_of(start)
    for number in numbers:
        result = add(result, number_of(number))
    return result


def join(value: Json, d: Json = "", attribute: Json = None) -> str:
    get, glue = getter(attribute), text_of(d)
    texts = [to_text(get(item)) for item in list_of(value)]
    fit(sum(map(len, texts)) + len(glue) * max(0, len(texts) - 1))
    return glue.join(texts)


def batch(value: Json, linecount: Json, fill_with: Json = None) -> list[Json]:
    """Lists of `linecount` items each, the last one filled up with `fill_with` if that is given."""
    content, size = list_of(value), count_of(linecount, 100_000, 1)
    rows = [content[i : i + size] for i in range(0, len(content), size)]
    if fill_with is not None and rows:
        rows[-1] = rows[-1] + [fill_with] * (size - len(rows[-1]))
    return rows


def slice_(value: Json, slices: Json, fill_with: Json = None) -> list[Json]:
    """`slices` lists of nearly equal length, the shorter ones filled up with `fill_with` if that is given."""
    content, parts = list_of(value), count_of(slices, 100_000, 1)
    size, longer = divmod(len(content), parts)
    columns, at = [], 0
    for i in range(parts):
        column = content[at : at + size + (i < longer)]
        at += len(column)
        columns.append([*column, fill_with] if fill_with is not None and longer <= i and longer else column)
    return columns


def as_list(value: Json) -> list[Json]:
    return list(list_of(value))


LIST_FILTERS: Final[dict[str, Callable[..., Json]]] = {
    "batch": batch,
    "count": length,
    "dictsort": dictsort,
    "first": first,
    "groupby": groupby,
    "items": items,
    "join": join,
    "last": last,
    "length": length,
    "list": as_list,
    "max": _extreme(max),
    "min": _extreme(min),
    "reverse": reverse,
    "slice": slice_,
    "sort": sort,
    "sum": total,
    "unique": unique,
}


# --- tests -------------------------------------------------------------------------------------------------------


def _is(*kinds: type) -> Callable[[Json], bool]:
    return lambda value: isinstance(value, kinds)


def _integer(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: Json) -> int:
    if not isinstance(value, int):
        raise Refused(f"takes an integer, not {kind_of(value)}")
    return value


def _divisible(value: Json, num: Json) -> bool:
    divisor = _whole(num)
    if divisor == 0:
        raise Refused("takes a divisor that is not 0")
    return _whole(value) % divisor == 0


def _compare(name: str) -> Callable[[Json, Json], bool]:
    return COMPARE[name]


TESTS: Final[dict[str, Callable[..., bool]]] = {
    "boolean": _is(bool),
    "divisibleby": _divisible,
    "even": lambda value: _whole(value) % 2 == 0,
    "false": lambda value: value is False,
    "float": _is(float),
    "in": lambda value, seq: contains(seq, value),
    "integer": _integer,
    "iterable": _is(str, list, tuple, dict),
    "lower": lambda value: text_of(value).islower(),
    "mapping": _is(dict),
    "none": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "odd": lambda value: _whole(value) % 2 == 1,
    "sequence": _is(str, list, tuple, dict),
    "string": _is(str),
    "true": lambda value: value is True,
    "upper": lambda value: text_of(value).isupper(),
    "defined": lambda value: value is not UNDEFINED,
    "undefined": lambda value: value is UNDEFINED,
    **{name: _compare("eq") for name in ("eq", "equalto", "==")},
    **{name: _compare("ne") for name in ("ne", "!=")},
    **{name: _compare("lt") for name in ("lt", "lessthan", "<")},
    **{name: _compare("lteq") for name in ("le", "<=")},
    **{name: _compare("gt") for name in ("gt", "greaterthan", ">")},
    **{name: _compare("gteq") for name in ("ge", ">=")},
}
