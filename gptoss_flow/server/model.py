"""Where a profile's GGUF file comes from: finds it on this machine, or fetches it once into the user's cache."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
import psutil

from gptoss_flow.errors import Invalid, Problem, Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.server import built, hub, model_cache
from gptoss_flow.server.fit import Share, shares
from gptoss_flow.server.hub import HubModel
from gptoss_flow.server.memory import estimate, misfit, require_memory
from gptoss_flow.server.model_facts import facts_of
from gptoss_flow.server.model_file import Missing, ModelFile, inspect_model
from gptoss_flow.server.model_search import search_gpt_oss
from gptoss_flow.server.problems import KeyProblem, key_problem, places_of
from gptoss_flow.server.wheel import WheelFile

Report = Callable[[str], None]

_ASSEMBLED = "assembled from this package"

_OTHER_FOLDER = (
    "put the model there, name another folder (model.dir; of a built-in profile $GPT_OSS_MODEL_DIR), or have it "
    "fetched: model.hf"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the search for a model needs to know of the machine."""

    environ: Mapping[str, str]
    home: Path
    cache_dir: Path
    memory_bytes: int
    has_gpu: bool = False
    """There may be one with a memory of its own, of a size that is not known here."""

    @classmethod
    def here(cls, cache_dir: Path | None = None) -> Machine:
        """This machine, with the user's own cache folder unless another one is given."""
        cache_dir = cache_dir or Path(platformdirs.user_cache_dir("gptoss-flow"))
        return cls(
            environ=os.environ,
            home=Path.home(),
            cache_dir=cache_dir,
            memory_bytes=_memory_bytes(),
            has_gpu=_has_gpu(),
        )


def choose_model(
    alternatives: Sequence[ResolvedProfile], machine: Machine, report: Report, *, offline: bool = False
) -> tuple[ResolvedProfile, ModelFile]:
    """The first alternative whose model is on this machine, else the last one, its model fetched if need be.

    `report` gets a line for each that was passed over, for what was taken, and about once a second of a download;
    what it raises ends the download. Raises `Unavailable`, `Invalid`.
    """
    for alternative in alternatives[:-1]:
        found = find_model(alternative.profile, machine)
        if isinstance(found, ModelFile):
            return alternative, _taken(found, report)
        if not found.is_absence:
            with places_of(alternative):
                raise absent(alternative.profile, found)
        report(found.message)
    last = alternatives[-1]
    with places_of(last):
        return last, ensure_model(last.profile, machine, report, offline=offline)


def ensure_model(profile: Profile, machine: Machine, report: Report, *, offline: bool = False) -> ModelFile:
    """The profile's model, fetched if need be. Raises `Unavailable` (absent, broken, no network) or `Invalid`."""
    found = find_model(profile, machine)
    if isinstance(found, Missing) and found.cause == "not_built":
        found = inspect_model(built.build(machine.cache_dir, report), _ASSEMBLED, cache_dir=machine.cache_dir)
    if isinstance(found, Missing) and found.cause == "not_fetched":
        if offline:
            hint = "run once without --offline, or name a GGUF file with model.path"
            raise absent(profile, replace(found, hint=hint))
        found = _fetched(profile, machine, report)
    if isinstance(found, Missing):
        raise absent(profile, found)
    return _taken(found, report)


def absent(profile: Profile, missing: Missing) -> Unavailable:
    """Why the profile has no model, as a problem of the key that says where it comes from."""
    path = ("model", missing.key) if missing.key else ("model", *profile.model.sources[:1])
    return Unavailable(KeyProblem(None, missing.message, missing.hint, path))


def require_room(profile: Profile, model: ModelFile, machine: Machine, report: Report) -> None:
    """Refuse a server that certainly has no room in memory, before it is started. Raises `Unavailable`."""
    facts, has_gpu = facts_of(model), machine.has_gpu or bool(profile.rpc or profile.devices)
    known = _shares(profile, model, machine, has_gpu=has_gpu)
    if warning := require_memory(profile, facts, machine.memory_bytes, has_gpu=has_gpu, shares=known):
        report(warning)


def require_context(profile: Profile, model: ModelFile) -> None:
    """Refuse a context that the model was not trained for: the server would give less. Raises `Invalid`."""
    trained, wanted, rope = facts_of(model).context_tokens, profile.context_per_slot, profile.rope
    if trained is None or wanted <= trained or rope.stretches:
        return
    key, most = (
        ("context", trained) if profile.context_total is None else ("context_total", trained * profile.parallel)
    )
    said = f"{wanted} tokens for a request are more than the {trained} that the model was trained for"
    raise Invalid(key_problem(key, said, f"set {key} to {most} at most, or stretch it with rope"))


def _shares(profile: Profile, model: ModelFile, machine: Machine, *, has_gpu: bool) -> tuple[Share, ...]:
    """llama.cpp's own figures: a fifth of a second, which is spared where there is room enough anyhow."""
    is_ample = not has_gpu and 2 * estimate(profile, facts_of(model)).total_bytes < machine.memory_bytes
    return () if is_ample else shares(profile, model.path, machine.environ, machine.cache_dir)


