"""Fetching profiles from repositories and web servers, the cache, and what is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from gptoss_flow.app.fetch import SourceFetcher
from gptoss_flow.app.fetch_url import MAX_BYTES, Unreachable, fetch_from_web
from gptoss_flow.errors import FlowError, Invalid, Unavailable
from gptoss_flow.lang.elsewhere import Fetched, Pin
from gptoss_flow.lang.sources import parse_source
from tests.app.repositories import ENVIRON, Repository, serving_git
from tests.conftest import need
from tests.server.web import serving

NOTHING = Pin()


def fetch(ref: str, cache: Path, pin: Pin | None = None, *, offline: bool = False) -> Fetched:
    source = parse_source(ref)
    pin = pin or Pin(source.sha256, source.commit)
    return SourceFetcher(cache, {**os.environ, **ENVIRON}, offline=offline)(source, pin)


def refusal(kind: type[FlowError], ref: str, cache: Path, pin: Pin | None = None, *, offline: bool = False) -> str:
    with pytest.raises(kind) as caught:
        fetch(ref, cache, pin, offline=offline)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    need("git")
    return Repository.create(tmp_path / "srv" / "team")


def test_a_file_of_a_repository_is_read_at_a_commit_a_branch_and_a_tag(
    repository: Repository, tmp_path: Path
) -> None:
    old = repository.commit(p__team="seed: 1\n")
    repository.git("tag", "-a", "v1", "-m", "one")
    new = repository.commit(p__team="seed: 2\n")
    cache = tmp_path / "cache"
    assert fetch(f"{repository.url}@{old}#p/team.yaml", cache) == Fetched(b"seed: 1\n", old)
    assert fetch(f"{repository.url}@main#p/team.yaml", cache) == Fetched(b"seed: 2\n", new)
    assert fetch(f"{repository.url}@v1#p/team.yaml", cache) == Fetched(b"seed: 1\n", old)
    assert fetch(f"{repository.url}@main#p/team.yaml", cache, Pin(commit=old)) == Fetched(b"seed: 1\n", old)


def test_a_repository_on_the_web_is_read_too(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit(p__team="seed: 1\n")
    with serving_git(tmp_path / "srv") as url:
        assert fetch(f"git+{url}/team@{commit}#p/team.yaml", tmp_path / "c").content == b"seed: 1\n"
        assert fetch(f"git+{url}/team@main#p/team.yaml", tmp_path / "c").commit == commit
        with serving_git(tmp_path, redirect_to=f"file://{tmp_path}/srv") as elsewhere:
            said = refusal(Unavailable, f"git+{elsewhere}/team@main#p/team.yaml", tmp_path / "c")
            assert "could not be fetched: git says: " in said
    assert "could not be fetched" in refusal(Unavailable, f"git+{url}/team@main#p/team.yaml", tmp_path / "c")


def test_what_is_cached_needs_no_network_and_what_is_not_says_what_to_do(
    repository: Repository, tmp_path: Path
) -> None:
    commit = repository.commit(team="seed: 1\n")
    ref, cache = f"{repository.url}@{commit}#team.yaml", tmp_path / "cache"
    said = refusal(Unavailable, ref, cache, offline=True)
    assert "not in the cache" in said and "run it once without --offline" in said
    first = fetch(ref, cache)
    shutil.rmtree(repository.folder)
    assert fetch(ref, cache, offline=True) == fetch(ref, cache) == first
    pin = Pin(hashlib.sha256(first.content).hexdigest(), commit)
    assert fetch(f"{repository.url}@main#team.yaml", cache, pin, offline=True) == first


def test_a_cached_file_that_was_damaged_is_fetched_again(tmp_path: Path) -> None:
    with serving() as web:
        web.files["/x.yaml"] = b"seed: 1\n"
        sha256 = hashlib.sha256(b"seed: 1\n").hexdigest()
        ref = f"{web.url}/x.yaml#sha256={sha256}"
        for _ in range(2):
            assert fetch(ref, tmp_path).content == b"seed: 1\n"
        assert len(web.asked) == 1
        (tmp_path / "sources/content" / sha256).write_bytes(b"seed: 2\n")
        assert fetch(ref, tmp_path).content == b"seed: 1\n"
        assert len(web.asked) == 2


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "sources").write_text("a file in the way")
    with serving() as web:
        web.files["/x.yaml"] = b"{}"
        assert fetch(f"{web.url}/x.yaml", tmp_path).content == b"{}"


def test_what_is_no_file_of_the_repository_is_refused(repository: Repository, tmp_path: Path) -> None:
    (repository.folder / "link.yaml").symlink_to("/etc/passwd")
    (repository.folder / "folder.yaml").mkdir()
    commit = repository.commit(folder__x="", big=b"#" * (MAX_BYTES + 1), fits=b"#" * MAX_BYTES)
    (repository.folder / "folder.yaml").rmdir()
    (repository.folder / "folder.yaml").mkdir()
    (repository.folder / "folder.yaml" / "a").write_text("a")
    commit = repository.commit()
    assert len(fetch(f"{repository.url}@{commit}#fits.yaml", tmp_path / "c").content) == MAX_BYTES
    for name, said in (
        ("link", "link.yaml is no file at that commit"),
        ("folder", "folder.yaml is no file at that commit"),
        ("big", "it has more than 1 MiB"),
        ("no", f"there is no no.yaml at the commit {commit}"),
        ("*", "there is no *.yaml at"),
    ):
        assert said in refusal(Invalid, f"{repository.url}@{commit}#{name}.yaml", tmp_path / "c")


def test_a_revision_or_repository_that_is_not_there_is_told_in_gits_words(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit(team="{}")
    said = refusal(Unavailable, f"{repository.url}@nothing#team.yaml", tmp_path / "c")
    assert "git says: fatal: couldn't find remote ref nothing" in said and "check the repository" in said
    assert "git says: " in refusal(Unavailable, f"{repository.url}@{'a' * 40}#team.yaml", tmp_path / "c")
    assert "git says: " in refusal(Unavailable, f"git+file://{tmp_path}/no@main#team.yaml", tmp_path / "c")


def test_no_hook_filter_or_variable_of_the_caller_has_a_say(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit(team="seed: 1\n")
    trap = tmp_path / "trap"
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        hook = tmp_path / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
        hook.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[core]\n\thooksPath = {tmp_path}/hooks\n[init]\n\ttemplateDir = {tmp_path}/hooks\n")
    hostile = {"GIT_CONFIG_GLOBAL": str(config), "GIT_DIR": "/nowhere", "GIT_ALLOW_PROTOCOL": "ext"}
    source = parse_source(f"{repository.url}@{commit}#team.yaml")
    fetched = SourceFetcher(tmp_path / "c", {**os.environ, **hostile})(source, Pin(commit=commit))
    assert fetched.content == b"seed: 1\n"
    assert not trap.exists()


def test_without_git_the_way_out_is_named(tmp_path: Path) -> None:
    source = parse_source(f"git+file:///x@{'a' * 40}#x.yaml")
    with pytest.raises(Unavailable, match="git is not installed; install git, or take the file by https"):
        SourceFetcher(tmp_path, {"PATH": str(tmp_path)})(source, Pin(commit="a" * 40))


def test_the_web_is_bounded_and_its_errors_are_told(tmp_path: Path) -> None:
    with serving() as web:
        web.files |= {"/big.yaml": b"#" * (MAX_BYTES + 1), "/fits.yaml": b"#" * MAX_BYTES, "/bad.yaml": b""}
        web.statuses["/bad.yaml"] = 503
        web.redirects |= {
            "/moved.yaml": "/fits.yaml",
            "/file.yaml": "file:///etc/passwd",
            "/loop.yaml": "/loop.yaml",
        }
        assert (
            len(fetch_from_web(f"{web.url}/fits.yaml"))
            == len(fetch_from_web(f"{web.url}/moved.yaml"))
            == MAX_BYTES
        )
        assert "more than 1 MiB" in refusal(Invalid, f"{web.url}/big.yaml", tmp_path)
        assert "the server answered 404" in refusal(Invalid, f"{web.url}/no.yaml", tmp_path)
        assert "the server answered 503" in refusal(Unavailable, f"{web.url}/bad.yaml", tmp_path)
        assert "leads to where nothing is fetched from" in refusal(Unavailable, f"{web.url}/file.yaml", tmp_path)
        assert "the server answered 302" in refusal(Unavailable, f"{web.url}/loop.yaml", tmp_path)
        web.cut_at = [10]
        assert "the connection was cut" in refusal(Unavailable, f"{web.url}/fits.yaml", tmp_path)
    assert "Connection refused; check the address" in refusal(Unavailable, f"{web.url}/fits.yaml", tmp_path)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with serving() as web:
        web.files["/x.yaml"] = b"{}"
        with pytest.raises(Unreachable, match="did not come within"):
            fetch_from_web(f"{web.url}/x.yaml", timeout_s=1e-6)
