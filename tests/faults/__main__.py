"""Prints one figure a line, and exits with 1 if one of them misses its target.

python -m tests.faults
python -m tests.faults twelve-at-once kill-loading --rounds 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.catalogue import ROWS, listing, scenes_of
from tests.faults.scenes import SCENES
from tests.faults.stage import Figure, Stage
from tests.stage import demo_cache


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    known = f"rows of the catalogue (A05), themes (patch), or some of: {', '.join(SCENES)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{known} [default: all scenes]")
    parser.add_argument("--list", action="store_true", help="print what holds each row of the catalogue")
    parser.add_argument("--rounds", type=int, help="how often each is played [default: its own number]")
    args = parser.parse_args()
    if args.list:
        print(listing())
        return 0
    names = [scene for name in args.names for scene in _scenes(name)]
    if unknown := set(names) - SCENES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    missed = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        where = Stage(demo_cache(Path(folder)), args.rounds)
        for name in dict.fromkeys(names) or SCENES:
            print(f"{name}: ", end="", flush=True)
            try:
                figure = SCENES[name](where)
            except Exception as error:  # it could not even be set: the others are played
                figure = Figure(f"not played: {type(error).__name__}: {error}", False)
            print(figure.said if figure.met else f"{figure.said}  <-- MISSED", flush=True)
            missed += not figure.met
    return 1 if missed else 0


def _scenes(name: str) -> list[str]:
    """Those of a row, of a theme (what their names begin with), or the one of that name."""
    if name in ROWS:
        return scenes_of(name)
    return [scene for scene in SCENES if scene.startswith(f"{name}-") and name not in SCENES] or [name]


sys.exit(main())
