"""Which keys differ between two profiles, and whether one process could serve both. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from gptoss_flow.lang.profile import REQUEST_TIME, Profile
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.lang.profile_parts import MODEL_SOURCES

Kind = Literal["load-time", "request-time", "model"]
"""What a difference means: another process is needed; none is; it depends on the file that is found."""

SOURCE_PATHS: frozenset[KeyPath] = frozenset(("model", key) for row in MODEL_SOURCES for key in row)
_ABOUT: frozenset[KeyPath] = frozenset({("name",), ("description",)})
_ORDER = [*Profile.model_fields]
_CONTEXT: frozenset[KeyPath] = frozenset({("context",), ("context_total",)})


def differing_keys(left: Profile, right: Profile) -> dict[KeyPath, Kind]:
    """Each key whose values differ, in a profile's order, with what that means; but name and description."""
    one, other = (dict(_leaves(profile.model_dump(mode="json"), ())) for profile in (left, right))
    paths = [path for path in dict.fromkeys([*one, *other]) if one.get(path) != other.get(path)]
    paths.sort(key=lambda path: _ORDER.index(str(path[0])))
    equal = _ABOUT | _CONTEXT if _contexts(left) == _contexts(right) else _ABOUT
    return {path: _kind(path, left, right) for path in paths if path not in equal}


def shares_process(left: Profile, right: Profile) -> bool | None:
    """Whether one process could serve both; None where it depends on both finding the same model file."""
    kinds = set(differing_keys(left, right).values())
    if "load-time" in kinds:
        return False
    return None if "model" in kinds else True


def _kind(path: KeyPath, left: Profile, right: Profile) -> Kind:
    if path in SOURCE_PATHS:
        return "model"
    if path[0] in REQUEST_TIME:
        return "request-time"
    if path in _CONTEXT:
        return "load-time"
    one, other = (profile.load_time().get(str(path[0])) for profile in (left, right))
    return "load-time" if one != other else "request-time"


def _contexts(profile: Profile) -> tuple[int, int]:
    """What `context` or `context_total` means, whichever of them is said."""
    return profile.context_per_slot, profile.context_of_all_slots


def _leaves(value: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for key, item in value.items():
        here = (*path, key)
        if isinstance(item, Mapping):
            yield from _leaves(item, here)
        elif item is not None:
            yield here, item
