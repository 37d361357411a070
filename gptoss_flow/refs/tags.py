"""Text -> tokens for Jinja's parser: where tags start and end, and which one each token stands in.

Jinja's own lexer knows lines only. Here a token's `lineno` is its tag's occurrence: how many `${{` and `{%`
the text holds before that tag. Nodes and syntax errors inherit it, so that every error can be placed.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from jinja2.lexer import Token, operators

from gptoss_flow.refs.errors import TemplateError
from gptoss_flow.refs.values import MAX_INTEGER
from gptoss_flow.words import suggest

MAX_TOKENS: Final = 20_000
MAX_NESTING: Final = 32
STATEMENTS: Final = ("for", "if", "set", "raw")

_TAG = re.compile(r"\$\{\{|\{%")
_RAW = re.compile(r"\{%([-+]?)\s*raw\s*([-+]?)%\}")
_ENDRAW = re.compile(r"\{%([-+]?)\s*endraw\s*([-+]?)%\}")
_SPACE = re.compile(r"\s*")
_NEWLINE = re.compile(r"\r?\n")
_WORD = re.compile(
    r"""\s*(?:
    (?P<float>(?<!\.)[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?[eE][-+]?[0-9]+
             |(?<!\.)[0-9]+(?:_[0-9]+)*\.[0-9]+(?:_[0-9]+)*)
    |(?P<integer>0[bB][01_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|[0-9][0-9_]*)
    |(?P<name>\w+)
    |(?P<string>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")
    |(?P<operator>&&|\|\||//|\*\*|==|!=|>=|<=|[-+/*%~()\[\]{}<>=.:|,;])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:\r?\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "b": "\b",
    "f": "\f",
    "a": "\a",
    "v": "\v",
}
_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}
_FOREIGN: Final = {
    "&": 'write "and"',
    "!": 'write "not"',
    "?": 'write "a if condition else b"',
    "$": "names stand bare here",
}

_DOTTED = re.compile(
    r"\s*(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*"
    r"(?:\|\s*d(?:efault)?\s*\(\s*(?:'(?P<single>[^'\\]*)'|\"(?P<double>[^\"\\]*)\")\s*\)\s*)?"
    r"(?P<sign>-?)\}\}",
    re.ASCII,
)
_NO_NAMES: Final = frozenset({"true", "false", "none", "True", "False", "None", "null", "not"})

Kind = Literal["variable", "block", "bare"]
_END: Final = {
    "variable": re.compile(r"\s*(-?)\}\}"),
    "block": re.compile(r"\s*([-+]?)%\}"),
    "bare": re.compile(r"\s*()\Z"),
}


class Dotted(NamedTuple):
    """An expression of only names and dots: it needs no parser, and passes through Jinja's as if it were text.

    `default` is the text that stands in for null and undefined: `| default("")`.
    """

    root: str
    keys: tuple[str, ...]
    default: str | None = None


@dataclass(slots=True)
class Tags:
    """A text taken apart. `sources` are the tags as written, by occurrence; `whole`: one `${{ }}`, else blank."""

    tokens: list[Token] = field(default_factory=list)
    sources: dict[int, str] = field(default_factory=dict)
    whole: bool = False


def read(text: str) -> Tags:
    """Raises `TemplateError` for what is unclosed, unreadable, or no statement of ours."""
    return _Reader(text).template()


def read_expression(text: str) -> Tags:
    """The same for an expression without `${{ }}`."""
    return _Reader(text).bare()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tags = Tags()
        self.tokens = self.tags.tokens
        self.open: list[tuple[str, int]] = []
        """The statements that wait for their end, each with its occurrence; `if else` is past its else."""

    def bare(self) -> Tags:
        self.tags.sources[0] = self.text
        self.tokens.append(Token(0, "variable_begin", ""))
        self._inside(0, "bare", 0)
        self.tokens.append(Token(0, "variable_end", ""))
        self.tags.whole = True
        return self.tags

    def template(self) -> Tags:
        text = self.text
        starts = [match.start() for match in _TAG.finditer(text)]
        at, sign, after_block, blank = 0, "", False, True
        while (occurrence := bisect_left(starts, at)) < len(starts):
            start = starts[occurrence]
            block = text[start] == "{"
            begin = start + (2 if block else 3)
            raw = _RAW.match(text, start) if block else None
            opening = raw[1] if raw else text[begin : begin + 1]
            blank &= self._data(at, start, sign, after_block, opening, block) and not block
            if raw:
                end = _ENDRAW.search(text, raw.end())
                if end is None:
                    raise TemplateError('"{% raw %}" is never closed', 'end it with "{% endraw %}"', occurrence)
                self._data(raw.end(), end.start(), raw[2], False, end[1], True)
                at, sign = end.end(), end[2]
            else:
                at, sign = self._tag(begin + (opening in ("-", "+")), block, occurrence, start)
            after_block = block
        blank &= self._data(at, len(text), sign, after_block, "", False)
        if self.open:
            word, occurrence = self.open[-1]
            word = word.removesuffix(" else")
            raise TemplateError(
                f'"{{% {word} %}}" is never closed', f'end it with "{{% end{word} %}}"', occurrence
            )
        self.tags.whole = blank and len(self.tags.sources) == 1
        return self.tags

    def _data(self, start: int, end: int, before: str, after_block: bool, sign: str, block: bool) -> bool:
        """Add the text between two tags, trimmed as `trim_blocks` and `lstrip_blocks` say; whether it is blank."""
        text = self.text
        if before == "-":
            start = min(end, _SPACE.match(text, start).end())  # type: ignore[union-attr]
        elif after_block and before != "+" and (newline := _NEWLINE.match(text, start, end)):
            start = newline.end()
        data = text[start:end]
        if sign == "-":
            data = data.rstrip()
        elif block and sign != "+":
            line = data.rfind("\n") + 1
            if (line or start == 0 or text[start - 1] == "\n") and data[line:].isspace():
                data = data[:line]
        if data:
            self.tokens.append(Token(0, "data", data))
        return not data or data.isspace()

    def _tag(self, at: int, block: bool, occurrence: int, start: int) -> tuple[int, str]:
        if len(self.tokens) > MAX_TOKENS:
            raise TemplateError("a template is too long", f"at most {MAX_TOKENS:,} words in its tags", occurrence)
        if not block and (dotted := _DOTTED.match(self.text, at)):
            path, single, double, sign = dotted.groups()
            root, *keys = path.split(".")
            if root not in _NO_NAMES:
                self.tags.sources[occurrence] = self.text[start : dotted.end()]
                found = Dotted(root, tuple(keys), double if single is None else single)
                self.tokens.append(Token(occurrence, "data", found))  # type: ignore[arg-type]
                return dotted.end(), sign
        kind: Kind = "block" if block else "variable"
        first = len(self.tokens) + 1
        self.tokens.append(Token(occurrence, f"{kind}_begin", ""))
        end, sign = self._inside(at, kind, occurrence)
        self.tags.sources[occurrence] = self.text[start:end]
        if block:
            self._statement(self.tokens[first:], occurrence)
        elif len(self.tokens) == first:
            raise TemplateError('"${{ }}" holds no expression', "", occurrence)
        self.tokens.append(Token(occurrence, f"{kind}_end", ""))
        return end, sign

    def _inside(self, at: int, kind: Kind, occurrence: int) -> tuple[int, str]:
        text, add = self.text, self.tokens.append
        end_of_tag, read_word = _END[kind].match, _WORD.match
        brackets: list[str] = []
        while True:
            if not brackets and (end := end_of_tag(text, at)):
                return end.end(), end[1]
            word = read_word(text, at)
            if word is None:
                raise self._unreadable(at, kind, occurrence, brackets)
            group = word.lastgroup
            value = word[group]  # type: ignore[index]
            at = word.end()
            if group == "operator":
                if value in _BRACKETS:
                    brackets.append(value)
                    if len(brackets) > MAX_NESTING:
                        raise TemplateError("an expression is nested too deeply", "", occurrence)
                elif value in ")]}":
                    if not brackets:
                        raise TemplateError(f'unexpected "{value}"', "", occurrence)
                    if _BRACKETS[opened := brackets.pop()] != value:
                        raise TemplateError(f'"{opened}" is never closed', "", occurrence)
                elif value in ("&&", "||"):
                    word_for = "and" if value == "&&" else "or"
                    raise TemplateError(f'unexpected "{value}"', f'write "{word_for}"', occurrence)
                add(Token(occurrence, operators[value], value))
            elif group == "name":
                if not value.isidentifier():
                    raise TemplateError(f'"{value}" is not a name', "", occurrence)
                add(Token(occurrence, "name", value))
            elif group == "string":
                add(Token(occurrence, "string", _unescape(value[1:-1], occurrence)))
            else:
                add(Token(occurrence, group, _number(value, group == "float", occurrence)))  # type: ignore[arg-type]
            if len(self.tokens) > MAX_TOKENS:
                raise TemplateError(
                    "a template is too long", f"at most {MAX_TOKENS:,} words in its tags", occurrence
                )

    def _unreadable(self, at: int, kind: Kind, occurrence: int, brackets: list[str]) -> TemplateError:
        rest = self.text[at:].lstrip()
        if rest[:1] in ("'", '"'):
            return TemplateError(f"the quote {rest[0]} is never closed", "", occurrence)
        if rest:
            return TemplateError(f"unexpected character {rest[0]!r}", _FOREIGN.get(rest[0], ""), occurrence)
        if brackets:
            return TemplateError(f'"{brackets[-1]}" is never closed', "", occurrence)
        opening, closing = ("{%", "%}") if kind == "block" else ("${{", "}}")
        hint = f'close it with "{closing}"; in YAML an unquoted " #" starts a comment, so quote the whole value'
        return TemplateError(f'"{opening}" is never closed', hint, occurrence)

    def _statement(self, words: list[Token], occurrence: int) -> None:
        """Keep the statements nested, so that a wrong one is named here and in our words."""
        word = words[0].value if words and words[0].type == "name" else ""
        innermost = self.open[-1][0] if self.open else ""
        if word in ("for", "if") or (word == "set" and not _assigns(words)):
            self.open.append((word, occurrence))
            if len(self.open) > MAX_NESTING // 2:
                raise TemplateError("statements are nested too deeply", "", occurrence)
        elif word in ("else", "elif"):
            if innermost not in (("for", "if") if word == "else" else ("if",)):
                raise TemplateError(f'"{{% {word} %}}" belongs to no open "{{% if %}}"', "", occurrence)
            if word == "else":
                self.open[-1] = (f"{innermost} else", self.open[-1][1])
        elif word in ("endfor", "endif", "endset"):
            if innermost.removesuffix(" else") != word[3:]:
                hint = f'first end "{{% {innermost.removesuffix(" else")} %}}"' if innermost else ""
                raise TemplateError(f'"{{% {word} %}}" ends nothing', hint, occurrence)
            self.open.pop()
        elif word != "set":
            hint = suggest(word, STATEMENTS)
            raise TemplateError(f'there is no statement "{{% {word} %}}"', hint, occurrence)


def _assigns(words: list[Token]) -> bool:
    """Whether `{% set %}` gives its value itself, and no `{% endset %}` is to come."""
    depth = 0
    for word in words:
        if word.value in _BRACKETS and word.type != "string":
            depth += 1
        elif word.type in ("rparen", "rbracket", "rbrace"):
            depth -= 1
        elif word.type == "assign" and not depth:
            return True
    return False


def _number(written: str, is_float: bool, occurrence: int) -> int | float:
    try:
        digits = written.replace("_", "")
        number = float(digits) if is_float else int(digits, 0)
    except ValueError:
        raise TemplateError(f'"{written[:40]}" is not a number', "", occurrence) from None
    if not math.isfinite(number) or (isinstance(number, int) and number > MAX_INTEGER):
        raise TemplateError(f'"{written[:40]}" is too large a number', "integers have 64 bits", occurrence)
    return number


def _unescape(written: str, occurrence: int) -> str:
    """Python's escapes, as in Jinja, but for `\\N{…}`; half a surrogate pair is no character."""
    if "\\" not in written:
        return written

    def character(match: re.Match[str]) -> str:
        code = match[0][1:]
        if code in _ESCAPES:
            return _ESCAPES[code]
        if len(code) > 1 and code[0] in "xuU":
            number = int(code[1:], 16)
        elif code[0] in "01234567":
            number = int(code, 8)
        elif "\n" in code:
            return ""
        else:
            number = -1 if code in ("x", "u", "U", "N") else 0
            if number == 0:
                return match[0]
        if 0 <= number < 0x110000 and not 0xD800 <= number < 0xE000:
            return chr(number)
        raise TemplateError(f'"{match[0]}" is not a character', "", occurrence)

    return _ESCAPE.sub(character, written)
