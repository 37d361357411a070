"""The operators of expressions over plain data: typed, bounded before they compute, and refusing in our words."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError
from gptoss_flow.refs.values import bounded, fit, fit_items, kind_of, to_text


def _arithmetic(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[Json, Json], Json]:
    def apply(left: Json, right: Json) -> Json:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise EvaluationError(f'"{sign}" takes numbers, not {kind_of(left)} and {kind_of(right)}')
        try:
            return bounded(compute(left, right))
        except ZeroDivisionError:
            raise EvaluationError("division by zero") from None
        except OverflowError:
            raise EvaluationError("a number would not be real and finite") from None

    return apply


def _power(base: int | float, exponent: int | float) -> int | float:
    if isinstance(exponent, int) and isinstance(base, int) and exponent > 64 and abs(base) > 1:
        raise EvaluationError("an integer would be beyond 64 bits")
    return base**exponent


_sum = _arithmetic("+", operator.add)
_product = _arithmetic("*", operator.mul)


def add(left: Json, right: Json) -> Json:
    match left, right:
        case (str(), str()):
            fit(len(left) + len(right))
            return left + right
        case (list(), list()):
            fit_items(len(left) + len(right))
            return left + right
        case (str(), _) | (_, str()):
            raise EvaluationError(f'"+" cannot add {kind_of(left)} and {kind_of(right)}', 'join as text with "~"')
    return _sum(left, right)


def multiply(left: Json, right: Json) -> Json:
    if isinstance(right, str | list):
        left, right = right, left
    if isinstance(left, str | list) and isinstance(right, int):
        (fit if isinstance(left, str) else fit_items)(len(left) * right)
        return left * right
    return _product(left, right)


BINARY: Final[Mapping[str, Callable[[Json, Json], Json]]] = {
    "+": add,
    "*": multiply,
    "-": _arithmetic("-", operator.sub),
    "/": _arithmetic("/", operator.truediv),
    "//": _arithmetic("//", operator.floordiv),
    "%": _arithmetic("%", operator.mod),
    "**": _arithmetic("**", _power),
}


def negate(value: Json) -> Json:
    return BINARY["-"](0, value)


def concat(values: Iterable[Json]) -> str:
    texts = [to_text(value) for value in values]
    fit(sum(map(len, texts)))
    return "".join(texts)


def contains(container: Json, value: Json) -> bool:
    match container:
        case str() if not isinstance(value, str):
            raise EvaluationError(f'"in" looks for text in text, not for {kind_of(value)}')
        case Mapping():
            return isinstance(value, str) and value in container
        case str() | list() | tuple():
            return value in container
    raise EvaluationError(f'"in" needs a list, a mapping or text at its right, not {kind_of(container)}')


def _ordered(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Json, Json], bool]:
    def apply(left: Json, right: Json) -> bool:
        try:
            return compare(left, right)
        except TypeError:
            raise EvaluationError(f'"{sign}" cannot compare {kind_of(left)} with {kind_of(right)}') from None

    return apply


COMPARE: Final[Mapping[str, Callable[[Json, Json], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": _ordered("<", operator.lt),
    "lteq": _ordered("<=", operator.le),
    "gt": _ordered(">", operator.gt),
    "gteq": _ordered(">=", operator.ge),
    "in": lambda left, right: contains(right, left),
    "notin": lambda left, right: not contains(right, left),
}


def cut(value: Json, *bounds: Json) -> Json:
    """`value[start:stop:step]`."""
    if not isinstance(value, list | tuple | str):
        raise EvaluationError(f"cannot slice {kind_of(value)}")
    if any(bound is not None and not isinstance(bound, int) for bound in bounds) or bounds[2] == 0:
        raise EvaluationError("a slice takes integers, and a step that is not 0")
    return value[slice(*bounds)]


def count_up(*bounds: Json) -> list[int]:
    """`range(stop)`, `range(start, stop)` or `range(start, stop, step)`: at most 100,000 integers."""
    if not all(isinstance(bound, int) for bound in bounds) or bounds[2:] == (0,):
        raise EvaluationError("range takes integers, and a step that is not 0")
    numbers = range(*bounds)
    first, last = (numbers[0], numbers[-1]) if numbers else (0, 0)
    if abs(last - first) // abs(numbers.step) >= 100_000:
        raise EvaluationError("range gives at most 100,000 integers")
    return list(numbers)


def flatten(lists: Iterable[Json]) -> list[Json]:
    flat: list[Json] = []
    for item in lists:
        if not isinstance(item, list):
            raise EvaluationError(f'"+" cannot add a list and {kind_of(item)}')
        fit_items(len(flat) + len(item))
        flat += item
    return flat
