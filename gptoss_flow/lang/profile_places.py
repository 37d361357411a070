"""Where shared profiles lie: the folders of the search path, in order, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import platformdirs

ENTRY_POINTS = "gptoss_flow.profiles"
"""The entry-point group with which an installed package offers profiles: the value names the package that holds
them, as YAML files."""

SHIPPED = Path(__file__).parent.parent / "profiles"
SUFFIXES = (".yaml", ".yml")
_PROJECT_SIGNS = ("gptoss-flow.yaml", ".git")


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Folders with profiles, the first that has a name wins."""

    folders: tuple[Path, ...]

    def hits(self, name: str) -> Iterator[Path]:
        """Every file that a profile's name stands for, the one to take first."""
        for folder in self.folders:
            for suffix in SUFFIXES:
                if (path := folder / f"{name}{suffix}").is_file():
                    yield path

    def names(self) -> dict[str, Path]:
        """Every name that can be found, with its file, in the order of the folders."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            if folder.is_dir():
                for path in sorted(folder.iterdir()):
                    if path.suffix in SUFFIXES and path.is_file():
                        found.setdefault(path.stem, path)
        return found


def search_path(flow_dir: Path | None, cwd: Path) -> SearchPath:
    """`profiles/` beside the flow, in the project and of the user; installed packages'; the shipped ones."""
    folders = [flow_dir / "profiles"] if flow_dir else []
    folders += [project_folder(cwd) / "profiles", Path(platformdirs.user_config_dir("gptoss-flow")) / "profiles"]
    return SearchPath(tuple(dict.fromkeys([*folders, *_installed(), SHIPPED])))


def project_folder(cwd: Path) -> Path:
    """The nearest folder from `cwd` upwards that holds `gptoss-flow.yaml` or `.git`; else `cwd`."""
    for folder in (cwd, *cwd.parents):
        if any((folder / sign).exists() for sign in _PROJECT_SIGNS):
            return folder
    return cwd


def _installed() -> Iterator[Path]:
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        # Only found, never imported: a profile is data.
        spec = find_spec(entry.module.partition(".")[0])
        for root in (spec and spec.submodule_search_locations) or ():
            yield Path(root, *entry.module.split(".")[1:])
