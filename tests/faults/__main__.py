"""Prints one figure a line, and exits with 1 if one of them misses its target.

python -m tests.faults
python -m tests.faults twelve-at-once kill-loading --rounds 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from gptoss_flow.lang.profile_places import SHIPPED, SearchPath
from gptoss_flow.lang.profiles import resolve_profile
from gptoss_flow.server.model import Machine, ensure_model
from tests.faults.scenes import SCENES, Figure, Stage


def stage(folder: Path, rounds: int | None) -> Stage:
    """The demo model, fetched if need be, is linked into a cache of the scenes' own."""
    demo = resolve_profile("demo", places=SearchPath((SHIPPED,)), base_dir=folder).profile
    machine = Machine.here()
    model = ensure_model(demo, machine, print).path
    link = folder / "gptoss-flow" / model.relative_to(machine.cache_dir)
    link.parent.mkdir(parents=True)
    link.symlink_to(model)
    return Stage(folder, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(SCENES)} [default: all]")
    parser.add_argument("--rounds", type=int, help="how often each is played [default: its own number]")
    args = parser.parse_args()
    if unknown := set(args.names) - SCENES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    missed = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        where = stage(Path(folder), args.rounds)
        for name in args.names or SCENES:
            print(f"{name}: ", end="", flush=True)
            try:
                figure = SCENES[name](where)
            except AssertionError as error:  # the scene could not even be set
                figure = Figure(str(error), False)
            print(figure.said if figure.met else f"{figure.said}  <-- MISSED", flush=True)
            missed += not figure.met
    return 1 if missed else 0


sys.exit(main())
