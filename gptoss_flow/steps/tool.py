"""The kind `tool`: a call of a tool with arguments that the flow gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.fields import Strict, Text
from gptoss_flow.permissions import Permissions, meant
from gptoss_flow.ports import Asking, SandboxName
from gptoss_flow.steps.base import Result, StepContext, StepKeys
from gptoss_flow.steps.calls import perform, permit, refuse

EnvKey = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ToolKeys(Strict):
    """The keys of a tool step, each of which `defaults` may set too."""

    with_: Annotated[dict[str, Any], Field(alias="with", default_factory=dict)]
    """Its arguments."""
    env: dict[EnvKey, Text] = {}
    """Variables for tool code; their values may be secrets."""
    permissions: Permissions = Permissions()
    """What the tool may reach, and whether a person is asked before it is called."""
    sandbox: Literal[True] | SandboxName | None = None
    """What tool code runs in; `true`, or a name: functions of one's own run in it too."""


class ToolStep(ToolKeys, StepKeys):
    """Call a tool."""

    kind: ClassVar[str] = "tool"
    body_keys: ClassVar[tuple[str, ...]] = ("tool", "with", "env", "sandbox")
    secret_keys: ClassVar[tuple[str, ...]] = ("with", "env")
    runs_on: ClassVar[Literal["server", "cores", "loop", "flow"]] = "cores"

    tool: str
    """The tool's name, such as repo_files, read_file or list_files."""

    def sandbox_name(self) -> SandboxName | None:
        return "auto" if self.sandbox is True else self.sandbox

    async def run(self, context: StepContext) -> Result:
        body = await context.body()
        arguments = body.get("with", {})
        env = {name: str(value) for name, value in body.get("env", {}).items()}
        tool = context.tool(self.tool)
        call_id = f"{context.step_id}.{context.attempt}"
        verdict = context.judge(tool.name, meant(tool, arguments), by_model=False)
        asking = Asking(step=context.step_id, call_id=call_id, tool=tool.name, arguments=arguments)
        permission, why = await permit(context, verdict, asking)
        if why:
            refuse(context, call_id, tool.name, arguments, permission=permission, why=why)
            raise StepError("tool", f"{self.tool} was not called: {why}", retryable=False)
        done = await perform(
            context,
            tool,
            arguments,
            context.tool_context(call_id, env=env),
            permission="" if permission == "granted" else permission,
            effect=self.effect,
        )
        if done.error is not None:
            raise done.error
        return Result(done.result)
