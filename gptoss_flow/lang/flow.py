"""The model of a flow file: what may stand in it, and its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gptoss_flow.fields import Duration, FlowName, Identifier, Strict, contradiction, is_template
from gptoss_flow.lang.inputs import Input
from gptoss_flow.permissions import Permissions
from gptoss_flow.steps import Step
from gptoss_flow.steps.base import CommonKeys
from gptoss_flow.steps.bench import BenchDefaults
from gptoss_flow.steps.prompt_body import PromptDefaults
from gptoss_flow.steps.tool import ToolKeys


class ToolDefaults(ToolKeys, CommonKeys):
    """What `defaults.tool` may set."""


class FlowDefaults(CommonKeys):
    """What `defaults.flow` may set."""

    with_: Annotated[dict[str, Any], Field(alias="with", default_factory=dict)]
    """Inputs that every such step is given."""


class Defaults(CommonKeys):
    """Keys merged under every step; under a kind's name, under every step of that kind."""

    prompt: PromptDefaults | None = None
    """For every prompt step."""
    tool: ToolDefaults | None = None
    """For every tool step."""
    bench: BenchDefaults | None = None
    """For every bench step."""
    flow: FlowDefaults | None = None
    """For every flow step."""
    set: CommonKeys | None = None
    """For every set step."""
    check: CommonKeys | None = None
    """For every check step."""


EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


InlineProfile = dict[str, Any]
"""A profile that only this flow uses; checked by `lang.profiles` once its expressions have values."""

Count = Annotated[int, Field(ge=1)]


class LimitKeys(Strict):
    """What bounds the whole run: the limit that ends it is named, with exit code 4."""

    tokens: Count | None = None
    """Prompt tokens computed plus tokens generated."""
    time: Annotated[Duration, Field(gt=0)] | None = None
    """Wall time."""
    concurrency: Count | None = None
    """How many steps and items run at once."""
    tool_calls: Annotated[int, Field(ge=0)] | None = None
    """Calls of tools, by steps and by models."""
    fail_fast: bool = False
    """The first failure that nothing handles stops the run."""


class RecordKeys(Strict):
    """Where logs of runs are kept."""

    dir: Annotated[str, Field(min_length=1)]
    """The folder for a readable log of each run, by date, relative to the caller's; --record means `docs/logs`."""


class ToolServer(Strict):
    """An MCP server, whose tools are called `name.tool`: one that is started, or one at an address."""

    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    """The program and its arguments, spoken to over standard input and output. One with a slash in its name is
    relative to the flow's folder."""
    env: list[EnvName] = []
    """Names of environment variables that the program is given, beside PATH, HOME, LANG and the like."""
    cwd: str | None = None
    """The folder that it runs in, relative to the flow's; the default is the flow's folder."""
    url: str | None = None
    """The address of one that is spoken to over streamable HTTP."""
    headers: dict[str, str] = {}
    """Headers for it; these may hold `secrets`."""
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """The longest wait for its start, and for the answer to a call."""
    tools: list[str] | None = None
    """The tools that may be used, by the server's own names; the default is all."""

    @model_validator(mode="after")
    def _one_way_to_it(self) -> ToolServer:
        if self.command is None and self.url is None:
            raise contradiction('needs "command" (a program to start) or "url" (one that runs)')
        if self.command is not None and self.url is not None:
            raise contradiction('"command" and "url" exclude each other')
        if self.url is not None and (self.env or self.cwd is not None):
            raise contradiction(f'"{"env" if self.env else "cwd"}" is for a program that is started')
        if self.command is not None and self.headers:
            raise contradiction('"headers" are for a server with "url"')
        if self.url is not None and not is_template(self.url) and not self.url.startswith(("http://", "https://")):
            raise contradiction('"url" begins with http:// or https://')
        return self


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
    secrets: list[EnvName] = []
    """Names of environment variables that a tool's arguments may read as `secrets.NAME`, and nothing else."""
    servers: dict[Identifier, str | InlineProfile] = {}
    """Names for this flow: each a profile's name, a path, or an inline profile."""
    defaults: Defaults = Defaults()
    """What every step, or every step of a kind, shares; the step wins."""
    limits: LimitKeys = LimitKeys()
    """What bounds the whole run."""
    record: RecordKeys | None = None
    """Where a readable log of each run is kept, beside its record."""
    workspace: str | None = None
    """The root for file tools, relative to the flow's folder; the default is the caller's folder."""
    permissions: Permissions = Permissions()
    """Which calls of tools models may make."""
    tool_servers: dict[Identifier, ToolServer] = {}
    """MCP servers whose tools this flow may use."""
    steps: Annotated[dict[Identifier, Step], Field(min_length=1)]
    """The steps by id. Order comes from references and `needs`; the file's order breaks ties."""
    finally_: Annotated[dict[Identifier, Step], Field(alias="finally")] = {}
    """Steps that run last, after success, failure and interruption alike; they see `run.status`."""
    outputs: dict[Identifier, Any] = {}
    """What the run prints; the default is the last step's output."""
