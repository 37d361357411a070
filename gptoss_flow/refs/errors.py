"""What can go wrong with a template: at compile time, while rendering, or because a text must first be cut."""

from __future__ import annotations

Path = tuple[str | int, ...]
"""The keys and indices that lead to a scalar inside a YAML value."""


class TemplateError(Exception):
    """A template that can never be rendered: its syntax is wrong, or it asks for what is not allowed.

    `occurrence` counts the textual `${{` and `{%` before the tag that is to blame.
    """

    def __init__(self, message: str, hint: str = "", occurrence: int = 0) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.occurrence = occurrence


class EvaluationError(Exception):
    """A template that could not be rendered with these values. `Compiled.render` sets `path`."""

    def __init__(self, message: str, hint: str = "", occurrence: int = 0, path: Path = ()) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.occurrence = occurrence
        self.path = path


class NeedsTokens(Exception):
    """`truncate_tokens` needs a tokenizer: cut each `(text, tokens)` of `cuts`, and render again with those."""

    def __init__(self, cuts: frozenset[tuple[str, int]]) -> None:
        super().__init__(f"{len(cuts)} texts must be cut to a number of tokens")
        self.cuts = cuts


class Refused(Exception):
    """A filter or test refuses its input or arguments, in words that follow its name: `takes text, not a list`."""
