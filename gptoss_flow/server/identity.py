"""Proves that what answers at an address is the server that was asked for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptoss_flow.errors import FlowError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.server.probe import NoReply, ask
from gptoss_flow.server.problems import KeyProblem, key_problem


class NotOurs(FlowError):
    """Something answers, but not the server that was asked for; never adopted, never signalled.

    `differences`: how it differs from what was asked for, where it is a llama.cpp server at all.
    """

    def __init__(self, message: str, differences: Sequence[KeyProblem] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the server must be. None: not asked for."""

    model_path: str | None
    model_id: str | None
    slots: int | None
    context_tokens: int | None
    """The least that each slot must have."""
    build: str | None = None
    """How its build must begin."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server says that it is (`/props`)."""

    model_path: str
    model_id: str
    slots: int
    context_tokens: int
    build: str

    @classmethod
    def parse(cls, props: Json) -> Identity:
        """Of the body of `/props`; what it does not say is empty or 0."""
        data: Mapping[str, Json] = props if isinstance(props, dict) else {}
        defaults = data.get("default_generation_settings")
        context = defaults.get("n_ctx", 0) if isinstance(defaults, dict) else 0
        path, alias = str(data.get("model_path", "")), data.get("model_alias", "")
        return cls(
            path,
            str(alias or Path(path).stem),
            _number(data.get("total_slots")),
            _number(context),
            str(data.get("build_info", "")),
        )


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def differences(found: Identity, expected: Expected) -> list[KeyProblem]:
    """How it is not what was asked for, each with the profile's key and both values; empty if it is."""
    said: list[KeyProblem] = []

    def differs(key: str, message: str) -> None:
        said.append(key_problem(key, f"{key}: {message}", "change the profile, or the server"))

    if expected.model_path is not None and not _same_file(found.model_path, expected.model_path):
        differs("model", f"it has {shown(found.model_path)}, not {expected.model_path}")
    path = Path(found.model_path)
    if expected.model_id is not None and expected.model_id not in (found.model_id, path.name, path.stem):
        differs("model.id", f"it has {shown(found.model_id)}, not {expected.model_id}")
    if expected.slots is not None and found.slots != expected.slots:
        differs("parallel", f"it has {found.slots} slots, not {expected.slots}")
    if expected.context_tokens is not None and found.context_tokens < expected.context_tokens:
        differs(
            "context",
            f"it has {found.context_tokens} tokens for a request, not {expected.context_tokens} "
            "(no more than the model was trained for, unless rope stretches it)",
        )
    if expected.build is not None and not found.build.startswith(expected.build):
        differs("build", f"it is {shown(found.build)}, not {expected.build}")
    return said


def shown(said: str) -> str:
    """What a server says of itself, on one line and harmless."""
    return one_line(said)[:200] or "none"


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return one == other


def prove(url: str, key: str | None, expected: Expected, *, wrong_key: bool = True) -> Identity:
    """Ask who it is: the right key must open, a wrong one (`wrong_key`) must not, `/props` must fit. Blocking.

    Raises `NotOurs` with what differs, and `NoReply`.
    """
    reply = ask(url, "/props", key=key)
    if reply.status in (401, 403):
        raise NotOurs(
            f"the server at {url} does not accept the key",
            [key_problem("api_key", "it does not accept the key", "set api_key")],
        )
    if reply.status != 200 or not isinstance(reply.body, dict):
        raise NotOurs(f"what answers at {url} is not llama.cpp's server: /props gives status {reply.status}")
    if wrong_key and key is not None and ask(url, "/props", key=secrets.token_urlsafe(32)).status != 401:
        raise NotOurs(f"the server at {url} accepts any key: it is not the one that was started")
    found = Identity.parse(reply.body)
    if wrong := differences(found, expected):
        said = "; ".join(problem.message for problem in wrong)
        raise NotOurs(f"the server at {url} is not what the profile asks for: {said}", wrong)
    return found


def who_is(url: str) -> str:
    """A guess at what answers there, for an error message. Blocking."""
    try:
        reply = ask(url, "/v1/models", timeout_s=1.0)
        return f"a server with the model {reply.body['data'][0]['id']!s:.100}"
    except (NoReply, KeyError, IndexError, TypeError):
        return "something"
