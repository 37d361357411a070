"""The demo model for programs that are no tests, in a cache folder of their own."""

from __future__ import annotations

from pathlib import Path

from gptoss_flow.lang.profile_places import SHIPPED, SearchPath
from gptoss_flow.lang.profiles import resolve_profile
from gptoss_flow.server.model import Machine, ensure_model


def demo_cache(folder: Path) -> Path:
    """`folder` as an `$XDG_CACHE_HOME` in which the demo model is, or rather a link to it; fetched if need be."""
    demo = resolve_profile("demo", places=SearchPath((SHIPPED,)), base_dir=Path.cwd()).profile
    machine = Machine.here()
    model = ensure_model(demo, machine, print).path
    link = folder / "gptoss-flow" / model.relative_to(machine.cache_dir)
    link.parent.mkdir(parents=True)
    link.symlink_to(model)
    return folder
