"""The shape that the built-in tools share: one model of arguments gives the schema, the checks and the types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from gptoss_flow.arguments import Fault, check_arguments
from gptoss_flow.described import Described
from gptoss_flow.events import Json
from gptoss_flow.fields import Strict
from gptoss_flow.ports import Tool, ToolContext
from gptoss_flow.tool_marks import Effect
from gptoss_flow.tools.workspace import refusal


class Arguments(Strict):
    """The arguments of a tool; attribute docstrings become the schema's descriptions."""


A = TypeVar("A", bound=Arguments)


class WithoutTitles(Described):
    """A model reads the schema as part of its prompt: titles that repeat the names would only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def validate_arguments(tool: Tool, arguments: Mapping[str, Json]) -> dict[str, Json]:
    """The arguments as a plain mapping. Raises `StepError` that names everything that is wrong with them."""
    problems = check_arguments(tool, arguments)
    if problems:
        raise refusal("; ".join(map(str, problems)))
    return dict(arguments)


def _whole(value: Json) -> Json:
    """A model that was told `number` may write 3.0, which JSON Schema takes for a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class BuiltIn(Generic[A]):
    """Satisfies `ports.Tool`. `work` runs in a thread, unless it is async."""

    name: str
    description: str
    effect: Effect
    arguments: type[A]
    work: Callable[[A, ToolContext], Json]
    alone: Callable[[Mapping[str, Json]], Fault] | None = None
    """What is wrong with a call that is the only one that its caller makes; see `arguments.fault_alone`."""
    parts: tuple[str, ...] = ()
    """Folders beside this file whose code decides, with that of `work`'s own file, what the tool does."""

    @cached_property
    def parameters(self) -> Mapping[str, Json]:
        schema = self.arguments.model_json_schema(schema_generator=WithoutTitles)
        return {key: value for key, value in schema.items() if key not in ("title", "description")}

    @cached_property
    def code(self) -> str:
        files = [Path(self.work.__code__.co_filename)]
        files += (file for part in self.parts for file in sorted(Path(__file__).with_name(part).rglob("*.py")))
        return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        checked = self._parsed(validate_arguments(self, arguments))
        if iscoroutinefunction(self.work):
            return await self.work(checked, context)
        return await asyncio.to_thread(self.work, checked, context)

    def _parsed(self, arguments: Mapping[str, Json]) -> A:
        try:
            return self.arguments.model_validate({name: _whole(value) for name, value in arguments.items()})
        except ValidationError as failure:
            first = failure.errors()[0]
            where = ".".join(map(str, first["loc"]))
            said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
            raise refusal(f'tool "{self.name}": {where + " " if where else ""}{said}') from None
