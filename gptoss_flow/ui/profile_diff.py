"""Draws how two profiles differ: each key with both values and where they come from, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptoss_flow.events import Json
from gptoss_flow.lang.profile_diff import differing_keys, shares_process
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.profile import leaves, place_text
from gptoss_flow.ui.table import table

_VERDICTS = {
    True: "One process can serve both: no load-time key differs.",
    False: "Each needs a process of its own: a load-time key differs.",
    None: "One process can serve both if they find the same model file: no other load-time key differs.",
}


def draw_difference(left: ResolvedProfile, right: ResolvedProfile) -> str:
    """A table of the keys that differ, and whether one process could serve both; no newline at the end."""
    kinds = differing_keys(left.profile, right.profile)
    one, other = dict(leaves(left.profile)), dict(leaves(right.profile))
    rows: list[tuple[str, ...]] = []
    for path, kind in kinds.items():
        rows.append((_dotted(path), kind, *_side(left, one.get(path), path)))
        rows.append(("", "", *_side(right, other.get(path), path)))
    head = ("KEY", "KIND", "PROFILE", "VALUE", "FROM")
    return "\n".join(
        [table(head, rows) if rows else "no key differs", _VERDICTS[shares_process(left.profile, right.profile)]]
    )


def difference_json(left: ResolvedProfile, right: ResolvedProfile) -> dict[str, Json]:
    """The same as data. `one_process` is null where it depends on both finding the same model file."""
    one, other = (each.profile.model_dump(mode="json") for each in (left, right))
    return {
        "one_process": shares_process(left.profile, right.profile),
        "keys": {
            _dotted(path): {
                "kind": kind,
                "left": {"value": _at(one, path), "origin": place_text(left.origin(path))},
                "right": {"value": _at(other, path), "origin": place_text(right.origin(path))},
            }
            for path, kind in differing_keys(left.profile, right.profile).items()
        },
    }


def _side(resolved: ResolvedProfile, text: str | None, path: KeyPath) -> tuple[str, str, str]:
    place = "" if text is None else place_text(resolved.origin(path), short_path)
    return resolved.name, text or "-", place


def _at(data: Mapping[str, Any], path: KeyPath) -> Json:
    value: Any = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
