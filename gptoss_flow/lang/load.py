"""Reads a flow file and the flows that it runs: text to document to typed flow, with every problem of shape."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.fields import is_template, json_text
from gptoss_flow.lang.changes import apply_changes
from gptoss_flow.lang.defaults import bodies_of, merge_defaults
from gptoss_flow.lang.document import Document, Path, read_document
from gptoss_flow.lang.elsewhere import NO_SOURCES, Sources
from gptoss_flow.lang.flow import Flow
from gptoss_flow.lang.places import Places
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.lang.profile_places import search_path
from gptoss_flow.lang.profiles import NO_ENVIRON, ResolvedProfile, resolve_profile
from gptoss_flow.lang.schema_files import schemas_of

MAX_DEPTH = 16
"""How deep flows may run each other."""


@dataclass(frozen=True)
class LoadedFlow:
    """A flow file as read. `flow` is None where `problems` of its shape made it unreadable as one.

    `data` is the file's data with what options set, and `defaults` merged under every step; places in it are found
    with `mark`, `key_mark` and `tag`, which know where each value was written.
    """

    path: FilePath
    name: str
    document: Document
    data: Any
    places: Places
    flow: Flow | None
    profiles: Mapping[str, ResolvedProfile]
    """The profiles of the flow's servers; without those that hold expressions, which need values first."""
    problems: tuple[Problem, ...]
    sources: Sources = NO_SOURCES
    """Through which profiles from elsewhere were read, and are to be for servers that need values first."""
    flows: Mapping[str, LoadedFlow] = field(default_factory=dict)
    """The flows that its steps run, by the path as written; without those that could not be read."""
    schemas: Mapping[str, Any] = field(default_factory=dict)
    """What the files say that prompts' `schema` names, by the path as written."""
    depth: int = 1
    """How many flows stand in each other, this one counted."""

    @property
    def folder(self) -> FilePath:
        return self.path.resolve().parent

    def mark(self, path: Path) -> Mark:
        """Where the value at `path` is written."""
        return self.places.value(path)

    def key_mark(self, path: Path) -> Mark:
        """Where the key of the mapping entry at `path` is written."""
        return self.places.key(path)

    def tag(self, path: Path, occurrence: int) -> Mark:
        """Where the `occurrence`-th `${{` or `{%` of the text at `path` is written."""
        return self.places.tag(path, occurrence)


IMPLICIT_SERVERS = {"main": "local"}
"""The servers of a flow that names none."""


def servers_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The flow's servers as written."""
    servers = data.get("servers")
    return servers if isinstance(servers, dict) and servers else IMPLICIT_SERVERS


def load_flow(
    path: FilePath,
    cwd: FilePath,
    environ: Mapping[str, str] = NO_ENVIRON,
    sources: Sources = NO_SOURCES,
    changes: Sequence[str] = (),
) -> LoadedFlow:
    """Read a flow file, the flows that it runs and the profiles that they name.

    Raises `Invalid` where it is no YAML document. Variables of `environ` change shipped profiles; what lies
    elsewhere is read through `sources`; `changes` are done to the document first (see `lang.changes`).
    What else is wrong stands in `problems`: the plan's compiler adds what it finds and raises once.
    """
    return _Loader(cwd, environ, sources).load(path, changes, ())


@dataclass(frozen=True, slots=True)
class _Link:
    """A flow on the way to the one that is read: its file, and the place in it that leads on."""

    file: str
    shown: str
    mark: Mark


