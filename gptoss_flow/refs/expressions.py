"""An expression's syntax tree -> a closure, and its references: what has no case here is not in the language.

The tree is Jinja's. It never becomes Python code: there is no attribute to reach for, nothing to escape from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from jinja2 import nodes

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError, TemplateError
from gptoss_flow.refs.filters import FILTERS, call_filter, call_test, check_filter, check_test, uses_tokens
from gptoss_flow.refs.frame import Frame
from gptoss_flow.refs.operators import BINARY, COMPARE, concat, count_up, cut, negate
from gptoss_flow.refs.values import MAX_DEPTH, UNDEFINED, Key, descend, key_of, kind_of, missing, nothing_at, spell

Evaluate = Callable[[Frame], Any]

GLOBALS: Final = frozenset({"range"})

_FIRST_OF: Final = frozenset({"first", "last", "max", "min"})
_SIGNS: Final[dict[type[nodes.Expr], str]] = {
    nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Div: "/",
    nodes.FloorDiv: "//", nodes.Mod: "%", nodes.Pow: "**",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """A free name with the keys that are known before rendering: `steps.tree.output.files[0]`.

    `path` are those keys, integers in digits. `tolerant`: undefined is fine here, as under `default(...)`.
    `occurrence` is the tag's, as in `TemplateError`.
    """

    root: str
    path: tuple[str, ...]
    tolerant: bool
    occurrence: int

    @property
    def name(self) -> str:
        return spell(self.root, map(key_of, self.path))


class Expressions:
    def __init__(self) -> None:
        self.references: dict[Reference, None] = {}
        self.bound: list[tuple[str, int]] = []
        self.uses_tokens = False
        self.locals: frozenset[str] = frozenset()
        self.sees_loop = False
        self.weight = 0
        self.depth = 0

    def expression(self, node: nodes.Node, tolerant: bool = False) -> Evaluate:
        """The closure that gives the node's value. Only a tolerant one gives undefined; the others raise."""
        case = _CASES.get(type(node))
        if case is None:
            raise not_allowed(node)
        self.weight += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TemplateError("an expression is nested too deeply", "", node.lineno)
        evaluate = case(self, node, tolerant)
        self.depth -= 1
        return evaluate

    def constant(self, node: nodes.Const, tolerant: bool) -> Evaluate:
        value = node.value
        return lambda frame: value

    def reference(self, node: nodes.Name | nodes.Getattr | nodes.Getitem, tolerant: bool) -> Evaluate:
        keys, name = chain(node)
        if name is not None:
            return self.path(name.name, keys, name.lineno, tolerant)
        if not keys:
            return self.subscript(node, tolerant)  # type: ignore[arg-type]
        inner = node
        for _ in keys:
            inner = inner.node  # type: ignore[union-attr, assignment]
        base = self.expression(inner, tolerant)

        def look_up(frame: Frame) -> Json:
            value = base(frame)
            for key in keys:
                found = descend(value, key)
                if found is UNDEFINED:
                    if tolerant:
                        return UNDEFINED
                    raise nothing_at(value, key)
                value = found
            return value

        return look_up

    def path(self, root: str, keys: tuple[Key, ...], occurrence: int, tolerant: bool = False) -> Evaluate:
        if root == "null" and not keys:
            return lambda frame: None
        if root in GLOBALS:
            raise TemplateError(f'"{root}" is a function', f"write {root}(…)", occurrence)
        if root in self.locals:
            self.sees_loop |= root == "loop"
        else:
            if root == "steps" and not (keys and isinstance(keys[0], str)):
                hint = "write steps.<id>, or steps['<id>'] with a literal id"
                raise TemplateError('"steps" stands only before the id of a step', hint, occurrence)
            path = tuple(map(str, keys))
            self.references[Reference(root, path, tolerant, occurrence)] = None

        def look_up(frame: Frame) -> Json:
            value = frame.names.get(root, UNDEFINED)
            for key in keys:
                value = value.get(key, UNDEFINED) if type(value) is dict else descend(value, key)
            if value is UNDEFINED and not tolerant:
                raise missing(root, keys, frame.names)
            return value

        return look_up

    def subscript(self, node: nodes.Getitem, tolerant: bool) -> Evaluate:
        if isinstance(node.arg, nodes.Slice):
            whole, part = self.expression(node.node), node.arg
            absent = nodes.Const(None, lineno=node.lineno)
            bounds = [self.expression(bound or absent) for bound in (part.start, part.stop, part.step)]

            def slice_(frame: Frame) -> Json:
                return _paid(frame, cut(whole(frame), *(bound(frame) for bound in bounds)))

            return slice_
        base, argument = self.expression(node.node, tolerant), self.expression(node.arg)

        def look_up(frame: Frame) -> Json:
            value, key = base(frame), argument(frame)
            found = descend(value, key)
            if found is UNDEFINED and not tolerant:
                raise nothing_at(value, key)
            return found

        return look_up

    def sequence(self, node: nodes.List | nodes.Tuple, tolerant: bool) -> Evaluate:
        items = [self.expression(item) for item in node.items]
        return lambda frame: [item(frame) for item in items]

    def mapping(self, node: nodes.Dict, tolerant: bool) -> Evaluate:
        pairs = [(self.expression(pair.key), self.expression(pair.value)) for pair in node.items]

        def make(frame: Frame) -> Json:
            made = {}
            for key, value in pairs:
                name = key(frame)
                if not isinstance(name, str):
                    raise EvaluationError(f"the keys of a mapping are text, not {kind_of(name)}")
                made[name] = value(frame)
            return made

        return make

    def binary(self, node: nodes.BinExpr, tolerant: bool) -> Evaluate:
        left, right, compute = self.expression(node.left), self.expression(node.right), BINARY[_SIGNS[type(node)]]
        return lambda frame: _paid(frame, compute(left(frame), right(frame)))

    def concat(self, node: nodes.Concat, tolerant: bool) -> Evaluate:
        parts = [self.expression(part) for part in node.nodes]

        def join(frame: Frame) -> Json:
            values = [part(frame) for part in parts]
            frame.spend_on(*values)
            return _paid(frame, concat(values))

        return join

    def conjunction(self, node: nodes.And, tolerant: bool) -> Evaluate:
        left, right = self.expression(node.left), self.expression(node.right)
        return lambda frame: left(frame) and right(frame)

    def disjunction(self, node: nodes.Or, tolerant: bool) -> Evaluate:
        left, right = self.expression(node.left), self.expression(node.right)
        return lambda frame: left(frame) or right(frame)

    def negation(self, node: nodes.Not, tolerant: bool) -> Evaluate:
        inner = self.expression(node.node)
        return lambda frame: not inner(frame)

    def minus(self, node: nodes.Neg, tolerant: bool) -> Evaluate:
        inner = self.expression(node.node)
        return lambda frame: negate(inner(frame))

    def plus(self, node: nodes.Pos, tolerant: bool) -> Evaluate:
        inner = self.expression(node.node)
        return lambda frame: BINARY["+"](0, inner(frame))

    def comparison(self, node: nodes.Compare, tolerant: bool) -> Evaluate:
        first = self.expression(node.expr)
        rest = [(COMPARE[operand.op], self.expression(operand.expr)) for operand in node.ops]

        def compare(frame: Frame) -> bool:
            left = first(frame)
            for holds, operand in rest:
                right = operand(frame)
                frame.spend_on(left, right)
                if not holds(left, right):
                    return False
                left = right
            return True

        return compare

    def choice(self, node: nodes.CondExpr, tolerant: bool) -> Evaluate:
        test, then = self.expression(node.test), self.expression(node.expr1, tolerant)
        if node.expr2 is not None:
            otherwise = self.expression(node.expr2, tolerant)
            return lambda frame: then(frame) if test(frame) else otherwise(frame)

        def choose(frame: Frame) -> Json:
            if test(frame):
                return then(frame)
            if tolerant:
                return UNDEFINED
            raise EvaluationError('"… if …" is false and has no "else"', 'add one, such as else ""')

        return choose

    def call(self, node: nodes.Call, tolerant: bool) -> Evaluate:
        occurrence = node.lineno
        if not isinstance(node.node, nodes.Name) or node.node.name in self.locals:
            method = node.node.attr if isinstance(node.node, nodes.Getattr) else ""
            hint = f"write value | {method}" if method in FILTERS else "use a filter"
            raise TemplateError("values have no methods to call", hint, occurrence)
        name = node.node.name
        if name not in GLOBALS:
            hint = (
                f"write value | {name}" if name in FILTERS else "the only function is range; filters do the rest"
            )
            raise TemplateError(f'there is no function "{name}"', hint, occurrence)
        args, _ = self.arguments(node)
        if node.kwargs or not 1 <= len(args) <= 3:
            raise TemplateError("range takes a stop, or a start, a stop and a step", "", occurrence)
        return lambda frame: _paid(frame, count_up(*(arg(frame) for arg in args)))

    def filter(self, node: nodes.Filter, tolerant: bool) -> Evaluate:
        if node.node is None:
            raise not_allowed(node)
        if node.name in ("default", "d"):
            return self.default(node, tolerant)
        return self.filter_call(node, self.expression(node.node), tolerant)

    def filter_call(self, node: nodes.Filter, inner: Evaluate, tolerant: bool = False) -> Evaluate:
        name = node.name
        known, options_known = self.known_arguments(node)
        check_filter(name, known, options_known, node.lineno)
        self.uses_tokens |= uses_tokens(name, known)
        args, options = self.arguments(node)
        may_miss = name in _FIRST_OF and not tolerant

        def apply(frame: Frame) -> Json:
            value = inner(frame)
            result = call_filter(
                frame,
                name,
                value,
                [arg(frame) for arg in args],
                {key: option(frame) for key, option in options.items()},
            )
            if may_miss and result is UNDEFINED:
                raise EvaluationError(
                    f'filter "{name}" found nothing in an empty list', "follow it with default(...)"
                )
            return result

        return apply

    def default(self, node: nodes.Filter, tolerant: bool) -> Evaluate:
        """Undefined and null alike are replaced; with `boolean`, every false value is."""
        check_filter(node.name, *self.known_arguments(node), node.lineno)
        inner = self.expression(cast(nodes.Expr, node.node), tolerant=True)
        given: dict[str, nodes.Expr] = dict(zip(("default_value", "boolean"), node.args, strict=False))
        given |= _options(node)
        nothing = nodes.Const("", lineno=node.lineno)
        fallback = self.expression(given.get("default_value", nothing), tolerant)
        boolean = self.expression(given.get("boolean", nothing))

        def replace(frame: Frame) -> Json:
            value = inner(frame)
            if value is UNDEFINED or value is None or (not value and boolean(frame)):
                return fallback(frame)
            return value

        return replace

    def test(self, node: nodes.Test, tolerant: bool) -> Evaluate:
        name = node.name
        check_test(name, *self.known_arguments(node), node.lineno)
        inner = self.expression(node.node, tolerant=name in ("defined", "undefined"))
        args, options = self.arguments(node)
        return lambda frame: call_test(
            frame,
            name,
            inner(frame),
            [arg(frame) for arg in args],
            {key: option(frame) for key, option in options.items()},
        )

    def arguments(
        self, node: nodes.Filter | nodes.Test | nodes.Call
    ) -> tuple[list[Evaluate], dict[str, Evaluate]]:
        args = [self.expression(arg) for arg in node.args]
        return args, {key: self.expression(value) for key, value in _options(node).items()}

    def known_arguments(self, node: nodes.Filter | nodes.Test) -> tuple[list[Any], Mapping[str, Any]]:
        """The arguments as far as they are constants; others are `UNDEFINED`."""
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise TemplateError('"*" and "**" arguments are not allowed', "", node.lineno)
        known = [arg.value if isinstance(arg, nodes.Const) else UNDEFINED for arg in node.args]
        return known, {
            key: value.value if isinstance(value, nodes.Const) else UNDEFINED
            for key, value in _options(node).items()
        }


