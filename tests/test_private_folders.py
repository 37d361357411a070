"""What is kept for later belongs to the user alone, whatever the umask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptoss_flow import vocabulary
from gptoss_flow.app.source_cache import SourceCache
from gptoss_flow.lang.elsewhere import Fetched
from gptoss_flow.lang.sources import UrlSource
from gptoss_flow.private_folders import create_private
from gptoss_flow.server import built
from gptoss_flow.server.gguf_cache import header_of
from gptoss_flow.server.model_cache import fetch_download
from tests.server.gguf_files import write_gguf
from tests.server.web import serving


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def keeps_a_header(cache: Path) -> None:
    header_of(write_gguf(cache.parents[1] / "m.gguf"), cache)


def keeps_a_source(cache: Path) -> None:
    SourceCache(cache / "sources").keep(UrlSource("https://h/x.yaml"), Fetched(b"{}"))


def keeps_a_download(cache: Path) -> None:
    with serving() as web:
        web.files["/m.gguf"] = b"GGUF"
        sha256 = "b83633aa785344791618f2fddf131b010ea04912a60430760b070bad293f65bd"
        fetch_download(f"{web.url}/m.gguf", sha256, None, cache, report=lambda line: None)


def keeps_a_model(cache: Path) -> None:
    built.build(cache)


def keeps_a_vocabulary(cache: Path) -> None:
    vocabulary.write_atomically(cache / "vocabulary" / "x", b"")


@pytest.mark.parametrize(
    "keep", [keeps_a_header, keeps_a_source, keeps_a_download, keeps_a_model, keeps_a_vocabulary]
)
def test_no_other_user_can_get_at_what_is_kept(tmp_path: Path, keep: Callable[[Path], None]) -> None:
    cache = tmp_path / "home" / "cache"
    keep(cache)
    assert any(cache.iterdir())
    assert [each.stat().st_mode & 0o077 for each in (cache, cache.parent)] == [0, 0]


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    create_private(tmp_path / "a" / "b")
    create_private(tmp_path / "a" / "b")
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in (".", "a", "a/b")]
    assert modes == [0o755, 0o700, 0o700]
