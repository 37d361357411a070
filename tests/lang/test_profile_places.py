"""Profiles that an installed package brings."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from gptoss_flow.lang.profile_places import search_path
from gptoss_flow.lang.profiles import list_profiles, resolve_profile
from tests.conftest import need

FILES = {
    "team_profiles/__init__.py": "raise AssertionError('a profile is data: nothing is imported')\n",
    "team_profiles/shared/team.yaml": "description: From a package.\nextends: [demo, ./low.yaml]\nparallel: 3\n",
    "team_profiles/shared/low.yaml": "context: 1024\n",
    "team_profiles-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: team-profiles\nVersion: 1.0\n",
    "team_profiles-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "team_profiles-1.0.dist-info/entry_points.txt": "[gptoss_flow.profiles]\nteam = team_profiles.shared\n",
}


def write_wheel(folder: Path) -> Path:
    path = folder / "team_profiles-1.0-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
            digest = urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        wheel.writestr("team_profiles-1.0.dist-info/RECORD", f"{record}team_profiles-1.0.dist-info/RECORD,,\n")
    return path


def test_a_package_that_pip_installed_offers_its_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("pip", found=importlib.util.find_spec("pip") is not None)
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(write_wheel(tmp_path))], check=True, capture_output=True)
    monkeypatch.syspath_prepend(target)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    places = search_path(None, tmp_path)
    resolved = resolve_profile("team", places=places, base_dir=tmp_path)
    assert (resolved.profile.parallel, resolved.profile.context) == (3, 1024)
    (team,) = [known for known in list_profiles(places) if known.name == "team"]
    assert (team.owner, team.description) == ("package team-profiles", "From a package.")
    assert team.path == target / "team_profiles/shared/team.yaml"


def test_a_project_profile_hides_a_packages_and_both_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ours = tmp_path / "profiles/team.yaml"
    ours.parent.mkdir()
    ours.write_text("extends: demo\n")
    known = [each for each in list_profiles(search_path(None, tmp_path)) if each.name == "team"]
    assert [(each.owner, each.hidden_by) for each in known] == [("project", None), ("package team-profiles", ours)]