_CASES: Final[dict[type[nodes.Node], Callable[[Expressions, Any, bool], Evaluate]]] = {
    nodes.Const: Expressions.constant,
    nodes.Name: Expressions.reference,
    nodes.Getattr: Expressions.reference,
    nodes.Getitem: Expressions.reference,
    nodes.List: Expressions.sequence,
    nodes.Tuple: Expressions.sequence,
    nodes.Dict: Expressions.mapping,
    **dict.fromkeys(_SIGNS, Expressions.binary),
    nodes.Concat: Expressions.concat,
    nodes.And: Expressions.conjunction,
    nodes.Or: Expressions.disjunction,
    nodes.Not: Expressions.negation,
    nodes.Neg: Expressions.minus,
    nodes.Pos: Expressions.plus,
    nodes.Compare: Expressions.comparison,
    nodes.CondExpr: Expressions.choice,
    nodes.Call: Expressions.call,
    nodes.Filter: Expressions.filter,
    nodes.Test: Expressions.test,
}
"""Every expression that there is."""


def chain(node: nodes.Node) -> tuple[tuple[Key, ...], nodes.Name | None]:
    """The literal keys at a node's end, and the name that they start from, if it is one."""
    keys: list[Key] = []
    while True:
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif (
            isinstance(node, nodes.Getitem)
            and isinstance(node.arg, nodes.Const)
            and type(node.arg.value) in (str, int)
        ):
            keys.append(node.arg.value)
        else:
            break
        node = node.node
    return tuple(reversed(keys)), node if isinstance(node, nodes.Name) else None


def _options(node: nodes.Filter | nodes.Test | nodes.Call) -> dict[str, nodes.Expr]:
    return {option.key: option.value for option in cast("list[nodes.Keyword]", node.kwargs)}


def _paid(frame: Frame, value: Json) -> Json:
    if isinstance(value, list):
        frame.spend(len(value))
    elif isinstance(value, str):
        frame.spend(len(value) >> 4)
    return value


def not_allowed(node: nodes.Node) -> TemplateError:
    return TemplateError(f"{type(node).__name__.lower()} is not part of the language", "", node.lineno)
