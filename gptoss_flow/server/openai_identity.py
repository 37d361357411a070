"""Who answers at an address that is asked by one of OpenAI's APIs: it must offer the profile's model."""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_flow.errors import Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.identity import shown
from gptoss_flow.server.probe import ask
from gptoss_flow.server.problems import KeyProblem, key_problem

SHOWN = 8
"""How many models a message names."""


def offered_model(url: str, key: str | None, profile: Profile) -> str:
    """What the server calls the model that the profile means. Blocking. Raises `Unavailable` and `NoReply`."""
    reply = ask(url, "/v1/models", key=key)
    if reply.status in (401, 403):
        raise Unavailable(key_problem("api_key", f"the server at {url} does not accept the key", "set api_key"))
    names = _names(reply.body) if reply.status == 200 else None
    if names is None:
        said = f"what answers at {url} does not speak OpenAI's API: /v1/models gives status {reply.status}"
        hint = "correct url (without /v1), or remove api where it is a llama.cpp server"
        raise Unavailable(KeyProblem(None, said, hint, ("url",)))
    return _chosen(url, names, profile.model.id)


def _chosen(url: str, names: Sequence[str], wanted: str | None) -> str:
    there = ", ".join(map(shown, names[:SHOWN])) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )
    if wanted is None:
        if len(names) == 1:
            return names[0]
        said = f"the server at {url} offers {len(names)} models: {there or 'none'}"
        hint = "say which with model.id" if names else "load one there"
        raise Unavailable(KeyProblem(None, said, hint, ("url",)))
    for name in names:
        if name in (wanted, f"{wanted}:latest"):  # Ollama's names have a tag
            return name
    said = f"model.id: the server at {url} has {there or 'no model'}, not {wanted}"
    raise Unavailable(key_problem("model.id", said, "change the profile, or load the model there"))


def _names(body: Json) -> list[str] | None:
    models = body.get("data") if isinstance(body, dict) else None
    if not isinstance(models, list):
        return None
    return [name for each in models if isinstance(each, dict) and isinstance(name := each.get("id"), str)]
