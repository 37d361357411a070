"""Models that are assembled on this machine from what the package carries: no network, a few seconds, once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from filelock import FileLock

from gptoss_flow.errors import Unavailable
from gptoss_flow.private_folders import create_private
from gptoss_flow.server.problems import key_problem

TINY = "tiny-gpt-oss"


def find(cache_dir: Path) -> Path | None:
    """Where the tiny gpt-oss lies, if an earlier call has assembled this version of it."""
    path = _path(cache_dir)
    return path if path.is_file() else None


def build(cache_dir: Path, report: Callable[[str], None] = lambda line: None) -> Path:
    """The tiny gpt-oss, assembled now if no earlier call has; safe in many processes at once.

    Raises `Unavailable` where it cannot be stored.
    """
    from gptoss_flow.server import tiny_gpt_oss  # numpy and gguf, which nobody else waits for

    path = _path(cache_dir)
    try:
        create_private(path.parent)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                report(f"assembling {path.name} (23 MB) from the package's own weights")
                partial = path.with_suffix(".partial")
                tiny_gpt_oss.write(partial, _data(f"{TINY}.npz"), _data(f"{TINY}.jinja").decode())
                partial.replace(path)
    except OSError as error:
        said = f"the model could not be stored in {cache_dir}: {error.strerror or error}"
        raise Unavailable(key_problem("model.built", said, "make room, or set XDG_CACHE_HOME")) from error
    return path


def _path(cache_dir: Path) -> Path:
    """Named for what it is made of, so that another version never takes it for its own."""
    made_of = hashlib.sha256(_data(f"{TINY}.npz") + _data(f"{TINY}.jinja")).hexdigest()
    return cache_dir / "models" / f"{TINY}-{made_of[:8]}-Q4_0.gguf"


def _data(name: str) -> bytes:
    return resources.files("gptoss_flow.server").joinpath("data", name).read_bytes()
