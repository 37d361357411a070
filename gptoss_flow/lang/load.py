"""Reads a flow file: text to document to typed flow, with every problem of its shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.fields import is_template, json_text
from gptoss_flow.lang.defaults import merge_defaults, origin
from gptoss_flow.lang.document import Document, Path, read_document
from gptoss_flow.lang.flow import Flow
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.lang.profile_places import search_path
from gptoss_flow.lang.profiles import NO_ENVIRON, ResolvedProfile, resolve_profile


@dataclass(frozen=True)
class LoadedFlow:
    """A flow file as read. `flow` is None where `problems` of its shape made it unreadable as one.

    `data` is the file's data with `defaults` merged under every step; places in it are found with `mark`,
    `key_mark` and `tag`, which know where a default was written.
    """

    path: FilePath
    name: str
    document: Document
    data: Any
    flow: Flow | None
    profiles: Mapping[str, ResolvedProfile]
    """The profiles of the flow's servers; without those that hold expressions, which need values first."""
    problems: tuple[Problem, ...]

    @property
    def folder(self) -> FilePath:
        return self.path.resolve().parent

    def _origin(self, path: Path) -> Path:
        return origin(self.data, self.document.marks.has, path)

    def mark(self, path: Path) -> Mark:
        """Where the value at `path` is written."""
        return self.document.marks.value(self._origin(path))

    def key_mark(self, path: Path) -> Mark:
        """Where the key of the mapping entry at `path` is written."""
        return self.document.marks.key(self._origin(path))

    def tag(self, path: Path, occurrence: int) -> Mark:
        """Where the `occurrence`-th `${{` or `{%` of the text at `path` is written."""
        return self.document.marks.tag(self._origin(path), occurrence)


IMPLICIT_SERVERS = {"main": "local"}
"""The servers of a flow that names none."""


def servers_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The flow's servers as written."""
    servers = data.get("servers")
    return servers if isinstance(servers, dict) and servers else IMPLICIT_SERVERS


def load_flow(path: FilePath, cwd: FilePath, environ: Mapping[str, str] = NO_ENVIRON) -> LoadedFlow:
    """Read a flow file and the profiles that it names. Raises `Invalid` where it is no YAML document.

    Variables of `environ` change shipped profiles.
    What else is wrong stands in `problems`: the plan's compiler adds what it finds and raises once.
    """
    document = read_document(path, str(path))
    data = merge_defaults(document.data)
    flow = None
    problems: list[Problem] = []
    if not isinstance(data, dict):
        raise Invalid(
            Problem(document.marks.value(()), "a flow is a mapping", 'start with "version: 1" and "steps:"')
        )
    try:
        flow = Flow.model_validate(data)
    except ValidationError as error:
        problems = _located(error, document, data)
    profiles = {}
    for name, given in servers_of(data).items():
        if isinstance(given, str | dict) and not is_template(json_text(given)):
            try:
                profiles[name] = profile_of_server(document, path, cwd, name, given, environ)
            except Invalid as error:
                problems += error.problems
    name = flow.name if flow and flow.name else _fit_name(path)
    return LoadedFlow(path, name, document, data, flow, profiles, tuple(problems))


def profile_of_server(
    document: Document,
    flow_path: FilePath,
    cwd: FilePath,
    name: str,
    given: str | dict[str, Any],
    environ: Mapping[str, str] = NO_ENVIRON,
) -> ResolvedProfile:
    """What a flow's server means. `given` has no expressions left in it. Raises `Invalid`."""
    folder = flow_path.resolve().parent
    places = search_path(folder, cwd)
    return resolve_profile(
        given, places=places, base_dir=folder, document=document, path=("servers", name), environ=environ
    )


def _located(error: ValidationError, document: Document, data: Any) -> list[Problem]:
    return problems_of(
        error,
        data,
        model=Flow,
        value=lambda path: document.marks.value(origin(data, document.marks.has, path)),
        key=lambda path: document.marks.key(origin(data, document.marks.has, path)),
    )


def _fit_name(path: FilePath) -> str:
    """A file's stem, made to fit a flow's name."""
    name = re.sub(r"[^a-z0-9-]+", "-", path.stem.lower()).strip("-")[:64]
    return name if name[:1].isalpha() else f"flow-{name}"[:64].rstrip("-")
