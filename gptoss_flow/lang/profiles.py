"""Finds profiles, merges what they extend, and says where each value was written."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.lang.document import Document, read_document
from gptoss_flow.lang.elsewhere import NO_SOURCES, Sources, is_path
from gptoss_flow.lang.profile import FILE_KEYS, Profile
from gptoss_flow.lang.profile_environ import lay_environ
from gptoss_flow.lang.profile_layers import (
    KeyPath,
    Layer,
    Origin,
    Variable,
    Written,
    check,
    lay_over,
    relative_paths,
    says,
    spelt_out,
    with_full_paths,
)
from gptoss_flow.lang.profile_places import SearchPath, profile_files
from gptoss_flow.lang.profile_rules import contradictions
from gptoss_flow.lang.sources import Source, not_a_profile, redacted
from gptoss_flow.user_path import user_path

MAX_DEPTH = 32
MAX_ALTERNATIVES = 16
"""How deep profiles may extend each other, and how many alternatives `first_of` may add up to."""

NO_ENVIRON: Mapping[str, str] = {}
"""No environment variables: a profile as its files alone say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedProfile:
    """A merged and checked profile, and where it comes from."""

    name: str
    profile: Profile
    origins: Mapping[KeyPath, Origin] = field(default_factory=dict)
    """Where each value comes from, a place in a file or an environment variable; what is not here is a default."""
    chain: tuple[str, ...] = ()
    """The files that were merged, in order; one from elsewhere with its pin."""
    fallbacks: tuple[ResolvedProfile, ...] = ()
    """The other alternatives, where one of the files says `first_of`: `profile` is the first alternative."""

    @property
    def alternatives(self) -> tuple[ResolvedProfile, ...]:
        """All of them in order; just this one where there is no `first_of`. See `server.model.choose_model`."""
        return (replace(self, fallbacks=()), *self.fallbacks)

    def origin(self, path: KeyPath) -> Origin | None:
        """Where the value at `path`, or what it is a part of, comes from; None for a default."""
        for length in range(len(path), 0, -1):
            if origin := self.origins.get(path[:length]):
                return origin
        return None


def resolve_profile(
    ref: str | Mapping[str, Any],
    *,
    places: SearchPath,
    base_dir: Path,
    document: Document | None = None,
    path: KeyPath = (),
    needs_model: bool = True,
    environ: Mapping[str, str] = NO_ENVIRON,
    sources: Sources = NO_SOURCES,
) -> ResolvedProfile:
    """The profile that a name, a path or an inline mapping means. Raises `Invalid` with every problem of a file.

    `document` and `path` say where `ref` is written: in a flow, `("servers", name)`; a name in an inline profile
    then means another of the flow's servers first. Relative paths are relative to `base_dir`. A profile that names
    no model is refused unless `needs_model` is false: `base` is one, fit to be shown but not to be run. The
    variables of `environ` change what shipped profiles say (see `lang.profile_environ`). What lies elsewhere is
    read through `sources`, which raises `Unavailable` where it cannot be had.
    """
    return _Resolver(places, base_dir, document, environ, sources).resolve(ref, path, needs_model)


def external_profile(url: str, name: str = "external") -> ResolvedProfile:
    """The profile of somebody else's server. Raises `Invalid` if `url` is none."""
    try:
        return ResolvedProfile(name=name, profile=Profile(engine="external", url=url))
    except ValidationError as error:
        said = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise Invalid(Problem(None, f'"{url}" {said}')) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """A profile that can be found by its name."""

    name: str
    path: Path
    description: str
    """Of a broken one, what is wrong."""
    owner: str
    """Whose it is, see `SearchPath.owners`."""
    hidden_by: Path | None
    """The file that its name means instead, because it is found first."""


def list_profiles(places: SearchPath) -> list[KnownProfile]:
    """Every profile on the search path, by name, those that others hide behind them."""
    names, listed = places.names(), []
    for path in places.files():
        try:
            data = read_document(path, _shown(path)).data
            description = data.get("description") or "" if isinstance(data, dict) else "is no mapping"
        except Invalid as error:
            description = f"cannot be read: {error.problems[0].message}"
        first, owner = names[path.stem], places.owners.get(path.parent, "")
        hidden_by = None if first == path else first
        listed.append(
            KnownProfile(name=path.stem, path=path, description=str(description), owner=owner, hidden_by=hidden_by)
        )
    order = list(names)
    return sorted(listed, key=lambda known: order.index(known.name))


@dataclass(frozen=True, slots=True)
class _Edge:
    """One profile that leads to another, for the message of a cycle."""

    identity: str
    name: str
    mark: Mark


_Chain = tuple[Layer, ...]
_Home = Path | Source
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]+")
"""Where a profile is written: a folder of this machine, or a file elsewhere."""


