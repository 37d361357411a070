"""Strict YAML with places: text in, plain values and marks out, or every problem of the text with its line.

YAML 1.2's core rules; string keys, one document, no tags, bounded in size, depth and aliases. PyYAML is used
for its events only: its composer recurses (100,000 `[` end the process), its constructor follows YAML 1.1.
"""

from __future__ import annotations

import gc
import re
from array import array
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.escape import one_line
from gptoss_flow.lang.marks import Lines, Marks, Path
from gptoss_flow.lang.scalars import STARTS, BadScalar, resolve
from gptoss_flow.lang.syntax import QUOTE_EXPRESSION, explain
from gptoss_flow.lang.text import decode, read_bytes

__all__ = ["Document", "Marks", "Path", "parse_document", "read_document"]

# A flow of 10,000 steps, which must load, is about 1.7 MB and 170,000 events; these limits leave it room and keep
# the worst text below two seconds.
MAX_BYTES = 4 * 2**20
MAX_EVENTS = 500_000
MAX_DEPTH = 64
_TOO_DEEP = (f"more than {MAX_DEPTH} levels of nesting", "write it flatter")
MAX_ALIASES = 50
MAX_EXPANDED = 100_000
"""How many values all aliases together may stand for."""
MAX_PROBLEMS = 100

# Typed as Any: the stubs know neither that libyaml's parser may be missing nor what its events hold.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_ANCHOR = re.compile(r"&[\w-]+\s*(?:#[^\n]*\n\s*)*")
_COMMENT = re.compile(r"[ \t]+#")
_NO_NODE = -1
"""In place of a number: what is anchored is a key, not a value."""
_QUOTE = "put it in quotes"


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A text that was read: `data` is dicts, lists, str, int, float, bool and None, no two of them shared."""

    source: str
    text: str
    data: Any
    marks: Marks


def read_document(path: FilePath, source: str | None = None) -> Document:
    """Read a regular file of at most 4 MiB. Raises `Invalid`, also for a file that cannot be read.

    `source` is what messages call the file; the path as given without it.
    """
    shown = source if source is not None else str(path)
    return parse_document(read_bytes(path, shown, MAX_BYTES), shown)


def parse_document(text: str | bytes, source: str) -> Document:
    """Read a YAML text; bytes are UTF-8. `source` is what messages call it. Raises `Invalid`, nothing else."""
    text = decode(text, source, MAX_BYTES)
    lines = Lines(source, text)
    if text.startswith("%TAG") or "\n%TAG" in text:
        # The parser compares each such line with all before it: many would take hours.
        raise Invalid(Problem(lines.at(text.find("%TAG")), "YAML tags are not allowed", "remove the %TAG line"))
    builder = _Builder(lines)
    # A hundred thousand live values make the collector look at them again and again: half of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        data = builder.build()
    finally:
        if collecting:
            gc.enable()
    if builder.problems:
        raise Invalid(*sorted(builder.problems, key=_place))
    marks = Marks(lines, data, builder.keys, builder.starts, builder.ends, builder.kids)
    return Document(source, text, data, marks)


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.mark.line, problem.mark.column) if problem.mark else (0, 0)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen: a dict of values and one of their numbers, or two lists."""

    data: Any
    kids: Any
    key: str | None = None
    """The key whose value comes next; None where a key comes next, and in a list."""
    key_at: int = 0
    is_mapping: bool = False
    merges_at: int | None = None
    """Where `<<` stands."""
    merging: bool = False
    """The value that comes next is that of `<<`."""
    merges: tuple[Any, int] | None = None


