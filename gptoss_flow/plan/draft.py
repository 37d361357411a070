"""A step while it is compiled: its parts, the references that become edges, and at last its node."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from gptoss_flow.fields import is_template
from gptoss_flow.lang.defaults import COMMON, FALLBACK, fallback_of
from gptoss_flow.lang.document import Path
from gptoss_flow.plan.body import Body, Nameable
from gptoss_flow.plan.fan_out import FanOutDraft
from gptoss_flow.plan.names import ERROR, REPEAT_LOOP, Known, is_tolerant
from gptoss_flow.plan.order import Edge
from gptoss_flow.plan.parts import Parts
from gptoss_flow.plan.plan import Condition, Need, Node, RepeatRule, Values
from gptoss_flow.plan.reader import Reader
from gptoss_flow.refs import Reference, compile_value
from gptoss_flow.steps.base import WHEN_ALWAYS, OnError, StepKeys, UnitKeys

COMMON_KEYS = ("timeout", "retry")
NOTHING, _ = compile_value({})


class Draft:
    """The step at `path`. `known` are the names in scope."""

    def __init__(self, reader: Reader, path: Path, data: dict[str, Any], nameable: Nameable, known: Known) -> None:
        self.reader, self.path, self.data = reader, path, data
        self.id = str(path[1])
        self.final = path[0] == "finally"
        self.parts = parts = Parts(reader, path)
        self.items = FanOutDraft(parts, data, known)
        item = self.items.known
        repeat = data.get("repeat")
        in_round: Known = {**item, "loop": REPEAT_LOOP} if isinstance(repeat, dict) else item
        self.body = Body(parts, nameable, data, path, in_round)
        self.common = self._common(repeat, item)
        self.when = self._when(item)
        self.until = self._until(repeat, in_round)
        self.expect = (
            parts.conditions(data, "expect", path, {**in_round, "output": None}) if "expect" in data else ()
        )
        self.cache_key = self._cache_key(item)
        self.fallback = self._fallback(nameable, item)
        if self.body.server is None and parts.uses_tokens:
            self.body.server = self.body.find_server(cuts=True)

    # --- parts --------------------------------------------------------------------------------------------------

    def _common(self, repeat: Any, item: Known) -> Values:
        common = {key: self.data[key] for key in COMMON_KEYS if key in self.data}
        if isinstance(repeat, dict):
            # Its `until` is judged after each round, when there is an output.
            common["repeat"] = {key: value for key, value in repeat.items() if key != "until"}
        if not common:
            return Values(self.path, NOTHING)
        values = self.parts.values(common, (), item)
        if values.compiled.templates:
            self.reader.fits(UnitKeys, common, self.path)
        return values

    def _when(self, item: Known) -> Condition | None:
        when = self.data.get("when")
        if when is None or when == WHEN_ALWAYS:
            return None
        if isinstance(when, str) and not is_template(when):
            return None  # its shape is already a problem
        return self.parts.condition(when, (*self.path, "when"), item)

    def _until(self, repeat: Any, in_round: Known) -> Condition | None:
        if not isinstance(repeat, dict) or not isinstance(repeat.get("until"), str | bool):
            return None
        known = {**in_round, "output": None}
        return self.parts.condition(repeat["until"], (*self.path, "repeat", "until"), known)

    def _cache_key(self, item: Known) -> Values | None:
        cache = self.data.get("cache")
        if not isinstance(cache, dict) or "key" not in cache:
            return None
        return self.parts.values(cache["key"], ("cache", "key"), item)

    def _fallback(self, nameable: Nameable, item: Known) -> Body | None:
        data = fallback_of(self.data)
        if not isinstance(data, dict):
            return None
        path = (*self.path, *FALLBACK)
        body = Body(self.parts, nameable, data, path, {**item, "error": ERROR})
        for key in data:
            if body.kind is not None and key in COMMON and key not in body.kind.body_keys:
                mark = self.reader.loaded.key_mark((*path, key))
                said = f'"{key}" cannot stand in a fallback, which is the body of a step'
                self.reader.problem(mark, said, f'write it beside "on_error" of step "{self.id}"')
        return body

    # --- edges and node -----------------------------------------------------------------------------------------

    def edges(self) -> Iterator[Edge]:
        """Each use of another step, with its place. A final step waits for no ordinary one: those have ended."""
        names = self.reader.names
        bodies = (self.body, self.fallback) if self.fallback else (self.body,)
        used = (pair for body in bodies for pair in body.values.compiled.references)
        for where, reference in chain(used, self.parts.references()):
            if needed := self._needed(reference):
                yield Edge(self.id, needed, is_tolerant(reference), where, reference.occurrence)
        needs = self.data.get("needs")
        for i, needed in enumerate(needs if isinstance(needs, list) else ()):
            if not isinstance(needed, str):
                continue  # its shape is already a problem
            where = (*self.path, "needs", i)
            if self._is_edge(needed):
                yield Edge(self.id, needed, False, where)
            elif fault := names.fault(Reference("steps", (needed,), False, 0), {"steps": None}, inside=self.id):
                self.reader.problem(self.reader.loaded.mark(where), *fault)

    def _fallback_node(self, index: int, step: StepKeys) -> Node | None:
        if self.fallback is None or not isinstance(step.on_error, OnError):
            return None
        body = self.fallback
        return Node(
            id=self.id,
            index=index,
            step=step.on_error.fallback,
            needs=(),
            server=body.server,
            mark=self.reader.loaded.key_mark(body.path),
            body=body.values,
            common=Values(body.path, NOTHING),
            when=None,
            foreach=None,
            expect=(),
            conditions=body.conditions,
            inner=body.inner,
            tools=body.tools,
            schema=body.schema,
            permissions=body.permissions,
            effect=body.effect,
            final=self.final,
        )

    def _needed(self, reference: Reference) -> str | None:
        step = reference.path[0] if reference.root == "steps" and reference.path else None
        return step if step is not None and self._is_edge(step) else None

    def _is_edge(self, step: str) -> bool:
        names = self.reader.names
        return step in names.steps and (step in names.finals) == self.final

    def node(self, index: int, step: StepKeys, edges: list[Edge]) -> Node:
        """The finished node; only asked for where the whole file was found right."""
        needs: dict[str, Need] = {}
        for edge in edges:
            known = needs.get(edge.needed)
            tolerant = edge.tolerant and (known is None or known.tolerant)
            needs[edge.needed] = Need(edge.needed, tolerant)
        return Node(
            id=self.id,
            index=index,
            step=step,
            needs=tuple(needs.values()),
            server=self.body.server,
            mark=self.reader.loaded.key_mark(self.path),
            body=self.body.values,
            common=self.common,
            when=self.when,
            foreach=self.items.foreach,
            expect=self.expect,
            conditions=self.body.conditions,
            matrix=self.items.matrix,
            repeat=RepeatRule(self.until) if self.until else None,
            fallback=self._fallback_node(index, step),
            inner=self.body.inner,
            tools=self.body.tools,
            schema=self.body.schema,
            permissions=self.body.permissions,
            cache_key=self.cache_key,
            effect=self.body.effect,
            final=self.final,
            items=self.items.count,
            fan_out=self.items.limit,
        )
