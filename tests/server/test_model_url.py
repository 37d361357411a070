"""Models from a web server: whole, verified, continued where they were cut, and refused with advice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gptoss_flow.errors import Invalid, Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_places import SearchPath
from gptoss_flow.lang.profiles import resolve_profile
from gptoss_flow.server import download
from gptoss_flow.server.model import Machine, ensure_model, find_model
from gptoss_flow.server.model_file import Missing, ModelFile

from .gguf_files import write_gguf
from .web import Web, serving


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with serving() as web:
        web.files["/m/tiny-Q4_1.gguf"] = write_gguf(tmp_path / "source.gguf", "llama", rows=4096).read_bytes()
        yield web


@pytest.fixture
def content(web: Web) -> bytes:
    return web.files["/m/tiny-Q4_1.gguf"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(environ={}, home=tmp_path / "home", cache_dir=tmp_path / "cache", memory_bytes=2**30)


def profile(web: Web, *, path: str = "/m/tiny-Q4_1.gguf", sha256: str = "", **model: object) -> Profile:
    content = web.files["/m/tiny-Q4_1.gguf"]
    pins = {"sha256": sha256 or hashlib.sha256(content).hexdigest(), **model}
    return Profile.model_validate({"name": "mine", "model": {"url": web.url + path, **pins}})


def fetch(wanted: Profile, machine: Machine, said: list[str] | None = None) -> ModelFile:
    return ensure_model(wanted, machine, (said if said is not None else []).append)


def partial(machine: Machine) -> Path:
    (found,) = machine.cache_dir.rglob("*.partial")
    return found


def test_a_file_is_fetched_once_and_then_found_without_the_network(
    web: Web, content: bytes, machine: Machine
) -> None:
    said: list[str] = []
    wanted = profile(web, size=len(content))
    missing = find_model(wanted, machine)
    assert isinstance(missing, Missing) and missing.cause == "not_fetched" and missing.is_absence
    model = fetch(wanted, machine, said)
    assert model.path.read_bytes() == content and model.path.is_relative_to(machine.cache_dir)
    assert said[0] == f"downloading {web.url}/m/tiny-Q4_1.gguf, {len(content) / 1e6:.0f} MB"
    assert fetch(wanted, machine) == model and len(web.asked) == 1
    kept = {path.name for path in model.path.parent.iterdir()}
    assert kept == {"tiny-Q4_1.gguf", "tiny-Q4_1.gguf.json", "fetch.lock"}


def test_offline_asks_nobody(web: Web, machine: Machine) -> None:
    with pytest.raises(Unavailable, match="not on this machine yet; run once without --offline"):
        ensure_model(profile(web), machine, print, offline=True)
    assert web.asked == []


def test_a_cut_connection_is_continued_at_its_byte(web: Web, content: bytes, machine: Machine) -> None:
    web.cut_at = [1000, 500]
    said: list[str] = []
    assert fetch(profile(web), machine, said).path.read_bytes() == content
    assert web.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert any("the connection was cut: going on at" in line for line in said)


def test_a_connection_that_brings_nothing_more_ends_it_and_a_later_command_goes_on(
    web: Web, content: bytes, machine: Machine
) -> None:
    web.cut_at = [1000, 0]
    with pytest.raises(Unavailable, match=r"the connection was cut; check the network .* run it again to go on"):
        fetch(profile(web), machine)
    assert partial(machine).read_bytes() == content[:1000]
    assert fetch(profile(web), machine).path.read_bytes() == content
    assert web.ranges[-1] == "bytes=1000-"


def test_a_server_without_ranges_starts_again(web: Web, content: bytes, machine: Machine) -> None:
    web.has_ranges, web.cut_at = False, [1000]
    assert fetch(profile(web), machine).path.read_bytes() == content
    assert web.ranges == [None, "bytes=1000-"]


@pytest.mark.parametrize("beginning", [b"of something else", b"x" * 10**7])
def test_a_beginning_that_does_not_fit_is_thrown_away(
    web: Web, content: bytes, machine: Machine, beginning: bytes
) -> None:
    web.cut_at = [100, 0]
    with pytest.raises(Unavailable):
        fetch(profile(web), machine)
    partial(machine).write_bytes(beginning)
    assert fetch(profile(web), machine).path.read_bytes() == content


def test_another_file_than_the_pinned_one_is_not_kept(web: Web, machine: Machine) -> None:
    with pytest.raises(
        Unavailable, match=r"its SHA-256 is [0-9a-f]{64}; correct model\.url, or model\.sha256 if this is"
    ):
        fetch(profile(web, sha256="0" * 64), machine)
    assert not [path for path in machine.cache_dir.rglob("*.gguf*") if path.is_file()]


def test_a_wrong_size_is_refused_before_the_first_byte(web: Web, machine: Machine) -> None:
    with pytest.raises(
        Unavailable,
        match=r"has [\d,]+ bytes, and the profile says 1,000; correct model\.size or model\.url, or name",
    ):
        fetch(profile(web, size=1000), machine)
    assert partial(machine).stat().st_size == 0


def test_more_than_the_announced_bytes_are_refused(web: Web, content: bytes, machine: Machine) -> None:
    web.announces_size = False
    with pytest.raises(Unavailable, match="sends more than 1,000 bytes"):
        fetch(profile(web, size=1000), machine)
    assert fetch(profile(web), machine).path.read_bytes() == content


def test_a_file_without_room_on_the_disk_is_refused(
    web: Web, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SPARE_BYTES", 2**62)
    with pytest.raises(Unavailable, match=r"are needed, .* are free; make room there, or set XDG_CACHE_HOME"):
        fetch(profile(web), machine)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "answered 404 .*; correct model.url, or name"),
        (403, "no credentials are sent"),
        (503, "answered 503.*; try again later, or name"),
    ],
)
def test_what_the_server_answers_is_said(web: Web, machine: Machine, status: int, said: str) -> None:
    web.statuses["/m/tiny-Q4_1.gguf"] = status
    with pytest.raises(Unavailable, match=said):
        fetch(profile(web), machine)


def test_an_unreachable_server_is_said_and_a_signature_is_not(machine: Machine) -> None:
    wanted = Profile.model_validate({"model": {"url": "http://127.0.0.1:9/a.gguf?sig=secret", "sha256": "0" * 64}})
    said: list[str] = []
    with pytest.raises(Unavailable, match=r"Connection refused; check the network and model\.url") as caught:
        fetch(wanted, machine, said)
    assert "secret" not in str(caught.value) + "".join(said)


def test_redirects_are_followed_and_no_longer_than_five(web: Web, machine: Machine) -> None:
    web.redirects["/latest.gguf"] = "/m/tiny-Q4_1.gguf"
    assert fetch(profile(web, path="/latest.gguf"), machine).path.name == "latest.gguf"
    web.redirects["/loop.gguf"] = "/loop.gguf"
    with pytest.raises(Unavailable):
        fetch(profile(web, path="/loop.gguf", sha256="1" * 64), machine)
    assert len(web.asked) < 10


def test_a_redirect_to_another_protocol_is_refused(web: Web, machine: Machine) -> None:
    web.redirects["/a.gguf"] = "ftp://127.0.0.1/a.gguf"
    with pytest.raises(Unavailable, match="leads from http to ftp, which is refused"):
        fetch(profile(web, path="/a.gguf"), machine)


@pytest.mark.parametrize(
    ("start", "target", "is_allowed"),
    [("https", "http", False), ("https", "https", True), ("http", "https", True), ("https", "file", False)],
)
def test_only_https_may_follow_https(start: str, target: str, is_allowed: bool) -> None:
    request = download.urllib.request.Request(f"{start}://example.org/a")
    handler = download._Redirects()
    arguments = (request, None, 302, "Found", download.Message(), f"{target}://example.org/b")
    if is_allowed:
        followed = handler.redirect_request(*arguments)  # type: ignore[arg-type]
        assert followed is not None and followed.full_url == f"{target}://example.org/b"
    else:
        with pytest.raises(download.DownloadFailed, match="which is refused"):
            handler.redirect_request(*arguments)  # type: ignore[arg-type]


def test_a_proxy_is_not_asked_for_this_machine_itself(
    web: Web, content: bytes, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "OPENER", download.urllib.request.build_opener(
        download._Proxies({"http": "http://127.0.0.1:9"}), download._Redirects
    ))  # fmt: skip
    monkeypatch.setenv("no_proxy", "")
    assert fetch(profile(web), machine).path.read_bytes() == content


def test_commands_that_fetch_at_once_download_once(web: Web, machine: Machine) -> None:
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: fetch(profile(web), machine), range(4)))
    assert len({model.path for model in models}) == 1 and len(web.asked) == 1


def test_what_report_raises_ends_the_download_and_keeps_what_is_there(
    web: Web, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "REPORT_EVERY_S", 0.0)

    def report(line: str) -> None:
        if line.startswith("downloading: "):
            raise Unavailable("called off")

    with pytest.raises(Unavailable, match="called off"):
        ensure_model(profile(web), machine, report)
    assert partial(machine).stat().st_size > 0


def test_the_name_of_the_file_cannot_leave_the_cache(web: Web, content: bytes, machine: Machine) -> None:
    web.files["/../../evil \x1b.gguf"] = content
    model = fetch(profile(web, path="/..%2f..%2fevil%20%1b.gguf"), machine)
    assert model.path.name == "_.._evil__.gguf" and model.path.is_relative_to(machine.cache_dir)


def test_a_url_without_a_hash_is_invalid(machine: Machine) -> None:
    wanted = Profile.model_validate({"model": {"url": "https://example.org/a.gguf"}})
    with pytest.raises(Invalid, match=r"model\.url needs model\.sha256"):
        find_model(wanted, machine)


def merged(tmp_path: Path, base: str, own: str) -> dict[str, object]:
    (tmp_path / "base.yaml").write_text(f"model: {base}\n")
    (tmp_path / "own.yaml").write_text(f"extends: ./base.yaml\nmodel: {own}\n")
    resolved = resolve_profile(str(tmp_path / "own.yaml"), places=SearchPath(()), base_dir=tmp_path)
    return resolved.profile.model.model_dump(exclude_none=True)


URL, PYPI, HEX = "https://example.org/a.gguf", "a==1/a.gguf", "0" * 64


def test_another_source_replaces_the_inherited_one_with_its_pins(tmp_path: Path) -> None:
    base = f"{{pypi: {PYPI}, sha256: '{'1' * 64}', size: 5}}"
    assert merged(tmp_path, base, f"{{url: {URL!r}, sha256: '{HEX}'}}") == {"url": URL, "sha256": HEX}
    assert merged(tmp_path, base, "{hf: 'a/b:Q4_0'}") == {"hf": "a/b:Q4_0"}
    assert merged(tmp_path, "{hf: 'a/b:Q4_0'}", f"{{url: {URL!r}, sha256: '{HEX}'}}") == {
        "url": URL,
        "sha256": HEX,
    }


def test_a_pin_alone_changes_only_the_pin(tmp_path: Path) -> None:
    base = f"{{url: {URL!r}, sha256: '{'1' * 64}', size: 5}}"
    assert merged(tmp_path, base, f"{{sha256: '{HEX}'}}") == {"url": URL, "sha256": HEX, "size": 5}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (f"{{url: {URL!r}}}", "model.url needs model.sha256"),
        (f"{{hf: 'a/b:Q4', sha256: '{HEX}'}}", "model.sha256 needs model.pypi or model.url"),
        (f"{{url: {URL!r}, pypi: {PYPI}, sha256: '{HEX}'}}", "more than one source: pypi, url; keep"),
        ("{url: 'ftp://a/b.gguf'}", "is not a file's address"),
        ("{url: 'https://user:key@a/b.gguf'}", "is not a file's address"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, model: str, said: str) -> None:
    with pytest.raises(Invalid, match=re.escape(said)):
        merged(tmp_path, "{}", model)
