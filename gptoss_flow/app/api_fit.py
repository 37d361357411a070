"""What a flow asks of servers with OpenAI's APIs and they cannot do: found before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.llama.openai import NAMES, Api, how_to_say
from gptoss_flow.plan.plan import Node, Plan, Values
from gptoss_flow.server.problems import KeyProblem, located

LLAMA = "or ask a llama.cpp server (api: llama.cpp in the profile)"


def api_misfits(plan: Plan, profiles: Mapping[str, ResolvedProfile]) -> Iterator[Problem]:
    """Each key of a prompt step, or of a profile's `request`, that its server's API has no words for."""
    for name, resolved in profiles.items():
        api = resolved.profile.api
        if api == "llama.cpp":
            continue
        for key in resolved.profile.request.model_dump(exclude_none=True):
            if key not in NAMES[api]:
                said, path = f"api {api} cannot say request.{key}", ("request", key)
                yield located(KeyProblem(None, said, how_to_say(api), path), resolved)
        if plan.tokenizer == name:
            for where, values in _own_values(plan):
                if values.compiled.uses_tokens:
                    yield _no_tokens(plan.place(where), api)
        for node in plan.nodes.values():
            for each in (node, node.fallback):
                if each is not None and each.server == name:
                    yield from _of_node(plan, each, api)


def _of_node(plan: Plan, node: Node, api: Api) -> Iterator[Problem]:
    for path, template in node.body.compiled.templates:
        if template.uses_tokens:
            yield _no_tokens(_place(plan, path, node), api)
    yield from (_no_tokens(mark, api) for mark in _cut_beside(plan, node))
    body = node.body.compiled.data
    asked: Any = body.get("prompt") if isinstance(body, dict) else None
    if not isinstance(asked, dict):
        return
    path = (*node.body.path, "prompt")
    if asked.get("special") == "allow":
        said = f"special: allow needs the model's tokens, which api {api} does not give"
        yield Problem(_place(plan, (*path, "special"), node), said, f"remove it, {LLAMA}")
    if asked.get("mode") == "harmony":
        said = f"mode harmony makes the model's tokens, which api {api} does not take"
        hint = f"write mode: auto, which leaves the template to the server, {LLAMA}"
        yield Problem(_place(plan, (*path, "mode"), node), said, hint)
    if asked.get("mode") == "raw" and api == "responses":
        hint = f"write mode: chat, or set api: chat_completions, {LLAMA}"
        yield Problem(_place(plan, (*path, "mode"), node), "api responses has no raw mode", hint)
    params = asked.get("params")
    for key in params if isinstance(params, dict) else ():
        if key not in NAMES[api]:
            place = _place(plan, (*path, "params", key), node)
            yield Problem(place, f"api {api} cannot say params.{key}", how_to_say(api))


def _own_values(plan: Plan) -> list[tuple[Path, Values]]:
    of_vars: list[tuple[Path, Values]] = [(("vars", name), values) for name, values in plan.late_vars]
    return [*of_vars, *((("outputs", name), values) for name, values in (plan.outputs or {}).items())]


def _cut_beside(plan: Plan, node: Node) -> Iterator[Mark]:
    """Where expressions of a step beside its body cut texts."""
    matrix = node.matrix
    parts = [node.foreach, node.common, node.fan_out, node.cache_key]
    parts += [matrix.axes, matrix.include, matrix.exclude] if matrix else []
    for values in parts:
        if values is not None and values.compiled.uses_tokens:
            yield _place(plan, values.path, node)
    until = [node.repeat.until] if node.repeat else []
    for condition in (*([node.when] if node.when else []), *until, *node.expect, *node.conditions):
        if condition.template is not None and condition.template.uses_tokens:
            yield condition.mark


def _no_tokens(mark: Mark, api: Api) -> Problem:
    said = f"truncate_tokens needs the model's tokens, which api {api} does not give"
    return Problem(mark, said, f"use truncate, {LLAMA}")


def _place(plan: Plan, path: Path, node: Node) -> Mark:
    """Where it is written; what `defaults` say is at the step."""
    try:
        return plan.place(path)
    except (KeyError, IndexError, LookupError):
        return node.mark