class _Loader:
    """Reads each file once, however many steps run it."""

    def __init__(self, cwd: FilePath, environ: Mapping[str, str], sources: Sources) -> None:
        self.cwd, self.environ, self.sources = cwd, environ, sources
        self.read: dict[str, LoadedFlow | None] = {}
        """By the real path; None for what could not be read."""

    def load(self, path: FilePath, changes: Sequence[str], above: tuple[_Link, ...]) -> LoadedFlow:
        """Raises `Invalid` where the file is no YAML document."""
        document = read_document(path, str(path))
        changed, by_option, problems = apply_changes(document.data, changes)
        data = merge_defaults(changed)
        if not isinstance(data, dict):
            raise Invalid(
                Problem(document.marks.value(()), "a flow is a mapping", 'start with "version: 1" and "steps:"')
            )
        places = Places(document.marks, data, by_option)
        flow = None
        try:
            flow = Flow.model_validate(data)
        except ValidationError as error:
            problems += problems_of(error, data, model=Flow, value=places.value, key=places.key)
        profiles = {}
        for name, given in servers_of(data).items():
            if isinstance(given, str | dict) and not is_template(json_text(given)):
                try:
                    profiles[name] = profile_of_server(
                        document, path, self.cwd, name, given, self.environ, self.sources
                    )
                except Invalid as error:
                    problems += error.problems
        flows: dict[str, LoadedFlow] = {}
        for where, text in _flows_of(data):
            if text not in flows and (inner := self._inner(path, text, places.value(where), above, problems)):
                flows[text] = inner
        schemas = schemas_of(path, data, places, problems)
        return LoadedFlow(
            path=path,
            name=flow.name if flow and flow.name else _fit_name(path),
            document=document,
            data=data,
            places=places,
            flow=flow,
            profiles=profiles,
            problems=tuple(problems),
            sources=self.sources,
            flows=flows,
            schemas=schemas,
            depth=1 + max((inner.depth for inner in flows.values()), default=0),
        )

    def _inner(
        self, outer: FilePath, text: str, mark: Mark, above: tuple[_Link, ...], problems: list[Problem]
    ) -> LoadedFlow | None:
        """The flow that a step runs; where it can't be had, why stands in `problems`."""
        if is_template(text):
            problems.append(Problem(mark, "a flow's file is read before the run", "write its path as plain text"))
            return None
        shown = os.path.normpath(outer.parent / text)
        file = os.path.realpath(shown)
        way = (*above, _Link(os.path.realpath(outer), str(outer), mark))
        if circle := way[next((i for i, link in enumerate(way) if link.file == file), len(way)) :]:
            problems.append(_circle(circle))
            return None
        if file not in self.read and len(way) < MAX_DEPTH:
            try:
                self.read[file] = self.load(FilePath(shown), (), way)
            except Invalid as error:
                self.read[file] = None
                problems += [p if p.mark else Problem(mark, p.message, p.hint) for p in error.problems]
                if error.problems[0].mark:
                    problems.append(brought_in(mark, shown))
        inner = self.read.get(file)
        if len(way) + (inner.depth if inner else 0) > MAX_DEPTH or len(way) == MAX_DEPTH:
            said = f"flows run each other more than {MAX_DEPTH} deep: {' -> '.join(link.shown for link in way)}"
            problems.append(Problem(mark, said, "write them flatter"))
            return None
        return inner


def brought_in(mark: Mark, shown: str) -> Problem:
    """The problem of a step whose flow has some of its own."""
    return Problem(mark, f'the flow "{shown}" has problems', "they are listed with its name")


def _circle(links: Sequence[_Link]) -> Problem:
    names = [link.shown for link in links]
    edges = zip(links, [*names[1:], names[0]], strict=True)
    said = ", ".join(f'"{link.shown}" runs "{other}" at line {link.mark.line}' for link, other in edges)
    circle = " -> ".join([*names, names[0]])
    return Problem(links[0].mark, f"flows run each other in a circle: {circle} ({said})", "remove one of these")


def _flows_of(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The paths of flows that steps and fallbacks run, with their places."""
    for path, body in bodies_of(data):
        if isinstance(text := body.get("flow"), str):
            yield (*path, "flow"), text


def profile_of_server(
    document: Document,
    flow_path: FilePath,
    cwd: FilePath,
    name: str,
    given: str | dict[str, Any],
    environ: Mapping[str, str] = NO_ENVIRON,
    sources: Sources = NO_SOURCES,
) -> ResolvedProfile:
    """What a flow's server means. `given` has no expressions left in it. Raises `Invalid`."""
    folder = flow_path.resolve().parent
    places = search_path(folder, cwd)
    return resolve_profile(
        given,
        places=places,
        base_dir=folder,
        document=document,
        path=("servers", name),
        environ=environ,
        sources=sources,
    )


def _fit_name(path: FilePath) -> str:
    """A file's stem, made to fit a flow's name."""
    name = re.sub(r"[^a-z0-9-]+", "-", path.stem.lower()).strip("-")[:64]
    return name if name[:1].isalpha() else f"flow-{name}"[:64].rstrip("-")
