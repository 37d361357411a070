"""A user's own Python function as a tool: its signature is the schema, its docstring the description."""

from __future__ import annotations

import inspect
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from gptoss_flow.errors import Mark, Problem, StepError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tool_marks import Effect, mark_of
from gptoss_flow.tools.base import WithoutTitles, validate_arguments
from gptoss_flow.tools.docstring import read_docstring
from gptoss_flow.tools.json_value import json_value
from gptoss_flow.tools.quiet import nothing_on_stdout
from gptoss_flow.tools.sandboxed_function import Origin, call_in_sandbox
from gptoss_flow.tools.thread import in_thread
from gptoss_flow.tools.workspace import refusal
from gptoss_flow.words import TOOL_NAME

MAX_SAID = 4000
"""Characters of an exception's message that become the tool's error."""


class NotAToolError(Exception):
    """A function that cannot be a tool; `problems` say why, at its own place."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class _Schema(WithoutTitles):
    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that JSON cannot say is left out of the schema, and that is all."""


@dataclass(frozen=True)
class FunctionTool:
    """Satisfies `ports.Tool`. A function that is not async runs in a thread of its own.

    A call that is cancelled is no longer waited for; a thread cannot be ended, and dies with the process.
    """

    name: str
    description: str
    effect: Effect
    code: str
    arguments: type[BaseModel]
    function: Callable[..., Any]
    place: Mark
    """Where it is written."""
    origin: Origin
    """Where a sandbox has it from."""

    @cached_property
    def parameters(self) -> Mapping[str, Json]:
        schema = self.arguments.model_json_schema(schema_generator=_Schema)
        for inner in schema.get("$defs", {}).values():
            inner.pop("title", None)
        named = {key: value for key, value in schema.items() if key not in ("title", "description")}
        return {"type": "object", "properties": {}, **named}

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        checked = validate_arguments(self, arguments)
        given = self._parsed(checked)
        if context.grants.sandboxed:
            return await call_in_sandbox(self.name, self.origin, checked, context)
        with nothing_on_stdout():
            try:
                if inspect.iscoroutinefunction(self.function):
                    result = await self.function(**given)
                else:
                    result = await in_thread(lambda: self.function(**given), f"tool-{self.name}")
            except (Exception, SystemExit) as error:
                raise StepError("tool", f'tool "{self.name}": {_said(error, self.place.source)}') from error
        try:
            return json_value(result)
        except ValueError as error:
            said = f'tool "{self.name}" gave back what JSON cannot hold: {one_line(str(error))}; '
            said += "return text, numbers, booleans, None, and lists and dicts of these"
            raise StepError("tool", said, retryable=False, unsure=True) from None

    def _parsed(self, arguments: Mapping[str, Json]) -> dict[str, Any]:
        try:
            model = self.arguments.model_validate(arguments)
        except ValidationError as failure:
            first = failure.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            raise refusal(f'tool "{self.name}": {".".join(map(str, first["loc"]))}: {one_line(said)}') from None
        fields = type(model).model_fields
        return {str(fields[name].alias): getattr(model, name) for name in model.model_fields_set}


def function_tool(function: object, *, code: str, origin: Origin) -> FunctionTool:
    """The tool that a function is. Raises `NotAToolError`."""
    name, source = origin.function, origin.file
    if not inspect.isfunction(function):
        said = f'"{name}" is not a function' if function is not None else f'there is no function "{name}"'
        raise NotAToolError(Problem(Mark(source, 0, 0), said, "write def, or async def"))
    plain = inspect.unwrap(function)
    place = Mark(source, plain.__code__.co_firstlineno, 1)
    if not TOOL_NAME.fullmatch(function.__name__):
        said = f'"{one_line(function.__name__)}" cannot be the name of a tool'
        raise NotAToolError(Problem(place, said, "allowed: up to 64 of A-Z a-z 0-9 _"))
    description, about = read_docstring(function.__doc__)
    tool = FunctionTool(
        name=function.__name__,
        description=description,
        effect=mark_of(function).effect,
        code=code,
        arguments=_arguments_of(function, about, place),
        function=function,
        place=place,
        origin=origin,
    )
    try:
        tool.parameters  # noqa: B018  # made now: what has no schema is to be told before the run
    except PydanticUserError as error:
        raise NotAToolError(_no_schema(function, place, error)) from None
    return tool


def _arguments_of(function: Callable[..., Any], about: Mapping[str, str], place: Mark) -> type[BaseModel]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        said = f'an annotation of "{function.__name__}" cannot be evaluated: {one_line(str(error))}'
        raise NotAToolError(Problem(place, said, "name only types that the file itself imports")) from None
    problems: list[Problem] = []
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            said = f'parameter "{parameter}" of "{function.__name__}" cannot be given by name'
            problems.append(Problem(place, said, "write each argument as a parameter of its own"))
        elif parameter.annotation is parameter.empty:
            said = f'parameter "{name}" of "{function.__name__}" has no type'
            problems.append(Problem(place, said, f"annotate it: {name}: str"))
        else:
            hint = hints[name]
            if name in about:
                hint = Annotated[hint, Field(description=about[name])]
            default = ... if parameter.default is parameter.empty else parameter.default
            # A field's own name is ours: a parameter may be called as something that pydantic has.
            fields[f"p{len(fields)}"] = (hint, Field(default, alias=name))
    if problems:
        raise NotAToolError(*problems)
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid", defer_build=False), **fields)
    except PydanticUserError as error:
        raise NotAToolError(_no_schema(function, place, error)) from None


def _no_schema(function: Callable[..., Any], place: Mark, error: PydanticUserError) -> Problem:
    said = one_line(str(error).partition("\n")[0])
    return Problem(place, f'"{function.__name__}" has a parameter that JSON Schema cannot describe: {said}')


def _said(error: BaseException, source: str) -> str:
    """An exception without its traceback, but for the line of the user's own file that it came from."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    name = source.rpartition("/")[2]
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.rpartition("/")[2] == name]
    where = f" ({name}:{lines[-1]})" if lines else ""
    return f"{said[:MAX_SAID]}{where}"
