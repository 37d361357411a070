"""Turns a profile, a model file and a port into what is run: argument list, standard input, environment. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptoss_flow.errors import Invalid
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_words import value_text
from gptoss_flow.server.engines import Engine
from gptoss_flow.server.environment import passed_environment
from gptoss_flow.server.extra_args import extra_problems
from gptoss_flow.server.flags import FLAGS, HABITS, Flag, Help, Render
from gptoss_flow.server.problems import KeyProblem, key_problem


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. The key is in `stdin` or `env`, never in `argv`."""

    argv: list[str]
    stdin: str = field(repr=False)
    env: dict[str, str] = field(repr=False)


def compile_command(
    profile: Profile,
    model: Path,
    engine: Engine,
    *,
    port: int,
    key: str | None,
    threads: int | None,
    environ: Mapping[str, str],
) -> Command:
    """The process for this profile. Raises `Invalid`, one problem for each key that the engine cannot express."""
    env = passed_environment(environ) | {"GGML_NO_BACKTRACE": "1"} | profile.env
    disguised = [] if profile.allow_unsafe_args else [*_disguised(profile)]
    if engine.kind == "embedded":
        return Command([*engine.program], _parameters(profile, model, port, key, threads, disguised) + "\n", env)
    if key is not None:
        env["LLAMA_API_KEY"] = key
    known = engine.help or Help({})
    arguments = ["--model", str(model), "--host", profile.listen.host, "--port", str(port)]
    arguments += _arguments(profile, known, engine.build, threads, disguised)
    return Command([*engine.program, *arguments], "", env)


def told(profile: Profile, known: Help) -> list[str]:
    """The keys that a program with this help can be told, as its arguments; the others are left out."""
    rendered = (
        _first(flag.spellings, known, value) for flag in FLAGS if (value := flag.value(profile)) is not None
    )
    return [argument for arguments in rendered for argument in arguments or ()]


def _disguised(profile: Profile) -> Iterator[KeyProblem]:
    for name in profile.env:
        if re.fullmatch(r"LLAMA_ARG_\w+|LLAMA_API_KEY", name):
            message = f"env: {name} is an option in disguise, which nothing checks"
            hint = "say it by the profile's key or in extra_args, or set allow_unsafe_args: true"
            yield KeyProblem(None, message, hint, ("env", name))


def _arguments(
    profile: Profile, known: Help, build: str, threads: int | None, problems: list[KeyProblem]
) -> list[str]:
    arguments: list[str] = []
    for flag in FLAGS:
        value = flag.value(profile)
        if value is None:
            continue
        rendered = _first(flag.spellings, known, value)
        if rendered is None:
            problems.append(key_problem(flag.key, _untold(flag.key, build, profile), _way_out(flag)))
        else:
            arguments += rendered
    arguments += _threads(profile, threads)
    arguments += _lora(profile, known, build, problems)
    for habit in HABITS:
        arguments += _first(habit.spellings, known, habit.value) or []
    if profile.gpu_layers != "auto" and "--fit" in known:
        arguments += ["--fit", "off"]
    problems += extra_problems(profile, known, build)
    if problems:
        raise Invalid(*problems)
    return arguments + profile.extra_args


def _untold(key: str, build: str, profile: Profile) -> str:
    said: Any = profile
    for name in key.split("."):
        said = getattr(said, name)
    return f"llama-server {build} has no option for {key}: {value_text(tuple(key.split('.')), said)}"


def _way_out(flag: Flag) -> str:
    embedded = "" if flag.embed is None else ", or set engine: embedded"
    return f"remove the key, take another build of llama-server (binary, $LLAMA_SERVER){embedded}"


def _first(spellings: tuple[Render, ...], known: Help, value: Any) -> list[str] | None:
    return next((said for spelling in spellings if (said := spelling(known, value)) is not None), None)


def _threads(profile: Profile, threads: int | None) -> list[str]:
    arguments = ["--threads", str(threads)] if threads else []
    if profile.threads_batch != "auto":
        arguments += ["--threads-batch", str(profile.threads_batch)]
    return arguments


def _lora(profile: Profile, known: Help, build: str, problems: list[KeyProblem]) -> list[str]:
    arguments: list[str] = []
    option = known.find("--lora-scaled")
    if profile.lora and option is None:
        hint = "remove the key, or take another build of llama-server (binary, $LLAMA_SERVER)"
        problems.append(key_problem("lora", f"llama-server {build} has no option for lora", hint))
    for number, adapter in enumerate(profile.lora):
        joined = option is not None and ":" in option.hint
        if joined and any(sign in adapter.path for sign in ",:"):
            said = f"llama-server {build} takes no path with a comma or colon: {adapter.path}"
            problems.append(KeyProblem(None, said, "rename the file or its folder", ("lora", number)))
        scaled = [f"{adapter.path}:{adapter.scale}"] if joined else [adapter.path, str(adapter.scale)]
        arguments += ["--lora-scaled", *scaled]
    return arguments


def _parameters(
    profile: Profile,
    model: Path,
    port: int,
    key: str | None,
    threads: int | None,
    problems: list[KeyProblem],
) -> str:
    attributes: dict[str, Any] = {"model.path": str(model), "hostnames": [profile.listen.host], "port": port}
    if key is not None:
        attributes["api_keys"] = [key]
    for habit in HABITS:
        attributes |= habit.embed
    for flag in FLAGS:
        value = flag.value(profile)
        if value is None:
            continue
        if flag.embed is None:
            hint = "remove it or set engine: llama-server"
            problems.append(key_problem(flag.key, f"the embedded engine cannot do {flag.key}", hint))
        else:
            attributes |= flag.embed(value)
    if profile.extra_args:
        hint = "remove them or set engine: llama-server"
        problems.append(key_problem("extra_args", "the embedded engine takes no extra_args", hint))
    if problems:
        raise Invalid(*problems)
    if threads:
        attributes["cpuparams.n_threads"] = threads
    batch_threads = threads if profile.threads_batch == "auto" else profile.threads_batch
    if batch_threads:
        attributes["cpuparams_batch.n_threads"] = batch_threads
    return json.dumps({"set": attributes, "lora": [each.model_dump() for each in profile.lora]})


def choose_threads(
    profile: Profile, *, platform: str, cores: int, physical: int, load: float, alone: bool
) -> int | None:
    """Threads for generating; None leaves it to the server.

    All physical cores where nothing else wants them, else one less than there are: threads that share a core spin
    against each other, and a token takes a hundred times as long. Apple's scheduler knows its cores best.
    """
    if profile.threads != "auto":
        return profile.threads
    if platform == "darwin":
        return None
    if alone and load < cores / 4:
        return max(1, physical)
    return max(1, cores - 1)
