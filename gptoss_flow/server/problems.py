"""A problem that a server has with a profile: with which of its keys, and where that one was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gptoss_flow.errors import FlowError, Mark, Problem
from gptoss_flow.lang.profile_layers import KeyPath, Variable
from gptoss_flow.lang.profiles import ResolvedProfile


@dataclass(frozen=True, slots=True)
class KeyProblem(Problem):
    """`path` is the key; where it was written is known to whoever merged the profile."""

    path: KeyPath = ()


def key_problem(key: str, message: str, hint: str) -> KeyProblem:
    """Of a key with dots: `kv_cache.k`."""
    return KeyProblem(None, message, hint, tuple(key.split(".")))


def located(problem: Problem, resolved: ResolvedProfile | None, path: KeyPath = ()) -> Problem:
    """The problem at the place of the key that it names itself, else of the one at `path`.

    A variable of the environment that the value came from stands in front of the message.
    """
    key = problem.path if isinstance(problem, KeyProblem) else path
    match resolved.origin(key) if resolved and key and problem.mark is None else None:
        case Mark() as mark:
            return Problem(mark, problem.message, problem.hint)
        case Variable() as variable:
            said = problem.message.removeprefix(f"{variable}: ")
            return Problem(None, f"{variable}: {said}", problem.hint)
        case None:
            return Problem(problem.mark, problem.message, problem.hint)


@contextmanager
def places_of(resolved: ResolvedProfile) -> Iterator[None]:
    """What is raised within has the places of this profile's keys."""
    try:
        yield
    except FlowError as error:
        if not any(isinstance(problem, KeyProblem) for problem in error.problems):
            raise
        raise type(error)(*(located(problem, resolved) for problem in error.problems)) from error
