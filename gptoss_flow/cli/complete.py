"""What may stand where a shell completes a word: profiles, steps, inputs, runs, servers, tools.

Each function is for `shell_complete=` of an option or argument. They are quick, so what they need they import
themselves, and silent: what cannot be read gives no completions.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from gptoss_flow.private_folders import create_private
from gptoss_flow.user_path import user_path

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Offer = Callable[[click.Context, str], Iterable[CompletionItem]]

MAX_RUNS = 50
"""So many runs are offered, the newest first."""


def _completer(offer: Offer) -> Completer:
    @functools.wraps(offer)
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return [item for item in offer(context, incomplete) if item.value.startswith(incomplete)]
        except Exception:  # the user is typing: there is nobody to tell
            return []

    return complete


@_completer
def profiles(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """Names of profiles, and paths of YAML files."""
    return [*_profile_names(), *_yaml_files(incomplete)]


@_completer
def server_profiles(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """`name=profile`: first the flow's servers, then what may stand behind the sign."""
    name, equals, wanted = incomplete.partition("=")
    if not equals:
        servers = _flow(context).get("servers") or {"main": None}
        return [CompletionItem(f"{server}=") for server in servers]
    found = [*_profile_names(), *_yaml_files(wanted)]
    return [CompletionItem(f"{name}={item.value}", help=item.help) for item in found]


@_completer
def inputs(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """`name=`: the flow's inputs; behind the sign what an enum or a boolean allows, and files behind an `@`."""
    name, equals, value = incomplete.partition("=")
    declared = _flow(context).get("inputs") or {}
    if not equals:
        return [
            CompletionItem(f"{each}=", help=str(about.get("description", ""))) for each, about in declared.items()
        ]
    about = declared.get(name) or {}
    values = about.get("enum") or (["true", "false"] if about.get("type") == "boolean" else [])
    offered = [str(each) for each in values]
    if value.startswith("@"):
        offered += [f"@{path}" for path in _paths(value[1:])]
    elif about.get("type") == "path":
        offered += _paths(value)
    return [CompletionItem(f"{name}={each}") for each in offered]


@_completer
def steps(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """The flow's steps."""
    flow = _flow(context)
    found = {**(flow.get("steps") or {}), **(flow.get("finally") or {})}
    return [
        CompletionItem(step, help=str(body.get("description", "")) if isinstance(body, dict) else "")
        for step, body in found.items()
    ]


@_completer
def runs(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """Ids of runs on record here, the newest first."""
    from gptoss_flow.record.folder import list_runs

    return [CompletionItem(path.name) for path in reversed(list_runs(Path.cwd())[-MAX_RUNS:])]


@_completer
def servers(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """Servers that run: their profiles' names and, where one is typed, their ids."""
    from gptoss_flow.server.record import list_servers, state_root

    running = list_servers(state_root())
    names = [CompletionItem(name) for name in dict.fromkeys(record.name for record in running)]
    return [*names, *(CompletionItem(record.fingerprint[:12], help=record.name) for record in running)]


@_completer
def tools(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """Tools, and those that the flow names; of a comma list the last one."""
    *given, _ = incomplete.split(",")
    names = dict.fromkeys([*kept("tools", _tool_names), *_named_tools(_flow(context))])
    return [CompletionItem(",".join([*given, name])) for name in names if name not in given]


@_completer
def arguments(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """`name=`: the arguments of the built-in tool that stands before; behind the sign what it allows, and files
    behind an `@`."""
    name, equals, value = incomplete.partition("=")
    taken = kept("arguments", _tool_arguments).get(context.params.get("name"), {})
    if not equals:
        return [CompletionItem(f"{each}=") for each in taken]
    offered = [
        *taken.get(name, ()),
        *([f"@{path}" for path in _paths(value[1:])] if value.startswith("@") else []),
    ]
    return [CompletionItem(f"{name}={each}") for each in offered]


def _tool_arguments() -> dict[str, dict[str, list[str]]]:
    """The arguments of each built-in tool, with the words that they allow where they are counted."""
    from gptoss_flow.tools import TOOLS

    return {
        name: {each: list(about.get("enum", ())) for each, about in tool.parameters["properties"].items()}
        for name, tool in TOOLS.items()
    }


def _tool_names() -> list[str]:
    from gptoss_flow.tools import TOOLS

    return list(TOOLS)


def _named_tools(flow: dict[str, Any]) -> Iterable[str]:
    """What the flow's steps call and let models call; nothing is imported or started to find it."""
    for part in ("steps", "finally"):
        for step in (flow.get(part) or {}).values():
            prompt = step.get("prompt")
            given = [step.get("tool"), *((prompt.get("tools") or []) if isinstance(prompt, dict) else [])]
            yield from (name for name in given if isinstance(name, str))


def _flow(context: click.Context) -> dict[str, Any]:
    """The flow that the command line names, as far as it can be read."""
    from gptoss_flow.lang.document import read_document

    named = context.params.get("flow") or next(iter(context.params.get("flows") or ()), None)
    data = read_document(Path(named)).data if named else None
    return data if isinstance(data, dict) else {}


def _profile_names() -> list[CompletionItem]:
    from gptoss_flow.lang.profile_places import search_path

    places = search_path(None, Path.cwd())
    return [CompletionItem(name, help=places.owners.get(path.parent)) for name, path in places.names().items()]


def _yaml_files(incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(path) for path in _paths(incomplete) if path.endswith(("/", ".yaml", ".yml"))]


def _paths(incomplete: str) -> list[str]:
    """Files, and folders with a slash, that begin so, as they were begun; hidden ones where asked for."""
    folder, _, begun = incomplete.rpartition("/")
    shown = f"{folder}/" if "/" in incomplete else ""
    found = os.scandir(user_path(shown or "."))
    return sorted(
        f"{shown}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in found
        if entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith("."))
    )


# --- what takes long to find out is kept until the program changes --------------------------------------------


def kept(name: str, find: Callable[[], Any]) -> Any:
    """What `find` says (JSON data), from the user's cache where it is of this very program."""
    place = _cache_folder() / f"{name}.json"
    program = _program()
    try:
        found = json.loads(place.read_bytes())
        if found["program"] == program:
            return found["said"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    said = find()
    try:
        create_private(place.parent)
        unfinished = place.with_name(f"{place.name}.{os.getpid()}")
        unfinished.write_text(json.dumps({"program": program, "said": said}), encoding="utf-8")
        unfinished.replace(place)
    except OSError:
        pass
    return said


def _program() -> list[Any]:
    """Other where a command or tool was added or changed."""
    root = Path(__file__).parent.parent
    files = [entry.stat() for part in ("cli", "tools") for entry in os.scandir(root / part) if entry.is_file()]
    return [str(root), len(files), max(stat.st_mtime_ns for stat in files), sum(stat.st_size for stat in files)]


def _cache_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("gptoss-flow")) / "completion"
