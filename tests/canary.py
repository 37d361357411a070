"""A secret that stands in the environment of the whole test run, and that nothing the run leaves behind may hold.

Servers, tools, sandboxes and commands all inherit or are kept from that environment. At the end every file that a
test made and every word that a test printed is searched, as it is and in nine encodings: one hit fails the run.
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_flow.record.redact import spellings

NAME = "CANARY_API_KEY"
"""The variable, and the name of the secret for flows that take it as theirs."""
SHORTEST = 16
"""Characters. An encoding that is cut shorter, at the edges of Base64, would be found by chance."""

_printed: list[str] = []
"""Tests that printed it."""
_found = pytest.StashKey[list[str]]()


def value() -> str:
    return os.environ[NAME]


def pytest_configure(config: pytest.Config) -> None:
    """Before any worker is started: they inherit it."""
    os.environ.setdefault(NAME, f"canary-{secrets.token_hex(16)}")


def traces() -> re.Pattern[bytes]:
    texts = {text.encode() for text in spellings(value()) if len(text) >= SHORTEST}
    return re.compile(b"|".join(map(re.escape, sorted(texts))))


def files_with_traces(root: Path) -> Iterator[Path]:
    """Regular files below a folder that hold the secret, or carry it in their name. Links are not followed."""
    sought = traces()
    for folder, _, names in os.walk(root, onerror=None):
        for path in (Path(folder, name) for name in names):
            if sought.search(os.fsencode(path.name)) or _holds(path, sought):
                yield path


def _holds(path: Path, sought: re.Pattern[bytes]) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or not path.lstat().st_size:
            return False
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return sought.search(data) is not None
    except OSError:  # closed to us, or gone meanwhile
        return False


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    said = "".join(text for _, text in report.sections) + str(report.longrepr or "")
    if traces().search(said.encode("utf-8", "replace")):
        _printed.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Workers' folders lie within that of the process that started them, which looks when they have ended."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if hasattr(session.config, "workerinput") or factory is None:
        return
    found = [str(path) for path in files_with_traces(factory.getbasetemp())]
    session.config.stash[_found] = [*found, *_printed]
    if found or _printed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_found, [])
    terminalreporter.write_line(f"canary: found in {len(found)} places of what the tests made and printed")
    for place in found[:20]:
        terminalreporter.write_line(f"  {place}", red=True)
