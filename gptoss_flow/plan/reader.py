"""Compiles the strings of a flow's data, and finds what is wrong with their names and with values known early."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.events import Json
from gptoss_flow.fields import RENDERED, is_template, json_text
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.plan.names import Known, Names
from gptoss_flow.plan.plan import Condition, Values
from gptoss_flow.refs import (
    Allowance,
    EvaluationError,
    NeedsTokens,
    Reference,
    Template,
    TemplateError,
    compile_value,
    parse_expression,
)

MAX_PROBLEMS: Final = 1000
"""After so many the rest is not read."""

NOT_KNOWN: Final = object()
"""In place of a value that only a run will know."""


class TooManyProblems(Exception):
    """There are enough problems to mend first."""


class Reader:
    """One flow's data as written. It notes each problem and goes on."""

    def __init__(self, loaded: LoadedFlow) -> None:
        self.loaded = loaded
        self.data: dict[str, Any] = loaded.data
        self.names = Names.of(loaded.data)
        self.problems: list[Problem] = list(loaded.problems)
        self.allowance = Allowance(1)
        self.early = {"flow": {"name": loaded.name, "dir": str(loaded.folder)}, "inputs": _defaults(loaded.data)}
        """What expressions can be evaluated with before the run."""

    def problem(self, mark: Mark, message: str, hint: str = "") -> None:
        """Note a problem. Raises `TooManyProblems`."""
        self.problems.append(Problem(mark, message, hint))
        if len(self.problems) > MAX_PROBLEMS:
            raise TooManyProblems

    def values(
        self,
        data: Any,
        path: Path,
        known: Known,
        inside: str | None = None,
        *,
        tokens: bool = False,
        secrets: Collection[Path] = (),
    ) -> Values:
        """Compile the strings of `data`; its references are checked against the names in scope.

        `tokens`: `truncate_tokens` can be used here. `secrets` are the paths under which these may be read.
        """
        compiled, errors = compile_value(data, path, known.keys())
        for where, error in errors:
            self.problem(self.loaded.tag(where, error.occurrence), error.message, error.hint)
        for where, template in compiled.templates:
            granted = bool(secrets) and any(where[: len(prefix)] == prefix for prefix in secrets)
            for reference in template.references:
                self.check(where, reference, known, inside, granted)
        if compiled.templates and not tokens and compiled.uses_tokens:
            self.problem(self.loaded.mark(path), "truncate_tokens cannot be used here: no server runs yet")
        return Values(path, compiled)

    def condition(self, text: Any, path: Path, known: Known, inside: str) -> Condition:
        """Compile an expression that is asked for its truth."""
        mark = self.loaded.mark(path)
        if isinstance(text, bool):
            return Condition(str(text).lower(), mark, None, text)
        try:
            template = parse_expression(str(text))
        except TemplateError as error:
            self.problem(self.loaded.tag(path, error.occurrence), error.message, error.hint)
            return Condition(str(text), mark, None)
        for reference in template.references:
            self.check(path, reference, known, inside)
        return Condition(str(text), mark, template)

    def check(
        self, where: Path, reference: Reference, known: Known, inside: str | None, secrets: bool = False
    ) -> None:
        if fault := self.names.fault(reference, known, inside=inside, secrets=secrets):
            self.problem(self.loaded.tag(where, reference.occurrence), *fault)

    # --- what is known before the run -------------------------------------------------------------------------

    def now(self, data: Any, path: Path) -> Json:
        """The value, where it names only constants, `flow` and inputs with a default; else `NOT_KNOWN`.

        One that cannot be evaluated is a problem.
        """
        compiled, errors = compile_value(data, path)
        if errors or self.allowance.is_spent():
            return NOT_KNOWN
        if not all(self._is_early(template) for _, template in compiled.templates):
            return NOT_KNOWN
        try:
            return compiled.render(self.early, allowance=self.allowance)
        except NeedsTokens:
            return NOT_KNOWN
        except EvaluationError as error:
            if self.allowance.is_spent():
                return NOT_KNOWN  # all in all it is too much to be evaluated before the run
            self.problem(self.loaded.tag(error.path, error.occurrence), error.message, error.hint)
            return NOT_KNOWN

    def entries_now(self, given: Mapping[str, Any], path: Path) -> dict[str, Json]:
        """The entries of a mapping whose expressions are known before the run; without those that hold none."""
        found = {
            key: self.now(value, (*path, key))
            for key, value in given.items()
            if not isinstance(value, int | float | None) and is_template(json_text(value))
        }
        return {key: value for key, value in found.items() if value is not NOT_KNOWN}

    def fits(self, model: type[BaseModel], given: Mapping[str, Any], path: Path) -> None:
        """A problem for each entry whose value, as far as it is known, the model does not allow."""
        entries = self.entries_now(given, path)
        if not entries:
            return
        try:
            model.model_validate(entries, context=RENDERED)
        except ValidationError as error:
            self.problems += problems_of(
                error,
                entries,
                model=model,
                value=lambda inner: self.loaded.mark((*path, *inner)),
                key=lambda inner: self.loaded.key_mark((*path, *inner)),
            )

    def _is_early(self, template: Template) -> bool:
        return all(
            reference.root == "flow"
            or (reference.root == "inputs" and reference.path and reference.path[0] in self.early["inputs"])
            for reference in template.references
        )


def _defaults(data: Mapping[str, Any]) -> dict[str, Json]:
    """The inputs' defaults; null says only that there is none."""
    inputs = data.get("inputs")
    declared: Iterable[tuple[str, Any]] = inputs.items() if isinstance(inputs, dict) else ()
    return {
        name: entry["default"]
        for name, entry in declared
        if isinstance(entry, dict) and entry.get("default") is not None
    }
