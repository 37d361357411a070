"""Compiles a loaded flow into a plan: names, edges, order. Pure, and finds every problem before it says no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.fields import is_template
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.inputs import Input
from gptoss_flow.lang.load import LoadedFlow, servers_of
from gptoss_flow.plan.arguments import argument_problems
from gptoss_flow.plan.names import Known, Names, is_tolerant
from gptoss_flow.plan.order import Edge, in_order
from gptoss_flow.plan.plan import Condition, Need, Node, Plan, ServerRef, Values
from gptoss_flow.ports import Tool
from gptoss_flow.refs import Reference, TemplateError, compile_value, parse_expression
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.steps.base import WHEN_ALWAYS
from gptoss_flow.words import suggest

COMMON_KEYS = ("timeout", "retry", "max_parallel")


def compile_flow(loaded: LoadedFlow, tools: Mapping[str, Tool]) -> Plan:
    """The plan of a flow. Raises `Invalid` with every problem of the file, in file order."""
    return _Compiler(loaded, tools).plan()


class _Compiler:
    """One pass over the flow's data as written; it goes on after each problem."""

    def __init__(self, loaded: LoadedFlow, tools: Mapping[str, Tool]) -> None:
        self.loaded = loaded
        self.data: dict[str, Any] = loaded.data
        self.tools = tools
        self.names = Names.of(loaded.data)
        self.problems: list[Problem] = list(loaded.problems)
        self.servers = servers_of(self.data)

    def plan(self) -> Plan:
        self._check_inputs()
        variables = tuple(self._vars())
        servers = {name: self._server(name, given) for name, given in self.servers.items()}
        steps = self.data.get("steps")
        drafts = {
            step_id: _Draft(self, step_id, step)
            for step_id, step in (steps.items() if isinstance(steps, dict) else ())
            if isinstance(step, dict)
        }
        edges = [edge for draft in drafts.values() for edge in draft.edges()]
        order, cycles = in_order(list(drafts), edges)
        self.problems += cycles
        outputs = self._outputs()
        if self.problems:
            raise Invalid(*in_file_order(self.problems))
        nodes = {step_id: drafts[step_id].node(index) for index, step_id in enumerate(order)}
        used = {node.server for node in nodes.values() if node.server}
        return Plan(
            name=self.loaded.name,
            loaded=self.loaded,
            nodes=nodes,
            servers={name: ref for name, ref in servers.items() if name in used},
            vars=variables,
            outputs=outputs,
            last_step=list(drafts)[-1],
        )

    # --- parts of the flow --------------------------------------------------------------------------------

    def _check_inputs(self) -> None:
        """The declarations themselves, and that each default is a value that its input allows."""
        given = self.data.get("inputs")
        for name, data in given.items() if isinstance(given, dict) else ():
            path: Path = ("inputs", name)
            try:
                declared = Input.model_validate(data)
            except ValidationError:
                continue  # its shape is already a problem
            if fault := declared.schema_fault():
                self.problem(self.loaded.mark(path), f'input "{name}" {fault}')
            elif not declared.is_required and declared.default is not None:
                mark = self.loaded.mark((*path, "default"))
                for fault in declared.faults(declared.default):
                    self.problem(mark, f'the default of input "{name}": {fault}')

    def _vars(self) -> Iterator[tuple[str, Values]]:
        given = self.data.get("vars")
        before: list[str] = []
        for name, value in given.items() if isinstance(given, dict) else ():
            yield name, self.values(value, ("vars", name), self.names.for_vars(before))
            before.append(name)

    def _server(self, name: str, given: Any) -> ServerRef:
        path: Path = ("servers", name)
        return ServerRef(name, self.loaded.mark(path), self.values(given, path, self.names.for_servers()))

    def _outputs(self) -> dict[str, Values] | None:
        given = self.data.get("outputs")
        if not isinstance(given, dict) or not given:
            return None
        known = self.names.for_outputs()
        return {name: self.values(value, ("outputs", name), known) for name, value in given.items()}

    # --- compiling ----------------------------------------------------------------------------------------

    def values(
        self, data: Any, path: Path, known: Known, inside: str | None = None, tokens: bool = False
    ) -> Values:
        """Compile the strings of `data`; its references are checked against the names in scope."""
        compiled, errors = compile_value(data, path, frozenset(known))
        for where, error in errors:
            self.problem(self.loaded.tag(where, error.occurrence), error.message, error.hint)
        for where, reference in compiled.references:
            self.check(where, reference, known, inside)
        if compiled.uses_tokens and not tokens:
            self.problem(self.loaded.mark(path), "truncate_tokens can only be used in the body of a step")
        return Values(path, compiled)

    def condition(self, text: Any, path: Path, known: Known, inside: str) -> Condition:
        """Compile an expression that is asked for its truth."""
        mark = self.loaded.mark(path)
        if isinstance(text, bool):
            return Condition(str(text).lower(), mark, None, text)
        try:
            template = parse_expression(str(text))
        except TemplateError as error:
            self.problem(self.loaded.tag(path, error.occurrence), error.message, error.hint)
            return Condition(str(text), mark, None)
        for reference in template.references:
            self.check(path, reference, known, inside)
        if template.uses_tokens:
            self.problem(mark, "truncate_tokens can only be used in the body of a step")
        return Condition(str(text), mark, template)

    def check(self, where: Path, reference: Reference, known: Known, inside: str | None) -> None:
        if fault := self.names.fault(reference, known, inside=inside):
            self.problem(self.loaded.tag(where, reference.occurrence), *fault)

    def problem(self, mark: Mark, message: str, hint: str = "") -> None:
        self.problems.append(Problem(mark, message, hint))


