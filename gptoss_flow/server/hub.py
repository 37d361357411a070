"""Models of the Hugging Face Hub: found in its cache without it, fetched through the optional huggingface_hub.

The cache is the one that every program with that library shares: $HF_HUB_CACHE, $HF_HOME/hub, or the usual place.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gptoss_flow.errors import FlowError, Unavailable
from gptoss_flow.server.download import NETWORK_TIMEOUT_S, REPORT_EVERY_S, require_room
from gptoss_flow.server.model_file import is_later_part, parts_of
from gptoss_flow.server.problems import KeyProblem, key_problem
from gptoss_flow.user_path import user_path

Report = Callable[[str], None]

_KEY = "model.hf"
REVISION = "main"
MAX_SHOWN = 12
"""How many quantisations a message names."""

_TAG = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|F16|F32|MXFP4(?:_MOE)?|NVFP4))$", re.IGNORECASE
)
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_NO_MODELS = ("mmproj", "imatrix")
"""How files are called that lie beside the models of a repository and are none."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """One quantisation in a repository, as `owner/repo:quant`."""

    repo: str
    quant: str

    @classmethod
    def parse(cls, text: str) -> HubModel:
        repo, _, quant = text.partition(":")
        return cls(repo, quant)

    def __str__(self) -> str:
        return f"{self.repo}:{self.quant}"


def find(wanted: HubModel, environ: Mapping[str, str], home: Path) -> Path | None:
    """The first part of the model, where all of it is in the Hub's cache; asks no network, needs no library."""
    repo = cache_dir(environ, home) / f"models--{wanted.repo.replace('/', '--')}"
    try:
        snapshot = repo / "snapshots" / (repo / "refs" / REVISION).read_text("utf-8").strip()
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*.gguf")]
    except (OSError, ValueError):
        return None
    chosen = files_of(wanted.quant, names)
    if len(chosen) != 1:
        return None
    first = snapshot / chosen[0]
    return first if all(part.exists() for part in parts_of(first)) else None


def fetch(wanted: HubModel, environ: Mapping[str, str], home: Path, report: Report) -> Path:
    """Fetch the model, all parts, into the Hub's cache. Raises `Unavailable`; what `report` raises ends it."""
    hub = _library(wanted)
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    token = environ.get("HF_TOKEN") or None
    cache = cache_dir(environ, home)
    try:
        report(f"asking {endpoint} for {wanted.repo}")
        api = hub.HfApi(endpoint=endpoint, token=token, library_name="gptoss-flow")
        # Unlike the listing of the tree, this is not tried again for half a minute where there is no network.
        known = api.model_info(wanted.repo, revision=REVISION, files_metadata=True, timeout=NETWORK_TIMEOUT_S)
        sizes = {file.rfilename: file.size or 0 for file in known.siblings or ()}
        first = _only(wanted, list(sizes))
        parts = [part.as_posix() for part in parts_of(Path(first))]
        if absent := [part for part in parts if part not in sizes]:
            said = f"{wanted.repo} has {first}, but not {absent[0]}, which belongs to it"
            raise Unavailable(key_problem(_KEY, said, "name another quantisation or repository"))
        size_bytes = sum(sizes[part] for part in parts)
        cache.mkdir(parents=True, exist_ok=True)
        require_room(cache, size_bytes)
        report(f"downloading {wanted.repo}/{first}, {size_bytes / 1e6:.0f} MB")
        progress = _progress(hub, report, size_bytes)
        fetched = [
            hub.hf_hub_download(
                wanted.repo, part, revision=REVISION, cache_dir=cache, endpoint=endpoint, token=token,
                library_name="gptoss-flow", tqdm_class=progress,
            )
            for part in parts
        ]  # fmt: skip
        return Path(fetched[0])
    except FlowError:
        raise
    except Exception as error:
        # The library's errors, its network library's and the system's have no root of their own.
        raise Unavailable(_problem(wanted, endpoint, cache, hub, error)) from None


def files_of(quant: str, names: Iterable[str]) -> list[str]:
    """Of the files of a repository those that are this quantisation, of a model in parts the first part each.

    A whole file name without its ending names that file. Upper and lower case are the same.
    """
    wanted = quant.lower()
    stems = {name: _stem(name) for name in names if _is_model(name)}
    if exact := [name for name, stem in stems.items() if stem == wanted]:
        return exact
    tagged = [name for name, stem in stems.items() if (tag := _tag(stem)) and tag == wanted]
    return tagged or [name for name, stem in stems.items() if re.search(rf"[-._]{re.escape(wanted)}$", stem)]


def cache_dir(environ: Mapping[str, str], home: Path) -> Path:
    """Where huggingface_hub keeps what it fetched."""
    if folder := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return user_path(folder)
    if folder := environ.get("HF_HOME"):
        return user_path(folder) / "hub"
    caches = environ.get("XDG_CACHE_HOME")
    return (user_path(caches) if caches else home / ".cache") / "huggingface" / "hub"


