"""What stands in flow.lock: for each flow beside it, what its profiles and servers are made of. Pure."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.fields import Strict
from gptoss_flow.lang.document import Document, parse_document
from gptoss_flow.lang.dump import to_yaml
from gptoss_flow.lang.elsewhere import Pin
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_values import Sha256
from gptoss_flow.lang.profiles import ResolvedProfile

LOCK = "flow.lock"
HEAD = """\
# What the flows in this folder are made of. Written by `gptoss-flow lock FLOW`: keep it in version control, do not
# edit it. `gptoss-flow run --locked FLOW` runs only what is as it says.
"""

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class LockedSource(Strict):
    """A profile from elsewhere."""

    commit: Commit | None = None
    """Of a git source."""
    sha256: Sha256
    """Of its content."""


class LockedModel(Strict):
    """A model that a profile may take, where its profile says which file it is."""

    pypi: str | None = None
    url: str | None = None
    hf: str | None = None
    sha256: Sha256 | None = None
    """Of the GGUF file."""
    files: dict[str, Sha256] = {}
    """Of a model of the Hub: the files that were on the machine where the lock was written."""


class LockedServer(Strict):
    """One of the flow's servers."""

    profile: Sha256
    """Of the merged profile, see `digest`."""
    models: list[LockedModel] = []


class LockedTool(Strict):
    """What a tool server says of one of its tools: what a model is told of it."""

    description: str = ""
    parameters: dict[str, Any] = {}
    """JSON Schema of the arguments, without regular expressions and titles."""


class LockedToolServer(Strict):
    """One of the flow's tool servers."""

    config: Sha256
    """Of how the flow says that it is run, see `digest`."""
    tools: dict[str, LockedTool] = {}
    """By the server's own names. Those that are not here are not used."""


class LockedFlow(Strict):
    """One flow."""

    sources: dict[str, LockedSource] = {}
    """By reference, as it is written."""
    servers: dict[str, LockedServer] = {}
    """By name; of a flow that a step runs, behind that flow's path and a `#`."""
    tool_servers: dict[str, LockedToolServer] = {}
    """Likewise."""

    @property
    def pins(self) -> dict[str, Pin]:
        return {ref: Pin(source.sha256, source.commit) for ref, source in self.sources.items()}


class LockFile(Strict):
    """The whole file."""

    version: Literal[1]
    flows: dict[str, LockedFlow] = {}
    """By file name."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file as read."""

    file: LockFile
    document: Document


def read_lock(text: bytes, source: str) -> Lock:
    """Raises `Invalid`."""
    hint = "bring back the last good one, or delete it and run: gptoss-flow lock FLOW"
    try:
        document = parse_document(text, source)
    except Invalid as error:
        raise Invalid(*(Problem(each.mark, each.message, hint) for each in error.problems)) from None
    marks = document.marks
    try:
        return Lock(LockFile.model_validate(document.data), document)
    except ValidationError as error:
        if not isinstance(document.data, dict):
            raise Invalid(Problem(marks.value(()), "a lock file is a mapping", hint)) from None
        found = problems_of(error, document.data, model=LockFile, value=marks.value, key=marks.key)
        raise Invalid(*(Problem(each.mark, each.message, hint) for each in found)) from None


def write_lock(flows: Mapping[str, LockedFlow]) -> str:
    """The file's text: the same for the same flows."""
    data = {name: _plain(flows[name]) for name in sorted(flows)}
    return HEAD + to_yaml({"version": 1, "flows": data})


def _plain(flow: LockedFlow) -> dict[str, Any]:
    data = flow.model_dump(mode="json", exclude_defaults=True)
    return {part: dict(sorted(named.items())) for part, named in data.items()}


def locked_server(resolved: ResolvedProfile, root: Path, files: Mapping[str, Mapping[str, str]]) -> LockedServer:
    """`root`: the project's folder. `files`: what is known of models of the Hub, by `model.hf`."""
    models = [
        LockedModel(
            pypi=model.pypi,
            url=model.url,
            hf=model.hf,
            sha256=model.sha256,
            files=dict(files.get(model.hf or "", {})),
        )
        for model in (each.profile.model for each in resolved.alternatives)
        if model.pypi or model.url or model.hf
    ]
    said = [_said(each.profile) for each in resolved.alternatives]
    return LockedServer(profile=digest(said, root), models=models)


def digest(said: Any, root: Path) -> str:
    """The SHA-256 of JSON data in which paths do not say whose machine it is: of two checkouts it is one."""
    text = json.dumps(_portable(said, root, Path.home()), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _said(profile: Profile) -> dict[str, Any]:
    """Without defaults, so that a key that a later version adds changes nothing."""
    return profile.model_dump(mode="json", exclude_defaults=True, exclude={"name", "description"})


def _portable(value: Any, root: Path, home: Path) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item, root, home) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item, root, home) for item in value]
    if isinstance(value, str) and value.removeprefix("file:").startswith("/"):
        path = Path(os.path.normpath(value.removeprefix("file:")))
        for folder, sign in ((root, "."), (home, "~")):
            if path.is_relative_to(folder):
                return f"{sign}/{path.relative_to(folder)}"
    return value
