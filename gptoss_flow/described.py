"""JSON Schemas of our models: fields are described by the docstrings below them, read when a schema is made.

pydantic can read them when it makes the class, which takes a tenth of the time in which any command starts.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from gptoss_flow.fields import Strict


class Described(GenerateJsonSchema):
    """A field that has a description keeps it."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        docstrings = docstrings_of(model)
        for name, field in model.model_fields.items():
            if field.description is None and name in docstrings:
                made["properties"][field.alias or name]["description"] = docstrings[name]
        return made


def docstrings_of(model: type[BaseModel]) -> dict[str, str]:
    """What stands below the attributes of a model of ours and of those that it extends, by their names."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Strict):
            found |= _docstrings_in(base.__module__).get(base.__qualname__, {})
    return found


@cache
def _docstrings_in(module: str) -> dict[str, dict[str, str]]:
    """The same for each class of a module, by its name."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {outer.name: _below_attributes(outer) for outer in tree.body if isinstance(outer, ast.ClassDef)}


def _below_attributes(outer: ast.ClassDef) -> dict[str, str]:
    found = {}
    for statement, after in pairwise(outer.body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
