"""A step while it is compiled: its parts, the references that become edges, and at last its node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gptoss_flow.fields import is_template
from gptoss_flow.lang.defaults import COMMON, FALLBACK, fallback_of
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.wording import shown
from gptoss_flow.plan.arguments import argument_problems
from gptoss_flow.plan.bench import bench_problems
from gptoss_flow.plan.cells import cells
from gptoss_flow.plan.flow_inputs import input_problems
from gptoss_flow.plan.grants import continued, granted_tools, permissions, schema_of
from gptoss_flow.plan.names import ERROR, FOREACH_LOOP, MATRIX_LOOP, REPEAT_LOOP, Known, is_tolerant
from gptoss_flow.plan.order import Edge
from gptoss_flow.plan.plan import Condition, Matrix, Need, Node, Plan, RepeatRule, Values
from gptoss_flow.plan.reader import NOT_KNOWN, Reader
from gptoss_flow.ports import Tool
from gptoss_flow.refs import RESERVED, Reference, compile_value
from gptoss_flow.sampling import Params
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.steps.base import WHEN_ALWAYS, CommonKeys, Effect, OnError, StepKeys, UnitKeys
from gptoss_flow.words import suggest

COMMON_KEYS = ("timeout", "retry")
CELL_KEYS = ("include", "exclude")
NOTHING, _ = compile_value({})


class Body:
    """The kind's own keys of a step or of its fallback: compiled, with what they run on."""

    def __init__(self, draft: Draft, data: dict[str, Any], path: Path, known: Known) -> None:
        reader = draft.reader
        self.data, self.path = data, path
        self.kind = kind = KINDS[name] if (name := kind_of(data)) else None
        body_keys = kind.body_keys if kind else ()
        conditions = kind.conditions_key if kind else None
        self.tools: tuple[str, ...] = ()
        self.schema: dict[str, Any] | None = None
        self.permissions: Values | None = None
        given = {key: data[key] for key in body_keys if key in data and key != conditions}
        if kind is not None and kind.kind == "prompt":
            given = self._prompt(draft, given)
        elif kind is not None and kind.kind == "tool":
            self.permissions = permissions(reader, data.get("permissions"), (*path, "permissions"), draft.tools)
        self.values = reader.values(
            given,
            path,
            known,
            draft.id,
            tokens=True,
            secrets=[(*path, key) for key in kind.secret_keys] if kind else (),
        )
        self.conditions = draft.conditions(data, conditions, path, known) if conditions else ()
        self.server = draft.server_of(self)
        self.inner: Plan | None = None
        self.effect: Effect = data.get("effect") or "pure"
        if kind is None:
            return
        if kind.kind == "tool":
            reader.problems += argument_problems(reader, self.values, draft.tools)
            tool = draft.tools.get(data["tool"]) if isinstance(data["tool"], str) else None
            if tool is not None and "effect" not in data:
                self.effect = tool.effect
        elif kind.kind == "flow":
            self.inner = draft.inner.get(data["flow"]) if isinstance(data["flow"], str) else None
            if self.inner is not None:
                reader.problems += input_problems(reader, self.values, self.inner)
        elif kind.kind == "bench":
            reader.problems += bench_problems(reader, data["bench"], (*path, "bench"))
        elif kind.kind == "prompt" and self.values.compiled.templates:
            prompt = data["prompt"]
            if isinstance(prompt, dict) and isinstance(params := prompt.get("params"), dict):
                reader.fits(Params, params, (*path, "prompt", "params"))

    def _prompt(self, draft: Draft, given: dict[str, Any]) -> dict[str, Any]:
        """A prompt's keys that are rendered for each run of the step; what it grants is known before."""
        reader, prompt, path = draft.reader, given.get("prompt"), (*self.path, "prompt")
        if not isinstance(prompt, dict):
            return given
        self.tools = granted_tools(reader, prompt, path, draft.tools)
        self.schema = schema_of(reader, prompt, path)
        self.permissions = permissions(reader, prompt.get("permissions"), (*path, "permissions"), draft.tools)
        left_out = {"permissions", "continue", *(["schema"] if isinstance(prompt.get("schema"), str) else [])}
        rendered = {key: value for key, value in prompt.items() if key not in left_out}
        if (conversation := continued(reader, prompt, path)) is not None:
            rendered["continue"] = conversation
        return {**given, "prompt": rendered}


