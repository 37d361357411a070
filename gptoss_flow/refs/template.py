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


@dataclass(slots=True)
class _Asked:
    """One rendering of a value: what with, and the texts that could not be cut."""

    scope: Mapping[str, Any]
    cuts: Cuts | None
    allowance: Allowance
    misses: set[tuple[str, int]] = field(default_factory=set)


_Render = Callable[[_Asked], Json]


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A YAML value with its template strings compiled, by their places. Keys are never templates."""

    data: Json
    templates: tuple[tuple[Path, Template], ...]
    _render: _Render | None = field(repr=False)
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
        if self._render is None:
            return self.data
        asked = _Asked(scope, cuts, allowance or Allowance())
        value = self._render(asked)
        if asked.misses:
            raise NeedsTokens(frozenset(asked.misses))
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

    def compile_node(data: Json, path: Path) -> _Render | None:
        """None where there is nothing to render."""
        if isinstance(data, dict):
            values = {key: node for key, value in data.items() if (node := compile_node(value, (*path, key)))}
            return _mapping(data, values) if values else None
        if isinstance(data, list):
            items = {i: node for i, value in enumerate(data) if (node := compile_node(value, (*path, i)))}
            return _list(data, items) if items else None
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
        return _scalar(template, path)

    node = compile_node(data, path)
    return Compiled(data, tuple(templates), node), errors


def _scalar(template: Template, path: Path) -> _Render:
    def render(asked: _Asked) -> Json:
        try:
            return template.render(asked.scope, asked.cuts, asked.allowance)
        except NeedsTokens as needed:
            asked.misses |= needed.cuts
            return None
        except EvaluationError as error:
            error.path = path
            raise

    return render


def _mapping(data: dict[str, Json], values: dict[str, _Render]) -> _Render:
    return lambda asked: data | {key: render(asked) for key, render in values.items()}


def _list(data: list[Json], items: dict[int, _Render]) -> _Render:
    def rendered(asked: _Asked) -> Json:
        found = list(data)
        for index, render in items.items():
            found[index] = render(asked)
        return found

    return rendered