class _Builder:
    """Makes values and marks from the parser's events. Its stack is a list, so no nesting can exhaust ours.

    A problem that leaves the rest readable is noted, one that does not ends the reading.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines, self.text = lines, lines.text
        self.keys, self.starts = array("I"), array("I")
        self.ends: dict[int, int] = {}
        self.kids: dict[int, dict[str, int] | list[int]] = {}
        self.problems: list[Problem] = []
        self.words: set[str] = set()
        """Keys that were found to be text: a flow repeats few keys many times."""
        self.stack = [_Open([], [])]  # at the bottom a list that takes the root
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.aliases = self.expanded = self.documents = 0

    def build(self) -> Any:
        """The root value; `problems` holds what was noted. Raises `Invalid`."""
        next_event = _Parser(self.text).get_event
        stack, words = self.stack, self.words
        for _ in range(MAX_EVENTS):
            try:
                event = next_event()
            except yaml.YAMLError as error:
                self._explain(error)
            except Exception as error:  # a parser that is fed with anything may raise anything
                self._fail(0, "this is not valid YAML", f"the parser says: {error}")
            kind = type(event)
            if kind is ScalarEvent:
                here = stack[-1]
                if here.key is not None or not here.is_mapping:
                    self._scalar(event, here)
                elif (key := event.value) in words and key not in here.kids and not event.anchor and not event.tag:
                    here.key, here.key_at = key, event.start_mark.index
                else:
                    self._key(event, here)
            elif kind is MappingStartEvent:
                self._open(event, _Open({}, {}, is_mapping=True))
            elif kind is SequenceStartEvent:
                self._open(event, _Open([], []))
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                opened = stack.pop()
                if opened.merges is not None:
                    self._merge(opened, *opened.merges)
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is DocumentStartEvent:
                self.documents += 1
                if self.documents > 1:
                    self._fail(
                        event.start_mark.index, "a second document starts here", "a file holds one document"
                    )
            elif kind is StreamEndEvent:
                return stack[0].data[0] if stack[0].data else None
        raise self._failure(len(self.text), "the document is too long", f"at most {MAX_EVENTS:,} values are read")

    def _add(self, here: _Open, value: Any, start: int) -> int:
        """Put a value where the next one belongs; its number."""
        node, key = len(self.starts), here.key
        self.starts.append(start)
        if key is None:
            self.keys.append(start)
            here.data.append(value)
            here.kids.append(node)
            return node
        self.keys.append(here.key_at)
        here.key = None
        if here.merging:
            here.merges, here.merging = (value, node), False
        else:
            here.data[key] = value
            here.kids[key] = node
        return node

    def _scalar(self, event: Any, here: _Open) -> None:
        value = event.value
        start = event.start_mark.index
        tagged = "${{" in value or "{%" in value
        if event.anchor or event.tag:
            start = min(self._properties(event, start), event.end_mark.index)
        if not event.style:
            if tagged and _unclosed(value) and _COMMENT.match(self.text, event.end_mark.index):
                tag = self.text.rfind("${{", start, event.end_mark.index)
                self._note(tag, 'this "${{" is not closed: " #" begins a comment', QUOTE_EXPRESSION)
            elif value[:1] in STARTS:
                try:
                    value = resolve(value)
                except BadScalar as error:
                    self._note(start, error.message, error.hint)
        elif "\0" in value:
            self._note(start, "a NUL character is not allowed", "remove the \\0")
        node = self._add(here, value, start)
        if tagged:
            self.ends[node] = event.end_mark.index
        if event.anchor:
            self.anchors[event.anchor] = value, node

    def _key(self, event: Any, here: _Open) -> None:
        value = event.value
        at = event.start_mark.index
        if event.anchor or event.tag:
            at = self._properties(event, at)
            if event.anchor:
                self.anchors[event.anchor] = value, _NO_NODE
        if not event.style:
            if value == "<<":
                self._merge_key(here, at)
                return
            if "${{" in value and _unclosed(value):
                self._note(at, 'an expression that holds ": " must be quoted', QUOTE_EXPRESSION)
            if value[:1] in STARTS and (what := _other_than_text(value)):
                self._note(
                    at, f"the key {_short(value)} is {what}, not text" if value else "a key is missing", _QUOTE
                )
                value = f"\0{at}"  # which no key can be, so that no other problem follows from it
            self.words.add(value)
        elif "\0" in value:
            self._note(at, "a NUL character is not allowed", "remove the \\0")
        self._named(here, value, at)

    def _named(self, here: _Open, key: str, at: int) -> None:
        if key in here.kids:
            first = self.lines.at(self.keys[here.kids[key]]).line
            self._note(
                at, f'duplicate key "{_short(key)}"', f"it stands on line {first} already, keep one of them"
            )
        here.key, here.key_at = key, at

    def _merge_key(self, here: _Open, at: int) -> None:
        if here.merges_at is not None:
            first = self.lines.at(here.merges_at).line
            hint = f"it stands on line {first} already; one << takes a list: [*a, *b]"
            self._note(at, 'duplicate key "<<"', hint)
        here.key, here.key_at, here.merges_at, here.merging = "<<", at, at, True

    def _open(self, event: Any, opened: _Open) -> None:
        start = event.start_mark.index
        here = self.stack[-1]
        if len(self.stack) > MAX_DEPTH:
            self._fail(start, *_TOO_DEEP)
        if here.key is None and here.is_mapping:
            if self.text[start - 1 : start + 1] == "{{":
                self._fail(start - 1, "a value that starts with {{ must be quoted", 'an expression is "${{ … }}"')
            self._fail(start, "a key must be text, not a list or mapping", "put it in quotes")
        if event.anchor or event.tag:
            start = self._properties(event, start)
        node = self._add(here, opened.data, start)
        self.kids[node] = opened.kids
        self.stack.append(opened)
        if event.anchor:
            self.anchors[event.anchor] = opened.data, node

    def _alias(self, event: Any) -> None:
        at, name = event.start_mark.index, event.anchor
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self._fail(at, f"more than {MAX_ALIASES} aliases", "write the values out, or use defaults")
        if name not in self.anchors:
            self._fail(at, f"no anchor &{_short(name)} stands above this alias", "quote a text that starts with *")
        value, original = self.anchors[name]
        if any(opened.data is value for opened in self.stack):
            self._fail(at, f"the alias *{_short(name)} stands inside its own anchor", "a value cannot hold itself")
        here = self.stack[-1]
        if here.key is None and here.is_mapping:
            if not isinstance(value, str):
                self._fail(at, f"the key *{_short(name)} is not text", "a key must be text")
            self._named(here, value, at)
            return
        self._expand(1, at)
        node = self._add(here, self._copy(value, len(self.stack), at), at)
        if original in self.kids:
            self.kids[node] = self.kids[original]

    def _copy(self, value: Any, depth: int, at: int) -> Any:
        """A value of its own for an alias: what one step's copy is changed to must not show in another's."""
        if type(value) is not dict and type(value) is not list:
            return value
        if depth > MAX_DEPTH:
            self._fail(
                at, f"with this alias there are more than {MAX_DEPTH} levels of nesting", "write it flatter"
            )
        self._expand(len(value), at)
        copied = value.copy()
        for key, item in value.items() if type(value) is dict else enumerate(value):
            if type(item) is dict or type(item) is list:
                copied[key] = self._copy(item, depth + 1, at)
        return copied

    def _expand(self, values: int, at: int) -> None:
        """Count what aliases stand for, before it is made."""
        self.expanded += values
        if self.expanded > MAX_EXPANDED:
            self._fail(at, f"the aliases stand for more than {MAX_EXPANDED:,} values", "write it without aliases")

    def _merge(self, opened: _Open, value: Any, node: int) -> None:
        """`<<`: keys of other mappings, before our own, which win; of two mappings the first one wins."""
        kids = self.kids.get(node)
        sources = [(value, kids)]
        if isinstance(value, list) and isinstance(kids, list):
            sources = [(item, self.kids.get(kid)) for item, kid in zip(value, kids, strict=True)]
        own_data, own_kids = dict(opened.data), dict(opened.kids)
        opened.data.clear()
        opened.kids.clear()
        for data, numbers in sources:
            if not isinstance(data, dict) or not isinstance(numbers, dict):
                self._note(self.keys[node], "<< takes a mapping or a list of mappings", "as in <<: *name")
                continue
            if not opened.data:
                opened.data.update(data)
                opened.kids.update(numbers)
                continue
            for key in data:
                if key not in opened.data:
                    opened.data[key], opened.kids[key] = data[key], numbers[key]
        opened.data.update(own_data)
        opened.kids.update(own_kids)

    def _properties(self, event: Any, start: int) -> int:
        """Where the value itself starts, after its anchor; a tag is a problem."""
        if event.tag:
            self._note(start, "YAML tags (!…) are not allowed", "quote a text that starts with !")
        match = _ANCHOR.match(self.text, start)
        return match.end() if match else start

    def _explain(self, error: yaml.YAMLError) -> NoReturn:
        place = getattr(error, "problem_mark", None)
        opened = getattr(error, "context_mark", None)
        said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
        context = str(getattr(error, "context", None) or "")
        at = place.index if place else 0
        if "nesting depth" in said:  # the scanner looks far ahead of the events, and has a bound of its own
            at = _first_too_deep(self.text[:at])
            self._fail(at, *_TOO_DEEP)
        self._fail(*explain(self.text, said, context, at, opened.index if opened else None))

    def _note(self, at: int, message: str, hint: str) -> None:
        self.problems.append(Problem(self.lines.at(at), message, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            self._fail(at, f"more than {MAX_PROBLEMS} problems: the rest is not read", "mend these first")

    def _fail(self, at: int, message: str, hint: str) -> NoReturn:
        raise self._failure(at, message, hint)

    def _failure(self, at: int, message: str, hint: str) -> Invalid:
        return Invalid(*sorted([*self.problems, Problem(self.lines.at(at), message, hint)], key=_place))


def _first_too_deep(text: str) -> int:
    """Where the first collection of more than `MAX_DEPTH` levels opens; the text may end within it."""
    starts: list[int] = []
    event: Any
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, _Parser):
            kind: type = type(event)
            if kind in (SequenceStartEvent, MappingStartEvent):
                starts.append(event.start_mark.index)
                if len(starts) > MAX_DEPTH:
                    return starts[-1]
            elif kind in (SequenceEndEvent, MappingEndEvent):
                starts.pop()
    return len(text)


def _other_than_text(key: str) -> str:
    """What a plain key is by YAML's rules, in words; empty where it is text."""
    try:
        value = resolve(key)
    except BadScalar:
        value = 0
    return {bool: "a boolean", int: "a number", float: "a number", type(None): "null"}.get(type(value), "")


def _unclosed(text: str) -> bool:
    return text.rfind("${{") > text.rfind("}}")


def _short(text: str) -> str:
    return one_line(text if len(text) <= 60 else f"{text[:57]}…")