class Draft:
    """`inner` are the plans of the flows that steps run, by the path as written."""

    def __init__(
        self,
        reader: Reader,
        path: Path,
        data: dict[str, Any],
        *,
        tools: Mapping[str, Tool],
        servers: Mapping[str, Any],
        inner: Mapping[str, Plan],
        known: Known,
    ) -> None:
        self.reader, self.path, self.data = reader, path, data
        self.tools, self.servers, self.inner = tools, servers, inner
        self.id = str(path[1])
        self.final = path[0] == "finally"
        self.templated: list[Values] = []
        self.asked: list[tuple[Path, Condition]] = []
        """What was compiled beside the bodies: its references are edges too."""
        self.items = 1
        self.foreach = self._foreach(known)
        self.matrix = self._matrix(known)
        item = self._item_names(known)
        repeat = data.get("repeat")
        self.in_round: Known = {**item, "loop": REPEAT_LOOP} if isinstance(repeat, dict) else item
        self.body = Body(self, data, path, self.in_round)
        self.common = self._common(repeat, item)
        self.fan_out = self._fan_out(known)
        self.when = self._when(item)
        self.until = self._until(repeat)
        self.expect = (
            self.conditions(data, "expect", path, {**self.in_round, "output": None}) if "expect" in data else ()
        )
        self.cache_key = self._cache_key(item)
        self.fallback = self._fallback(item)
        if self.body.server is None and self._uses_tokens():
            self.body.server = self.server_of(self.body, cuts=True)

    # --- parts --------------------------------------------------------------------------------------------------

    def _compiled(self, data: Any, key: Path, known: Known) -> Values:
        values = self.reader.values(data, (*self.path, *key), known, self.id, tokens=True)
        if values.compiled.templates:
            self.templated.append(values)
        return values

    def _foreach(self, known: Known) -> Values | None:
        reader, given = self.reader, self.data.get("foreach")
        if given is None:
            if "as" in self.data:
                mark = reader.loaded.key_mark((*self.path, "as"))
                reader.problem(mark, '"as" names the item of a foreach', 'add "foreach", or remove "as"')
            return None
        if "matrix" in self.data:
            mark = reader.loaded.key_mark((*self.path, "matrix"))
            said = f'step "{self.id}" has both "foreach" and "matrix"'
            reader.problem(mark, said, "keep one of them: an axis may be an expression")
        values = self._compiled(given, ("foreach",), known)
        items = given if isinstance(given, list | dict) else reader.now(given, values.path)
        if isinstance(items, list | dict):
            self.items = len(items)
        elif isinstance(given, str) and values.compiled.templates and items is not NOT_KNOWN:
            mark = reader.loaded.mark(values.path)
            reader.problem(mark, '"foreach" gives neither a list nor a mapping', f"it gives {shown(items)}")
        return values

    def _matrix(self, known: Known) -> Matrix | None:
        given = self.data.get("matrix")
        if not isinstance(given, dict):
            return None
        axes = {name: values for name, values in given.items() if name not in CELL_KEYS}
        parts = {key: self._compiled(given[key], ("matrix", key), known) for key in CELL_KEYS if key in given}
        matrix = Matrix(self._compiled(axes, ("matrix",), known), parts.get("include"), parts.get("exclude"))
        reader = self.reader
        found = reader.now(given, (*self.path, "matrix"))
        if not given:
            reader.problem(
                reader.loaded.key_mark(matrix.axes.path), '"matrix" has no axis', "write axis: [values]"
            )
        elif isinstance(found, dict) and all(isinstance(v, list) or is_template(str(v)) for v in given.values()):
            try:
                self.items = len(cells({name: found[name] for name in axes}, *map(found.get, CELL_KEYS)))
            except ValueError as error:
                reader.problem(reader.loaded.key_mark(matrix.axes.path), str(error))
        return matrix

    def _item_names(self, known: Known) -> Known:
        """What the values of an item may use."""
        if self.matrix is not None:
            return {**known, "matrix": self._cell_keys(), "loop": MATRIX_LOOP}
        if self.foreach is None:
            return known
        name = self.data.get("as", "item")
        if not isinstance(name, str):
            name = "item"  # its shape is already a problem
        if name in known or (name in RESERVED and name != "item"):
            mark = self.reader.loaded.mark((*self.path, "as"))
            self.reader.problem(mark, f'"{name}" is a name of the language and cannot be set', "take another")
        return {**known, name: None, "loop": FOREACH_LOOP}

    def _cell_keys(self) -> list[str] | None:
        """The axes, and what `include` adds; None where that cannot be told."""
        given = self.data["matrix"]
        include = given.get("include", [])
        if not isinstance(include, list) or not all(isinstance(entry, dict) for entry in include):
            return None
        added = [key for entry in include for key in entry]
        return list(dict.fromkeys([*(name for name in given if name not in CELL_KEYS), *added]))

    def _common(self, repeat: Any, item: Known) -> Values:
        common = {key: self.data[key] for key in COMMON_KEYS if key in self.data}
        if isinstance(repeat, dict):
            # Its `until` is judged after each round, when there is an output.
            common["repeat"] = {key: value for key, value in repeat.items() if key != "until"}
        if not common:
            return Values(self.path, NOTHING)
        values = self._compiled(common, (), item)
        if values.compiled.templates:
            self.reader.fits(UnitKeys, common, self.path)
        return values

    def _fan_out(self, known: Known) -> Values | None:
        if "max_parallel" not in self.data:
            return None
        given = {"max_parallel": self.data["max_parallel"]}
        self.reader.fits(CommonKeys, given, self.path)
        return self._compiled(given, (), known)

    def _when(self, item: Known) -> Condition | None:
        when = self.data.get("when")
        if when is None or when == WHEN_ALWAYS:
            return None
        if isinstance(when, str) and not is_template(when):
            return None  # its shape is already a problem
        return self._condition(when, (*self.path, "when"), item)

    def _until(self, repeat: Any) -> Condition | None:
        if not isinstance(repeat, dict) or not isinstance(repeat.get("until"), str | bool):
            return None
        known = {**self.in_round, "output": None}
        return self._condition(repeat["until"], (*self.path, "repeat", "until"), known)

    def conditions(self, data: Mapping[str, Any], key: str, path: Path, known: Known) -> tuple[Condition, ...]:
        given = data.get(key)
        if not isinstance(given, list):
            return ()
        where = (*path, key)
        return tuple(
            self._condition(text, (*where, i), known)
            for i, text in enumerate(given)
            if isinstance(text, str | bool)
        )

    def _condition(self, text: str | bool, path: Path, known: Known) -> Condition:
        condition = self.reader.condition(text, path, known, self.id)
        self.asked.append((path, condition))
        return condition

    def _cache_key(self, item: Known) -> Values | None:
        cache = self.data.get("cache")
        if not isinstance(cache, dict) or "key" not in cache:
            return None
        return self._compiled(cache["key"], ("cache", "key"), item)

    def _fallback(self, item: Known) -> Body | None:
        data = fallback_of(self.data)
        if not isinstance(data, dict):
            return None
        path = (*self.path, *FALLBACK)
        body = Body(self, data, path, {**item, "error": ERROR})
        for key in data:
            if body.kind is not None and key in COMMON and key not in body.kind.body_keys:
                mark = self.reader.loaded.key_mark((*path, key))
                said = f'"{key}" cannot stand in a fallback, which is the body of a step'
                self.reader.problem(mark, said, f'write it beside "on_error" of step "{self.id}"')
        return body

    def _uses_tokens(self) -> bool:
        """Whether an expression beside the body cuts texts."""
        return any(values.compiled.uses_tokens for values in self.templated) or any(
            condition.template is not None and condition.template.uses_tokens for _, condition in self.asked
        )

    def server_of(self, body: Body, *, cuts: bool = False) -> str | None:
        """The server whose slots the step uses, or whose tokenizer its expressions need (`cuts`: those beside)."""
        kind, reader, servers = body.kind, self.reader, self.servers
        if kind is None or not (kind.runs_on == "server" or cuts or body.values.compiled.uses_tokens):
            return None
        given = body.data.get(kind.kind)
        named = given.get("server") if isinstance(given, dict) else None
        if isinstance(named, str):
            if named not in servers:
                mark = reader.loaded.mark((*body.path, kind.kind, "server"))
                reader.problem(mark, f'"{named}" is not one of the flow\'s servers', suggest(named, servers))
            return named
        if len(servers) == 1:
            return next(iter(servers))
        reader.problem(
            reader.loaded.key_mark(body.path),
            f'step "{self.id}" does not say which server it uses',
            f'add "server", or "defaults: {{prompt: {{server: …}}}}"; allowed: {", ".join(servers)}',
        )
        return None

    # --- edges and node -----------------------------------------------------------------------------------------

    def edges(self) -> Iterator[Edge]:
        """Each use of another step, with its place. A final step waits for no ordinary one: those have ended."""
        names = self.reader.names
        bodies = (self.body, self.fallback) if self.fallback else (self.body,)
        for values in (*(body.values for body in bodies), *self.templated):
            for where, reference in values.compiled.references:
                if needed := self._needed(reference):
                    yield Edge(self.id, needed, is_tolerant(reference), where, reference.occurrence)
        for where, condition in self.asked:
            for reference in condition.template.references if condition.template else ():
                if needed := self._needed(reference):
                    yield Edge(self.id, needed, is_tolerant(reference), where)
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
            foreach=self.foreach,
            expect=self.expect,
            conditions=self.body.conditions,
            matrix=self.matrix,
            repeat=RepeatRule(self.until) if self.until else None,
            fallback=self._fallback_node(index, step),
            inner=self.body.inner,
            tools=self.body.tools,
            schema=self.body.schema,
            permissions=self.body.permissions,
            cache_key=self.cache_key,
            effect=self.body.effect,
            final=self.final,
            items=self.items,
            fan_out=self.fan_out,
        )