def find_model(profile: Profile, machine: Machine) -> ModelFile | Missing:
    """The profile's model if it is on this machine; no network. Raises `Invalid` if the profile names none."""
    model = profile.model
    if model.path is not None:
        return inspect_model(Path(model.path), "model.path of the profile", cache_dir=machine.cache_dir)
    if model.dir is not None and model.file is not None:
        return _first_quant(profile, Path(model.dir), model.file, machine)
    if model.pypi is not None:
        wanted, sha256 = _pinned(profile)
        path = model_cache.find(wanted, sha256, machine.cache_dir)
        if path is None:
            return Missing("not_fetched", f"the model of {wanted.requirement} is not on this machine yet")
        return inspect_model(path, _from_package(wanted), cache_dir=machine.cache_dir)
    if model.url is not None:
        path = model_cache.find_download(model.url, _sha256(profile, "url"), machine.cache_dir)
        if path is None:
            return Missing("not_fetched", f"the model of {_shown(model.url)} is not on this machine yet")
        return inspect_model(path, f"from {_shown(model.url)}", cache_dir=machine.cache_dir)
    if model.hf is not None:
        path = hub.find(HubModel.parse(model.hf), machine.environ, machine.home)
        if path is None:
            return Missing("not_fetched", f"the model {model.hf} of the Hub is not on this machine yet")
        return inspect_model(path, f"from the Hub's {model.hf}", cache_dir=machine.cache_dir)
    if model.built is not None:
        path = built.find(machine.cache_dir)
        if path is None:
            return Missing("not_built", f"the model {model.built} is not assembled on this machine yet")
        return inspect_model(path, _ASSEMBLED, cache_dir=machine.cache_dir)
    if model.search is not None:
        return search_gpt_oss(machine.environ, machine.home, machine.memory_bytes, machine.cache_dir)
    name = f"profile {profile.name}" if profile.name else "the profile"
    raise Invalid(Problem(None, f"{name} names no model", "add model: {path: …}, or extend local or demo"))


def _taken(found: ModelFile, report: Report) -> ModelFile:
    report(f"model {found.path} ({found.why})")
    return found


def _pinned(profile: Profile) -> tuple[WheelFile, str]:
    sha256 = _sha256(profile, "pypi")
    return WheelFile.parse(profile.model.pypi or ""), sha256


def _sha256(profile: Profile, source: str) -> str:
    if profile.model.sha256 is None:
        raise Invalid(Problem(None, f"model.{source} needs model.sha256", "add sha256, of the GGUF file"))
    return profile.model.sha256


def _fetched(profile: Profile, machine: Machine, report: Report) -> ModelFile | Missing:
    model = profile.model
    if model.hf is not None:
        path = hub.fetch(HubModel.parse(model.hf), machine.environ, machine.home, report)
        return inspect_model(path, f"from the Hub's {model.hf}", cache_dir=machine.cache_dir)
    if model.url is not None:
        sha256 = _sha256(profile, "url")
        path = model_cache.fetch_download(model.url, sha256, model.size, machine.cache_dir, report=report)
        return inspect_model(path, f"from {_shown(model.url)}", cache_dir=machine.cache_dir)
    wanted, sha256 = _pinned(profile)
    path = model_cache.fetch(wanted, sha256, model.size, machine.cache_dir, report=report, environ=machine.environ)
    return inspect_model(path, _from_package(wanted), cache_dir=machine.cache_dir)


def _shown(url: str) -> str:
    return url.partition("?")[0]  # what is behind it may be a signature


def _from_package(wanted: WheelFile) -> str:
    return f"from the package {wanted.requirement}"


def _first_quant(profile: Profile, folder: Path, file: str, machine: Machine) -> ModelFile | Missing:
    quants = profile.model.quants
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return Missing("missing", f"model.dir {folder} cannot be read: {error.strerror}", _OTHER_FOLDER)
    refused: list[tuple[int, KeyProblem]] = []
    for quant in quants or [""]:
        name = next(filter(_names_of(file, quant).fullmatch, names), None)
        if name is None:
            continue
        why = f"the first of model.quants that is there: {quant}" if quants else "model.file of the profile"
        found = inspect_model(folder / name, why, cache_dir=machine.cache_dir)
        if isinstance(found, Missing) or not quants:
            return found
        known = _shares(profile, found, machine, has_gpu=machine.has_gpu)
        misfits = misfit(
            profile, facts_of(found), found.path, machine.memory_bytes, has_gpu=machine.has_gpu, shares=known
        )
        if misfits is None:
            return found
        refused.append(misfits)
    if refused:
        _, problem = min(refused, key=lambda each: each[0])
        several = "none of model.quants has room, not even the smallest: " if len(refused) > 1 else ""
        return Missing("too_large", f"{several}{problem.message}", problem.hint, key="quants")
    tried = f" for any of {', '.join(quants)}" if quants else ""
    there = [name for name in names if name.endswith(".gguf")]
    hint = f"there are {', '.join(there[:5])}" if there else "there is no GGUF file at all"
    return Missing("missing", f"no file {file}{tried} in {folder}", hint, key="file")


def _names_of(file: str, quant: str) -> re.Pattern[str]:
    """File names that `file` stands for with this quantisation, as one file or the first of several parts."""
    stem, dot_gguf = (file[:-5], ".gguf") if file.endswith(".gguf") else (file, "")
    before, marker, after = stem.partition("{quant}")
    middle = f"(?i:{re.escape(quant)})" if marker else ""
    parts = r"(-00001-of-\d{5})?" if dot_gguf else ""
    return re.compile(re.escape(before) + middle + re.escape(after) + parts + re.escape(dot_gguf))


def _memory_bytes() -> int:
    limits = [psutil.virtual_memory().total]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no limit here ("max"), or no control group at all
            continue
    return min(limits)


def _has_gpu() -> bool:
    if sys.platform == "darwin":  # Apple's own chips compute in the main memory
        return platform.machine() != "arm64"
    devices = Path("/dev")
    return any(any(devices.glob(pattern)) for pattern in ("nvidia*", "kfd", "dri/renderD*", "dxg", "davinci*"))
