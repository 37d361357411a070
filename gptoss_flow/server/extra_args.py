"""What is wrong with a profile's `extra_args`, by the binary's `--help`: unknown, unsafe, or of a key. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.flags import FLAGS, Help, Option, is_unsafe
from gptoss_flow.server.problems import KeyProblem

_KEYS: Mapping[str, str] = {name: flag.key for flag in FLAGS for name in flag.owns} | {
    "--mlock": "mlock",
    "--threads": "threads",
    "--threads-batch": "threads_batch",
    "--lora": "lora",
    "--lora-scaled": "lora",
}
"""The keys of a profile that options belong to, whether or not the binary at hand still knows them."""
_NUMBER = re.compile(r"-[\d.]+")


def key_of(option: str) -> str:
    """The key that an option belongs to; "" for none."""
    return _KEYS.get(option, "")


def extra_problems(profile: Profile, known: Help, build: str) -> Iterator[KeyProblem]:
    """One problem for each argument that is wrong, at its place in the list."""
    before, option, wanted = "", None, 0
    for number, argument in enumerate(profile.extra_args):
        if not argument.startswith("-") or _NUMBER.fullmatch(argument):
            if option is not None and not wanted:
                yield _problem(number, *_stray(argument, before, option))
            elif not before:
                yield _problem(number, f"{argument} belongs to no option", "write the option before it")
            wanted -= 1
            continue
        if option is not None and wanted > 0:
            yield _problem(number - 1, *_lacking(before, option))
        before, option = argument, known.find(argument)
        wanted = option.values if option else 0
        if found := _wrong(argument, profile, known, build):
            yield _problem(number, *found)
            option = None  # enough is said of it: what follows it is not looked at
    if option is not None and wanted > 0:
        yield _problem(len(profile.extra_args) - 1, *_lacking(before, option))


def _wrong(argument: str, profile: Profile, known: Help, build: str) -> tuple[str, str] | None:
    option = known.options.get(argument)
    names = option.names if option else (argument,)
    if key := next((_KEYS[name] for name in names if name in _KEYS), None):
        return f"{argument} is the profile's key {key}", f"use {key}"
    if option is None:
        name, is_joined, value = argument.partition("=")
        if is_joined and name in known.options:
            hint = f"write its value as an item of its own: [{name}, {value}]"
        else:
            hint = "see llama-server --help"
        return f"llama-server {build} does not know {argument}", hint
    if option.is_removed:
        advice = " ".join(option.text.split()).partition(". ")[2]
        hint = advice.partition(" (env:")[0] or "see llama-server --help"
        return f"llama-server {build} has no {argument} any more", hint
    if is_unsafe(option) and not profile.allow_unsafe_args:
        said = f"{argument} opens the server or takes over what the manager decides"
        return said, "set allow_unsafe_args: true if you mean it"
    return None


def _stray(argument: str, before: str, option: Option) -> tuple[str, str]:
    takes = {0: "no value", 1: "one value"}.get(option.values, f"{option.values} values")
    return f"{argument} belongs to no option: {before} takes {takes}", "remove it, or write its option before it"


def _lacking(before: str, option: Option) -> tuple[str, str]:
    items = option.hint.replace(" ", ", ") if option.values > 1 else option.hint
    return f"{before} lacks its value", f"write it as the next item: [{before}, {items}]"


def _problem(number: int, said: str, hint: str) -> KeyProblem:
    return KeyProblem(None, f"extra_args: {said}", hint, ("extra_args", number))
