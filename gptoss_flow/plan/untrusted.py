"""What another's flow may not do (`--untrusted-flow`): whatever is not known to be harmless is refused."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from gptoss_flow.errors import Problem
from gptoss_flow.lang import document
from gptoss_flow.lang.defaults import FALLBACK, STEPS, fallback_of
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.compile import in_file_order
from gptoss_flow.plan.plan import Plan, ServerRef
from gptoss_flow.steps import kind_of

FLOW_KEYS: Final = frozenset(
    {"version", "name", "description", "inputs", "vars", "servers", "defaults", "limits", "steps", "finally"}
    | {"outputs"}
)
KINDS: Final = frozenset({"prompt", "set", "check", "flow"})
PROMPT_KEYS: Final = frozenset(
    {"mode", "server", "system", "developer", "user", "messages", "text", "continue", "special", "reasoning"}
    | {"params", "stream", "grammar", "max_turns"}
)
SERVER_KEYS: Final = frozenset(
    {"extends", "name", "description", "context", "context_total", "parallel", "request"}
)
"""None of these names a file, a program, an address, an argument or a variable."""

_HINT: Final = "remove it, or leave out --untrusted-flow where you trust the flow as you trust a program"


def untrusted_problems(plan: Plan, profiles: Collection[Path], chosen: Collection[str] = ()) -> list[Problem]:
    """Every problem of a flow, and of those inside it, that its user does not trust; in file order.

    `profiles`: the folders whose profiles are the user's, an installed package's or our own. `chosen`: the servers
    for which the user named a profile.
    """
    problems = [problem for flow in plan.flows() for problem in _in_flow(flow.loaded, plan.loaded.folder)]
    for name, ref in plan.servers.items():
        if name not in chosen:
            problems += _in_server(ref, profiles)
    return in_file_order(problems, str(plan.loaded.path))


def _in_flow(loaded: LoadedFlow, root: Path) -> Iterator[Problem]:
    for key, value in loaded.data.items():
        if key not in FLOW_KEYS and value:
            yield Problem(loaded.key_mark((key,)), f'"{key}" cannot stand in an untrusted flow', _HINT)
    for name, server in (loaded.data.get("servers") or {}).items():
        # Also one that no step uses, or for which the user named a profile: another may extend it.
        for key in server if isinstance(server, dict) else ():
            if key not in SERVER_KEYS:
                said = f'server "{name}" of an untrusted flow sets "{key}"'
                yield Problem(loaded.key_mark(("servers", name, key)), said, _HINT)
    inputs = loaded.data.get("inputs") or {}
    for name, declared in inputs.items():
        if declared["type"] == "path" and declared.get("default") is not None:
            said = f'input "{name}" of an untrusted flow is a path, which only its user may choose'
            yield Problem(loaded.mark(("inputs", name, "default")), said, "remove the default")
    for part in STEPS:
        for step_id, step in (loaded.data.get(part) or {}).items():
            yield from _in_body(loaded, (part, step_id), step, root)
            if (fallback := fallback_of(step)) is not None:
                yield from _in_body(loaded, (part, step_id, *FALLBACK), fallback, root)


def _in_body(loaded: LoadedFlow, path: document.Path, body: dict[str, Any], root: Path) -> Iterator[Problem]:
    kind = kind_of(body)
    if kind not in KINDS:
        where = loaded.key_mark((*path, kind) if kind else path)
        yield Problem(where, f'an untrusted flow has no steps of the kind "{kind}"', _HINT)
    elif kind == "prompt":
        for key in body["prompt"]:
            if key not in PROMPT_KEYS:
                said = f'"{key}" cannot stand in a prompt of an untrusted flow'
                yield Problem(loaded.key_mark((*path, "prompt", key)), said, _HINT)
    elif kind == "flow":
        inner = loaded.flows[body["flow"]]
        if not inner.path.resolve().is_relative_to(root):
            said = f'"{body["flow"]}" lies outside of the folder of the untrusted flow'
            yield Problem(loaded.mark((*path, "flow")), said, _HINT)


def _in_server(ref: ServerRef, profiles: Collection[Path]) -> Iterator[Problem]:
    chooses = f"choose a profile yourself: --server {ref.name}=PROFILE"
    if ref.resolved is None:
        yield Problem(ref.mark, f'server "{ref.name}" of an untrusted flow holds expressions', chooses)
        return
    files = dict.fromkeys(file for profile in ref.resolved.alternatives for file in profile.chain)
    for file in files:
        if file != ref.mark.source and Path(os.path.abspath(file)).parent not in profiles:  # noqa: PTH100  # links stay
            said = f'server "{ref.name}" of an untrusted flow takes its profile from {file}'
            yield Problem(ref.mark, said, f"name one of your own or a built-in one, or {chooses}")
