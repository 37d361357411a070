"""A plan and what the user gave to it: inputs checked, vars computed, servers resolved. Nothing is started yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptoss_flow.app.api_fit import api_misfits
from gptoss_flow.errors import Invalid, Mark, Problem, StepError
from gptoss_flow.events import Json
from gptoss_flow.lang.inputs import bind
from gptoss_flow.lang.load import profile_of_server
from gptoss_flow.lang.profile_places import search_path
from gptoss_flow.lang.profiles import ResolvedProfile, external_profile, resolve_profile
from gptoss_flow.lang.sources import is_server
from gptoss_flow.plan.plan import Plan
from gptoss_flow.refs import Allowance
from gptoss_flow.run.context import render
from gptoss_flow.user_path import user_path
from gptoss_flow.words import suggest

SCRIPTED = "scripted:"
"""What the name of a model begins with that answers from a file: `--model scripted:replies.yaml`."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user gave beside the flow."""

    inputs: Mapping[str, Json]
    servers: Mapping[str, str]
    """Server name to a profile's name or path, or the URL of a running server."""
    cwd: Path
    workspace: Path | None = None
    defaulted: frozenset[str] = frozenset()
    """Inputs of which this is not the user's own word but the flow's default, as a record has it."""
    places: Mapping[str, Mark] = field(default_factory=dict)
    """Where inputs stand in a file of such."""
    faults: Mapping[str, Problem] = field(default_factory=dict)
    """What could not be read, by what it was given for; `bind_flow` tells it with all else that is wrong."""


@dataclass(frozen=True, kw_only=True)
class BoundFlow:
    """A plan that can run."""

    plan: Plan
    given: Given
    inputs: Mapping[str, Json]
    profiles: Mapping[str, ResolvedProfile]
    scope: Mapping[str, Any]
    """inputs, vars, env, secrets, flow, run."""
    cwd: Path
    workspace: Path
    readable: tuple[Path, ...]


def bind_flow(plan: Plan, given: Given, run: Mapping[str, str]) -> BoundFlow:
    """Raises `Invalid` with every fault of what was given. `run` is what expressions see as `run`."""
    flow = plan.loaded.flow
    assert flow is not None
    readable_inputs = {name: declared for name, declared in flow.inputs.items() if name not in given.faults}
    inputs, faults = bind(readable_inputs, given.inputs, given.cwd)
    found = (Problem(given.places.get(name), message, hint) for name, message, hint in faults)
    problems = [*given.faults.values(), *sorted(found, key=lambda problem: problem.mark or Mark("", 0, 0))]
    workspace = _workspace(plan, given)
    if not workspace.is_dir():
        problems.append(Problem(None, f"the workspace {workspace} is not a folder"))
    for name in given.servers:
        if name not in plan.servers:
            hint = suggest(name, plan.servers)
            problems.append(Problem(None, f'--server {name}: the flow uses no server "{name}"', hint))
    secrets = {name: os.environ.get(name, "") for name in plan.secrets}
    problems += [
        Problem(
            None, f"the flow needs the secret {name}, which is not set", f"set the environment variable {name}"
        )
        for name, value in secrets.items()
        if not value
    ]
    if problems:
        raise Invalid(*problems)
    paths = [n for n in given.inputs if flow.inputs[n].type == "path" and n not in given.defaulted]
    if workspace != given.cwd:
        # Tools resolve paths in the workspace; the user meant the caller's folder.
        inputs |= {name: str(_path(given, inputs[name])) for name in paths}
    scope: dict[str, Any] = {
        "inputs": inputs,
        "env": {name: os.environ[name] for name in flow.env if name in os.environ},
        "flow": {"name": plan.name, "dir": str(plan.loaded.folder)},
        "run": dict(run),
        "secrets": secrets,
        "vars": {},
    }
    try:
        allowance = Allowance()
        for name, values in plan.vars:
            scope["vars"] = {**scope["vars"], name: render(plan, values, scope, allowance=allowance)}
        profiles = {name: _profile(plan, name, given, scope) for name in plan.servers}
    except StepError as error:
        raise Invalid(Problem(error.mark, error.message)) from None
    if misfits := [*api_misfits(plan, profiles)]:
        raise Invalid(*misfits)
    readable = tuple(_path(given, inputs[name]).resolve() for name in paths)
    return BoundFlow(
        plan=plan,
        given=given,
        inputs=inputs,
        profiles=profiles,
        scope=scope,
        cwd=given.cwd,
        workspace=workspace,
        readable=readable,
    )


def _path(given: Given, written: Json) -> Path:
    return given.cwd / user_path(str(written))


def _workspace(plan: Plan, given: Given) -> Path:
    flow = plan.loaded.flow
    assert flow is not None
    if given.workspace is not None:
        return (given.cwd / given.workspace).resolve()
    return (plan.loaded.folder / flow.workspace).resolve() if flow.workspace else given.cwd


def _profile(plan: Plan, name: str, given: Given, scope: Mapping[str, Any]) -> ResolvedProfile:
    """The user's choice, else the flow's own, its expressions evaluated."""
    wanted, loaded = given.servers.get(name), plan.loaded
    if wanted is not None and is_server(wanted):
        return external_profile(wanted, name)
    if wanted is not None:
        return resolve_profile(
            wanted,
            places=search_path(None, given.cwd),
            base_dir=given.cwd,
            environ=os.environ,
            sources=loaded.sources.beyond_lock(),
        )
    ref = plan.servers[name]
    if ref.resolved is not None:
        return ref.resolved
    value = render(plan, ref.profile, scope)
    return profile_of_server(loaded.document, loaded.path, given.cwd, name, value, os.environ, loaded.sources)
