"""JSON Schema to GBNF, llama.cpp's grammars. Pure.

What a grammar cannot say (a pattern, a sum, `not`) is left open, never forbidden: the answer is checked against
the schema once more when it is there. Properties come in the order in which the schema has them.

For llama.cpp a set of characters holds control tokens too, by what they are spelled like: that no text has one of
them inside, none has a `<|` but as `\\u003c|`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite
from typing import Any

from gptoss_flow.events import Json
from gptoss_flow.prompt.integer_grammar import between

_BASICS = {
    "ws": r'( " " | "\n" [ ]{0,20} )?',
    "plain": r'[^"\\<\x00-\x1f\x7f] | escape',
    "escape": r'"\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} )',
    "angled": r'"<"+ ( [^|"\\<\x00-\x1f\x7f] | escape )',
    "string": r'"\"" ( plain | angled )* "<"* "\""',
    "integer": r'"-"? ( "0" | [1-9] [0-9]{0,17} )',
    "number": r'integer ( "." [0-9]{1,17} )? ( [eE] [-+]? [0-9]{1,2} )?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
    "value": "object | array | string | number | boolean | null",
    "object": r'"{" ws ( member ( "," ws member )* )? ws "}"',
    "member": r'string ":" ws value',
    "array": r'"[" ws ( value ( "," ws value )* )? ws "]"',
    "date": r'[0-9]{4} "-" [01] [0-9] "-" [0-3] [0-9]',
    "time": r'[0-2] [0-9] ":" [0-5] [0-9] ":" [0-5] [0-9] ( "." [0-9]{1,9} )? zone',
    "zone": r'"Z" | [-+] [0-2] [0-9] ":" [0-5] [0-9]',
    "uuid": r'[0-9a-fA-F]{8} ( "-" [0-9a-fA-F]{4} ){3} "-" [0-9a-fA-F]{12}',
}
_NEEDS = {
    "string": ("plain", "angled"),
    "plain": ("escape",),
    "number": ("integer",),
    "value": ("object", "array", "string", "number", "boolean", "null"),
    "object": ("ws", "member"),
    "member": ("string", "ws", "value"),
    "array": ("ws", "value"),
    "time": ("zone",),
}
_FORMATS = {
    "date": (("date",), r'"\"" date "\""'),
    "time": (("time",), r'"\"" time "\""'),
    "date-time": (("date", "time"), r'"\"" date "T" time "\""'),
    "uuid": (("uuid",), r'"\"" uuid "\""'),
}
_NOTHING = '""'
_MOST_REPEATS = 1000
"""llama.cpp unrolls counted repetitions: a bound above this is left to the check of the answer."""
_DEEPEST = 100
_MOST_RULES = 2000
"""What is deeper, or beyond so many rules, may be any value: a short schema can stand for endless ones."""


def rules(schema: Json, root: str) -> dict[str, str]:
    """The rules of a grammar of this schema's values, by name; that of `root` is the value."""
    writer = _Writer(schema)
    writer.rules[root] = writer.expression(schema, root, 0)
    return writer.rules


def text(of: Mapping[str, str]) -> str:
    """Rules as GBNF."""
    return "".join(f"{name} ::= {expression}\n" for name, expression in of.items())