def lacking(wanted: HubModel) -> KeyProblem | None:
    """What must be installed before the model can be fetched; None where it is."""
    if importlib.util.find_spec("huggingface_hub") is not None:
        return None
    said = f"model.hf: {wanted} is fetched with huggingface_hub, which is not installed"
    return key_problem(_KEY, said, "pip install 'gptoss-flow[hf]'")


def _library(wanted: HubModel) -> ModuleType:
    """The library, imported when it is used: few need it, and it takes a while. Its telemetry is switched off."""
    if problem := lacking(wanted):
        raise Unavailable(problem)
    try:
        hub = importlib.import_module("huggingface_hub")
        for part in ("constants", "errors", "utils"):
            importlib.import_module(f"huggingface_hub.{part}")
    except ImportError as error:  # it, or what it needs, is there in part, or too old
        said = f"model.hf: {wanted} is fetched with huggingface_hub, which cannot be imported: {error}"
        hint = "pip install --force-reinstall 'gptoss-flow[hf]'"
        raise Unavailable(key_problem(_KEY, said, hint)) from None
    hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    hub.utils.logging.set_verbosity_error()
    return hub


def _only(wanted: HubModel, names: Sequence[str]) -> str:
    chosen = files_of(wanted.quant, names)
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        stems = ", ".join(Path(name).stem for name in chosen[:MAX_SHOWN])
        said = f"{wanted.repo} has {len(chosen)} files that are {wanted.quant}: {stems}"
        raise Unavailable(key_problem(_KEY, said, "write the one you mean behind the colon"))
    there = sorted({_tag(stem).upper() or stem for name in names if _is_model(name) for stem in [_stem(name)]})
    if not there:
        raise Unavailable(
            key_problem(
                _KEY, f"{wanted.repo} has no GGUF file", "look for a repository of that model with GGUF files"
            )
        )
    more = f" and {len(there) - MAX_SHOWN} more" if len(there) > MAX_SHOWN else ""
    hint = f"there are {', '.join(there[:MAX_SHOWN])}{more}"
    raise Unavailable(key_problem(_KEY, f"{wanted.repo} has no file that is {wanted.quant}", hint))


def _is_model(name: str) -> bool:
    last = name.rpartition("/")[2].lower()
    return (
        name.isprintable()
        and last.endswith(".gguf")
        and not is_later_part(last)
        and not last.startswith(_NO_MODELS)
    )


def _stem(name: str) -> str:
    return _PART.sub("", name.rpartition("/")[2].lower().removesuffix(".gguf"))


def _tag(stem: str) -> str:
    match = _TAG.search(stem)
    return match[1].lower() if match else ""


def _progress(hub: ModuleType, report: Report, size_bytes: int) -> type[Any]:
    """A progress bar for the library that draws nothing and reports about once a second."""
    done = 0
    reported = time.monotonic()

    class Progress(hub.utils.tqdm):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))
            self.update(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            nonlocal done, reported
            done += int(n or 0)
            if time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                report(f"downloading: {done / 1e6:.0f} MB of {size_bytes / 1e6:.0f} MB")

    return Progress


def _problem(wanted: HubModel, endpoint: str, cache: Path, hub: ModuleType, error: Exception) -> KeyProblem:
    errors = hub.errors
    named = f"the model {wanted}"
    match error:
        case errors.GatedRepoError():
            return key_problem(_KEY, f"{wanted.repo} is open only to those whom its owner lets in",
                f"accept its terms at {endpoint}/{wanted.repo} and set HF_TOKEN",
            )  # fmt: skip
        case errors.RepositoryNotFoundError():
            return key_problem(_KEY, f"{endpoint} has no repository {wanted.repo}, or it is private",
                "check its name in model.hf; for a private one set HF_TOKEN",
            )  # fmt: skip
        case errors.RevisionNotFoundError() | errors.RemoteEntryNotFoundError():
            return key_problem(_KEY, f"{wanted.repo} has no file there any more that it listed", "try again")
        case errors.HfHubHTTPError() if error.response is not None:
            code = error.response.status_code
            hint = "check HF_TOKEN" if code in (401, 403) else "try again later"
            return key_problem(_KEY, f"{endpoint} answered {code} for {wanted.repo}", hint)
        case errors.OfflineModeIsEnabled():
            return key_problem(
                _KEY, f"{named} cannot be fetched: HF_HUB_OFFLINE is set", "unset it, and try again"
            )
        case OSError() if error.errno is not None and not isinstance(error, errors.LocalEntryNotFoundError):
            said = f"{named} could not be stored in {cache}: {error.strerror}"
            return key_problem(_KEY, said, "make room there, or set HF_HOME to another folder")
        case _:
            cause = error.__cause__ or error
            said = str(cause).partition("\n")[0] or type(cause).__name__
            hint = "check the network, HF_ENDPOINT and the proxy, or name a GGUF file with model.path"
            return key_problem(_KEY, f"{named} could not be fetched from {endpoint}: {said}", hint)
