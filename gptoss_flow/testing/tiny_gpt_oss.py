"""The tiny gpt-oss for tests that have no profile."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

from gptoss_flow.server import built


def ensure_tiny_model(cache_dir: Path | None = None) -> Path:
    """The path of the model, assembled now if no earlier call has. `cache_dir` defaults to the user's."""
    return built.build(cache_dir or user_cache_path("gptoss-flow"))