def literal(said: str) -> str:
    """A text that a grammar matches as it is."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else _escaped(c) for c in said)
    return f'"{plain}"'


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


class _Writer:
    def __init__(self, schema: Json) -> None:
        self._schema = schema
        self.rules: dict[str, str] = {}
        self._references: dict[str, str] = {}

    def expression(self, schema: Json, name: str, depth: int, within: frozenset[str] = frozenset()) -> str:
        """What the values of a schema look like; `name` begins the names of the rules that it needs.

        `within`: references whose rule this begins, which it must not begin with itself.
        """
        if not isinstance(schema, dict) or depth > _DEEPEST or len(self.rules) > _MOST_RULES:
            return self._basic("value")
        if isinstance(reference := schema.get("$ref"), str):
            return self._reference(reference, depth, within)
        if "const" in schema:
            return _constant(schema["const"])
        if isinstance(values := schema.get("enum"), list) and values:
            return _one_of(_constant(value) for value in values)
        for key in ("anyOf", "oneOf"):
            if isinstance(choices := schema.get(key), list) and choices:
                return _one_of(
                    self.expression(choice, f"{name}-{i}", depth + 1, within) for i, choice in enumerate(choices)
                )
        if isinstance(parts := schema.get("allOf"), list) and parts:
            return self.expression(_merged(parts, schema, self._target), name, depth + 1, within)
        match schema.get("type"):
            case list() as kinds if kinds:
                return _one_of(
                    self.expression({**schema, "type": kind}, f"{name}-{i}", depth + 1, within)
                    for i, kind in enumerate(kinds)
                )
            case "object":
                return self._object(schema, name, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._string(schema)
            case "integer":
                least, most = _bounds(schema)
                return self._basic("integer") if least is most is None else f"( {between(least, most)} )"
            case "number" | "boolean" | "null" as kind:
                return self._basic(kind)
            case None if "properties" in schema or "required" in schema:
                return self._object(schema, name, depth)
            case None if "items" in schema or "prefixItems" in schema:
                return self._array(schema, name, depth)
        return self._basic("value")

    # --- kinds -----------------------------------------------------------------------------------------------

    def _object(self, schema: Mapping[str, Any], name: str, depth: int) -> str:
        given = schema.get("properties")
        properties: dict[str, Json] = given if isinstance(given, dict) else {}
        named = schema.get("required")
        required = [key for key in named if isinstance(key, str)] if isinstance(named, list) else []
        properties = {**properties, **{key: True for key in required if key not in properties}}
        more = schema.get("additionalProperties", not properties)
        if not properties and more is True:
            return self._basic("object")
        members = [
            f"{literal(json.dumps(key, ensure_ascii=False) + ':')} {self._basic('ws')} "
            + self._rule(f"{name}-{i}", self.expression(value, f"{name}-{i}", depth + 1))
            for i, (key, value) in enumerate(properties.items())
        ]
        others = ""
        if more is not False:
            value = self._rule(f"{name}-more", self.expression(more, f"{name}-more", depth + 1))
            others = f'{self._basic("string")} ":" {self._basic("ws")} {value}'
        optional = [key not in required for key in properties]
        inner = self._members(name, members, optional, others)
        return f'"{{" {self._basic("ws")} {inner} {self._basic("ws")} "}}"'

    def _members(self, name: str, members: Sequence[str], optional: Sequence[bool], others: str) -> str:
        """Members in order, with commas between those that are there: one rule for each and for what follows."""
        comma = f'"," {self._basic("ws")}'
        after = f"( {comma} {others} )*" if others else _NOTHING
        alone = f"( {others} {after} )?" if others else _NOTHING
        for i in range(len(members) - 1, -1, -1):
            here_after, here_alone = f"{comma} {members[i]} {after}", f"{members[i]} {after}"
            if optional[i]:
                here_after, here_alone = f"{here_after} | {after}", f"{here_alone} | {alone}"
            after, alone = self._rule(f"{name}-after-{i}", here_after), self._rule(f"{name}-from-{i}", here_alone)
        return alone

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> str:
        first = schema.get("prefixItems")
        firsts = [
            self._rule(f"{name}-{i}", self.expression(item, f"{name}-{i}", depth + 1))
            for i, item in enumerate(first if isinstance(first, list) else ())
        ]
        rest = schema.get("items", True)
        item = (
            "" if rest is False else self._rule(f"{name}-item", self.expression(rest, f"{name}-item", depth + 1))
        )
        least, most = _count(schema, "minItems") or 0, _count(schema, "maxItems")
        comma, ws = f'"," {self._basic("ws")}', self._basic("ws")
        if firsts:
            # A tuple: all of the first ones, and then as many others as may be.
            more = f" ( {comma} {item} )*" if item else ""
            return f'"[" {ws} {f" {comma} ".join(firsts)}{more} {ws} "]"'
        if most == 0 or not item:
            return f'"[" {ws} "]"'
        bound = "" if most is None else most - 1
        many = f"{item} ( {comma} {item} ){{{max(least - 1, 0)},{bound}}}"
        return f'"[" {ws} {many if least else f"( {many} )?"} {ws} "]"'

    def _string(self, schema: Mapping[str, Any]) -> str:
        if (form := _FORMATS.get(str(schema.get("format")))) is not None:
            for needed in form[0]:
                self._basic(needed)
            return form[1]
        least, most = _count(schema, "minLength") or 0, _count(schema, "maxLength")
        if not least and most is None:
            return self._basic("string")
        return f'"\\"" {self._basic("plain")}{{{least},{"" if most is None else most}}} "\\""'

    # --- names -----------------------------------------------------------------------------------------------

    def _basic(self, name: str) -> str:
        if name not in self.rules:
            self.rules[name] = _BASICS[name]
            for needed in _NEEDS.get(name, ()):
                self._basic(needed)
        return name

    def _rule(self, name: str, expression: str) -> str:
        self.rules[name] = expression
        return name

    def _reference(self, reference: str, depth: int, within: frozenset[str]) -> str:
        """A rule of its own, so that a schema that refers to itself comes to an end."""
        if reference in within:
            return self._basic("value")
        if reference not in self._references:
            target = self._target(reference)
            if target is None:
                return self._basic("value")
            name = f"ref-{len(self._references)}"
            self._references[reference] = name
            self.rules[name] = self.expression(target, name, depth + 1, within | {reference})
        return self._references[reference]

    def _target(self, reference: str) -> Json:
        """What a reference within the schema means; None for any other."""
        if not reference.startswith("#"):
            return None
        found = self._schema
        for step in reference[1:].strip("/").split("/") if reference.strip("#/") else ():
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or step not in found:
                return None
            found = found[step]
        return found


def _constant(value: Json) -> str:
    return literal(json.dumps(value, ensure_ascii=False))


def _one_of(choices: Any) -> str:
    return "( " + " | ".join(choices) + " )"


def _merged(parts: Sequence[Json], schema: Mapping[str, Any], target: Any) -> dict[str, Json]:
    """All of several schemas at once, as far as they are of plain keys: objects' properties add up."""
    merged: dict[str, Json] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        if isinstance(part, dict) and isinstance(reference := part.get("$ref"), str):
            part = target(reference)
        if not isinstance(part, dict):
            continue
        for key, value in part.items():
            held = merged.get(key)
            if key == "properties" and isinstance(held, dict) and isinstance(value, dict):
                merged[key] = {**held, **value}
            elif key == "required" and isinstance(held, list) and isinstance(value, list):
                merged[key] = [*held, *value]
            else:
                merged[key] = value
    return merged


def _bounds(schema: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The least and the most that an integer may be."""
    least = [ceil(bound) for bound in _numbers(schema, "minimum")]
    least += [floor(bound) + 1 for bound in _numbers(schema, "exclusiveMinimum")]
    most = [floor(bound) for bound in _numbers(schema, "maximum")]
    most += [ceil(bound) - 1 for bound in _numbers(schema, "exclusiveMaximum")]
    return max(least, default=None), min(most, default=None)


def _numbers(schema: Mapping[str, Any], key: str) -> list[float]:
    value = schema.get(key)
    return [value] if isinstance(value, int | float) and isfinite(value) else []


def _count(schema: Mapping[str, Any], key: str) -> int | None:
    value = schema.get(key)
    return value if isinstance(value, int) and 0 <= value <= _MOST_REPEATS else None
