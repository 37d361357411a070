"""Plans made by hand, for tests of what walks them: nodes of a kind, what they need, flows inside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from gptoss_flow.errors import Mark
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.plan import Condition, Need, Node, Plan, Values
from gptoss_flow.refs import compile_value
from gptoss_flow.steps import KINDS

Kind = Literal["set", "prompt", "tool", "flow"]

MARK = Mark("flow.yaml", 1, 1)
BODIES: dict[Kind, dict[str, Any]] = {
    "set": {"set": {"x": 1}},
    "prompt": {"prompt": {"mode": "raw", "text": "x"}},
    "tool": {"tool": "list_files"},
    "flow": {"flow": "./other.yaml"},
}
LOADED = cast(LoadedFlow, None)  # no decision depends on the text


def values(data: Any) -> Values:
    return Values((), compile_value(data, (), frozenset())[0])


def node(
    name: str,
    needs: Sequence[str] = (),
    *,
    kind: Kind = "set",
    tolerant: bool = False,
    always: bool = False,
    fan: bool = False,
    maybe: bool = False,
    final: bool = False,
    fallback: Kind | None = None,
    inner: Plan | None = None,
) -> Node:
    """`fan`: it has items. `maybe`: it has a condition. A prompt is of the server `main`."""
    keys: Mapping[str, Any] = {**BODIES[kind], **({"when": "always"} if always else {})}
    return Node(
        id=name,
        index=0,
        step=KINDS[kind].model_validate(keys),
        needs=tuple(Need(need, tolerant) for need in needs),
        server="main" if kind == "prompt" else None,
        mark=MARK,
        body=values(BODIES[kind]),
        common=values({}),
        when=Condition("x", MARK, None) if maybe else None,
        foreach=values([1, 2, 3]) if fan else None,
        expect=(),
        conditions=(),
        fallback=node(name, kind=fallback) if fallback else None,
        inner=inner,
        final=final,
    )


def plan(*nodes: Node) -> Plan:
    """A plan of these nodes, in this order."""
    return Plan(
        name="flow",
        loaded=LOADED,
        nodes={one.id: replace(one, index=i) for i, one in enumerate(nodes)},
        servers={},
        vars=(),
        outputs=None,
        last_step=nodes[-1].id,
    )
