"""The model files that this machine and its profiles know, as the `model` commands speak of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gptoss_flow import vocabulary
from gptoss_flow.app.profiles import choose_model_file, find_profile, known_places
from gptoss_flow.errors import Invalid, Problem, Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.server.gguf_header import BadModelFile
from gptoss_flow.server.gguf_tokens import read_tokens
from gptoss_flow.server.model import Machine, Report, absent, find_model
from gptoss_flow.server.model_facts import ModelFacts, facts_of
from gptoss_flow.server.model_file import ModelFile, inspect_model
from gptoss_flow.server.model_search import cached_models, gpt_oss_models
from gptoss_flow.server.problems import places_of
from gptoss_flow.user_path import user_path

GGUF = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that is here. `facts` is None where its metadata is damaged."""

    model: ModelFile
    facts: ModelFacts | None
    profiles: tuple[str, ...]
    """Those that would take it, by name."""


def known_models(machine: Machine, cwd: Path) -> list[KnownModel]:
    """Models that profiles name, that were downloaded, and gpt-oss in the usual places: each once, by name."""
    found: dict[Path, ModelFile] = {}
    users: dict[Path, list[str]] = {}
    for name in known_places(cwd).names():
        for model in _models_of(name, machine, cwd):
            real = model.path.resolve()
            found.setdefault(real, model)
            users.setdefault(real, []).append(name)
    for model in (*cached_models(machine.cache_dir), *gpt_oss_models(machine.environ, machine.home)):
        found.setdefault(model.path.resolve(), model)
    listed = [
        KnownModel(model=model, facts=_facts(model), profiles=tuple(users.get(real, ())))
        for real, model in found.items()
    ]
    return sorted(listed, key=lambda each: (each.model.name.lower(), str(each.model.path)))


async def pull_model(ref: str, machine: Machine, cwd: Path, report: Report, *, offline: bool = False) -> ModelFile:
    """The profile's model, fetched if need be. Raises `Invalid`, `Unavailable`."""
    resolved = find_profile(ref, cwd, offline=offline)
    _refuse_external(resolved)
    _, model = await choose_model_file(resolved, machine, report, offline=offline, to_run=False)
    return model


def _refuse_external(resolved: ResolvedProfile) -> None:
    if resolved.profile.resolved_engine == "external":
        said = f"profile {resolved.name} is of a server that somebody else runs: it has its own model"
        raise Invalid(Problem(None, said, "name a profile with a model"))


def look_at(ref: str, machine: Machine, cwd: Path) -> tuple[ModelFile, ModelFacts]:
    """What a path means, or what a profile would take, with its facts. Raises `Invalid`, `Unavailable`."""
    if ref.endswith(GGUF):
        found = inspect_model(user_path(ref), "named")
        if not isinstance(found, ModelFile):
            raise found.error()
        return found, facts_of(found)
    model = _model_of(ref, machine, cwd)
    return model, facts_of(model)


def write_vocabulary(ref: str, to: Path, machine: Machine, cwd: Path) -> None:
    """gpt-oss's vocabulary as openai-harmony and tiktoken read it, rebuilt from a model file and checked.

    Raises `Invalid`, `Unavailable`.
    """
    model, _ = look_at(ref, machine, cwd)
    try:
        data = vocabulary.of_model(read_tokens(model.path), str(model.path))
        vocabulary.write_atomically(to, data)
    except BadModelFile as error:
        raise Unavailable(str(error)) from error
    except OSError as error:
        said = f"cannot write {to}: {error.strerror or error}"
        raise Unavailable(Problem(None, said, "name another file with --to")) from error


def model_json(known: KnownModel) -> dict[str, Json]:
    """A model as data; sizes in bytes, null for what the file does not say."""
    facts = known.facts
    return {
        "name": known.model.name,
        "architecture": known.model.architecture,
        "quant": (facts and facts.quant) or None,
        "size_bytes": known.model.size_bytes,
        "context_tokens": facts and facts.context_tokens,
        "path": str(known.model.path),
        "profiles": list(known.profiles),
    }


def facts_json(model: ModelFile, facts: ModelFacts) -> dict[str, Json]:
    """A model with all that is known of it as data; null for what the file does not say."""
    return {
        "path": str(model.path),
        "parts": len(model.headers),
        "name": facts.name,
        "architecture": facts.architecture,
        "quant": facts.quant or None,
        "parameters": facts.parameters,
        "size_bytes": facts.size_bytes,
        "weights_bytes": facts.weights_bytes,
        "context_tokens": facts.context_tokens,
        "layers": facts.layers,
        "heads": facts.heads,
        "kv_heads": max(facts.kv_heads, default=None),
        "key_length": facts.key_length or None,
        "value_length": facts.value_length or None,
        "embedding_length": facts.embedding,
        "sliding_window": facts.window or None,
        "windowed_layers": sum(facts.windowed),
        "experts": facts.experts or None,
        "experts_used": facts.experts_used or None,
        "tokenizer": facts.tokenizer or None,
        "vocabulary": facts.vocabulary,
        "chat_template": facts.has_chat_template,
    }


def _model_of(ref: str, machine: Machine, cwd: Path) -> ModelFile:
    """What the profile would take of what is here. Raises `Invalid`, `Unavailable`."""
    resolved = find_profile(ref, cwd)
    _refuse_external(resolved)
    for each in resolved.alternatives:
        found = find_model(each.profile, machine)
        if isinstance(found, ModelFile):
            return found
        missing, writer = found, each
        if not found.is_absence:
            break
    if missing.may_be_had:
        said = f"the model of profile {ref} is not on this machine"
        raise Unavailable(Problem(None, said, f"fetch it with: gptoss-flow model pull {ref}"))
    with places_of(writer):
        raise absent(writer.profile, missing)


def _models_of(ref: str, machine: Machine, cwd: Path) -> Iterator[ModelFile]:
    """What the profile's alternatives would take of what is here; nothing where it is wrong."""
    with suppress(Invalid, Unavailable):
        for each in find_profile(ref, cwd, needs_model=False).alternatives:
            if each.profile.resolved_engine != "external":
                found = find_model(each.profile, machine)
                if isinstance(found, ModelFile):
                    yield found


def _facts(model: ModelFile) -> ModelFacts | None:
    with suppress(Unavailable):
        return facts_of(model)
    return None
