"""flow.lock beside a flow: the pins that a run takes from it, whether it is up to date, bringing it up to date."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gptoss_flow.app.lock_changes import differences, out_of_date
from gptoss_flow.app.lock_content import all_flows, locked_flow
from gptoss_flow.app.lock_file import (
    alone_in,
    lock_advice,
    lock_command,
    lock_path,
    read_lock_file,
    write_lock_file,
)
from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.lang.elsewhere import Fetch, Sources
from gptoss_flow.lang.load import LoadedFlow, load_flow
from gptoss_flow.lang.lock import LOCK, LockedFlow, LockedTool, read_lock, write_lock
from gptoss_flow.lang.profiles import NO_ENVIRON
from gptoss_flow.tools.mcp.listing import Pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What locking a flow came to. `before` is None where its lock had nothing of it."""

    flow: Path
    lock_path: Path
    before: LockedFlow | None
    after: LockedFlow

    @property
    def is_changed(self) -> bool:
        return self.before != self.after

    @property
    def changes(self) -> list[str]:
        return differences(self.before or LockedFlow(), self.after)


def sources_of_flow(flow: Path, fetch: Fetch, *, locked: bool = False) -> Sources:
    """What the profiles of a flow may be made of: at the pins of its lock. Raises `Invalid`.

    `locked`: nothing else, and there has to be a lock.
    """
    lock = read_lock_file(lock_path(flow))
    known = lock.file.flows.get(flow.name) if lock else None
    if locked and known is None:
        said = f"{lock_path(flow)} has nothing of {flow.name}" if lock else f"there is no {lock_path(flow)}"
        raise Invalid(Problem(None, said, lock_advice(flow)))
    return Sources(fetch, known.pins if known else {}, lock_command=lock_command(flow), is_locked=locked)


def require_lock(loaded: LoadedFlow, cwd: Path) -> None:
    """Raise `Invalid` with everything in which the lock of a flow is not what the flow is now."""
    lock = read_lock_file(lock_path(loaded.path))
    known = lock.file.flows.get(loaded.path.name) if lock else None
    if lock is None or known is None:
        raise Invalid(
            Problem(None, f"{lock_path(loaded.path)} has nothing of {loaded.path.name}", lock_advice(loaded.path))
        )
    now = locked_flow(loaded, cwd, known)
    marks, name = lock.document.marks, loaded.path.name
    problems = [
        Problem(marks.key(("flows", name, *place)), said, lock_advice(loaded.path))
        for place, said in out_of_date(known, now)
    ]
    if problems:
        raise Invalid(*sorted(problems, key=lambda problem: problem.mark or Mark("", 0, 0)))


ListTools = Callable[[LoadedFlow, Collection[str]], Mapping[str, Pinned]]
"""Starts tool servers of a flow, by the names that the lock has for them, and says what each offers."""


def lock_flow(
    flow: Path,
    cwd: Path,
    fetch: Fetch,
    list_tools: ListTools,
    *,
    upgrade: bool = False,
    check: bool = False,
) -> Locked:
    """Bring a flow's part of its lock up to date: pins that are there stay unless `upgrade`.

    Tool servers that are not pinned as they are run now are started, to learn what they offer.
    `check`: write nothing, and raise `Invalid` where the lock is out of date. Raises `Invalid`, `Unavailable`.
    """
    path = lock_path(flow)
    if check:
        loaded = _loaded(flow, cwd, sources_of_flow(flow, fetch, locked=True))
        require_lock(loaded, cwd)
    lock = read_lock_file(path)
    before = lock.file.flows.get(flow.name) if lock else None
    if check:
        assert before is not None
        return Locked(flow=flow, lock_path=path, before=before, after=before)
    pins = before.pins if before and not upgrade else {}
    sources = Sources(fetch, pins, lock_command=lock_command(flow), may_pin=True)
    loaded = _loaded(flow, cwd, sources)
    after = _with_tools(locked_flow(loaded, cwd, None if upgrade else before), loaded, list_tools)
    if before != after:
        with alone_in(path.parent):  # another flow of the folder may have been locked meanwhile
            lock = read_lock_file(path)
            write_lock_file(path, write_lock({**(lock.file.flows if lock else {}), flow.name: after}))
    return Locked(flow=flow, lock_path=path, before=before, after=after)


def _with_tools(locked: LockedFlow, loaded: LoadedFlow, list_tools: ListTools) -> LockedFlow:
    unknown = [name for name, server in locked.tool_servers.items() if not server.tools]
    if not unknown:
        return locked
    found = {
        name: locked.tool_servers[name].model_copy(
            update={
                "tools": {
                    tool.name: LockedTool(description=tool.description, parameters=dict(tool.parameters))
                    for tool in listed.values()
                }
            }
        )
        for name, listed in list_tools(loaded, unknown).items()
    }
    after = locked.model_copy(update={"tool_servers": {**locked.tool_servers, **found}})
    try:
        read_lock(write_lock({"flow": after}).encode(), LOCK)
    except (Invalid, UnicodeEncodeError):
        said = f"what the tools of {', '.join(unknown)} say of themselves cannot be written down"
        raise Invalid(Problem(None, said, 'let in fewer of them: "tools" of the tool server')) from None
    return after


def _loaded(flow: Path, cwd: Path, sources: Sources) -> LoadedFlow:
    # Without the environment: a variable of one machine says nothing about the flow.
    loaded = load_flow(flow, cwd, NO_ENVIRON, sources)
    if problems := [problem for _, each in all_flows(loaded) for problem in each.problems]:
        raise Invalid(*problems)
    return loaded
