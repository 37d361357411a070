"""Which names an expression may use, where: the scopes of flow-level values, steps and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_flow.refs import Reference
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.words import suggest

RUN = ("id", "dir", "started_at")
FLOW = ("name", "dir")
EVERY_STEP = ("output", "outcome", "error")
END_FIELDS = frozenset({"outcome", "error"})

Known = Mapping[str, Iterable[str] | None]
"""The names in scope, each with the attributes it has; None where that is not known before the run."""


@dataclass(frozen=True)
class Names:
    """The names that a flow declares, from its data as written: usable even where other parts are wrong."""

    inputs: tuple[str, ...]
    vars: tuple[str, ...]
    env: tuple[str, ...]
    steps: Mapping[str, str | None]
    """Step id to kind; None where that can't be told."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Names:
        def keys(name: str) -> tuple[str, ...]:
            part = data.get(name)
            return tuple(part) if isinstance(part, dict) else ()

        env = data.get("env")
        steps = data.get("steps")
        return cls(
            keys("inputs"),
            keys("vars"),
            tuple(name for name in env if isinstance(name, str)) if isinstance(env, list) else (),
            {key: kind_of(step) for key, step in steps.items()} if isinstance(steps, dict) else {},
        )

    def for_vars(self, before: Iterable[str]) -> Known:
        return {"inputs": self.inputs, "env": self.env, "flow": FLOW, "run": RUN, "vars": tuple(before)}

    def for_servers(self) -> Known:
        return {"inputs": self.inputs, "vars": self.vars, "env": self.env}

    def for_outputs(self) -> Known:
        return {**self.for_vars(self.vars), "steps": None}

    def for_step(self, step: Any, *, in_item: bool) -> Known:
        """Of a step's body; `in_item` for what is rendered for each item of a `foreach`."""
        known = dict(self.for_outputs())
        if in_item and isinstance(step, dict) and "foreach" in step:
            item = step.get("as", "item")
            known |= {item if isinstance(item, str) else "item": None, "loop": LOOP}
        return known

    def fault(self, reference: Reference, known: Known, *, inside: str | None) -> tuple[str, str] | None:
        """What is wrong with a reference: message and hint. `inside` is the step that it stands in."""
        root, path = reference.root, reference.path
        if root not in known:
            return self._unknown(root, known)
        if not path:
            return None
        if root == "steps":
            return self._step_fault(path, inside)
        allowed = known[root]
        if allowed is not None and path[0] not in (names := tuple(allowed)):
            word = {"inputs": "an input", "vars": "one of vars", "env": "listed under env"}.get(root, f"in {root}")
            return f'"{root}.{path[0]}" is not {word}', suggest(path[0], names) if names else "the flow has none"
        return None

    def _unknown(self, root: str, known: Known) -> tuple[str, str]:
        if root == "steps":
            return '"steps" can\'t be used here', f"allowed: {', '.join(known)}"
        if root in ("loop", "item"):
            return f'"{root}" is known only in a step with foreach', "allowed: " + ", ".join(known)
        if root in self.steps:
            return f'unknown name "{root}"', f'a step\'s result is written "steps.{root}.output"'
        if root in self.inputs:
            return f'unknown name "{root}"', f'an input is written "inputs.{root}"'
        return f'unknown name "{root}"', suggest(root, known)

    def _step_fault(self, path: tuple[str, ...], inside: str | None) -> tuple[str, str] | None:
        step = path[0]
        if step not in self.steps:
            needing = f'step "{inside}" needs' if inside else "needs"
            return f'{needing} "{step}", which is not a step', suggest(step, self.steps)
        kind = self.steps[step]
        if len(path) > 1 and kind is not None:
            fields = (*EVERY_STEP, *KINDS[kind].result_fields)
            if path[1] not in fields:
                return f'"steps.{step}" has no "{path[1]}"', suggest(path[1], fields)
        return None


LOOP = ("index", "index0", "length", "key", "first", "last")
"""`loop` in a `foreach`."""


def is_tolerant(reference: Reference) -> bool:
    """Whether the step can do without what this names: it stands under `default`, or reads how a step ended."""
    return reference.tolerant or (len(reference.path) > 1 and reference.path[1] in END_FIELDS)
