"""The YAML parser's complaints in our words: what an author most likely did, where, and what to write instead."""

from __future__ import annotations

import re
from typing import NamedTuple


class Complaint(NamedTuple):
    """`at` is an offset into the text."""

    at: int
    message: str
    hint: str


QUOTE_EXPRESSION = "put the whole value in quotes, or begin it with | and write it on the next lines"

# What the parser says -> what we say, where nothing but its words decides. The first that fits.
_SAYINGS = (
    (
        "unknown escape character",
        "in double quotes a backslash starts an escape, and this is none",
        "double the backslash, or use single quotes",
    ),
    (
        "Unicode character escape code",
        "this escape is not a character",
        "double the backslash, or write the character itself",
    ),
    (
        "block sequence entries are not allowed",
        "a list cannot begin here",
        'begin it on the next line, every item with "- "',
    ),
    (
        "'-' indicator",
        "this line does not belong to the list above it",
        'every item of a list begins with "- " at the same column',
    ),
    (
        "<document start>",
        "this line does not belong to what stands above it",
        "keys of one mapping begin at the same column",
    ),
    (
        "comment or line break",
        "nothing but a comment can follow | or > on its line",
        "write the text on the next lines, indented",
    ),
    (
        "chomping or indentation",
        "nothing but a comment can follow | or > on its line",
        "write the text on the next lines, indented",
    ),
    ("tag handle", "YAML tags (!…) are not allowed", "quote a text that starts with !"),
    ("document indicator", "the text is cut by a document mark", "close the quote before it"),
    ("directive", "YAML directives (%…) are not allowed here", "remove the line"),
    ("incompatible YAML document", "this version of YAML is not known", "remove the %YAML line"),
)


def explain(text: str, said: str, context: str, at: int, opened: int | None) -> Complaint:
    """What to tell the author.

    `said` and `context` are the parser's words, `at` and `opened` the offsets of what it stumbled over and of
    the construct that it was reading then. Both libyaml's wording and the pure parser's are understood.
    """
    at = min(at, len(text))
    opened = at if opened is None else opened
    line_start = text.rfind("\n", 0, at) + 1
    before = text[line_start:at]
    char = text[at : at + 1]

    if at and text[at - 1 : at + 2] == "${{":
        return Complaint(at - 1, "inside {…} or […] an expression must be quoted", 'write "${{ … }}"')
    if char == "\t" or "tab character" in said:
        if before.strip():
            return Complaint(at, "a tab cannot stand here", "use spaces")
        return Complaint(at, "a tab cannot indent YAML", "use spaces")
    if "mapping values are not allowed" in said:
        return _stray_colon(text, before, line_start, at)
    if "cannot start any token" in said:
        if char == "%" and text[at - 1 : at] == "{":
            return Complaint(at - 1, "a value that starts with {% must be quoted", QUOTE_EXPRESSION)
        return Complaint(at, f'a value cannot start with "{char}"', "put it in quotes")
    if "quoted scalar" in context and "end of stream" in said:
        return Complaint(opened, "the quote that opens here is never closed", "close it")
    if "expected ':'" in said:
        return Complaint(
            opened, 'this line is no "key: value"', 'add ": " after the key, or indent a text that goes on'
        )
    if "expected ',' or" in said:
        bracket, closing = ("{", "}") if "'}'" in said else ("[", "]")
        line = text.count("\n", 0, opened) + 1
        return Complaint(at, f'the "{bracket}" of line {line} is not closed here', f'write "," or "{closing}"')
    if "alias" in context or "anchor" in context:
        return Complaint(opened, f'a value cannot start with "{text[opened : opened + 1]}"', "put it in quotes")
    if "expected key" in said or "<block end>" in said:
        return _no_key(before, at)
    for words, message, hint in _SAYINGS:
        if words in said or words in context:
            return Complaint(at, message, hint)
    return Complaint(at, "this is not valid YAML here", f"the parser says: {said}")


def _stray_colon(text: str, before: str, line_start: int, at: int) -> Complaint:
    tag = before.rfind("${{")
    if tag > before.rfind("}}"):
        return Complaint(line_start + tag, 'an expression that holds ": " must be quoted', QUOTE_EXPRESSION)
    if re.search(r":\s", before):
        return Complaint(at, 'a text that holds ": " must be quoted', "put the whole value in quotes")
    above = text[:line_start].rstrip().rpartition("\n")[2]
    if glued := re.match(r"\s*(?:- )?[\w-]+(:)[^\s:/]", above):
        return Complaint(
            len(text[:line_start].rstrip()) - len(above) + glued.start(1),
            'a ":" after a key needs a space behind it',
            'write "key: value"',
        )
    return Complaint(at, "a key cannot stand here", "check the indentation of this line and the one above it")


def _no_key(before: str, at: int) -> Complaint:
    if not before.strip():
        return Complaint(
            at,
            "the indentation of this line fits no line above it",
            "keys of one mapping begin at the same column",
        )
    if before.rstrip().endswith(("'", '"')):
        return Complaint(at, "text goes on after the closing quote", "put the whole value in quotes")
    if re.search(r"\*\S+\s+$", before):
        return Complaint(at, "nothing can follow an alias (*name)", "quote a text that starts with *")
    return Complaint(at, "a key was expected here", "put the whole value before it in quotes, or start a new line")
