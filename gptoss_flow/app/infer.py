"""One question as a flow of one step: written as data, then read, checked and run like any other flow."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.finished import Finished
from gptoss_flow.app.profiles import find_server_profile
from gptoss_flow.app.run import run_flow_sync
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.events import Json
from gptoss_flow.lang.dump import to_yaml
from gptoss_flow.lang.profile_files import SUFFIXES
from gptoss_flow.lang.sources import is_elsewhere, is_server
from gptoss_flow.ports import Ask, Sink, nobody
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.installed import installed_tools
from gptoss_flow.user_path import user_path

STEP = "infer"
"""The name of the flow and of its step."""
SLIP = 0.8
"""How much a word is like a tool's name that is meant to be one."""
OWN_TOOLS = ("browser", "python", "apply_patch", "ui_pane")
"""What a model may call that is given tools without a name: what gpt-oss was trained with, a patch, a screen."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, and of whom. None is left to the profile and the model."""

    prompt: str
    is_raw: bool = False
    system: str | None = None
    reasoning: Literal["low", "medium", "high"] | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    tools: Sequence[str] = ()
    """What the model may call."""
    max_turns: int | None = None
    schema: str | None = None
    """The path of a JSON Schema that the answer must follow."""
    server: str = "local"
    """A profile's name or path, or the URL of a server that somebody else runs."""
    model: str | None = None
    """What that server calls the model."""


def infer(
    question: Question,
    *,
    views: Sequence[Sink] = (),
    cwd: Path,
    workspace: Path | None = None,
    keep_in: Path | None = None,
    scripted: str | None = None,
    offline: bool = False,
    ask: Ask = nobody,
    unsandboxed: bool = False,
) -> Finished:
    """Ask, and wait for the answer; `views` see it come. Raises `Invalid`, `RecordError`.

    `keep_in`: the run is put on record in `cwd`, and its log in this folder too, by date. Else nothing is kept.
    """
    # What is wrong with it is not to be told as a place in our own flow.
    find_server_profile(question.server, cwd, offline=offline)
    given = Given(inputs=_inputs(question), servers={}, cwd=cwd, workspace=workspace)
    with tempfile.TemporaryDirectory(prefix="gptoss-flow-") as name:
        path = Path(name, f"{STEP}.yaml")
        path.write_text(to_yaml(flow_of(question, cwd)), encoding="utf-8")
        try:
            plan = check_flow(path, cwd, offline=offline)
        except Invalid as wrong:
            raise Invalid(*(Problem(None, each.message, each.hint) for each in wrong.problems)) from None
        scratch = Path(name) if keep_in is None else None
        finished = run_flow_sync(
            plan,
            given,
            views=views,
            model=scripted,
            offline=offline,
            scratch=scratch,
            keep_in=keep_in,
            ask=ask,
            unsandboxed=unsandboxed,
        )
    # Nor is what went wrong with it.
    error = re.sub(rf"{re.escape(str(path))}:\d+:\d+: ", "", finished.result.error)
    return replace(finished, result=replace(finished.result, error=error))


def flow_of(question: Question, cwd: Path) -> dict[str, Json]:
    """The flow, as its file would say it. What the user wrote is an input of it: never a template."""
    prompt: dict[str, Json] = {"mode": "raw", "text": "${{ inputs.prompt }}"}
    if not question.is_raw:
        prompt = {"user": "${{ inputs.prompt }}"}
        if question.system is not None:
            prompt["system"] = "${{ inputs.system }}"
        if question.reasoning is not None:
            prompt["reasoning"] = question.reasoning
        if question.tools:
            prompt["tools"] = [_tool(name, cwd) for name in question.tools]
        if question.max_turns is not None:
            prompt["max_turns"] = question.max_turns
    if question.schema is not None:
        prompt["schema"] = str(cwd / user_path(question.schema))
    if question.params:
        prompt["params"] = dict(question.params)
    return {
        "version": 1,
        "name": STEP,
        "inputs": {name: {"type": "string"} for name in _inputs(question)},
        "servers": {"main": _server(question, cwd)},
        "steps": {STEP: {"prompt": prompt}},
        "outputs": {"text": f"${{{{ steps.{STEP}.output }}}}"},
    }


def names_tools(word: str) -> bool:
    """Whether it is a list of tools, with commas between, or meant to be one: a slip in a name is no prompt."""
    names = {*TOOLS, *(name.partition(".")[0] for name in TOOLS), *installed_tools()}
    parts = [part.strip() for part in word.split(",")]
    if any(len(part.split()) > 1 for part in parts):
        return False
    return any(part in names or ":" in part or difflib.get_close_matches(part, names, 1, SLIP) for part in parts)


def _inputs(question: Question) -> dict[str, Json]:
    system = {} if question.is_raw or question.system is None else {"system": question.system}
    return {"prompt": question.prompt, **system}


def _tool(name: str, cwd: Path) -> str:
    """A file of the user's own lies where he is, and not where our flow does."""
    file, colon, function = name.rpartition(":")
    return f"{cwd / user_path(file)}:{function}" if colon and file.endswith(".py") else name


def _server(question: Question, cwd: Path) -> Json:
    server, model = question.server, {} if question.model is None else {"model": {"id": question.model}}
    if is_server(server):
        return {"url": server, **model}
    if not is_elsewhere(server) and ("/" in server or server.endswith(SUFFIXES)):
        server = str(cwd / user_path(server))
    return {"extends": server, **model} if model else server
