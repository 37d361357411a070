"""GBNF as llama.cpp reads it, as far as our grammars use it: whether a text matches, and texts that do.

A token `<[N]>` is the character U+F0000 + N here, so that a text can hold it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

_WORD = re.compile(
    r'\s*(?:#[^\n]*\n\s*)*("(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|!?<\[\d+\]>|[A-Za-z][A-Za-z0-9-]*|::=|[()|*+?.]|\{\d+(?:,\d*)?\})',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


def token(number: int) -> str:
    return chr(0xF0000 + number - 199_000)


@dataclass(frozen=True)
class Grammar:
    rules: dict[str, Any]

    def matches(self, text: str) -> bool:
        return len(text) in self._ends(("rule", "root"), text, 0, {})

    def made(self, random: Random, size: int = 40) -> str:
        return "".join(self._make(("rule", "root"), random, [size]))

    def _ends(self, node: Any, text: str, at: int, known: dict[Any, set[int]]) -> set[int]:
        """Where a match that begins at `at` may end."""
        kind = node[0]
        if kind == "rule":
            if (node[1], at) not in known:
                known[node[1], at] = set()
                known[node[1], at] = self._ends(self.rules[node[1]], text, at, known)
            return known[node[1], at]
        if kind == "text":
            return {at + len(node[1])} if text.startswith(node[1], at) else set()
        if kind == "set":
            return {at + 1} if at < len(text) and node[1](text[at]) else set()
        if kind == "any":
            return {end for each in node[1] for end in self._ends(each, text, at, known)}
        if kind == "all":
            ends = {at}
            for each in node[1]:
                ends = {end for begin in ends for end in self._ends(each, text, begin, known)}
            return ends
        _, each, least, most = node
        found: set[int] = {at} if least == 0 else set()
        ends, count = {at}, 0
        while ends and (most is None or count < most):
            count += 1
            ends = {end for begin in ends for end in self._ends(each, text, begin, known)} - (
                found if count > least else set()
            )
            if count >= least:
                found |= ends
        return found

    def _make(self, node: Any, random: Random, left: list[int]) -> Iterator[str]:
        left[0] -= 1
        kind = node[0]
        if kind == "rule":
            yield from self._make(self.rules[node[1]], random, left)
        elif kind == "text":
            yield node[1]
        elif kind == "set":
            yield random.choice([c for c in _SOME if node[1](c)])
        elif kind == "any":
            # Towards the end the last choice is taken, which is the simplest in the grammars of this test.
            yield from self._make(random.choice(node[1]) if left[0] > 0 else node[1][-1], random, left)
        elif kind == "all":
            for each in node[1]:
                yield from self._make(each, random, left)
        else:
            _, each, least, most = node
            more = random.randint(0, 3) if left[0] > 0 else 0
            for _ in range(least + (more if most is None else min(more, most - least))):
                yield from self._make(each, random, left)


_SOME = 'abe0123456789 -+.TZé"\\/bu\n' + "".join(
    token(n) for n in (199_999, 200_002, 200_003, 200_005, 200_007, 200_012)
)


def parse(grammar: str) -> Grammar:
    words = _words(grammar)
    rules: dict[str, Any] = {}
    at = 0
    while at < len(words):
        name, at = words[at], at + 2
        rules[name], at = _choices(words, at)
    return Grammar(rules)


def _words(grammar: str) -> list[str]:
    words, at = [], 0
    while grammar[at:].strip():
        match = _WORD.match(grammar, at)
        assert match, f"not GBNF: {grammar[at : at + 40]!r}"
        words.append(match[1])
        at = match.end()
    return words


def _choices(words: list[str], at: int) -> tuple[Any, int]:
    choices = []
    while True:
        sequence: list[Any] = []
        while at < len(words) and words[at] not in ("|", ")") and words[at + 1 : at + 2] != ["::="]:
            node, at = _item(words, at)
            sequence.append(node)
        choices.append(("all", sequence))
        if at < len(words) and words[at] == "|":
            at += 1
            continue
        return ("any", choices) if len(choices) > 1 else choices[0], at


def _item(words: list[str], at: int) -> tuple[Any, int]:
    word, at = words[at], at + 1
    node: Any
    if word == "(":
        node, at = _choices(words, at)
        at += 1
    elif word[0] == '"':
        node = ("text", _unescaped(word[1:-1]))
    elif word[0] == "[":
        node = ("set", _set(word[1:-1]))
    elif word == ".":
        node = ("set", lambda c: True)
    elif "<[" in word:
        wanted = token(int(word.strip("!<[]>")))
        node = ("set", (lambda c: c != wanted)) if word[0] == "!" else ("text", wanted)
    else:
        node = ("rule", word)
    while at < len(words) and (words[at] in "*+?" or words[at][0] == "{"):
        bound = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(words[at])
        if bound is None:
            least, comma, most = words[at][1:-1].partition(",")
            bound = (int(least), int(most) if most else None if comma else int(least))
        node, at = ("repeat", node, *bound), at + 1
    return node, at


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        return chr(int(code, 16)) if code else {"n": "\n", "r": "\r", "t": "\t"}.get(match[4], match[4])

    return _ESCAPE.sub(one, text)


def _set(inner: str) -> Callable[[str], bool]:
    negated = inner.startswith("^")
    marked = _unescaped(re.sub(r"(?<=[^\\])-(?=.)", "\uf8ff", inner[negated:])) if len(inner) > negated else ""
    pairs = re.findall("(.)\uf8ff(.)|(.)", marked, re.DOTALL)
    return lambda c: any(low <= c <= high if low else c == one for low, high, one in pairs) != negated
