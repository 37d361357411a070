"""What tests of several folders share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import platformdirs
import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile_places import SHIPPED, SearchPath
from gptoss_flow.lang.profiles import resolve_profile
from gptoss_flow.server.model import Machine, ensure_model, find_model
from gptoss_flow.server.model_file import ModelFile

pytest_plugins = ["tests.canary"]

USER_CACHE = Path(platformdirs.user_cache_dir("gptoss-flow"))
"""Asked for before any test gives itself another home."""


def need(program: str, *, found: bool | None = None) -> None:
    """Skip the test where `program` is missing; fail it instead where everything is required.

    `found` tells it for what is no program on the path, such as the right to mount.
    """
    if shutil.which(program) if found is None else found:
        return
    if os.environ.get("GPTOSS_FLOW_REQUIRE_ALL"):
        pytest.fail(f"{program} is missing, and GPTOSS_FLOW_REQUIRE_ALL is set")
    pytest.skip(f"needs {program}")


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder for $XDG_CACHE_HOME with the demo profile's model in it, or rather a link to it.

    The file is the user's own where there is one, else one that is fetched once and kept in pytest's cache.
    """
    demo = resolve_profile("demo", places=SearchPath((SHIPPED,)), base_dir=Path.cwd()).profile
    cache_plugin = getattr(pytestconfig, "cache", None)
    own_cache = Path(cache_plugin.mkdir("gptoss-flow")) if cache_plugin else USER_CACHE
    for cache in (USER_CACHE, own_cache):
        if isinstance(found := find_model(demo, Machine.here(cache)), ModelFile):
            break
    else:
        try:
            found = ensure_model(demo, Machine.here(own_cache), lambda line: None)
        except Unavailable:
            need("the demo model (which could not be fetched)", found=False)
            raise
    folder = tmp_path_factory.mktemp("demo-cache")
    target = folder / "gptoss-flow" / found.path.relative_to(cache)
    target.parent.mkdir(parents=True)
    target.symlink_to(found.path)
    return folder


@pytest.fixture(scope="session")
def demo_model(request: pytest.FixtureRequest) -> Path:
    """The small model that $GPTOSS_FLOW_TEST_MODEL names, else the demo profile's."""
    if named := os.environ.get("GPTOSS_FLOW_TEST_MODEL"):
        return Path(named)
    cache: Path = request.getfixturevalue("demo_cache")
    (model,) = cache.glob("gptoss-flow/models/*/*.gguf")
    return model.resolve()
