"""Where CI is to find this program: where it was installed from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.app import origin

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Installed:
    version = "1.2"

    def __init__(self, direct_url: str | None) -> None:
        self.direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        return self.direct_url if name == "direct_url.json" else None


@pytest.mark.parametrize(
    ("said", "given"),
    [
        (None, "gptoss-flow[local]==1.2"),
        (
            {"url": "https://example.org/t/p.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"gptoss-flow[local] @ git+https://example.org/t/p.git@{COMMIT}",
        ),
        (
            {"url": "https://me:pass@example.org/t/p.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"gptoss-flow[local] @ git+https://example.org/t/p.git@{COMMIT}",
        ),
        (
            {"url": "https://example.org/gptoss_flow-1.2-py3-none-any.whl", "archive_info": {}},
            "gptoss-flow[local] @ https://example.org/gptoss_flow-1.2-py3-none-any.whl",
        ),
        ({"url": "file:///nowhere/at/all", "dir_info": {}}, None),
        ({"adress": "x"}, None),
        ([], None),
    ],
)
def test_pip_is_given_what_this_was_installed_from(
    said: Any, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = None if said is None else json.dumps(said)
    monkeypatch.setattr(origin, "distribution", lambda name: Installed(text))
    assert origin.requirement("local") == given


@pytest.mark.parametrize(
    ("remote", "given"),
    [
        ("https://example.org/t/p.git", "git+https://example.org/t/p.git"),
        ("https://x:ghp_secret@example.org/t/p", "git+https://example.org/t/p"),
        ("https://me:p@ss@example.org/t/p", "git+https://example.org/t/p"),
        ("git@example.org:t/p.git", "git+https://example.org/t/p.git"),
        ("/srv/git/p", None),
        ("ssh://git@example.org:22/t/p", None),
    ],
)
def test_of_a_clone_its_remote_is_given_without_passwords(
    remote: str, given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True)
    text = json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    monkeypatch.setattr(origin, "distribution", lambda name: Installed(text))
    assert origin.requirement("local") == (given and f"gptoss-flow[local] @ {given}")
