"""Which steps of a plan are to run where the user asks for some of them only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.plan.plan import Plan
from gptoss_flow.words import suggest


def only(plan: Plan, ids: Iterable[str]) -> frozenset[str]:
    """These steps and all that they need, directly or not."""
    return _reached(ids, {node.id: [need.step for need in node.needs] for node in plan.nodes.values()})


def since(plan: Plan, ids: Iterable[str]) -> frozenset[str]:
    """These steps and all that depend on them; `finally` comes after everything, and so after them."""
    dependents: dict[str, list[str]] = {step: [] for step in plan.nodes}
    for needed, needing in plan.edges():
        dependents[needed].append(needing)
    finals = (node.id for node in plan.nodes.values() if node.final)
    return _reached([*ids, *finals], dependents)


def selection(plan: Plan, wanted: Sequence[str], start: Sequence[str]) -> frozenset[str] | None:
    """The steps that have a part in a run with `--only` or `--from`; None: all. Raises `Invalid` for what is none.

    With `--from`, the results of those that are not among `since` are to be taken from an earlier run: of steps
    that are needed, and of those that the flow's outputs and its last steps show.
    """
    problems = [
        Problem(None, f'{option} {step}: the flow has no step "{step}"', suggest(step, plan.nodes))
        for option, steps in (("--only", wanted), ("--from", start))
        for step in steps
        if step not in plan.nodes
    ]
    if wanted and start:
        problems.append(Problem(None, "--only and --from exclude each other", "give one of them"))
    if problems:
        raise Invalid(*problems)
    if wanted:
        return only(plan, wanted)
    return only(plan, [*since(plan, start), *_shown_at_end(plan)]) if start else None


def _shown_at_end(plan: Plan) -> Iterator[str]:
    """The steps that outputs and final steps read."""
    if plan.outputs is None:
        yield plan.last_step
    finals = (node.body for node in plan.nodes.values() if node.final)
    for values in (*(plan.outputs or {}).values(), *finals):
        for _, reference in values.compiled.references:
            if reference.root == "steps" and reference.path:
                yield reference.path[0]


def _reached(ids: Iterable[str], edges: Mapping[str, Sequence[str]]) -> frozenset[str]:
    found, todo = set[str](), list(ids)
    while todo:
        step = todo.pop()
        if step not in found:
            found.add(step)
            todo += edges[step]
    return frozenset(found)
