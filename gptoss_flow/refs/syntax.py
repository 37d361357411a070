"""A template's tokens -> Jinja's syntax tree -> one closure that renders it.

The grammar is Jinja's own, through its parser; its compiler, runtime and sandbox are not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError, TemplateError
from gptoss_flow.refs.expressions import Evaluate, Expressions, Reference, chain, not_allowed
from gptoss_flow.refs.frame import ROUND, Frame
from gptoss_flow.refs.tags import Dotted, Tags
from gptoss_flow.refs.values import UNDEFINED, fit_output, iterate, kind_of, weigh

Execute = Callable[[Frame], None]

RESERVED: Final = frozenset(
    {"inputs", "vars", "steps", "item", "loop", "matrix", "run", "flow", "env", "secrets"}
    | {"output", "error", "range", "null"}
)
"""Names that no template may bind."""

_JINJA = Environment(autoescape=False)


@dataclass(frozen=True, slots=True)
class Program:
    """What a template means. `bound` are the names that it sets, with their occurrence."""

    run: Evaluate
    references: tuple[Reference, ...]
    bound: tuple[tuple[str, int], ...]
    uses_tokens: bool


def compile_tags(tags: Tags) -> Program:
    """Raises `TemplateError`."""
    compiler = _Statements()
    try:
        if all(token.type == "data" for token in tags.tokens):
            run = compiler.plain(tags)
        elif tags.whole:
            run = compiler.whole(_tree(tags.tokens))
        else:
            run = compiler.text(compiler.body(_tree(tags.tokens)))
    except TemplateSyntaxError as error:
        written = tags.sources.get(error.lineno, "")
        shown = written if len(written) <= 80 else f"{written[:77]}…"
        said = _plain(error.message or "", written)
        hint = next((hint for complaint, hint in _MEANT.items() if said.endswith(complaint)), "")
        raise TemplateError(f"cannot read {shown}: {said}", hint, error.lineno) from None
    except RecursionError:
        raise TemplateError("an expression is nested too deeply") from None
    return Program(run, tuple(compiler.references), tuple(compiler.bound), compiler.uses_tokens)


def _tree(tokens: list[Token]) -> list[nodes.Node]:
    parser = Parser(_JINJA, "")
    parser.stream = TokenStream(tokens, None, None)
    return parser.subparse()


def _plain(message: str, written: str) -> str:
    """Jinja's complaint with signs for its names of tokens; a bare expression has none at its end."""
    end = "'}}'" if written.startswith("${{") else "the end"
    message = message.replace("'end of print statement'", end).replace("unexpected the end", "it ends too soon")
    message = message.replace("'end of statement block'", "'%}'").replace("'name'", "a name")
    message = re.sub(r"expected token (.+), got (.+)", r"expected \1, not \2", message)
    message = re.sub(r"'([^']+)'", r'"\1"', message)
    return (message[:1].lower() + message[1:]).rstrip(".")


_MEANT: Final = {'"="': 'compare with "=="', 'not "if"': 'write "{% elif … %}"'}
"""How a complaint ends, and what was meant."""


