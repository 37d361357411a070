"""Which names an expression may use, where: the scopes of flow-level values, steps and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from gptoss_flow.refs import RESERVED, Reference
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.words import MAX_COMPARED, suggest

RUN = ("id", "dir", "started_at")
FINAL_RUN = (*RUN, "status")
FLOW = ("name", "dir")
ERROR = ("kind", "message", "attempts", "at")
EVERY_STEP = ("output", "outcome", "error")
END_FIELDS = frozenset({"outcome", "error"})

FOREACH_LOOP = ("index", "index0", "length", "key", "first", "last")
MATRIX_LOOP = ("index", "index0", "length", "first", "last")
REPEAT_LOOP = MATRIX_LOOP

Known = Mapping[str, Iterable[str] | None]
"""The names in scope, each with the attributes it has; None where that is not known before the run."""


@dataclass(frozen=True)
class Names:
    """The names that a flow declares, from its data as written: usable even where other parts are wrong."""

    inputs: tuple[str, ...]
    vars: tuple[str, ...]
    env: tuple[str, ...]
    secrets: tuple[str, ...]
    steps: Mapping[str, str | None]
    """Step id to kind; None where that can't be told."""
    finals: frozenset[str]
    """The steps of `finally` among them."""
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What `output` has, of those steps of which it is known."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Names:
        def mapping(name: str) -> dict[str, Any]:
            part = data.get(name)
            return part if isinstance(part, dict) else {}

        def words(name: str) -> tuple[str, ...]:
            part = data.get(name)
            return tuple(word for word in part if isinstance(word, str)) if isinstance(part, list) else ()

        steps, finals = mapping("steps"), mapping("finally")
        return cls(
            inputs=tuple(mapping("inputs")),
            vars=tuple(mapping("vars")),
            env=words("env"),
            secrets=words("secrets"),
            steps={key: kind_of(step) for key, step in {**finals, **steps}.items()},
            finals=frozenset(finals.keys() - steps.keys()),
        )

    def for_vars(self, before: Iterable[str]) -> Known:
        return {"inputs": self.inputs, "env": self.env, "flow": FLOW, "run": RUN, "vars": tuple(before)}

    def for_servers(self) -> Known:
        return {"inputs": self.inputs, "vars": self.vars, "env": self.env}

    def for_steps(self, *, final: bool) -> Known:
        """What every value of a step may use; and, where it is no final one, every output of the flow."""
        return {**self.for_vars(self.vars), "steps": None, **({"run": FINAL_RUN} if final else {})}

    def fault(
        self, reference: Reference, known: Known, *, inside: str | None, secrets: bool = False
    ) -> tuple[str, str] | None:
        """What is wrong with a reference: message and hint.

        `inside` is the step that it stands in; `secrets`: it stands where these may be read.
        """
        root, path = reference.root, reference.path
        if root == "secrets":
            return self._secret_fault(path, secrets)
        if root not in known:
            return self._unknown(root, known)
        if not path:
            return None
        if root == "steps":
            return self._step_fault(path, inside)
        allowed = known[root]
        if allowed is not None and path[0] not in (names := tuple(allowed)):
            return self._no_attribute(root, path[0], names)
        return None

    def _no_attribute(self, root: str, name: str, names: tuple[str, ...]) -> tuple[str, str]:
        said = f'"{root}.{name}"'
        if root == "run" and name == "status":
            return f"{said} is known only in finally", "a step's own end is steps.<id>.outcome"
        if root == "vars" and name in self.vars:
            return f"{said} is not known yet", "a var may use those above it"
        word = {
            "inputs": "an input",
            "vars": "one of vars",
            "env": "listed under env",
            "matrix": "an axis of this matrix",
        }.get(root, f"in {root}")
        none = f"add env: [{name}]" if root == "env" else "the flow has none"
        return f"{said} is not {word}", suggest(name, names) if names else none

    def _secret_fault(self, path: tuple[str, ...], allowed: bool) -> tuple[str, str] | None:
        if not allowed:
            return (
                '"secrets" can be used only in what a tool step is given',
                'write it in the tool\'s "with"',
            )
        if not path:
            return '"secrets" stands only before a name', "write secrets.NAME"
        if path[0] not in self.secrets:
            listed = suggest(path[0], self.secrets) if self.secrets else f"add secrets: [{path[0]}]"
            return f'"secrets.{path[0]}" is not listed under secrets', listed
        return None

    def _unknown(self, root: str, known: Known) -> tuple[str, str]:
        places = {
            "item": "in a step with foreach",
            "loop": "in a step with foreach, matrix or repeat",
            "matrix": "in a step with matrix",
            "output": 'in "expect" and "until"',
            "error": "in a fallback",
        }
        if root == "steps":
            return '"steps" can\'t be used here', f"allowed: {', '.join(known)}"
        if root == "item" and "loop" in known and (called := known.keys() - RESERVED):
            return '"item" has another name here', f'"as" calls it {", ".join(sorted(called))}'
        if root in places:
            return f'"{root}" is known only {places[root]}', "allowed: " + ", ".join(known)
        if root in self.steps:
            return f'unknown name "{root}"', f'a step\'s result is written "steps.{root}.output"'
        if root in self.inputs:
            return f'unknown name "{root}"', f'an input is written "inputs.{root}"'
        return f'unknown name "{root}"', suggest(root, known)

    def _step_fault(self, path: tuple[str, ...], inside: str | None) -> tuple[str, str] | None:
        step = path[0]
        if step not in self.steps:
            others = [other for other in islice(self.steps, MAX_COMPARED + 1) if other != inside]
            said = f'step "{inside}" needs "{step}", which is not a step' if inside else f'"{step}" is not a step'
            return said, suggest(step, others) if others else "the flow has no other"
        if step in self.finals and inside is not None and inside not in self.finals:
            return f'step "{inside}" needs "{step}", which runs last', 'move one of them to or from "finally"'
        kind = self.steps[step]
        if len(path) > 1 and kind is not None:
            fields = (*EVERY_STEP, *KINDS[kind].result_fields)
            if path[1] not in fields:
                return f'"steps.{step}" has no "{path[1]}"', suggest(path[1], fields)
        if len(path) > 2 and path[1] == "output" and path[2] not in (names := self.outputs.get(step, (path[2],))):
            return f'"steps.{step}.output" has no "{path[2]}"', suggest(path[2], names)
        return None


def is_tolerant(reference: Reference) -> bool:
    """Whether the step can do without what this names: it stands under `default`, or reads how a step ended."""
    return reference.tolerant or (len(reference.path) > 1 and reference.path[1] in END_FIELDS)
