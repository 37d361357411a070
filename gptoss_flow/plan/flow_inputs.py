"""Places what is wrong with the inputs that a flow step gives, as far as they are known before the run."""

from __future__ import annotations

from collections.abc import Iterator

from gptoss_flow.errors import Problem
from gptoss_flow.fields import is_template, json_text
from gptoss_flow.plan.plan import Plan, Values
from gptoss_flow.plan.reader import Reader
from gptoss_flow.words import suggest


def input_problems(reader: Reader, body: Values, inner: Plan) -> Iterator[Problem]:
    """Every problem of a flow step's `with`, and of a flow that cannot stand inside another."""
    loaded, path = reader.loaded, body.path
    flow = inner.loaded.flow
    assert flow is not None
    given = body.compiled.data.get("with", {})
    if not isinstance(given, dict):
        return  # its shape is already a problem
    bounds = sorted(flow.limits.model_fields_set - {"fail_fast"})
    if bounds:
        said = f'the flow "{inner.loaded.path}" has limits ({", ".join(bounds)}), which bound a whole run'
        yield Problem(loaded.mark((*path, "flow")), said, "write them in the flow that is run, this one")
    for name in given:
        if name not in flow.inputs:
            said = f'the flow "{inner.loaded.path}" has no input "{name}"'
            yield Problem(loaded.key_mark((*path, "with", name)), said, suggest(name, flow.inputs))
    known = {**given, **reader.entries_now(given, (*path, "with"))}
    for name, declared in flow.inputs.items():
        if name not in given:
            if declared.is_required:
                said = f'the flow "{inner.loaded.path}" needs the input "{name}"'
                yield Problem(loaded.key_mark(path), said, f"give it: with: {{{name}: …}}")
            continue
        value = known[name]
        if value is given[name] and is_template(json_text(value)):
            continue  # only the run will know it
        for fault in declared.faults(value):
            yield Problem(loaded.mark((*path, "with", name)), f'input "{name}": {fault}')
