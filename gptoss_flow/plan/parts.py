"""The values and conditions of a step that stand beside its bodies: compiled; what they name is kept for edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gptoss_flow.lang.document import Path
from gptoss_flow.plan.names import Known
from gptoss_flow.plan.plan import Condition, Values
from gptoss_flow.plan.reader import Reader
from gptoss_flow.refs import Reference


class Parts:
    """What was compiled so far of the step at `path`."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self.reader, self.path = reader, path
        self.step_id = str(path[1])
        self._templated: list[Values] = []
        self._asked: list[tuple[Path, Condition]] = []

    def values(self, data: Any, key: Path, known: Known) -> Values:
        """What stands under this key of the step."""
        values = self.reader.values(data, (*self.path, *key), known, self.step_id, tokens=True)
        if values.compiled.templates:
            self._templated.append(values)
        return values

    def condition(self, text: str | bool, path: Path, known: Known) -> Condition:
        condition = self.reader.condition(text, path, known, self.step_id)
        self._asked.append((path, condition))
        return condition

    def conditions(self, data: Mapping[str, Any], key: str, path: Path, known: Known) -> tuple[Condition, ...]:
        """A list of expressions, under `key` of the `data` at `path`."""
        given = data.get(key)
        if not isinstance(given, list):
            return ()
        where = (*path, key)
        return tuple(
            self.condition(text, (*where, i), known)
            for i, text in enumerate(given)
            if isinstance(text, str | bool)
        )

    @property
    def uses_tokens(self) -> bool:
        """Some expression cuts texts."""
        return any(values.compiled.uses_tokens for values in self._templated) or any(
            condition.template is not None and condition.template.uses_tokens for _, condition in self._asked
        )

    def references(self) -> Iterator[tuple[Path, Reference]]:
        """Each name that is used, with the value that it stands in."""
        for values in self._templated:
            yield from values.compiled.references
        for where, condition in self._asked:
            for reference in condition.template.references if condition.template else ():
                yield where, reference
