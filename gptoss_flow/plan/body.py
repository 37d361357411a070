"""The kind's own keys of a step, or of its fallback: compiled, with what they run on and what they may reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_flow.lang.document import Path
from gptoss_flow.plan.arguments import argument_problems
from gptoss_flow.plan.bench import bench_problems
from gptoss_flow.plan.flow_inputs import input_problems
from gptoss_flow.plan.grants import continued, granted_tools, permissions, schema_of
from gptoss_flow.plan.names import Known
from gptoss_flow.plan.parts import Parts
from gptoss_flow.plan.plan import Plan, Values
from gptoss_flow.ports import Tool
from gptoss_flow.sampling import Params
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.tool_marks import Effect
from gptoss_flow.words import suggest


@dataclass(frozen=True, slots=True)
class Nameable:
    """What the steps of a flow may name."""

    tools: Mapping[str, Tool]
    servers: Mapping[str, Any]
    flows: Mapping[str, Plan]
    """By the path as written."""


class Body:
    """The body at `path` of a step. `known` are the names in scope."""

    def __init__(self, parts: Parts, nameable: Nameable, data: dict[str, Any], path: Path, known: Known) -> None:
        reader = parts.reader
        self.data, self.path = data, path
        self.kind = kind = KINDS[name] if (name := kind_of(data)) else None
        self._parts, self._nameable = parts, nameable
        body_keys = kind.body_keys if kind else ()
        conditions = kind.conditions_key if kind else None
        self.tools: tuple[str, ...] = ()
        self.schema: dict[str, Any] | None = None
        self.permissions: Values | None = None
        given = {key: data[key] for key in body_keys if key in data and key != conditions}
        if kind is not None and kind.kind == "prompt":
            given = self._prompt(given)
        elif kind is not None and kind.kind == "tool":
            self.permissions = self._permissions(data.get("permissions"), path)
        self.values = reader.values(
            given,
            path,
            known,
            parts.step_id,
            tokens=True,
            secrets=[(*path, key) for key in kind.secret_keys] if kind else (),
        )
        self.conditions = parts.conditions(data, conditions, path, known) if conditions else ()
        self.server = self.find_server()
        self.inner: Plan | None = None
        self.effect: Effect = data.get("effect") or "pure"
        if kind is None:
            return
        if kind.kind == "tool":
            reader.problems += argument_problems(reader, self.values, nameable.tools)
            tool = nameable.tools.get(data["tool"]) if isinstance(data["tool"], str) else None
            if tool is not None and "effect" not in data:
                self.effect = tool.effect
        elif kind.kind == "flow":
            self.inner = nameable.flows.get(data["flow"]) if isinstance(data["flow"], str) else None
            if self.inner is not None:
                reader.problems += input_problems(reader, self.values, self.inner)
        elif kind.kind == "bench":
            reader.problems += bench_problems(reader, data["bench"], (*path, "bench"))
        elif kind.kind == "prompt" and self.values.compiled.templates:
            prompt = data["prompt"]
            if isinstance(prompt, dict) and isinstance(params := prompt.get("params"), dict):
                reader.fits(Params, params, (*path, "prompt", "params"))

    def _prompt(self, given: dict[str, Any]) -> dict[str, Any]:
        """A prompt's keys that are rendered for each run of the step; what it grants is known before."""
        reader, prompt, path = self._parts.reader, given.get("prompt"), (*self.path, "prompt")
        if not isinstance(prompt, dict):
            return given
        self.tools = granted_tools(reader, prompt, path, self._nameable.tools)
        self.schema = schema_of(reader, prompt, path)
        self.permissions = self._permissions(prompt.get("permissions"), path)
        left_out = {"permissions", "continue", *(["schema"] if isinstance(prompt.get("schema"), str) else [])}
        rendered = {key: value for key, value in prompt.items() if key not in left_out}
        if (conversation := continued(reader, prompt, path)) is not None:
            rendered["continue"] = conversation
        return {**given, "prompt": rendered}

    def _permissions(self, given: Any, path: Path) -> Values | None:
        return permissions(self._parts.reader, given, (*path, "permissions"), self._nameable.tools)

    def find_server(self, *, cuts: bool = False) -> str | None:
        """The server whose slots the step uses, or whose tokenizer its expressions need (`cuts`: those beside)."""
        kind, reader, servers = self.kind, self._parts.reader, self._nameable.servers
        if kind is None or not (kind.runs_on == "server" or cuts or self.values.compiled.uses_tokens):
            return None
        given = self.data.get(kind.kind) if kind.runs_on == "server" else None  # of a set, "server" is a value
        named = given.get("server") if isinstance(given, dict) else None
        if isinstance(named, str):
            if named not in servers:
                mark = reader.loaded.mark((*self.path, kind.kind, "server"))
                reader.problem(mark, f'"{named}" is not one of the flow\'s servers', suggest(named, servers))
            return named
        if len(servers) == 1:
            return next(iter(servers))
        said = f'step "{self._parts.step_id}" does not say which server it uses'
        hint = f'add "server", or "defaults: {{prompt: {{server: …}}}}"; allowed: {", ".join(servers)}'
        if kind.runs_on != "server":
            said = f'truncate_tokens in step "{self._parts.step_id}" needs a flow with one server'
            hint = f"cut the text in a prompt, which names its server; this flow has {', '.join(servers)}"
        reader.problem(reader.loaded.key_mark(self.path), said, hint)
        return None
