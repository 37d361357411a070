"""Where this very program was installed from, in pip's words: CI is to have the same."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gptoss_flow.fields import parse_json

NAME = "gptoss-flow"
_SHORT = re.compile(r"[\w.-]+@([\w.-]+):(?!/)(.+)")
"""How git also writes a remote: git@example.org:team/project.git."""


def requirement(extra: str) -> str | None:
    """What to give to `pip install`; None where only this machine has it: a folder that is no clone of another."""
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return None
    named = f"{NAME}[{extra}]"
    said = installed.read_text("direct_url.json")
    if said is None:
        return f"{named}=={installed.version}"
    address = _address(said)
    return None if address is None else f"{named} @ {address}"


def _address(direct_url: str) -> str | None:
    """Of an installation that an address was given for (PEP 610)."""
    try:
        data = parse_json(direct_url)
        url = data["url"]
        vcs = data.get("vcs_info")
        if vcs:
            return f"{vcs['vcs']}+{_without_user(url)}@{vcs['commit_id']}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not url.startswith("file:"):
        return _without_user(url)
    remote = _remote(Path(unquote(urlsplit(url).path)))
    return None if remote is None else f"git+{remote}"


def _remote(folder: Path) -> str | None:
    """The public address of the repository that a folder is a clone of."""
    command = ["git", "-C", str(folder), "config", "--get", "remote.origin.url"]
    try:
        url = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    if short := _SHORT.fullmatch(url):
        url = f"https://{short[1]}/{short[2]}"
    return _without_user(url) if url.startswith("https://") else None


def _without_user(url: str) -> str:
    """An address may carry a password or token."""
    return re.sub(r"(?<=://)[^/]*@", "", url)
