"""How many processes the kernel has killed for want of memory, as far as we may know: it leaves no other word."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def oom_kills(root: Path = Path("/")) -> int | None:
    """Of our control group where it says so, else of the machine; None where nobody says. `root` is for tests."""
    for path in [*_of_our_group(root), root / "proc/vmstat"]:
        with contextlib.suppress(OSError):
            if found := re.search(r"^oom_kill (\d+)$", path.read_text("ascii"), re.MULTILINE):
                return int(found[1])
    return None


def _of_our_group(root: Path) -> list[Path]:
    found = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            group = path.lstrip("/")
            if not controllers:
                found.append(root / CGROUPS.relative_to("/") / group / "memory.events")
            elif "memory" in controllers.split(","):
                found.append(root / CGROUPS.relative_to("/") / "memory" / group / "memory.oom_control")
    return found
