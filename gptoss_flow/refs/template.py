"""Template strings, and YAML values that hold some: compiled once, rendered as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from gptoss_flow.events import Json
from gptoss_flow.fields import is_template
from gptoss_flow.refs.errors import EvaluationError, NeedsTokens, Path, TemplateError
from gptoss_flow.refs.expressions import Reference
from gptoss_flow.refs.frame import Allowance, Frame
from gptoss_flow.refs.syntax import Program, compile_tags
from gptoss_flow.refs.tags import read, read_expression
from gptoss_flow.refs.values import UNDEFINED, descend, key_of

Cuts = Mapping[tuple[str, int], str]

MAX_SOURCE: Final = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One compiled string. `whole`: exactly one `${{ … }}`, whose value passes on as it is.

    `references` are its free names; `bound` the names that it sets itself, each with its occurrence.
    """

    text: str
    whole: bool
    references: tuple[Reference, ...]
    bound: tuple[tuple[str, int], ...]
    uses_tokens: bool
    _run: Callable[[Frame], Json] = field(repr=False)

    def render(
        self, scope: Mapping[str, Any], cuts: Cuts | None = None, allowance: Allowance | None = None
    ) -> Json:
        """The value. `cuts` has the results of `truncate_tokens`. Raises `EvaluationError` or `NeedsTokens`."""
        frame = Frame(scope, cuts, allowance)
        try:
            value = self._run(frame)
        except EvaluationError as error:
            if not frame.misses:
                error.occurrence = frame.occurrence
                raise
            # A text that is not yet cut may be what made it fail.
        except (RecursionError, UnicodeError, MemoryError) as error:
            raise EvaluationError(f"cannot be rendered: {error}", occurrence=frame.occurrence) from None
        finally:
            frame.close()
        if frame.misses:
            raise NeedsTokens(frozenset(frame.misses))
        return value

    def shown(self, scope: Mapping[str, Any]) -> list[tuple[str, Json]]:
        """The values of its references by their names, each once, without those that are undefined."""
        values: dict[str, Json] = {}
        for reference in self.references:
            value = scope.get(reference.root, UNDEFINED)
            for key in reference.path:
                value = descend(value, key if isinstance(value, Mapping) else key_of(key))
            if value is not UNDEFINED:
                values.setdefault(reference.name, value)
        return list(values.items())


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Compile a template string; equal texts are compiled once. Raises `TemplateError`."""
    if not is_template(text):
        return Template(text, False, (), (), False, lambda frame: text)
    _check_size(text)
    tags = read(text)
    return _template(text, tags.whole, compile_tags(tags))


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Template:
    """Compile a bare expression (`output > 3`) or one whole `${{ … }}`. Raises `TemplateError`."""
    if text.lstrip().startswith(("${{", "{%")):
        template = parse(text)
        if not template.whole:
            hint = "write it bare, or as one ${{ … }} with nothing around it"
            raise TemplateError("this takes exactly one expression", hint)
        return template
    if not text.strip():
        raise TemplateError("an expression is missing")
    _check_size(text)
    return _template(text, True, compile_tags(read_expression(text)))


def _template(text: str, whole: bool, program: Program) -> Template:
    return Template(text, whole, program.references, program.bound, program.uses_tokens, program.run)


def _check_size(text: str) -> None:
    if len(text) > MAX_SOURCE:
        raise TemplateError("a template is longer than 1 MiB", "read a long text from a file, with a tool step")


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A YAML value with its template strings compiled, by their places. Keys are never templates."""

    data: Json
    templates: tuple[tuple[Path, Template], ...]
    _node: _Node | None = field(repr=False)
    """None where there is nothing to render."""

    @property
    def references(self) -> tuple[tuple[Path, Reference], ...]:
        return tuple((path, reference) for path, template in self.templates for reference in template.references)

    @property
    def uses_tokens(self) -> bool:
        return any(template.uses_tokens for _, template in self.templates)

    @property
    def constant(self) -> bool:
        return not self.templates

    def render(
        self, scope: Mapping[str, Any], cuts: Cuts | None = None, allowance: Allowance | None = None
    ) -> Json:
        """The value with every template replaced by its own; parts without templates are shared, not copied.

        `allowance`: what all of them may cost, together with those of other values. Raises `EvaluationError` with
        the `path` of its scalar, or one `NeedsTokens` for all that must be cut.
        """
        if self._node is None:
            return self.data
        misses: set[tuple[str, int]] = set()
        value = self._node.render(scope, cuts, misses, allowance or Allowance())
        if misses:
            raise NeedsTokens(frozenset(misses))
        return value


def compile_value(
    data: Json, path: Path = (), reserved: Set[str] = frozenset()
) -> tuple[Compiled, list[tuple[Path, TemplateError]]]:
    """Compile all template strings of a value that stands at `path`, and collect every error.

    A string with an error stays as it is. `reserved` are names in scope here, beside the language's own, that no
    template may set (the `as` name of a `foreach`).
    """
    errors: list[tuple[Path, TemplateError]] = []
    templates: list[tuple[Path, Template]] = []

    def compile_node(data: Json, path: Path) -> _Node | None:
        """None where there is nothing to render."""
        if isinstance(data, dict):
            values = {key: node for key, value in data.items() if (node := compile_node(value, (*path, key)))}
            return _Mapping(data, values) if values else None
        if isinstance(data, list):
            items = {i: node for i, value in enumerate(data) if (node := compile_node(value, (*path, i)))}
            return _List(data, items) if items else None
        if not (isinstance(data, str) and is_template(data)):
            return None
        try:
            template = parse(data)
            for name, occurrence in template.bound:
                if name in reserved:
                    raise TemplateError(f'"{name}" is in scope here and cannot be set', "take another", occurrence)
        except TemplateError as error:
            errors.append((path, error))
            return None
        templates.append((path, template))
        return _Scalar(template, path)

    node = compile_node(data, path)
    return Compiled(data, tuple(templates), node), errors


Misses = set[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _Scalar:
    template: Template
    path: Path

    def render(self, scope: Mapping[str, Any], cuts: Cuts | None, misses: Misses, left: Allowance) -> Json:
        try:
            return self.template.render(scope, cuts, left)
        except NeedsTokens as needed:
            misses |= needed.cuts
            return None
        except EvaluationError as error:
            error.path = self.path
            raise


@dataclass(frozen=True, slots=True)
class _Mapping:
    data: dict[str, Json]
    values: dict[str, _Node]

    def render(self, scope: Mapping[str, Any], cuts: Cuts | None, misses: Misses, left: Allowance) -> Json:
        return self.data | {key: node.render(scope, cuts, misses, left) for key, node in self.values.items()}


@dataclass(frozen=True, slots=True)
class _List:
    data: list[Json]
    items: dict[int, _Node]

    def render(self, scope: Mapping[str, Any], cuts: Cuts | None, misses: Misses, left: Allowance) -> Json:
        rendered = list(self.data)
        for index, node in self.items.items():
            rendered[index] = node.render(scope, cuts, misses, left)
        return rendered


_Node = _Scalar | _Mapping | _List
