"""A flow file to a plan: everything that can be known without starting anything."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

from gptoss_flow.app.fetch import SourceFetcher
from gptoss_flow.app.lock import require_lock, sources_of_flow
from gptoss_flow.app.tools import tools_of
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.lang.elsewhere import Pin
from gptoss_flow.lang.load import LoadedFlow, load_flow
from gptoss_flow.lang.profile_places import PROJECT, search_path
from gptoss_flow.lang.sources import Source
from gptoss_flow.plan.compile import compile_flow
from gptoss_flow.plan.plan import Plan
from gptoss_flow.plan.tool_names import OwnTools
from gptoss_flow.plan.untrusted import untrusted_problems
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.registry import stand_ins


def check_flow(
    path: str | Path,
    cwd: Path | None = None,
    *,
    offline: bool = False,
    locked: bool = False,
    changes: Sequence[str] = (),
    untrusted: bool = False,
    chosen: Collection[str] = (),
) -> Plan:
    """Read, check and compile a flow file. Raises `Invalid` with every problem, in file order.

    Profiles from elsewhere are fetched unless they are in the cache; raises `Unavailable` where they can't be had.
    `locked`: what differs from the flow's lock is a problem too. `changes` are done to the document before it is
    checked: `path=value`. `untrusted`: whatever could do harm is a problem too (see `plan.untrusted`), and nothing
    is fetched; `chosen` are the servers for which the user named a profile.
    """
    flow, cwd = Path(path), cwd or Path.cwd()
    with _nothing_quoted_from_outside(flow) if untrusted else nullcontext():
        return _checked(flow, cwd, offline, locked, changes, untrusted, chosen)


def _checked(
    flow: Path,
    cwd: Path,
    offline: bool,
    locked: bool,
    changes: Sequence[str],
    untrusted: bool,
    chosen: Collection[str],
) -> Plan:
    fetch = _fetch_nothing if untrusted else SourceFetcher.here(offline=offline)
    sources = sources_of_flow(flow, fetch, locked=locked)
    with _without_collector():
        loaded = load_flow(flow, cwd, os.environ, sources, changes)
        plan = compile_flow(loaded, TOOLS, _without_import) if untrusted else plan_of(loaded)
    if untrusted and (problems := untrusted_problems(plan, _profiles_of_user(cwd), chosen)):
        raise Invalid(*problems)
    if locked:
        require_lock(loaded, cwd)
    return plan


def plan_of(loaded: LoadedFlow) -> Plan:
    """The plan of a flow that its user trusts: its own Python code is imported. Raises `Invalid`."""
    return compile_flow(loaded, TOOLS, tools_of(loaded))


def _without_import(loaded: LoadedFlow) -> OwnTools:
    return stand_ins(loaded, TOOLS)


@contextmanager
def _nothing_quoted_from_outside(flow: Path) -> Iterator[None]:
    """A flow can name any file as a schema, a flow or a profile: an error would show what stands in it."""
    folder = flow.parent.resolve()
    try:
        yield
    except Invalid as wrong:
        shown: dict[Problem, None] = {}
        for problem in wrong.problems:
            mark = problem.mark
            if mark is not None and not Path(mark.source).resolve().is_relative_to(folder):
                said = f"{mark.source} is not what an untrusted flow takes it for"
                problem = Problem(
                    None, said, "what is wrong with it is not shown: it lies outside of the flow's folder"
                )
            shown[problem] = None
        raise Invalid(*shown) from None


def _profiles_of_user(cwd: Path) -> set[Path]:
    """Not those of the project: it may be the one that the flow came with."""
    owners = search_path(None, cwd).owners
    return {folder.absolute() for folder, owner in owners.items() if owner != PROJECT}


def _fetch_nothing(source: Source, pin: Pin) -> NoReturn:
    hint = "choose a profile yourself, or leave out --untrusted-flow where you trust the flow"
    raise Invalid(Problem(None, f"an untrusted flow reads no profile from elsewhere: {source}", hint))


@contextmanager
def _without_collector() -> Iterator[None]:
    """A large flow is a hundred thousand objects, all of them kept: a search for garbage takes long."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            # Now all of it is young, and would be looked at as soon as the collector is on. This makes it old.
            gc.freeze()
            gc.unfreeze()
            gc.enable()
