"""What a profile's reference means, and what that extends: names, paths and sources to chains of layers."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.lang.document import Document, read_document
from gptoss_flow.lang.elsewhere import Sources, is_path
from gptoss_flow.lang.profile_files import profile_files
from gptoss_flow.lang.profile_layers import (
    KeyPath,
    Layer,
    Written,
    check,
    relative_paths,
    spelt_out,
    with_full_paths,
)
from gptoss_flow.lang.profile_places import SearchPath
from gptoss_flow.lang.sources import Source, not_a_profile, redacted
from gptoss_flow.user_path import user_path

MAX_DEPTH = 32
MAX_ALTERNATIVES = 16
"""How deep profiles may extend each other, and how many alternatives `first_of` may add up to."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """One profile that leads to another, for the message of a cycle."""

    identity: str
    name: str
    mark: Mark


Chain = tuple[Layer, ...]
"""A profile and all that it extends, in the order in which they are merged."""
_Home = Path | Source
"""Where a profile is written: a folder of this machine, or a file elsewhere."""
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]+")


class Chains:
    """Finds the layers of profiles, each file once. See `lang.profiles.resolve_profile` for what is given."""

    def __init__(self, places: SearchPath, base_dir: Path, flow: Document | None, sources: Sources) -> None:
        self.places = places
        self.sources = sources
        self.base_dir = base_dir.absolute()
        self.flow = flow
        servers = flow.data.get("servers") if flow and isinstance(flow.data, dict) else None
        self.servers: Mapping[str, Any] = servers if isinstance(servers, dict) else {}
        self.known: dict[str, list[Chain]] = {}

    def of(self, ref: str | Mapping[str, Any], path: KeyPath) -> list[Chain]:
        """One chain for each alternative; `path` says where `ref` stands in the flow. Raises `Invalid`."""
        if isinstance(ref, str):
            mark = Written(self.flow, path).value() if self.flow else None
            return self._follow(ref, mark, self.base_dir, f"inline {path}", (), inline=True)
        return self._inline(ref, path, ())

    def _follow(
        self, ref: str, mark: Mark | None, home: _Home, origin: str, edges: tuple[_Edge, ...], *, inline: bool
    ) -> list[Chain]:
        """The chains of the profile that `ref` means to whoever wrote it at `mark`."""
        if source := self.sources.named(ref, mark, None if isinstance(home, Path) else home):
            return self._fetched(source, mark, edges)
        if advice := not_a_profile(ref):
            raise Invalid(Problem(mark, f'"{redacted(ref)}" is not a profile', advice))
        if is_path(ref) and isinstance(home, Path):
            target = home / user_path(ref)
            if not os.path.exists(target):  # noqa: PTH110  # Path.exists raises for a name that is too long
                raise Invalid(Problem(mark, f"there is no profile {ref}", _looked(ref, target)))
            return self._file(target, edges)
        if inline and ref in self.servers and f"inline {('servers', ref)}" != origin:
            return self._server(ref, self.servers[ref], mark, edges)
        hits = list(self.places.hits(ref))
        # A profile may extend one of its own name: the next on the search path, which it hides from others.
        target_hits = [hit for hit in hits if _identity(hit) != origin]
        if target_hits or hits:
            return self._file((target_hits or hits)[0], edges)
        raise Invalid(self._unknown(ref, mark, home))

    def _unknown(self, ref: str, mark: Mark | None, home: _Home) -> Problem:
        if _HOST_AND_PORT.fullmatch(ref):
            hint = f"if it is a server's address, write http://{ref}"
            return Problem(mark, f'there is no profile "{ref}"', hint)
        here = {file.stem: f"./{file.name}" for file in profile_files(home)} if isinstance(home, Path) else {}
        if ref in here:
            guess = f'did you mean "{here[ref]}"? '
        else:
            close = difflib.get_close_matches(ref, self.places.names(), n=1)
            guess = f'did you mean "{close[0]}"? ' if close else ""
        folders = ", ".join(shown(folder) for folder in self.places.folders)
        return Problem(mark, f'there is no profile "{ref}"', f"{guess}searched {folders}")

    def _server(self, name: str, ref: Any, mark: Mark | None, edges: tuple[_Edge, ...]) -> list[Chain]:
        path = ("servers", name)
        if isinstance(ref, str):
            identity = f"inline {path}"
            self._check_edges(identity, name, edges)
            at = Written(self.flow, path).value()
            return self._follow(ref, at, self.base_dir, identity, (*edges, _Edge(identity, name, at)), inline=True)
        if isinstance(ref, Mapping):
            return self._inline(ref, path, edges)
        raise Invalid(Problem(mark, f'server "{name}" is not a profile', "write a name, a path or a mapping"))

    def _inline(self, data: Mapping[str, Any], path: KeyPath, edges: tuple[_Edge, ...]) -> list[Chain]:
        written = Written(self.flow, path)
        name = str(data.get("name") or (path[-1] if path else "inline"))
        self._check_edges(f"inline {path}", name, edges)
        source = self.flow.source if self.flow else "inline profile"
        return self._expand(f"inline {path}", name, source, data, written, self.base_dir, edges)

    def _file(self, path: Path, edges: tuple[_Edge, ...]) -> list[Chain]:
        identity = _identity(path)
        self._check_edges(identity, path.stem, edges)
        if identity in self.known:
            return self.known[identity]
        document = read_document(path, shown(path))
        return self._read(identity, path.stem, document, path.absolute().parent, edges)

    def _fetched(self, source: Source, mark: Mark | None, edges: tuple[_Edge, ...]) -> list[Chain]:
        document, pinned = self.sources.read(source, mark)
        identity = str(pinned)
        self._check_edges(identity, source.stem, edges)
        return self.known.get(identity) or self._read(identity, source.stem, document, source, edges)

    def _read(
        self, identity: str, stem: str, document: Document, home: _Home, edges: tuple[_Edge, ...]
    ) -> list[Chain]:
        if not isinstance(document.data, dict):
            raise Invalid(Problem(document.marks.value(()), "a profile is a mapping", "write keys and values"))
        name = str(document.data.get("name") or stem)
        chains = self._expand(identity, name, document.source, document.data, Written(document), home, edges)
        self.known[identity] = chains
        return chains

    def _check_edges(self, identity: str, name: str, edges: tuple[_Edge, ...]) -> None:
        for start, edge in enumerate(edges):
            if edge.identity == identity:
                cycle = edges[start:]
                way = " -> ".join(f"{step.name} ({step.mark})" for step in cycle)
                said = f"profiles extend each other in a cycle: {way} -> {name}"
                raise Invalid(Problem(cycle[0].mark, said, "take one of these out of its extends or first_of"))
        if len(edges) > MAX_DEPTH:
            said = f"profiles extend each other more than {MAX_DEPTH} deep"
            raise Invalid(Problem(edges[-1].mark, said, "let this one extend fewer in a row"))

    def _expand(
        self,
        identity: str,
        name: str,
        source: str,
        data: Mapping[str, Any],
        written: Written,
        home: _Home,
        edges: tuple[_Edge, ...],
    ) -> list[Chain]:
        """The chains that end in this layer: one for each combination of alternatives below it."""
        checked = check(data, written)
        data = spelt_out(data)
        if isinstance(home, Path):
            data = with_full_paths(data, home)
        else:
            _refuse_relative_paths(data, written)
            data = with_full_paths(data, Path("/"))
        layer = Layer(identity, name, source, data, written)
        inline = written.document is self.flow

        def follow(ref: str, path: KeyPath) -> list[Chain]:
            mark = written.value(path)
            return self._follow(ref, mark, home, identity, (*edges, _Edge(identity, name, mark)), inline=inline)

        if isinstance(checked.extends, str):
            stages = [follow(checked.extends, ("extends",))]
        else:
            stages = [follow(ref, ("extends", index)) for index, ref in enumerate(checked.extends)]
        if checked.first_of is not None:
            stages.append(
                [chain for index, ref in enumerate(checked.first_of) for chain in follow(ref, ("first_of", index))]
            )
        chains = [_joined(*parts, (layer,)) for parts in product(*stages)]
        if len(chains) > MAX_ALTERNATIVES:
            said = f"first_of adds up to more than {MAX_ALTERNATIVES} alternatives"
            raise Invalid(Problem(written.value(), said, "name fewer in first_of, here or in what it extends"))
        return chains


def _refuse_relative_paths(data: Mapping[str, Any], written: Written) -> None:
    problems = [
        Problem(
            written.value(path),
            f"{'.'.join(map(str, path))}: {text} is relative, and a profile from elsewhere lies in no folder",
            "write a path that starts with / or ~" + ("" if path[0] != "model" else ", or model.url, pypi or hf"),
        )
        for path, text in relative_paths(data)
    ]
    if problems:
        raise Invalid(*problems)


def _joined(*parts: Chain) -> Chain:
    """Chains one after the other; a layer that is reached twice counts at its first place."""
    return tuple({layer.identity: layer for part in parts for layer in part}.values())


def _looked(ref: str, target: Path) -> str:
    near = {file.stem: file.name for file in profile_files(target.parent)}
    close = difflib.get_close_matches(target.stem, near, n=1)
    guess = f'did you mean "{ref.removesuffix(target.name)}{near[close[0]]}"? ' if close else ""
    return f"{guess}looked for {shown(target)}"


def _identity(path: Path) -> str:
    return str(path.resolve())


def shown(path: Path) -> str:
    """As a person would name it: relative where it lies below the working folder."""
    absolute, cwd = path.absolute(), Path.cwd()
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(path)