class _Statements(Expressions):
    def plain(self, tags: Tags) -> Evaluate:
        """A text whose tags hold only names and dots: there is nothing to parse."""
        pieces: list[tuple[Any, int]] = [(token.value, token.lineno) for token in tags.tokens]
        if tags.whole:
            found, occurrence = next(piece for piece in pieces if isinstance(piece[0], Dotted))
            return _value_of(self.dotted(found, occurrence), occurrence, passes_on=found.default is None)
        steps = [self.piece(piece, occurrence) for piece, occurrence in pieces]
        return self.text(_in_turn(steps, self.weight + 1))

    def whole(self, body: list[nodes.Node]) -> Evaluate:
        outputs = [node for output in cast("list[nodes.Output]", body) for node in output.nodes]
        node = next(node for node in outputs if not isinstance(node, nodes.TemplateData))
        # What is only looked up is in scope already, as it is.
        return _value_of(self.expression(node), node.lineno, passes_on=chain(node)[1] is not None)

    def text(self, execute: Execute) -> Evaluate:
        copies = bool(self.bound)

        def run(frame: Frame) -> Json:
            if copies:
                frame.names = dict(frame.names)
            execute(frame)
            return fit_output("".join(frame.parts))

        return run

    def body(self, body: Iterable[nodes.Node]) -> Execute:
        outer, self.weight = self.weight, 0
        steps = [step for node in body for step in self.statement(node)]
        weight, self.weight = self.weight, outer
        return _in_turn(steps, weight)

    def statement(self, node: nodes.Node) -> list[Execute]:
        self.weight += 1
        match node:
            case nodes.Output():
                return [self.output(inner) for inner in node.nodes]
            case nodes.For():
                return [self.loop(node)]
            case nodes.If():
                return [self.branch(node)]
            case nodes.Assign():
                return [self.assignment(node)]
            case nodes.AssignBlock():
                return [self.capture(node)]
        raise not_allowed(node)

    def output(self, node: nodes.Expr) -> Execute:
        if isinstance(node, nodes.TemplateData):
            return self.piece(node.data, node.lineno)
        return _written(self.expression(node), node.lineno)

    def piece(self, piece: str | Dotted, occurrence: int) -> Execute:
        if isinstance(piece, Dotted):
            return _written(self.dotted(piece, occurrence), occurrence)
        return lambda frame: frame.write(piece)

    def dotted(self, found: Dotted, occurrence: int) -> Evaluate:
        self.weight += 1
        root, keys, default = found
        if default is None:
            return self.path(root, keys, occurrence)
        look_up = self.path(root, keys, occurrence, tolerant=True)

        def replace(frame: Frame) -> Json:
            value = look_up(frame)
            return default if value is UNDEFINED or value is None else value

        return replace

    def branch(self, node: nodes.If) -> Execute:
        branches = [
            (inner.lineno, self.expression(inner.test), self.body(inner.body)) for inner in (node, *node.elif_)
        ]
        otherwise = self.body(node.else_)

        def run(frame: Frame) -> None:
            for occurrence, test, body in branches:
                frame.occurrence = occurrence
                if test(frame):
                    return body(frame)
            return otherwise(frame)

        return run

    def loop(self, node: nodes.For) -> Execute:
        if node.recursive:
            raise TemplateError("a loop cannot be recursive", "", node.lineno)
        iterable, occurrence = self.expression(node.iter), node.lineno
        outer_names, outer_sees_loop, outer_weight = self.locals, self.sees_loop, self.weight
        assign = self.target(cast(nodes.Expr, node.target))
        self.weight = ROUND
        test = self.expression(node.test) if node.test else None
        cost, self.weight = self.weight, outer_weight
        self.sees_loop = False
        self.locals |= {"loop"}
        body = self.body(node.body)
        sees_loop, self.sees_loop, self.locals = self.sees_loop, outer_sees_loop, outer_names
        otherwise = self.body(node.else_)

        def enter(frame: Frame, outer: Mapping[str, Any], row: Json) -> dict[str, Any]:
            frame.spend(cost + (len(outer) >> 3))
            frame.occurrence = occurrence
            frame.names = names = dict(outer)
            assign(names, row)
            return names

        def run(frame: Frame) -> None:
            frame.occurrence = occurrence
            rows, outer = iterate(iterable(frame)), frame.names
            if test is not None:
                rows = [row for row in rows if enter(frame, outer, row) and test(frame)]
            for index, row in enumerate(rows):
                names = enter(frame, outer, row)
                if sees_loop:
                    names["loop"] = _loop_at(index, rows)
                body(frame)
            frame.names = outer
            if not rows:
                otherwise(frame)

        return run

    def assignment(self, node: nodes.Assign) -> Execute:
        evaluate, occurrence = self.expression(node.node), node.lineno
        assign = self.target(node.target)

        def run(frame: Frame) -> None:
            frame.occurrence = occurrence
            assign(frame.names, evaluate(frame))

        return run

    def capture(self, node: nodes.AssignBlock) -> Execute:
        outer, occurrence = self.locals, node.lineno
        body = self.body(node.body)
        self.locals = outer
        captured: Evaluate = lambda frame: "".join(frame.parts)  # noqa: E731
        evaluate = self.filtered(node.filter, captured) if node.filter else captured
        assign = self.target(node.target)

        def run(frame: Frame) -> None:
            parts, frame.parts = frame.parts, []
            names, frame.names = frame.names, dict(frame.names)
            body(frame)
            frame.occurrence = occurrence
            value, frame.parts, frame.names = evaluate(frame), parts, names
            assign(names, value)

        return run

    def filtered(self, node: nodes.Filter, captured: Evaluate) -> Evaluate:
        """`{% set x | upper | trim %}`: filters over what the block wrote."""
        inner = self.filtered(node.node, captured) if isinstance(node.node, nodes.Filter) else captured
        return self.filter_call(node, inner)

    def target(self, node: nodes.Expr) -> Callable[[Any, Json], None]:
        """Bind a name, or names from a list; the closure takes the names to bind in and the value."""
        occurrence = node.lineno
        if isinstance(node, nodes.Name):
            name = node.name
            if name in RESERVED:
                raise TemplateError(
                    f'"{name}" is a name of the language and cannot be set', "take another", occurrence
                )
            self.bound.append((name, occurrence))
            self.locals |= {name}
            return lambda names, value: names.__setitem__(name, value)
        if not isinstance(node, nodes.Tuple):
            raise TemplateError("only plain names can be set", "", occurrence)
        parts = [self.target(item) for item in node.items]

        def unpack(names: Any, value: Json) -> None:
            if not isinstance(value, list | tuple) or len(value) != len(parts):
                found = f"a list of {len(value)}" if isinstance(value, list | tuple) else kind_of(value)
                raise EvaluationError(f"cannot take {found} apart into {len(parts)} names")
            for part, item in zip(parts, value, strict=True):
                part(names, item)

        return unpack


def _value_of(evaluate: Evaluate, occurrence: int, *, passes_on: bool) -> Evaluate:
    """The value of one `${{ … }}` as it is. `passes_on`: it is a part of what is in scope, whose size is known."""

    def run(frame: Frame) -> Json:
        frame.occurrence = occurrence
        value = evaluate(frame)
        if passes_on:
            return value
        if isinstance(value, str):
            return fit_output(value)
        weigh(value)
        return value

    return run


def _written(evaluate: Evaluate, occurrence: int) -> Execute:
    def write(frame: Frame) -> None:
        frame.occurrence = occurrence
        frame.write(evaluate(frame))

    return write


def _in_turn(steps: Sequence[Execute], weight: int) -> Execute:
    def run(frame: Frame) -> None:
        frame.spend(weight)
        for step in steps:
            step(frame)

    return run


def _loop_at(index: int, rows: list[Json]) -> dict[str, Json]:
    length = len(rows)
    loop = {
        "index": index + 1,
        "index0": index,
        "revindex": length - index,
        "revindex0": length - index - 1,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
    }
    if index > 0:
        loop["previtem"] = rows[index - 1]
    if index + 1 < length:
        loop["nextitem"] = rows[index + 1]
    return loop
