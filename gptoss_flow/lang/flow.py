"""The model of a flow file: what may stand in it, and its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gptoss_flow.fields import FlowName, Identifier, Strict
from gptoss_flow.lang.inputs import Input
from gptoss_flow.steps import Step
from gptoss_flow.steps.base import CommonKeys
from gptoss_flow.steps.prompt import PromptDefaults


class ToolDefaults(CommonKeys):
    """What `defaults.tool` may set."""

    with_: Annotated[dict[str, Any], Field(alias="with", default_factory=dict)]
    """Arguments that every tool step is given."""


class Defaults(CommonKeys):
    """Keys merged under every step; under a kind's name, under every step of that kind."""

    prompt: PromptDefaults | None = None
    """For every prompt step."""
    tool: ToolDefaults | None = None
    """For every tool step."""
    set: CommonKeys | None = None
    """For every set step."""
    check: CommonKeys | None = None
    """For every check step."""


EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


InlineProfile = dict[str, Any]
"""A profile that only this flow uses; checked by `lang.profiles` once its expressions have values."""


class Flow(Strict):
    """A flow: steps that are compiled into a graph and run against managed servers."""

    version: Literal[1]
    """The version of the flow language."""
    name: FlowName | None = None
    """The flow's name; the default is the file's stem."""
    description: str | None = None
    """For people."""
    inputs: dict[Identifier, Input] = {}
    """Typed inputs, given with `-i name=value`."""
    vars: dict[Identifier, Any] = {}
    """Values computed once, from inputs, env, flow, run and earlier vars."""
    env: list[EnvName] = []
    """Names of environment variables that expressions may read as `env.NAME`."""
    servers: dict[Identifier, str | InlineProfile] = {}
    """Names for this flow: each a profile's name, a path, or an inline profile."""
    defaults: Defaults = Defaults()
    """What every step, or every step of a kind, shares; the step wins."""
    workspace: str | None = None
    """The root for file tools, relative to the flow's folder; the default is the caller's folder."""
    steps: Annotated[dict[Identifier, Step], Field(min_length=1)]
    """The steps by id. Order comes from references and `needs`; the file's order breaks ties."""
    outputs: dict[Identifier, Any] = {}
    """What the run prints; the default is the last step's output."""
