"""Compiles a loaded flow into a plan: names, edges, order. Pure, and finds every problem before it says no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.lang.defaults import STEPS
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.inputs import Input
from gptoss_flow.lang.load import LoadedFlow, brought_in, servers_of
from gptoss_flow.plan.body import Nameable
from gptoss_flow.plan.draft import Draft
from gptoss_flow.plan.grants import permissions
from gptoss_flow.plan.nested import MAX_STEPS, MAX_UNITS, count_steps, with_inner_servers
from gptoss_flow.plan.order import in_order
from gptoss_flow.plan.plan import Limits, Plan, ServerRef, Values
from gptoss_flow.plan.reader import MAX_PROBLEMS, Reader, TooManyProblems
from gptoss_flow.plan.tool_names import OwnTools, ResolveTools, no_own_tools
from gptoss_flow.ports import Tool


def compile_flow(loaded: LoadedFlow, tools: Mapping[str, Tool], resolve: ResolveTools = no_own_tools) -> Plan:
    """The plan of a flow and of those inside it. Raises `Invalid` with every problem, in file order.

    `tools` every flow may name; `resolve` says what else the names of one flow mean.
    """
    flows = _Flows(tools, resolve)
    plan = flows.compiled(loaded)
    if plan is not None:
        plan, problems = with_inner_servers(plan)
        flows.problems += problems
    if flows.problems or plan is None:
        raise Invalid(*_told(in_file_order(flows.problems, str(loaded.path))))
    return plan


def _told(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MAX_PROBLEMS:
        return problems
    said = f"more than {MAX_PROBLEMS} problems: the rest is not told"
    return [*problems[:MAX_PROBLEMS], Problem(problems[MAX_PROBLEMS].mark, said, "mend these first")]


class _Flows:
    """Compiles each flow once, however many steps run it."""

    def __init__(self, tools: Mapping[str, Tool], resolve: ResolveTools) -> None:
        self.tools = tools
        self.resolve = resolve
        self.problems: list[Problem] = []
        self.plans: dict[int, Plan | None] = {}

    def compiled(self, loaded: LoadedFlow) -> Plan | None:
        """The plan as if the flow were run alone; None where it has problems, which are noted."""
        if id(loaded) not in self.plans:
            inner = {text: self.compiled(flow) for text, flow in loaded.flows.items()}
            compiler = _Compiler(loaded, self.tools, self.resolve(loaded), inner)
            try:
                self.plans[id(loaded)] = compiler.plan()
            except TooManyProblems:
                self.plans[id(loaded)] = None
            self.problems += compiler.problems
        return self.plans[id(loaded)]


class _Compiler(Reader):
    """One pass over the flow's data as written; it goes on after each problem."""

    def __init__(
        self, loaded: LoadedFlow, tools: Mapping[str, Tool], own: OwnTools, inner: Mapping[str, Plan | None]
    ) -> None:
        super().__init__(loaded)
        self.tools = {**tools, **own.tools} if own.tools else tools
        self.own = own
        self.problems += own.problems
        self.inner = {text: plan for text, plan in inner.items() if plan is not None}
        self.broken = {text for text, plan in inner.items() if plan is None}
        self.servers = servers_of(self.data)

    def plan(self) -> Plan | None:
        self._check_inputs()
        self._check_keys()
        variables = tuple(self._vars())
        late = self._late(variables)
        servers = {name: self._server(name, given) for name, given in self.servers.items()}
        tool_servers = dict(self._tool_servers())
        for early in (*(server.profile for server in servers.values()), *tool_servers.values()):
            self._before_servers(early, late)
        self._learn_outputs()
        drafts = {draft.id: draft for part in STEPS for draft in self._drafts(part)}
        edges = {step_id: list(draft.edges()) for step_id, draft in drafts.items()}
        order: list[str] = []
        for final in (False, True):
            part = [step_id for step_id, draft in drafts.items() if draft.final == final]
            between = [edge for step_id in part for edge in edges[step_id]]
            found = in_order(part, between)
            order += found
            if len(found) < len(part):
                from gptoss_flow.plan.circles import circles

                self.problems += circles(between, self.loaded.tag)
        outputs = self._outputs()
        allowed = permissions(self, self.data.get("permissions"), ("permissions",), self.tools)
        tokenizer = self._tokenizer(late, outputs)
        if self.problems:
            return None
        flow = self.loaded.flow
        assert flow is not None
        steps = {**flow.steps, **flow.finally_}
        nodes = {
            step_id: drafts[step_id].node(index, steps[step_id], edges[step_id])
            for index, step_id in enumerate(order)
        }
        limits = flow.limits
        plan = Plan(
            name=self.loaded.name,
            loaded=self.loaded,
            nodes=nodes,
            servers=servers,
            vars=tuple((name, values) for name, values in variables if name not in late),
            late_vars=tuple((name, values) for name, values in variables if name in late),
            tokenizer=tokenizer,
            outputs=outputs,
            last_step=list(flow.steps)[-1],
            limits=Limits(limits.tokens, limits.time, limits.concurrency, limits.tool_calls, limits.fail_fast),
            tools=self.own.tools,
            tool_servers=tool_servers,
            secrets=tuple(dict.fromkeys([*flow.secrets, *(s for p in self.inner.values() for s in p.secrets)])),
            permissions=allowed,
        )
        if (count := count_steps(plan)) > MAX_STEPS:
            said = f"the flow has {count:,} steps with those of the flows that it runs"
            self.problem(self.loaded.key_mark(("steps",)), said, f"at most {MAX_STEPS:,} are allowed")
            return None
        if (count := count_steps(plan, with_items=True)) > MAX_UNITS:
            said = f"the flow would run {count:,} times a step or one of its items"
            self.problem(self.loaded.key_mark(("steps",)), said, f"at most {MAX_UNITS:,} are allowed")
            return None
        return plan

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
            if misused := declared.schema_fault():
                where, said = misused
                self.problem(self.loaded.mark((*path, *where)), f'input "{name}": {said}')
            elif not declared.is_required and declared.default is not None:
                mark = self.loaded.mark((*path, "default"))
                for fault in declared.faults(declared.default):
                    self.problem(mark, f'the default of input "{name}": {fault}')

    def _check_keys(self) -> None:
        """What is allowed by its shape, and yet cannot be."""
        steps, finals = self.data.get("steps"), self.data.get("finally")
        if not isinstance(steps, dict) or not isinstance(finals, dict):
            return
        for step_id in finals:
            if step_id in steps:
                line = self.loaded.key_mark(("steps", step_id)).line
                said = f'step "{step_id}" stands under "steps" already, on line {line}'
                self.problem(self.loaded.key_mark(("finally", step_id)), said, "give it another name")

    def _vars(self) -> Iterator[tuple[str, Values]]:
        given = self.data.get("vars")
        before: list[str] = []
        for name, value in given.items() if isinstance(given, dict) else ():
            yield name, self.values(value, ("vars", name), self.names.for_vars(before), tokens=True)
            before.append(name)

    def _late(self, variables: Sequence[tuple[str, Values]]) -> list[str]:
        """The vars that cut texts to a number of tokens, and those that use such."""
        late = list[str]()
        for name, values in variables:
            if values.compiled.uses_tokens or not _vars_in(values).isdisjoint(late):
                late.append(name)
        return late

    def _before_servers(self, values: Values, late: Sequence[str]) -> None:
        """What is needed for a server to run cannot wait for one."""
        for where, reference in values.compiled.references:
            if reference.root == "vars" and reference.path and reference.path[0] in late:
                said = f'"{reference.name}" is cut by truncate_tokens, and no server runs yet'
                self.problem(self.loaded.tag(where, reference.occurrence), said)

    def _tokenizer(self, late: Sequence[str], outputs: Mapping[str, Values] | None) -> str | None:
        """The flow's only server, where its own values need one."""
        places: list[Path] = [("vars", name) for name in late]
        places += [("outputs", name) for name, values in (outputs or {}).items() if values.compiled.uses_tokens]
        if not places:
            return None
        if len(self.servers) > 1:
            said = "truncate_tokens here needs a flow with one server"
            hint = f"cut it in a step that names its server; allowed: {', '.join(self.servers)}"
            self.problem(self.loaded.mark(places[0]), said, hint)
        return next(iter(self.servers))

    def _server(self, name: str, given: Any) -> ServerRef:
        path: Path = ("servers", name)
        values = self.values(given, path, self.names.for_servers())
        return ServerRef(name, self.loaded.mark(path), values, self.loaded.profiles.get(name))

    def _tool_servers(self) -> Iterator[tuple[str, Values]]:
        given = self.data.get("tool_servers")
        known = self.names.for_vars(self.names.vars)
        for name, server in given.items() if isinstance(given, dict) else ():
            path: Path = ("tool_servers", name)
            yield name, self.values(server, path, known, secrets=[(*path, "headers")])

    def _learn_outputs(self) -> None:
        """What steps that run a flow give; a fan-out's output is a list of such."""
        for part in STEPS:
            steps = self.data.get(part)
            for step_id, step in steps.items() if isinstance(steps, dict) else ():
                text = step.get("flow") if isinstance(step, dict) else None
                if not isinstance(text, str) or text not in self.inner:
                    continue
                if not {"foreach", "matrix", "on_error"} & step.keys():
                    self.names.outputs[step_id] = self.inner[text].output_names

    def _drafts(self, part: str) -> Iterator[Draft]:
        steps = self.data.get(part)
        known = self.names.for_steps(final=part == "finally")
        nameable = Nameable(self.tools, self.servers, self.inner)
        for step_id, step in steps.items() if isinstance(steps, dict) else ():
            if not isinstance(step, dict) or (part == "finally" and step_id not in self.names.finals):
                continue  # its shape, or its name, is already a problem
            draft = Draft(self, (part, step_id), step, nameable, known)
            for body in (draft.body, draft.fallback):
                text = body.data.get("flow") if body is not None else None
                if body is not None and isinstance(text, str) and text in self.broken:
                    self.broken.remove(text)  # told once
                    shown = str(self.loaded.flows[text].path)
                    self.problems.append(brought_in(self.loaded.mark((*body.path, "flow")), shown))
            yield draft

    def _outputs(self) -> dict[str, Values] | None:
        given = self.data.get("outputs")
        if not isinstance(given, dict) or not given:
            return None
        known = self.names.for_steps(final=False)
        return {name: self.values(value, ("outputs", name), known, tokens=True) for name, value in given.items()}


def _vars_in(values: Values) -> set[str]:
    """The names of the vars that are used."""
    return {str(one.path[0]) for _, one in values.compiled.references if one.root == "vars" and one.path}


def in_file_order(problems: Sequence[Problem], first: str) -> list[Problem]:
    """Each problem once; those of the file `first` first, by line and column."""

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        mark = problem.mark or Mark(first, 0, 0)
        return (mark.source != first, mark.source, mark.line, mark.column)

    return sorted(dict.fromkeys(problems), key=place)
