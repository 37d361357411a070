"""The key of a unit: everything that decides its result, part by part, each as a short hash. Pure.

What counts is what the step would be given, not how the file says it: a key is made of rendered values. Where a
text is to be cut to a number of tokens, text and number stand for the cut, so that no server is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.permissions import NONE, granted
from gptoss_flow.plan.plan import Condition, Node, Values
from gptoss_flow.ports import Tool
from gptoss_flow.refs import NeedsTokens
from gptoss_flow.run.context import Scope, World, permissions_of, render

HASH_DIGITS = 16
FIRST_ROUND = {"index": 1, "index0": 0, "length": 1, "first": True, "last": False}
"""What stands for `loop` in the body of a `repeat`."""
SOME_ERROR = {"kind": "", "message": "", "attempts": 0, "at": ""}
"""What stands for `error` in a fallback."""
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def unit_key(world: World, node: Node, scope: Scope) -> dict[str, str]:
    """Part to hash: `step` (its kind and conditions), `inputs`, and, where it has such, `params`, `model`,
    `profile`, `tool` and `tools` (with the workspace), `permissions`, `schema`, `date`, `fallback`. Empty where it
    can't be told: the step will say why, or is one that has no key.

    `cache: {key: …}` takes the place of all parts but `step`. A secret's name is in the key, never its value.
    """
    if node.inner is not None:
        return {}  # the steps within have theirs
    if world.plan.secrets:
        scope = {**scope, "secrets": {name: f"secret {name}" for name in world.plan.secrets}}
    if node.repeat is not None:
        scope = {**scope, "loop": FIRST_ROUND}
    try:
        step = _step(node, scope)
        if node.cache_key is not None:
            # Another step may have the same key and mean something else by it.
            own = _hash([step, world.plan.name, node.id])
            return {"step": own, "key": _hash(_rendered(world, node.cache_key, scope))}
        body = dict(_rendered(world, node.body, scope))
    except (StepError, ValueError, TypeError, RecursionError):
        return {}
    key = {"step": step}
    nested = body.get(node.step.kind)
    if isinstance(nested, Mapping) and "params" in nested:
        key["params"] = _hash(nested["params"])
        body[node.step.kind] = {name: value for name, value in nested.items() if name != "params"}
    key["inputs"] = _hash(body)
    if node.server is not None:
        key |= world.models.identity(node.server)
        key["date"] = _hash(world.date)
    tool = body.get("tool")
    if isinstance(tool, str) and tool in world.tools:
        key["tool"] = _hash([tool, world.tools[tool].code, str(world.tool_context.workspace)])
    if node.tools:
        told = [_tool_told(tool, name) for name, tool in granted(node.tools, world.tools).items()]
        key["tools"] = _hash([told, str(world.tool_context.workspace)])
    if node.tools or isinstance(tool, str):
        key |= _permissions(world, node, scope)
    if node.schema is not None:
        key["schema"] = _hash(node.schema)
    if node.fallback is not None:
        instead = unit_key(world, node.fallback, {**scope, "error": SOME_ERROR})
        key["fallback"] = _hash(instead or str(node.fallback.body.compiled.data))
    return key


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts in which two keys differ."""
    return [part for part in dict.fromkeys([*before, *now]) if before.get(part) != now.get(part)]


def _tool_told(tool: Tool, name: str) -> Json:
    return [name, tool.description, dict(tool.parameters), tool.effect, tool.code]


def _permissions(world: World, node: Node, scope: Scope) -> dict[str, str]:
    """Which calls would be made, where anything is said of that."""
    plan = world.plan
    levels = [*world.outer, *(permissions_of(plan, each, scope) for each in (plan.permissions, node.permissions))]
    if all(level == NONE for level in levels):
        return {}
    return {"permissions": _hash([level.model_dump(mode="json") for level in levels])}


def _step(node: Node, scope: Scope) -> str:
    if not (node.conditions or node.expect or node.repeat):
        return _plain_step(node.step.kind)
    return _hash([node.step.kind, _shown(node.conditions, scope), _shown(node.expect, scope), _repeat(node)])


@cache
def _plain_step(kind: str) -> str:
    return _hash([kind, [], [], None])


def _rendered(world: World, values: Values, scope: Scope) -> Any:
    cuts: dict[tuple[str, int], str] = {}
    while True:
        try:
            return render(world.plan, values, scope, cuts)
        except NeedsTokens as needs:
            cuts |= {(text, count): f"{count} tokens of {_hash(text)}" for text, count in needs.cuts}


def _shown(conditions: Iterable[Condition], scope: Scope) -> Json:
    return [[c.text, c.template.shown(scope) if c.template else c.constant] for c in conditions]


def _repeat(node: Node) -> Json:
    """What each round is made of, as it is written: only the first can be rendered beforehand."""
    if node.repeat is None:
        return None
    return [node.repeat.until.text, str(node.common.compiled.data.get("repeat")), str(node.body.compiled.data)]


def _hash(value: Json) -> str:
    """Of canonical JSON: no two different values are written alike."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:HASH_DIGITS]
