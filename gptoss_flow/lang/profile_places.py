"""Where shared profiles lie: the folders of the search path, in order, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from gptoss_flow.lang.profile_files import SUFFIXES, profile_files

ENTRY_POINTS = "gptoss_flow.profiles"
"""The entry-point group with which an installed package offers profiles: the value names the package that holds
them, as YAML files."""

PROFILES = "profiles"
"""The folder of shared profiles: beside a flow, in a project, in the user's configuration, in this package."""
SHIPPED = Path(__file__).parent.parent / PROFILES
PROJECT = "project"
_PROJECT_SIGNS = ("gptoss-flow.yaml", ".git")


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Folders with profiles, the first that has a name wins."""

    folders: tuple[Path, ...]
    owners: Mapping[Path, str] = field(default_factory=dict)
    """Whose a folder is: `flow`, `project`, `user`, `package NAME` or `built in`."""

    def hits(self, name: str) -> Iterator[Path]:
        """Every file that a profile's name stands for, the one to take first."""
        for folder in self.folders:
            for suffix in SUFFIXES:
                path = folder / f"{name}{suffix}"
                if os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises for a name that is too long
                    yield path

    def names(self) -> dict[str, Path]:
        """Every name that can be found, with its file, in the order of the folders."""
        found: dict[str, Path] = {}
        for path in self.files():
            found.setdefault(path.stem, path)
        return found

    def files(self) -> Iterator[Path]:
        """Every profile's file, those too that an earlier folder's file of the same name hides."""
        for folder in self.folders:
            yield from profile_files(folder)


def search_path(flow_dir: Path | None, cwd: Path) -> SearchPath:
    """`profiles/` beside the flow, in the project and of the user; installed packages'; the shipped ones."""
    owners = {flow_dir / PROFILES: "flow"} if flow_dir else {}
    for folder, owner in (
        (project_folder(cwd) / PROFILES, PROJECT),
        (Path(platformdirs.user_config_dir("gptoss-flow")) / PROFILES, "user"),
        *_installed(),
        (SHIPPED, "built in"),
    ):
        owners.setdefault(folder, owner)
    return SearchPath(tuple(owners), owners)


def project_folder(cwd: Path) -> Path:
    """The nearest folder from `cwd` upwards that holds `gptoss-flow.yaml` or `.git`; else `cwd`."""
    for folder in (cwd, *cwd.parents):
        if any((folder / sign).exists() for sign in _PROJECT_SIGNS):
            return folder
    return cwd


def _installed() -> Iterator[tuple[Path, str]]:
    for entry in sorted(_entries(), key=lambda entry: entry.name):
        # Only found, never imported: a profile is data.
        spec = find_spec(entry.module.partition(".")[0])
        for root in (spec and spec.submodule_search_locations) or ():
            owner = f"package {entry.dist.name}" if entry.dist else "package"
            yield Path(root, *entry.module.split(".")[1:]), owner


def _entries() -> Iterator[EntryPoint]:
    """What `importlib.metadata.entry_points` finds, in a third of its time: only those of our group are parsed."""
    seen = set()
    for package in distributions():
        if ENTRY_POINTS in (package.read_text("entry_points.txt") or "") and package.name not in seen:
            seen.add(package.name)  # the first on sys.path is the one that is imported
            yield from package.entry_points.select(group=ENTRY_POINTS)
