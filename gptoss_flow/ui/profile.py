"""Draws a merged profile: as YAML that could be a profile file, each value with the place that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath, Origin, Variable
from gptoss_flow.lang.profile_words import value_text
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.ui.paths import short_path

COMMENT_COLUMN = 56
"""Comments stand behind the longest value, but no further right than this, whatever some value may need."""


def draw_profile(resolved: ResolvedProfile) -> str:
    """All alternatives, one YAML document each, as one text with a newline at its end. Unset keys are left out."""
    alternatives = resolved.alternatives
    documents = []
    for number, alternative in enumerate(alternatives, 1):
        files = ", ".join(map(short_path, alternative.chain))
        which = f"alternative {number} of {len(alternatives)}: " if len(alternatives) > 1 else ""
        documents.append(f"# {which}{files}\n{_document(alternative)}")
    return "---\n".join(documents)


def profile_json(resolved: ResolvedProfile) -> dict[str, Json]:
    """The same as data: for each alternative its files, its values, and by dotted key where each comes from."""
    return {
        "name": resolved.name,
        "alternatives": [
            {
                "files": list(alternative.chain),
                "profile": _spelt_out(alternative.profile).model_dump(mode="json", exclude_none=True),
                "origins": {
                    ".".join(map(str, path)): place_text(alternative.origin(path))
                    for path, _ in leaves(alternative.profile)
                },
            }
            for alternative in resolved.alternatives
        ],
    }


def leaves(profile: Profile) -> Iterator[tuple[KeyPath, str]]:
    """The path of each value that is not null, and the value as one line of YAML, in people's units."""
    return _leaves(_spelt_out(profile), ())


def _document(resolved: ResolvedProfile) -> str:
    lines: list[tuple[str, str]] = [("version: 1", "")]
    heads: KeyPath = ()
    for path, text in leaves(resolved.profile):
        *outer, key = path
        for depth, head in enumerate(outer):
            if heads[: depth + 1] != path[: depth + 1]:
                lines.append((f"{'  ' * depth}{head}:", ""))
        heads = tuple(outer)
        lines.append((f"{'  ' * len(outer)}{key}: {text}", place_text(resolved.origin(path), short_path)))
    width = min(COMMENT_COLUMN, max(len(line) for line, _ in lines))
    return "".join(f"{line:<{width}}  # {place}\n" if place else f"{line}\n" for line, place in lines)


def _spelt_out(profile: Profile) -> Profile:
    """With the one default that depends on another key."""
    if profile.context is None and profile.context_total is None:
        return profile.model_copy(update={"context": profile.context_per_slot})
    return profile


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, BaseModel):
        value = {key: getattr(value, key) for key in type(value).model_fields}
    if isinstance(value, Mapping) and (kept := {key: item for key, item in value.items() if item is not None}):
        for key, item in kept.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, Mapping):
        yield path, "{}"
    else:
        yield path, value_text(path, value)


def place_text(origin: Origin | None, short: Callable[[str], str] = str) -> str:
    """`file:line`, `$VARIABLE` or `default`."""
    match origin:
        case None:
            return "default"
        case Variable():
            return str(origin)
        case mark:
            return f"{short(mark.source)}:{mark.line}"