class _Resolver:
    def __init__(
        self,
        places: SearchPath,
        base_dir: Path,
        flow: Document | None,
        environ: Mapping[str, str],
        sources: Sources,
    ) -> None:
        self.places = places
        self.sources = sources
        self.base_dir = base_dir.absolute()
        self.flow = flow
        self.environ = environ
        servers = flow.data.get("servers") if flow and isinstance(flow.data, dict) else None
        self.servers: Mapping[str, Any] = servers if isinstance(servers, dict) else {}
        self.known: dict[str, list[_Chain]] = {}

    def resolve(self, ref: str | Mapping[str, Any], path: KeyPath, needs_model: bool) -> ResolvedProfile:
        mark = Written(self.flow, path).value() if self.flow else None
        if isinstance(ref, str):
            chains = self._follow(ref, mark, self.base_dir, f"inline {path}", (), inline=True)
        else:
            chains = self._inline(ref, path, ())
        merged = [_merge(chain, self.environ) for chain in chains]
        problems = dict.fromkeys(problem for _, found in merged for problem in found)
        for (resolved, _), chain in zip(merged, chains, strict=True):
            profile = resolved.profile
            if needs_model and not profile.model.sources and profile.resolved_engine != "external":
                said, hint = (
                    f"profile {resolved.name} names no model",
                    "add model: {path: …}, or extend local or demo",
                )
                problems[Problem(mark or chain[-1].written.value(), said, hint)] = None
        if problems:
            raise Invalid(*sorted(problems, key=lambda problem: problem.mark or Mark("", 0, 0)))
        first, *others = [resolved for resolved, _ in merged]
        return replace(first, fallbacks=tuple(others))

    def _follow(
        self, ref: str, mark: Mark | None, home: _Home, origin: str, edges: tuple[_Edge, ...], *, inline: bool
    ) -> list[_Chain]:
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
        servers = (
            self.flow.data.get("servers") if inline and self.flow and isinstance(self.flow.data, dict) else None
        )
        if isinstance(servers, dict) and ref in servers and f"inline {('servers', ref)}" != origin:
            return self._server(ref, servers[ref], mark, edges)
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
        folders = ", ".join(_shown(folder) for folder in self.places.folders)
        return Problem(mark, f'there is no profile "{ref}"', f"{guess}searched {folders}")

    def _server(self, name: str, ref: Any, mark: Mark | None, edges: tuple[_Edge, ...]) -> list[_Chain]:
        path = ("servers", name)
        if isinstance(ref, str):
            identity = f"inline {path}"
            self._check_edges(identity, name, edges)
            at = Written(self.flow, path).value()
            return self._follow(ref, at, self.base_dir, identity, (*edges, _Edge(identity, name, at)), inline=True)
        if isinstance(ref, Mapping):
            return self._inline(ref, path, edges)
        raise Invalid(Problem(mark, f'server "{name}" is not a profile', "write a name, a path or a mapping"))

    def _inline(self, data: Mapping[str, Any], path: KeyPath, edges: tuple[_Edge, ...]) -> list[_Chain]:
        written = Written(self.flow, path)
        name = str(data.get("name") or (path[-1] if path else "inline"))
        self._check_edges(f"inline {path}", name, edges)
        source = self.flow.source if self.flow else "inline profile"
        return self._expand(f"inline {path}", name, source, data, written, self.base_dir, edges)

    def _file(self, path: Path, edges: tuple[_Edge, ...]) -> list[_Chain]:
        identity = _identity(path)
        self._check_edges(identity, path.stem, edges)
        if identity in self.known:
            return self.known[identity]
        document = read_document(path, _shown(path))
        return self._read(identity, path.stem, document, path.absolute().parent, edges)

    def _fetched(self, source: Source, mark: Mark | None, edges: tuple[_Edge, ...]) -> list[_Chain]:
        document, pinned = self.sources.read(source, mark)
        identity = str(pinned)
        self._check_edges(identity, source.stem, edges)
        return self.known.get(identity) or self._read(identity, source.stem, document, source, edges)

    def _read(
        self, identity: str, stem: str, document: Document, home: _Home, edges: tuple[_Edge, ...]
    ) -> list[_Chain]:
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
    ) -> list[_Chain]:
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

        def follow(ref: str, path: KeyPath) -> list[_Chain]:
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


def _joined(*parts: _Chain) -> _Chain:
    """Chains one after the other; a layer that is reached twice counts at its first place."""
    return tuple({layer.identity: layer for part in parts for layer in part}.values())


def _looked(ref: str, target: Path) -> str:
    near = {file.stem: file.name for file in profile_files(target.parent)}
    close = difflib.get_close_matches(target.stem, near, n=1)
    guess = f'did you mean "{ref.removesuffix(target.name)}{near[close[0]]}"? ' if close else ""
    return f"{guess}looked for {_shown(target)}"


def _identity(path: Path) -> str:
    return str(path.resolve())


def _shown(path: Path) -> str:
    absolute, cwd = path.absolute(), Path.cwd()
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(path)


def _merge(chain: _Chain, environ: Mapping[str, str]) -> tuple[ResolvedProfile, list[Problem]]:
    """The layers merged, the last one winning, and what is wrong with the whole."""
    data: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}
    for layer in chain:
        # A name and a description belong to one file.
        own = FILE_KEYS if layer is chain[-1] else FILE_KEYS | {"name", "description"}
        lay_over(data, origins, {key: value for key, value in layer.data.items() if key not in own}, layer.written)
    last = chain[-1]
    data.setdefault("name", last.name)
    problems = lay_environ(data, origins, chain, environ)
    resolved = ResolvedProfile(
        name=last.name,
        profile=Profile.model_validate(data),
        origins=origins,
        chain=tuple(dict.fromkeys(layer.source for layer in chain)),
    )
    for found in contradictions(resolved.profile):
        match resolved.origin(found.path):
            case Variable() as variable:
                problems.append(Problem(None, f"{variable}: {found.message}", found.hint))
            case mark:
                problems.append(Problem(mark or _written(chain, found.path), found.message, found.hint))
    return resolved, problems


def _written(chain: _Chain, path: KeyPath) -> Mark:
    """Where the last file that says something at `path` says it: of a mapping no origin is kept."""
    writer = next((layer for layer in reversed(chain) if says(layer.data, path)), None)
    return writer.written.value(path) if writer else chain[-1].written.value()