class _Draft:
    """A step while it is compiled: its parts, and the references that become edges."""

    def __init__(self, compiler: _Compiler, step_id: str, data: dict[str, Any]) -> None:
        self.compiler = compiler
        self.id = step_id
        self.data = data
        self.path: Path = ("steps", step_id)
        self.kind = KINDS[kind] if (kind := kind_of(data)) else None
        names = compiler.names
        self.in_item = names.for_step(data, in_item=True)
        body_keys = self.kind.body_keys if self.kind else ()
        condition_key = self.kind.conditions_key if self.kind else None
        body = {key: data[key] for key in body_keys if key in data and key != condition_key}
        self.body = compiler.values(body, self.path, self.in_item, step_id, tokens=True)
        common = {key: data[key] for key in COMMON_KEYS if key in data}
        self.common = compiler.values(common, self.path, self.in_item, step_id)
        self.when = self._when()
        self.foreach = self._foreach(names)
        self.expect = self._conditions("expect", {**self.in_item, "output": None})
        self.conditions = self._conditions(condition_key, self.in_item) if condition_key else ()
        self.server = self._server()
        if self.kind and self.kind.kind == "tool":
            compiler.problems += argument_problems(compiler.loaded, self.path, data, compiler.tools)

    def _when(self) -> Condition | None:
        when = self.data.get("when")
        if when is None or when == WHEN_ALWAYS:
            return None
        if isinstance(when, str) and not is_template(when):
            return None  # its shape is already a problem
        return self.compiler.condition(when, (*self.path, "when"), self.in_item, self.id)

    def _foreach(self, names: Names) -> Values | None:
        if "foreach" not in self.data:
            if "as" in self.data:
                mark = self.compiler.loaded.key_mark((*self.path, "as"))
                self.compiler.problem(mark, '"as" names the item of a foreach', 'add "foreach", or remove "as"')
            return None
        path, given = (*self.path, "foreach"), self.data["foreach"]
        return self.compiler.values(given, path, names.for_step(self.data, in_item=False), self.id)

    def _conditions(self, key: str, known: Known) -> tuple[Condition, ...]:
        given = self.data.get(key)
        if not isinstance(given, list):
            return ()
        path = (*self.path, key)
        return tuple(self.compiler.condition(text, (*path, i), known, self.id) for i, text in enumerate(given))

    def _server(self) -> str | None:
        """The server whose slots the step uses, or whose tokenizer its expressions need."""
        if self.kind is None or not (self.kind.runs_on == "server" or self.body.compiled.uses_tokens):
            return None
        loaded, servers = self.compiler.loaded, self.compiler.servers
        body = self.data.get(self.kind.kind)
        named = body.get("server") if isinstance(body, dict) else None
        if isinstance(named, str):
            if named not in servers:
                mark = loaded.mark((*self.path, self.kind.kind, "server"))
                self.compiler.problem(
                    mark, f'"{named}" is not one of the flow\'s servers', suggest(named, servers)
                )
            return named
        if len(servers) == 1:
            return next(iter(servers))
        self.compiler.problem(
            loaded.key_mark(self.path),
            f'step "{self.id}" does not say which server it uses',
            f'add "server", or "defaults: {{prompt: {{server: …}}}}"; allowed: {", ".join(servers)}',
        )
        return None

    def edges(self) -> Iterator[Edge]:
        """Each use of another step, with its place."""
        loaded, steps = self.compiler.loaded, self.compiler.names.steps
        for values in (self.body, self.common, self.foreach):
            for where, reference in values.compiled.references if values else ():
                yield from self._edge(where, reference)
        conditions: Sequence[Condition] = (*((self.when,) if self.when else ()), *self.expect, *self.conditions)
        for condition in conditions:
            for reference in condition.template.references if condition.template else ():
                if reference.root == "steps" and reference.path and reference.path[0] in steps:
                    yield Edge(self.id, reference.path[0], condition.mark, is_tolerant(reference))
        needs = self.data.get("needs")
        for i, needed in enumerate(needs if isinstance(needs, list) else ()):
            mark = loaded.mark((*self.path, "needs", i))
            if needed in steps:
                yield Edge(self.id, needed, mark, tolerant=False)
            elif isinstance(needed, str):
                message = f'step "{self.id}" needs "{needed}", which is not a step'
                self.compiler.problem(mark, message, suggest(needed, steps))

    def _edge(self, where: Path, reference: Reference) -> Iterator[Edge]:
        if reference.root == "steps" and reference.path and reference.path[0] in self.compiler.names.steps:
            mark = self.compiler.loaded.tag(where, reference.occurrence)
            yield Edge(self.id, reference.path[0], mark, is_tolerant(reference))

    def node(self, index: int) -> Node:
        """The finished node; only asked for where the whole file was found right."""
        flow = self.compiler.loaded.flow
        assert flow is not None
        needs: dict[str, Need] = {}
        for edge in self.edges():
            known = needs.get(edge.needed)
            tolerant = edge.tolerant and (known is None or known.tolerant)
            needs[edge.needed] = Need(edge.needed, tolerant, known.mark if known else edge.mark)
        return Node(
            id=self.id,
            index=index,
            step=flow.steps[self.id],
            needs=tuple(needs.values()),
            server=self.server,
            mark=self.compiler.loaded.key_mark(self.path),
            body=self.body,
            common=self.common,
            when=self.when,
            foreach=self.foreach,
            expect=self.expect,
            conditions=self.conditions,
        )


def in_file_order(problems: Sequence[Problem]) -> list[Problem]:
    """Each problem once; those of the first file first, by line and column."""
    first = next((p.mark.source for p in problems if p.mark), "")

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        mark = problem.mark or Mark(first, 0, 0)
        return (mark.source != first, mark.source, mark.line, mark.column)

    return sorted(dict.fromkeys(problems), key=place)
