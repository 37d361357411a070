"""Patterns as in a .gitignore: which paths they name, in time linear in the path whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

_LINES = 10_000
_ODD_SET = re.compile(r"\[[^]]*(?:\[|--|&&|~~|\|\|)")
_DEEP_END = re.compile(r"/\*\*(/?)\s*$")
_ENDS = {"(?:(?P<ps_d>/)|$)": "/?$", "(?P<ps_d>/)": "/$"}
"""How a regular expression of pathspec ends that names all that is below a path, and one that names it alone."""


class _Itself(GitIgnoreSpecPattern):
    """A pattern that names a path itself, not what is below it.

    Every folder on the way is asked for before what is in it, as git does: `!/x.*` takes back the folder x.py, and
    says nothing of x.py/x.py, which *.py names again.
    """

    @classmethod
    def pattern_to_regex(cls, pattern: Any) -> tuple[Any, bool | None]:
        regex, include = super().pattern_to_regex(pattern)
        if isinstance(regex, str):
            for below, itself in _ENDS.items():
                if regex.endswith(below):
                    return regex.removesuffix(below) + itself, include
        return regex, include


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of one ignore file, or of one argument, relative to the folder that `parts` leads to."""

    parts: tuple[str, ...]
    spec: GitIgnoreSpec

    def says(self, parts: tuple[str, ...], *, folder: bool) -> bool | None:
        """True if the last pattern that names the path takes it, False if it takes it back (`!`), else None."""
        path = "/".join(parts[len(self.parts) :])
        return self.spec.check_file(path + "/" if folder else path).include


def parse(lines: Iterable[str], parts: tuple[str, ...] = ()) -> Patterns | None:
    """Patterns of some lines, those that git would not understand left out; None where there are none."""
    # A folder `a` is not named by `a/**` (git looks into it, and `!a/b` counts), which pathspec sees otherwise;
    # nor is a file `a/b` by `a/**/`, which means folders.
    kept = [_DEEP_END.sub(r"/**/*\1", line) for line in list(lines)[:_LINES] if not _ODD_SET.search(line)]
    spec = _compiled(kept) or _compiled([line for line in kept if _compiled([line])])
    return Patterns(parts, spec) if spec else None


def _compiled(lines: Sequence[str]) -> GitIgnoreSpec | None:
    try:
        # The linear engine: a hostile tree brings its own ignore files.
        spec = GitIgnoreSpec.from_lines(lines, _Itself, backend="re2")
    except Exception:  # pathspec, re and re2 raise errors of their own that share no parent
        return None
    return spec if any(pattern.include is not None for pattern in spec.patterns) else None


def ignored(files: Sequence[Patterns], parts: tuple[str, ...], *, folder: bool) -> bool:
    """Whether ignore files, outermost first, say that a path is to be left out: the innermost that speaks."""
    for patterns in reversed(files):
        said = patterns.says(parts, folder=folder)
        if said is not None:
            return said
    return False
