"""Looks for gpt-oss models that are already on this machine: the user's variables first, then the usual places."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from gptoss_flow.server.model_file import Missing, ModelFile, inspect_model, is_later_part, too_large
from gptoss_flow.user_path import user_path

MAX_DEPTH = 6
MAX_ENTRIES = 20_000
"""How far the search goes into each place: folders deep, entries seen."""

_NAME = re.compile(r"gpt[-_.]?oss", re.IGNORECASE)
_SMALL = re.compile(r"(?<!\d)20b", re.IGNORECASE)


def search_gpt_oss(
    environ: Mapping[str, str], home: Path, memory_bytes: int, cache_dir: Path | None = None
) -> ModelFile | Missing:
    """What `GPT_OSS_GGUF_MODEL_PATH` names, else the best in `GPT_OSS_MODEL_DIR`, else in a usual place.

    `cache_dir`: see `inspect_model`.
    """
    if named := environ.get("GPT_OSS_GGUF_MODEL_PATH"):
        why = "GPT_OSS_GGUF_MODEL_PATH names it"
        found = inspect_model(user_path(named), why, "gpt-oss", cache_dir=cache_dir)
        return found if isinstance(found, ModelFile) else _blame("GPT_OSS_GGUF_MODEL_PATH", found)
    if named := environ.get("GPT_OSS_MODEL_DIR"):
        best = _best(user_path(named), memory_bytes, re.compile(""), cache_dir)
        if isinstance(best, ModelFile):
            return replace(best, why="GPT_OSS_MODEL_DIR names its folder")
        return _blame("GPT_OSS_MODEL_DIR", best or Missing("missing", f"there is no gpt-oss GGUF file in {named}"))
    skipped: Missing | None = None
    for place in usual_places(environ, home):
        match _best(place, memory_bytes, _NAME, cache_dir):
            case ModelFile() as found:
                return found
            case Missing() as reason:
                skipped = skipped or reason
            case None:
                pass
    return skipped or Missing(
        "missing", "no gpt-oss model was found on this machine", "set GPT_OSS_GGUF_MODEL_PATH to a GGUF file of it"
    )


def gpt_oss_models(environ: Mapping[str, str], home: Path) -> Iterator[ModelFile]:
    """Every whole gpt-oss model that the search would see, whatever its size; the user's variables first."""
    if named := environ.get("GPT_OSS_GGUF_MODEL_PATH"):
        yield from _whole([user_path(named)], "GPT_OSS_GGUF_MODEL_PATH names it", "gpt-oss")
    if named := environ.get("GPT_OSS_MODEL_DIR"):
        folder = user_path(named)
        yield from _whole(_model_files(folder), "GPT_OSS_MODEL_DIR names its folder", "gpt-oss")
    for place in usual_places(environ, home):
        named_so = (path for path in _model_files(place) if _NAME.search(path.name))
        yield from _whole(named_so, f"found in {place}", "gpt-oss")


def cached_models(cache_dir: Path) -> Iterator[ModelFile]:
    """Every whole model that was downloaded into our own cache."""
    yield from _whole(_model_files(cache_dir / "models"), "downloaded")


def usual_places(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Where llama.cpp, Hugging Face and LM Studio keep models, and `~/models`."""
    yield home / "models"
    if folder := environ.get("LLAMA_CACHE"):
        yield Path(folder)
    yield home / ".cache" / "llama.cpp"
    yield home / "Library" / "Caches" / "llama.cpp"
    if folder := environ.get("HF_HUB_CACHE"):
        yield Path(folder)
    if folder := environ.get("HF_HOME"):
        yield Path(folder) / "hub"
    yield home / ".cache" / "huggingface" / "hub"
    yield home / ".lmstudio" / "models"
    yield home / ".cache" / "lm-studio" / "models"


def _blame(variable: str, missing: Missing) -> Missing:
    message = f"${variable}: {missing.message}"
    return Missing(missing.cause, message, f"correct or unset {variable}", named_by_user=True)


def _best(
    place: Path, memory_bytes: int, name: re.Pattern[str], cache_dir: Path | None
) -> ModelFile | Missing | None:
    """The best gpt-oss model below a folder: 20b before others, then the smallest. Broken files do not count."""
    fitting: list[ModelFile] = []
    refused: Missing | None = None
    for path in _model_files(place):
        if name.search(path.name) is None:
            continue
        found = inspect_model(path, f"found in {place}", "gpt-oss", cache_dir=cache_dir)
        if not isinstance(found, ModelFile):
            continue
        if found.size_bytes <= memory_bytes:
            fitting.append(found)
        else:
            refused = refused or too_large(found, memory_bytes)
    fitting.sort(key=lambda found: (_SMALL.search(found.name) is None, found.size_bytes, str(found.path)))
    return fitting[0] if fitting else refused


def _whole(paths: Iterable[Path], why: str, architecture: str = "") -> Iterator[ModelFile]:
    for path in paths:
        if isinstance(found := inspect_model(path, why, architecture), ModelFile):
            yield found


def _model_files(place: Path) -> Iterator[Path]:
    """GGUF files below a folder, first parts only, in a fixed order; links are followed, within the bounds."""
    seen = 0
    for folder, folders, files in os.walk(place, followlinks=True):
        seen += len(folders) + len(files)
        if seen > MAX_ENTRIES:
            return
        folders.sort()
        if len(Path(folder).relative_to(place).parts) >= MAX_DEPTH:
            folders.clear()
        for name in sorted(files):
            if name.endswith(".gguf") and not is_later_part(name):
                yield Path(folder, name)
